"""How good a network is on its fold's validation part."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ctbone.models.losses import build_loss
from ctbone.models.probabilities import logits_of, probabilities_of, view_shares
from ctbone.training.errors import TrainingError
from ctbone.training.task import FoldTask


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
