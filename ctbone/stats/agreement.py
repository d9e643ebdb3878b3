"""Agreement between readers: Cohen's and Fleiss' κ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.distributions import normal_two_sided, two_sided_z
from ctbone.stats.estimate import Estimate, TestResult
from ctbone.stats.inputs import Floats, Ints, percent

KappaWeights: TypeAlias = Literal["none", "linear", "quadratic"]


def cohen_kappa(
    first: ArrayLike,
    second: ArrayLike,
    *,
    weights: KappaWeights = "none",
    categories: Sequence[Any] | None = None,
    level: float = 0.95,
) -> Estimate:
    """Cohen's κ of two readers, unweighted or weighted, with its asymptotic interval.

    The standard error is the large-sample one that does not assume κ = 0.

    Parameters
    ----------
    first, second
        Ratings of the same cases, shape (n,), no missing value.
    weights
        ``"none"``, ``"linear"`` (disagreement weighted by distance) or ``"quadratic"`` (by squared
        distance). The distance of two categories is the difference of their positions in
        ``categories``.
    categories
        All categories in order; default: those that occur, sorted. Affects weighted κ only.
    level
        Confidence level; the interval is cut at 1.

    Returns
    -------
    Estimate
        At most 1; undefined if both readers use the same single category.

    Raises
    ------
    StatsError
        If the ratings differ in number, are missing, or are not among the categories.

    References
    ----------
    Cohen, Educ Psychol Meas 1960;20:37; Psychol Bull 1968;70:213. Fleiss, Cohen & Everitt, Psychol
    Bull 1969;72:323.

    Examples
    --------
    >>> print(cohen_kappa([1, 1, 2, 2, 3, 3], [1, 1, 2, 3, 3, 3]))
    0.7500 (0.3237 to 1.0000)
    """
    table = _paired_table(first, second, categories)
    agreement = _agreement_weights(len(table), weights)
    kinds = {
        "none": "Cohen's κ",
        "linear": "Cohen's κ, linear weights",
        "quadratic": "Cohen's κ, quadratic weights",
    }
    method = f"{kinds[weights]}, asymptotic {percent(level)}"
    row, column = table.sum(axis=1), table.sum(axis=0)
    by_chance = float(row @ agreement @ column)
    if by_chance >= 1:
        return Estimate.undefined(method, "both readers use the same single category")
    kappa = (float((agreement * table).sum()) - by_chance) / (1 - by_chance)
    # Mean agreement weight of each row and column under the other reader's marginal shares:
    # w̄ of the row and w̄ of the column in Fleiss, Cohen & Everitt 1969.
    row_mean, column_mean = agreement @ column, agreement.T @ row
    deviation = agreement - (row_mean[:, None] + column_mean[None, :]) * (1 - kappa)
    variance = float((table * deviation**2).sum()) - (kappa - by_chance * (1 - kappa)) ** 2
    n = len(np.asarray(first))
    error = math.sqrt(max(variance, 0.0) / n) / (1 - by_chance)
    half = two_sided_z(level) * error
    if error < 1e-9:  # rounding error of a variance that is exactly 0 (perfect agreement)
        return Estimate.without_interval(kappa, method, "the asymptotic standard error is zero")
    return Estimate(value=kappa, low=kappa - half, high=min(1.0, kappa + half), method=method)


def cohen_kappa_test(
    first: ArrayLike,
    second: ArrayLike,
    *,
    weights: KappaWeights = "none",
    categories: Sequence[Any] | None = None,
) -> TestResult:
    """Test of κ = 0, with the standard error under this null hypothesis.

    Parameters
    ----------
    first, second, weights, categories
        As for `cohen_kappa`.

    Returns
    -------
    TestResult
        z and its two-sided p-value; undefined if both readers use the same single category.

    Raises
    ------
    StatsError
        If the ratings differ in number, are missing, or are not among the categories.

    References
    ----------
    Fleiss, Cohen & Everitt, Psychol Bull 1969;72:323.

    Examples
    --------
    >>> round(cohen_kappa_test([1, 1, 2, 2, 3, 3], [1, 1, 2, 3, 3, 3]).statistic, 3)
    2.714
    """
    table = _paired_table(first, second, categories)
    agreement = _agreement_weights(len(table), weights)
    method = "κ against 0, normal, standard error under the null hypothesis"
    row, column = table.sum(axis=1), table.sum(axis=0)
    by_chance = float(row @ agreement @ column)
    if by_chance >= 1:
        return TestResult.undefined(method, "both readers use the same single category")
    row_mean, column_mean = agreement @ column, agreement.T @ row
    deviation = agreement - row_mean[:, None] - column_mean[None, :]
    variance = float((np.outer(row, column) * deviation**2).sum()) - by_chance**2
    if variance < 1e-15:  # rounding error of a variance that is exactly 0
        return TestResult.undefined(method, "the standard error is zero")
    surplus = float((agreement * table).sum()) - by_chance
    z = surplus / math.sqrt(variance / len(np.asarray(first)))
    return TestResult(statistic=z, df=None, p_value=normal_two_sided(z), method=method)


def fleiss_kappa(ratings: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Fleiss' κ of several readers, with its asymptotic interval over cases.

    The interval does not assume κ = 0: its standard error is that of the mean of the cases'
    linearised contributions. (The standard errors in Fleiss 1971 and 1979 hold under the null
    hypothesis only; see `fleiss_kappa_test`.)

    Parameters
    ----------
    ratings
        Shape (n, readers), no missing value.
    level
        Confidence level; the interval is normal, cut at 1.

    Returns
    -------
    Estimate
        At most 1; undefined if all ratings are the same, no interval if there is one case.

    Raises
    ------
    StatsError
        If the ratings are not two-dimensional with at least two readers, or a rating is missing.

    References
    ----------
    Fleiss, Psychol Bull 1971;76:378. Gwet, Br J Math Stat Psychol 2008;61:29 (variance).

    Examples
    --------
    >>> round(fleiss_kappa([[1, 1, 1], [1, 1, 2], [2, 2, 2], [2, 1, 2], [1, 1, 1]]).value, 4)
    0.4444
    """
    counts, readers = _rating_counts(ratings)
    n = len(counts)
    method = f"Fleiss' κ, asymptotic over cases (not under the null), {percent(level)}"
    share = counts.mean(axis=0) / readers
    by_chance = float((share**2).sum())
    if by_chance >= 1:
        return Estimate.undefined(method, "all ratings are the same")
    # Share of agreeing pairs of readers in each case, Pᵢ in Fleiss 1971.
    agreeing = ((counts**2).sum(axis=1) - readers) / (readers * (readers - 1))
    kappa = float((agreeing.mean() - by_chance) / (1 - by_chance))
    if n < 2:
        return Estimate.without_interval(kappa, method, "one case has no variance")
    # Linearised contribution of each case to κ, Gwet 2008.
    chance_of_case = counts @ share / readers
    contribution = (agreeing - by_chance) / (1 - by_chance)
    contribution = contribution - 2 * (1 - kappa) * (chance_of_case - by_chance) / (1 - by_chance)
    error = math.sqrt(float(((contribution - kappa) ** 2).sum()) / (n * (n - 1)))
    if error < 1e-12:  # rounding error of an error that is exactly 0
        return Estimate.without_interval(kappa, method, "the asymptotic standard error is zero")
    half = two_sided_z(level) * error
    return Estimate(value=kappa, low=kappa - half, high=min(1.0, kappa + half), method=method)


def fleiss_kappa_test(ratings: ArrayLike) -> TestResult:
    """Test of Fleiss' κ = 0, with the standard error under this null hypothesis.

    Parameters
    ----------
    ratings
        Shape (n, readers), no missing value.

    Returns
    -------
    TestResult
        z and its two-sided p-value; undefined if all ratings are the same.

    Raises
    ------
    StatsError
        If the ratings are not two-dimensional with at least two readers, or a rating is missing.

    References
    ----------
    Fleiss, Nee & Landis, Psychol Bull 1979;86:974.

    Examples
    --------
    >>> ratings = [[1, 1, 1], [1, 1, 2], [2, 2, 2], [2, 1, 2], [1, 1, 1]]
    >>> round(fleiss_kappa_test(ratings).statistic, 3)
    1.721
    """
    counts, readers = _rating_counts(ratings)
    method = "Fleiss' κ against 0, normal, standard error under the null hypothesis"
    kappa = fleiss_kappa(ratings).value
    if kappa is None:
        return TestResult.undefined(method, "all ratings are the same")
    share = counts.mean(axis=0) / readers
    # Σ p q and Σ p q (q − p) of Fleiss, Nee & Landis 1979.
    pq = float((share * (1 - share)).sum())
    pq_skew = float((share * (1 - share) * (1 - 2 * share)).sum())
    error = math.sqrt(2 * (pq**2 - pq_skew) / (len(counts) * readers * (readers - 1))) / pq
    return TestResult(
        statistic=kappa / error, df=None, p_value=normal_two_sided(kappa / error), method=method
    )


def kappa_wording(kappa: float) -> str:
    """Verbal grade of κ in five steps: low, general, moderate, high, extremely high.

    The intervals are right-closed: (0, 0.2], (0.2, 0.4], (0.4, 0.6], (0.6, 0.8], (0.8, 1]. κ of 0
    or below is "none". The words are those of the radiograph paper.

    Parameters
    ----------
    kappa
        Cohen's or Fleiss' κ.

    Returns
    -------
    str

    Raises
    ------
    StatsError
        If κ is above 1 or missing.

    Examples
    --------
    >>> [kappa_wording(kappa) for kappa in (-0.1, 0.2, 0.43, 0.81)]
    ['none', 'low', 'moderate', 'extremely high']
    """
    if not kappa <= 1:
        raise StatsError("κ is at most 1", found=kappa, expected="−1 to 1")
    if kappa <= 0:
        return "none"
    steps = [(0.2, "low"), (0.4, "general"), (0.6, "moderate"), (0.8, "high")]
    return next((word for end, word in steps if kappa <= end), "extremely high")


def _paired_table(first: ArrayLike, second: ArrayLike, categories: Sequence[Any] | None) -> Floats:
    """Share of the cases with each pair of categories, shape (categories, categories)."""
    one, two = np.asarray(first), np.asarray(second)
    if one.ndim != 1 or one.shape != two.shape or one.size == 0:
        raise StatsError(
            "ratings do not fit together",
            found=f"{one.shape} and {two.shape}",
            expected="(n,) twice",
        )
    ratings = np.stack([one, two], axis=1)
    codes, kinds = _category_codes(ratings, categories)
    return (
        np.bincount(codes[:, 0] * kinds + codes[:, 1], minlength=kinds**2).reshape(kinds, kinds)
        / one.size
    )


def _category_codes(ratings: np.ndarray, categories: Sequence[Any] | None) -> tuple[Ints, int]:
    """Index of each rating among the categories, and the number of categories."""
    missing = (
        np.isnan(ratings)
        if ratings.dtype.kind == "f"
        else np.array([value is None or value != value for value in ratings.flat])
    )
    if missing.any():
        raise StatsError(
            "a rating is missing", found=f"{int(missing.sum())} missing", remedy="drop these cases"
        )
    if categories is None:
        found, codes = np.unique(ratings, return_inverse=True)
        return codes.reshape(ratings.shape), found.size
    place = {category: k for k, category in enumerate(categories)}
    unknown = [value for value in ratings.ravel().tolist() if value not in place]
    if unknown:
        raise StatsError(
            "a rating is not among the categories",
            found=unknown[0],
            expected=", ".join(map(str, place)),
        )
    return np.array([place[value] for value in ratings.ravel().tolist()]).reshape(
        ratings.shape
    ), len(place)


def _agreement_weights(kinds: int, weights: KappaWeights) -> Floats:
    """Agreement weight of each pair of categories, 0–1: 1 − d or 1 − d², d = |i − j| / (k − 1)."""
    if weights not in ("none", "linear", "quadratic"):
        raise StatsError(
            "unknown weights of κ", found=weights, expected="none, linear or quadratic"
        )
    if weights == "none" or kinds == 1:
        return np.eye(kinds)
    places = np.arange(kinds)
    distance = np.abs(places[:, None] - places[None, :]) / (kinds - 1)
    return np.asarray(1 - distance if weights == "linear" else 1 - distance**2, dtype=np.float64)


def _rating_counts(ratings: ArrayLike) -> tuple[Floats, int]:
    """Readers per case and category, shape (n, categories), and the number of readers."""
    table = np.asarray(ratings)
    if table.ndim != 2 or table.shape[0] == 0 or table.shape[1] < 2:
        raise StatsError(
            "ratings are not a table of cases and readers",
            found=table.shape,
            expected="(n, at least 2)",
        )
    codes, kinds = _category_codes(table, None)
    counts = np.stack([(codes == kind).sum(axis=1) for kind in range(kinds)], axis=1)
    return counts.astype(np.float64), table.shape[1]
