"""The epochs of one fold: batches on the device, validation, a checkpoint after each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ctbone.cohort import Case, Cohort
from ctbone.config import ModelSettings
from ctbone.folds import Folds, Role
from ctbone.models.crops import Crops
from ctbone.models.hardware import Hardware
from ctbone.models.intake import network_input
from ctbone.models.losses import build_loss
from ctbone.models.networks import build_network
from ctbone.models.pretrained import load_initial_weights
from ctbone.models.probabilities import logits_of, probabilities_of, view_shares
from ctbone.progress import progress
from ctbone.study import Study
from ctbone.training.augmentation import changes_nothing, draw, matrices, mirrored_axes, resample
from ctbone.training.checkpoint import EpochMetrics, FoldState, load_checkpoint, save_checkpoint
from ctbone.training.curves import write_metrics
from ctbone.training.errors import TrainingError
from ctbone.training.seeds import generator, torch_seed


@dataclass(frozen=True)
class FoldTask:
    """All that one fold needs.

    Attributes
    ----------
    study, name, model
        The study, and the name and settings of the model.
    fold, folds, cohort
        Which fold, and who plays which role in it.
    crops
        Of the internal cases; ``images`` lie on the device.
    labels
        Class number of each of these cases, int64, on the device.
    hardware
        Where it computes.
    identity
        What the training depends on; the checkpoint and the card carry it.
    """

    study: Study
    name: str
    model: ModelSettings
    fold: int
    folds: Folds
    cohort: Cohort
    crops: Crops
    labels: torch.Tensor
    hardware: Hardware
    identity: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        """The file that a killed run goes on from."""
        return self.study.run(self.name, self.fold) / "checkpoint.pt"

    @property
    def seeds(self) -> dict[str, int]:
        """What every random number of this fold starts from, apart from its epoch."""
        return {"seed": self.model.training.seed, "fold": self.fold}

    def cases(self, role: Role) -> list[Case]:
        """Return the cases that play a role."""
        return [self.cohort.case(case_id) for case_id in self.folds.cases(self.fold, role)]

    def rows(self, role: Role) -> np.ndarray:
        """Return where these cases stand in ``crops``."""
        return np.array(self.crops.rows(self.folds.cases(self.fold, role)))


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
            loss = _train_epoch(task, network, optimizer, epoch)
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
    _train_epoch(task, network, optimizer, epoch=1, most=1)
    validate(task, network)


def _train_epoch(
    task: FoldTask, network: nn.Module, optimizer: torch.optim.Optimizer, epoch: int, most: int | None = None
) -> float:
    """Show every training image once, or the first ``most`` batches; return the mean loss."""
    training, device = task.model.training, task.hardware.device
    images = task.crops.images.flatten(0, 1)
    views = task.crops.images.shape[1]
    order = sample_order(task, epoch)
    mirrors = mirrored_axes(training.augmentation, task.crops.axes, len(task.crops.case_ids))
    draws = draw(training.augmentation, mirrors, generator("augmentation", epoch=epoch, **task.seeds))
    # Whole epoch at once: nothing of it is computed or sent while batches run.
    maps = torch.from_numpy(matrices(draws[order])).to(device, torch.float32)
    places = torch.from_numpy(order).to(device)
    targets = task.labels[places // views]
    criterion = build_loss(training.loss)
    still = changes_nothing(training.augmentation)
    torch.manual_seed(torch_seed("network", epoch=epoch, **task.seeds))
    network.train()
    losses = []
    slices = batches(len(order), training.batch_size)[:most]
    for part in slices:
        hu = images[places[part]]
        if not still:
            hu = resample(hu, maps[part])
        optimizer.zero_grad(set_to_none=True)
        with task.hardware.autocast():
            logits = network(network_input(hu, task.model.windows))
        loss = criterion(logits.float(), targets[part])
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    values = torch.stack(losses).double().cpu().numpy()  # the epoch's one wait for the device
    _refuse_undefined(task, values, [order[part] for part in slices], epoch)
    return float(np.average(values, weights=[part.stop - part.start for part in slices]))


def sample_order(task: FoldTask, epoch: int) -> np.ndarray:
    """Return the training images of an epoch in its order: case row × views + view."""
    views = task.crops.images.shape[1]
    samples = (task.rows("train")[:, None] * views + np.arange(views)).ravel()
    return generator("order", epoch=epoch, **task.seeds).permutation(samples)


def batches(samples: int, size: int) -> list[slice]:
    """Cut an epoch into batches; a last one of a single sample joins the one before, as it has no variance.

    Examples
    --------
    >>> [(part.start, part.stop) for part in batches(41, 20)]
    [(0, 20), (20, 41)]
    """
    starts = list(range(0, samples, size))
    if len(starts) > 1 and samples - starts[-1] == 1:
        starts.pop()
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], samples], strict=True)]


def validate(task: FoldTask, network: nn.Module) -> tuple[float, float]:
    """Return AUC and loss on the fold's validation part.

    The AUC is of one probability a case, a 2D model's views averaged first; with more than two classes it is the
    mean of each class against the rest. The loss is the mean over images.
    """
    from sklearn.metrics import roc_auc_score

    training = task.model.training
    rows = task.rows("val")
    images = task.crops.images[torch.from_numpy(rows).to(task.hardware.device)]
    logits = logits_of(network, images, task.model.windows, task.hardware, training.batch_size)
    labels = task.labels.cpu()[rows]
    loss = build_loss(training.loss)(logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1]))
    probabilities = probabilities_of(logits)
    shares = view_shares(task.model, task.crops)[rows]
    own = (probabilities * shares[:, :, None]).sum(axis=1)
    if not np.isfinite(own).all():
        case = task.crops.case_ids[rows[int(np.argmin(np.isfinite(own).all(axis=1)))]]
        raise TrainingError("the network's output is no number", case=case, remedy="lower training.learning_rate")
    if own.shape[1] == 2:
        return float(roc_auc_score(labels, own[:, 1])), float(loss)
    numbers = list(range(own.shape[1]))
    return float(roc_auc_score(labels, own, multi_class="ovr", average="macro", labels=numbers)), float(loss)


def _refuse_undefined(task: FoldTask, losses: np.ndarray, samples: list[np.ndarray], epoch: int) -> None:
    wrong = np.flatnonzero(~np.isfinite(losses))
    if len(wrong):
        first = int(wrong[0])
        cases = dict.fromkeys(task.crops.case_ids[s // task.crops.images.shape[1]] for s in samples[first])
        raise TrainingError(
            f"the loss is no number in epoch {epoch}, batch {first + 1} of fold {task.fold}",
            found=f"{losses[first]} with the cases {', '.join(cases)}",
            remedy="look at these cases' crops; or lower training.learning_rate; or set training.precision to fp32",
        )
