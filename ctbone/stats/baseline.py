"""Table 1 (baseline characteristics): group summaries, tests and standardised differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.estimate import TestResult
from ctbone.stats.group_tests import (
    CategoricalTest,
    ContinuousTest,
    independence_test,
    location_test,
)
from ctbone.stats.inputs import Floats, Ints, is_missing


@dataclass(frozen=True)
class ContinuousSummary:
    """Summary of a continuous variable in one group.

    Parameters
    ----------
    group
        Its name.
    n, missing
        Known and missing values.
    mean, sd
        Mean and standard deviation (n − 1); None, never NaN, if there are too few values.
    median, lower_quartile, upper_quartile
        Quantiles by linear interpolation; None if there is no value.
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
        Test of equal location in the groups.
    smd
        Standardised mean difference, first minus second; None unless there are two groups.
    """

    groups: tuple[ContinuousSummary, ...]
    test: TestResult
    smd: float | None


@dataclass(frozen=True)
class CategoricalSummary:
    """Counts of a categorical variable in one group.

    Parameters
    ----------
    group
        Its name.
    n, missing
        Known and missing values.
    counts
        Cases in each category, in the order of the comparison's ``categories``.
    percent
        Percentage of the known values, 0–100; None if there is no known value.
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
        Standardised difference, ≥ 0; None unless there are two groups.
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
        Shape (n,); NaN marks a missing value, which is counted and left out.
    group
        Group of each case, shape (n,).
    test
        ``"student"`` (equal variances; one-way ANOVA for more than two groups), ``"welch"``
        (unequal variances; Welch's ANOVA for more than two groups) or ``"kruskal-wallis"`` (by
        ranks, corrected for ties).
    groups
        Groups in the order of the table; default: those that occur, sorted. Cases of other groups
        are left out.

    Returns
    -------
    ContinuousComparison
        The statistic of Student's and Welch's test is t (first minus second) for two groups and F
        for more; ``df`` of an F is that of the denominator.

    Raises
    ------
    StatsError
        If values and groups differ in length, are not numbers, or there are fewer than two groups.

    References
    ----------
    Student, Biometrika 1908;6:1. Welch, Biometrika 1947;34:28 and 1951;38:330. Kruskal & Wallis, J
    Am Stat Assoc 1952;47:583. Austin, Stat Med 2009;28:3083 (SMD).

    Examples
    --------
    >>> row = compare_continuous([30, 40, 50, 45, 60, float("nan")], ["b", "b", "b", "m", "m", "m"])
    >>> row.groups[1].missing, round(row.test.p_value, 3)
    (1, 0.309)
    """
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise StatsError(
            "a continuous variable holds a value that is not a number",
            found=repr(values)[:80],
        ) from None
    if np.isinf(numbers).any():
        raise StatsError(
            "a continuous variable is infinite", found="inf", expected="numbers, NaN where missing"
        )
    names, members = _group_masks(numbers, group, groups)
    samples = [numbers[inside] for inside in members]
    known = [sample[~np.isnan(sample)] for sample in samples]
    rows = tuple(
        _continuous_summary(name, kept, sample.size - kept.size)
        for name, kept, sample in zip(names, known, samples, strict=True)
    )
    return ContinuousComparison(rows, location_test(known, test=test), _continuous_smd(known))


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
        Category of each case, shape (n,); None, NaN or the empty string marks a missing value,
        which is counted and left out.
    group
        Group of each case, shape (n,).
    test
        ``"chi-squared"`` (Pearson, no correction), ``"yates"`` (2 × 2 only; the correction is at
        most the difference itself), ``"fisher"`` (2 × 2 only, two-sided by probability),
        ``"freeman-halton"`` (Fisher's test of a table of any size; the method says whether it is
        exact or by random tables) or ``"by-expected-counts"``: χ², with Yates' correction if
        2 × 2; Freeman–Halton if an expected count is below 1, more than a fifth are below 5, or
        one of a 2 × 2 table is below 5.
    groups, categories
        In the order of the table; default: those that occur, sorted. Cases of other groups are left
        out.

    Returns
    -------
    CategoricalComparison

    Raises
    ------
    StatsError
        If values and groups differ in length, a value is not among the categories, or there are
        fewer than two groups.

    References
    ----------
    Pearson, Philos Mag 1900;50:157. Yates, J R Stat Soc Suppl 1934;1:217. Fisher, J R Stat Soc
    1922;85:87. Freeman & Halton, Biometrika 1951;38:141. Cochran, Biometrics 1954;10:417. Yang &
    Dalton, SAS Global Forum 2012:335 (standardised difference).

    Examples
    --------
    >>> sex = ["F"] * 71 + ["M"] * 58 + ["F"] * 167 + ["M"] * 218
    >>> label = ["benign"] * 129 + ["malignant"] * 385
    >>> round(compare_categorical(sex, label, test="yates").test.p_value, 3)
    0.028
    """
    given = np.asarray(values, dtype=object)
    names, members = _group_masks(given, group, groups)
    # Missing: None, NaN, pandas.NA or an empty cell.
    missing = np.array(
        [value == "" if isinstance(value, str) else is_missing(value) for value in given],
        dtype=np.bool_,
    )
    kinds = list(categories) if categories is not None else _sorted_kinds(given[~missing])
    unknown = [value for value in given[~missing] if value not in kinds]
    if unknown:
        raise StatsError(
            "a value is not among the categories",
            found=unknown[0],
            expected=", ".join(map(str, kinds)),
        )
    table = np.array(
        [_category_counts(given[inside & ~missing], kinds) for inside in members], dtype=np.int64
    ).reshape(len(names), len(kinds))
    rows = tuple(
        _categorical_summary(name, counts, int((inside & missing).sum()))
        for name, counts, inside in zip(names, table, members, strict=True)
    )
    return CategoricalComparison(
        categories=tuple(str(kind) for kind in kinds),
        groups=rows,
        test=independence_test(table, test=test),
        smd=_categorical_smd(table),
    )


def _group_masks(
    values: np.ndarray, group: ArrayLike, groups: Sequence[Any] | None
) -> tuple[list[Any], list[np.ndarray]]:
    membership = np.asarray(group, dtype=object)
    if values.ndim != 1 or membership.shape != values.shape:
        raise StatsError(
            "values and groups do not fit together", found=f"{values.shape} and {membership.shape}"
        )
    names = list(groups) if groups is not None else _sorted_kinds(membership)
    if len(names) < 2:
        raise StatsError("a comparison needs two groups", found=names, expected="at least two")
    return names, [
        np.array([value == name for value in membership], dtype=np.bool_) for name in names
    ]


def _sorted_kinds(values: np.ndarray) -> list[Any]:
    kinds = set(values.tolist())
    try:
        return sorted(kinds)
    except TypeError:
        return sorted(kinds, key=str)


def _continuous_summary(name: Any, known: Floats, missing: int) -> ContinuousSummary:
    mean = sd = lower = median = upper = None
    if known.size > 0:
        lower, median, upper = (float(value) for value in np.quantile(known, [0.25, 0.5, 0.75]))
        mean = float(known.mean())
    if known.size > 1:
        sd = float(known.std(ddof=1))
    return ContinuousSummary(
        group=str(name),
        n=known.size,
        missing=missing,
        mean=mean,
        sd=sd,
        median=median,
        lower_quartile=lower,
        upper_quartile=upper,
    )


def _category_counts(known: np.ndarray, kinds: list[Any]) -> list[int]:
    return [sum(value == kind for value in known) for kind in kinds]


def _categorical_summary(name: Any, counts: Ints, missing: int) -> CategoricalSummary:
    n = int(counts.sum())
    percent = tuple(100 * float(count) / float(n) if n else None for count in counts)
    return CategoricalSummary(
        group=str(name),
        n=n,
        missing=missing,
        counts=tuple(int(count) for count in counts),
        percent=percent,
    )


def _continuous_smd(samples: list[Floats]) -> float | None:
    """(mean₁ − mean₂) / √((var₁ + var₂) / 2), in standard deviations (Austin 2009)."""
    if len(samples) != 2 or min(sample.size for sample in samples) < 2:
        return None
    pooled = math.sqrt(float(samples[0].var(ddof=1) + samples[1].var(ddof=1)) / 2)
    return None if pooled == 0 else float(samples[0].mean() - samples[1].mean()) / pooled


def _categorical_smd(table: Ints) -> float | None:
    """Mahalanobis distance of the groups' shares under their mean covariance (Yang, Dalton)."""
    if len(table) != 2 or (table.sum(axis=1) == 0).any():
        return None
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return None
    # Shares sum to 1, so their covariance is singular; without the first it can be inverted.
    first, second = table[:, 1:] / table.sum(axis=1, keepdims=True)
    covariance = (
        np.diag(first) - np.outer(first, first) + np.diag(second) - np.outer(second, second)
    ) / 2
    gap = first - second
    if np.linalg.matrix_rank(covariance) < gap.size:
        return None
    return math.sqrt(float(gap @ np.linalg.solve(covariance, gap)))
