"""Result types: Estimate, Comparison and TestResult, each with the reason if it is undefined."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Parameters
    ----------
    value
        Point estimate; None if undefined.
    low, high
        Limits of the interval; None if it is undefined.
    method
        How the interval was computed, in words for a report.
    why
        Why a part is undefined; None if everything is defined.

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
        """Make an estimate without a value, with the reason."""
        return cls(value=None, low=None, high=None, method=method, why=why)

    @classmethod
    def without_interval(cls, value: float | None, method: str, why: str | None) -> Estimate:
        """Make an estimate with a value but no interval, with the reason."""
        return cls(value=value, low=None, high=None, method=method, why=why)

    def as_dict(self) -> dict[str, float | str | None]:
        """Return ``{value, low, high, method}``, and ``why`` if a part is undefined."""
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
        First minus second; None if undefined.
    low, high
        Limits of the interval of the difference.
    statistic
        Test statistic; if it is signed, its sign is that of the difference.
    p_value
        Two-sided p-value, 0–1.
    method
        Names of the test and the interval.
    why
        Why a part is undefined; None if everything is defined.

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
        """Make a comparison without a value, with the reason."""
        return cls.without_interval(None, method, why)

    @classmethod
    def without_interval(
        cls, difference: float | None, method: str, why: str, *, p_value: float | None = None
    ) -> Comparison:
        """Make a comparison without interval and test statistic, with the reason."""
        return cls(
            difference=difference,
            low=None,
            high=None,
            statistic=None,
            p_value=p_value,
            method=method,
            why=why,
        )

    def as_dict(self) -> dict[str, float | str | None]:
        """Return all fields by name; ``why`` only if a part is undefined."""
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
    """Result of a significance test without a difference, such as χ² over many groups.

    Parameters
    ----------
    statistic
        Test statistic; None if undefined or if the test has none (Fisher).
    df
        Degrees of freedom; None if the test has none.
    p_value
        p-value, 0–1; None if undefined.
    method
        Name of the test.
    why
        Why a part is undefined; None if everything is defined.

    Examples
    --------
    >>> TestResult(4.84, 1, 0.028, "χ² with Yates' correction").as_dict()["p_value"]
    0.028
    """

    __test__ = False  # pytest collects classes named Test…; this is not a test

    statistic: float | None
    df: float | None
    p_value: float | None
    method: str
    why: str | None = None

    @classmethod
    def undefined(cls, method: str, why: str) -> TestResult:
        """Make a test result without a value, with the reason."""
        return cls(statistic=None, df=None, p_value=None, method=method, why=why)

    def as_dict(self) -> dict[str, float | str | None]:
        """Return ``{statistic, df, p_value, method}``, and ``why`` if a part is undefined."""
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
    """Replace NaN and infinity by None, which JSON can hold, and add ``why`` if there is one."""
    clean = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }
    return clean if why is None else {**clean, "why": why}
