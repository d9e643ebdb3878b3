"""What one fold's training is given: its study, model, cases, crops and device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ctbone.cohort import Case, Cohort
from ctbone.config import ModelSettings
from ctbone.folds import Folds, Role
from ctbone.models.batches import BatchSource
from ctbone.models.crops import Crops
from ctbone.models.hardware import Hardware
from ctbone.models.metadata import Encoding, fit_encoding
from ctbone.study import Study
from ctbone.training.ranks import Ranks

Log = Literal["none", "tensorboard", "mlflow"]
"""What is told of each epoch beside ``metrics.csv``."""


@dataclass(frozen=True)
class FoldTask:
    """All that one fold needs.

    Attributes
    ----------
    study, name, model
        The study, and the name and settings of the model.
    fold, folds, cohort
        Which fold, and who plays which role in it.
    crops
        Of the internal cases, in memory.
    source
        Where their batches come from.
    labels
        Class number of each of these cases, int64, on the device.
    hardware, ranks
        Where it computes, and with which other processes.
    identity
        What the training depends on; the checkpoint and the card carry it.
    log
        What a person watches it by, beside ``metrics.csv``.
    """

    study: Study
    name: str
    model: ModelSettings
    fold: int
    folds: Folds
    cohort: Cohort
    crops: Crops
    labels: torch.Tensor
    hardware: Hardware
    identity: dict[str, Any]
    source: BatchSource
    ranks: Ranks
    log: Log = "none"

    @property
    def checkpoint(self) -> Path:
        """The file that a killed run goes on from."""
        return self.study.run(self.name, self.fold) / "checkpoint.pt"

    @property
    def computed_identity(self) -> dict[str, Any]:
        """The identity with what ``precision: auto`` means here; a fold is not begun in one and ended in another."""
        return {**self.identity, "computed_in": "bf16" if self.hardware.bf16 else "fp32"}

    @property
    def seeds(self) -> dict[str, int]:
        """What every random number of this fold starts from, apart from its epoch."""
        return {"seed": self.model.training.seed, "fold": self.fold}

    @cached_property
    def encoding(self) -> Encoding | None:
        """How the clinical columns are encoded, from the fold's training part alone; None without such columns."""
        return (
            fit_encoding(self.cases("train"), self.model.metadata) if self.model.metadata else None
        )

    @cached_property
    def metadata(self) -> torch.Tensor | None:
        """The second input of every case of ``crops``, (cases, width), on the device; None where there is none."""
        if self.encoding is None:
            return None
        cases = [self.cohort.case(case_id) for case_id in self.crops.case_ids]
        return self.encoding.encode(cases).to(self.hardware.device)

    def cases(self, role: Role) -> list[Case]:
        """Return the cases that play a role."""
        return [self.cohort.case(case_id) for case_id in self.folds.cases(self.fold, role)]

    def rows(self, role: Role) -> np.ndarray:
        """Return where these cases stand in ``crops``."""
        return np.array(self.crops.rows(self.folds.cases(self.fold, role)), dtype=np.int64)
