"""The hot path: the batches of one epoch on the device, augmented there, each a step of the optimizer."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ctbone.models.intake import network_input
from ctbone.models.losses import build_loss
from ctbone.training.augmentation import changes_nothing, draw, matrices, mirrored_axes, resample
from ctbone.training.errors import TrainingError
from ctbone.training.seeds import generator, torch_seed
from ctbone.training.task import FoldTask


def train_epoch(
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
