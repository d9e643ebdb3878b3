"""Models and readers side by side, against scikit-learn and statsmodels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score, precision_score, recall_score
from statsmodels.stats.contingency_tables import cochrans_q
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa
from statsmodels.stats.proportion import proportion_confint

from ctbone.cohort import read_cohort
from ctbone.fusion import fuse
from ctbone.reporting.analysis import analyse
from ctbone.reporting.fusion_records import fusion_records
from ctbone.reporting.readers_section import judge_readers, reader_scores
from ctbone.reporting.side_by_side import callers_of, side_by_side_section
from ctbone.reporting.sources import case_sets, sources
from tests.reporting.synthetic_study import Sizes, make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two junior readers and a senior one; every case is of one of three subtypes."""
    study = make_study(
        tmp_path_factory.mktemp("beside") / "study",
        Sizes((30, 40), (0, 0)),
        readers=("senior", "junior"),
        folds={"count": 2},
        evaluation={"bootstrap": 100},
        fusion={"combinations": {"both": ["3d", "2d"]}},
    )
    cohort = pd.read_csv(study.cohort_csv, dtype=str, keep_default_na=False)
    rare = cohort.groupby("label").cumcount() < 4  # below the five cases that a row needs
    named = cohort["label"].map({"benign": "cyst", "malignant": "sarcoma"})
    cohort["subtype"] = named.mask(rare & (cohort["label"] == "benign"), "rare")
    cohort.to_csv(study.cohort_csv, index=False)
    scores = pd.read_csv(study.scores_csv)
    third = scores[scores["reader_id"] == "junior"].assign(reader_id="second", level="junior")
    third["score"] = np.random.default_rng(1).permutation(third["score"])
    pd.concat([scores, third.iloc[5:]]).to_csv(study.scores_csv, index=False)
    fuse(study, scores=None)
    return study


@pytest.fixture(scope="module")
def made(study):
    cohort = read_cohort(study)
    tables = sources(study)
    analysis = analyse(case_sets(study, cohort, tables), study.settings.evaluation, bands=False)
    readers = judge_readers(study, cohort, analysis, reader_scores(study, cohort))
    records = fusion_records(study, tables)
    section = side_by_side_section(cohort, analysis, readers, records)
    tables = {block.table.key: block.table for block in section.blocks[1:]}
    return analysis, readers, tables


def rows_of(table):
    return {row.cells[0]: row.cells for row in table.rows}


def calls(study):
    """Calls of the readers, 1 for malignant, one column a reader; truth by case."""
    scores = pd.read_csv(study.scores_csv)
    wide = scores.pivot_table(index="case_id", columns="reader_id", values="score")
    truth = pd.read_csv(study.cohort_csv, dtype=str).set_index("case_id")["label"]
    return (wide > 5).astype(float).where(wide.notna()), (truth == "malignant").astype(int)


def fused(study):
    table = pd.read_csv(study.fusion_csv("both"))
    test = table[(table["split"] == "test") & table["view"].isna()].set_index("case_id")
    return (test["p_malignant"] >= 0.5).astype(int)


def test_a_level_pools_the_calls_of_its_readers(study, made):
    row = rows_of(made[2]["models_and_readers_internal"])["junior"]
    wide, truth = calls(study)
    pooled = pd.concat([wide["junior"].dropna(), wide["second"].dropna()])
    y = truth.loc[pooled.index]
    assert row[1] == len(pooled) == 135
    f1, auc, accuracy, sensitivity, specificity, ppv, _ = row[2:9]
    assert auc is None
    assert f1.value == pytest.approx(f1_score(y, pooled))
    assert accuracy.value == pytest.approx((y == pooled).mean())
    assert sensitivity.value == pytest.approx(recall_score(y, pooled))
    assert specificity.value == pytest.approx(recall_score(1 - y, 1 - pooled))
    assert ppv.value == pytest.approx(precision_score(y, pooled))
    assert "by patient" in accuracy.method  # each case is read twice


def test_readers_are_tested_by_cochrans_q_and_models_by_delong(study, made):
    analysis, _, tables = made
    rows = rows_of(tables["models_and_readers_internal"])
    assert list(rows) == ["3d", "2d", "both", "senior", "junior"]
    assert rows["both"][9] is None
    wide, truth = calls(study)
    for name, members in (("senior", ["senior"]), ("junior", ["junior", "second"])):
        table = pd.concat([fused(study), wide[members]], axis=1).dropna()
        right = table.eq(truth.loc[table.index], axis=0).astype(int)
        assert rows[name][9] == pytest.approx(cochrans_q(right.to_numpy()).pvalue)
    compared = {frozenset((c.a, c.b)): c for c in analysis.lead.comparisons}
    assert rows["3d"][9] == compared[frozenset(("3d", "both"))].result.p_value


def test_accuracy_by_subtype_is_the_share_with_wilsons_interval(study, made):
    table = made[2]["subtypes_internal"]
    titles = [column.title for column in table.columns]
    assert titles[3:] == ["senior", "junior", "all readers", "3d", "2d", "both", "all models"]
    assert [row.cells[:3] for row in table.rows] == [
        ("benign", "cyst", 26),
        ("malignant", "sarcoma", 40),
    ]
    wide, truth = calls(study)
    inside = truth.index[truth == 1]
    found = table.rows[1].cells[3]
    right = int(wide.loc[inside, "senior"].sum())
    assert found.value == pytest.approx(right / 40)
    assert (found.low, found.high) == pytest.approx(proportion_confint(right, 40, method="wilson"))


def test_agreement_is_that_of_statsmodels_and_scikit_learn(study, made):
    wide, _ = calls(study)
    both = fused(study)
    found = {row.cells[1]: row.cells for row in made[2]["agreement_internal"].rows}
    groups = {
        "readers": wide,
        "junior": wide[["junior", "second"]],
        "readers and both": pd.concat([wide, both], axis=1),
    }
    for name, table in groups.items():
        ratings = table.dropna().to_numpy(int)
        counts, _ = aggregate_raters(ratings)
        assert found[name][3] == len(ratings)
        assert found[name][4].value == pytest.approx(fleiss_kappa(counts))
    pair = pd.concat([wide["second"], both], axis=1).dropna().to_numpy(int)
    kappa = cohen_kappa_score(*pair.T)
    assert found["both and second (junior)"][4].value == pytest.approx(kappa)


def test_without_readers_and_subtypes_there_is_no_section(study, made):
    cohort = read_cohort(study)
    plain = make_study(study.root.parent / "plain", Sizes((10, 10), (0, 0)), folds={"count": 2})
    assert (
        side_by_side_section(read_cohort(plain), made[0], None, fusion_records(plain, [])) is None
    )
    section = side_by_side_section(cohort, made[0], None, fusion_records(study, []))
    assert [block.table.key for block in section.blocks[1:]] == ["subtypes_internal"]
    assert not any(caller.reads for caller in callers_of(made[0].lead, ()))
