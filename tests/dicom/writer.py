"""Write small DICOM series for tests, with every property chosen by the test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True)
class Plan:
    """A series, by default regular and axial. ``stored`` is (slice, row, column)."""

    stored: np.ndarray
    directions: tuple = AXIAL
    origin: tuple = (-30.0, -40.0, 100.0)
    pixel: tuple = (0.8, 0.7)
    positions: tuple | None = None
    gap: float = 2.5
    shift: tuple = (0.0, 0.0, 0.0)
    slope: float | tuple = 1.0
    intercept: float = -1024.0
    padding: int | None = None
    kernel: str = "STANDARD"
    thickness: str = "2.5"
    image_type: tuple = ("ORIGINAL", "PRIMARY", "AXIAL")
    sop_class: str = CTImageStorage
    modality: str = "CT"
    patient: str = "ANON"
    study: str = "1.2.3"
    contrast: str = ""
    bits: int = 16
    syntax: str = ExplicitVRLittleEndian

    @property
    def normal(self) -> np.ndarray:
        return np.cross(*self.directions)

    def place(self, k: int) -> np.ndarray:
        along = self.gap * k if self.positions is None else self.positions[k]
        return np.array(self.origin) + along * self.normal + k * np.array(self.shift)

    @property
    def affine(self) -> np.ndarray:
        """Voxel (column, row, slice) to RAS mm, by equation C.7.6.2.1-1 of DICOM PS3.3."""
        affine = np.eye(4)
        affine[:3, 0] = np.array(self.directions[0]) * self.pixel[1]
        affine[:3, 1] = np.array(self.directions[1]) * self.pixel[0]
        affine[:3, 2] = self.normal * self.gap
        affine[:3, 3] = self.origin
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def ramp(
    slices: int = 5, rows: int = 12, columns: int = 10, low: int = 0, dtype: type = np.uint16
) -> np.ndarray:
    """Every voxel differs from every other."""
    count = slices * rows * columns
    return (np.arange(count) + low).reshape(slices, rows, columns).astype(dtype)


def write_series(
    folder: Path, plan: Plan, order: list[int] | None = None, prefix: str = ""
) -> list[Path]:
    """Write one file a slice; ``order`` gives the instance numbers, which need not follow space."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = generate_uid()
    paths = []
    for k in range(len(plan.stored)):
        dataset = _dataset(plan, uid)
        dataset.ImagePositionPatient = [_ds(x) for x in plan.place(k)]
        dataset.ImageOrientationPatient = [
            _ds(x) for direction in plan.directions for x in direction
        ]
        dataset.PixelSpacing = list(plan.pixel)
        dataset.SliceThickness = plan.thickness
        dataset.RescaleSlope = plan.slope[k] if isinstance(plan.slope, tuple) else plan.slope
        dataset.RescaleIntercept = plan.intercept
        dataset.InstanceNumber = (order or list(range(len(plan.stored))))[k] + 1
        _pixels(dataset, plan.stored[k], plan)
        path = folder / f"{prefix}{dataset.InstanceNumber:04d}"
        syntax = pydicom.uid.UID(plan.syntax)
        if syntax.is_encapsulated:
            dataset.save_as(path, enforce_file_format=True)
            transcode(path, syntax)
        else:
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_enhanced(path: Path, plan: Plan, order: list[int]) -> Path:
    """Write one multi-frame file; frame n is slice ``order[n]``."""
    dataset = _dataset(plan, generate_uid())
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    shared = Dataset()
    shared.PlaneOrientationSequence = [
        _item(ImageOrientationPatient=[_ds(x) for d in plan.directions for x in d])
    ]
    shared.PixelMeasuresSequence = [
        _item(PixelSpacing=list(plan.pixel), SliceThickness=plan.thickness)
    ]
    shared.PixelValueTransformationSequence = [
        _item(RescaleSlope=plan.slope, RescaleIntercept=plan.intercept, RescaleType="HU")
    ]
    shared.CTReconstructionSequence = [_item(ConvolutionKernel=plan.kernel)]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        _item(PlanePositionSequence=[_item(ImagePositionPatient=[_ds(x) for x in plan.place(k)])])
        for k in order
    ]
    dataset.NumberOfFrames = len(order)
    _pixels(dataset, plan.stored[order], plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _dataset(plan: Plan, uid: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = plan.sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    little = plan.syntax != pydicom.uid.ExplicitVRBigEndian
    dataset = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=little)
    dataset.SOPClassUID = plan.sop_class
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID = uid
    dataset.StudyInstanceUID = plan.study
    dataset.FrameOfReferenceUID = "1.2.3.4"
    dataset.PatientID = dataset.PatientName = plan.patient
    dataset.PatientPosition = "HFS"
    dataset.Modality = plan.modality
    dataset.ImageType = list(plan.image_type)
    dataset.ConvolutionKernel = plan.kernel
    dataset.SeriesNumber = dataset.AcquisitionNumber = 1
    dataset.StudyDate, dataset.StudyTime = "20200101", "120000"
    dataset.KVP = "120"
    dataset.Manufacturer = "SIEMENS"
    if plan.contrast:
        dataset.ContrastBolusAgent = plan.contrast
    return dataset


def _pixels(dataset: FileDataset, stored: np.ndarray, plan: Plan) -> None:
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = plan.bits, plan.bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    if plan.padding is not None:
        vr = "SS" if plan.padding < 0 else "US"
        dataset.add_new("PixelPaddingValue", vr, plan.padding)
    dataset.PixelData = np.ascontiguousarray(stored).tobytes()
    if plan.syntax == pydicom.uid.ExplicitVRBigEndian:
        dataset.PixelData = np.ascontiguousarray(stored.byteswap()).tobytes()


def transcode(path: Path, syntax: str) -> None:
    """Compress a file, with GDCM as the encoder."""
    import gdcm

    reader, change, writer = (
        gdcm.ImageReader(),
        gdcm.ImageChangeTransferSyntax(),
        gdcm.ImageWriter(),
    )
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _ds(number: float) -> str:
    """Sixteen characters, the most that a decimal string may have."""
    return pydicom.valuerep.format_number_as_ds(round(float(number), 10))
