"""The section on the method: training, prediction, fusion and statistics, from the settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ctbone.config import ModelSettings, Settings
from ctbone.document import Block, Section, Terms, Text
from ctbone.input_kind import INPUT_KINDS
from ctbone.reporting.analysis import Analysis
from ctbone.reporting.fusion_records import (
    FusionRecord,
    RecalibrationRecord,
    Records,
    StackingRecord,
)
from ctbone.reporting.sections import statistics
from ctbone.reporting.sources import Source

_TECHNICAL = ("name", "title")  # settings that are not part of the method


def method_section(
    settings: Settings,
    analysis: Analysis,
    tables: Sequence[Source],
    records: Records,
    record: dict[str, Any],
) -> Section:
    """Describe how the numbers were made, then list every setting, version and input.

    Parameters
    ----------
    settings
        The study's settings.
    analysis
        The judged sets, whose numbers name their methods.
    tables
        The tables of probabilities.
    records
        The records of the fusions.
    record
        The report's provenance.
    """
    paragraphs = [_folds(settings), *_models(settings, tables), _out_of_fold(analysis)]
    paragraphs += [
        *_fusions(records.fusions),
        *_stacks(records.stacks),
        *_recalibrations(records.recalibrations),
    ]
    versions = [
        ("ctbone", record["ctbone"]),
        ("Python", record["python"]),
        *sorted(record["libraries"].items()),
    ]
    flat = [
        (key, text)
        for key, text in _flatten(settings.model_dump(mode="json"))
        if key not in _TECHNICAL
    ]
    blocks: list[Block] = [
        Text(tuple(paragraphs)),
        *statistics(analysis),
        Terms("Settings", tuple(flat)),
        Terms("Versions", tuple((name, str(version)) for name, version in versions)),
        Terms(
            "Inputs (SHA-256)",
            tuple((name, digest[:16]) for name, digest in record["inputs"].items()),
        ),
    ]
    return Section("method", "Method", tuple(blocks))


def _folds(settings: Settings) -> str:
    folds = settings.folds
    return (
        f"Cross-validation in {folds.count} folds, by patient and stratified by class. In each, "
        f"one fold is the test set; {folds.validation_share:.0%} of the patients of the other "
        "folds are the validation set, on which the epoch is chosen by AUC, and the rest are the "
        "training set. Nothing is fitted on the cases on which it is evaluated."
    )


def _models(settings: Settings, tables: Sequence[Source]) -> list[str]:
    texts = []
    for source in tables:
        if source.name in settings.models:
            texts.append(_model(source.name, settings.models[source.name]))
    others = [
        source.name for source in tables if not source.fused and source.name not in settings.models
    ]
    others = [name for name in others if name != "reader"]
    if others:
        texts.append(f"Tables of other programs: {', '.join(others)}.")
    return texts


def _model(name: str, model: ModelSettings) -> str:
    training = model.training
    start = "from random weights" if model.weights == "none" else f"from {model.weights} weights"
    means = {"equal": "average", "area": "mean, weighted by lesion area,"}
    mean = (
        means.get(model.view_weights, "weighted mean")
        if isinstance(model.view_weights, str)
        else "weighted mean"
    )
    views = f"; the probability of a case is the {mean} of its images"
    views = views if INPUT_KINDS[model.dim].has_views else ""
    loss = training.loss if ":" in training.loss else training.loss.replace("_", "-")
    return (
        f"{name}: {model.network} in {model.dim.upper()}, {start}, {training.epochs} epochs of "
        f"batches of {training.batch_size}, {training.optimizer} at a learning rate of "
        f"{training.learning_rate:g}, {loss}{views}.{_choices(model)}"
    )


def _choices(model: ModelSettings) -> str:
    """List the settings that differ from the protocol of the main paper; empty if none does."""
    training = model.training
    weights = training.class_weights
    extra = [transform.name for transform in training.augmentation.extra]
    given = {
        f"clinical columns as a second input ({', '.join(model.metadata)})": model.metadata,
        f"class weights ({weights if isinstance(weights, str) else 'given'})": weights != "none",
        f"label smoothing of {training.label_smoothing:g}": training.label_smoothing,
        f"further augmentation ({', '.join(extra)})": extra,
        "balanced sampling of the classes": training.sampling == "balanced",
        f"mixup with α = {training.mixup:g}": training.mixup,
        f"a warm-up of {training.warmup_epochs} epochs": training.warmup_epochs,
        "a cosine schedule": training.schedule == "cosine",
        f"an exponential moving average of the weights (decay {training.ema:g})": training.ema,
        f"early stopping after {training.early_stopping} epochs": training.early_stopping,
        f"micro-batches of {training.micro_batch} samples": training.micro_batch,
    }
    chosen = [words for words, on in given.items() if on]
    return f" Different from the protocol: {'; '.join(chosen)}." if chosen else ""


def _out_of_fold(analysis: Analysis) -> str:
    text = []
    if analysis.of("internal"):
        text.append(
            "Internal probabilities are out-of-fold: each case is predicted by the one model that "
            "has not seen its patient. The main paper describes the average of all five models "
            "instead, four of which were trained on that patient; such numbers are too optimistic."
        )
    if analysis.of("external"):
        text.append(
            "No model was trained on external cases; their probability is the mean over the models "
            "of the folds."
        )
    return " ".join(text)


def _fusions(records: Sequence[FusionRecord]) -> list[str]:
    if not records:
        return []
    names = ", ".join(record.name for record in records)
    readers = dict.fromkeys(record.reader for record in records if record.reader)
    reader = (
        f" The reader is {', '.join(readers)}; scores of 1 to 9, without 5, stand for 10 to 90 %."
        if readers
        else ""
    )
    return [
        f"Fusions ({names}) are weighted averages of probabilities; {records[0].how}. Test cases "
        "get the weights of their fold. For external cases each part is first averaged over the "
        f"folds, then weighted by the mean of the folds' weights.{reader}"
    ]


def _stacks(stacks: Sequence[StackingRecord]) -> list[str]:
    if not stacks:
        return []
    each = "; ".join(f"{s.name}: {s.how}, over {', '.join([*s.parts, *s.columns])}" for s in stacks)
    return [
        f"Stacks ({each}). Test cases are predicted by the stacking model of their fold, external "
        "cases by the mean of the folds' stacking models, validation cases by stacking models that "
        "were fitted without their patient."
    ]


def _recalibrations(records: Sequence[RecalibrationRecord]) -> list[str]:
    if not records:
        return []
    each = "; ".join(f"{r.name}: {r.how}" for r in records)
    return [
        f"Recalibrated probabilities ({each}). Test cases get the map of their fold, external "
        "cases the mean of the folds' maps, validation cases maps that were fitted without their "
        "patient. A recalibrated table is not compared with others, because within a fold a map "
        "keeps the order of the cases."
    ]


def _flatten(content: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each setting as a dotted key and a short text."""
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(content, list) and any(isinstance(item, dict) for item in content):
        for number, item in enumerate(content):
            yield from _flatten(item, f"{prefix}.{number}")
    elif isinstance(content, list):
        yield prefix, ", ".join(map(str, content)) or "–"
    else:
        yield prefix, "–" if content in (None, "", {}) else str(content)
