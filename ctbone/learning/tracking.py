"""How a person follows a training: ``curves.png``, TensorBoard and MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol

from ctbone.errors import TrainingError
from ctbone.learning.epoch_choice import EpochMetrics
from ctbone.study import atomic_path, read_json, write_json

Log = Literal["none", "tensorboard", "mlflow"]
"""Tracker of the epochs, beside ``metrics.csv``."""


class Tracker(Protocol):
    """Logs the numbers of each epoch."""

    def add(self, row: EpochMetrics) -> None:
        """Log an epoch that is done."""


@contextmanager
def open_tracker(
    log: Log,
    folder: Path,
    *,
    name: str,
    experiment: str,
    parameters: Mapping[str, Any],
    done: int,
) -> Iterator[Tracker]:
    """Open a tracker, and close it at the end of the block.

    TensorBoard writes to ``tensorboard`` in the training's folder. MLflow writes where its own
    environment variables say; the id of its run is kept in ``mlflow.json`` in the training's
    folder, so that a resumed training continues that run. Both get numbers and settings, and
    nothing of any case.

    Parameters
    ----------
    log
        Which tracker.
    folder
        Folder of the training.
    name, experiment
        Name of MLflow's run and of its experiment.
    parameters
        Settings, for MLflow.
    done
        Epochs that an earlier run finished.

    Raises
    ------
    TrainingError
        The tracker is not installed.
    """
    if log == "none":
        yield _NoTracker()
    elif log == "tensorboard":
        # An epoch that was logged but whose checkpoint was not written is logged again.
        writer = _load("tensorboard").SummaryWriter(
            log_dir=str(folder / "tensorboard"), purge_step=done + 1
        )
        with writer:
            yield _TensorBoard(writer)
    else:
        with _mlflow_run(folder, name=name, experiment=experiment, parameters=parameters) as mlflow:
            yield _MLflow(mlflow)


def refuse_missing(log: Log) -> None:
    """Raise an error before any work if the tracker is not installed.

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


class _NoTracker:
    def add(self, row: EpochMetrics) -> None:
        pass


class _TensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def add(self, row: EpochMetrics) -> None:
        for name, value in _numbers(row).items():
            self._writer.add_scalar(name, value, row.epoch)
        self._writer.flush()  # so that a killed run loses no logged epoch


class _MLflow:
    def __init__(self, mlflow: Any) -> None:
        self._mlflow = mlflow

    def add(self, row: EpochMetrics) -> None:
        self._mlflow.log_metrics(_numbers(row), step=row.epoch)


def _numbers(row: EpochMetrics) -> dict[str, float]:
    return {name: float(value) for name, value in asdict(row).items() if name != "epoch"}


@contextmanager
def _mlflow_run(
    folder: Path, *, name: str, experiment: str, parameters: Mapping[str, Any]
) -> Iterator[Any]:
    mlflow = _load("mlflow")
    memory = folder / "mlflow.json"
    known = read_json(memory).get("run_id") if memory.is_file() else None
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_id=known, run_name=name) as run:
        if known is None:
            mlflow.log_params(dict(parameters))
            write_json(memory, {"run_id": run.info.run_id})
        yield mlflow


def draw_curves(
    path: Path, title: str, history: Sequence[EpochMetrics], *, kept: int, score_title: str
) -> None:
    """Draw loss and score over the epochs, the kept epoch marked.

    Parameters
    ----------
    path
        A PNG file.
    title
        Model and fold.
    history
        The epochs, at least one.
    kept
        The epoch whose weights were kept.
    score_title
        What the score is; its axis is labelled with it.
    """
    from matplotlib.figure import Figure

    epochs = [row.epoch for row in history]
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    losses.plot(epochs, [row.loss for row in history], label="training", color="#4c72b0")
    losses.plot(
        epochs, [row.validation_loss for row in history], label="validation", color="#dd8452"
    )
    losses.set(xlabel="Epoch", ylabel="Loss", ylim=(0, None))
    losses.legend(frameon=False)
    scores.plot(epochs, [row.score for row in history], color="#dd8452")
    lowest = min(0.4, *(row.score for row in history))
    best = next(row for row in history if row.epoch == kept)
    label = f"kept: epoch {kept}, {best.score:.3f}"
    scores.plot(kept, best.score, "o", color="#c44e52", label=label)
    axis_title = score_title[:1].upper() + score_title[1:]
    scores.set(xlabel="Epoch", ylabel=axis_title, ylim=(lowest - 0.02, 1.02))
    scores.legend(frameon=False, loc="lower right")
    for axes in (losses, scores):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
