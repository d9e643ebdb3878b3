"""All that an epoch draws, before its first batch and on the device, so that nothing is drawn or sent between steps."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch

from ctbone.models.losses import shares_of
from ctbone.training.augmentation import matrices
from ctbone.training.mixing import blend, draw_mix
from ctbone.training.sampling import batches, epoch_draws, parts_of
from ctbone.training.seeds import generator
from ctbone.training.task import FoldTask


@dataclass(frozen=True)
class EpochPlan:
    """An epoch of n shown images.

    Attributes
    ----------
    order
        The image at each position: case row × views + view, (n,), in NumPy.
    steps
        Each optimizer step's batch.
    parts
        For each batch, what of it goes through the network at once.
    maps
        Each position's augmentation, (n, d, d + 1).
    targets
        Class numbers, (n,), or after mixing shares of the classes, (n, classes).
    metadata
        The network's second input, mixed like the images, (n, width); None where it has none.
    partners, keeps
        Mixup's partner of each position and the share it keeps of itself, (n,); None where nothing is mixed.
    """

    order: np.ndarray
    steps: list[slice]
    parts: list[list[slice]]
    maps: torch.Tensor
    targets: torch.Tensor
    partners: torch.Tensor | None = None
    keeps: torch.Tensor | None = None
    metadata: torch.Tensor | None = None

    def mixed(self, seen: torch.Tensor, part: slice) -> torch.Tensor:
        """Blend what the network sees of a part with its partners; unchanged where nothing is mixed."""
        if self.partners is None or self.keeps is None:
            return seen
        return blend(seen, self.partners[part] - part.start, self.keeps[part])


def plan_epoch(task: FoldTask, order: np.ndarray, epoch: int) -> EpochPlan:
    """Draw what an epoch needs beside its order.

    Parameters
    ----------
    task
        The fold.
    order
        As ``sample_order`` gives it.
    epoch
        From 1.
    """
    training, device = task.model.training, task.hardware.device
    steps = batches(len(order), training.batch_size)
    parts = [parts_of(batch, training.micro_batch) for batch in steps]
    maps = torch.from_numpy(matrices(epoch_draws(task, order, epoch))).to(device, torch.float32)
    places = torch.from_numpy(order).to(device)
    rows = places // task.crops.images.shape[1]
    metadata = None if task.metadata is None else task.metadata[rows]
    plan = EpochPlan(order, steps, parts, maps, task.labels[rows], metadata=metadata)
    return _with_partners(task, plan, epoch) if training.mixup else plan


def _with_partners(task: FoldTask, plan: EpochPlan, epoch: int) -> EpochPlan:
    device = task.hardware.device
    parts = list(itertools.chain.from_iterable(plan.parts))
    mix = draw_mix(task.model.training.mixup, parts, generator("mixup", epoch=epoch, **task.seeds))
    partners = torch.from_numpy(mix.partners).to(device)
    keeps = torch.from_numpy(mix.shares).to(device, torch.float32)
    targets = blend(shares_of(plan.targets, len(task.study.settings.classes)), partners, keeps)
    metadata = None if plan.metadata is None else blend(plan.metadata, partners, keeps)
    return replace(plan, targets=targets, partners=partners, keeps=keeps, metadata=metadata)
