"""Convert a folder with one series by another library: ``python child.py NAME FOLDER OUT``.

Run in a process of its own, whose output is dropped: these libraries quote headers, and on damaged
files they may crash or hang. The file ``OUT/reason`` holds the library's own code of a refusal.
"""

from __future__ import annotations

import sys
from pathlib import Path


def by_dicom2nifti(folder: Path, out: Path) -> None:
    """Write ``out/volume.nii``; a refusal is a code such as SLICE_INCREMENT_INCONSISTENT."""
    import dicom2nifti
    from dicom2nifti.exceptions import ConversionError, ConversionValidationError

    dicom2nifti.settings.disable_validate_slicecount()  # it takes four slices or more; ctbone three
    try:
        dicom2nifti.dicom_series_to_nifti(str(folder), str(out / "volume.nii"), False)
    except (ConversionError, ConversionValidationError) as error:
        (out / "reason").write_text(str(error))
        raise


def by_simpleitk(folder: Path, out: Path) -> None:
    """Write ``out/volume.nii`` from the series in the order of GDCM, or from its one file."""
    import SimpleITK as sitk  # noqa: N813 (its usual name)

    files = sorted(folder.iterdir())
    if len(files) == 1:
        image = sitk.ReadImage(str(files[0]))
    else:
        reader = sitk.ImageSeriesReader()
        (series,) = reader.GetGDCMSeriesIDs(str(folder))
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
        image = reader.Execute()
    sitk.WriteImage(image, str(out / "volume.nii"))


if __name__ == "__main__":
    convert = {"dicom2nifti": by_dicom2nifti, "SimpleITK": by_simpleitk}[sys.argv[1]]
    convert(Path(sys.argv[2]), Path(sys.argv[3]))
