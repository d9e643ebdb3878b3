"""A fold's state after each epoch, written atomically, read without running any code in it."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ctbone.models.identity import refuse_other
from ctbone.study import atomic_path
from ctbone.training.errors import TrainingError

_FORMAT = 1


@dataclass(frozen=True)
class EpochMetrics:
    """One row of ``metrics.csv``."""

    epoch: int
    loss: float
    validation_auc: float
    validation_loss: float
    seconds: float


@dataclass
class FoldState:
    """Where a fold stands. Random numbers need no place here: each epoch draws its own from its seeds.

    Attributes
    ----------
    network, optimizer
        Their state dicts.
    best
        The weights of the best epoch so far.
    history
        The epochs that are done.
    """

    network: dict[str, Any]
    optimizer: dict[str, Any]
    best: dict[str, Any]
    history: list[EpochMetrics] = field(default_factory=list)

    @property
    def best_epoch(self) -> EpochMetrics:
        """The epoch with the highest validation AUC; among equals the lowest validation loss, then the first."""
        return max(self.history, key=lambda row: (row.validation_auc, -row.validation_loss, -row.epoch))


def save_checkpoint(path: Path, state: FoldState, identity: dict[str, Any]) -> None:
    """Write the state; ``identity`` names what the training depends on."""
    content = {
        "format": _FORMAT,
        "identity": identity,
        "network": state.network,
        "optimizer": state.optimizer,
        "best": state.best,
        "history": [asdict(row) for row in state.history],
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: Path, identity: dict[str, Any]) -> FoldState | None:
    """Read the state of a fold that was begun, or None where there is none.

    Raises
    ------
    TrainingError
        The file is damaged, holds code (which is not run), or was made with other settings, folds or crops.
    """
    if not path.is_file():
        return None
    remedy = f"delete {path}: the fold then starts at its first epoch"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TrainingError(
            "the checkpoint is damaged or holds code; it was not run", file=path, remedy=remedy
        ) from error
    except Exception as error:  # torch raises what it likes on a damaged file
        raise TrainingError("the checkpoint is damaged", file=path, remedy=remedy) from error
    try:
        if content["format"] != _FORMAT:
            raise TrainingError("the checkpoint has another format", file=path, remedy=remedy)
        refuse_other(content["identity"], identity, path, TrainingError)
        history = [EpochMetrics(**row) for row in content["history"]]
        return FoldState(content["network"], content["optimizer"], content["best"], history)
    except (KeyError, TypeError, AttributeError) as error:
        raise TrainingError("the checkpoint lacks a part", file=path, remedy=remedy) from error
