"""What a statistic returns: an estimate, a comparison or a test, each able to say that it is undefined and why."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Parameters
    ----------
    value
        The point estimate, None where it is undefined.
    low, high
        Ends of the interval, None where the interval is undefined.
    method
        How the interval was computed, in words that can stand in a report.
    why
        Why a part is undefined; None where all of it is defined.

    Examples
    --------
    >>> Estimate(0.9, 0.8, 0.95, "Wilson 95%").as_dict()
    {'value': 0.9, 'low': 0.8, 'high': 0.95, 'method': 'Wilson 95%'}
    >>> print(Estimate.undefined("Wilson 95%", "no positive case"))
    undefined (no positive case)
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    why: str | None = None

    @classmethod
    def undefined(cls, method: str, why: str) -> Estimate:
        """Make an estimate that has no value, and say why."""
        return cls(None, None, None, method, why)

    def as_dict(self) -> dict[str, float | str | None]:
        """Return ``{value, low, high, method}``, with ``why`` where something is undefined."""
        fields: dict[str, float | str | None] = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "method": self.method,
        }
        return _with_why(fields, self.why)

    def __str__(self) -> str:
        if self.value is None:
            return f"undefined ({self.why})"
        if self.low is None or self.high is None:
            return f"{self.value:.4f} (no interval: {self.why})"
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True)
class Comparison:
    """A difference, first minus second, with its interval and test.

    Parameters
    ----------
    difference
        First minus second, None where it is undefined.
    low, high
        Ends of the interval of the difference.
    statistic
        The test statistic; its sign is that of the difference where it has one.
    p_value
        Two-sided p-value, 0–1.
    method
        Test and interval, in words.
    why
        Why a part is undefined; None where all of it is defined.

    Examples
    --------
    >>> Comparison.undefined("DeLong, paired", "only one class is present").as_dict()["why"]
    'only one class is present'
    """

    difference: float | None
    low: float | None
    high: float | None
    statistic: float | None
    p_value: float | None
    method: str
    why: str | None = None

    @classmethod
    def undefined(cls, method: str, why: str) -> Comparison:
        """Make a comparison that has no value, and say why."""
        return cls(None, None, None, None, None, method, why)

    def as_dict(self) -> dict[str, float | str | None]:
        """Return ``{difference, low, high, statistic, p_value, method}``, with ``why`` where something is undefined."""
        fields: dict[str, float | str | None] = {
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "statistic": self.statistic,
            "p_value": self.p_value,
            "method": self.method,
        }
        return _with_why(fields, self.why)


@dataclass(frozen=True)
class TestResult:
    """A significance test that has no difference to report, such as a χ² over many groups.

    Parameters
    ----------
    statistic
        The test statistic, None where it is undefined or where the test has none (Fisher).
    df
        Degrees of freedom, None where the test has none.
    p_value
        p-value, 0–1; None where it is undefined.
    method
        The test, in words.
    why
        Why a part is undefined; None where all of it is defined.

    Examples
    --------
    >>> TestResult(4.84, 1, 0.028, "χ² with Yates' correction").as_dict()["p_value"]
    0.028
    """

    __test__ = False  # pytest would take the name for a test class

    statistic: float | None
    df: float | None
    p_value: float | None
    method: str
    why: str | None = None

    @classmethod
    def undefined(cls, method: str, why: str) -> TestResult:
        """Make a result that has no value, and say why."""
        return cls(None, None, None, method, why)

    def as_dict(self) -> dict[str, float | str | None]:
        """Return ``{statistic, df, p_value, method}``, with ``why`` where something is undefined."""
        fields: dict[str, float | str | None] = {
            "statistic": self.statistic,
            "df": self.df,
            "p_value": self.p_value,
            "method": self.method,
        }
        return _with_why(fields, self.why)


def _with_why(
    fields: dict[str, float | str | None], why: str | None
) -> dict[str, float | str | None]:
    clean = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }
    return clean if why is None else {**clean, "why": why}
