"""What a person watches: ``metrics.csv`` and the figure of a fold's curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from ctbone.study import atomic_path, write_table
from ctbone.training.checkpoint import EpochMetrics


def write_metrics(path: Path, history: Sequence[EpochMetrics]) -> None:
    """Write one row an epoch: ``epoch, loss, validation_auc, validation_loss, learning_rate, seconds``."""
    write_table(path, pd.DataFrame([asdict(row) for row in history]))


def draw_curves(path: Path, title: str, history: Sequence[EpochMetrics], kept: int) -> None:
    """Draw loss and validation AUC over the epochs, the kept epoch marked.

    Parameters
    ----------
    path
        A PNG file.
    title
        Which model and fold.
    history
        The epochs, at least one.
    kept
        The epoch whose weights were kept.
    """
    from matplotlib.figure import Figure

    epochs = [row.epoch for row in history]
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    losses, aucs = figure.subplots(1, 2)
    losses.plot(epochs, [row.loss for row in history], label="training", color="#4c72b0")
    losses.plot(
        epochs, [row.validation_loss for row in history], label="validation", color="#dd8452"
    )
    losses.set(xlabel="Epoch", ylabel="Loss", ylim=(0, None))
    losses.legend(frameon=False)
    aucs.plot(epochs, [row.validation_auc for row in history], color="#dd8452")
    lowest = min(0.4, *(row.validation_auc for row in history))
    best = next(row for row in history if row.epoch == kept)
    aucs.plot(
        kept,
        best.validation_auc,
        "o",
        color="#c44e52",
        label=f"kept: epoch {kept}, {best.validation_auc:.3f}",
    )
    aucs.set(xlabel="Epoch", ylabel="Validation AUC", ylim=(lowest - 0.02, 1.02))
    aucs.legend(frameon=False, loc="lower right")
    for axes in (losses, aucs):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
