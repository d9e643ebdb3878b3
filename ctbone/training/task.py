"""Everything that the training of one fold reads: study, model, cases, crops and device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ctbone.clinical import refuse_giveaway
from ctbone.cohort import Case, Cohort
from ctbone.config import ModelSettings
from ctbone.errors import ModelError, TrainingError
from ctbone.folds import Folds, Role
from ctbone.input_kind import INPUT_KINDS
from ctbone.learning.augmentation import mirrored_axes
from ctbone.learning.loop import TrainingRun
from ctbone.learning.plan import Seeds
from ctbone.learning.ranks import Ranks
from ctbone.learning.tracking import Log
from ctbone.models.batches import BatchSource, batch_source
from ctbone.models.crops import Crops, load_crops, refuse_shared_voxels
from ctbone.models.hardware import Hardware, choose_hardware
from ctbone.models.losses import Loss, make_loss
from ctbone.models.metadata import Encoding, fit_encoding, metadata_digest
from ctbone.models.network_input import network_input
from ctbone.models.plugins import ExtraTransforms
from ctbone.models.probabilities import view_shares
from ctbone.models.training_key import model_settings, training_key
from ctbone.study import Study

SCORE = "validation AUC"
"""What the score of this training is; ``learning`` keeps the epoch with the highest."""


@dataclass(frozen=True)
class FoldTask:
    """One fold of one model.

    Attributes
    ----------
    study, name, model
        The study, and the name and settings of the model.
    fold, folds, cohort
        Number of the fold, and the roles that its cases have.
    crops
        Crops of the internal cases, in memory.
    source
        Their batches on the device.
    labels
        Class number of each of these cases, int64, on the device.
    hardware, ranks
        The device, and the processes that train together.
    identity
        What the training depends on; the checkpoint and the card hold it.
    log
        Tracker of the epochs, beside ``metrics.csv``.
    """

    study: Study
    name: str
    model: ModelSettings
    fold: int
    folds: Folds
    cohort: Cohort
    crops: Crops
    source: BatchSource
    labels: torch.Tensor
    hardware: Hardware
    ranks: Ranks
    identity: dict[str, Any]
    log: Log = "none"

    @cached_property
    def run(self) -> TrainingRun:
        """The training of this fold."""
        settings = self.model.model_dump(mode="json")
        training = settings.pop("training")
        return TrainingRun(
            name=f"{self.name}, fold {self.fold}",
            settings=self.model.training,
            checkpoint=self.study.run_folder(self.name, self.fold) / "checkpoint.pt",
            identity={
                **self.identity,
                # What ``precision: auto`` means here: a fold is not continued in another precision.
                "computed_in": "bf16" if self.hardware.bf16 else "fp32",
            },
            score_title=SCORE,
            ranks=self.ranks,
            log=self.log,
            experiment=self.study.settings.name,
            parameters={
                **settings,
                **{f"training.{name}": value for name, value in training.items()},
            },
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the study."""
        return self.study.settings.classes

    @property
    def seeds(self) -> Seeds:
        """Source of this fold's random numbers."""
        return Seeds(seed=self.model.training.seed, fold=self.fold)

    @cached_property
    def encoding(self) -> Encoding | None:
        """Encoding of the clinical columns, fitted on the training part; None without columns."""
        columns = self.model.metadata
        return fit_encoding(self.cases("train"), columns) if columns else None

    @cached_property
    def metadata(self) -> torch.Tensor | None:
        """Second input of every case of ``crops``, (cases, width), on the device; None without."""
        if self.encoding is None:
            return None
        cases = [self.cohort.case(case_id) for case_id in self.crops.case_ids]
        return self.encoding.encode(cases).to(self.hardware.device)

    @cached_property
    def normalisation(self) -> dict[str, list[float]] | None:
        """``mean`` and ``deviation`` of the training part, a number a channel; None if not used.

        Pixels without data, such as the padding of a radiograph, are left out; a mask's channel
        stays 0 and 1.
        """
        if self.model.normalise == "windows":
            return None
        images = self.crops.images[torch.from_numpy(self.rows("train"))]
        kind, sums = INPUT_KINDS[self.model.dim], torch.zeros(3, len(self.model.windows))
        sums = sums.double()
        for image in images:
            data = image[image != kind.outside] if kind.pads else image.flatten()
            seen = network_input(data[None], self.model.windows)[0].double()
            sums += torch.stack([torch.ones_like(seen).sum(1), seen.sum(1), (seen**2).sum(1)])
        mean = sums[1] / sums[0]
        deviation = (sums[2] / sums[0] - mean**2).clamp_min(0).sqrt()
        deviation = torch.where(deviation > 0, deviation, 1.0)
        mask = self.model.channels - len(mean)
        return {
            "mean": [*mean.tolist(), *[0.0] * mask],
            "deviation": [*deviation.tolist(), *[1.0] * mask],
        }

    @cached_property
    def label_numbers(self) -> np.ndarray:
        """``labels`` in NumPy."""
        return self.labels.cpu().numpy()

    @cached_property
    def train_samples(self) -> np.ndarray:
        """Numbers of the training images, (n,): case row × views + view."""
        views = self.source.views
        return (self.rows("train")[:, None] * views + np.arange(views)).ravel()

    @cached_property
    def mirrors(self) -> np.ndarray:
        """Axes along which each image may be mirrored, boolean, (images, d)."""
        settings = self.model.training.augmentation
        return mirrored_axes(settings, self.crops.axes, len(self.crops.case_ids))

    @cached_property
    def extra(self) -> ExtraTransforms:
        """The further transforms of the augmentation."""
        augmentation, masked = self.model.training.augmentation, self.model.mask != "none"
        return ExtraTransforms(augmentation, self.study.root, masked=masked)

    @cached_property
    def loss(self) -> Loss:
        """Loss function of the fold, with its class weights.

        ``balanced`` weighs a class of n_c among n training cases by n / (classes × n_c), so that
        the mean weight of a case is 1.

        Raises
        ------
        ModelError
            There is no loss of this name.
        """
        return make_loss(self.model.training, self._class_weights(), self.study.root)

    def _class_weights(self) -> torch.Tensor | None:
        given, device = self.model.training.class_weights, self.labels.device
        if given == "none":
            return None
        if given == "balanced":
            labels = self.labels[torch.from_numpy(self.rows("train")).to(device)]
            counts = torch.bincount(labels, minlength=len(self.classes)).double()
            return (len(labels) / (len(self.classes) * counts)).float()
        return torch.tensor([given[name] for name in self.classes], device=device)

    def cases(self, role: Role) -> list[Case]:
        """Return the cases that have a role."""
        return [self.cohort.case(case_id) for case_id in self.folds.cases(self.fold, role)]

    def rows(self, role: Role) -> np.ndarray:
        """Return the rows of these cases in ``crops``."""
        return np.array(self.crops.rows(self.folds.cases(self.fold, role)), dtype=np.int64)


def prepare(
    study: Study, model: str, *, cohort: Cohort, folds: Folds, ranks: Ranks, log: Log = "none"
) -> FoldTask:
    """Read what all folds of a model share, and place it on the device; the task's fold is 0.

    Raises
    ------
    ModelError
        As ``train``.
    """
    ours = model_settings(study.settings, model)
    crops = load_crops(
        study, cohort.internal, ours.dim, masks=ours.mask != "none", dilation=ours.mask_dilation
    )
    refuse_shared_voxels(study, cohort, crops)
    view_shares(ours, crops)  # checked now: an error here costs no training
    hardware = choose_hardware(ours.training, ranks.local if ranks.count > 1 else None)
    classes = study.settings.classes
    labels = [classes.index(case.label) for case in cohort.internal]
    identity = {**training_key(study, model, folds.hash), "crops": crops.digest}
    if ours.metadata:
        refuse_giveaway(cohort.internal, ours.metadata, ModelError)
        identity["metadata_values"] = metadata_digest(cohort.internal, ours.metadata)
    return FoldTask(
        study=study,
        name=model,
        model=ours,
        fold=0,
        folds=folds,
        cohort=cohort,
        crops=crops,
        source=batch_source(crops, hardware.device),
        labels=torch.tensor(labels, device=hardware.device),
        hardware=hardware,
        ranks=ranks,
        identity=identity,
        log=log,
    )


def refuse_absent_classes(task: FoldTask) -> None:
    """Check that the training and the validation part of the fold have cases of every class.

    Raises
    ------
    TrainingError
        A part has none of a class: the class could not be learned, or its AUC is undefined.
    """
    parts: tuple[tuple[Role, str], ...] = (("train", "training"), ("val", "validation"))
    for role, word in parts:
        labels = set(task.label_numbers[task.rows(role)].tolist())
        absent = [name for number, name in enumerate(task.classes) if number not in labels]
        if absent:
            raise TrainingError(
                f"the {word} part of fold {task.fold} has no case of class '{absent[0]}'",
                file=task.study.folds_csv,
                expected="every class in every part",
                remedy=f"delete {task.study.folds_csv.name} and the folder runs: "
                "new folds are then drawn",
            )
