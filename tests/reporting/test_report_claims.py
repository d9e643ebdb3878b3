"""The report claims what records prove: settings that were run, folds, cases; nothing else."""

import html
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ctbone.cli import app
from ctbone.errors import CustodyError
from ctbone.study import Study
from tests.models.small_study import model_of, small_study


def ctbone(command: str, *arguments: str, study: Study) -> None:
    """Run a command as the command line does."""
    app([command, *arguments, "--study", str(study.root)], standalone_mode=False)


def edit(study: Study, **sections) -> None:
    content = yaml.safe_load(study.settings_file.read_text())
    study.settings_file.write_text(yaml.safe_dump({**content, **sections}))


def page_of(study: Study) -> str:
    """Write the report and return the words of its page."""
    ctbone("report", study=study)
    text = (study.report / "index.html").read_text()
    text = re.sub(r"<(style|script).*?</\1>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def answers(study: Study, name: str = "tripod_ai") -> pd.Series:
    table = pd.read_csv(study.report / "tables" / f"checklist_{name}.csv", dtype=str)
    return table.set_index("item")["answer"]


def metrics(study: Study) -> dict:
    return json.loads((study.report / "metrics.json").read_text())


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> Study:
    """A preprocessed study of three folds; not to be changed."""
    model = model_of("3d")
    training = model.pop("training")
    root = tmp_path_factory.mktemp("claims") / "study"
    study = small_study(root, models={"3d": model}, patients=36, folds=3)
    edit(study, training=training, evaluation={"bootstrap": 100})
    return Study.open(study.root)


@pytest.fixture(scope="module")
def trained(untrained) -> Study:
    """The same study after ``train`` and ``predict``; not to be changed."""
    root = untrained.root.with_name("trained")
    shutil.copytree(untrained.root, root)
    study = Study.open(root)
    ctbone("train", study=study)
    ctbone("predict", study=study)
    return study


def copy(study: Study, folder: Path) -> Study:
    shutil.copytree(study.root, folder / "study")
    return Study.open(folder / "study")


@pytest.fixture
def study(trained, tmp_path) -> Study:
    """A trained study that a test may change."""
    return copy(trained, tmp_path)


def test_a_clean_study_is_described_without_a_notice(study):
    page = page_of(study)
    assert "Cross-validation in 3 folds, by patient" in page
    assert "3d: densenet in 3D, from random weights, 2 epochs of batches of 8, adam" in page
    assert "by the one model that has not seen its patient" in page
    assert re.search(r"Epoch that was kept in folds 0, 1, 2: [12], [12], [12]\.", page)
    assert "Internal test, out-of-fold" in page
    assert "folds.count 3" in page
    for words in ("was run", "Made elsewhere", "not complete", "different settings", "×"):
        assert words not in page
    assert answers(study)["12a"].startswith("3 folds by patient")
    assert "2 epochs" in answers(study)["12c"]


def test_settings_that_were_changed_after_the_run_are_named_and_not_printed(study):
    content = yaml.safe_load(study.settings_file.read_text())
    edit(
        study,
        training={**content["training"], "learning_rate": 0.5, "epochs": 77},
        folds={**content["folds"], "seed": 3},
        preprocess={**content["preprocess"], "crop_3d": {"size": 8, "spacing": 1.75}},
    )
    page = page_of(study)
    for change in (
        "training.learning_rate: 0.01 was run, study.yaml now says 0.5",
        "training.epochs: 2 was run, study.yaml now says 77",
        "folds.seed: 0 was run, study.yaml now says 3",
        "preprocess.crop_3d.spacing: 1.0 was run, study.yaml now says 1.75",
    ):
        assert page.count(change) == 1
        assert page.index(change) < page.index("Cross-validation in")
    rest = page[page.index("Cross-validation in") :]
    assert "2 epochs of batches of 8, adam at a learning rate of 0.01" in rest
    for value in ("77", "0.5 ", "1.75"):
        assert f"{value} epochs" not in rest
    assert re.search(r"models\.3d\.training\.learning_rate 0\.01\b", rest)
    assert "folds.seed 0" in rest
    assert "preprocess.crop_3d.spacing 1.0" in rest
    assert "2 epochs" in answers(study)["12c"]
    assert "of 1 mm" in answers(study)["9a"]
    assert "77" not in " ".join(answers(study))


def test_a_setting_of_one_model_is_named_as_such(study):
    content = yaml.safe_load(study.settings_file.read_text())
    model = {**content["models"]["3d"], "training": {"learning_rate": 0.5}}
    edit(study, models={"3d": model})
    change = "models.3d.training.learning_rate: 0.01 was run, study.yaml now says 0.5"
    assert change in page_of(study)


def test_a_fusion_with_other_settings_prints_those_that_were_run(study):
    cases = pd.read_csv(study.cohort_csv)["case_id"]
    scores = pd.DataFrame({"reader_id": "r1", "level": "any", "session": "unaided"}, cases.index)
    scores = scores.assign(case_id=cases, score=[2 + n % 3 for n in range(len(cases))])
    scores.to_csv(study.scores_csv, index=False)
    edit(study, fusion={"combinations": {"3d+reader": ["3d", "reader"]}, "weights": "equal"})
    ctbone("fuse", "--with-reader", "scores.csv", study=study)
    assert "was run" not in page_of(study)
    edit(study, fusion={"combinations": {"3d+reader": ["3d", "reader"]}, "weights": "auc"})
    page = page_of(study)
    assert "fusion.weights: equal was run, study.yaml now says auc" in page
    assert "fusion.weights equal" in page


def test_folds_of_different_settings_are_named(untrained, tmp_path):
    study = copy(untrained, tmp_path)
    ctbone("train", "--fold", "0", study=study)
    content = yaml.safe_load(study.settings_file.read_text())
    edit(study, training={**content["training"], "learning_rate": 0.003})
    for fold in ("1", "2"):
        ctbone("train", "--fold", fold, study=study)
    page = page_of(study)
    assert "Folds were trained with different settings." in page
    assert "training.learning_rate: 0.01 in fold 0, 0.003 in folds 1, 2" in page
    assert "training.learning_rate: 0.01 was run, study.yaml now says 0.003" in page
    assert "3d (fold 0): densenet" in page
    assert "3d (folds 1, 2): densenet" in page


def boxes(page: str) -> dict[str, int]:
    found = re.findall(r"(Internal|External): (\d+) cases?\b", page)
    return {name: int(count) for name, count in found}


def test_one_trained_fold_gets_a_banner_and_only_its_cases_are_counted(untrained, tmp_path):
    study = copy(untrained, tmp_path)
    ctbone("train", "--fold", "1", study=study)
    page = page_of(study)
    assert "The cross-validation is not complete." in page
    assert "3d: 1 of 3 folds is trained (fold 1); folds 0, 2 are missing." in page
    n = metrics(study)["models"]["3d"]["n"]
    assert n == 12
    assert boxes(page) == {"Internal": n}
    assert "28 cases excluded" in page
    assert "24 × tested in a fold that is not trained" in page
    assert "4 × no probability" in page


def test_flow_and_results_count_the_same_cases(study):
    table = pd.read_csv(study.predictions_csv("3d"), dtype=str, keep_default_na=False)
    tested = table.loc[table["split"] == "test", "case_id"]
    lost = [*tested[:3], *table.loc[table["split"] == "external", "case_id"][:1]]
    kept = table[~(table["case_id"].isin(lost) & table["split"].isin(["test", "external"]))]
    kept.to_csv(study.root / "predictions" / "theirs.csv", index=False)
    for path in study.predictions_csv("3d").parent.glob("3d.*"):
        path.unlink()
    rows = [(case, "failed", "the mask is empty", "1") for case in lost[:2]]
    names = ["case_id", "status", "reason", "seconds"]
    pd.DataFrame(rows, columns=names).to_csv(study.preprocess_csv, index=False)
    page = page_of(study)
    model = metrics(study)["models"]["theirs"]
    assert boxes(page) == {"Internal": 33, "External": 3}
    assert model["n"] == 33
    assert "4 cases excluded 2 × the mask is empty 2 × no probability" in page


def elsewhere(study: Study, name: str = "theirs") -> None:
    """Put the table of another program into the study."""
    cohort = pd.read_csv(study.cohort_csv)
    rows = cohort[["case_id", "label"]].assign(
        split=["test" if name == "internal" else "external" for name in cohort["cohort"]],
        p_malignant=[(7 * number % 10 + 0.5) / 10 for number in range(len(cohort))],
    )
    rows["p_benign"] = 1 - rows["p_malignant"]
    study.predictions_csv(name).parent.mkdir(exist_ok=True)
    rows.to_csv(study.predictions_csv(name), index=False)


CLAIMS = (
    *("Cross-validation in", "folds by patient", "stratified by class;", "densenet", "epochs"),
    *("has not seen", "out-of-fold", "random weights", "One resampling", "models of the folds"),
    *("learning_rate", "mean of the folds", "No model was updated", "voxels of", "One fold"),
)


@pytest.mark.parametrize("name", ["theirs", "3d"])
def test_the_tables_of_other_programs_are_not_described(untrained, tmp_path, name):
    """Also where a model of the settings has the name of the table."""
    study = copy(untrained, tmp_path)
    elsewhere(study, name)
    page = page_of(study)
    page = page.replace("Epochs and weights of fusions are chosen on validation cases", "")
    assert [words for words in CLAIMS if words in page] == []
    assert f"Made elsewhere, or fused from such tables: {name}." in page
    assert "Internal test" in page
    for items, table in (("12a", "12c", "12g"), "tripod_ai"), (("20", "22", "24", "26"), "claim"):
        assert set(answers(study, table)[[*items]]) == {"For the authors to write"}


def test_a_table_from_elsewhere_beside_a_trained_model(study):
    elsewhere(study)
    page = page_of(study)
    assert "Internal probabilities of 3d are out-of-fold" in page
    assert "No model of 3d was trained on external cases" in page
    assert "Made elsewhere, or fused from such tables: theirs." in page
    assert "Internal test, out-of-fold" not in page
    assert "3d: densenet in 3D" in page
    assert answers(study)["12c"].endswith("(3d)")


def test_a_table_of_other_weights_is_not_described(study):
    """A card of another training says nothing about the table: it is refused."""
    card = study.run("3d", 1) / "card.json"
    content = json.loads(card.read_text())
    card.write_text(json.dumps({**content, "weights_sha256": "0" * 64}))
    with pytest.raises(CustodyError, match="3d/fold1: the file is missing or not that of the card"):
        page_of(study)


def test_a_table_that_replaced_a_trained_one_is_not_described(study):
    elsewhere(study, "3d")
    assert "Made elsewhere, or fused from such tables: 3d." in page_of(study)
