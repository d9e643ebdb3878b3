"""Everything an epoch draws at random, before its first batch: order, augmentation, mixup."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from ctbone.config import Augmentation, TrainingSettings
from ctbone.learning.augmentation import Draws, draw, matrices

Purpose = Literal["weights", "order", "augmentation", "network", "mixup", "extra", "cutmix"]
_NUMBER: dict[Purpose, int] = {
    "weights": 0,
    "order": 1,
    "augmentation": 2,
    "network": 3,
    "mixup": 4,
    "extra": 5,
    "cutmix": 6,
}


@dataclass(frozen=True)
class Seeds:
    """Source of a training's random numbers: each follows from (seed, fold, epoch, purpose).

    A resumed training therefore draws what an unbroken one draws.

    Examples
    --------
    >>> first = Seeds(seed=0, fold=2).generator("order", epoch=7).permutation(100)
    >>> bool((first == Seeds(seed=0, fold=2).generator("order", epoch=7).permutation(100)).all())
    True
    """

    seed: int
    fold: int

    def generator(self, purpose: Purpose, *, epoch: int) -> np.random.Generator:
        """Return the generator for one purpose in one epoch."""
        return np.random.default_rng([self.seed, self.fold, epoch, _NUMBER[purpose]])

    def torch_seed(self, purpose: Purpose, *, epoch: int) -> int:
        """Return a seed for PyTorch, for first weights and dropout."""
        return int(self.generator(purpose, epoch=epoch).integers(2**63))


@dataclass(frozen=True)
class Mixup:
    """Draws of mixup and CutMix for each position of an epoch's order.

    Attributes
    ----------
    partners
        Position of the sample that is blended in, (n,).
    keeps
        Share that a sample keeps of itself, (n,), 0–1.
    boxes
        Pixels along each array axis, from and to, that CutMix takes from the partner, (n, d, 2);
        −1 where the sample is blended. None: all samples are blended.
    """

    partners: torch.Tensor
    keeps: torch.Tensor
    boxes: torch.Tensor | None = None


@dataclass(frozen=True)
class EpochPlan:
    """An epoch of n images, drawn and on the device: nothing is drawn or sent between steps.

    Attributes
    ----------
    order
        Number of the image at each position, (n,), in NumPy.
    batches
        Positions of each optimizer step.
    parts
        For each batch, the positions that go through the network at once.
    maps
        Augmentation of each position, (n, d, d + 1).
    extra_seeds
        Seed of each position and extra transform, 0 to 2³² - 1, (n, transforms), in NumPy.
    mixup
        None where nothing is mixed.
    """

    order: np.ndarray
    batches: list[slice]
    parts: list[list[slice]]
    maps: torch.Tensor
    extra_seeds: np.ndarray
    mixup: Mixup | None = None

    def mix(self, values: torch.Tensor, part: slice | None = None) -> torch.Tensor:
        """Blend the values of a part, or of the whole order, with those of their partners.

        Values stay unchanged where nothing is mixed. Partners are of the same part.
        """
        if self.mixup is None:
            return values
        part = slice(0, len(self.order)) if part is None else part
        return blend(values, self.mixup.partners[part] - part.start, self.mixup.keeps[part])

    def mix_images(self, images: torch.Tensor, part: slice) -> torch.Tensor:
        """Blend the images of a part with their partners, or paste the partners' boxes.

        Parameters
        ----------
        images
            (samples, channels, …grid).
        part
            Their positions.
        """
        mixed = self.mix(images, part)
        if self.mixup is None or self.mixup.boxes is None:
            return mixed
        partners = self.mixup.partners[part] - part.start
        return paste(images, partners, self.mixup.boxes[part], blended=mixed)


def plan_epoch(
    settings: TrainingSettings,
    samples: np.ndarray,
    *,
    labels: np.ndarray,
    mirrors: np.ndarray,
    seeds: Seeds,
    epoch: int,
    device: torch.device,
    edge: int = 0,
) -> EpochPlan:
    """Draw an epoch.

    Parameters
    ----------
    settings
        Batch size, sampling, augmentation and mixup.
    samples
        Numbers of the training images, (n,).
    labels
        Class number of each of them, (n,), for ``sampling: balanced``.
    mirrors
        Axes that may be mirrored, boolean, (images, d), indexed by image number.
    seeds, epoch
        Where the random numbers come from; epochs count from 1.
    device
        Where the network computes.
    edge
        Edge of the grid, for CutMix.
    """
    balance = labels if settings.sampling == "balanced" else None
    order = sample_order(samples, seeds.generator("order", epoch=epoch), balance)
    batches = cut_batches(len(order), settings.batch_size)
    parts = [cut_parts(batch, settings.micro_batch) for batch in batches]
    random = seeds.generator("augmentation", epoch=epoch)
    draws = augmentation_draws(settings.augmentation, order, mirrors=mirrors, random=random)
    mixup = None
    flat = list(itertools.chain.from_iterable(parts))
    if settings.mixup:
        random = seeds.generator("mixup", epoch=epoch)
        mixup = draw_mixup(settings.mixup, flat, random=random, device=device)
    if settings.cutmix:
        random = seeds.generator("cutmix", epoch=epoch)
        shape = (edge,) * mirrors.shape[1]
        mixup = draw_cutmix(
            settings.cutmix, flat, shape=shape, mixup=mixup, random=random, device=device
        )
    return EpochPlan(
        order=order,
        batches=batches,
        parts=parts,
        maps=torch.from_numpy(matrices(draws)).to(device, torch.float32),
        extra_seeds=draw_extra_seeds(
            order,
            images=len(mirrors),
            transforms=len(settings.augmentation.extra),
            random=seeds.generator("extra", epoch=epoch),
        ),
        mixup=mixup,
    )


def sample_order(
    samples: np.ndarray, random: np.random.Generator, labels: np.ndarray | None = None
) -> np.ndarray:
    """Return the images of an epoch in random order.

    With ``labels``, the class number of each image, as many images are drawn with replacement,
    each class as likely as any other.
    """
    if labels is None:
        return random.permutation(samples)
    chances = 1 / np.bincount(labels)[labels]
    return random.choice(samples, size=len(samples), p=chances / chances.sum())


def cut_batches(samples: int, size: int) -> list[slice]:
    """Cut an epoch into batches.

    A last batch of one sample joins the one before: batch normalization needs two.

    Examples
    --------
    >>> [(part.start, part.stop) for part in cut_batches(41, 20)]
    [(0, 20), (20, 41)]
    """
    starts = list(range(0, samples, size))
    if len(starts) > 1 and samples - starts[-1] == 1:
        starts.pop()
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], samples], strict=True)]


def cut_parts(batch: slice, size: int | None) -> list[slice]:
    """Cut a batch into parts of ``size`` samples (gradient accumulation); one part if None.

    Examples
    --------
    >>> [(part.start, part.stop) for part in cut_parts(slice(20, 40), 8)]
    [(20, 28), (28, 36), (36, 40)]
    """
    if size is None:
        return [batch]
    cuts = cut_batches(batch.stop - batch.start, size)
    return [slice(batch.start + part.start, batch.start + part.stop) for part in cuts]


def augmentation_draws(
    settings: Augmentation, order: np.ndarray, *, mirrors: np.ndarray, random: np.random.Generator
) -> Draws:
    """Draw the augmentation of every position of an epoch's order.

    The draws of an image depend on the generator and its number; an image that occurs again
    within the epoch is drawn anew.
    """
    times = _earlier_occurrences(order)
    tables = [draw(settings, mirrors, random) for _ in range(times.max(initial=0) + 1)]
    pick = times, order
    return Draws(
        angles=np.stack([table.angles for table in tables])[pick],
        zooms=np.stack([table.zooms for table in tables])[pick],
        shifts=np.stack([table.shifts for table in tables])[pick],
        flips=np.stack([table.flips for table in tables])[pick],
    )


def draw_extra_seeds(
    order: np.ndarray, *, images: int, transforms: int, random: np.random.Generator
) -> np.ndarray:
    """Draw a seed for every position of an epoch's order and every extra transform.

    As the other augmentation, they depend on the generator and the image, not on the order.
    """
    times = _earlier_occurrences(order)
    tables = random.integers(2**32, size=(times.max(initial=0) + 1, images, transforms))
    return tables[times, order]


def _earlier_occurrences(order: np.ndarray) -> np.ndarray:
    """Return how often the image of each position occurs before it."""
    sorted_positions = np.argsort(order, kind="stable")
    values = order[sorted_positions]
    first = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    runs = np.arange(len(order)) - np.repeat(first, np.diff(np.r_[first, len(order)]))
    times = np.empty(len(order), dtype=int)
    times[sorted_positions] = runs
    return times


def draw_mixup(
    alpha: float, parts: Sequence[slice], *, random: np.random.Generator, device: torch.device
) -> Mixup:
    """Draw shares from Beta(α, α) and, within each part, a permutation of partners (Zhang 2018).

    Parameters
    ----------
    alpha
        Above 0; small values leave most samples almost unchanged.
    parts
        Positions that go through the network at once; together they are the epoch's order.
    random, device
        Source of the draws, and where they are needed.
    """
    shares = random.beta(alpha, alpha, size=parts[-1].stop)
    partners = [part.start + random.permutation(part.stop - part.start) for part in parts]
    return Mixup(
        partners=torch.from_numpy(np.concatenate(partners)).to(device),
        keeps=torch.from_numpy(shares).to(device, torch.float32),
    )


def draw_cutmix(
    alpha: float,
    parts: Sequence[slice],
    *,
    shape: tuple[int, ...],
    mixup: Mixup | None,
    random: np.random.Generator,
    device: torch.device,
) -> Mixup:
    """Draw boxes of a share 1 − λ of the grid, λ from Beta(α, α), with a uniform centre (Yun 2019).

    A box is clipped to the grid; the share that a sample keeps is counted in pixels after that.

    Parameters
    ----------
    alpha, parts
        As in ``draw_mixup``.
    shape
        Of the grid.
    mixup
        Draws of mixup, for half of the samples; None pastes boxes into all.
    random, device
        Source of the draws, and where they are needed.
    """
    n, sizes = parts[-1].stop, np.array(shape)
    edges = (1 - random.beta(alpha, alpha, size=n)) ** (1 / len(shape))
    centres = random.uniform(size=(n, len(shape)))
    low = np.rint((centres - edges[:, None] / 2) * sizes).clip(0, sizes)
    high = np.rint((centres + edges[:, None] / 2) * sizes).clip(0, sizes)
    keeps = 1 - (high - low).prod(axis=1) / sizes.prod()
    partners = [part.start + random.permutation(part.stop - part.start) for part in parts]
    cut = np.ones(n, dtype=bool) if mixup is None else random.uniform(size=n) < 0.5
    boxes = np.where(cut[:, None, None], np.stack([low, high], axis=2), -1).astype(np.int64)
    drawn = Mixup(
        partners=torch.from_numpy(np.concatenate(partners)).to(device),
        keeps=torch.from_numpy(keeps).to(device, torch.float32),
        boxes=torch.from_numpy(boxes).to(device),
    )
    if mixup is None:
        return drawn
    chosen = torch.from_numpy(cut).to(device)
    return Mixup(
        partners=torch.where(chosen, drawn.partners, mixup.partners),
        keeps=torch.where(chosen, drawn.keeps, mixup.keeps),
        boxes=drawn.boxes,
    )


def paste(
    images: torch.Tensor, partners: torch.Tensor, boxes: torch.Tensor, *, blended: torch.Tensor
) -> torch.Tensor:
    """Return images with the boxes of their partners, or the blended images where there is no box.

    Parameters
    ----------
    images, blended
        (samples, channels, …grid).
    partners
        Number of each sample's partner.
    boxes
        (samples, d, 2), from and to in pixels; −1: no box.

    Examples
    --------
    >>> images = torch.tensor([[[1.0, 1, 1, 1]], [[2.0, 2, 2, 2]]])
    >>> boxes = torch.tensor([[[1, 3]], [[-1, -1]]])
    >>> paste(images, torch.tensor([1, 0]), boxes, blended=images * 10)
    tensor([[[ 1.,  2.,  2.,  1.]],
    <BLANKLINE>
            [[20., 20., 20., 20.]]])
    """
    d = boxes.shape[1]
    inside = torch.ones((len(images), 1, *images.shape[2:]), dtype=torch.bool, device=images.device)
    for axis in range(d):
        places = torch.arange(images.shape[2 + axis], device=images.device)
        ends = boxes[:, axis]
        within = (places >= ends[:, :1]) & (places < ends[:, 1:])
        inside &= within.reshape(len(images), 1, *[-1 if k == axis else 1 for k in range(d)])
    whole = (boxes[:, 0, 0] < 0).reshape(-1, *[1] * (images.dim() - 1))
    return torch.where(whole, blended, torch.where(inside, images[partners], images))


def blend(values: torch.Tensor, partners: torch.Tensor, keeps: torch.Tensor) -> torch.Tensor:
    """Return ``keeps`` of each sample plus ``1 - keeps`` of its partner.

    Examples
    --------
    >>> blend(torch.tensor([[0.0], [4.0]]), torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
    tensor([[1.],
            [4.]])
    """
    keeps = keeps.reshape(-1, *[1] * (values.dim() - 1))
    return keeps * values + (1 - keeps) * values[partners]
