"""The state of a training after an epoch, written atomically while the next epoch computes.

The best weights so far are in a file of their own beside the checkpoint, written only after an
epoch that is better than all before it. Its name holds the epoch and the checkpoint holds its
digest, so wherever a run is killed, the last checkpoint and the best weights that it names both
exist. Reading a checkpoint runs no code in it.
"""

from __future__ import annotations

import io
import pickle
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
import torch

from ctbone.errors import TrainingError
from ctbone.models import ModelError
from ctbone.models.pretrained import read_state
from ctbone.models.trained import save_weights
from ctbone.models.training_key import refuse_other
from ctbone.study import atomic_path, file_hash, write_table

_FORMAT = 3

_INTERVAL = 30.0
"""Seconds of training that a kill costs at most; between two checkpoints at least."""


@dataclass(frozen=True)
class EpochMetrics:
    """One row of ``metrics.csv``.

    Attributes
    ----------
    epoch
        From 1.
    loss, validation_loss
        Mean over the training and the validation part.
    score
        Of the validation part; higher is better.
    learning_rate
        That of the epoch's last step.
    seconds
        Time of training and validation.
    """

    epoch: int
    loss: float
    score: float
    validation_loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class EpochChoice:
    """The epoch whose weights are kept, and whether training stops early."""

    kept: EpochMetrics
    stop: bool


def choose_epoch(history: Sequence[EpochMetrics], early_stopping: int | None = None) -> EpochChoice:
    """Choose the epoch to keep: the highest score, then the lowest validation loss, then the first.

    Training stops when ``early_stopping`` epochs have passed since that epoch; None: never.

    Parameters
    ----------
    history
        The epochs so far, at least one.
    early_stopping
        Epochs without a better one.

    Examples
    --------
    >>> scores = [0.7, 0.9, 0.8]
    >>> rows = [
    ...     EpochMetrics(epoch=k, loss=0, score=s, validation_loss=0, learning_rate=0, seconds=0)
    ...     for k, s in enumerate(scores, start=1)
    ... ]
    >>> choice = choose_epoch(rows, early_stopping=1)
    >>> (choice.kept.epoch, choice.stop)
    (2, True)
    """
    kept = max(history, key=lambda row: (row.score, -row.validation_loss, -row.epoch))
    waited = len(history) - kept.epoch
    return EpochChoice(kept, stop=early_stopping is not None and waited >= early_stopping)


@dataclass
class TrainingState:
    """State of a training after an epoch.

    It holds no random numbers and no schedule: both follow from the seeds and the epoch.

    Attributes
    ----------
    network, optimizer
        Their state dicts.
    ema
        State dict of the EMA of the weights; empty without one.
    best
        Weights of the best epoch so far.
    best_sha256
        Digest of the file that holds them; None before it is written.
    history
        The epochs that are done.
    """

    network: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    ema: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    best_sha256: str | None = None
    history: list[EpochMetrics] = field(default_factory=list)

    @property
    def best_epoch(self) -> EpochMetrics:
        """The epoch that ``choose_epoch`` keeps."""
        return choose_epoch(self.history).kept


class CheckpointWriter:
    """Writes checkpoints and ``metrics.csv`` in a thread of its own, one at a time, in order.

    ``save`` copies the state if 30 s have passed since the last copy, or if it is the last state of
    the training: an epoch may be shorter than the writing of its checkpoint. An error of the thread
    is raised by the next ``save``, or at the end of the block. A block that ends with an error of
    its own still finishes the checkpoint that is being written.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self._path = path
        self._identity = identity
        self._thread = ThreadPoolExecutor(1)
        self._underway: Future[TrainingState] | None = None
        self._saved = time.monotonic()

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if kind is None:
            self._finish()

    def save(self, state: TrainingState, *, last: bool) -> None:
        """Start writing the state after an epoch, if a checkpoint is due.

        Parameters
        ----------
        state
            The state to copy.
        last
            Whether the training ends with this epoch.

        Raises
        ------
        StudyError
            The previous checkpoint could not be written; the one before it is unchanged.
        """
        if not last and time.monotonic() - self._saved < _INTERVAL:
            return
        self._saved = time.monotonic()
        written = self._finish()
        if written is not None and written.best_epoch == state.best_epoch:
            state.best_sha256 = written.best_sha256
        self._underway = self._thread.submit(self._write, _copy_of(state))

    def _finish(self) -> TrainingState | None:
        underway, self._underway = self._underway, None
        return None if underway is None else underway.result()

    def _write(self, state: TrainingState) -> TrainingState:
        save_checkpoint(self._path, state, self._identity)
        write_metrics(self._path.parent, state.history)
        return state


def _copy_of(state: TrainingState) -> TrainingState:
    """Copy what the next epoch changes; the best weights are only ever replaced as a whole."""
    changing = copy_to_cpu(
        {"network": state.network, "optimizer": state.optimizer, "ema": state.ema}
    )
    return replace(state, history=list(state.history), **changing)


def copy_to_cpu(state: Mapping[str, Any]) -> dict[str, Any]:
    """Copy every tensor of a state to the CPU; from a GPU asynchronously, with one final wait."""
    copied = _copied(state)
    if torch.cuda.is_initialized():
        torch.cuda.current_stream().synchronize()
    return copied


def _copied(content: Any) -> Any:
    if isinstance(content, torch.Tensor):
        return content.detach().to("cpu", non_blocking=True, copy=True)
    if isinstance(content, Mapping):
        return {name: _copied(value) for name, value in content.items()}
    return [_copied(value) for value in content] if isinstance(content, list) else content


def write_metrics(folder: Path, history: Sequence[EpochMetrics]) -> None:
    """Write ``metrics.csv``: one row an epoch, the fields of ``EpochMetrics``."""
    write_table(folder / "metrics.csv", pd.DataFrame([asdict(row) for row in history]))


def save_checkpoint(path: Path, state: TrainingState, identity: dict[str, Any]) -> None:
    """Write the state; ``identity`` names what the training depends on.

    Raises
    ------
    StudyError
        The disk is full or the folder cannot be written; the previous checkpoint is unchanged.
    """
    best = _best_file(path, state)
    if state.best_sha256 is None:
        state.best_sha256 = save_weights(best, state.best)
    content = {
        "format": _FORMAT,
        "identity": identity,
        "network": state.network,
        "optimizer": state.optimizer,
        "ema": state.ema,
        "best_sha256": state.best_sha256,
        "history": [asdict(row) for row in state.history],
    }
    # Into memory first: the error of PyTorch's own writer does not say that the disk is full.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    delete_best(path, keep=best)


def delete_best(path: Path, keep: Path | None = None) -> None:
    """Delete the files of best weights beside a checkpoint, except one."""
    for file in path.parent.glob("best-epoch*.safetensors"):
        if file != keep:
            file.unlink(missing_ok=True)


def load_checkpoint(path: Path, identity: dict[str, Any]) -> TrainingState | None:
    """Read the state of a training; None if there is no checkpoint.

    Raises
    ------
    TrainingError
        The file is damaged, holds code (which is not run), or has another identity; or its best
        weights are missing or are others.
    """
    if not path.is_file():
        return None
    remedy = f"delete {path}: the training then starts at its first epoch"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TrainingError(
            "the checkpoint is damaged or holds code; it was not run", file=path, remedy=remedy
        ) from error
    except Exception as error:  # torch raises many kinds of errors on a damaged file
        raise TrainingError("the checkpoint is damaged", file=path, remedy=remedy) from error
    try:
        if content["format"] != _FORMAT:
            raise TrainingError("the checkpoint has another format", file=path, remedy=remedy)
        refuse_other(content["identity"], now=identity, file=path, error=TrainingError)
        state = TrainingState(
            network=content["network"],
            optimizer=content["optimizer"],
            ema=content["ema"],
            best_sha256=str(content["best_sha256"]),
            history=[EpochMetrics(**row) for row in content["history"]],
        )
        state.best = _read_best(path, state, remedy)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise TrainingError("the checkpoint lacks a part", file=path, remedy=remedy) from error
    return state


def _best_file(path: Path, state: TrainingState) -> Path:
    return path.with_name(f"best-epoch{state.best_epoch.epoch}.safetensors")


def _read_best(path: Path, state: TrainingState, remedy: str) -> dict[str, torch.Tensor]:
    """Read the weights whose digest the checkpoint names.

    After the training they may have become ``weights.safetensors``.
    """
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
