"""One synthetic case: every choice drawn for it, its rendering in memory, and its files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ctbone.phantom.anatomy import render
from ctbone.phantom.dicom_series import SeriesHeader, write_series
from ctbone.phantom.lesion import Lesion, paint_lesion
from ctbone.phantom.patient import Patient
from ctbone.phantom.scanner import Acquisition, acquire, scan_grid


@dataclass(frozen=True)
class PhantomCase:
    """One case before it is written: every choice that was drawn for it.

    Parameters
    ----------
    case_id, patient_id, cohort
        As in cohort.csv.
    label
        Class name written to cohort.csv; the true class is ``lesion.class_name``.
    site
        Where in the sacrum the lesion sits.
    patient, lesion, scan
        What to render. Positions are in the patient's own coordinates.
    mask_suffix
        Format of the mask's file.
    localizer
        Whether the DICOM folder also holds a scout image.
    seed
        Chooses noise and DICOM identifiers.
    """

    case_id: str
    patient_id: str
    cohort: str
    label: str
    site: str
    patient: Patient
    lesion: Lesion
    scan: Acquisition
    mask_suffix: Literal[".nii.gz", ".nrrd"]
    localizer: bool
    seed: int

    @property
    def image_path(self) -> str:
        """DICOM folder, relative to the cohort's folder."""
        return f"dicom/{self.case_id}"

    @property
    def mask_path(self) -> str:
        """The lesion's mask, relative to the cohort's folder."""
        return f"masks/{self.case_id}{self.mask_suffix}"


def write_case(folder: Path, case: PhantomCase) -> None:
    """Render one case and write its DICOM folder and mask below ``folder``; it depends on no other case."""
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
    series = folder / case.image_path
    partial = series.with_name(f".{case.case_id}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    write_series(partial, rendered.hu, rendered.affine, header, localizer=case.localizer)
    shutil.rmtree(series, ignore_errors=True)
    partial.rename(series)
    for suffix in (".nii.gz", ".nrrd"):
        (folder / "masks" / f"{case.case_id}{suffix}").unlink(missing_ok=True)
    _write_mask(folder / case.mask_path, rendered.mask, rendered.affine)


@dataclass(frozen=True)
class RenderedCase:
    """A case in memory: HU, the lesion's mask on their grid, and its affine (to RAS mm)."""

    hu: NDArray[np.int16]
    mask: NDArray[np.bool_]
    affine: NDArray


def render_case(case: PhantomCase) -> RenderedCase:
    """Render patient, lesion and scanner of a case, without writing it."""
    grid = scan_grid(case.scan)
    rng = np.random.default_rng(case.seed)
    anatomy = render(case.patient, grid.patient, grid.shape, prone=case.scan.position.endswith("P"))
    hu, mask = paint_lesion(anatomy.hu, grid.patient, anatomy.sacrum, case.lesion, rng)
    return RenderedCase(hu=acquire(hu, case.scan, rng), mask=mask, affine=grid.scanner)


def _write_mask(file: Path, mask: NDArray[np.bool_], affine: NDArray) -> None:
    voxels = mask.astype(np.uint8)
    if file.suffix == ".nrrd":
        import SimpleITK as sitk  # noqa: N813

        image = sitk.GetImageFromArray(np.transpose(voxels, (2, 1, 0)))
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        to_lps = np.array([-1, -1, 1])
        image.SetSpacing(spacing.tolist())
        image.SetDirection((affine[:3, :3] / spacing * to_lps[:, None]).ravel().tolist())
        image.SetOrigin((affine[:3, 3] * to_lps).tolist())
        sitk.WriteImage(image, str(file), useCompression=True)
        return
    import nibabel as nib

    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, file)
