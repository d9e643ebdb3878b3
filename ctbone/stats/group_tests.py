"""Tests between groups: of location (t, ANOVA, Kruskal–Wallis) and of independence (χ², Fisher)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.distributions import chi2_upper
from ctbone.stats.estimate import TestResult
from ctbone.stats.freeman_halton import freeman_halton
from ctbone.stats.inputs import Floats, Ints

ContinuousTest: TypeAlias = Literal["student", "welch", "kruskal-wallis"]
CategoricalTest: TypeAlias = Literal[
    "chi-squared", "yates", "fisher", "freeman-halton", "by-expected-counts"
]


def location_test(samples: Sequence[Floats], *, test: ContinuousTest = "welch") -> TestResult:
    """Test whether groups have the same location; see `compare_continuous` for the tests.

    Parameters
    ----------
    samples
        Known values of each group, each of shape (cases of the group,).
    test
        As in `compare_continuous`.

    Returns
    -------
    TestResult
        Undefined if a group has too few values, or if the values do not vary.

    Raises
    ------
    StatsError
        If the test is unknown.

    References
    ----------
    Student, Biometrika 1908;6:1. Welch, Biometrika 1947;34:28 and 1951;38:330. Kruskal & Wallis, J
    Am Stat Assoc 1952;47:583.

    Examples
    --------
    >>> import numpy as np
    >>> samples = [np.array([1.0, 2, 3]), np.array([2.0, 4, 6])]
    >>> round(location_test(samples, test="student").statistic, 3)
    -1.549
    """
    if test not in _LOCATION:
        raise StatsError(
            "unknown test of a continuous variable", found=test, expected=", ".join(_LOCATION)
        )
    return _LOCATION[test](list(samples))


def independence_test(table: ArrayLike, *, test: CategoricalTest = "chi-squared") -> TestResult:
    """Test of independence of rows and columns of a table of counts; see `compare_categorical`.

    Parameters
    ----------
    table
        Counts, shape (groups, categories). Empty columns are left out; with an empty row the test
        is undefined.
    test
        As in `compare_categorical`.

    Returns
    -------
    TestResult
        Undefined if fewer than two categories occur, a group is empty, or a 2 × 2 test gets a table
        of another shape.

    Raises
    ------
    StatsError
        If the counts are negative or the test is unknown.

    References
    ----------
    Pearson, Philos Mag 1900;50:157. Yates, J R Stat Soc Suppl 1934;1:217. Fisher, J R Stat Soc
    1922;85:87. Freeman & Halton, Biometrika 1951;38:141. Cochran, Biometrics 1954;10:417.

    Examples
    --------
    >>> round(independence_test([[13, 6], [15, 21]], test="yates").p_value, 3)
    0.109
    """
    names = {
        "chi-squared": "χ², no correction",
        "yates": "χ² with Yates' correction",
        "fisher": "Fisher's exact test",
        "freeman-halton": "Fisher–Freeman–Halton test",
        "by-expected-counts": "χ², or Fisher–Freeman–Halton if expected counts are small",
    }
    if test not in names:
        raise StatsError(
            "unknown test of a categorical variable", found=test, expected=", ".join(names)
        )
    counts = np.asarray(table, dtype=np.int64)
    if counts.ndim != 2 or (counts < 0).any():
        raise StatsError(
            "counts are not a two-dimensional table of non-negative numbers", found=counts.tolist()
        )
    method = names[test]
    if (counts.sum(axis=1) == 0).any():
        return TestResult.undefined(method, "a group has no known value")
    counts = counts[:, counts.sum(axis=0) > 0]
    if min(counts.shape) < 2:
        return TestResult.undefined(method, "only one category occurs")
    if test == "by-expected-counts":
        test = _test_of(counts)
        method = names[test]
    if test == "freeman-halton":
        return freeman_halton(counts)
    if test != "chi-squared" and counts.shape != (2, 2):
        return TestResult.undefined(
            method, f"the test requires a 2 × 2 table, not {counts.shape[0]} × {counts.shape[1]}"
        )
    if test == "fisher":
        from scipy.stats import fisher_exact

        return TestResult(
            statistic=None, df=None, p_value=float(fisher_exact(counts)[1]), method=method
        )
    expected = _expected(counts)
    gap = np.abs(counts - expected)
    if test == "yates":
        gap = gap - np.minimum(0.5, gap)  # Yates: ½, but never more than the difference
    statistic = float((gap**2 / expected).sum())
    df = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    return TestResult(
        statistic=statistic, df=float(df), p_value=chi2_upper(statistic, df), method=method
    )


def _expected(counts: Ints) -> Floats:
    """Return the counts expected if rows and columns are independent."""
    return np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()


def _test_of(counts: Ints) -> CategoricalTest:
    """Choose the test: χ² if its approximation holds (Cochran 1954), else Fisher–Freeman–Halton.

    It holds if no expected count is below 1 and at most a fifth of them are below 5; in a 2 × 2
    table, if none is below 5.
    """
    expected = _expected(counts)
    four = counts.shape == (2, 2)
    if expected.min() < 1 or (expected < 5).mean() > (0 if four else 0.2):
        return "freeman-halton"
    return "yates" if four else "chi-squared"


def _student(samples: list[Floats]) -> TestResult:
    from scipy.stats import f_oneway, ttest_ind

    method = "Student's t" if len(samples) == 2 else "one-way analysis of variance"
    why = _why_untestable(samples)
    if why:
        return TestResult.undefined(method, why)
    df = float(sum(sample.size - 1 for sample in samples))
    if len(samples) == 2:
        result = ttest_ind(*samples)
        return TestResult(
            statistic=float(result.statistic), df=df, p_value=float(result.pvalue), method=method
        )
    result = f_oneway(*samples)
    return TestResult(
        statistic=float(result.statistic), df=df, p_value=float(result.pvalue), method=method
    )


def _welch(samples: list[Floats]) -> TestResult:
    from scipy.stats import f, ttest_ind

    method = "Welch's t" if len(samples) == 2 else "Welch's analysis of variance"
    why = _why_untestable(samples)
    if why is None and len(samples) > 2 and any(np.ptp(sample) == 0 for sample in samples):
        why = "the values of a group are all the same"
    if why:
        return TestResult.undefined(method, why)
    if len(samples) == 2:
        result = ttest_ind(*samples, equal_var=False)
        return TestResult(
            statistic=float(result.statistic),
            df=float(result.df),
            p_value=float(result.pvalue),
            method=method,
        )
    # Welch 1951: groups weighted by n / s², denominator degrees of freedom (k² − 1) / (3 Λ).
    precision = np.array([sample.size / sample.var(ddof=1) for sample in samples])
    means = np.array([sample.mean() for sample in samples])
    share = precision / precision.sum()
    k = len(samples)
    lost = float((((1 - share) ** 2) / (np.array([sample.size for sample in samples]) - 1)).sum())
    between = float((precision * (means - share @ means) ** 2).sum()) / (k - 1)
    statistic = between / (1 + 2 * (k - 2) / (k**2 - 1) * lost)
    df = (k**2 - 1) / (3 * lost)
    return TestResult(
        statistic=statistic, df=df, p_value=float(f.sf(statistic, k - 1, df)), method=method
    )


def _kruskal_wallis(samples: list[Floats]) -> TestResult:
    from scipy.stats import kruskal

    method = "Kruskal–Wallis"
    if any(sample.size == 0 for sample in samples):
        return TestResult.undefined(method, "a group has no known value")
    if np.ptp(np.concatenate(samples)) == 0:
        return TestResult.undefined(method, "all values are the same")
    result = kruskal(*samples)
    return TestResult(
        statistic=float(result.statistic),
        df=float(len(samples) - 1),
        p_value=float(result.pvalue),
        method=method,
    )


def _why_untestable(samples: list[Floats]) -> str | None:
    """Reason why no t-test or analysis of variance is possible, or None."""
    if any(sample.size < 2 for sample in samples):
        return "a group has fewer than two known values"
    if all(np.ptp(sample) == 0 for sample in samples):
        return "the values do not vary within the groups"
    return None


_LOCATION = {"student": _student, "welch": _welch, "kruskal-wallis": _kruskal_wallis}
