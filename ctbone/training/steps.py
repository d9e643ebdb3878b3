"""The hot path: the batches of one epoch on the device, augmented there, each a step of the optimizer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from ctbone.config import ModelSettings
from ctbone.models.batches import Batch
from ctbone.models.losses import Loss
from ctbone.models.network_input import network_input
from ctbone.training.augmentation import changes_nothing, resample, resample_with_mask
from ctbone.training.learner import Learner
from ctbone.training.nan_error import undefined_error
from ctbone.training.objective import objective_of
from ctbone.training.plan import EpochPlan, plan_epoch
from ctbone.training.sampling import sample_order
from ctbone.training.schedule import learning_rate
from ctbone.training.seeds import torch_seed
from ctbone.training.task import FoldTask


def train_epoch(task: FoldTask, learner: Learner, epoch: int, most: int | None = None) -> float:
    """Show every training image once, or the first ``most`` batches; return the mean loss.

    Where several processes train together, each computes its share of every batch.
    """
    training, network, ranks = task.model.training, learner.wrapped, task.ranks
    plan = plan_epoch(task, sample_order(task, epoch), epoch)
    criterion = objective_of(task)
    torch.manual_seed(torch_seed("network", epoch=epoch, **task.seeds) + ranks.rank)
    network.train()
    shown = stream(task, plan, most)
    losses = []
    for step, batch in enumerate(plan.steps[:most]):
        for group in learner.optimizer.param_groups:
            group["lr"] = learning_rate(training, epoch, step, len(plan.steps))
        learner.optimizer.zero_grad(set_to_none=True)
        batch_loss = torch.zeros((), device=task.hardware.device)
        for part in plan.parts[step]:
            own, seen = next(shown)
            with ranks.holding_gradients(network, hold=part.stop < batch.stop):
                # Of no sample, synchronised statistics have the type of what came in, and the others send fp32.
                with task.hardware.autocast() if len(seen) else contextlib.nullcontext():
                    logits = (
                        network(seen)
                        if plan.metadata is None
                        else network(seen, plan.metadata[own])
                    )
                loss = _loss(criterion, logits.float(), plan.targets[own], plan.targets[batch])
                (loss * ranks.count).backward()  # the gradients become the mean over the processes
            batch_loss += loss.detach()
        learner.optimizer.step()
        if learner.average is not None:
            learner.average.update(learner.network, (epoch - 1) * len(plan.steps) + step + 1)
        losses.append(batch_loss)
    values = (
        ranks.total(torch.stack(losses)).double().cpu().numpy()
    )  # the epoch's one wait for the device
    _refuse_undefined(task, values, [plan.order[batch] for batch in plan.steps], epoch)
    return float(
        np.average(values, weights=[batch.stop - batch.start for batch in plan.steps[:most]])
    )


def stream(
    task: FoldTask, plan: EpochPlan, most: int | None
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield, for every part of every batch, what of it is this process's, and what the network sees of that."""
    still = changes_nothing(task.model.training.augmentation)
    parts = [part for batch in plan.parts[:most] for part in batch]
    own = [task.ranks.share(part) for part in parts]
    # A sample's partner may be another process's: then all of the part is made ready, and its own taken.
    wanted = own if plan.partners is None else parts
    for part, mine, batch in zip(wanted, own, task.source.batches(plan.order, wanted), strict=True):
        seen = plan.mixed(_augmented(task.model, batch, None if still else plan.maps[part]), part)
        yield mine, task.hardware.arrange(seen[mine.start - part.start : mine.stop - part.start])


def _augmented(model: ModelSettings, batch: Batch, maps: torch.Tensor | None) -> torch.Tensor:
    hu, mask = batch.hu, batch.mask
    if maps is not None and mask is None:
        hu = resample(hu, maps)
    elif maps is not None and mask is not None:
        hu, mask = resample_with_mask(hu, mask, maps)
    return network_input(hu, model.windows, mask, model.mask)


def _loss(
    criterion: Loss, logits: torch.Tensor, targets: torch.Tensor, of_batch: torch.Tensor
) -> torch.Tensor:
    """Return what these samples add to their batch's loss; 0 for none."""
    if len(targets) == 0:
        return logits.sum() * 0
    return criterion(logits, targets) * (criterion.mass(targets) / criterion.mass(of_batch))


def _refuse_undefined(
    task: FoldTask, losses: np.ndarray, samples: list[np.ndarray], epoch: int
) -> None:
    wrong = np.flatnonzero(~np.isfinite(losses))
    if len(wrong):
        first = int(wrong[0])
        cases = dict.fromkeys(
            task.crops.case_ids[s // task.crops.images.shape[1]] for s in samples[first]
        )
        raise undefined_error(
            task,
            what="the loss",
            value=losses[first],
            where=f"epoch {epoch}, batch {first + 1} of fold {task.fold}",
            found=f"a batch of the cases {', '.join(cases)}",
        )
