"""The hot path: the batches of one epoch on the device, augmented there, each a step of the optimizer."""

from __future__ import annotations

import numpy as np
import torch

from ctbone.models.intake import network_input
from ctbone.training.augmentation import changes_nothing, resample
from ctbone.training.errors import TrainingError
from ctbone.training.learner import Learner
from ctbone.training.objective import objective_of
from ctbone.training.plan import plan_epoch
from ctbone.training.sampling import sample_order
from ctbone.training.schedule import learning_rate
from ctbone.training.seeds import torch_seed
from ctbone.training.task import FoldTask


def train_epoch(task: FoldTask, learner: Learner, epoch: int, most: int | None = None) -> float:
    """Show every training image once, or the first ``most`` batches; return the mean loss."""
    training, network = task.model.training, learner.network
    images = task.crops.images.flatten(0, 1)
    plan = plan_epoch(task, sample_order(task, epoch), epoch)
    criterion = objective_of(task)
    still = changes_nothing(training.augmentation)
    torch.manual_seed(torch_seed("network", epoch=epoch, **task.seeds))
    network.train()
    losses = []
    for step, batch in enumerate(plan.steps[:most]):
        for group in learner.optimizer.param_groups:
            group["lr"] = learning_rate(training, epoch, step, len(plan.steps))
        learner.optimizer.zero_grad(set_to_none=True)
        batch_loss = torch.zeros((), device=task.hardware.device)
        for part in plan.parts[step]:
            hu = images[plan.places[part]]
            if not still:
                hu = resample(hu, plan.maps[part])
            with task.hardware.autocast():
                logits = network(plan.mixed(network_input(hu, task.model.windows), part))
            share = criterion.mass(plan.targets[part]) / criterion.mass(plan.targets[batch])
            loss = criterion(logits.float(), plan.targets[part]) * share
            loss.backward()
            batch_loss += loss.detach()
        learner.optimizer.step()
        if learner.average is not None:
            learner.average.update(network, (epoch - 1) * len(plan.steps) + step + 1)
        losses.append(batch_loss)
    values = torch.stack(losses).double().cpu().numpy()  # the epoch's one wait for the device
    _refuse_undefined(task, values, [plan.order[batch] for batch in plan.steps], epoch)
    return float(np.average(values, weights=[batch.stop - batch.start for batch in plan.steps[:most]]))


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
