"""Losses by name, with class weights, label smoothing and mixed targets; and losses as plug-ins."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ctbone.config import TrainingSettings
from ctbone.errors import ModelError
from ctbone.models.plugins import is_plugin, load_plugin, parameters_of

LOSSES = ("cross_entropy", "focal")


@dataclass(frozen=True)
class Loss:
    """Loss of a batch: the weighted mean over its samples.

    A sample with shares ``q`` of the classes costs ``- Σ q'_c w_c (1 - p_c)^γ log p_c``, where
    ``q'`` is ``(1 - ε) q + ε / classes``. The sum over the samples is divided by that of their
    weights, ``Σ q_c w_c``. For cross-entropy γ is 0.

    Attributes
    ----------
    name
        ``cross_entropy`` or ``focal`` (Lin 2017).
    weights
        Weight of each class, (classes,); None where all are 1.
    smoothing
        ε, the share of the target that is spread over all classes (Szegedy 2016).
    gamma
        γ of the focal loss.

    Raises
    ------
    ModelError
        There is no loss of this name; the nearest is given.

    Examples
    --------
    >>> Loss("cross_entropy")(torch.zeros(4, 2), torch.tensor([0, 1, 1, 0]))
    tensor(0.6931)
    """

    name: str
    weights: torch.Tensor | None = None
    smoothing: float = 0.0
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            nearest = difflib.get_close_matches(self.name, LOSSES, n=1, cutoff=0)
            remedy = f"did you mean '{nearest[0]}'?"
            raise ModelError("there is no loss of this name", found=self.name, remedy=remedy)

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        logits
            (samples, classes).
        targets
            Class numbers, (samples,), or each sample's shares of the classes, (samples, classes).
        """
        if self.name == "cross_entropy" and targets.dim() == 1:
            weights = self._weights(logits)
            return functional.cross_entropy(
                logits, targets, weight=weights, label_smoothing=self.smoothing
            )
        classes = logits.shape[1]
        shares = shares_of(targets, classes).to(logits.dtype)
        logs = functional.log_softmax(logits, dim=1)
        costs = -((1 - self.smoothing) * shares + self.smoothing / classes) * logs
        if self.name == "focal":
            costs = costs * (1 - logs.exp()) ** self.gamma
        if self.weights is not None:
            costs = costs * self._weights(logits)
        return costs.sum() / self.mass(targets)

    def mass(self, targets: torch.Tensor) -> torch.Tensor | float:
        """Return the sum of the samples' weights, by which the parts of a batch are averaged."""
        if self.weights is None:
            return float(len(targets))
        weights = self.weights.to(targets.device)
        return weights[targets].sum() if targets.dim() == 1 else (targets @ weights).sum()

    def _weights(self, logits: torch.Tensor) -> torch.Tensor | None:
        return None if self.weights is None else self.weights.to(logits)


@dataclass(frozen=True)
class PluginLoss(Loss):
    """A loss of the user's: a function of logits and targets, or the instance of a module.

    The parts of a batch, such as micro-batches, are averaged by their numbers of samples, so the
    loss of a batch cut in parts is that of the whole only if ``function`` is a mean over samples.

    Attributes
    ----------
    function
        From (logits, targets), as ``Loss`` gets them, to a scalar.
    """

    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = functional.cross_entropy

    def __post_init__(self) -> None:
        pass

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch.

        Raises
        ------
        ModelError
            It is no scalar, or has no gradient; or the function fails.
        """
        function = self.function
        if isinstance(function, nn.Module):
            function = function.to(logits.device)
        try:
            value = function(logits, targets)
        except torch.OutOfMemoryError:
            raise
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            raise ModelError(
                f"the loss '{self.name}' failed: {error}",
                found=f"logits {tuple(logits.shape)}, targets {tuple(targets.shape)}",
            ) from error
        if not isinstance(value, torch.Tensor) or value.dim():
            found = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise ModelError(f"the loss '{self.name}' is no scalar", found=found)
        if logits.requires_grad and not value.requires_grad:
            raise ModelError(f"the loss '{self.name}' has no gradient")
        return value

    def mass(self, targets: torch.Tensor) -> float:
        """Return the number of samples."""
        return float(len(targets))


def refuse_unknown_loss(name: str, folder: Path | None) -> None:
    """Check that the loss exists, without making it.

    Raises
    ------
    ModelError
        There is no loss of this name (the nearest is given), or the plug-in cannot be imported.
    """
    if is_plugin(name):
        load_plugin(name, folder)
    else:
        Loss(name)


def make_loss(
    training: TrainingSettings, weights: torch.Tensor | None, folder: Path | None = None
) -> Loss:
    """Return the loss that the settings name.

    A plug-in gets ``class_weights`` and ``label_smoothing`` by keyword where its signature takes
    them: a class when it is made, a function at each call.

    Parameters
    ----------
    training
        ``loss``, ``label_smoothing`` and ``focal_gamma``.
    weights
        Weight of each class, (classes,); None where all are 1.
    folder
        The study folder, for a plug-in that lies there.

    Raises
    ------
    ModelError
        There is no loss of this name (the nearest is given), or a plug-in does not take class
        weights or label smoothing, which the settings ask for, or has weights to train.
    """
    if not is_plugin(training.loss):
        return Loss(
            training.loss,
            weights=weights,
            smoothing=training.label_smoothing,
            gamma=training.focal_gamma,
        )
    make = load_plugin(training.loss, folder).make
    takes = parameters_of(make)
    given: dict[str, Any] = {"class_weights": weights, "label_smoothing": training.label_smoothing}
    for name, value in given.items():
        asked_for = value is not None if name == "class_weights" else bool(value)
        if asked_for and name not in takes:
            raise ModelError(
                f"the loss '{training.loss}' takes no {name}",
                found=", ".join(takes),
                remedy=f"remove training.{name}, or give the loss an argument of this name",
            )
    arguments = {name: value for name, value in given.items() if name in takes}
    if not inspect.isclass(make):
        return PluginLoss(training.loss, function=functools.partial(_call, make, arguments))
    function: Any = make(**arguments)
    if isinstance(function, nn.Module) and any(True for _ in function.parameters()):
        raise ModelError(
            f"the loss '{training.loss}' has parameters, which are not trained",
            remedy="register its constants as buffers",
        )
    return PluginLoss(training.loss, function=function)


def _call(
    make: Callable[..., torch.Tensor],
    arguments: dict[str, Any],
    logits: torch.Tensor,
    targets: torch.Tensor,
) -> torch.Tensor:
    """Call a function with its further arguments, those that are tensors on the logits' device."""
    placed = {
        name: value.to(logits.device) if isinstance(value, torch.Tensor) else value
        for name, value in arguments.items()
    }
    return make(logits, targets, **placed)


def shares_of(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Return each sample's shares of the classes, (samples, classes), from class numbers or shares.

    Examples
    --------
    >>> shares_of(torch.tensor([2, 0]), classes=3)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    return targets if targets.dim() == 2 else functional.one_hot(targets, classes).float()
