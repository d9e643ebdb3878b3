"""The training loop over epochs, and what it changes: a network with its optimizer and EMA."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ctbone.config import TrainingSettings
from ctbone.errors import TrainingError
from ctbone.learning.checkpoint import (
    CheckpointWriter,
    TrainingState,
    copy_to_cpu,
    write_metrics,
)
from ctbone.learning.epoch_choice import EpochMetrics, choose_epoch
from ctbone.learning.ranks import Ranks
from ctbone.learning.tracking import Log, open_tracker
from ctbone.models.hardware import Hardware
from ctbone.progress import progress


@dataclass(frozen=True)
class TrainingRun:
    """One training: its settings, its files and what is shown of it.

    Attributes
    ----------
    name
        For progress bars and trackers, such as ``3d, fold 0``.
    settings
        Number of epochs, optimizer, schedule, EMA and early stopping.
    checkpoint
        Checkpoint file; its folder holds the best weights and ``metrics.csv`` too.
    identity
        What the training depends on; a checkpoint with another identity is refused.
    score_title
        What the score is, such as ``validation AUC``.
    ranks
        The processes that train together.
    log
        Tracker of the epochs, beside ``metrics.csv``.
    experiment, parameters
        Experiment name and settings for the tracker.
    """

    name: str
    settings: TrainingSettings
    checkpoint: Path
    identity: dict[str, Any]
    score_title: str
    ranks: Ranks
    log: Log
    experiment: str
    parameters: dict[str, Any]


def run_epochs(
    run: TrainingRun,
    learner: Learner,
    state: TrainingState,
    *,
    train_epoch: Callable[[int], float],
    validate: Callable[[nn.Module], tuple[float, float]],
) -> None:
    """Train up to the last epoch, or until early stopping; write checkpoints on the way.

    Parameters
    ----------
    run
        The training.
    learner, state
        As the checkpoint left them, or fresh; both are brought to the end of the last epoch.
    train_epoch
        Trains one epoch, counted from 1, and returns its mean loss.
    validate
        Returns the score (higher is better) and the loss of a network on the validation part.

    Raises
    ------
    StudyError
        A checkpoint cannot be written; the one before it is unchanged.
    """
    epochs, history = run.settings.epochs, state.history
    with (
        progress(f"Train {run.name}", epochs, shown=run.ranks.writes) as bar,
        open_tracker(
            run.log if run.ranks.writes else "none",
            run.checkpoint.parent,
            name=run.name,
            experiment=run.experiment,
            parameters=run.parameters,
            done=len(history),
        ) as tracker,
        CheckpointWriter(run.checkpoint, run.identity) as writer,
    ):
        if history:
            bar.advance("resumed", steps=len(history))
            if run.ranks.writes:  # a kill may have come between the checkpoint and this table
                write_metrics(run.checkpoint.parent, history)
        for epoch in range(len(history) + 1, epochs + 1):
            if history and (choice := choose_epoch(history, run.settings.early_stopping)).stop:
                bar.advance(
                    f"stopped: none better since epoch {choice.kept.epoch}",
                    steps=epochs - epoch + 1,
                )
                break
            began = time.perf_counter()
            loss = train_epoch(epoch)
            score, validation_loss = validate(learner.judged)
            row = EpochMetrics(
                epoch=epoch,
                loss=loss,
                score=score,
                validation_loss=validation_loss,
                learning_rate=learner.learning_rate,
                seconds=round(time.perf_counter() - began, 3),
            )
            _end_epoch(learner, state, row)
            if run.ranks.writes:
                stops = choose_epoch(history, run.settings.early_stopping).stop
                writer.save(state, last=stops or epoch == epochs)
            tracker.add(row)
            bar.advance(f"loss {loss:.3f}  {run.score_title} {score:.3f}")


def _end_epoch(learner: Learner, state: TrainingState, row: EpochMetrics) -> None:
    """Bring the state to the end of an epoch; copy the judged weights if it is the best so far."""
    state.history.append(row)
    state.network, state.optimizer = learner.network.state_dict(), learner.optimizer.state_dict()
    state.ema = {} if learner.ema is None else learner.ema.network.state_dict()
    if state.best_epoch is row:
        state.best = copy_to_cpu(learner.judged.state_dict())
        state.best_sha256 = None


@dataclass
class Learner:
    """What training changes: a network, its optimizer and the EMA of its weights.

    Attributes
    ----------
    network
        The network, on its device.
    optimizer
        Its learning rate is 0 until ``begin_step`` sets it.
    wrapped
        The network to call in training: with several processes it averages their gradients.
    ema
        The EMA of the weights, or their SWA; None where the settings ask for none.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    wrapped: nn.Module
    ema: EMA | SWA | None = None

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept: the average if there is one."""
        return self.network if self.ema is None else self.ema.network

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def begin_step(self, rate: float) -> None:
        """Set the step's learning rate and clear the gradients of the step before."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)

    def end_step(self, step: int) -> None:
        """Update the weights and their EMA; ``step`` is counted from 1 over all epochs."""
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.network, step)


def make_learner(
    network: nn.Module, settings: TrainingSettings, *, hardware: Hardware, ranks: Ranks
) -> Learner:
    """Place a network on its device and give it an optimizer and, if the settings ask, an EMA."""
    ranks.share_batch_norm(hardware.place(network))
    ema = _average(network, settings)
    hardware.prepare(network)
    return Learner(
        network=network,
        optimizer=_optimizer(network, settings),
        wrapped=ranks.wrap(network),
        ema=ema,
    )


def _average(network: nn.Module, settings: TrainingSettings) -> EMA | SWA | None:
    if settings.swa_start is not None:
        return SWA(network, settings.swa_start)
    return EMA(network, settings.ema) if settings.ema else None


def _optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    # lr is 0 because only the schedule sets it. Fused: one pass over the weights a step, in place
    # of one for each operation of the update.
    momentum = {"momentum": settings.momentum} if settings.momentum else {}
    return kinds[settings.optimizer](
        network.parameters(), lr=0.0, weight_decay=settings.weight_decay, fused=True, **momentum
    )


def restore(learner: Learner, state: TrainingState, checkpoint: Path) -> None:
    """Load a checkpoint's weights, optimizer and EMA into a learner.

    Raises
    ------
    TrainingError
        The checkpoint does not fit the network.
    """
    try:
        learner.network.load_state_dict(state.network)
        learner.optimizer.load_state_dict(state.optimizer)
        if learner.ema is not None:
            learner.ema.network.load_state_dict(state.ema)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(
            "the checkpoint does not fit the network",
            file=checkpoint,
            remedy=f"delete {checkpoint}: the training then starts at its first epoch",
        ) from error


def learning_rate(settings: TrainingSettings, *, epoch: int, step: int, steps: int) -> float:
    """Return the learning rate of one step.

    It rises linearly over the warm-up, whose last step has the full rate; then it is constant, or
    falls along half a cosine (Loshchilov & Hutter 2017) that would reach 0 just after the last
    step, or falls by a factor after every ``step_epochs`` epochs. It depends on the position alone,
    so a resumed training needs no saved schedule.

    Parameters
    ----------
    settings
        ``learning_rate``, ``warmup_epochs``, ``schedule`` and ``epochs``.
    epoch
        From 1.
    step
        From 0 within the epoch.
    steps
        Steps of an epoch.

    Examples
    --------
    >>> cosine = TrainingSettings(
    ...     learning_rate=0.01, epochs=6, warmup_epochs=2, schedule="cosine"
    ... )
    >>> [round(learning_rate(cosine, epoch=k, step=0, steps=1), 4) for k in range(1, 7)]
    [0.005, 0.01, 0.01, 0.0085, 0.005, 0.0015]
    """
    done = (epoch - 1) * steps + step
    rising = settings.warmup_epochs * steps
    if done < rising:
        return settings.learning_rate * (done + 1) / rising
    if settings.schedule == "constant":
        return settings.learning_rate
    if settings.schedule == "step":
        return settings.learning_rate * settings.step_factor ** (
            (epoch - 1) // settings.step_epochs
        )
    share = (done - rising) / (settings.epochs * steps - rising)
    return settings.learning_rate * (1 + math.cos(math.pi * share)) / 2


class EMA:
    """Exponential moving average of a network's weights and buffers (Polyak & Juditsky 1992).

    After step t the decay is at most (1 + t) / (10 + t): a shorter average early on, which the
    random first weights do not dominate.

    Parameters
    ----------
    network
        The average starts with its weights.
    decay
        Share of the old average that stays at each step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    def update(self, network: nn.Module, step: int) -> None:
        """Average in the weights after a step, counted from 1 over all epochs."""
        averages, values = [], []
        for average, value in zip(_tensors(self.network), _tensors(network), strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))(averages, values, None)


class SWA:
    """Stochastic weight averaging: the mean of the weights after each epoch (Izmailov 2018).

    Before its first epoch it holds the weights of the network. Its batch-norm statistics are those
    of the last network until the caller computes its own.

    Parameters
    ----------
    network
        The average starts with its weights.
    start
        Epoch, from 1, whose weights are the first of the mean.
    """

    def __init__(self, network: nn.Module, start: int) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.start = start

    def update(self, network: nn.Module, step: int) -> None:
        """Do nothing: the mean is over epochs, not steps."""

    def end_epoch(self, network: nn.Module, epoch: int) -> bool:
        """Add the weights after an epoch, from 1; return whether there is a mean of several."""
        before = max(0, epoch - self.start)
        with torch.no_grad():
            for mean, value in zip(self.network.parameters(), network.parameters(), strict=True):
                mean.add_(value.detach() - mean, alpha=1 / (before + 1))
            for own, value in zip(self.network.buffers(), network.buffers(), strict=True):
                own.copy_(value)
        return before > 0


def _tensors(network: nn.Module) -> list[torch.Tensor]:
    return [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
