"""The trained folds of a model, and which of them may explain a case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn

from ctbone.cohort import INTERNAL, Case, read_cohort
from ctbone.config import ModelSettings
from ctbone.custody import require_current
from ctbone.errors import ExplainError
from ctbone.folds import read_folds
from ctbone.input_kind import INPUT_KINDS
from ctbone.models.arithmetic import place_as_trained
from ctbone.models.hardware import Hardware, choose_hardware
from ctbone.models.trained import Card, card_file, load_trained
from ctbone.models.training_key import model_settings
from ctbone.study import Study


@dataclass
class TrainedFolds:
    """The networks of a model, loaded when they are first needed.

    An internal case is explained by the network of the fold that tests it, which has not seen it;
    an external case by the networks of all folds, as it is predicted.
    """

    study: Study
    model: str

    def __post_init__(self) -> None:
        self.settings: ModelSettings = model_settings(self.study.settings, self.model)
        self.cohort = read_cohort(self.study)
        self._folds = read_folds(self.study, self.cohort)
        table = self._folds.table
        self._fold_of = dict(zip(table["case_id"], table["fold"].astype(int), strict=True))
        count = self.study.settings.folds.count
        self.trained = tuple(
            fold for fold in range(count) if card_file(self.study, self.model, fold).is_file()
        )
        if not self.trained:
            raise ExplainError(
                f"no fold of '{self.model}' is trained",
                file=self.study.run_folder(self.model, 0).parent,
                remedy="run 'ctbone train' first",
            )
        names = [f"{self.model}/fold{fold}" for fold in self.trained]
        require_current(self.study, "weights", names)
        self._loaded: dict[int, tuple[nn.Module, Card]] = {}

    @cached_property
    def hardware(self) -> Hardware:
        """The device; maps are computed in fp32 on every device."""
        return replace(choose_hardware(self.settings.training), bf16=False, compiles=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the study."""
        return tuple(self.study.settings.classes)

    def folds_for(self, case: Case) -> tuple[int, ...]:
        """Return the folds whose networks may explain a case; empty if one is not trained."""
        count = self.study.settings.folds.count
        wanted = (self._fold_of[case.case_id],) if case.cohort == INTERNAL else tuple(range(count))
        return wanted if set(wanted) <= set(self.trained) else ()

    def network(self, fold: int) -> tuple[nn.Module, Card]:
        """Return the network of a fold in evaluation mode on the device, and its card."""
        if fold not in self._loaded:
            network, card = load_trained(self.study, self.model, fold, folds=self._folds.hash)
            grid = INPUT_KINDS[self.settings.dim].grid(self.study.settings.preprocess)
            placed = place_as_trained(
                network,
                card.computed_otherwise,
                hardware=self.hardware,
                shape=(self.settings.channels, *grid),
                metadata=0 if card.encoding is None else card.encoding.width,
                gradients=True,
            )
            self._loaded[fold] = placed, card
        return self._loaded[fold]

    def second(self, fold: int, case: Case) -> torch.Tensor | None:
        """Return the second input of a case, (1, width); None if the network has none."""
        encoding = self.network(fold)[1].encoding
        return None if encoding is None else encoding.encode([case]).to(self.hardware.device)
