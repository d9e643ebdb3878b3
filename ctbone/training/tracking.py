"""TensorBoard or MLflow beside ``metrics.csv``, where one is installed and asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal, Protocol

from ctbone.errors import TrainingError
from ctbone.study import read_json, write_json
from ctbone.training.checkpoint import EpochMetrics
from ctbone.training.task import FoldTask, Log


class Tracker(Protocol):
    """Is told of every epoch."""

    def add(self, row: EpochMetrics) -> None:
        """Take the numbers of an epoch that is done."""


@contextmanager
def open_tracker(task: FoldTask, done: int) -> Iterator[Tracker]:
    """Open what a person asked to watch a fold by, and close it in the end.

    TensorBoard's files lie in the fold's folder under ``tensorboard``. MLflow's go where its own environment variables
    send them, into an experiment of the study's name and a run of the model's and fold's; its id is kept in the fold's
    folder, so that a resumed fold goes on with it. Both get numbers and settings, and nothing of any case.

    Parameters
    ----------
    task
        The fold; ``log`` says which of the two, or none.
    done
        Epochs that an earlier run finished.

    Raises
    ------
    TrainingError
        What was asked for is not installed.
    """
    if task.log == "none" or not task.ranks.writes:
        yield _Nobody()
    elif task.log == "tensorboard":
        with _tensorboard(task, done) as writer:
            yield _TensorBoard(writer)
    else:
        with _mlflow(task) as mlflow:
            yield _MLflow(mlflow)


def refuse_missing(log: Log) -> None:
    """Stop before any work where what was asked for is not installed.

    Raises
    ------
    TrainingError
        As ``open_tracker``.
    """
    if log != "none":
        _load(log)


def _load(log: Literal["tensorboard", "mlflow"]) -> Any:
    try:
        if log == "mlflow":
            import mlflow  # type: ignore[import-not-found]

            return mlflow
        from torch.utils import tensorboard

        return tensorboard
    except ImportError as error:
        raise TrainingError(
            f"{log} is not installed",
            remedy=f"install it with 'pip install {log}', or leave --log out",
        ) from error


class _Nobody:
    def add(self, row: EpochMetrics) -> None:
        pass


class _TensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def add(self, row: EpochMetrics) -> None:
        for name, value in _numbers(row).items():
            self._writer.add_scalar(name, value, row.epoch)
        self._writer.flush()  # a kill then loses nothing that was told


class _MLflow:
    def __init__(self, mlflow: Any) -> None:
        self._mlflow = mlflow

    def add(self, row: EpochMetrics) -> None:
        self._mlflow.log_metrics(_numbers(row), step=row.epoch)


def _numbers(row: EpochMetrics) -> dict[str, float]:
    return {name: float(value) for name, value in asdict(row).items() if name != "epoch"}


@contextmanager
def _tensorboard(task: FoldTask, done: int) -> Iterator[Any]:
    folder = task.checkpoint.with_name("tensorboard")
    # Of an epoch that was told but not kept, the second telling counts.
    with _load("tensorboard").SummaryWriter(log_dir=str(folder), purge_step=done + 1) as writer:
        yield writer


@contextmanager
def _mlflow(task: FoldTask) -> Iterator[Any]:
    mlflow = _load("mlflow")
    memory = task.checkpoint.with_name("mlflow.json")
    known = read_json(memory).get("run_id") if memory.is_file() else None
    mlflow.set_experiment(task.study.settings.name)
    with mlflow.start_run(run_id=known, run_name=f"{task.name}, fold {task.fold}") as run:
        if known is None:
            settings = task.model.model_dump(mode="json")
            training = settings.pop("training")
            mlflow.log_params(
                {**settings, **{f"training.{name}": value for name, value in training.items()}}
            )
            write_json(memory, {"run_id": run.info.run_id})
        yield mlflow
