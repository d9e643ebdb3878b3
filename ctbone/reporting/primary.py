"""Primary comparisons: named before the results, tested, adjusted among themselves alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ctbone.config import PrimaryComparison
from ctbone.custody import NamedComparison
from ctbone.document import Table, TableColumn, interval, number, p_text, plain_table
from ctbone.reporting.analysis import Analysis
from ctbone.reporting.metrics import metric_title
from ctbone.reporting.scored_cases import ScoredCases, shared_cases
from ctbone.stats import (
    Comparison,
    Estimate,
    auc_interval,
    clustered_rates,
    delong_test,
    holm,
    paired_rate_test,
)

Answer = Literal["yes", "no", "not shown", "undefined"]


@dataclass(frozen=True)
class PrimaryResult:
    """The answer to one primary comparison.

    Attributes
    ----------
    named
        The comparison, and when it was named.
    cases
        Words for the set of cases, such as "external test".
    n, positives
        Cases that both models have, and those of the positive class.
    first, second
        The metric of each on these cases.
    result
        First minus second. Of a margin, the p-value is twice the one-sided one.
    adjusted
        p-value after Holm's adjustment over the primary comparisons.
    alpha
        1 − confidence level.
    titles
        Of the two models.
    """

    named: NamedComparison
    cases: str
    n: int
    positives: int
    first: Estimate
    second: Estimate
    result: Comparison
    adjusted: float | None
    alpha: float
    titles: tuple[str, str]

    @property
    def comparison(self) -> PrimaryComparison:
        """The settings of the comparison."""
        return self.named.comparison

    @property
    def answer(self) -> Answer:
        """``yes``: shown; ``no``: the opposite is shown; ``not shown``: neither is."""
        found, limit = self.result, null_difference(self.comparison)
        if found.difference is None or self.adjusted is None:
            return "undefined"
        if found.difference > limit and self.adjusted < self.alpha:
            return "yes"
        if self.comparison.margin:
            return "no" if found.high is not None and found.high < limit else "not shown"
        return "no" if self.adjusted < self.alpha else "not shown"

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``metrics.json``."""
        return {
            **self.comparison.model_dump(mode="json"),
            "n": self.n,
            "positives": self.positives,
            "first": self.first.as_dict(),
            "second": self.second.as_dict(),
            **self.result.as_dict(),
            "p_value_holm": self.adjusted,
            "answer": self.answer,
            "named_at": self.named.named_at,
            "named_before_results": self.named.before,
            "tables_when_named": list(self.named.known),
        }


def judge_primary(
    analysis: Analysis, named: Sequence[NamedComparison]
) -> tuple[PrimaryResult, ...]:
    """Test every primary comparison of the settings on the cases that both models have.

    AUCs are compared by DeLong's paired test, rates by McNemar's test and Bonett and Price's
    interval, all by patient where patients have several cases. Against a margin, the p-value is
    twice the one-sided one, at most 1: a level of 5 % is then the one-sided level of 2.5 %. The
    p-values are adjusted by Holm's method over the primary comparisons alone.

    Parameters
    ----------
    analysis
        The judged sets.
    named
        As ``record_primary`` returns them; those that were withdrawn are left out.

    References
    ----------
    ICH E9, Statistical principles for clinical trials, 1998 (margins, levels). Holm, Scand J Stat
    1979;6:65.
    """
    found = [_judge(analysis, one) for one in named if not one.withdrawn]
    adjusted = holm([result.p_value for _, result in found])
    alpha = 1 - analysis.settings.confidence
    return tuple(
        PrimaryResult(**parts, result=result, adjusted=p, alpha=alpha)
        for (parts, result), p in zip(found, adjusted, strict=True)
    )


def null_difference(one: PrimaryComparison) -> float:
    """Return the difference that is tested: minus the margin for non-inferiority.

    Examples
    --------
    >>> given = {"compare": ["a", "b"], "cohort": "external", "margin": 0.05}
    >>> null_difference(PrimaryComparison(**given, type="noninferiority"))
    -0.05
    """
    return -one.margin if one.type == "noninferiority" else one.margin


def _judge(analysis: Analysis, named: NamedComparison) -> tuple[dict[str, Any], Comparison]:
    one = named.comparison
    cases, scored = _of_cohort(analysis, one.cohort)
    titles = tuple(analysis.titles.get(name, name) for name in one.compare)
    parts: dict[str, Any] = {"named": named, "cases": cases, "n": 0, "positives": 0}
    parts["titles"] = titles
    title = metric_title(one.metric)
    lacking = [name for name in one.compare if name not in scored]
    if lacking:
        why = f"no probabilities of {' and '.join(lacking)} on {cases}"
        parts["first"] = parts["second"] = Estimate.undefined(title, why)
        return parts, Comparison.undefined(title, why)
    a, b = shared_cases(scored[one.compare[0]], scored[one.compare[1]])
    level = analysis.settings.confidence
    parts["n"], parts["positives"] = len(a), int(a.truth.sum())
    if not len(a):
        why = f"no case of {cases} has probabilities of both"
        parts["first"] = parts["second"] = Estimate.undefined(title, why)
        return parts, Comparison.undefined(title, why)
    parts["first"], parts["second"] = (_estimate(each, one, level) for each in (a, b))
    return parts, _difference(a, b, one, level)


def _of_cohort(analysis: Analysis, cohort: str) -> tuple[str, dict[str, ScoredCases]]:
    """Return words for the cases of a cohort, and the models that have some of them, by name."""
    if cohort in ("internal", "external"):
        judged = analysis.of(cohort)
        models = judged.case_set.scored if judged else ()
        return f"the {cohort} test", {scored.name: scored for scored in models}
    judged = analysis.of("external")
    of_centre = [scored.of_cohort(cohort) for scored in judged.case_set.scored] if judged else []
    return f"the cases of {cohort}", {scored.name: scored for scored in of_centre if len(scored)}


def _estimate(scored: ScoredCases, one: PrimaryComparison, level: float) -> Estimate:
    patients = scored.patients
    if one.metric == "auc":
        return auc_interval(scored.truth, scored.p, level=level, groups=patients)
    rates = clustered_rates(scored.truth, scored.called, patients, level=level)
    return rates[one.metric]


def _difference(a: ScoredCases, b: ScoredCases, one: PrimaryComparison, level: float) -> Comparison:
    null = null_difference(one)
    if one.metric == "auc":
        found = delong_test(a.truth, a.p, b.p, null=null, level=level, groups=a.patients)
    else:
        chosen = {"sensitivity": a.truth, "specificity": ~a.truth}.get(
            one.metric, a.truth == a.truth
        )
        if not chosen.any():
            kind = "positive" if one.metric == "sensitivity" else "negative"
            return Comparison.undefined("paired rates", f"there is no {kind} case")
        right = [(each.called == each.truth)[chosen] for each in (a, b)]
        patients = None if a.patients is None else a.patients[chosen]
        found = paired_rate_test(*right, null=null, level=level, groups=patients)
    return _against_margin(found, one, null)


def _against_margin(found: Comparison, one: PrimaryComparison, null: float) -> Comparison:
    """Turn the two-sided p-value against a margin into twice the one-sided one, at most 1."""
    if not one.margin or found.difference is None or found.p_value is None:
        return found
    p_value = found.p_value if (found.statistic or 0) > 0 else 1.0
    kind = "non-inferiority" if one.type == "noninferiority" else "superiority"
    method = f"{found.method}; {kind} with a margin of {one.margin:g}: twice the one-sided p"
    return Comparison(
        difference=found.difference,
        low=found.low,
        high=found.high,
        statistic=found.statistic,
        p_value=p_value,
        method=method,
        why=found.why,
    )


def question(result: PrimaryResult) -> str:
    """Return a primary comparison as a question."""
    one = result.comparison
    (first, second), metric = result.titles, _metric(one)
    if one.type == "noninferiority":
        what = f"not lower than that of {second} by {one.margin:g} or more"
    elif one.margin:
        what = f"higher than that of {second} by more than {one.margin:g}"
    else:
        what = f"higher than that of {second}"
    return f"Is the {metric} of {first} {what}, on {result.cases}?"


def answer(result: PrimaryResult, count: int) -> str:
    """Return the answer to a primary comparison, with its numbers; ``count`` of them are adjusted.

    The values lead, so that a reader sees the difference before its test.
    """
    one, found = result.comparison, result.result
    if found.difference is None:
        return f"Undefined: {found.why}."
    percent = f"{1 - result.alpha:.0%}"
    ends = interval(Estimate(found.difference, found.low, found.high, found.method))
    of_which = f"{percent} interval {ends}" if ends else f"no interval: {found.why}"
    values = f"{number(result.first.value)} against {number(result.second.value)}"
    text = f"{values}, difference {number(found.difference)} ({of_which})"
    if result.adjusted is not None:
        text += f", p = {p_text(result.adjusted)}".replace("= <", "<").replace("= >", ">")
        text += f", adjusted for {count} primary comparisons by Holm" if count > 1 else ""
    start = {
        "yes": "Yes",
        "no": f"No, that of {result.titles[1]} is higher" if not one.margin else "No",
        "not shown": "Not shown",
        "undefined": "Not tested",
    }[result.answer]
    return f"{start}: {text}."


def naming(named: NamedComparison) -> str:
    """Say when a comparison was named."""
    day, _, clock = named.named_at.partition("T")
    when = f"{day} {clock[:5]} UTC"
    if named.before:
        return f"{when}, before the results were known"
    return f"{when}, after results were known"


def primary_table(results: Sequence[PrimaryResult]) -> Table:
    """Show every primary comparison: both values, their difference, the p-values and the answer."""
    columns = [
        TableColumn("comparison", "Comparison", "text"),
        TableColumn("aim", "Aim", "text"),
        TableColumn("cases", "Cases", "text"),
        TableColumn("first", "First", "estimate"),
        TableColumn("second", "Second", "estimate"),
        TableColumn("difference", "First − second", "estimate"),
        TableColumn("p_value", "p", "p"),
        TableColumn("p_value_holm", "p, Holm", "p"),
        TableColumn("answer", "Shown?", "text"),
    ]
    rows = []
    for one in results:
        compared, found = one.comparison, one.result
        difference = Estimate(
            value=found.difference,
            low=found.low,
            high=found.high,
            method=found.method,
            why=found.why,
        )
        rows.append(
            (
                " − ".join(one.titles),
                f"{metric_title(compared.metric)}, {_aim(compared)}",
                f"{compared.cohort}: {one.n}, {one.positives} positive",
                one.first,
                one.second,
                difference,
                found.p_value,
                one.adjusted,
                one.answer,
            )
        )
    return plain_table(
        key="primary",
        title="Primary comparisons",
        columns=columns,
        rows=rows,
        note=_NOTE,
    )


_NOTE = (
    "Intervals hold for one number each. p, Holm: adjusted over the primary comparisons alone. "
    "Against a margin, p is twice the one-sided p, so that a level of 5 % is one-sided 2.5 %."
)


def _aim(one: PrimaryComparison) -> str:
    kind = "non-inferior" if one.type == "noninferiority" else "superior"
    return f"{kind}, margin {one.margin:g}" if one.margin else kind


def _metric(one: PrimaryComparison) -> str:
    title = metric_title(one.metric)
    return title if title.isupper() else title.lower()
