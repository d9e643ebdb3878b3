"""Table 1: what the groups of a cohort look like, and whether they differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ctbone.stats.distributions import chi2_upper
from ctbone.stats.estimate import TestResult
from ctbone.stats.inputs import Floats, Ints, StatsError

ContinuousTest: TypeAlias = Literal["student", "welch", "kruskal-wallis"]
CategoricalTest: TypeAlias = Literal["chi-squared", "yates", "fisher"]


@dataclass(frozen=True)
class ContinuousSummary:
    """One group's values.

    Parameters
    ----------
    group
        Its name.
    n, missing
        Known and missing values.
    mean, sd
        Mean and standard deviation (n − 1), NaN-free: None where there are too few values.
    median, lower_quartile, upper_quartile
        Quantiles by linear interpolation, None where there is no value.
    """

    group: str
    n: int
    missing: int
    mean: float | None
    sd: float | None
    median: float | None
    lower_quartile: float | None
    upper_quartile: float | None


@dataclass(frozen=True)
class ContinuousComparison:
    """A row of Table 1 for a continuous variable.

    Parameters
    ----------
    groups
        In the order given.
    test
        Test of equality of the groups.
    smd
        Standardised mean difference, first minus second, of two groups; else None.
    """

    groups: tuple[ContinuousSummary, ...]
    test: TestResult
    smd: float | None


@dataclass(frozen=True)
class CategoricalSummary:
    """One group's counts.

    Parameters
    ----------
    group
        Its name.
    n, missing
        Known and missing values.
    counts
        Cases in each category, in the order of the comparison's ``categories``.
    percent
        Share of the known values, 0–100; None where there is none.
    """

    group: str
    n: int
    missing: int
    counts: tuple[int, ...]
    percent: tuple[float | None, ...]


@dataclass(frozen=True)
class CategoricalComparison:
    """A row of Table 1 for a categorical variable.

    Parameters
    ----------
    categories
        Names, in order.
    groups
        In the order given.
    test
        Test of independence.
    smd
        Standardised difference of two groups, ≥ 0; else None.
    """

    categories: tuple[str, ...]
    groups: tuple[CategoricalSummary, ...]
    test: TestResult
    smd: float | None


def compare_continuous(
    values: ArrayLike,
    group: ArrayLike,
    *,
    test: ContinuousTest = "welch",
    groups: Sequence[Any] | None = None,
) -> ContinuousComparison:
    """Compare a continuous variable between groups.

    Parameters
    ----------
    values
        Shape (n,); NaN where missing, which is counted and left out.
    group
        Group of each case, shape (n,).
    test
        ``"student"`` (equal variances; with more than two groups one-way analysis of variance, which is the same for
        two), ``"welch"`` (unequal variances, likewise) or ``"kruskal-wallis"`` (by ranks, corrected for ties).
    groups
        Groups in the order of the table; default: those that occur, sorted. Cases of other groups are left out.

    Returns
    -------
    ContinuousComparison
        For two groups the statistic of Student and Welch is t, first minus second; for more it is F, and ``df`` is the
        denominator's.

    Raises
    ------
    StatsError
        If values and groups do not fit together, are not numbers, or there are fewer than two groups.

    References
    ----------
    Student, Biometrika 1908;6:1. Welch, Biometrika 1947;34:28 and 1951;38:330. Kruskal & Wallis, J Am Stat Assoc
    1952;47:583. Austin, Stat Med 2009;28:3083 (SMD).

    Examples
    --------
    >>> row = compare_continuous([30, 40, 50, 45, 60, float("nan")], ["b", "b", "b", "m", "m", "m"])
    >>> row.groups[1].missing, round(row.test.p_value, 3)
    (1, 0.309)
    """
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise StatsError("a continuous variable holds something that is no number", found=repr(values)[:80]) from None
    if np.isinf(numbers).any():
        raise StatsError("a continuous variable is infinite", found="inf", expected="numbers, NaN where missing")
    names, members = _members(numbers, group, groups)
    samples = [numbers[inside] for inside in members]
    known = [sample[~np.isnan(sample)] for sample in samples]
    rows = tuple(
        _summary(name, kept, sample.size - kept.size) for name, kept, sample in zip(names, known, samples, strict=True)
    )
    if test not in _CONTINUOUS:
        raise StatsError("unknown test of a continuous variable", found=test, expected=", ".join(_CONTINUOUS))
    return ContinuousComparison(rows, _CONTINUOUS[test](known), _continuous_smd(known))


def compare_categorical(
    values: ArrayLike,
    group: ArrayLike,
    *,
    test: CategoricalTest = "chi-squared",
    groups: Sequence[Any] | None = None,
    categories: Sequence[Any] | None = None,
) -> CategoricalComparison:
    """Compare a categorical variable between groups.

    Parameters
    ----------
    values
        Category of each case, shape (n,); None, NaN or the empty text where missing, which is counted and left out.
    group
        Group of each case, shape (n,).
    test
        ``"chi-squared"`` (Pearson, without correction), ``"yates"`` (2 × 2 only, the correction never beyond the
        difference itself) or ``"fisher"`` (2 × 2 only, two-sided by probability).
    groups, categories
        In the order of the table; default: those that occur, sorted. Cases of other groups are left out.

    Returns
    -------
    CategoricalComparison

    Raises
    ------
    StatsError
        If values and groups do not fit together, a value is not among the categories, or there are fewer than two
        groups.

    References
    ----------
    Pearson, Philos Mag 1900;50:157. Yates, J R Stat Soc Suppl 1934;1:217. Fisher, J R Stat Soc 1922;85:87.
    Yang & Dalton, SAS Global Forum 2012:335 (standardised difference).

    Examples
    --------
    >>> sex = ["F"] * 71 + ["M"] * 58 + ["F"] * 167 + ["M"] * 218
    >>> label = ["benign"] * 129 + ["malignant"] * 385
    >>> round(compare_categorical(sex, label, test="yates").test.p_value, 3)
    0.028
    """
    given = np.asarray(values, dtype=object)
    names, members = _members(given, group, groups)
    # Missing in any dialect: None, NaN (which is not itself), pandas' NA, an empty cell.
    missing = np.array([_is_missing(value) for value in given], dtype=np.bool_)
    kinds = list(categories) if categories is not None else _sorted_kinds(given[~missing])
    strangers = [value for value in given[~missing] if value not in kinds]
    if strangers:
        raise StatsError("a value is not among the categories", found=strangers[0], expected=", ".join(map(str, kinds)))
    table = np.array(
        [[sum(value == kind for value in given[inside & ~missing]) for kind in kinds] for inside in members],
        dtype=np.int64,
    ).reshape(len(names), len(kinds))
    rows = tuple(
        CategoricalSummary(
            str(name),
            int(counts.sum()),
            int((inside & missing).sum()),
            tuple(int(count) for count in counts),
            tuple(100 * float(count) / float(counts.sum()) if counts.sum() else None for count in counts),
        )
        for name, counts, inside in zip(names, table, members, strict=True)
    )
    return CategoricalComparison(
        tuple(str(kind) for kind in kinds), rows, independence_test(table, test=test), _categorical_smd(table)
    )


def independence_test(table: ArrayLike, *, test: CategoricalTest = "chi-squared") -> TestResult:
    """Test rows against columns of a table of counts; see `compare_categorical`.

    Parameters
    ----------
    table
        Counts, shape (groups, categories). Empty columns are left out, an empty row makes the test undefined.
    test
        As in `compare_categorical`.

    Returns
    -------
    TestResult
        Undefined where fewer than two categories occur, a group is empty, or a 2 × 2 test meets another table.

    Raises
    ------
    StatsError
        If the counts are negative or the test is unknown.

    Examples
    --------
    >>> round(independence_test([[13, 6], [15, 21]], test="yates").p_value, 3)
    0.109
    """
    names = {"chi-squared": "χ², no correction", "yates": "χ² with Yates' correction", "fisher": "Fisher's exact test"}
    if test not in names:
        raise StatsError("unknown test of a categorical variable", found=test, expected=", ".join(names))
    counts = np.asarray(table, dtype=np.int64)
    if counts.ndim != 2 or (counts < 0).any():
        raise StatsError("a table of counts is two-dimensional and not negative", found=counts.tolist())
    method = names[test]
    if (counts.sum(axis=1) == 0).any():
        return TestResult.undefined(method, "a group holds no known value")
    counts = counts[:, counts.sum(axis=0) > 0]
    if min(counts.shape) < 2:
        return TestResult.undefined(method, "only one category occurs")
    if test != "chi-squared" and counts.shape != (2, 2):
        return TestResult.undefined(method, f"it is for 2 × 2 tables, not {counts.shape[0]} × {counts.shape[1]}")
    if test == "fisher":
        from scipy.stats import fisher_exact

        return TestResult(None, None, float(fisher_exact(counts)[1]), method)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    gap = np.abs(counts - expected)
    if test == "yates":
        gap = gap - np.minimum(0.5, gap)
    statistic = float((gap**2 / expected).sum())
    df = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    return TestResult(statistic, float(df), chi2_upper(statistic, df), method)


def _members(values: np.ndarray, group: ArrayLike, groups: Sequence[Any] | None) -> tuple[list[Any], list[np.ndarray]]:
    membership = np.asarray(group, dtype=object)
    if values.ndim != 1 or membership.shape != values.shape:
        raise StatsError("values and groups do not fit together", found=f"{values.shape} and {membership.shape}")
    names = list(groups) if groups is not None else _sorted_kinds(membership)
    if len(names) < 2:
        raise StatsError("a comparison needs two groups", found=names, expected="at least two")
    return names, [np.array([value == name for value in membership], dtype=np.bool_) for name in names]


def _sorted_kinds(values: np.ndarray) -> list[Any]:
    kinds = set(values.tolist())
    try:
        return sorted(kinds)
    except TypeError:
        return sorted(kinds, key=str)


def _is_missing(value: Any) -> bool:
    if value is None or (isinstance(value, str) and value == ""):
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA refuses to be a truth value
        return True


def _summary(name: Any, known: Floats, missing: int) -> ContinuousSummary:
    if known.size == 0:
        return ContinuousSummary(str(name), 0, missing, None, None, None, None, None)
    lower, median, upper = (float(value) for value in np.quantile(known, [0.25, 0.5, 0.75]))
    sd = float(known.std(ddof=1)) if known.size > 1 else None
    return ContinuousSummary(str(name), known.size, missing, float(known.mean()), sd, median, lower, upper)


def _student(samples: list[Floats]) -> TestResult:
    from scipy.stats import f_oneway, ttest_ind

    method = "Student's t" if len(samples) == 2 else "one-way analysis of variance"
    why = _too_poor(samples)
    if why:
        return TestResult.undefined(method, why)
    df = float(sum(sample.size - 1 for sample in samples))
    if len(samples) == 2:
        result = ttest_ind(*samples)
        return TestResult(float(result.statistic), df, float(result.pvalue), method)
    result = f_oneway(*samples)
    return TestResult(float(result.statistic), df, float(result.pvalue), method)


def _welch(samples: list[Floats]) -> TestResult:
    from scipy.stats import f, ttest_ind

    method = "Welch's t" if len(samples) == 2 else "Welch's analysis of variance"
    why = _too_poor(samples)
    if why is None and len(samples) > 2 and any(np.ptp(sample) == 0 for sample in samples):
        why = "the values of a group are all the same"
    if why:
        return TestResult.undefined(method, why)
    if len(samples) == 2:
        result = ttest_ind(*samples, equal_var=False)
        return TestResult(float(result.statistic), float(result.df), float(result.pvalue), method)
    precision = np.array([sample.size / sample.var(ddof=1) for sample in samples])
    means = np.array([sample.mean() for sample in samples])
    share = precision / precision.sum()
    k = len(samples)
    lost = float((((1 - share) ** 2) / (np.array([sample.size for sample in samples]) - 1)).sum())
    between = float((precision * (means - share @ means) ** 2).sum()) / (k - 1)
    statistic = between / (1 + 2 * (k - 2) / (k**2 - 1) * lost)
    df = (k**2 - 1) / (3 * lost)
    return TestResult(statistic, df, float(f.sf(statistic, k - 1, df)), method)


def _kruskal_wallis(samples: list[Floats]) -> TestResult:
    from scipy.stats import kruskal

    method = "Kruskal–Wallis"
    if any(sample.size == 0 for sample in samples):
        return TestResult.undefined(method, "a group holds no known value")
    if np.ptp(np.concatenate(samples)) == 0:
        return TestResult.undefined(method, "all values are the same")
    result = kruskal(*samples)
    return TestResult(float(result.statistic), float(len(samples) - 1), float(result.pvalue), method)


_CONTINUOUS = {"student": _student, "welch": _welch, "kruskal-wallis": _kruskal_wallis}


def _too_poor(samples: list[Floats]) -> str | None:
    if any(sample.size < 2 for sample in samples):
        return "a group has fewer than two known values"
    if all(np.ptp(sample) == 0 for sample in samples):
        return "the values do not vary within the groups"
    return None


def _continuous_smd(samples: list[Floats]) -> float | None:
    if len(samples) != 2 or min(sample.size for sample in samples) < 2:
        return None
    pooled = math.sqrt(float(samples[0].var(ddof=1) + samples[1].var(ddof=1)) / 2)
    return None if pooled == 0 else float(samples[0].mean() - samples[1].mean()) / pooled


def _categorical_smd(table: Ints) -> float | None:
    """Mahalanobis distance between the two groups' shares, the mean of their covariances as the metric."""
    if len(table) != 2 or (table.sum(axis=1) == 0).any():
        return None
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return None
    # One share follows from the others: without the first the covariance can be inverted.
    first, second = table[:, 1:] / table.sum(axis=1, keepdims=True)
    covariance = (np.diag(first) - np.outer(first, first) + np.diag(second) - np.outer(second, second)) / 2
    gap = first - second
    if np.linalg.matrix_rank(covariance) < gap.size:
        return None
    return math.sqrt(float(gap @ np.linalg.solve(covariance, gap)))
