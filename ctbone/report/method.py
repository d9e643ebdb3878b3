"""The method in words, from the settings: what was trained, what answered for whom, how numbers were computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ctbone.config import ModelSettings, Settings
from ctbone.document.page import Block, Section, Terms, Text
from ctbone.input_kind import INPUT_KINDS
from ctbone.report.analysis import Analysis
from ctbone.report.fusion_records import FusionRecord, RecalibrationRecord, Records, StackRecord
from ctbone.report.gather import Source
from ctbone.report.sections import statistics

_TECHNICAL = ("name", "title")


def method_section(
    settings: Settings,
    analysis: Analysis,
    found: Sequence[Source],
    records: Records,
    record: dict[str, Any],
) -> Section:
    """Say how the numbers came about, then list every setting, version and input.

    Parameters
    ----------
    settings
        The study's settings.
    analysis
        The numbers, which know their methods.
    found
        The tables that took part.
    records
        How the fusions were made.
    record
        The report's provenance.
    """
    words = [_folds(settings), *_models(settings, found), _out_of_fold(analysis)]
    words += [
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
        Text(tuple(words)),
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
        f"Cross-validation in {folds.count} folds, by patient and stratified by class. In each, one fold is the test "
        f"set; {folds.validation_share:.0%} of the patients of the others are validation, on which the epoch is chosen "
        "by AUC, and the rest train the model. Nothing is fitted on cases that it is evaluated on."
    )


def _models(settings: Settings, found: Sequence[Source]) -> list[str]:
    texts = []
    for source in found:
        if source.name in settings.models:
            texts.append(_model(source.name, settings.models[source.name]))
    others = [
        source.name for source in found if not source.fused and source.name not in settings.models
    ]
    others = [name for name in others if name != "reader"]
    if others:
        texts.append(f"Made by another program and dropped in: {', '.join(others)}.")
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
    views = (
        f", the case's probability being the {mean} of its images"
        if INPUT_KINDS[model.dim].has_views
        else ""
    )
    return (
        f"{name}: {model.network} in {model.dim.upper()}, {start}, {training.epochs} epochs of batches of "
        f"{training.batch_size}, {training.optimizer} at a learning rate of {training.learning_rate:g}, "
        f"{training.loss if ':' in training.loss else training.loss.replace('_', '-')}{views}."
        f"{_choices(model)}"
    )


def _choices(model: ModelSettings) -> str:
    """Name what is chosen beside the main paper's protocol; nothing where nothing is."""
    training = model.training
    weights = training.class_weights
    extra = [transform.name for transform in training.augmentation.extra]
    given = {
        f"clinical columns as a second input ({', '.join(model.metadata)})": model.metadata,
        f"class weights ({weights if isinstance(weights, str) else 'given'})": weights != "none",
        f"label smoothing of {training.label_smoothing:g}": training.label_smoothing,
        f"further augmentation ({', '.join(extra)})": extra,
        "classes drawn equally often": training.sampling == "balanced",
        f"mixup with α = {training.mixup:g}": training.mixup,
        f"a warm-up of {training.warmup_epochs} epochs": training.warmup_epochs,
        "a cosine schedule": training.schedule == "cosine",
        f"an exponential mean of the weights (decay {training.ema:g})": training.ema,
        f"an end after {training.early_stopping} epochs without a better one": training.early_stopping,
        f"parts of {training.micro_batch} samples through the network at once": training.micro_batch,
    }
    chosen = [words for words, on in given.items() if on]
    return f" Beside the protocol: {'; '.join(chosen)}." if chosen else ""


def _out_of_fold(analysis: Analysis) -> str:
    text = []
    if analysis.of("internal"):
        text.append(
            "Internal probabilities are out-of-fold: each case is answered by the one model that has not seen its "
            "patient. The main paper describes the average of all five models instead, four of which were trained on "
            "that patient; numbers made so would be too good."
        )
    if analysis.of("external"):
        text.append(
            "External cases have been seen by no model and are answered by the mean of the folds' models."
        )
    return " ".join(text)


def _fusions(records: Sequence[FusionRecord]) -> list[str]:
    if not records:
        return []
    names = ", ".join(record.name for record in records)
    readers = dict.fromkeys(record.reader for record in records if record.reader)
    reader = (
        f" The reader is {', '.join(readers)}; a score from 1 to 9 without 5 stands for 10 to 90 %."
        if readers
        else ""
    )
    return [
        f"Fusions ({names}) are weighted averages of probabilities; {records[0].how}. Test cases get the weights of "
        "their fold. For external cases each part is averaged over the folds first, then the mean of the folds' "
        f"weights applies.{reader}"
    ]


def _stacks(stacks: Sequence[StackRecord]) -> list[str]:
    if not stacks:
        return []
    each = "; ".join(f"{s.name}: {s.how}, over {', '.join([*s.parts, *s.columns])}" for s in stacks)
    return [
        f"Stacks ({each}). Test cases are answered by the stacker of their fold, external cases by the mean of the "
        "folds' stackers, validation cases by stackers fitted without their patient."
    ]


def _recalibrations(records: Sequence[RecalibrationRecord]) -> list[str]:
    if not records:
        return []
    each = "; ".join(f"{r.name}: {r.how}" for r in records)
    return [
        f"Recalibrated probabilities ({each}). Test cases are mapped by the map of their fold, external cases by the "
        "mean of the folds' maps, validation cases by maps fitted without their patient. A recalibrated table is not "
        "compared with others: within a fold a map keeps the order of the cases."
    ]


def _flatten(content: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Turn nested settings into dotted keys and short texts."""
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
