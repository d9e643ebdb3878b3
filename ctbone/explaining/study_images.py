"""The crops of a study's cases, their masks and their place in the patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctbone.cohort import Case
from ctbone.explaining.case_maps import CaseImages
from ctbone.explaining.layers import Layer
from ctbone.explaining.trained_folds import TrainedFolds
from ctbone.input_kind import INPUT_KINDS
from ctbone.models.crops import Crops, load_crops
from ctbone.models.probabilities import view_shares
from ctbone.overlay import CropSpace, crop_space
from ctbone.study import Study, read_json, record_of


class StudyImages:
    """The images of cases whose folds are trained, read once."""

    def __init__(self, study: Study, folds: TrainedFolds, cases: Sequence[Case]) -> None:
        model = folds.settings
        self._study, self._model, self.kind = study, model, INPUT_KINDS[model.dim]
        masked = self.kind.mask_folder is not None
        self.lesions: Crops = load_crops(study, cases, model.dim, masks=masked)
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
        """Median edge of a voxel over all cases of the study that have crops, in ``unit``."""

    @property
    def unit(self) -> str:
        """The unit of lengths: a radiograph has no mm, so they are percent of the crop's edge."""
        return "mm" if self.kind.mask_folder else "% of the edge"

    def of(self, case: Case) -> CaseImages:
        """Return the images of a case."""
        (row,) = self.lesions.rows([case.case_id])
        lesions, drawn = self.lesions.masks, self.crops.masks
        return CaseImages(
            case=case,
            hu=self.lesions.images[row],
            mask=None if self._model.mask == "none" or drawn is None else drawn[row],
            lesion=self._region(case) if lesions is None else lesions[row].numpy() > 0,
            shares=self._shares[row],
            spacings=self._spacings[row],
        )

    def digests(self, case: Case) -> dict[str, str]:
        """Return the digests of a case's crop and mask; a radiograph has no mask."""
        (row,) = self.lesions.rows([case.case_id])
        crop = {"crop": self.lesions.digests[row]}
        if self.lesions.masks is None:
            return crop
        return {**crop, "mask": self.lesions.mask_digests[row]}

    def space(self, case: Case) -> CropSpace:
        """Return where the crop of a case lies."""
        return crop_space(self._study, case.case_id, self._model.dim)

    def cells(self, layer: Layer) -> tuple[float, float]:
        """Return the smallest and the largest edge of a layer's cells over the cases."""
        edges = [layer.cell(self.size, mm) for case in self._spacings for mm in case]
        return min(edges), max(edges)

    @property
    def size(self) -> int:
        """Voxels along the edge of an image."""
        return int(self.lesions.images.shape[-1])

    def _region(self, case: Case) -> np.ndarray:
        """Return the pixels of a radiograph's crop in its region; none if it was taken whole."""
        region = read_json(record_of(self._study.crop(case.case_id, self._model.dim)))["region"]
        inside = np.zeros((1, self.size, self.size), dtype=bool)
        if region is None:
            return inside
        (grid,) = self.space(case).grids
        index = np.indices((self.size, self.size)).reshape(2, -1)
        pixels = grid.to_world(np.column_stack([*index, np.zeros(self.size**2)]))
        x, y = pixels[:, 0], pixels[:, 1]
        within = (region["x0"] - 0.5 <= x) & (x <= region["x1"] - 0.5)
        within &= (region["y0"] - 0.5 <= y) & (y <= region["y1"] - 0.5)
        inside[0] = within.reshape(self.size, self.size)
        return inside

    def _spacing(self, case: Case) -> tuple[float, ...]:
        if self.kind.mask_folder is None:
            return (100 / self.size,)
        return tuple(grid.spacing[0] for grid in self.space(case).grids)
