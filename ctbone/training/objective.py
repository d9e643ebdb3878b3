"""What a fold's network is asked to make small: the loss of the settings with this fold's class weights."""

from __future__ import annotations

import torch

from ctbone.models.losses import Loss
from ctbone.training.task import FoldTask


def objective_of(task: FoldTask) -> Loss:
    """Return the loss of a fold; weights that balance the classes are those of its training part alone.

    ``balanced`` gives a class of n_c among n cases the weight n / (classes × n_c), so that a case weighs 1 on average.

    Raises
    ------
    ModelError
        There is no loss of this name.
    """
    training = task.model.training
    return Loss(training.loss, _class_weights(task), training.label_smoothing, training.focal_gamma)


def _class_weights(task: FoldTask) -> torch.Tensor | None:
    given, classes = task.model.training.class_weights, task.study.settings.classes
    if given == "none":
        return None
    if given == "balanced":
        labels = task.labels[torch.from_numpy(task.rows("train")).to(task.labels.device)]
        counts = torch.bincount(labels, minlength=len(classes)).double()
        return (len(labels) / (len(classes) * counts)).float()
    return torch.tensor([given[name] for name in classes], device=task.labels.device)
