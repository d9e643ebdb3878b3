"""The model card of a model file, in Markdown: written from its records, nothing by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctbone.release.contents import Contents
from ctbone.release.facts import LEVELS, NUMBERS

_METRICS = {
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "brier": "Brier score",
}
"""Metrics of the table of results: key in ``metrics.json``, and title."""


def model_card(contents: Contents, metrics: Mapping[str, Any] | None) -> str:
    """Write the model card.

    Parameters
    ----------
    contents
        The content of the model file.
    metrics
        ``metrics.json`` of the study's report; None if there is no current report.

    References
    ----------
    .. [1] Mitchell M et al. Model cards for model reporting. FAT* 2019:220.
    """
    settings = contents.settings
    parts = [
        f"# {settings.title or settings.name}",
        "Written by ctbone from the records of the study. For research only: it is not a medical "
        "device, and no claim of clinical use is made.",
        "## Intended use",
        f"Research on the question whether a bone tumour in CT is {_listed(settings.classes)}. "
        "Input: a CT series and a mask of one lesion, drawn by a person. It does not find lesions, "
        "and it was not tested on other diseases, modalities or age groups than those below.",
        "## Training cohort",
        *_cohort(contents),
        "## Models and answers",
        *_answers(contents),
        "## Results",
        *_results(metrics),
        "## Limits",
        *_limits(contents),
        "## Training range",
        *_range(contents),
        "## Versions",
        _table(("library", "version"), contents.made_with.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cohort(contents: Contents) -> Iterator[str]:
    rows = []
    for title, key in (("training, cross-validated", "training"), ("external test", "external")):
        of = contents.cohort.get(key, {})
        if of.get("cases"):
            counts = ", ".join(f"{n} {name}" for name, n in of["classes"].items())
            rows.append((title, of["cases"], of["patients"], counts, of.get("centres", "-")))
    yield _table(("cohort", "cases", "patients", "classes", "centres"), rows)


def _answers(contents: Contents) -> Iterator[str]:
    for name, folds in contents.folds.items():
        model = contents.settings.models[name]
        yield (
            f"- {name}: {model.dim.upper()} {model.network}, {len(folds)} networks, one a fold; "
            "the answer is their mean."
        )
    for answer in contents.answers:
        made = {
            "model": "a model",
            "reader": "a radiologist's score, 1 to 9, as a probability",
            "stack": "logistic regression over "
            + ", ".join([*answer.weights, *answer.columns])
            + ", mean over the folds",
            "combination": "weighted mean of "
            + ", ".join(f"{part} ({weight:.2f})" for part, weight in answer.weights.items()),
            "recalibration": f"recalibration of {', '.join(answer.weights)}, mean over the folds",
        }[answer.kind]
        threshold = f"; threshold {answer.threshold:.3g}" if answer.threshold is not None else ""
        first = " (shown first)" if answer.name == contents.first else ""
        yield f"- answer {answer.name}{first}: {made}{threshold}."
    for name, why in contents.left_out.items():
        yield f"- left out: {name}, because {why}."


def _results(metrics: Mapping[str, Any] | None) -> Iterator[str]:
    if metrics is None:
        yield "The study had no current report when this file was made: no results are stated."
        return
    if metrics.get("synthetic"):
        yield "The cohort is synthetic; these numbers say nothing about patients."
    external = metrics.get("external") or {}
    sets = [(metrics.get("title"), metrics.get("models"))]
    sets.append((external.get("title"), external.get("models")))
    for title, models in sets:
        if not isinstance(models, Mapping) or not models:
            continue
        rows = [
            (name, *(_estimate(of.get(key)) for key in _METRICS))
            for name, of in models.items()
            if isinstance(of, Mapping)
        ]
        yield f"{title}, with {metrics.get('confidence', 0.95):.0%} intervals:"
        yield _table(("model", *_METRICS.values()), rows)


def _estimate(estimate: Any) -> str:
    if not isinstance(estimate, Mapping) or estimate.get("value") is None:
        return "-"
    low, high = estimate.get("low"), estimate.get("high")
    ends = f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else ""
    return f"{estimate['value']:.3f}{ends}"


def _limits(contents: Contents) -> Iterator[str]:
    error_rate = contents.settings.prediction.error_rate
    yield (
        f"- Conformal sets allow an error rate of {error_rate:.0%} a class. They are calibrated on "
        "out-of-fold predictions (cross-conformal) and hold only for patients like those of the "
        "training cohort."
    )
    for answer in contents.answers:
        if answer.conformal is None:
            yield f"- {answer.name} has no conformal sets: {answer.no_conformal}."
        else:
            counted = "; ".join(
                f"{name}: n = {limit.n}, coverage {limit.low:.2f} to {limit.high:.2f} on average, "
                f"{limit.range_low:.2f} to {limit.range_high:.2f} in 95 % of such studies"
                for name, limit in answer.conformal.items()
            )
            yield f"- {answer.name}: {counted}."
    yield (
        "- A case outside the training range is flagged in words; the probability of such a case "
        "is not reliable."
    )


def _range(contents: Contents) -> Iterator[str]:
    rows = [
        (
            NUMBERS[name][0] if name in NUMBERS else name,
            NUMBERS[name][1] if name in NUMBERS else "",
            of.n,
            f"{of.mean:.4g} ± {of.sd:.3g}",
            f"{of.quantiles[0]:.4g} to {of.quantiles[-1]:.4g}",
        )
        for name, of in contents.range.numbers.items()
    ]
    yield _table(("number", "unit", "cases", "mean ± SD", "98 % of cases"), rows)
    named = [
        (LEVELS.get(name, name), ", ".join(f"{level or 'rarer'} {n}" for level, n in of.items()))
        for name, of in contents.range.levels.items()
    ]
    yield _table(("level", "cases"), named)


def _table(header: Sequence[str], rows: Any) -> str:
    lines = [" | ".join(map(str, row)) for row in rows]
    if not lines:
        return ""
    ruled = [" | ".join(header), " | ".join("---" for _ in header), *lines]
    return "\n".join(f"| {line} |" for line in ruled)


def _listed(classes: Sequence[str]) -> str:
    return f"{', '.join(classes[:-1])} or {classes[-1]}"
