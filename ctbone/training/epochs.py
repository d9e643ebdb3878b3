"""The epochs of one fold: from its checkpoint where there is one, validation and a new checkpoint after each."""

from __future__ import annotations

import time

import torch
from torch import nn

from ctbone.models.networks import build_network
from ctbone.models.pretrained import load_initial_weights
from ctbone.progress import progress
from ctbone.training.checkpoint import EpochMetrics, FoldState, load_checkpoint, save_checkpoint
from ctbone.training.curves import write_metrics
from ctbone.training.errors import TrainingError
from ctbone.training.seeds import torch_seed
from ctbone.training.steps import train_epoch
from ctbone.training.task import FoldTask
from ctbone.training.validation import validate


def run_epochs(task: FoldTask) -> tuple[nn.Module, FoldState]:
    """Train a fold to its last epoch, from its checkpoint where there is one.

    Returns
    -------
    tuple of torch.nn.Module and FoldState
        The network with the weights of its last epoch, and the state, whose ``best`` holds those to keep.

    Raises
    ------
    TrainingError
        The loss is no number (the batch's cases are named), or the checkpoint is damaged or another training's.
    """
    network, optimizer, state = _start(task, load_checkpoint(task.checkpoint, task.identity))
    epochs = task.model.training.epochs
    with progress(f"Train {task.name}, fold {task.fold}", epochs) as bar:
        if state.history:
            bar.advance("resumed", steps=len(state.history))
        for epoch in range(len(state.history) + 1, epochs + 1):
            began = time.perf_counter()
            loss = train_epoch(task, network, optimizer, epoch)
            auc, validation_loss = validate(task, network)
            row = EpochMetrics(epoch, loss, auc, validation_loss, round(time.perf_counter() - began, 3))
            state.history.append(row)
            state.network, state.optimizer = network.state_dict(), optimizer.state_dict()
            if state.best_epoch is row:
                state.best = {name: value.detach().clone() for name, value in state.network.items()}
            save_checkpoint(task.checkpoint, state, task.identity)
            write_metrics(task.checkpoint.with_name("metrics.csv"), state.history)
            bar.advance(f"loss {loss:.3f}  validation AUC {auc:.3f}")
    return network, state


def _start(task: FoldTask, state: FoldState | None) -> tuple[nn.Module, torch.optim.Optimizer, FoldState]:
    """Build the network and its optimizer, fresh or as a checkpoint left them."""
    torch.manual_seed(torch_seed("weights", epoch=0, **task.seeds))
    network = build_network(task.model, len(task.study.settings.classes))
    if state is None:
        load_initial_weights(network, task.model, task.study.root)
    task.hardware.place(network)
    optimizer = _optimizer(task, network)
    if state is None:
        return network, optimizer, FoldState({}, {}, {})
    try:
        network.load_state_dict(state.network)
        optimizer.load_state_dict(state.optimizer)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(
            "the checkpoint does not fit the network",
            file=task.checkpoint,
            remedy=f"delete {task.checkpoint}: the fold then starts at its first epoch",
        ) from error
    return network, optimizer, state


def _optimizer(task: FoldTask, network: nn.Module) -> torch.optim.Optimizer:
    training = task.model.training
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    return kinds[training.optimizer](
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )


def try_batch(task: FoldTask) -> None:
    """Run one batch and one validation of a fresh network, and write nothing.

    Raises
    ------
    TrainingError
        As ``run_epochs``.
    """
    network, optimizer, _ = _start(task, None)
    train_epoch(task, network, optimizer, epoch=1, most=1)
    validate(task, network)
