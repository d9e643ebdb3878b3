"""The error that a NaN or infinite loss or output is reported as."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ctbone.errors import TrainingError

if TYPE_CHECKING:
    from ctbone.training.task import FoldTask


def undefined_error(
    task: FoldTask,
    *,
    what: str,
    value: float,
    where: str,
    found: str,
) -> TrainingError:
    """Return the error for a loss or an output that is NaN or infinite.

    Settings and the device's arithmetic are the suspects; the remedy names the settings as they
    stand in ``study.yaml``.

    Parameters
    ----------
    task
        The fold's.
    what, value, where
        ``the loss``, its value, and where in the training it arose.
    found
        The cases that were shown.
    """
    name = "NaN" if math.isnan(value) else str(value)
    advice = [f"lower {_key(task, 'learning_rate')}"]
    if task.hardware.bf16:
        advice.insert(0, f"set {_key(task, 'precision')}: fp32")
    others = [f"{_key(task, 'channels_last')}: false"] if task.hardware.channels_last else []
    if task.hardware.device.type == "cpu":
        others.append("the environment ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2")
    others = others or ["another device"]
    return TrainingError(
        f"{what} is {name} in {where}",
        file=task.study.settings_file,
        found=found,
        remedy=f"{'; or '.join(advice)}. The device's arithmetic is a suspect too "
        f"({task.hardware}): if {' or '.join(others)} ends the {name}, it is at fault",
    )


def _key(task: FoldTask, name: str) -> str:
    """Return the key of a training setting: the model's own, or that of all models."""
    shared = task.study.settings.training
    own = getattr(task.model.training, name) != getattr(shared, name)
    return f"models.{task.name}.training.{name}" if own else f"training.{name}"
