"""Multi-reader multi-case analysis of variance (Obuchowski–Rockette, Hillis)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ctbone.errors import StatsError
from ctbone.stats.distributions import (
    chi2_upper,
    normal_two_sided,
    student_quantile,
    student_two_sided,
    two_sided_z,
)
from ctbone.stats.estimate import Comparison, Estimate, TestResult
from ctbone.stats.inputs import Floats, Ints, percent
from ctbone.stats.reader_performance import ReaderPerformance

Design: TypeAlias = Literal["factorial", "split-plot", "nested"]
RandomFactors: TypeAlias = Literal["readers and cases", "cases", "readers"]
"""What the conclusion is about: a population of readers and of cases, of cases only (the readers
are fixed), or of readers only (the cases are fixed)."""
_NO_VARIANCE = 1e-15
"""A mean square below this is zero except for rounding; AUCs differ by more than its root."""


@dataclass(frozen=True)
class VarianceComponents:
    """Components of the Obuchowski–Rockette model; those of the readers can be negative.

    Attributes
    ----------
    reader, test_by_reader
        Variance between readers, and of the interaction of readers and tests.
    error
        Variance of one reader's measure with one test from sampling the cases.
    cov1
        Covariance of one reader's measures with two tests.
    cov2
        Covariance of two readers' measures with the same test.
    cov3
        Covariance of two readers' measures with two tests.
    """

    reader: float
    test_by_reader: float
    error: float
    cov1: float
    cov2: float
    cov3: float

    def as_dict(self) -> dict[str, float]:
        """Return the components by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class ReaderAnalysis:
    """The analysis of variance of several tests, readers and cases.

    Attributes
    ----------
    random
        Which factors are random.
    test
        Test of equal means of all tests: F, or χ² if the readers are fixed. ``df`` is that of the
        numerator.
    denominator_df
        Hillis' degrees of freedom of the denominator; None for χ².
    standard_error
        Of the difference of two tests; None if undefined.
    means
        Mean over readers of each test, with an interval based on this test alone.
    components
        Variance components.
    mean_squares
        ``tests`` and ``tests_by_readers``.
    design
        ``factorial``; ``split-plot`` if groups of readers have their own cases; ``nested`` if
        every reader has.
    level
        Confidence level.
    """

    random: RandomFactors
    test: TestResult
    denominator_df: float | None
    standard_error: float | None
    means: tuple[Estimate, ...]
    components: VarianceComponents
    mean_squares: dict[str, float]
    design: Design
    level: float

    def difference(self, first: int, second: int) -> Comparison:
        """Compare two tests by number: difference of their means, first minus second."""
        a, b = self.means[first].value, self.means[second].value
        method = f"{self.test.method}, {percent(self.level)}"
        if a is None or b is None:
            return Comparison.undefined(method, "a mean is undefined")
        if self.standard_error is None:
            return Comparison.without_interval(a - b, method, str(self.test.why))
        return _compared(
            a - b, self.standard_error, df=self.denominator_df, level=self.level, method=method
        )

    def non_inferiority(self, first: int, second: int, margin: float) -> TestResult:
        """Test whether the first test is worse than the second by less than the margin.

        The p-value is one-sided; compare it with half of the two-sided significance level.

        Parameters
        ----------
        first, second
            Numbers of the tests.
        margin
            Largest acceptable loss, above 0.

        Raises
        ------
        StatsError
            The margin is not above 0.
        """
        if not margin > 0:
            raise StatsError("the margin is not above 0", found=margin, expected="such as 0.05")
        method = f"non-inferiority, margin {margin:g}, one-sided; {self.test.method}"
        difference = self.difference(first, second).difference
        if difference is None or self.standard_error is None:
            return TestResult.undefined(method, str(self.test.why))
        statistic = (difference + margin) / self.standard_error
        df = self.denominator_df
        normal = df is None or math.isinf(df)
        two_sided = normal_two_sided(statistic) if normal else student_two_sided(statistic, df or 0)
        p_value = two_sided / 2 if statistic > 0 else 1 - two_sided / 2
        return TestResult(
            statistic=statistic, df=self.denominator_df, p_value=p_value, method=method
        )


def obuchowski_rockette(
    performance: ReaderPerformance,
    *,
    random: RandomFactors = "readers and cases",
    level: float = 0.95,
) -> ReaderAnalysis:
    """Compare tests over readers and cases.

    Readers of different groups (``performance.blocks``) read different cases; with at least two
    readers in each group, the design is split-plot: the mean square of tests by readers is pooled
    within the groups, and covariances are those within groups. In a partly paired or nested
    design, a covariance between readers who share no case is zero, and covariances are averaged
    over all pairs of readers.

    Parameters
    ----------
    performance
        Measures and their covariance, as `reader_areas` and `reader_means` return them.
    random
        The random factors.
    level
        Confidence level.

    Returns
    -------
    ReaderAnalysis
        Without a test if there is one test, or one reader and readers are random.

    References
    ----------
    Obuchowski & Rockette, Commun Stat Simul Comput 1995;24:285. Hillis, Stat Med 2007;26:596
    (degrees of freedom). Hillis, Stat Med 2014;33:330 (split-plot, marginal means). Hillis,
    Obuchowski, Schartz & Berbaum, Stat Med 2005;24:1579.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([[0.90, 0.85, 0.80], [0.95, 0.88, 0.90]])
    >>> covariance = np.full((6, 6), 2e-4) + np.eye(6) * 6e-4
    >>> blocks = np.zeros(3, dtype=np.int64)
    >>> found = obuchowski_rockette(ReaderPerformance(values, covariance, blocks, "assumed"))
    >>> round(found.test.statistic, 3), round(found.denominator_df, 2)
    (8.308, 2.0)
    """
    table = _Table.of(performance)
    method = _method(random, performance.method, table.design)
    denominator, df = table.denominator(random)
    test, error = _global_test(table, random, denominator=denominator, df=df, method=method)
    return ReaderAnalysis(
        random=random,
        test=test,
        denominator_df=None if error is None else df,
        standard_error=error,
        means=tuple(_mean(table.of_test(k), random, level) for k in range(table.tests)),
        components=table.components,
        mean_squares={"tests": table.ms_tests, "tests_by_readers": table.ms_interaction},
        design=table.design,
        level=level,
    )


@dataclass(frozen=True)
class _Table:
    """Mean squares and average covariances of a performance table.

    Attributes
    ----------
    values
        Shape (tests, readers).
    ms_tests, ms_interaction, ms_readers
        Mean squares; the last two within groups of readers in a split-plot design.
    error_df
        Degrees of freedom of ``ms_readers``: readers minus groups.
    together
        Mean number of readers that share cases with a reader, the reader included.
    error, cov1, cov2, cov3
        Average variance and covariances of the errors.
    """

    values: Floats
    ms_tests: float
    ms_interaction: float
    ms_readers: float
    error_df: int
    together: float
    error: float
    cov1: float
    cov2: float
    cov3: float
    design: Design
    method: str
    bounds: tuple[float, float]
    performance: ReaderPerformance

    @classmethod
    def of(cls, performance: ReaderPerformance) -> _Table:
        values, blocks = performance.values, performance.blocks
        tests, readers = values.shape
        sizes = np.bincount(blocks)
        nested = sizes.size > 1 and bool(sizes.min() > 1)
        groups = blocks if nested else np.zeros(readers, dtype=np.int64)
        counts = np.bincount(groups)
        # Means of each test and reader within the groups of readers.
        of_group = np.stack([values[:, groups == g].mean(axis=1) for g in range(counts.size)], 1)
        of_reader = values.mean(axis=0)
        deviation = values - of_group[:, groups] - of_reader + of_group.mean(axis=0)[groups]
        spread = of_reader - of_group.mean(axis=0)[groups]
        error_df = readers - counts.size
        test_means = values.mean(axis=1)
        error, cov1, cov2, cov3 = _average_covariances(performance, groups)
        return cls(
            values=values,
            ms_tests=readers * _ratio(((test_means - test_means.mean()) ** 2).sum(), tests - 1),
            ms_interaction=_ratio((deviation**2).sum(), (tests - 1) * error_df),
            ms_readers=_ratio(tests * (spread**2).sum(), error_df),
            error_df=error_df,
            together=float((counts**2).sum() / readers),
            error=error,
            cov1=cov1,
            cov2=cov2,
            cov3=cov3,
            design="split-plot" if nested else "factorial" if sizes.size == 1 else "nested",
            method=performance.method,
            bounds=performance.bounds,
            performance=performance,
        )

    @property
    def tests(self) -> int:
        return int(self.values.shape[0])

    @property
    def readers(self) -> int:
        return int(self.values.shape[1])

    @property
    def gain(self) -> float:
        """Cov2 − Cov3, at least 0 (Hillis)."""
        return max(self.cov2 - self.cov3, 0.0)

    @property
    def components(self) -> VarianceComponents:
        interaction = self.ms_interaction - self.error + self.cov1 + self.cov2 - self.cov3
        reader = (self.ms_readers - self.ms_interaction) / self.tests - self.cov1 + self.cov3
        return VarianceComponents(
            reader=reader,
            test_by_reader=interaction,
            error=self.error,
            cov1=self.cov1,
            cov2=self.cov2,
            cov3=self.cov3,
        )

    def denominator(self, random: RandomFactors) -> tuple[float, float | None]:
        """Return the expected mean square of equal tests, and its degrees of freedom."""
        interaction_df = (self.tests - 1) * self.error_df
        if random == "cases":
            together = max(self.together - 1, 0.0)
            return self.error - self.cov1 + together * self.gain, None
        if random == "readers":
            return self.ms_interaction, float(interaction_df)
        denominator = self.ms_interaction + self.together * self.gain
        # Hillis 2007: denominator² / (MS(T·R)² / ((t − 1)(r − 1))).
        df = interaction_df * _ratio(denominator, self.ms_interaction) ** 2
        return denominator, df

    def of_test(self, test: int) -> _Table:
        """Return the table of one test alone."""
        readers = self.readers
        places = slice(test * readers, (test + 1) * readers)
        return _Table.of(
            ReaderPerformance(
                values=self.values[test : test + 1],
                covariance=self.performance.covariance[places, places],
                blocks=self.performance.blocks,
                method=self.method,
                bounds=self.bounds,
            )
        )


def _average_covariances(
    performance: ReaderPerformance, groups: Ints
) -> tuple[float, float, float, float]:
    """Average variance, Cov1, Cov2 and Cov3; 0 for a covariance that the design lacks."""
    tests, readers = performance.values.shape
    # Axes: test, reader, other test, other reader.
    matrix = performance.covariance.reshape(tests, readers, tests, readers)
    same_test = np.eye(tests, dtype=bool)[:, None, :, None]
    same_reader = np.eye(readers, dtype=bool)[None, :, None, :]
    grouped = (groups[:, None] == groups[None])[None, :, None, :]

    def average(chosen: np.ndarray) -> float:
        wanted = np.broadcast_to(chosen, matrix.shape)
        return float(matrix[wanted].mean()) if wanted.any() else 0.0

    return (
        average(same_test & same_reader),
        average(~same_test & same_reader),
        average(same_test & ~same_reader & grouped),
        average(~same_test & ~same_reader & grouped),
    )


def _global_test(
    table: _Table, random: RandomFactors, denominator: float, df: float | None, method: str
) -> tuple[TestResult, float | None]:
    """F or χ² test of equal means, and the standard error of a difference of two tests."""
    why = None
    if table.tests < 2:
        why = "there is one test"
    elif df is not None and table.error_df < 1:
        why = "one reader is no sample of readers"
    elif not np.isfinite(table.values).all() or not math.isfinite(denominator):
        why = "a reader's measure or its variance is undefined"
    elif denominator < _NO_VARIANCE:
        why = "the variance of the difference is zero"
    if why is not None:
        return TestResult.undefined(method, why), None
    statistic = table.ms_tests / denominator
    numerator_df = float(table.tests - 1)
    error = math.sqrt(2 / table.readers * denominator)
    if df is None:
        statistic *= numerator_df
        p_value = chi2_upper(statistic, numerator_df)
    else:
        p_value = _f_upper(statistic, numerator_df, df)
    result = TestResult(statistic=statistic, df=numerator_df, p_value=p_value, method=method)
    return result, error


def _mean(table: _Table, random: RandomFactors, level: float) -> Estimate:
    """Mean over readers of one test, with the interval of an analysis of this test alone."""
    value = float(table.values.mean())
    method = f"{_method(random, table.method, table.design)}, one test, {percent(level)}"
    if not math.isfinite(value):
        return Estimate.undefined(method, "a reader's measure is undefined")
    if random == "cases":
        total = table.error + max(table.together - 1, 0.0) * max(table.cov2, 0.0)
        df = None
    else:
        if table.error_df < 1:
            return Estimate.without_interval(value, method, "one reader is no sample of readers")
        shared = 0.0 if random == "readers" else table.together * max(table.cov2, 0.0)
        total = table.ms_readers + shared
        df = table.error_df * _ratio(total, table.ms_readers) ** 2
    if not math.isfinite(total) or total < _NO_VARIANCE:
        return Estimate.without_interval(value, method, "the variance of the mean is zero")
    found = _compared(value, math.sqrt(total / table.readers), df=df, level=level, method=method)
    assert found.low is not None
    assert found.high is not None
    low, high = max(found.low, table.bounds[0]), min(found.high, table.bounds[1])
    return Estimate(value=value, low=low, high=high, method=method)


def _compared(
    difference: float, error: float, df: float | None, level: float, method: str
) -> Comparison:
    """Interval and two-sided test of a difference: Student's t, or normal without ``df``."""
    statistic = difference / error
    if df is None or math.isinf(df):
        half, p_value = two_sided_z(level) * error, normal_two_sided(statistic)
    else:
        half = student_quantile(0.5 + level / 2, df) * error
        p_value = student_two_sided(statistic, df)
    return Comparison(
        difference=difference,
        low=difference - half,
        high=difference + half,
        statistic=statistic,
        p_value=p_value,
        method=method,
    )


def _method(random: RandomFactors, covariance: str, design: str) -> str:
    words = {
        "readers and cases": "random readers and cases",
        "cases": "fixed readers, random cases",
        "readers": "random readers, fixed cases",
    }
    if random not in words:
        raise StatsError(
            "unknown random factors", found=random, expected="readers and cases, cases or readers"
        )
    plot = "" if design == "factorial" else f", {design}"
    by = "" if random == "readers" else f", covariances by {covariance}"
    return f"Obuchowski–Rockette, {words[random]}{plot}{by}"


def _f_upper(statistic: float, first: float, second: float) -> float:
    """Upper tail probability of the F distribution."""
    if math.isinf(second):
        return chi2_upper(statistic * first, first)
    from scipy.special import fdtrc

    return float(fdtrc(first, second, statistic))


def _ratio(above: float, below: float) -> float:
    """Quotient; 0 over 0 is 0, another number over 0 is infinite."""
    if below > 0:
        return float(above / below)
    return 0.0 if above == 0 else math.inf
