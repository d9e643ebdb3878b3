"""Fusing a study: averages by hand, no leak, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from ctbone.custody import inspect
from ctbone.errors import CtboneError, PredictionError, ScoreError
from ctbone.fusion import FusionError, fuse
from ctbone.predictions import read_predictions
from ctbone.results import Fusion
from ctbone.study import Study, read_json, record_of
from tests.reporting.synthetic_study import Sizes, make_study

CLASSES = ("benign", "malignant")


def read(path) -> pd.DataFrame:
    return read_predictions(path, CLASSES)


def change(path, edit) -> None:
    """Rewrite a CSV; ``edit`` gets its text cells and returns them."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    edit(table).to_csv(path, index=False)


def set_settings(study: Study, **sections) -> Study:
    content = yaml.safe_load(study.settings_file.read_text())
    study.settings_file.write_text(yaml.safe_dump({**content, **sections}))
    return Study.open(study.root)


def weights_of(study: Study, name: str) -> dict:
    return read_json(record_of(study.fusion_csv(name)))["weights"]


def test_a_fused_test_case_is_the_weighted_mean(study):
    fuse(study, scores=study.scores_csv)
    weights = weights_of(study, "3d+2d+reader")
    fused = read(study.fusion_csv("3d+2d+reader"))
    parts = {name: read(study.predictions_csv(name)) for name in ("3d", "2d")}
    scores = pd.read_csv(study.scores_csv).set_index("case_id")["score"]
    for row in fused[fused["split"] == "test"].itertuples():
        share = weights["folds"][str(row.fold)]
        expected = share["reader"] * scores[row.case_id] / 10
        for name, table in parts.items():
            own = table[
                (table["case_id"] == row.case_id)
                & (table["split"] == "test")
                & (table["view"] == "")
            ]
            assert int(own["fold"].iloc[0]) == row.fold
            expected += share[name] * own["p_malignant"].iloc[0]
        assert row.p_malignant == pytest.approx(expected, abs=1e-9)


def test_an_external_case_averages_the_folds_first(study):
    fuse(study, scores=None)
    mean = weights_of(study, "3d+2d")["mean"]
    fused = read(study.fusion_csv("3d+2d"))
    external = fused[fused["split"] == "external"].set_index("case_id")
    assert external["fold"].isna().all()
    assert external.index.is_unique
    expected = 0.0
    for name in ("3d", "2d"):
        table = read(study.predictions_csv(name))
        own = table[(table["split"] == "external") & (table["view"] == "")]
        assert own.groupby("case_id").size().eq(3).all()
        expected = expected + mean[name] * own.groupby("case_id")["p_malignant"].mean()
    np.testing.assert_allclose(external["p_malignant"], expected[external.index], atol=1e-9)


def test_weights_add_up_and_their_spread_is_that_of_the_folds(study):
    summaries = fuse(study, scores=study.scores_csv)
    for summary in summaries:
        weights = weights_of(study, summary.name)
        folds = pd.DataFrame(weights["folds"]).T
        np.testing.assert_allclose(folds.sum(axis=1), 1)
        assert weights["mean"] == pytest.approx(folds.mean().to_dict())
        assert weights["sd"] == pytest.approx(folds.std(ddof=1).to_dict())
        assert summary.mean == pytest.approx(tuple(folds.mean()[list(summary.parts)]))


def test_every_split_is_written_with_its_origin(study):
    fuse(study, scores=study.scores_csv)
    fused, model = read(study.fusion_csv("3d+reader")), read(study.predictions_csv("3d"))
    for split in ("val", "test"):
        keys = [
            set(
                zip(
                    t.loc[t["split"] == split, "case_id"],
                    t.loc[t["split"] == split, "fold"],
                    strict=True,
                )
            )
            for t in (fused, model)
        ]
        assert keys[0] == keys[1] != set()
    record = read_json(record_of(study.fusion_csv("3d+reader")))
    assert set(record["inputs"]) == {"3d", "reader"}
    assert record["reader"] == "senior"
    assert len(record["curve"]["weight"]) == 101
    assert set(record["curve"]["auc"]) == {"0", "1", "2"}


def test_the_curve_holds_the_validation_auc(study):
    from sklearn.metrics import roc_auc_score

    fuse(study, scores=None)
    curve = read_json(record_of(study.fusion_csv("3d+2d")))["curve"]
    tables = [read(study.predictions_csv(name)) for name in ("3d", "2d")]
    rows = [
        t[(t["split"] == "val") & (t["fold"] == 1) & (t["view"] == "")].set_index("case_id")
        for t in tables
    ]
    p = 0.3 * rows[0]["p_malignant"] + 0.7 * rows[1]["p_malignant"].reindex(rows[0].index)
    expected = roc_auc_score(rows[0]["label"] == "malignant", p)
    assert curve["weight"][30] == pytest.approx(0.3)
    assert curve["auc"]["1"][30] == pytest.approx(expected, abs=1e-9)


def test_the_reader_is_set_beside_the_models(study):
    fuse(study, scores=study.scores_csv)
    table = read(study.fusion_csv("reader"))
    scores = pd.read_csv(study.scores_csv).set_index("case_id")["score"] / 10
    np.testing.assert_allclose(table["p_malignant"], scores[table["case_id"]], atol=1e-12)


# ---- no leak ----


def hand_made(root, seed: int, *, flip: tuple[str, ...] = (), order=None) -> Study:
    """A study of one fold, with different validation and test cases; ``flip`` inverts labels."""
    rng = np.random.default_rng(seed)
    cases = [f"V{i}" for i in range(30)] + [f"T{i}" for i in range(30)]
    truth = dict(zip(cases, rng.integers(2, size=60), strict=True))
    p = {
        model: {
            c: float(np.clip(0.5 + 0.25 * (truth[c] - 0.5) + rng.normal() * 0.2, 0, 1))
            for c in cases
        }
        for model in ("3d", "2d")
    }
    for name in flip:
        truth[name] = 1 - truth[name]
    root.mkdir()
    (root / "study.yaml").write_text("name: hand\nfusion: {combinations: {both: [3d, 2d]}}\n")
    label = {c: CLASSES[truth[c]] for c in cases}
    pd.DataFrame(
        [(c, label[c], "x.nii.gz") for c in cases], columns=["case_id", "label", "image"]
    ).to_csv(root / "cohort.csv", index=False)
    (root / "predictions").mkdir()
    for model in ("3d", "2d"):
        rows = [
            (c, 0, "val" if c[0] == "V" else "test", label[c], 1 - p[model][c], p[model][c])
            for c in cases
        ]
        pd.DataFrame(
            rows, columns=["case_id", "fold", "split", "label", "p_benign", "p_malignant"]
        ).to_csv(root / "predictions" / f"{model}.csv", index=False)
    return Study.open(root)


@pytest.mark.parametrize("seed", range(3))
def test_test_labels_change_nothing(tmp_path, seed):
    turned = tuple(f"T{i}" for i in np.random.default_rng(seed).permutation(30)[:15])
    first, second = hand_made(tmp_path / "a", seed), hand_made(tmp_path / "b", seed, flip=turned)
    fuse(first, scores=None)
    fuse(second, scores=None)
    assert weights_of(first, "both") == weights_of(second, "both")
    tables = [read(s.fusion_csv("both")) for s in (first, second)]
    assert (tables[0]["label"] != tables[1]["label"]).sum() == 15
    np.testing.assert_array_equal(tables[0]["p_malignant"], tables[1]["p_malignant"])


def test_validation_labels_change_the_weights(tmp_path):
    changed = 0
    for seed in range(4):
        turned = tuple(f"V{i}" for i in range(15))
        first = hand_made(tmp_path / f"a{seed}", seed)
        second = hand_made(tmp_path / f"b{seed}", seed, flip=turned)
        fuse(first, scores=None)
        fuse(second, scores=None)
        changed += weights_of(first, "both") != weights_of(second, "both")
    assert changed >= 3


def test_other_probabilities_of_the_test_cases_leave_the_weights(study):
    fuse(study, scores=None)
    before = weights_of(study, "3d+2d")

    def shuffle(table):
        test = table["split"].isin(["test", "external"]) & (table["view"] == "")
        values = table.loc[test, ["p_benign", "p_malignant"]].to_numpy()
        table.loc[test, ["p_benign", "p_malignant"]] = values[::-1]
        return table

    change(study.predictions_csv("3d"), shuffle)
    fuse(study, scores=None)
    assert weights_of(study, "3d+2d") == before


# ---- ways to choose the weights ----


def test_given_weights_are_scaled_to_one(study):
    study = set_settings(study, fusion={"weights": {"3d": 3, "2d": 1, "reader": 2}})
    fuse(study, scores=study.scores_csv)
    assert weights_of(study, "3d+2d")["mean"] == {"3d": 0.75, "2d": 0.25}
    assert weights_of(study, "3d+reader")["mean"] == pytest.approx({"3d": 0.6, "reader": 0.4})


def test_given_weights_must_name_every_part(study):
    study = set_settings(study, fusion={"weights": {"3d": 3}})
    with pytest.raises(FusionError, match="lacks 2d"):
        fuse(study, scores=None)


def test_another_program_takes_part_without_folds_if_nothing_is_fitted(study):
    own = read(study.predictions_csv("3d"))
    own = own[(own["split"] == "test") & (own["view"] == "")]
    own[["case_id", "label", "p_benign", "p_malignant"]].to_csv(
        study.predictions_csv("radiomics"), index=False
    )
    combinations = {"combinations": {"both": ["3d", "radiomics"]}}
    change(study.predictions_csv("3d"), lambda t: t[t["split"] != "external"])
    with pytest.raises(FusionError, match=r"equal"):
        fuse(set_settings(study, fusion=combinations), scores=None)
    fuse(set_settings(study, fusion={**combinations, "weights": "equal"}), scores=None)
    fused = read(study.fusion_csv("both")).set_index("case_id")
    assert set(fused["split"]) == {"test"}
    assert fused["fold"].notna().all()
    np.testing.assert_allclose(
        fused["p_malignant"], own.set_index("case_id")["p_malignant"][fused.index], atol=1e-9
    )


def test_without_scores_the_reader_is_left_out_and_it_is_said(study):
    summaries = {summary.name: summary for summary in fuse(study, scores=None)}
    assert summaries["3d+2d"].path == study.fusion_csv("3d+2d")
    assert "no reader's scores" in str(summaries["3d+reader"])
    assert not study.fusion_csv("3d+reader").exists()


def test_three_classes_fuse_models_but_no_reader(tmp_path):
    study = make_study(
        tmp_path / "study",
        Sizes((20, 20, 20), (5, 5, 5)),
        classes=("benign", "intermediate", "malignant"),
        folds={"count": 3},
        fusion={"combinations": {"3d+2d": ["3d", "2d"]}},
    )
    fuse(study, scores=None)
    table = pd.read_csv(study.fusion_csv("3d+2d"))
    np.testing.assert_allclose(table[["p_benign", "p_intermediate", "p_malignant"]].sum(axis=1), 1)
    cases = pd.read_csv(study.cohort_csv)["case_id"]
    scores = pd.DataFrame(
        {"reader_id": "R1", "level": "senior", "session": "unaided", "case_id": cases, "score": 6}
    )
    scores.to_csv(study.scores_csv, index=False)
    study = set_settings(study, fusion={"combinations": {"3d+reader": ["3d", "reader"]}})
    with pytest.raises(FusionError, match="two classes"):
        fuse(study, scores=study.scores_csv)


# ---- which reader ----


def add_reader(study: Study, name: str, cases=None) -> None:
    def more(table):
        rows = table[table["reader_id"] == "senior"].assign(reader_id=name)
        return pd.concat([table, rows if cases is None else rows.head(cases)])

    change(study.scores_csv, more)


def test_the_reader_who_scored_every_case_is_taken(study):
    add_reader(study, "junior", cases=10)
    assert {s.reader for s in fuse(study, scores=study.scores_csv)} == {None, "senior"}


def add_junior(study: Study, cases=None) -> pd.DataFrame:
    """Add a junior of other scores, and return the probabilities of both by case."""

    def more(table):
        rows = table[table["reader_id"] == "senior"].assign(reader_id="junior", level="junior")
        rows["score"] = rows["score"].map(
            lambda score: str(10 - int(score)) if score < "8" else "6"
        )
        return pd.concat([table, rows.iloc[:cases]])

    change(study.scores_csv, more)
    table = pd.read_csv(study.scores_csv)
    unaided = table[table["session"] == "unaided"]
    return unaided.pivot(index="case_id", columns="reader_id", values="score") / 10


def reader_of(study: Study) -> pd.Series:
    table = read(study.fusion_csv("reader"))
    return table.drop_duplicates("case_id").set_index("case_id")["p_malignant"]


def test_of_several_complete_readers_the_only_senior_is_taken(study):
    both = add_junior(study)
    summaries = fuse(study, scores=study.scores_csv)
    assert {s.reader for s in summaries} == {None, "senior"}
    pd.testing.assert_series_equal(
        reader_of(study).sort_index(), both["senior"].sort_index(), check_names=False
    )
    last = str(Fusion(summaries)).splitlines()[-1]
    assert last == "The reader is senior (the only senior who scored every case)."


def test_a_case_that_no_reader_scored_is_named(study):
    add_junior(study)
    case = pd.read_csv(study.scores_csv)["case_id"].iloc[0]
    change(study.scores_csv, lambda t: t[t["case_id"] != case])
    with pytest.raises(FusionError, match="no reader scored 1 of 90 cases") as error:
        fuse(study, scores=study.scores_csv)
    assert case in str(error.value)


def test_the_mean_and_the_median_count_missing_scores(study):
    both = add_junior(study)
    change(study.scores_csv, lambda t: t.drop(index=t.index[:7]))  # seven of the senior's
    table = pd.read_csv(study.scores_csv)
    gone = set(both.index) - set(table[table["reader_id"] == "senior"]["case_id"])
    both.loc[sorted(gone), "senior"] = np.nan
    for rule, pooled in (("mean", both.mean(axis=1)), ("median", both.median(axis=1))):
        study = set_settings(study, fusion={"readers": rule})
        summaries = fuse(study, scores=study.scores_csv)
        assert {s.reader for s in summaries} == {None, f"{rule} of 2 readers"}
        assert f"; {len(gone)} scores are missing)" in str(Fusion(summaries))
        found = reader_of(study)
        assert found.to_dict() == pytest.approx(pooled.loc[found.index].to_dict())
        record = read_json(record_of(study.fusion_csv("3d+reader")))
        assert record["reader_choice"]["missing_scores"] == len(gone)
        assert record["reader_choice"]["readers"] == ["senior", "junior"]


def test_a_stack_takes_every_reader_as_a_feature(study):
    add_junior(study, cases=80)
    stack = {"every": {"parts": ["3d", "readers"]}}
    study = set_settings(study, fusion={"combinations": {}, "stacking": stack})
    (summary,) = fuse(study, scores=study.scores_csv)
    assert summary.parts == ("3d", "reader senior", "reader junior")
    missing = "each of 2 readers (10 scores are missing)"
    assert f"The reader is {missing}." in str(Fusion([summary]))
    learned = read_json(record_of(study.fusion_csv("every")))["learned"]["features"]
    assert set(learned) >= {"3d", "reader senior", "reader junior"}
    assert not study.fusion_csv("reader").exists()
    assert inspect(study).of("fusion")[0].state == "current"


def test_another_scale_of_the_scores_makes_the_fusions_stale(study):
    fuse(study, scores=study.scores_csv)
    study = set_settings(study, scores={"scale": "percent"})
    states = {link.name: link.because for link in inspect(study).of("fusion") if link.because}
    assert states["3d+reader"] == states["reader"] == "the scale of the scores has changed"
    assert "3d+2d" not in states
    fuse(study, scores=study.scores_csv)
    assert reader_of(study).max() == pytest.approx(0.09)


def test_a_named_reader_is_taken(study):
    add_reader(study, "second")
    both = fuse(study, scores=study.scores_csv)
    assert {s.reader for s in both} == {None, "mean of 2 readers"}, "two seniors"
    assert {s.reader for s in fuse(study, scores=study.scores_csv, reader="second")} == {
        None,
        "second",
    }
    named = set_settings(study, fusion={"reader": "senior"})
    assert {s.reader for s in fuse(named, scores=named.scores_csv)} == {None, "senior"}


def test_if_nobody_scored_every_case_the_gaps_are_counted(study):
    change(study.scores_csv, lambda t: t.iloc[7:])
    with pytest.raises(FusionError, match="no reader scored every case") as error:
        fuse(study, scores=study.scores_csv)
    assert "of 90 cases senior misses 7" in str(error.value)


def test_an_unknown_reader_is_refused(study):
    with pytest.raises(FusionError, match="no unaided scores"):
        fuse(study, scores=study.scores_csv, reader="nobody")


# ---- bad input ----


def first_test_case(table) -> str:
    return table.loc[(table["split"] == "test") & (table["view"] == ""), "case_id"].iloc[0]


def without_a_case(study):
    change(study.predictions_csv("2d"), lambda t: t[t["case_id"] != first_test_case(t)])
    return FusionError, "lacks this case"


def with_an_unknown_case(study):
    change(study.predictions_csv("2d"), lambda t: t.replace(first_test_case(t), "ghost"))
    return PredictionError, "not in the cohort"


def with_another_label(study):
    def edit(table):
        mine = table["case_id"] == first_test_case(table)
        return table.assign(
            label=table["label"].mask(
                mine, "benign" if (table.loc[mine, "label"] == "malignant").all() else "malignant"
            )
        )

    change(study.predictions_csv("2d"), edit)
    return PredictionError, "another label"


def with_another_fold(study):
    def edit(table):
        mine = (table["case_id"] == first_test_case(table)) & (table["split"] == "test")
        return table.assign(
            fold=table["fold"].mask(mine, str((int(table.loc[mine, "fold"].iloc[0]) + 1) % 3))
        )

    change(study.predictions_csv("2d"), edit)
    return PredictionError, "contradicts folds.csv"


def with_another_fold_and_no_folds(study):
    with_another_fold(study)
    study.folds_csv.unlink()
    return FusionError, "different folds"


def without_validation(study):
    for name in ("3d", "2d"):
        change(study.predictions_csv(name), lambda t: t[t["split"] != "val"])
    return FusionError, "no validation rows"


def without_the_table_of_another_program(study):
    set_settings(study, fusion={"combinations": {"both": ["3d", "theirs"]}})
    return CtboneError, "missing"


def with_logits(study):
    change(study.predictions_csv("2d"), lambda t: t.assign(p_malignant="3.2"))
    return CtboneError, "not within 0–1"


def with_the_midpoint(study):
    change(study.scores_csv, lambda t: t.assign(score=t["score"].mask(t.index == 3, "5")))
    return ScoreError, "midpoint"


def with_a_strange_case(study):
    change(study.scores_csv, lambda t: t.assign(case_id=t["case_id"].mask(t.index == 3, "ghost")))
    return ScoreError, "not in the cohort"


@pytest.mark.parametrize(
    "spoil",
    [
        without_a_case,
        with_an_unknown_case,
        with_another_label,
        with_another_fold,
        with_another_fold_and_no_folds,
        without_validation,
        without_the_table_of_another_program,
        with_logits,
        with_the_midpoint,
        with_a_strange_case,
    ],
)
def test_bad_input_is_named_and_nothing_is_written(study, spoil):
    kind, words = spoil(study)
    study = Study.open(study.root)
    with pytest.raises(kind, match=words):
        fuse(study, scores=study.scores_csv)
    assert not (study.root / "fusion").exists()


def test_the_same_study_fuses_to_the_same_bytes(study):
    def contents():
        fuse(study, scores=study.scores_csv)
        return {p.name: p.read_bytes() for p in (study.root / "fusion").iterdir()}

    assert contents() == contents()
    assert json.loads(contents()["3d+2d.json"])["chosen_by"] == "auc"
