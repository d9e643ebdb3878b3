"""The epochs of one fold: from its checkpoint where there is one, validation and a new checkpoint after each."""

from __future__ import annotations

import time

import torch
from torch import nn

from ctbone.errors import TrainingError
from ctbone.models.networks import build_network
from ctbone.models.pretrained import load_initial_weights
from ctbone.progress import progress
from ctbone.training.average import Average
from ctbone.training.checkpoint import EpochMetrics, FoldState, load_checkpoint
from ctbone.training.checkpoint_writer import CheckpointWriter, copy_to_processor
from ctbone.training.curves import write_metrics
from ctbone.training.learner import Learner
from ctbone.training.seeds import torch_seed
from ctbone.training.steps import train_epoch
from ctbone.training.task import FoldTask
from ctbone.training.tracking import open_tracker
from ctbone.training.validation import refuse_absent_classes, validate


def run_epochs(task: FoldTask) -> tuple[nn.Module, FoldState]:
    """Train a fold to its last epoch, or until it is stopped early, from its checkpoint where there is one.

    Returns
    -------
    tuple of torch.nn.Module and FoldState
        The network with the weights of its last epoch, and the state, whose ``best`` holds those to keep.

    Raises
    ------
    TrainingError
        The loss or the network's output is NaN or infinite, a part lacks a class, or the
        checkpoint is damaged or another training's.
    """
    refuse_absent_classes(task)
    learner, state = start_fold(task, load_checkpoint(task.checkpoint, task.computed_identity))
    epochs = task.model.training.epochs
    title = f"Train {task.name}, fold {task.fold}"
    with (
        progress(title, epochs, shown=task.ranks.writes) as bar,
        open_tracker(task, len(state.history)) as tracker,
        CheckpointWriter(task.checkpoint, task.computed_identity) as writer,
    ):
        if state.history:
            bar.advance("resumed", steps=len(state.history))
            if task.ranks.writes:  # a kill may have come between the checkpoint and this table
                write_metrics(task.checkpoint.with_name("metrics.csv"), state.history)
        for epoch in range(len(state.history) + 1, epochs + 1):
            if _is_stopped(task, state):
                bar.advance(
                    f"stopped: none better since epoch {state.best_epoch.epoch}",
                    steps=epochs - epoch + 1,
                )
                break
            began = time.perf_counter()
            loss = train_epoch(task, learner, epoch)
            auc, validation_loss = validate(task, learner.judged)
            seconds = round(time.perf_counter() - began, 3)
            row = EpochMetrics(epoch, loss, auc, validation_loss, learner.learning_rate, seconds)
            _take_over(learner, state, row)
            if task.ranks.writes:
                writer.save(state)
            tracker.add(row)
            bar.advance(f"loss {loss:.3f}  validation AUC {auc:.3f}")
    return learner.network, state


def _is_stopped(task: FoldTask, state: FoldState) -> bool:
    patience = task.model.training.early_stopping
    return bool(patience and state.history) and len(state.history) - state.best_epoch.epoch >= (
        patience or 0
    )


def _take_over(learner: Learner, state: FoldState, row: EpochMetrics) -> None:
    """Bring the state to the end of an epoch; the weights that were judged are kept if none were better."""
    state.history.append(row)
    state.network, state.optimizer = learner.network.state_dict(), learner.optimizer.state_dict()
    state.average = {} if learner.average is None else learner.average.network.state_dict()
    if state.best_epoch is row:
        state.best = copy_to_processor(learner.judged.state_dict())
        state.best_sha256 = None


def start_fold(task: FoldTask, state: FoldState | None) -> tuple[Learner, FoldState]:
    """Build the network, its optimizer and its running mean, fresh or as a checkpoint left them."""
    training = task.model.training
    torch.manual_seed(torch_seed("weights", epoch=0, **task.seeds))
    size = task.crops.images.shape[-1]
    width = 0 if task.encoding is None else task.encoding.width
    network = build_network(
        task.model,
        len(task.study.settings.classes),
        size=size,
        metadata=width,
        folder=task.study.root,
    )
    if state is None:
        load_initial_weights(network, task.model, task.study.root, size=size)
    task.ranks.unify(task.hardware.place(network))
    average = Average(network, training.ema) if training.ema else None
    task.hardware.prepare(network)
    learner = Learner(network, _optimizer(task, network), task.ranks.wrap(network), average)
    if state is None:
        return learner, FoldState({}, {}, {}, {})
    try:
        network.load_state_dict(state.network)
        learner.optimizer.load_state_dict(state.optimizer)
        if average is not None:
            average.network.load_state_dict(state.average)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(
            "the checkpoint does not fit the network",
            file=task.checkpoint,
            remedy=f"delete {task.checkpoint}: the fold then starts at its first epoch",
        ) from error
    return learner, state


def _optimizer(task: FoldTask, network: nn.Module) -> torch.optim.Optimizer:
    training = task.model.training
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    # Fused: one pass over the weights a step, in place of one for each operation of the update.
    return kinds[training.optimizer](
        network.parameters(),
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
        fused=True,
    )


def try_batch(task: FoldTask) -> None:
    """Run one batch and one validation of a fresh network, and write nothing.

    Raises
    ------
    TrainingError
        As ``run_epochs``.
    """
    refuse_absent_classes(task)
    learner, _ = start_fold(task, None)
    train_epoch(task, learner, epoch=1, most=1)
    validate(task, learner.judged)
