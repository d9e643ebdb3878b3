"""The section on the method: training, prediction, fusion and statistics, from the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ctbone.config import READER, ModelSettings
from ctbone.document import Block, Section, Terms, Text
from ctbone.input_kind import INPUT_KINDS
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.fusion_records import (
    FusionRecord,
    RecalibrationRecord,
    Records,
    StackingRecord,
)
from ctbone.reporting.run_records import RunRecords, TrainedFold, TrainedModel, fold_list
from ctbone.reporting.sections import statistics


def method_section(
    settings: Mapping[str, str],
    analysis: Analysis,
    runs: RunRecords,
    records: Records,
    record: dict[str, Any],
) -> Section:
    """Describe how the numbers were made, then list every setting, version and input.

    Parameters
    ----------
    settings
        The settings that were run, as ``settings_as_run`` returns them.
    analysis
        The judged sets, whose numbers name their methods.
    runs
        The records of folds and models; tables without them are left to the authors.
    records
        The records of the fusions.
    record
        The report's provenance.
    """
    paragraphs = [_folds(runs), *_models(runs), _elsewhere(runs), _out_of_fold(analysis, runs)]
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
    blocks: list[Block] = [
        Text(tuple(text for text in paragraphs if text)),
        *statistics(analysis),
        Terms("Settings", tuple(settings.items())),
        Terms("Versions", tuple((name, str(version)) for name, version in versions)),
        *_trained_with(runs),
        Terms(
            "Inputs (SHA-256)",
            tuple((name, digest[:16]) for name, digest in record["inputs"].items()),
        ),
    ]
    return Section("method", "Method", tuple(blocks))


def _folds(runs: RunRecords) -> str:
    folds = runs.folds
    if folds is None:
        return ""
    return (
        f"Cross-validation in {folds.count} folds, by patient and stratified by class. In each, "
        f"one fold is the test set; {folds.validation_share:.0%} of the patients of the other "
        "folds are the validation set, on which the epoch is chosen by AUC, and the rest are the "
        "training set. Nothing is fitted on the cases on which it is evaluated."
    )


def _elsewhere(runs: RunRecords) -> str:
    if not runs.elsewhere:
        return ""
    names = ", ".join(runs.elsewhere)
    return (
        f"Made elsewhere, or fused from such tables: {names}. This study has no record of their "
        "folds and training, which cannot be verified here; the authors describe them."
    )


def _models(runs: RunRecords) -> list[str]:
    return [text for model in runs.models.values() for text in _groups(model)]


def _groups(model: TrainedModel) -> list[str]:
    """Describe a model, once for each group of folds with the same settings."""
    groups = model.groups()
    if len(groups) == 1:
        return [_model(model.name, groups[0])]
    return [
        _model(f"{model.name} ({fold_list([fold.fold for fold in group])})", group)
        for group in groups
    ]


def _model(name: str, folds: Sequence[TrainedFold]) -> str:
    model = folds[0].model
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
    epochs = ", ".join(str(fold.epoch) for fold in folds)
    kept = f" Epoch that was kept in {fold_list([fold.fold for fold in folds])}: {epochs}."
    dimensions = INPUT_KINDS[model.dim].dimensions
    return (
        f"{name}: {model.network} in {dimensions}D, {start}, {training.epochs} epochs of "
        f"batches of {training.batch_size}, {training.optimizer} at a learning rate of "
        f"{training.learning_rate:g}, {loss}{views}.{_choices(model)}{kept}"
    )


def _trained_with(runs: RunRecords) -> list[Terms]:
    """List the versions of each training."""
    items = []
    for model in runs.models.values():
        groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
        for fold in model.folds:
            groups.setdefault(fold.versions, []).append(fold.fold)
        for versions, folds in groups.items():
            name = model.name if len(groups) == 1 else f"{model.name}, {fold_list(folds)}"
            items.append((name, ", ".join(f"{key} {version}" for key, version in versions)))
    return [Terms("Versions of the training", tuple(items))] if items else []


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
        f"CutMix with α = {training.cutmix:g}": training.cutmix,
        "a cosine schedule": training.schedule == "cosine",
        f"a rate that falls by {training.step_factor:g} every {training.step_epochs} epochs": (
            training.schedule == "step"
        ),
        f"momentum {training.momentum:g}": training.momentum,
        f"stochastic weight averaging from epoch {training.swa_start}": training.swa_start,
        "one sigmoid output": model.outputs == "sigmoid",
        "test-time augmentation by mirror images": model.tta == "flips",
        "an input normalised by the training part": model.normalise == "training",
        f"an exponential moving average of the weights (decay {training.ema:g})": training.ema,
        f"early stopping after {training.early_stopping} epochs": training.early_stopping,
        f"micro-batches of {training.micro_batch} samples": training.micro_batch,
    }
    chosen = [words for words, on in given.items() if on]
    return f" Different from the protocol: {'; '.join(chosen)}." if chosen else ""


def _out_of_fold(analysis: Analysis, runs: RunRecords) -> str:
    """Say how the internal and the external probabilities were made, for the tables it is known."""
    text = []
    internal, external = analysis.of("internal"), analysis.of("external")
    if internal and (names := _known(internal, runs)):
        of = "" if len(names) == len(internal.judgements) else f" of {', '.join(names)}"
        text.append(
            f"Internal probabilities{of} are out-of-fold: each case is predicted by the one model "
            "that has not seen its patient. The main paper describes the average of all five "
            "models instead, four of which were trained on that patient; such numbers are too "
            "optimistic."
        )
    if external and (names := _known(external, runs)):
        of = "" if len(names) == len(external.judgements) else f" of {', '.join(names)}"
        text.append(
            f"No model{of} was trained on external cases; their probability is the mean over the "
            "models of the folds."
        )
    return " ".join(text)


def _known(judged: JudgedSet, runs: RunRecords) -> list[str]:
    """Return the tables of a set whose making is recorded; none where it has only the reader."""
    names = [judgement.name for judgement in judged.judgements]
    known = [name for name in names if name not in runs.elsewhere]
    return known if set(known) - {READER} else []


def _fusions(records: Sequence[FusionRecord]) -> list[str]:
    if not records:
        return []
    names = ", ".join(record.name for record in records)
    readers = {record.reader: record.reader_note for record in records if record.reader}
    named = (f"{name} ({note})" if note else name for name, note in readers.items())
    reader = f" The reader is {', '.join(named)}." if readers else ""
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
