"""A fold's state after each epoch, written atomically, read without running any code in it.

The best weights so far lie beside the checkpoint in a file of their own, written only in the epoch that earns it; the
checkpoint names their digest. That file's name holds the epoch, so whichever of the two a kill leaves out, the last
checkpoint and the best weights that it speaks of are both there.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ctbone.errors import TrainingError
from ctbone.models import ModelError
from ctbone.models.pretrained import read_state
from ctbone.models.trained import save_weights
from ctbone.models.training_key import refuse_other
from ctbone.study import atomic_path, file_hash

_FORMAT = 2


@dataclass(frozen=True)
class EpochMetrics:
    """One row of ``metrics.csv``; the learning rate is that of the epoch's last step."""

    epoch: int
    loss: float
    validation_auc: float
    validation_loss: float
    learning_rate: float
    seconds: float


@dataclass
class FoldState:
    """Where a fold stands.

    Random numbers and the schedule need no place here: each epoch draws its own from its seeds, and the learning rate
    follows from the epoch.

    Attributes
    ----------
    network, optimizer
        Their state dicts.
    average
        That of the running mean of the weights; empty where there is none.
    best
        The weights of the best epoch so far.
    best_sha256
        Digest of the file that holds them; None while none does.
    history
        The epochs that are done.
    """

    network: dict[str, Any]
    optimizer: dict[str, Any]
    average: dict[str, Any]
    best: dict[str, Any]
    best_sha256: str | None = None
    history: list[EpochMetrics] = field(default_factory=list)

    @property
    def best_epoch(self) -> EpochMetrics:
        """The epoch with the highest validation AUC; among equals the lowest validation loss, then the first."""
        return max(
            self.history, key=lambda row: (row.validation_auc, -row.validation_loss, -row.epoch)
        )


def save_checkpoint(path: Path, state: FoldState, identity: dict[str, Any]) -> None:
    """Write the state; ``identity`` names what the training depends on.

    Raises
    ------
    StudyError
        The disk is full or the folder cannot be written; the checkpoint of the epoch before is as it was.
    """
    best = _best_file(path, state)
    if state.best_sha256 is None:
        state.best_sha256 = save_weights(best, state.best)
    content = {
        "format": _FORMAT,
        "identity": identity,
        "network": state.network,
        "optimizer": state.optimizer,
        "average": state.average,
        "best_sha256": state.best_sha256,
        "history": [asdict(row) for row in state.history],
    }
    # Into memory first: on a full disk PyTorch's own writer fails with an error that does not say so.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    forget_best(path, but=best)


def forget_best(path: Path, but: Path | None = None) -> None:
    """Delete the files of best weights beside a checkpoint, except one."""
    for file in path.parent.glob("best-epoch*.safetensors"):
        if file != but:
            file.unlink(missing_ok=True)


def load_checkpoint(path: Path, identity: dict[str, Any]) -> FoldState | None:
    """Read the state of a fold that was begun, or None where there is none.

    Raises
    ------
    TrainingError
        The file is damaged, holds code (which is not run), was made with other settings, folds or crops, or its best
        weights are missing or others.
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
        digest = str(content["best_sha256"])
        state = FoldState(
            content["network"], content["optimizer"], content["average"], {}, digest, history
        )
        state.best = _read_best(path, state, remedy)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise TrainingError("the checkpoint lacks a part", file=path, remedy=remedy) from error
    return state


def _best_file(path: Path, state: FoldState) -> Path:
    return path.with_name(f"best-epoch{state.best_epoch.epoch}.safetensors")


def _read_best(path: Path, state: FoldState, remedy: str) -> dict[str, torch.Tensor]:
    """Read the weights of the digest that the checkpoint names; a finished fold holds them as its own."""
    file = _best_file(path, state)
    for candidate in (file, path.with_name("weights.safetensors")):
        if candidate.is_file() and file_hash(candidate) == state.best_sha256:
            try:
                return read_state(candidate)
            except ModelError as error:
                raise TrainingError(
                    "the best weights cannot be read", file=candidate, remedy=remedy
                ) from error
    problem = "the best weights are missing or not those of the checkpoint"
    raise TrainingError(problem, file=file, remedy=remedy)
