"""Tables of probabilities that contradict the cohort, the folds or themselves, at the commands."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctbone.cli import main
from ctbone.predictions import made_elsewhere, read_predictions
from ctbone.reporting.any_table import read_any_table
from ctbone.study import Study, record_of
from tests.reporting.synthetic_study import Sizes, make_study

CLASSES = ("benign", "malignant")


def command(monkeypatch, capsys, *words) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["ctbone", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.err + captured.out


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Study:
    """A study with two models; patients of the cohort have one or two cases."""
    study = make_study(
        tmp_path_factory.mktemp("tables") / "study",
        Sizes((24, 36), (8, 12)),
        patients_of_two=True,
        folds={"count": 3},
        evaluation={"bootstrap": 100},
        fusion={"combinations": {"3d+2d": ["3d", "2d"], "3d+radiomics": ["3d", "radiomics"]}},
    )
    shutil.copy(study.predictions_csv("3d"), study.predictions_csv("radiomics"))
    return study


@pytest.fixture
def study(finished, tmp_path) -> Study:
    """A copy that a test may change; ``radiomics`` is a table of another program."""
    shutil.copytree(finished.root, tmp_path / "study")
    return Study.open(tmp_path / "study")


def change(study: Study, edit, name: str = "radiomics") -> None:
    path = study.predictions_csv(name)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    edit(table).to_csv(path, index=False)


# ---- contradictions: each one is refused by fuse and by report ----


def _of(table, case):
    return (table["case_id"] == case).to_numpy()


def _first(table, split):
    return table.loc[table["split"] == split, "case_id"].iloc[0]


def _set(table, case, **columns):
    return table.assign(**{n: table[n].mask(_of(table, case), v) for n, v in columns.items()})


def another_patient(table):
    return _set(table, _first(table, "test"), patient_id="somebody")


def a_patient_for_all(table):
    return table.assign(patient_id="P0001")


def another_centre(table):
    return _set(table, _first(table, "external"), cohort="centre9")


def internal_as_external(table):
    return table[table["split"] == "test"].assign(split="external")


def internal_as_another_centre(table):
    return table[table["split"] == "test"].assign(split="external", cohort="elsewhere")


def external_as_test(table):
    rows = table[table["split"] == "external"].drop_duplicates("case_id")
    return pd.concat([table[table["split"] != "external"], rows.assign(split="test")])


def _training_fold(table, study):
    """A fold in which each case is trained on; its own fold if it is validated in all others."""
    roles = pd.read_csv(study.folds_csv).set_index("case_id")
    trained = {
        case: str(fold)
        for fold in range(3)
        for case in roles.index[(roles[f"role_{fold}"] == "train").to_numpy()]
    }
    return table["case_id"].map(trained).fillna(table["fold"])


def every_case_where_trained(table, study):
    test = table[table["split"] == "test"]
    return test.assign(fold=_training_fold(test, study))


def one_training_case(table, study):
    test = table[table["split"] == "test"]
    moved = _training_fold(test, study)
    first = (moved != test["fold"]).idxmax()
    return test.assign(fold=test["fold"].where(test.index != first, moved))


def validated_where_trained(table, study):
    val = table[table["split"] == "val"].drop_duplicates("case_id")
    return val.assign(fold=_training_fold(val, study))


def an_unknown_fold(table):
    return table[table["split"] == "test"].assign(fold="7")


def validation_is_test(table):
    test = table[table["split"] == "test"]
    return pd.concat([test, test.assign(split="val")])


def rows_without_folds(table):
    return table.assign(fold=table["fold"].where(table["split"] != "test", ""))


def two_splits_in_a_fold(table):
    """One of a patient's two cases is validated in the fold in which the other is tested."""
    test = table[table["split"] == "test"]
    twice = test[test.duplicated("patient_id", keep=False)]
    first = twice.iloc[0]
    rows = table["split"].isin(["test", "val"]) & (table["fold"] == first["fold"])
    mine = rows & _of(table, first["case_id"])
    return table.assign(split=table["split"].mask(mine, "val"))


def the_label(table):
    p = (table["label"] == "malignant").astype(int)
    return table.assign(p_malignant=p, p_benign=1 - p)


CONTRADICTIONS = {
    another_patient: ["another patient_id in the cohort", "somebody", "P0"],
    a_patient_for_all: ["another patient_id in the cohort", "P0001", "expected: P0"],
    another_centre: ["another cohort in the cohort", "centre9", "centre"],
    internal_as_external: ["an internal case is marked as external"],
    internal_as_another_centre: ["another cohort in the cohort", "elsewhere", "internal"],
    external_as_test: ["an external case is marked as test"],
    every_case_where_trained: ["contradicts folds.csv (", "cases in all)", "train in fold"],
    one_training_case: ["contradicts folds.csv", "train in fold"],
    validated_where_trained: ["contradicts folds.csv", "val in fold", "train in fold"],
    an_unknown_fold: ["contradicts folds.csv", "a fold from 0 to 2"],
    validation_is_test: ["the validation rows of fold", "are its test rows"],
    rows_without_folds: ["the test row has no fold, although others have one"],
    two_splits_in_a_fold: ["has two splits in the rows of fold"],
    the_label: ["is the label, not a probability"],
}


@pytest.mark.parametrize("stage", ["fuse", "report"])
@pytest.mark.parametrize("edit", CONTRADICTIONS, ids=lambda edit: edit.__name__)
def test_a_contradiction_is_refused(study, monkeypatch, capsys, stage, edit):
    takes_study = edit.__code__.co_argcount == 2
    change(study, (lambda t: edit(t, study)) if takes_study else edit)
    code, text = command(monkeypatch, capsys, stage, "--study", study.root)
    assert code == 2, text
    for words in CONTRADICTIONS[edit]:
        assert words in text, text
    assert "radiomics.csv" in text
    assert "case P" in text or edit is the_label
    assert not study.report.exists()
    assert not study.fusion_csv("3d+radiomics").exists()


@pytest.mark.parametrize("stage", ["fuse", "report"])
def test_edited_folds_are_refused(study, monkeypatch, capsys, stage):
    text = study.folds_csv.read_text()
    study.folds_csv.write_text(text.replace(",train", ",swap").replace(",val", ",train"))
    code, text = command(monkeypatch, capsys, stage, "--study", study.root)
    assert code == 2, text
    assert "the folds were changed after they were drawn" in text


# ---- what is missing in a table comes from the cohort ----


def test_patients_labels_and_centres_come_from_the_cohort(study, monkeypatch, capsys):
    whole = study.predictions("radiomics")
    kept = ["case_id", "fold", "split", "p_benign", "p_malignant"]
    change(study, lambda t: t[kept])
    pd.testing.assert_frame_equal(
        study.predictions("radiomics"), whole.assign(model="radiomics"), check_like=True
    )
    change(study, lambda t: t.assign(patient_id="", label="", cohort=""))
    pd.testing.assert_frame_equal(
        study.predictions("radiomics"), whole.assign(model="radiomics"), check_like=True
    )


def test_without_splits_the_cohort_says_what_is_external(study):
    change(study, lambda t: t[t["split"] != "val"].drop_duplicates("case_id"))
    change(study, lambda t: t[["case_id", "p_benign", "p_malignant"]])
    table = study.predictions("radiomics")
    assert ((table["split"] == "external") == (table["cohort"] != "internal")).all()
    assert set(table["split"]) == {"test", "external"}
    assert table["fold"].isna().all()


def test_intervals_count_patients_in_a_table_without_them(study, monkeypatch, capsys):
    """The interval of a table without patients is that of the same table with them."""
    change(study, lambda t: t.drop(columns=["patient_id", "label", "cohort"]))
    for path in (study.predictions_csv("2d"), record_of(study.predictions_csv("2d"))):
        path.unlink()
    code, text = command(monkeypatch, capsys, "report", "--study", study.root)
    assert code == 0, text
    metrics = json.loads((study.report / "metrics.json").read_text())
    own, other = metrics["models"]["3d"], metrics["models"]["radiomics"]
    assert (other["auc"], other["n"]) == (own["auc"], own["n"])
    assert "cluster" in own["auc"]["method"].lower() or "patient" in own["auc"]["method"].lower()
    # It takes part, marked as what it is: in the notice and in the table of models.
    assert metrics["made_elsewhere"] == ["radiomics"]
    page = (study.report / "index.html").read_text()
    assert "Made elsewhere." in page
    assert "radiomics: folds and training are not verifiable" in page
    summary = page[: page.index("<section")]
    assert "has not seen its patient" not in summary
    summary = pd.read_csv(study.report / "tables" / "summary_internal.csv").set_index("model")
    assert "not verifiable" in summary.loc["radiomics", "origin"]
    assert pd.isna(summary.loc["3d", "origin"])


def test_an_own_table_that_was_edited_is_made_elsewhere(study):
    path = study.predictions_csv("3d")
    assert not made_elsewhere(path)
    change(study, lambda t: t.iloc[::-1], name="3d")
    assert made_elsewhere(path)
    assert made_elsewhere(study.predictions_csv("radiomics"))


def test_own_folds_of_a_table_are_used_if_the_study_has_none(study, monkeypatch, capsys):
    for path in (study.folds_csv, record_of(study.folds_csv)):
        path.unlink()
    for name in ("3d", "2d"):
        for path in (study.predictions_csv(name), record_of(study.predictions_csv(name))):
            path.unlink()
    change(study, lambda t: t.assign(fold=t["fold"].replace({"0": "5"})))
    code, text = command(monkeypatch, capsys, "report", "--study", study.root)
    assert code == 0, text
    metrics = json.loads((study.report / "metrics.json").read_text())
    assert set(metrics["models"]["radiomics"]["folds"]) == {"1", "2", "5"}
    assert metrics["title"] == "Internal test"
    page = (study.report / "index.html").read_text()
    summary = page[: page.index("<section")]
    assert "has not seen its patient" not in summary
    assert "out-of-fold" not in summary


# ---- evaluate ----


def any_table(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    truth = np.where(np.arange(n) % 3 > 0, "malignant", "benign")
    p = 1 / (1 + np.exp(-rng.normal(size=n) - 1.5 * ((truth == "malignant") - 0.5)))
    return pd.DataFrame(
        {
            "case_id": [f"C{i}" for i in range(n)],
            "label": truth,
            "p_malignant": p,
            "p_benign": 1 - p,
        }
    )


def evaluate(monkeypatch, capsys, tmp_path, table, *options) -> tuple[int, str, dict]:
    table.to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    code, text = command(
        monkeypatch, capsys, "evaluate", tmp_path / "t.csv", "--out", out, *options
    )
    assert out.exists() == (code == 0), text
    metrics = json.loads((out / "metrics.json").read_text()) if code == 0 else {}
    return code, text, metrics


def test_the_order_of_prob_decides_nothing(tmp_path, monkeypatch, capsys):
    names = ["p_malignant", "p_benign"]
    found = []
    for order in (names, names[::-1]):
        options = [word for name in order for word in ("--prob", name)]
        code, text, metrics = evaluate(monkeypatch, capsys, tmp_path, any_table(), *options)
        assert code == 0, text
        assert text.rstrip().endswith("positive class: malignant")
        found.append(metrics)
    assert found[0] == found[1]
    assert found[0]["models"]["t"]["auc"]["value"] > 0.7


@pytest.mark.parametrize("first", [0, 1])
def test_labels_whose_names_tell_nothing_are_asked_about(tmp_path, monkeypatch, capsys, first):
    names = {"malignant": "sarcoma", "benign": "chordoma"}
    table = (
        any_table().replace(names).rename(columns={f"p_{k}": f"p_{v}" for k, v in names.items()})
    )
    columns = ["p_sarcoma", "p_chordoma"]
    table = table[["case_id", "label", columns[first], columns[1 - first]]]
    code, text, _ = evaluate(monkeypatch, capsys, tmp_path, table)
    assert (code, "--positive CLASS" in text) == (2, True)
    code, text, metrics = evaluate(monkeypatch, capsys, tmp_path, table, "--positive", "sarcoma")
    assert code == 0, text
    assert text.rstrip().endswith("positive class: sarcoma")
    assert metrics["models"]["t"]["auc"]["value"] > 0.7


def _refusals():
    table = any_table()
    third = table.assign(label=table["label"].where(table.index % 4 > 0, "other"), p_other=0.0)
    half = table[["case_id", "label"]].assign(
        p_malignant=table["p_malignant"], ai_benign=table["p_benign"], other=0.5
    )
    bare = table.drop(columns="p_benign")
    split = pd.Series(np.where(table.index % 2, "val", "test"))
    return {
        "positive of three": (third, ["--positive", "malignant"], "two classes only"),
        "the label": (bare, ["--prob", "label"], "'label' is the label"),
        "a copy of the label": (
            bare.assign(ai=(bare["label"] == "malignant").astype(int)),
            ["--prob", "ai"],
            "'ai' is the label",
        ),
        "a copy of the label, inverted": (
            bare.assign(ai=(bare["label"] == "benign").astype(int)),
            ["--prob", "ai"],
            "'ai' is the label",
        ),
        "columns of different classes": (
            half,
            ["--prob", "p_malignant", "--prob", "ai_benign", "--prob", "other"],
            "named after different classes",
        ),
        "a column of the other class": (
            table,
            ["--prob", "p_benign", "--positive", "malignant"],
            "another class than the positive one",
        ),
        "PatientID": (bare.assign(PatientID="P1"), [], "--patient 'PatientID'; or --patient none"),
        "patient": (bare.assign(**{"Patient no.": "P1"}), [], "--patient 'Patient no.'"),
        "no such patient column": (bare, ["--patient", "pid"], "no column 'pid'"),
        "two labels": (bare.assign(Label="x"), [], "two columns have the name of the label"),
        "validation is test": (
            pd.concat([bare.assign(split="val", fold=0), bare.assign(split="test", fold=0)]),
            [],
            "the validation rows of fold 0 are its test rows",
        ),
        "a patient in two splits": (
            bare.assign(split=split, fold=0, patient_id=[f"P{i // 2}" for i in bare.index]),
            [],
            "patient P0 has two splits in the rows of fold 0",
        ),
        "a patient in training and test": (
            bare.assign(
                split=split.replace("val", "train"),
                fold=1,
                patient_id=[f"P{i // 2}" for i in bare.index],
            ),
            [],
            "patient P0 has two splits in the rows of fold 1",
        ),
        "a centre called internal": (
            bare.assign(split="external", cohort="Internal"),
            [],
            "case C0: an internal case is marked as external",
        ),
        "a patient on both sides": (
            bare.assign(
                split=split.replace("val", "external"),
                patient_id=[f"P{i // 2}" for i in bare.index],
            ),
            [],
            "patient P0 is internal and external",
        ),
    }


@pytest.mark.parametrize("name", _refusals())
def test_evaluate_refuses(tmp_path, monkeypatch, capsys, name):
    table, options, words = _refusals()[name]
    code, text, _ = evaluate(monkeypatch, capsys, tmp_path, table, *options)
    assert code == 2, text
    assert words in text


def sets_of(table, tmp_path, **options):
    path = tmp_path / "t.csv"
    table.to_csv(path, index=False)
    given_options = {"label": None, "prob": (), "positive": None, "threshold": 0.5, **options}
    return read_any_table(path, **given_options)


def test_a_blank_patient_is_the_case_itself(tmp_path):
    table = any_table().assign(patient_id="")
    table.loc[[1, 2], "patient_id"] = "P1"
    (cases,) = sets_of(table, tmp_path)
    patients = cases.scored[0].cases["patient_id"].tolist()
    assert patients == ["C0", "P1", "P1", *[f"C{i}" for i in range(3, 60)]]


def test_the_patient_column_can_be_named(tmp_path, monkeypatch, capsys):
    table = any_table().assign(PatientID=[f"P{i // 3}" for i in range(60)])
    known = table.rename(columns={"PatientID": "patient_id"})
    own = any_table()
    runs = {
        "named": evaluate(monkeypatch, capsys, tmp_path, table, "--patient", "PatientID"),
        "known": evaluate(monkeypatch, capsys, tmp_path, known),
        "none": evaluate(monkeypatch, capsys, tmp_path, table, "--patient", "none"),
        "without": evaluate(monkeypatch, capsys, tmp_path, own),
    }
    assert {code for code, *_ in runs.values()} == {0}
    aucs = {name: metrics["models"]["t"]["auc"] for name, (*_, metrics) in runs.items()}
    assert aucs["named"] == aucs["known"] != aucs["none"] == aucs["without"]


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_the_order_of_rows_and_columns_decides_nothing(tmp_path, data):
    """Rows, columns and --prob in any order: the same positive class and probabilities by case."""
    table = any_table(9)
    table = table.assign(
        patient_id=["", "P1", "P1", *[""] * 6], split="test", fold=table.index % 3, model="net"
    )
    table = table.assign(malignant_by_radiologist=table["p_malignant"].round(1), extra=0.3)
    choices = [["p_benign", "p_malignant"], ["p_malignant", "malignant_by_radiologist"], []]
    prob = data.draw(st.sampled_from(choices))
    moved = table.loc[data.draw(st.permutations(list(table.index)))]
    moved = moved[data.draw(st.permutations(list(table.columns)))]

    def answers(table, prob):
        (found,) = sets_of(table, tmp_path, prob=prob)
        return {
            scored.name: (
                scored.positive,
                scored.classes,
                scored.cases.sort_values("case_id").reset_index(drop=True),
            )
            for scored in found.scored
        }

    before, after = answers(table, prob), answers(moved, data.draw(st.permutations(prob)))
    assert set(before) == set(after)
    for name, (positive, classes, cases) in before.items():
        assert after[name][:2] == (positive, classes) == ("malignant", CLASSES)
        pd.testing.assert_frame_equal(after[name][2], cases)


def test_an_own_table_of_probabilities_is_verified(study, monkeypatch, capsys, tmp_path):
    out = tmp_path / "out"
    titles = {}
    for name in ("3d", "radiomics"):
        path = study.predictions_csv(name)
        code, text = command(monkeypatch, capsys, "evaluate", path, "--out", out)
        assert code == 0, text
        titles[name] = json.loads((out / "metrics.json").read_text())["title"]
    assert titles == {"3d": "Internal test, out-of-fold", "radiomics": "Internal test"}
    assert read_predictions(study.predictions_csv("3d"), CLASSES)["split"].nunique() == 3
