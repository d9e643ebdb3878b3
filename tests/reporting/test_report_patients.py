"""Table 1 against SciPy, and the flow of the cases."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, ttest_ind

from ctbone.cohort import read_cohort
from ctbone.reporting.analysis import analyse
from ctbone.reporting.patients import baseline_table, flow
from ctbone.reporting.run_records import run_records
from ctbone.reporting.sources import case_sets, sources


@pytest.fixture(scope="module")
def cohort_table(fused_study) -> pd.DataFrame:
    return pd.read_csv(fused_study.cohort_csv)


@pytest.fixture(scope="module")
def baseline(fused_study) -> pd.DataFrame:
    table = baseline_table(read_cohort(fused_study), fused_study.settings.classes)
    return table.frame().set_index(["characteristic", "level"])


def test_numbers_are_compared_by_welch(cohort_table, baseline):
    internal = cohort_table[cohort_table["cohort"] == "internal"]
    groups = [
        internal.loc[internal["label"] == name, "age"].dropna() for name in ("benign", "malignant")
    ]
    row = baseline.loc[("age", "mean ± SD")]
    assert row["internal_p"] == pytest.approx(ttest_ind(*groups, equal_var=False).pvalue)
    assert row["internal_benign"] == f"{groups[0].mean():.1f} ± {groups[0].std():.1f}"
    assert row["internal_all"] == f"{internal['age'].mean():.1f} ± {internal['age'].std():.1f}"
    missing = baseline.loc[("age", "missing")]
    assert missing["internal_all"] + missing["external_all"] == cohort_table["age"].isna().sum()


def exact_p(counts):
    """Fisher's exact p of a table of two rows: every table with its margins, one by one."""
    columns, first = counts.sum(axis=0), counts[0].sum()
    chances = {}
    for top in itertools.product(*(range(total + 1) for total in columns)):
        if sum(top) == first:
            chances[top] = math.prod(map(math.comb, columns.tolist(), top))
    observed = chances[tuple(counts[0].tolist())]
    return sum(c for c in chances.values() if c <= observed) / sum(chances.values())


@pytest.mark.parametrize("name", ["sex", "site"])
def test_counts_are_compared_by_chi_squared_or_exactly(cohort_table, baseline, name):
    """χ² if its approximation holds (Cochran 1954), else the share of the less probable tables."""
    external = cohort_table[cohort_table["cohort"] != "internal"]
    counts = pd.crosstab(external["label"], external[name])
    first = counts.columns[0]
    four = counts.shape == (2, 2)
    found = chi2_contingency(counts, correction=four)
    small = found.expected_freq
    sparse = small.min() < 1 or (small < 5).mean() > (0 if four else 0.2)
    expected = exact_p(counts.to_numpy()) if sparse else found.pvalue
    assert baseline.loc[(name, first), "external_p"] == pytest.approx(expected)
    share = 100 * counts.loc["malignant", first] / counts.loc["malignant"].sum()
    assert (
        baseline.loc[(name, first), "external_malignant"]
        == f"{counts.loc['malignant', first]} ({share:.1f})"
    )


def test_counts_of_cases(cohort_table, baseline):
    row = baseline.loc[("Cases", "")]
    assert row["internal_all"] == (cohort_table["cohort"] == "internal").sum()
    assert (
        row["external_malignant"]
        == ((cohort_table["cohort"] != "internal") & (cohort_table["label"] == "malignant")).sum()
    )


def test_the_flow_says_who_was_left_out_and_why(study):
    cohort = read_cohort(study)
    lost = [case.case_id for case in cohort.internal][:3]
    for path in (study.predictions_csv("3d"), study.predictions_csv("2d")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table[~table["case_id"].isin(lost)].to_csv(path, index=False)
    rows = [
        (lost[0], "failed", "the mask is empty", "1"),
        (lost[1], "failed", "the mask is empty", "1"),
    ]
    pd.DataFrame(rows, columns=["case_id", "status", "reason", "seconds"]).to_csv(
        study.preprocess_csv, index=False
    )
    analysis = analyse(
        case_sets(study, cohort, sources(study)[:2]), study.settings.evaluation, bands=False
    )
    runs = run_records(study, cohort, sources(study)[:2])
    root = flow(study, cohort=cohort, analysis=analysis, runs=runs).root
    assert root.heading == f"{len(cohort)} cases in the cohort"
    assert root.aside == ("3 cases excluded", "2 × the mask is empty", "1 × no probability")
    kept = [int(box.heading.split(": ")[1].split()[0]) for box in root.below]
    assert sum(kept) + 3 == len(cohort)
    assert np.isclose(sum(kept), len(cohort) - 3)
