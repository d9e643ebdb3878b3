"""The cross-validated training of one model: every fold from its checkpoint, then the table of its predictions."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import torch

from ctbone.clinical import refuse_giveaway
from ctbone.cohort import Cohort, read_cohort
from ctbone.config import ModelSettings
from ctbone.errors import ModelError, TrainingError
from ctbone.folds import Folds, draw_folds, read_folds, read_or_draw_folds
from ctbone.input_kind import INPUT_KINDS
from ctbone.models.batches import batch_source
from ctbone.models.crops import load_crops, refuse_shared_voxels
from ctbone.models.fold_tables import (
    fold_table,
    is_current,
    join_fold_tables,
    table_record,
    write_fold_table,
)
from ctbone.models.hardware import UNPROVEN_BF16, choose_hardware
from ctbone.models.metadata import metadata_digest
from ctbone.models.probabilities import prediction_rows, probabilities_of, view_shares
from ctbone.models.trained import (
    Card,
    card_file,
    read_card,
    save_trained,
    save_weights,
    weights_file,
)
from ctbone.models.training_key import model_settings, refuse_other, training_key
from ctbone.study import Study, provenance
from ctbone.training.checkpoint import FoldState, forget_best
from ctbone.training.curves import draw_curves
from ctbone.training.epochs import run_epochs, try_batch
from ctbone.training.ranks import Ranks, join_ranks
from ctbone.training.task import FoldTask, Log
from ctbone.training.tracking import refuse_missing
from ctbone.training.validation import logits_by_ranks

_MEMORY_SIGNS = ("out of memory", "allocate memory", "alloc_failed", "unable to find an engine")
"""What PyTorch, cuBLAS and, for want of a workspace, cuDNN say where it is not enough, by plain RuntimeErrors."""


@dataclass(frozen=True)
class FoldSummary:
    """What became of one fold.

    Attributes
    ----------
    fold
        Its number.
    epoch, validation_auc
        The epoch that was kept, and its validation AUC.
    seconds
        What this call spent on it; 0 where it was finished before.
    """

    fold: int
    epoch: int
    validation_auc: float
    seconds: float


@dataclass(frozen=True)
class TrainingSummary:
    """What became of a model's training.

    Attributes
    ----------
    model
        Its name.
    folds
        The folds that were asked for, in order; none in a dry run.
    missing
        Folds of the study that are not trained yet.
    predictions
        The table of all finished folds; None in a dry run.
    """

    model: str
    folds: tuple[FoldSummary, ...]
    missing: tuple[int, ...]
    predictions: Path | None

    def __str__(self) -> str:
        if self.predictions is None:
            return f"{self.model}: one batch and one validation ran; nothing was written"
        aucs = [fold.validation_auc for fold in self.folds]
        left = (
            f"; folds {', '.join(map(str, self.missing))} are not trained yet"
            if self.missing
            else ""
        )
        kind = f"{len(aucs)} fold{'s' * (len(aucs) > 1)} trained, validation AUC {min(aucs):.3f} to {max(aucs):.3f}"
        return f"{self.model}: {kind}{left}; probabilities in {self.predictions}"


def train(
    study: Study,
    model: str,
    *,
    fold: int | None = None,
    dry_run: bool = False,
    log: Log = "none",
    ranks: Ranks | None = None,
    join: bool = True,
    notes: bool = True,
) -> TrainingSummary:
    """Train a model by the study's cross-validation, going on where an earlier run stopped.

    For each fold: the network learns from its training part, the epoch with the highest validation AUC is kept, and
    its weights predict the validation and the test part. Nothing of the test part is looked at before that. A
    finished fold is not trained again.

    Parameters
    ----------
    study
        Its cases are preprocessed.
    model
        A name under ``models`` in the settings.
    fold
        Train this fold alone, from 0; all of them if None.
    dry_run
        Run one batch and one validation of the first fold asked for, and write nothing.
    log
        ``tensorboard`` or ``mlflow``: what is told of each epoch beside ``metrics.csv``, see ``open_tracker``.
    ranks
        The processes that train together; None: those that ``torchrun`` or ``srun`` started, see ``join_ranks``.
    join
        Write ``predictions/<model>.csv`` at the end; False where a caller does so after several folds.
    notes
        Print notes on standard error; False where another process of the same run does.

    Returns
    -------
    TrainingSummary
        ``runs/<model>/fold<k>/`` and ``predictions/<model>.csv`` are written.

    Raises
    ------
    TrainingError
        There is no such fold, the loss is NaN, memory is out, what ``log`` asks for is not installed, or an
        earlier run was of other settings, folds or crops.
    ModelError
        The network, its weights or the crops are not what the settings ask for; two patients share voxels.
    CohortError, FoldError, StudyError
        The cohort or the folds do not hold.
    """
    ours = model_settings(study.settings, model)
    refuse_missing(log)
    chosen = chosen_folds(study, fold)
    cohort = read_cohort(study)
    ranks = join_ranks() if ranks is None else ranks
    with ranks.first():
        folds = _folds(study, cohort, dry_run)
    with _memory_is_enough(ours):
        task = dataclasses.replace(prepare(study, model, cohort, folds, ranks), log=log)
        if notes and ranks.writes and task.hardware.bf16 and task.hardware.device.type == "cpu":
            print(f"note: {UNPROVEN_BF16}", file=sys.stderr, flush=True)
        if dry_run:
            with _own_random_numbers(task):
                try_batch(dataclasses.replace(task, fold=chosen[0]))
            return TrainingSummary(model, (), tuple(range(study.settings.folds.count)), None)
        summaries = [_train_fold(dataclasses.replace(task, fold=number)) for number in chosen]
    with ranks.first():
        return summary_of(study, model, summaries, cohort, join=join and ranks.writes)


def chosen_folds(study: Study, fold: int | None) -> list[int]:
    """Return the folds that are meant: one, or all if None.

    Raises
    ------
    TrainingError
        There is no such fold.
    """
    count = study.settings.folds.count
    if fold is not None and not 0 <= fold < count:
        raise TrainingError("there is no such fold", found=fold, expected=f"0 to {count - 1}")
    return list(range(count)) if fold is None else [fold]


def summary_of(
    study: Study, model: str, folds: Sequence[FoldSummary], cohort: Cohort, *, join: bool = True
) -> TrainingSummary:
    """Join the tables of all finished folds, unless another process does, and say what became of these."""
    count = study.settings.folds.count
    missing = tuple(
        number for number in range(count) if not card_file(study, model, number).is_file()
    )
    table = join_fold_tables(study, model, cohort) if join else study.predictions(model)
    return TrainingSummary(model, tuple(folds), missing, table)


def _folds(study: Study, cohort: Cohort, dry_run: bool) -> Folds:
    if not dry_run:
        return read_or_draw_folds(study, cohort)
    if study.folds_csv.exists():
        return read_folds(study, cohort)
    return Folds(draw_folds(cohort.internal, study.settings), study.settings.folds.count, "")


def prepare(study: Study, model: str, cohort: Cohort, folds: Folds, ranks: Ranks) -> FoldTask:
    """Read what all folds of a model share, and put it where it is computed on; the task's fold is 0.

    Raises
    ------
    ModelError
        As ``train``.
    """
    ours = model_settings(study.settings, model)
    crops = load_crops(
        study, cohort.internal, ours.dim, masks=ours.mask != "none", dilation=ours.mask_dilation
    )
    refuse_shared_voxels(study, cohort, crops)
    view_shares(ours, crops)  # now, so that weights which do not fit stop the run before it begins
    hardware = choose_hardware(ours.training, ranks.local if ranks.count > 1 else None)
    classes = study.settings.classes
    labels = torch.tensor(
        [classes.index(case.label) for case in cohort.internal], device=hardware.device
    )
    identity = {**training_key(study, model, folds.hash), "crops": crops.digest}
    if ours.metadata:
        refuse_giveaway(cohort.internal, ours.metadata, ModelError)
        identity["metadata_values"] = metadata_digest(cohort.internal, ours.metadata)
    source = batch_source(crops, hardware.device)
    return FoldTask(
        study, model, ours, 0, folds, cohort, crops, labels, hardware, identity, source, ranks
    )


def _train_fold(task: FoldTask) -> FoldSummary:
    began = time.perf_counter()
    task.ranks.wait()  # so that all see the same files
    card = _finished(task)
    if card is not None:
        return FoldSummary(task.fold, card.epoch, card.validation_auc, 0.0)
    with _own_random_numbers(task):
        network, state = run_epochs(task)
    card = _finish(task, network, state)
    return FoldSummary(task.fold, card.epoch, card.validation_auc, time.perf_counter() - began)


def _finished(task: FoldTask) -> Card | None:
    file = card_file(task.study, task.name, task.fold)
    if not file.is_file():
        return None
    card = read_card(task.study, task.name, task.fold)
    refuse_other(card.training_key, task.identity, file, TrainingError)
    table = fold_table(task.study, task.name, task.fold, "internal")
    # Without its predictions the fold is not whole; its last checkpoint gives them again.
    return (
        card
        if is_current(
            table, table_record(card.weights_sha256, task.cohort, "internal", task.model.metadata)
        )
        else None
    )


def _finish(task: FoldTask, network: torch.nn.Module, state: FoldState) -> Card:
    """Predict with the weights that were kept, and write all that the fold leaves, the card last."""
    study, name, fold, best = task.study, task.name, task.fold, state.best_epoch
    network.load_state_dict(state.best)
    rows = pd.concat([_predict(task, network, role) for role in ("val", "test")], ignore_index=True)
    if not task.ranks.writes:
        task.ranks.wait()
        return read_card(study, name, fold)
    digest = save_weights(weights_file(study, name, fold), state.best)
    origin = provenance(study, "training", {"cohort": study.cohort_csv, "folds": study.folds_csv})
    record = {
        **table_record(digest, task.cohort, "internal", task.model.metadata),
        "provenance": origin,
    }
    write_fold_table(study, name, fold, "internal", rows, record)
    draw_curves(
        task.checkpoint.with_name("curves.png"), f"{name}, fold {fold}", state.history, best.epoch
    )
    encoding = None if task.encoding is None else task.encoding.to_json()
    identity, auc, loss = task.computed_identity, best.validation_auc, best.validation_loss
    card = Card(identity, fold, best.epoch, auc, loss, digest, origin, encoding)
    save_trained(study, name, card)
    forget_best(task.checkpoint)  # they are the fold's weights now
    task.ranks.wait()
    return card


def _predict(
    task: FoldTask, network: torch.nn.Module, role: Literal["val", "test"]
) -> pd.DataFrame:
    rows = task.rows(role)
    return prediction_rows(
        probabilities_of(logits_by_ranks(task, network, rows)),
        view_shares(task.model, task.crops)[rows],
        task.cases(role),
        task.crops.views,
        classes=task.study.settings.classes,
        model=task.name,
        fold=task.fold,
        split=role,
    )


@contextmanager
def _own_random_numbers(task: FoldTask) -> Iterator[None]:
    """Leave the caller's random numbers as they were."""
    with torch.random.fork_rng(
        [task.hardware.device] if task.hardware.device.type == "cuda" else []
    ):
        yield


@contextmanager
def _memory_is_enough(model: ModelSettings) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error).lower()
        if not (isinstance(error, MemoryError) or any(sign in text for sign in _MEMORY_SIGNS)):
            raise
        size = f"preprocess.{INPUT_KINDS[model.dim].section}.size"
        raise TrainingError(
            "the memory is not enough",
            found=f"{model.training.micro_batch or model.training.batch_size} samples at once",
            remedy="set training.micro_batch, and the batch goes through in parts; or lower training.batch_size; "
            f"or {size}, and preprocess again",
        ) from error
