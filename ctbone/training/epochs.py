"""The epochs of one fold: the optimizer's steps, the validation, and predictions of a part."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ctbone.errors import TrainingError
from ctbone.folds import Role
from ctbone.input_kind import INPUT_KINDS
from ctbone.learning.augmentation import changes_nothing, resample, resample_with_mask
from ctbone.learning.checkpoint import TrainingState, load_checkpoint
from ctbone.learning.loop import SWA, Learner, learning_rate, make_learner, restore, run_epochs
from ctbone.learning.plan import EpochPlan, cut_batches, plan_epoch
from ctbone.models.arithmetic import apply_ways, check_arithmetic
from ctbone.models.batches import Batch
from ctbone.models.losses import Loss, shares_of
from ctbone.models.network_input import network_input
from ctbone.models.networks import build_network, normalise_input
from ctbone.models.pretrained import load_initial_weights
from ctbone.models.probabilities import logits_of, probabilities_of, view_shares
from ctbone.training.task import FoldTask, refuse_absent_classes

_PARTS: dict[Role, str] = {"train": "training", "val": "validation", "test": "test"}


def train_fold(task: FoldTask) -> tuple[nn.Module, TrainingState]:
    """Train a fold to its last epoch, or until it stops early, from its checkpoint if it has one.

    Returns
    -------
    tuple of torch.nn.Module and TrainingState
        The network with the weights of its last epoch, and the state, whose ``best`` is to be kept.

    Raises
    ------
    TrainingError
        The loss or the network's output is NaN or infinite, a part lacks a class, or the
        checkpoint is damaged or of another training.
    """
    refuse_absent_classes(task)
    learner, state = start_fold(task, load_checkpoint(task.run.checkpoint, task.run.identity))
    check_device(task, learner)
    run_epochs(
        task.run,
        learner,
        state,
        train_epoch=lambda epoch: train_epoch(task, learner, epoch),
        validate=lambda network: validate(task, network),
    )
    return learner.network, state


def try_batch(task: FoldTask) -> None:
    """Train a fresh network on one batch, validate it, and write nothing.

    Raises
    ------
    TrainingError
        As ``train_fold``.
    """
    refuse_absent_classes(task)
    learner, _ = start_fold(task, None)
    check_device(task, learner)
    train_epoch(task, learner, epoch=1, most=1)
    validate(task, learner.judged)


def start_fold(task: FoldTask, state: TrainingState | None) -> tuple[Learner, TrainingState]:
    """Build the network, its optimizer and its EMA, fresh or from a checkpoint's state."""
    torch.manual_seed(task.seeds.torch_seed("weights", epoch=0))
    size = task.crops.images.shape[-1]
    width = 0 if task.encoding is None else task.encoding.width
    network = build_network(
        task.model, len(task.classes), size=size, metadata=width, folder=task.study.root
    )
    if task.normalisation is not None:
        dimensions = INPUT_KINDS[task.model.dim].dimensions
        normalise_input(network, **task.normalisation, dimensions=dimensions)
    if state is None:
        load_initial_weights(network, task.model, task.study.root, size=size)
    learner = make_learner(network, task.model.training, hardware=task.hardware, ranks=task.ranks)
    if state is None:
        return learner, TrainingState()
    restore(learner, state, task.run.checkpoint)
    return learner, state


def check_device(task: FoldTask, learner: Learner) -> None:
    """Check the device's arithmetic on the layers of the network; change those that are wrong.

    Raises
    ------
    TrainingError
        A layer is right in no way.
    """
    edge = task.crops.images.shape[-1]
    found = check_arithmetic(
        learner.network,
        (task.model.channels, *[edge] * INPUT_KINDS[task.model.dim].dimensions),
        hardware=task.hardware,
        metadata=0 if task.encoding is None else task.encoding.width,
    )
    if learner.ema is not None:
        apply_ways(
            learner.ema.network,
            {name: fault.way for fault in found for name in fault.layers if fault.way},
        )
    if task.ranks.writes:
        for fault in found:
            print(f"note: {fault}; computed in {fault.way} instead", file=sys.stderr, flush=True)


def train_epoch(task: FoldTask, learner: Learner, epoch: int, most: int | None = None) -> float:
    """Train one epoch, or its first ``most`` batches, and return the mean loss.

    With several processes, each computes its share of every batch.
    """
    network, ranks = learner.wrapped, task.ranks
    plan = plan_fold_epoch(task, epoch)
    targets, metadata = _labels_and_metadata(task, plan)
    torch.manual_seed(task.seeds.torch_seed("network", epoch=epoch) + ranks.rank)
    network.train()
    inputs = stream(task, plan, most)
    steps, losses = len(plan.batches), []
    for step, batch in enumerate(plan.batches[:most]):
        learner.begin_step(learning_rate(task.run.settings, epoch=epoch, step=step, steps=steps))
        batch_loss = torch.zeros((), device=task.hardware.device)
        for part in plan.parts[step]:
            own, seen = next(inputs)
            with ranks.no_gradient_sync(network, enabled=part.stop < batch.stop):
                # Statistics exchanged by a share of no sample have its input's type; they must be
                # fp32 as those of the other processes, so this share runs without autocast.
                with task.hardware.autocast() if len(seen) else contextlib.nullcontext():
                    logits = network(seen) if metadata is None else network(seen, metadata[own])
                loss = _loss(
                    task.loss,
                    logits.float(),
                    targets=targets[own],
                    of_batch=targets[batch],
                )
                (loss * ranks.count).backward()  # gradients are averaged over the processes
            batch_loss += loss.detach()
        learner.end_step((epoch - 1) * steps + step + 1)
        losses.append(batch_loss)
    if isinstance(learner.ema, SWA) and learner.ema.end_epoch(learner.network, epoch):
        update_batch_norm(task, learner.ema.network)
    # The epoch's one wait for the device.
    values = ranks.total(torch.stack(losses)).double().cpu().numpy()
    _refuse_undefined(task, plan, epoch, losses=values)
    sizes = [batch.stop - batch.start for batch in plan.batches[:most]]
    return float(np.average(values, weights=sizes))


def update_batch_norm(task: FoldTask, network: nn.Module) -> None:
    """Replace the running statistics of batch norm by those of the training part, unaugmented.

    They are the means over its batches, as in ``torch.optim.swa_utils.update_bn``. Every process
    computes all batches, so all get the same statistics.
    """
    layers = [
        layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    ]
    layers = [layer for layer in layers if layer.track_running_stats]
    if not layers:
        return
    network.eval()
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a cumulative mean
        layer.train()
    size = task.model.training.micro_batch or task.model.training.batch_size
    parts = cut_batches(len(task.train_samples), size)
    rows = torch.from_numpy(task.train_samples).to(task.hardware.device) // task.source.views
    batches = task.source.batches(task.train_samples, parts)
    with torch.no_grad(), task.hardware.autocast():
        for part, batch in zip(parts, batches, strict=True):
            model = task.model
            seen = network_input(batch.hu, model.windows, mask=batch.mask, use=model.mask)
            seen = task.hardware.arrange(seen)
            network(seen) if task.metadata is None else network(seen, task.metadata[rows[part]])
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


def plan_fold_epoch(task: FoldTask, epoch: int) -> EpochPlan:
    """Draw an epoch of a fold's training images."""
    return plan_epoch(
        task.model.training,
        task.train_samples,
        labels=task.label_numbers[task.train_samples // task.source.views],
        mirrors=task.mirrors,
        seeds=task.seeds,
        epoch=epoch,
        device=task.hardware.device,
        edge=task.crops.images.shape[-1],
    )


def _labels_and_metadata(
    task: FoldTask, plan: EpochPlan
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the targets and the second input of each position of an epoch, mixed.

    Targets are class numbers, (n,), or with mixup shares of the classes, (n, classes).
    """
    rows = torch.from_numpy(plan.order).to(task.hardware.device) // task.source.views
    labels = task.labels[rows]
    if plan.mixup is not None:
        labels = plan.mix(shares_of(labels, len(task.classes)))
    return labels, None if task.metadata is None else plan.mix(task.metadata[rows])


def stream(
    task: FoldTask, plan: EpochPlan, most: int | None
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield for each part of the first ``most`` batches this process's share and network input."""
    parts = [part for batch in plan.parts[:most] for part in batch]
    shares = [task.ranks.share(part) for part in parts]
    # With mixup a sample's partner may be in another process's share: prepare the whole part.
    wanted = shares if plan.mixup is None else parts
    still = changes_nothing(task.model.training.augmentation)
    batches = task.source.batches(plan.order, wanted)
    for part, share, batch in zip(wanted, shares, batches, strict=True):
        maps = None if still else plan.maps[part]
        seen = _augmented(task, batch, maps=maps, seeds=plan.extra_seeds[part])
        seen = plan.mix_images(seen, part)
        own = seen[share.start - part.start : share.stop - part.start]
        yield share, task.hardware.arrange(own)


def _augmented(
    task: FoldTask, batch: Batch, *, maps: torch.Tensor | None, seeds: np.ndarray
) -> torch.Tensor:
    model, hu, mask = task.model, batch.hu, batch.mask
    outside = INPUT_KINDS[model.dim].outside
    if maps is not None and mask is None:
        hu = resample(hu, maps, outside=outside)
    elif maps is not None and mask is not None:
        hu, mask = resample_with_mask(hu, mask, maps, outside=outside)
    if len(task.extra):
        hu = task.extra(hu, seeds)
    return network_input(hu, model.windows, mask=mask, use=model.mask)


def _loss(
    criterion: Loss, logits: torch.Tensor, *, targets: torch.Tensor, of_batch: torch.Tensor
) -> torch.Tensor:
    """Return what these samples add to the loss of their batch; 0 for no sample."""
    if len(targets) == 0:
        return logits.sum() * 0
    return criterion(logits, targets) * (criterion.mass(targets) / criterion.mass(of_batch))


def _refuse_undefined(task: FoldTask, plan: EpochPlan, epoch: int, *, losses: np.ndarray) -> None:
    wrong = np.flatnonzero(~np.isfinite(losses))
    if len(wrong):
        first = int(wrong[0])
        rows = plan.order[plan.batches[first]] // task.source.views
        cases = dict.fromkeys(task.crops.case_ids[row] for row in rows)
        raise undefined_error(
            task,
            what="the loss",
            value=losses[first],
            where=f"epoch {epoch}, batch {first + 1} of fold {task.fold}",
            found=f"a batch of the cases {', '.join(cases)}",
        )


@dataclass(frozen=True)
class PartOutput:
    """Output of a network for one part of a fold, without augmentation.

    Attributes
    ----------
    logits, probabilities
        (cases, views, classes).
    shares
        Share of each view in its case's probability, (cases, views).
    """

    logits: torch.Tensor
    probabilities: np.ndarray
    shares: np.ndarray

    @property
    def of_cases(self) -> np.ndarray:
        """Probabilities of the cases, their views averaged, (cases, classes)."""
        return (self.probabilities * self.shares[:, :, None]).sum(axis=1)


def predict(task: FoldTask, network: nn.Module, role: Role) -> PartOutput:
    """Run a network on one part of the fold; with several processes, each computes its share.

    Raises
    ------
    TrainingError
        An output is NaN or infinite; the first such case is named.
    """
    rows = task.rows(role)
    own = task.ranks.share(slice(0, len(rows)))
    logits = torch.zeros((len(rows), task.source.views, len(task.classes)))
    if own.stop > own.start:
        logits[own] = logits_of(
            network,
            task.source,
            rows=rows[own],
            model=task.model,
            hardware=task.hardware,
            metadata=None if task.metadata is None else task.metadata[rows[own]],
        )
    logits = task.ranks.total(logits).cpu()
    output = PartOutput(
        logits=logits,
        probabilities=probabilities_of(logits),
        shares=view_shares(task.model, task.crops)[rows],
    )
    wrong = np.flatnonzero(~np.isfinite(output.of_cases).all(axis=1))
    if len(wrong):
        first = task.crops.case_ids[rows[wrong[0]]]
        raise undefined_error(
            task,
            what="the network's output",
            value=output.of_cases[wrong[0]].sum(),
            where=f"the {_PARTS[role]} of fold {task.fold}",
            found=f"{len(wrong)} of {len(rows)} cases, first {first}",
        )
    return output


def validate(task: FoldTask, network: nn.Module) -> tuple[float, float]:
    """Return AUC and loss on the fold's validation part.

    The AUC is that of the cases, a 2D model's views averaged first; with more than two classes it
    is the mean of each class against the rest. The loss is that of the training, with its class
    weights, over images.
    """
    from sklearn.metrics import roc_auc_score

    output = predict(task, network, "val")
    labels = task.labels.cpu()[task.rows("val")]
    loss = float(
        task.loss(output.logits.flatten(0, 1), labels.repeat_interleave(task.source.views))
    )
    if len(task.classes) == 2:
        return float(roc_auc_score(labels, output.of_cases[:, 1])), loss
    numbers = list(range(len(task.classes)))
    auc = roc_auc_score(labels, output.of_cases, multi_class="ovr", average="macro", labels=numbers)
    return float(auc), loss


def undefined_error(
    task: FoldTask, *, what: str, value: float, where: str, found: str
) -> TrainingError:
    """Return the error for a loss or an output that is NaN or infinite.

    The cause may be the settings or the device's arithmetic; the remedy names the settings by
    their keys in ``study.yaml``.

    Parameters
    ----------
    task
        The fold.
    what, value, where
        ``the loss`` or ``the network's output``, its value, and where in the training it occurred.
    found
        The cases.
    """
    name = "NaN" if math.isnan(value) else str(value)
    advice = [f"lower {_key(task, 'learning_rate')}"]
    if task.hardware.bf16:
        advice.insert(0, f"set {_key(task, 'precision')}: fp32")
    others = [f"{_key(task, 'channels_last')}: false"] if task.hardware.channels_last else []
    if task.hardware.device.type == "cpu":
        others.append("the environment ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2")
    others = others or ["another device"]
    return TrainingError(
        f"{what} is {name} in {where}",
        file=task.study.settings_file,
        found=found,
        remedy=f"{'; or '.join(advice)}. The device's arithmetic is a suspect too "
        f"({task.hardware}): if {' or '.join(others)} ends the {name}, it is at fault",
    )


def _key(task: FoldTask, name: str) -> str:
    """Return the key of a training setting: the model's own, or that of all models."""
    shared = task.study.settings.training
    own = getattr(task.model.training, name) != getattr(shared, name)
    return f"models.{task.name}.training.{name}" if own else f"training.{name}"
