"""Checkpoints written while the next epoch computes."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from ctbone.training.checkpoint import FoldState, save_checkpoint
from ctbone.training.curves import write_metrics


class CheckpointWriter:
    """Writes a fold's checkpoints and ``metrics.csv`` in a thread of its own, one at a time and in order.

    The state is copied when it is handed over. What fails is raised by the next ``save``, or where the block ends; a
    block that ends by an error of its own still finishes the checkpoint that is under way.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self._path = path
        self._identity = identity
        self._thread = ThreadPoolExecutor(1)
        self._underway: Future[FoldState] | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if kind is None:
            self._finish()

    def save(self, state: FoldState) -> None:
        """Hand over the state of an epoch's end.

        Raises
        ------
        StudyError
            The checkpoint before could not be written; the one before that is as it was.
        """
        written = self._finish()
        if written is not None and written.best_epoch == state.best_epoch:
            state.best_sha256 = written.best_sha256
        self._underway = self._thread.submit(self._write, _copy_of(state))

    def _finish(self) -> FoldState | None:
        underway, self._underway = self._underway, None
        return None if underway is None else underway.result()

    def _write(self, state: FoldState) -> FoldState:
        save_checkpoint(self._path, state, self._identity)
        write_metrics(self._path.with_name("metrics.csv"), state.history)
        return state


def _copy_of(state: FoldState) -> FoldState:
    """Copy what the next epoch changes; the best weights are replaced as a whole, never changed."""
    changing = copy_to_processor(
        {"network": state.network, "optimizer": state.optimizer, "average": state.average}
    )
    return replace(state, history=list(state.history), **changing)


def copy_to_processor(state: Mapping[str, Any]) -> dict[str, Any]:
    """Copy every tensor of a state; from a GPU all of them under way at once, and one wait for the last."""
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
