"""How good a network is on its fold's validation part."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ctbone.errors import TrainingError
from ctbone.folds import Role
from ctbone.models.probabilities import logits_of, probabilities_of, view_shares
from ctbone.training.nan_error import undefined_error
from ctbone.training.objective import objective_of
from ctbone.training.task import FoldTask


def validate(task: FoldTask, network: nn.Module) -> tuple[float, float]:
    """Return AUC and loss on the fold's validation part.

    The AUC is of one probability a case, a 2D model's views averaged first; with more than two classes it is the
    mean of each class against the rest. The loss is the training's, its class weights included, over images.
    """
    from sklearn.metrics import roc_auc_score

    rows = task.rows("val")
    logits = logits_by_ranks(task, network, rows)
    labels = task.labels.cpu()[rows]
    loss = objective_of(task)(logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1]))
    probabilities = probabilities_of(logits)
    shares = view_shares(task.model, task.crops)[rows]
    own = (probabilities * shares[:, :, None]).sum(axis=1)
    if not np.isfinite(own).all():
        wrong = np.flatnonzero(~np.isfinite(own).all(axis=1))
        raise undefined_error(
            task,
            what="the network's output",
            value=own[wrong[0]].sum(),
            where=f"the validation of fold {task.fold}",
            found=f"{len(wrong)} of {len(own)} cases, first {task.crops.case_ids[rows[wrong[0]]]}",
        )
    if own.shape[1] == 2:
        return float(roc_auc_score(labels, own[:, 1])), float(loss)
    numbers = list(range(own.shape[1]))
    return float(
        roc_auc_score(labels, own, multi_class="ovr", average="macro", labels=numbers)
    ), float(loss)


def logits_by_ranks(task: FoldTask, network: nn.Module, rows: np.ndarray) -> torch.Tensor:
    """Return the logits of these cases, (cases, views, classes), each process having computed its share."""
    own = task.ranks.share(slice(0, len(rows)))
    logits = torch.zeros((len(rows), task.source.views, len(task.study.settings.classes)))
    if own.stop > own.start:
        metadata = None if task.metadata is None else task.metadata[rows[own]]
        logits[own] = logits_of(
            network, task.source, rows[own], task.model, task.hardware, metadata
        )
    return task.ranks.total(logits).cpu()


def refuse_absent_classes(task: FoldTask) -> None:
    """Stop before the first epoch where a class is in nobody of the training or the validation part.

    Raises
    ------
    TrainingError
        The part, the fold and the class are named: its AUC would be undefined, or the class never learned.
    """
    parts: tuple[tuple[Role, str], ...] = (("train", "training"), ("val", "validation"))
    for role, word in parts:
        labels = set(task.labels.cpu().numpy()[task.rows(role)].tolist())
        absent = [
            name for number, name in enumerate(task.study.settings.classes) if number not in labels
        ]
        if absent:
            raise TrainingError(
                f"the {word} part of fold {task.fold} has no case of class '{absent[0]}'",
                file=task.study.folds_csv,
                expected="every class in every part",
                remedy=f"delete {task.study.folds_csv.name} and the folder runs, so that the folds are drawn anew",
            )
