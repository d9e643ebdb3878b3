"""One synthetic case: its drawn parameters, its rendering in memory and its files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ctbone.grid import LPS_TO_RAS
from ctbone.phantom.anatomy import render_anatomy
from ctbone.phantom.dicom_series import SeriesHeader, write_series
from ctbone.phantom.lesion import PhantomLesion, paint_lesion
from ctbone.phantom.patient import Patient
from ctbone.phantom.scanner import Acquisition, acquire, scan_grid


@dataclass(frozen=True)
class PhantomCase:
    """All drawn parameters of one case.

    Parameters
    ----------
    case_id, patient_id, cohort
        As in cohort.csv.
    label
        Class name written to cohort.csv; the true class is ``lesion.class_name``.
    site
        Site of the lesion in the sacrum.
    patient, lesion, scan
        Parameters of the rendering. Positions are in the patient's own coordinates.
    mask_suffix
        File format of the mask.
    localizer
        Whether the DICOM folder also holds a scout image.
    seed
        Random seed of the noise and the DICOM UIDs.
    """

    case_id: str
    patient_id: str
    cohort: str
    label: str
    site: str
    patient: Patient
    lesion: PhantomLesion
    scan: Acquisition
    mask_suffix: Literal[".nii.gz", ".nrrd"]
    localizer: bool
    seed: int

    @property
    def image_path(self) -> str:
        """DICOM folder, relative to the cohort folder."""
        return f"dicom/{self.case_id}"

    @property
    def mask_path(self) -> str:
        """Lesion mask, relative to the cohort folder."""
        return f"masks/{self.case_id}{self.mask_suffix}"


def write_case(folder: Path, case: PhantomCase) -> None:
    """Render one case and write its DICOM folder and mask below ``folder``."""
    rendered = render_case(case)
    header = SeriesHeader(
        case_id=case.case_id,
        seed=case.seed,
        age=case.patient.age,
        sex=case.patient.sex,
        manufacturer=case.scan.scanner.manufacturer,
        model=case.scan.scanner.model,
        kernel=case.scan.kernel.name,
        kvp=case.scan.scanner.kvp,
        mas=case.scan.mas,
        thickness_mm=case.scan.thickness_mm,
        position=case.scan.position,
        pixels=case.scan.scanner.pixels,
        padding=case.scan.scanner.padding,
        description=f"PELVIS {case.scan.spacing_mm[1]:g} {case.scan.kernel.name}",
    )
    # A case folder is either complete or absent: files are written to a partial folder, then
    # renamed.
    series = folder / case.image_path
    partial = series.with_name(f".{case.case_id}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    write_series(
        partial, hu=rendered.hu, affine=rendered.affine, header=header, localizer=case.localizer
    )
    shutil.rmtree(series, ignore_errors=True)
    partial.rename(series)
    for suffix in (".nii.gz", ".nrrd"):
        (folder / "masks" / f"{case.case_id}{suffix}").unlink(missing_ok=True)
    _write_mask(folder / case.mask_path, rendered.mask, rendered.affine)


@dataclass(frozen=True)
class RenderedCase:
    """Image and mask of a case in memory.

    Parameters
    ----------
    hu
        (column, row, slice), HU.
    mask
        Lesion mask on the same grid.
    affine
        (4, 4), voxel index to RAS mm in the scanner's coordinates.
    """

    hu: NDArray[np.int16]
    mask: NDArray[np.bool_]
    affine: NDArray


def render_case(case: PhantomCase) -> RenderedCase:
    """Render the patient, paint the lesion and simulate the scan, without writing files."""
    grid = scan_grid(case.scan)
    rng = np.random.default_rng(case.seed)
    anatomy = render_anatomy(
        case.patient, grid.patient_affine, grid.shape, prone=case.scan.position.endswith("P")
    )
    hu, mask = paint_lesion(
        anatomy.hu, grid.patient_affine, bone_mask=anatomy.sacrum, lesion=case.lesion, rng=rng
    )
    return RenderedCase(hu=acquire(hu, case.scan, rng), mask=mask, affine=grid.scanner_affine)


def _write_mask(file: Path, mask: NDArray[np.bool_], affine: NDArray) -> None:
    voxels = mask.astype(np.uint8)
    if file.suffix == ".nrrd":
        import SimpleITK as sitk  # noqa: N813

        image = sitk.GetImageFromArray(np.transpose(voxels, (2, 1, 0)))
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        signs = LPS_TO_RAS.diagonal()[:3]
        image.SetDirection((affine[:3, :3] / spacing * signs[:, None]).ravel().tolist())
        image.SetOrigin((affine[:3, 3] * signs).tolist())
        sitk.WriteImage(image, str(file), useCompression=True)
        return
    import nibabel as nib

    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, file)
