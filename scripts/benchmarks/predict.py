"""Time of one answer: 512 x 512 x 300 DICOM slices and a mask, two ensembles of five DenseNet121.

The weights are random; the time does not depend on them. Cold: 'ctbone predict' in a new process.
Warm: the second patient of a process, with the parts of the time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import timing

SHAPE, SPACING = (512, 512, 300), (0.8, 0.8, 1.0)
FOLDS = 5
COLD_S, COLD_GIB, WARM_S = 60, 4, 15
"""The goals on two cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=SHAPE[2])
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--parts", nargs=3, metavar="PATH", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.parts:
        _print_parts(*map(Path, options.parts))
        return
    print(timing.machine())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_series(root / "dicom", root / "mask.nii.gz", options.slices)
        _write_model_file(root / "m.ctbone", options.folds)
        size = (root / "m.ctbone").stat().st_size / 2**20
        print(f"{SHAPE[0]} x {SHAPE[1]} x {options.slices}, {options.folds} folds, {size:.0f} MiB")
        paths = [str(root / name) for name in ("dicom", "mask.nii.gz", "m.ctbone")]
        command = ["ctbone", "predict", paths[0], "--mask", paths[1], "--model", paths[2]]
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", *command, "--out", str(root / "out")],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        cold = time.perf_counter() - started
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20
        print(f"cold: {cold:.1f} s (goal {COLD_S}), {busy:.1f} s of processor time")
        print(f"peak memory: {peak:.2f} GiB (goal {COLD_GIB})")
        # As the command line sets it: waiting threads sleep soon on a busy machine.
        environment = {"GOMP_SPINCOUNT": "10000", **os.environ}
        subprocess.run([sys.executable, __file__, "--parts", *paths], check=True, env=environment)


_PARTS: dict[str, tuple[float, float]] = {}
"""Seconds and processor seconds of each part."""


@contextmanager
def _part(name: str) -> Iterator[None]:
    started, busy = time.perf_counter(), time.process_time()
    yield
    known = _PARTS.get(name, (0.0, 0.0))
    seconds, processor = time.perf_counter() - started, time.process_time() - busy
    _PARTS[name] = (known[0] + seconds, known[1] + processor)


def _print_parts(image: Path, mask: Path, file: Path) -> None:
    """Answer twice in this process, and print where the time of each goes."""
    with _part("import"):
        import ctbone.transforms  # noqa: F401 (MONAI, which takes most of this)
        from ctbone import new_patient, release
        from ctbone.dicom import convert_case
        from ctbone.models import ensemble  # noqa: F401
    with _part("read the model file"):
        found = release.read_release(file)
    with _part("build the networks"):
        predictor = release.Predictor(found)
    _wrap("ctbone.cases", "prepare_case", "DICOM to crops")
    _wrap("ctbone.dicom", "convert_case", "of this: DICOM to NIfTI", convert_case)
    new_patient.prepare_case = sys.modules["ctbone.cases"].prepare_case
    outputs = predictor._outputs

    def timed(name: str, *rest: object) -> object:
        with _part(f"networks {name}"):
            return outputs(name, *rest)

    predictor._outputs = timed
    (case,) = new_patient.find_cases(image, mask, case=None, columns={})
    for turn in ("first", "warm"):
        started, busy = time.perf_counter(), time.process_time()
        new_patient.answer_case(case, predictor)
        total, busy = time.perf_counter() - started, time.process_time() - busy
        goal = f" (goal {WARM_S})" if turn == "warm" else ""
        print(f"{turn} answer: {total:.1f} s{goal}, {busy:.1f} s of processor time")
        for name, (seconds, processor) in _PARTS.items():
            print(f"  {name}: {seconds:.2f} s, {processor:.2f} s of processor time")
        _PARTS.clear()
    print(f"threads: {os.environ.get('OMP_NUM_THREADS', 'default')}")


def _wrap(module: str, name: str, title: str, work: object = None) -> None:
    import importlib

    home = importlib.import_module(module)
    inner = work or getattr(home, name)

    def timed(*args: object, **options: object) -> object:
        with _part(title):
            return inner(*args, **options)

    setattr(home, name, timed)


def _write_series(folder: Path, mask: Path, slices: int) -> None:
    """Write noise with a ball of 40 mm in the middle, and its mask on the same grid."""
    import nibabel
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    random = np.random.default_rng(0)
    study, series, frame = (generate_uid() for _ in range(3))
    noise = random.normal(1064, 60, SHAPE[:2]).astype(np.uint16)
    x, y = np.indices(SHAPE[:2])
    drawn = np.zeros((*SHAPE[:2], slices), np.uint8)
    for k in range(slices):
        squared = ((x - 256) * SPACING[0]) ** 2 + ((y - 256) * SPACING[1]) ** 2
        ball = squared + ((k - slices / 2) * SPACING[2]) ** 2 <= 20**2
        drawn[:, :, k] = ball.T
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
            CTImageStorage,
            generate_uid(),
        )
        slice_ = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID = study, series
        slice_.FrameOfReferenceUID, slice_.Modality, slice_.PatientID = frame, "CT", "bench"
        slice_.ImageType, slice_.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
        slice_.Rows, slice_.Columns = SHAPE[1], SHAPE[0]
        slice_.PixelSpacing, slice_.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.ImagePositionPatient = [0, 0, k * SPACING[2]]
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
        slice_.PixelRepresentation, slice_.RescaleSlope, slice_.RescaleIntercept = 0, 1, -1024
        slice_.PixelData = (np.roll(noise, k * 7, axis=0) + 300 * ball).astype(np.uint16).tobytes()
        pydicom.dcmwrite(folder / f"{k:04d}.dcm", slice_, enforce_file_format=True)
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    nibabel.save(nibabel.Nifti1Image(drawn, affine), mask)


def _write_model_file(path: Path, folds: int) -> None:
    """Write a model file of random DenseNet121, 3D and 2D, with the main paper's settings."""
    from safetensors.torch import save

    from ctbone.config import Settings
    from ctbone.models.networks import build_network
    from ctbone.release import Contents, Release, write_release
    from ctbone.release.contents import Answer, FoldFile, weights_member
    from ctbone.release.facts import training_range

    settings = Settings.model_validate({"name": "bench", "fusion": {"combinations": {}}})
    tensors, files = {}, {}
    for name, model in settings.models.items():
        content = save({k: v.contiguous() for k, v in build_network(model, 2).state_dict().items()})
        fold = FoldFile(weights=hashlib.sha256(content).hexdigest(), epoch=1)
        files[name] = (fold,) * folds
        tensors |= {weights_member(name, k): content for k in range(folds)}
    answers = [
        Answer(name=name, kind="model", weights={name: 1.0}, threshold=0.5) for name in files
    ]
    both = dict.fromkeys(files, 0.5)
    answers.append(Answer(name="both", kind="combination", weights=both, threshold=0.5))
    contents = Contents(
        settings=settings,
        folds=files,
        answers=tuple(answers),
        first="both",
        left_out={},
        range=training_range([], []),
        distances={},
        cohort={},
        made_with={},
        made_from={},
    )
    write_release(path, Release(contents, tensors, card="# bench\n"))


if __name__ == "__main__":
    main()
