"""Judge every model on every set of cases, compare the models, fill ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from ctbone.config import EvaluationSettings
from ctbone.progress import Progress
from ctbone.reporting.metrics import (
    fold_means,
    many_class_estimates,
    two_class_estimates,
)
from ctbone.reporting.scored_cases import CaseSet, ScoredCases, shared_cases
from ctbone.stats import (
    Comparison,
    Confusion,
    Estimate,
    TestResult,
    confusion,
    delong_test,
    holm,
    hosmer_lemeshow,
)


@dataclass(frozen=True)
class Analysis:
    """The judged sets of a report.

    Attributes
    ----------
    sets
        The leading one first: internal test where there is one.
    settings
        Threshold, confidence level, resamples, seed.
    """

    sets: tuple[JudgedSet, ...]
    settings: EvaluationSettings

    @property
    def lead(self) -> JudgedSet:
        """The set whose numbers come first."""
        return self.sets[0]

    @property
    def reported(self) -> tuple[JudgedSet, ...]:
        """The test sets; the validation set only if there is no other."""
        kept = tuple(judged for judged in self.sets if judged.case_set.key != "validation")
        return kept or self.sets

    def of(self, key: str) -> JudgedSet | None:
        """Return one set by its key, or None if it is missing."""
        return next((judged for judged in self.sets if judged.case_set.key == key), None)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model of any set, in order."""
        return tuple(dict.fromkeys(j.name for judged in self.sets for j in judged.judgements))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, which all sets share."""
        return self.lead.case_set.classes

    @property
    def positive(self) -> str:
        """The positive class where there are two."""
        return self.lead.case_set.positive

    @property
    def two_class(self) -> bool:
        """Whether there are two classes."""
        return self.lead.case_set.two_class

    @property
    def titles(self) -> Mapping[str, str]:
        """Titles of models; a model that is missing is shown by its key."""
        return self.lead.titles

    def metrics(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``: the leading set, then further sets by key."""
        content: dict[str, Any] = {
            "classes": list(self.classes),
            "positive": self.positive if self.two_class else None,
            "confidence": self.settings.confidence,
            "threshold": self.settings.threshold,
            "prevalence": self.settings.prevalence,
            "set": self.lead.case_set.key,
            "titles": {name: self.titles.get(name, name) for name in self.models},
            **self.lead.as_dict(),
        }
        return content | {judged.case_set.key: judged.as_dict() for judged in self.sets[1:]}


@dataclass(frozen=True)
class JudgedSet:
    """A set of cases with the numbers of every model on it.

    Attributes
    ----------
    case_set
        The set.
    judgements
        One entry a model, in the order of ``case_set.scored``.
    comparisons
        Every pair of models without the primary comparisons; empty for the validation set, which
        was used to choose among the models.
    titles
        Of models, for tables and figures; a model that is missing is shown by its key.
    """

    case_set: CaseSet
    judgements: tuple[Judgement, ...]
    comparisons: tuple[ModelComparison, ...]
    titles: Mapping[str, str] = field(default_factory=dict)

    def title(self, model: str) -> str:
        """Return the title of a model."""
        return self.titles.get(model, model)

    def as_dict(self) -> dict[str, Any]:
        """Return ``{title, models, comparisons}`` of ``metrics.json``."""
        return {
            "title": self.case_set.title,
            "models": {judgement.name: judgement.as_dict() for judgement in self.judgements},
            "comparisons": [comparison.as_dict() for comparison in self.comparisons],
        }


@dataclass(frozen=True)
class Judgement:
    """The numbers of one model on one set of cases.

    Attributes
    ----------
    name
        The model.
    n, positives
        Cases, and those of the positive class.
    estimates
        Name of each metric and its estimate.
    matrix
        Cases by true class (rows) and called class (columns), shape (classes, classes); with two
        classes the negative one first.
    thresholds
        The distinct thresholds that were used.
    folds
        The judgement of each fold, if cases are tested in two folds or more.
    mean_of_folds
        Mean over the folds of some metrics, if there are two folds or more.
    hosmer_lemeshow
        Test of calibration with two classes, else None; undefined if patients have several cases.
    """

    name: str
    n: int
    positives: int
    estimates: Mapping[str, Estimate]
    matrix: np.ndarray
    thresholds: tuple[float, ...]
    folds: Mapping[int, Judgement] = field(default_factory=dict)
    mean_of_folds: Mapping[str, Estimate] = field(default_factory=dict)
    hosmer_lemeshow: TestResult | None = None

    def on(self, title: str) -> Judgement:
        """Return the same numbers; each method names the set, cases, positives and the fold."""
        cases = f"{title}, {self.n} cases"
        if len(self.matrix) == 2:
            cases += f", {self.positives} positive"

        def named(estimates: Mapping[str, Estimate], on: str) -> dict[str, Estimate]:
            return {
                name: replace(estimate, method=f"{estimate.method}; {on}")
                for name, estimate in estimates.items()
            }

        test = self.hosmer_lemeshow
        return replace(
            self,
            estimates=named(self.estimates, cases),
            folds={fold: part.on(f"{title}, fold {fold}") for fold, part in self.folds.items()},
            mean_of_folds=named(self.mean_of_folds, f"mean of {len(self.folds)} folds, {cases}"),
            hosmer_lemeshow=test and replace(test, method=f"{test.method}; {cases}"),
        )

    @property
    def confusion(self) -> Confusion:
        """The counts of a two-class decision."""
        (tn, fp), (fn, tp) = self.matrix.tolist()
        return Confusion(tn=tn, fp=fp, fn=fn, tp=tp)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``metrics.json``."""
        counts = self.confusion.as_dict() if len(self.matrix) == 2 else self.matrix.tolist()
        content: dict[str, Any] = {
            name: estimate.as_dict() for name, estimate in self.estimates.items()
        }
        content |= {
            "confusion": counts,
            "n": self.n,
            "positives": self.positives,
            "thresholds": list(self.thresholds),
        }
        if self.hosmer_lemeshow is not None:
            content["hosmer_lemeshow"] = self.hosmer_lemeshow.as_dict()
        if self.folds:
            content["folds"] = {
                str(fold): judgement.as_dict() for fold, judgement in self.folds.items()
            }
        if self.mean_of_folds:
            content["mean_of_folds"] = {
                name: estimate.as_dict() for name, estimate in self.mean_of_folds.items()
            }
        return content


@dataclass(frozen=True)
class ModelComparison:
    """Comparison of two models on the same cases, first minus second.

    Attributes
    ----------
    a, b
        The models.
    n
        Cases that both models have.
    result
        Difference of the AUCs.
    adjusted
        p-value after Holm's adjustment over the comparisons of the set.
    """

    a: str
    b: str
    n: int
    result: Comparison
    adjusted: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``metrics.json``."""
        return {
            "a": self.a,
            "b": self.b,
            "metric": "auc",
            **self.result.as_dict(),
            "p_value_holm": self.adjusted,
            "n": self.n,
        }


def analyse(
    sets: Sequence[CaseSet],
    settings: EvaluationSettings,
    *,
    bands: bool,
    bar: Progress | None = None,
    titles: Mapping[str, str] | None = None,
) -> Analysis:
    """Judge every model on every set and compare the models.

    Parameters
    ----------
    sets
        The leading one first.
    settings
        Confidence level, resamples, seed.
    bands
        Whether to compute slow bootstrap intervals.
    bar
        Advanced once a model and set.
    titles
        Titles of models; default: their keys.
    """
    judged_sets = []
    for case_set in sets:
        chosen_on = case_set.key == "validation"
        judgements = []
        for scored in case_set.scored:
            found = judge(scored, settings, bands=bands and not chosen_on)
            judgements.append(found.on(case_set.title.lower()))
            if bar is not None:
                bar.advance(note=f"{scored.name}, {case_set.title.lower()}")
        comparisons = [] if chosen_on else compare(case_set, settings)
        judged_sets.append(
            JudgedSet(case_set, tuple(judgements), tuple(comparisons), titles=titles or {})
        )
    return Analysis(tuple(judged_sets), settings)


def judge(scored: ScoredCases, settings: EvaluationSettings, *, bands: bool = True) -> Judgement:
    """Compute every metric of one model on one set of cases.

    Parameters
    ----------
    scored
        Probabilities, labels and thresholds.
    settings
        Confidence level, resamples, seed, and the dangerous error if one is named.
    bands
        Whether to compute bootstrap intervals of ICI, E50, E90 and Emax, which take seconds.

    Returns
    -------
    Judgement
        With the judgement of each fold and the mean over the folds if cases are tested in several.

    Raises
    ------
    ReportError
        The dangerous error names an unknown class.
    """
    folds = scored.folds if len(scored.folds) > 1 else ()
    by_fold = {fold: _judge_once(scored.of_fold(fold), settings, bands=False) for fold in folds}
    whole = _judge_once(scored, settings, bands=bands)
    means = fold_means(scored, folds, settings) if folds else {}
    return replace(whole, folds=by_fold, mean_of_folds=means)


def _judge_once(scored: ScoredCases, settings: EvaluationSettings, *, bands: bool) -> Judgement:
    if not scored.two_class:
        estimates, matrix = many_class_estimates(scored, settings)
        return Judgement(
            name=scored.name,
            n=len(scored),
            positives=0,
            estimates=estimates,
            matrix=matrix,
            thresholds=(),
        )
    counts = confusion(scored.truth, scored.called.astype(float), 0.5)
    return Judgement(
        name=scored.name,
        n=len(scored),
        positives=int(scored.truth.sum()),
        estimates=two_class_estimates(scored, settings, bands=bands),
        matrix=np.array([[counts.tn, counts.fp], [counts.fn, counts.tp]]),
        thresholds=tuple(sorted(set(scored.cases["threshold"].round(12)))),
        hosmer_lemeshow=hosmer_lemeshow(scored.truth, scored.p, patients=scored.patients),
    )


def compare(case_set: CaseSet, settings: EvaluationSettings) -> list[ModelComparison]:
    """Compare the AUCs of every pair of models on the cases that both have.

    DeLong's paired test, by patient (Obuchowski) if a patient has several cases; p-values adjusted
    by Holm's method over the pairs. Pairs that are primary comparisons of this set are left out.
    """
    primary = [
        {*one.compare}
        for one in settings.primary
        if one.metric == "auc" and one.cohort == case_set.key
    ]
    pairs: list[tuple[str, str, int, Comparison]] = []
    compared = [scored for scored in case_set.scored if scored.name not in case_set.uncompared]
    for first, second in combinations(compared, 2):
        if {first.name, second.name} in primary:
            continue
        a, b = shared_cases(first, second)
        if not a.two_class or not len(a):
            continue
        result = delong_test(a.truth, a.p, b.p, level=settings.confidence, groups=a.patients)
        cases = f"{case_set.title.lower()}, {len(a)} cases of both, {int(a.truth.sum())} positive"
        result = replace(result, method=f"{result.method}; {cases}")
        pairs.append((a.name, b.name, len(a), result))
    adjusted = holm([result.p_value for *_, result in pairs])
    return [
        ModelComparison(a=a, b=b, n=n, result=result, adjusted=p)
        for (a, b, n, result), p in zip(pairs, adjusted, strict=True)
    ]
