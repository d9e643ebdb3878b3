"""The whole analysis of some sets of cases: numbers, comparisons, and the content of ``metrics.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ctbone.config import EvaluationSettings
from ctbone.progress import Progress
from ctbone.report.metrics import Judgement, ModelComparison, compare, judge
from ctbone.report.scored_cases import CaseSet, ScoredCases


@dataclass(frozen=True)
class JudgedSet:
    """A set of cases with the numbers of every model on it.

    Attributes
    ----------
    cases
        The set.
    judgements
        One entry a model, in the order of its answers.
    comparisons
        Every two models; none for the validation set, which chose among them.
    """

    cases: CaseSet
    judgements: tuple[Judgement, ...]
    comparisons: tuple[ModelComparison, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return ``{title, models, comparisons}`` of ``metrics.json``."""
        return {
            "title": self.cases.title,
            "models": {judgement.name: judgement.as_dict() for judgement in self.judgements},
            "comparisons": [comparison.as_dict() for comparison in self.comparisons],
        }


@dataclass(frozen=True)
class Analysis:
    """The sets of a report, judged.

    Attributes
    ----------
    sets
        The first one leads: internal test where there is one.
    settings
        Threshold, confidence level, resamples, seed.
    """

    sets: tuple[JudgedSet, ...]
    settings: EvaluationSettings

    @property
    def lead(self) -> JudgedSet:
        """The set whose numbers stand first."""
        return self.sets[0]

    @property
    def reported(self) -> tuple[JudgedSet, ...]:
        """The sets that nothing was chosen on; the validation set only where there is no other."""
        kept = tuple(judged for judged in self.sets if judged.cases.key != "validation")
        return kept or self.sets

    def of(self, key: str) -> JudgedSet | None:
        """Return one set by its key, None where it is not there."""
        return next((judged for judged in self.sets if judged.cases.key == key), None)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model of any set, in order."""
        return tuple(dict.fromkeys(j.name for judged in self.sets for j in judged.judgements))

    @property
    def any_answers(self) -> ScoredCases:
        """Some model's answers, for what all share: the classes and the positive one."""
        return self.lead.cases.answers[0]

    def metrics(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``: the leading set's models and comparisons, further sets by key."""
        answers = self.any_answers
        content: dict[str, Any] = {
            "classes": list(answers.classes),
            "positive": answers.positive if answers.two_class else None,
            "confidence": self.settings.confidence,
            "threshold": self.settings.threshold,
            "prevalence": self.settings.prevalence,
            "set": self.lead.cases.key,
            **self.lead.as_dict(),
        }
        return content | {judged.cases.key: judged.as_dict() for judged in self.sets[1:]}


def analyse(
    sets: Sequence[CaseSet],
    settings: EvaluationSettings,
    *,
    bands: bool,
    bar: Progress | None = None,
) -> Analysis:
    """Judge every model on every set and compare the models.

    Parameters
    ----------
    sets
        The leading one first.
    settings
        Confidence level, resamples, seed.
    bands
        Whether slow bootstrap intervals are computed.
    bar
        Advanced once a model and set.
    """
    judged = []
    for cases in sets:
        of_set = []
        for answers in cases.answers:
            of_set.append(judge(answers, settings, bands=bands and cases.key != "validation"))
            if bar is not None:
                bar.advance(note=f"{answers.name}, {cases.title.lower()}")
        comparisons = compare(cases, settings) if cases.key != "validation" else []
        judged.append(JudgedSet(cases, tuple(of_set), tuple(comparisons)))
    return Analysis(tuple(judged), settings)
