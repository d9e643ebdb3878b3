"""The first page: question, answer, flow of the cases, curves, and what the answer means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ctbone.custody import NamedComparison
from ctbone.document import (
    Block,
    FigureBlock,
    Notice,
    Question,
    TableBlock,
    Text,
    number,
)
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.decision_curves import CurvesBySet
from ctbone.reporting.primary import PrimaryResult, answer, naming, primary_table, question
from ctbone.reporting.primary_figure import MOST_MODELS, primary_figure
from ctbone.reporting.scored_cases import Origin
from ctbone.reporting.sections import headline, summary_table

_MOST_QUESTIONS = 3
"""Primary comparisons that the page answers in sentences; of more, the table answers the rest."""


def front_blocks(
    *,
    analysis: Analysis,
    primary: Sequence[PrimaryResult],
    named: Sequence[NamedComparison],
    curves: CurvesBySet,
    flow: Sequence[Block],
    origins: Mapping[str, Origin],
) -> list[Block]:
    """Return the blocks of the first page.

    Parameters
    ----------
    analysis
        The judged sets.
    primary, named
        The primary comparisons: their results, and when they were named.
    curves
        Decision curves of every set; empty with more than two classes.
    flow
        The flow chart.
    origins
        Who made each table.
    """
    lead = front_set(analysis, primary)
    blocks = _withdrawn(named)
    if primary:
        blocks += _answers(primary)
        blocks.append(TableBlock(primary_table(primary)))
        blocks += flow
    else:
        blocks.append(_EXPLORATORY)
        blocks.append(headline(analysis))
        blocks += flow
        blocks.append(TableBlock(summary_table(lead, origins)))
    models = _models(lead, primary)
    if analysis.two_class and models:
        blocks.append(FigureBlock(primary_figure(analysis, lead, models, curves)))
    blocks.append(Text(_meaning(analysis, lead, primary), plain=True))
    return blocks


_EXPLORATORY = Text(
    (
        "No primary comparison was named (evaluation.primary in study.yaml): every result of this "
        "report is exploratory.",
    )
)


def front_set(analysis: Analysis, primary: Sequence[PrimaryResult]) -> JudgedSet:
    """Return the set of the first page: of the first primary comparison, else external test."""
    if primary:
        cohort = primary[0].comparison.cohort
        key = cohort if cohort in ("internal", "external") else "external"
        return analysis.of(key) or analysis.lead
    return analysis.of("external") or analysis.lead


def _models(lead: JudgedSet, primary: Sequence[PrimaryResult]) -> list[str]:
    """Return the compared models, or the first models of the settings, that the set has."""
    known = [judgement.name for judgement in lead.judgements]
    compared = [name for result in primary for name in result.comparison.compare]
    names = [name for name in dict.fromkeys(compared) if name in known] if primary else known
    return names[:MOST_MODELS]


def _withdrawn(named: Sequence[NamedComparison]) -> list[Block]:
    """Name the comparisons that were primary once and are not any more."""
    gone = [one for one in named if one.withdrawn]
    if not gone:
        return []
    listed = "; ".join(
        f"{' − '.join(one.comparison.compare)} ({one.comparison.metric}, {one.comparison.cohort}, "
        f"named {naming(one)})"
        for one in gone
    )
    return [Notice("Primary comparisons withdrawn.", f"The settings no longer name: {listed}.")]


def _answers(primary: Sequence[PrimaryResult]) -> list[Block]:
    blocks: list[Block] = [
        Question(
            question=question(result),
            answer=answer(result, len(primary)),
            remark=f"Primary comparison, named {naming(result.named)}.{_known(result.named)}",
        )
        for result in primary[:_MOST_QUESTIONS]
    ]
    rest = len(primary) - _MOST_QUESTIONS
    if rest > 0:
        blocks.append(Text((f"{rest} more primary comparisons are in the table.",)))
    return blocks


def _known(named: NamedComparison) -> str:
    """List the tables that existed when a comparison was named."""
    return f" These tables existed then: {', '.join(named.known)}." if named.known else ""


def _meaning(
    analysis: Analysis, lead: JudgedSet, primary: Sequence[PrimaryResult]
) -> tuple[str, ...]:
    """Say in three sentences what the result means and what it does not."""
    return (_what(primary), _for_whom(analysis, lead, primary), _not(primary))


def _what(primary: Sequence[PrimaryResult]) -> str:
    if not primary:
        return (
            "What it means: the differences between models on this page raise questions for a next "
            "study and answer none, because nobody named one before the results were known."
        )
    late = sum(not result.named.before for result in primary)
    if len(primary) == 1:
        remark = "; named after results were known, the comparison confirms nothing" if late else ""
        return f"What it means: {_of_one(primary[0])}{remark}."
    shown = sum(result.answer == "yes" for result in primary)
    remark = f"; {late} of them were named after results were known and confirm nothing"
    return (
        f"What it means: {shown} of {len(primary)} primary comparisons are shown, with a "
        f"probability of any false one of at most {primary[0].alpha:.0%}{remark if late else ''}."
    )


def _of_one(result: PrimaryResult) -> str:
    one, found = result.comparison, result.result
    first, second = result.titles
    margin = f"{one.margin:g}"
    if result.answer == "undefined":
        return f"the question has no answer ({found.why})"
    if result.answer == "yes" and one.type == "noninferiority":
        return f"{first} is not worse than {second} by {margin} or more"
    if result.answer == "yes":
        by = f" by more than {margin}" if one.margin else ""
        return f"{first} is better than {second}{by} in this measure, on cases like these"
    if result.answer == "no":
        what = f"does not reach the margin of {margin}" if one.margin else f"is worse than {second}"
        return f"{first} {what}"
    ends = f"{number(found.low)} and {number(found.high)}"
    return (
        f"no answer is shown, which is no proof of equality: differences between {ends} agree with "
        "these cases"
    )


def _for_whom(analysis: Analysis, lead: JudgedSet, primary: Sequence[PrimaryResult]) -> str:
    first = lead.judgements[0]
    n, positives = first.n, first.positives
    centres = sorted({name for scored in lead.case_set.scored for name in scored.cohorts})
    if primary and primary[0].n:
        n, positives = primary[0].n, primary[0].positives
        cohort = primary[0].comparison.cohort
        centres = centres if cohort in ("internal", "external") else [cohort]
    events = f", {positives} {analysis.positive}" if analysis.two_class else ""
    of = f" of {', '.join(centres)}" if lead.case_set.key == "external" else ""
    return (
        f"For whom: for patients like the {n} cases{events}{of} of this test, and for no other "
        "hospitals, scanners or tumours."
    )


def _not(primary: Sequence[PrimaryResult]) -> str:
    metrics: set[str] = {result.comparison.metric for result in primary} or {"auc"}
    what = (
        "an AUC says how well cases are ranked"
        if metrics == {"auc"}
        else ("rates say how often a call is right")
    )
    return (
        f"What it does not mean: {what}, not whether the probabilities are right (calibration), "
        "decisions gain (net benefit) or patients fare better, which only a study of the use shows."
    )
