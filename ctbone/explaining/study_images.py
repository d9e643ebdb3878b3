"""The crops of a study's cases, their masks and their place in the patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctbone.cohort import Case
from ctbone.explaining.case_maps import CaseImages
from ctbone.explaining.layers import Layer
from ctbone.explaining.trained_folds import TrainedFolds
from ctbone.models.crops import Crops, load_crops
from ctbone.models.probabilities import view_shares
from ctbone.overlay import CropSpace, crop_space
from ctbone.study import Study


class StudyImages:
    """The images of cases whose folds are trained, read once."""

    def __init__(self, study: Study, folds: TrainedFolds, cases: Sequence[Case]) -> None:
        model = folds.settings
        self._study, self._model = study, model
        self.lesions: Crops = load_crops(study, cases, model.dim, masks=True)
        self.crops = self.lesions
        if model.mask_dilation:
            self.crops = load_crops(
                study, cases, model.dim, masks=True, dilation=model.mask_dilation
            )
        self._shares = view_shares(model, self.lesions)
        self._spacings = [self._spacing(case) for case in cases]
        preprocessed = [
            case for case in folds.cohort if study.crop(case.case_id, model.dim).is_file()
        ]
        every = [mm for case in preprocessed for mm in self._spacing(case)]
        self.typical_spacing = float(np.median(every))
        """Median edge of a voxel in mm over all cases of the study that have crops."""

    def of(self, case: Case) -> CaseImages:
        """Return the images of a case."""
        (row,) = self.lesions.rows([case.case_id])
        lesions, drawn = self.lesions.masks, self.crops.masks
        assert lesions is not None
        assert drawn is not None
        return CaseImages(
            case=case,
            hu=self.lesions.images[row],
            mask=None if self._model.mask == "none" else drawn[row],
            lesion=lesions[row].numpy() > 0,
            shares=self._shares[row],
            spacings=self._spacings[row],
        )

    def digests(self, case: Case) -> dict[str, str]:
        """Return the digests of a case's crop and mask."""
        (row,) = self.lesions.rows([case.case_id])
        return {"crop": self.lesions.digests[row], "mask": self.lesions.mask_digests[row]}

    def space(self, case: Case) -> CropSpace:
        """Return where the crop of a case lies."""
        return crop_space(self._study, case.case_id, self._model.dim)

    def cells(self, layer: Layer) -> tuple[float, float]:
        """Return the smallest and the largest edge of a layer's cells over the cases, in mm."""
        edges = [layer.cell(self.size, mm) for case in self._spacings for mm in case]
        return min(edges), max(edges)

    @property
    def size(self) -> int:
        """Voxels along the edge of an image."""
        return int(self.lesions.images.shape[-1])

    def _spacing(self, case: Case) -> tuple[float, ...]:
        return tuple(grid.spacing[0] for grid in self.space(case).grids)
