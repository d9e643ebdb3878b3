"""Small radiographs as files: DICOM as pydicom writes it, and pictures as Pillow does."""

from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from ctbone.cohort import Case


def ramp(width=40, height=30):
    """Grey that grows to the right and downwards, 0 to 1: every pixel has another value."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return (x + width * y) / (width * height - 1)


def case_of(image, **changes):
    return Case("R1", "P1", "benign", "internal", Path(image), changes.pop("mask", None), **changes)


def write_dicom(path, pixels, *, bits=12, modality="CR", frames=None, **tags):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Modality = modality
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = 0
    if frames:
        dataset.NumberOfFrames = frames
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_png(path, grey=None, **options):
    grey = ramp() if grey is None else grey
    Image.fromarray(np.rint(grey * 255).astype(np.uint8)).save(path, **options)
    return path
