"""Table 1 against SciPy, statsmodels and the main paper's own table."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.oneway import anova_oneway

from ctbone.stats import StatsError, compare_categorical, compare_continuous


def ages(seed=0, sizes=(40, 60, 25)):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(40 + 4 * k, 10 + 3 * k, n) for k, n in enumerate(sizes)])
    return np.round(values), np.repeat([f"g{k}" for k in range(len(sizes))], sizes)


@pytest.mark.parametrize(("test", "equal"), [("student", True), ("welch", False)])
def test_t_equals_scipy(test, equal):
    values, group = ages(sizes=(40, 60))
    oracle = scipy_stats.ttest_ind(values[group == "g0"], values[group == "g1"], equal_var=equal)
    found = compare_continuous(values, group, test=test).test
    assert (found.statistic, found.p_value, found.df) == pytest.approx(
        (oracle.statistic, oracle.pvalue, oracle.df)
    )


@pytest.mark.parametrize(("test", "variances"), [("student", "equal"), ("welch", "unequal")])
def test_three_groups_equal_statsmodels(test, variances):
    values, group = ages()
    oracle = anova_oneway([values[group == name] for name in ("g0", "g1", "g2")], use_var=variances)
    found = compare_continuous(values, group, test=test).test
    assert found.statistic == pytest.approx(oracle.statistic)
    assert found.p_value == pytest.approx(oracle.pvalue)
    assert found.df == pytest.approx(oracle.df_denom)


def test_kruskal_wallis_equals_scipy():
    values, group = ages()
    oracle = scipy_stats.kruskal(*[values[group == name] for name in ("g0", "g1", "g2")])
    found = compare_continuous(values, group, test="kruskal-wallis").test
    assert (found.statistic, found.p_value, found.df) == pytest.approx(
        (oracle.statistic, oracle.pvalue, 2)
    )


def test_summary_counts_missing_values():
    values, group = ages(sizes=(5, 6))
    values[[0, 3, 7]] = np.nan
    first, second = compare_continuous(values, group).groups
    assert (first.n, first.missing, second.n, second.missing) == (3, 2, 5, 1)
    kept = pd.Series(values[group == "g1"])
    assert second.mean == pytest.approx(kept.mean())
    assert second.sd == pytest.approx(kept.std())
    assert second.median == kept.median()
    assert (second.lower_quartile, second.upper_quartile) == (
        kept.quantile(0.25),
        kept.quantile(0.75),
    )


def test_standardised_mean_difference():
    values, group = ages(sizes=(40, 60))
    a, b = values[group == "g0"], values[group == "g1"]
    found = compare_continuous(values, group)
    assert found.smd == pytest.approx(
        (a.mean() - b.mean()) / math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    )
    assert compare_continuous(values, group, groups=["g1", "g0"]).smd == pytest.approx(-found.smd)
    assert compare_continuous(*ages()).smd is None


def test_age_in_the_main_paper_is_not_from_students_t():
    """Rebuilt from the printed means and deviations of both classes: .0053 and .0011, not .003."""
    rng = np.random.default_rng(0)

    def exactly(mean, sd, n):
        values = rng.normal(size=n)
        return mean + sd * (values - values.mean()) / values.std(ddof=1)

    values = np.concatenate([exactly(38.28, 13.51, 129), exactly(43.31, 18.82, 385)])
    group = np.repeat(["benign", "malignant"], [129, 385])
    assert round(compare_continuous(values, group, test="student").test.p_value, 4) == 0.0053
    assert round(compare_continuous(values, group, test="welch").test.p_value, 4) == 0.0011


def test_the_cohorts_of_the_main_paper():
    sex = np.repeat(["F", "M", "F", "M"], [71, 58, 167, 218])
    label = np.repeat(["benign", "malignant"], [129, 385])
    row = compare_categorical(sex, label, test="yates")
    assert [part.n for part in row.groups] == [129, 385]
    assert [round(share, 2) for share in row.groups[0].percent] == [55.04, 44.96]
    assert [round(share, 2) for share in row.groups[1].percent] == [43.38, 56.62]


def test_standardised_difference_of_categories():
    table = np.array([[71, 58], [167, 218]])
    values = np.repeat(["F", "M", "F", "M"], table.ravel())
    group = np.repeat(["b", "m"], table.sum(axis=1))
    p, q = 71 / 129, 167 / 385
    expected = abs(p - q) / math.sqrt((p * (1 - p) + q * (1 - q)) / 2)
    assert compare_categorical(values, group).smd == pytest.approx(expected)
    sites = np.repeat(["S1", "S2", "S3"] * 2, [10, 20, 30, 25, 10, 12])
    arms = np.repeat(["b", "m"], [60, 47])
    first = compare_categorical(sites, arms).smd
    reordered = compare_categorical(sites, arms, categories=["S3", "S1", "S2"]).smd
    assert first == pytest.approx(reordered), "the category left out does not matter"


@pytest.mark.parametrize("missing", [None, float("nan"), "", pd.NA, np.nan, pd.NaT])
def test_every_kind_of_missing_value_is_counted(missing):
    values = np.array(["F", missing, "M", "F", missing, "M"], dtype=object)
    row = compare_categorical(values, ["a", "a", "a", "b", "b", "b"])
    assert row.categories == ("F", "M")
    assert [part.missing for part in row.groups] == [1, 1]
    assert [part.n for part in row.groups] == [2, 2]


def test_numbers_may_be_categories():
    row = compare_categorical([0, 1, 1, 0], [1, 1, 0, 0], categories=[1, 0])
    assert row.categories == ("1", "0")
    assert row.groups[0].counts == (1, 1)


def test_undefined_results_give_the_reason():
    assert (
        compare_continuous([1, 2, 3], ["a", "b", "b"]).test.why
        == "a group has fewer than two known values"
    )
    assert (
        compare_continuous([1, 1, 2, 2], list("aabb")).test.why
        == "the values do not vary within the groups"
    )
    assert (
        compare_continuous([1, 1, 1, 1], list("aabb"), test="kruskal-wallis").test.why
        == "all values are the same"
    )
    nothing = compare_continuous([np.nan, np.nan, 2, 3], list("aabb"))
    assert nothing.groups[0].mean is None
    assert nothing.test.p_value is None
    assert compare_categorical(["F", "F"], ["a", "b"]).smd is None
    for method in ("student", "welch", "kruskal-wallis"):
        assert compare_continuous([np.nan, 1, 2, 3], ["a", "b", "b", "b"], test=method).test.why


def test_invalid_input_is_an_error():
    with pytest.raises(StatsError, match="two groups"):
        compare_continuous([1, 2], ["a", "a"])
    with pytest.raises(StatsError, match="not a number"):
        compare_continuous(["old", "young"], ["a", "b"])
    with pytest.raises(StatsError, match="categories"):
        compare_categorical(["F", "X"], ["a", "b"], categories=["F", "M"])
    with pytest.raises(StatsError, match="fit together"):
        compare_categorical(["F"], ["a", "b"])
    with pytest.raises(StatsError, match="unknown test"):
        compare_continuous([1, 2, 3, 4], list("aabb"), test="median")
