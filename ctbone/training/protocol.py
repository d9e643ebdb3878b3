"""Cross-validated training of one model: each fold from its checkpoint, then its predictions."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from ctbone.cohort import Cohort, read_cohort
from ctbone.config import ModelSettings
from ctbone.errors import LockError, TrainingError
from ctbone.folds import Folds, draw_folds, read_folds, read_or_draw_folds
from ctbone.input_kind import INPUT_KINDS
from ctbone.learning.checkpoint import TrainingState, delete_best
from ctbone.learning.ranks import Ranks, join_ranks
from ctbone.learning.tracking import Log, draw_curves, refuse_missing
from ctbone.lock import locked, remove_stale_lock
from ctbone.models.arithmetic import ways_of
from ctbone.models.fold_tables import (
    fold_table,
    is_current,
    join_fold_tables,
    table_record,
    write_fold_table,
)
from ctbone.models.hardware import UNPROVEN_BF16
from ctbone.models.probabilities import prediction_rows
from ctbone.models.trained import (
    Card,
    card_file,
    read_card,
    save_trained,
    save_weights,
    weights_file,
)
from ctbone.models.training_key import model_settings, refuse_other
from ctbone.study import Study, content_hash, provenance
from ctbone.training.epochs import predict, train_fold, try_batch
from ctbone.training.task import SCORE, FoldTask, prepare

_MEMORY_SIGNS = ("out of memory", "allocate memory", "alloc_failed", "unable to find an engine")
"""Texts of the RuntimeErrors of PyTorch, cuBLAS and cuDNN (no workspace) when memory is short."""


@dataclass(frozen=True)
class FoldSummary:
    """Result of one fold.

    Attributes
    ----------
    fold
        Its number.
    epoch, score
        The epoch that was kept, and its validation AUC.
    seconds
        Time that this call spent on it; 0 if it was finished before.
    """

    fold: int
    epoch: int
    score: float
    seconds: float


@dataclass(frozen=True)
class TrainingSummary:
    """Result of a model's training.

    Attributes
    ----------
    model
        Its name.
    folds
        The folds of this call, in order; none in a dry run.
    missing
        Folds of the study that are not trained yet.
    predictions
        Table of all finished folds; None in a dry run.
    """

    model: str
    folds: tuple[FoldSummary, ...]
    missing: tuple[int, ...]
    predictions: Path | None

    def __str__(self) -> str:
        if self.predictions is None:
            return f"{self.model}: one batch and one validation ran; nothing was written"
        scores = [fold.score for fold in self.folds]
        folds = f"{len(scores)} fold{'s' * (len(scores) > 1)} trained"
        left = f"; folds {', '.join(map(str, self.missing))} are not trained yet"
        return (
            f"{self.model}: {folds}, {SCORE} {min(scores):.3f} to {max(scores):.3f}"
            f"{left if self.missing else ''}; probabilities in {self.predictions}"
        )


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
    """Train a model by the study's cross-validation, resuming an earlier run.

    In each fold the network is trained on the training part, the epoch with the highest validation
    AUC is kept, and its weights predict the validation and the test part. The test part is not
    used before that. A finished fold is not trained again.

    Parameters
    ----------
    study
        Its cases are preprocessed.
    model
        A name under ``models`` in the settings.
    fold
        Train this fold alone, from 0; all folds if None.
    dry_run
        Run one batch and one validation of the first fold, and write nothing.
    log
        ``tensorboard`` or ``mlflow``: a tracker beside ``metrics.csv``, see ``open_tracker``.
    ranks
        The processes that train together; None: those that ``torchrun`` or ``srun`` started, see
        ``join_ranks``.
    join
        Write ``predictions/<model>.csv``; False where a caller joins the tables of several folds.
    notes
        Print notes on standard error; False where another process of the same run does.

    Returns
    -------
    TrainingSummary
        ``runs/<model>/fold<k>/`` and ``predictions/<model>.csv`` are written.

    Raises
    ------
    TrainingError
        There is no such fold, the loss is NaN, memory is short, the tracker is not installed, or
        an earlier run had other settings, folds or crops.
    ModelError
        The network, its weights or the crops are not what the settings ask for; two patients share
        voxels.
    CohortError, FoldError, StudyError
        The cohort or the folds are wrong.
    LockError
        Another process trains a fold; the other folds are trained first.
    """
    ours = model_settings(study.settings, model)
    refuse_missing(log)
    chosen = chosen_folds(study, fold)
    cohort = read_cohort(study)
    ranks = join_ranks() if ranks is None else ranks
    with ranks.rank_0_first():
        folds = _folds(study, cohort, dry_run)
    with _memory_is_enough(ours):
        task = prepare(study, model, cohort=cohort, folds=folds, ranks=ranks, log=log)
        if notes and ranks.writes and task.hardware.bf16 and task.hardware.device.type == "cpu":
            print(f"note: {UNPROVEN_BF16}", file=sys.stderr, flush=True)
        if dry_run:
            with _own_random_numbers(task):
                try_batch(dataclasses.replace(task, fold=chosen[0]))
            every = tuple(range(study.settings.folds.count))
            return TrainingSummary(model, folds=(), missing=every, predictions=None)
        summaries = _train_folds(task, chosen)
    with ranks.rank_0_first():
        return summary_of(study, model, folds=summaries, cohort=cohort, join=join and ranks.writes)


def chosen_folds(study: Study, fold: int | None) -> list[int]:
    """Return one fold in a list, or all folds if None.

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
    study: Study,
    model: str,
    *,
    folds: Sequence[FoldSummary],
    cohort: Cohort,
    join: bool = True,
) -> TrainingSummary:
    """Join the tables of all finished folds, unless another process does, and return the result."""
    count = study.settings.folds.count
    missing = tuple(
        number for number in range(count) if not card_file(study, model, number).is_file()
    )
    table = join_fold_tables(study, model, cohort) if join else study.predictions_csv(model)
    return TrainingSummary(model, folds=tuple(folds), missing=missing, predictions=table)


def _folds(study: Study, cohort: Cohort, dry_run: bool) -> Folds:
    if not dry_run:
        return read_or_draw_folds(study, cohort)
    if study.folds_csv.exists():
        return read_folds(study, cohort)
    return Folds(draw_folds(cohort.internal, study.settings), study.settings.folds.count, "")


def _train_folds(task: FoldTask, chosen: Sequence[int]) -> list[FoldSummary]:
    """Train folds one after the other; those that other processes train come last."""
    summaries: dict[int, FoldSummary] = {}
    for number in chosen:
        with suppress(LockError):
            summaries[number] = _train_fold(dataclasses.replace(task, fold=number))
    for number in chosen:
        if number not in summaries:  # finished meanwhile, or the error
            summaries[number] = _train_fold(dataclasses.replace(task, fold=number))
    return [summaries[number] for number in chosen]


def _train_fold(task: FoldTask) -> FoldSummary:
    began = time.perf_counter()
    task.ranks.wait()  # so that all see the same files
    card = _finished(task)
    if card is not None:
        if task.ranks.writes:
            remove_stale_lock(task.study.fold_lock(task.name, task.fold))
        return FoldSummary(fold=task.fold, epoch=card.epoch, score=card.score, seconds=0.0)
    with _only_this_process(task):
        card = _finished(task)  # by a process that held the lock until now
        if card is None:
            with _own_random_numbers(task):
                network, state = train_fold(task)
            card = _finish(task, network, state)
    seconds = time.perf_counter() - began
    return FoldSummary(fold=task.fold, epoch=card.epoch, score=card.score, seconds=seconds)


@contextmanager
def _only_this_process(task: FoldTask) -> Iterator[None]:
    """Hold the lock of the fold; of several ranks, rank 0 holds it and the others follow it.

    Raises
    ------
    LockError
        Another process trains the fold.
    """
    work = f"fold {task.fold} of model {task.name} is being trained"
    remedy = "wait until it ends, then run the same command again; or train another fold (--fold)"
    refusal: LockError | None = None
    with ExitStack() as held:
        if task.ranks.writes:
            try:
                lock = task.study.fold_lock(task.name, task.fold)
                held.enter_context(locked(lock, work, remedy=remedy))
            except LockError as error:
                refusal = error
        if task.ranks.total(torch.tensor([float(refusal is not None)])).item():
            raise refusal or LockError(f"{work} by another process", remedy=remedy)
        yield


def _finished(task: FoldTask) -> Card | None:
    file = card_file(task.study, task.name, task.fold)
    if not file.is_file():
        return None
    card = read_card(task.study, task.name, task.fold)
    refuse_other(card.training_key, now=task.identity, file=file, error=TrainingError)
    table = fold_table(task.study, task.name, task.fold, part="internal")
    # A fold without its predictions is not finished; its last checkpoint gives them again.
    return card if is_current(table, _record(task, card.weights_sha256)) else None


def _finish(task: FoldTask, network: torch.nn.Module, state: TrainingState) -> Card:
    """Predict with the weights that were kept, and write the fold's files, the card last."""
    study, name, fold, best = task.study, task.name, task.fold, state.best_epoch
    network.load_state_dict(state.best)
    rows = pd.concat([_rows(task, network, role) for role in ("val", "test")], ignore_index=True)
    if not task.ranks.writes:
        task.ranks.wait()
        return read_card(study, name, fold)
    digest = save_weights(weights_file(study, name, fold), state.best)
    origin = provenance(study, "training", {"cohort": study.cohort_csv, "folds": study.folds_csv})
    record = {**_record(task, digest), "provenance": origin}
    inputs = {**origin["inputs"], "crops": content_hash(record["crops"])}
    write_fold_table(study, name, fold, part="internal", rows=rows, record=record)
    draw_curves(
        task.run.checkpoint.with_name("curves.png"),
        task.run.name,
        state.history,
        kept=best.epoch,
        score_title=SCORE,
    )
    card = Card(
        training_key=task.run.identity,
        fold=fold,
        epoch=best.epoch,
        score=best.score,
        validation_loss=best.validation_loss,
        weights_sha256=digest,
        provenance={**origin, "inputs": inputs},
        metadata=None if task.encoding is None else task.encoding.to_json(),
        computed_otherwise=ways_of(network),
        normalisation=task.normalisation,
    )
    save_trained(study, name, card)
    delete_best(task.run.checkpoint)  # now in weights.safetensors
    task.ranks.wait()
    return card


def _record(task: FoldTask, weights: str) -> dict[str, Any]:
    return table_record(task.study, task.name, weights=weights, cohort=task.cohort, part="internal")


def _rows(task: FoldTask, network: torch.nn.Module, role: Literal["val", "test"]) -> pd.DataFrame:
    output = predict(task, network, role)
    return prediction_rows(
        output.probabilities,
        output.shares,
        cases=task.cases(role),
        views=task.crops.views,
        classes=task.classes,
        model=task.name,
        fold=task.fold,
        split=role,
    )


@contextmanager
def _own_random_numbers(task: FoldTask) -> Iterator[None]:
    """Restore the caller's random state at the end."""
    device = task.hardware.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
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
            remedy="set training.micro_batch: the batch then goes through the network in parts; "
            f"or lower training.batch_size; or lower {size} and preprocess again",
        ) from error
