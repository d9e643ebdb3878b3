"""Time one large CT to the network's cube, ctbone and MONAI's chain; then many cases."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import nibabel as nib
import numpy as np
from timing import added_memory, machine, paired_ratio, print_added_memory, take_turns

from ctbone.cases import CaseJob, prepare_case
from ctbone.cohort import Case
from ctbone.nifti import write_nifti
from ctbone.preprocessing import preprocess_case
from ctbone.study import Study, file_hash, record_of, write_json
from ctbone.transforms import crop_case
from ctbone.workers import map_cases

RADIUS, MARGIN, SIZE = 40.0, 10.0, 96
GOALS = ((".nii.gz", 15), (".nii", 50))
MEMORY_GOAL = 0.1


class UncompressedStudy(Study):
    """A study whose volumes are not compressed."""

    def nifti(self, case_id: str) -> Path:
        return self.root / "nifti" / f"{case_id}.nii"


@dataclass(frozen=True)
class Waves:
    """A band-limited volume known everywhere: a sum of cosines in HU over mm."""

    vectors: np.ndarray  # (n, 3), cycles a mm
    heights: np.ndarray
    phases: np.ndarray

    def on(
        self, shape: tuple[int, ...], affine: np.ndarray, limit: np.ndarray | None = None
    ) -> np.ndarray:
        """Return values on a grid along R, A, S, without waves above ``limit`` cycles per mm."""
        keep = slice(None) if limit is None else (np.abs(self.vectors) < limit).all(axis=1)
        vectors, heights, phases = self.vectors[keep], self.heights[keep], self.phases[keep]
        x, y, z = (
            np.exp(
                2j
                * np.pi
                * np.outer(vectors[:, axis], affine[axis, 3] + affine[axis, axis] * np.arange(n))
            )
            for axis, n in enumerate(shape)
        )
        start = heights * np.exp(1j * phases)
        return np.stack([((x.T * (start * z[:, k])) @ y).real for k in range(shape[2])], axis=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--cases", type=int, default=500, help="for the scaling; 0 leaves it out")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.only:
        if options.only.startswith("MONAI"):
            monai_chain()  # its imports count neither as time nor as memory
        print_added_memory(contenders(options.folder)[options.only])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        volume_mib = make_scan(folder, options.slices)
        runs = contenders(folder)
        seconds = take_turns(runs, options.rounds)
        memory = {
            name: added_memory(Path(__file__), "--only", name, "--folder", str(folder))
            for name in runs
        }
        accuracy = judge(folder / "waves")
    versions = ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("ctbone", "monai", "torch", "numpy", "scipy", "isal")
    )
    print(
        f"512 × 512 × {options.slices}, int16, {volume_mib:.0f} MiB, "
        f"a lesion of {2 * RADIUS:.0f} mm; ",
        end="",
    )
    print(f"{options.rounds} rounds, taking turns\n{machine()}; {versions}\n")
    met = tell(seconds, memory, accuracy)
    if options.cases:
        scale(options.cases)
    sys.exit(0 if met else 1)


def tell(
    seconds: dict[str, list[float]],
    memory: dict[str, float],
    accuracy: dict[str, tuple[float, float, float]],
) -> bool:
    """Print the tables; return whether every goal is met."""
    print("| chain | median s | fastest s | added memory MiB |\n|---|---|---|---|")
    for name, times in seconds.items():
        print(
            f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} | {memory[name]:.0f} |"
        )
    print(
        "\n| beside the band-limited reference | RMS HU | 99th percentile HU | lesion's volume |\n"
        "|---|---|---|---|"
    )
    for name, (rms, tail, volume) in accuracy.items():
        print(f"| {name} | {rms:.1f} | {tail:.1f} | {volume:+.2%} |")
    print("\n| comparison | result | goal |  |\n|---|---|---|---|")
    rows = []
    for kind, goal in GOALS:
        ratio = 1 / paired_ratio(seconds[f"ctbone {kind}"], seconds[f"MONAI {kind}"])
        rows.append(
            (
                f"ctbone to MONAI, {kind}, median of pairs",
                f"{ratio:.1f}× faster",
                f"≥ {goal}×",
                ratio >= goal,
            )
        )
        share = memory[f"ctbone {kind}"] / memory[f"MONAI {kind}"]
        rows.append((f"added memory, {kind}", f"1/{1 / share:.0f}", "< 1/10", share < MEMORY_GOAL))
    ours, theirs = accuracy["ctbone"][0], accuracy["MONAI"][0]
    rows.append(
        ("RMS difference to the reference", f"{ours / theirs:.2f}×", "≤ 1×", ours <= theirs)
    )
    for what, result, goal, met in rows:
        print(f"| {what} | {result} | {goal} | {'met' if met else 'missed'} |")
    return all(met for *_, met in rows)


def _preprocess(study: Study) -> None:
    """Make and write the crops of the case, as the command does after its conversion."""
    preprocess_case(study, case_of(study), crop_case)


def contenders(folder: Path) -> dict[str, Callable[[], object]]:
    """Return both chains: ctbone's whole stage, with files and records; MONAI's cube in memory."""

    def ours(study: Study) -> None:
        shutil.rmtree(study.root / "crops", ignore_errors=True)
        _preprocess(study)

    def theirs(study: Study) -> None:
        monai_chain()({"image": str(study.nifti("P1")), "mask": str(case_of(study).mask)})

    runs: dict[str, Callable[[], object]] = {}
    for kind, one in (
        (".nii.gz", Study(folder / ".nii.gz")),
        (".nii", UncompressedStudy(folder / ".nii")),
    ):
        runs[f"ctbone {kind}"] = lambda one=one: ours(one)
        runs[f"MONAI {kind}"] = lambda one=one: theirs(one)
    return runs


@cache
def monai_chain() -> Callable[[dict], dict]:
    from monai.transforms import (
        Compose,
        CropForegroundd,
        EnsureChannelFirstd,
        LoadImaged,
        Orientationd,
        Resized,
        Spacingd,
    )

    keys = ["image", "mask"]
    return Compose(
        [
            LoadImaged(keys),
            EnsureChannelFirstd(keys),
            Orientationd(keys, axcodes="RAS"),
            Spacingd(keys, pixdim=(1, 1, 1), mode=("bilinear", "nearest")),
            CropForegroundd(keys, source_key="mask", margin=int(MARGIN)),
            Resized(keys, (SIZE,) * 3, mode=("trilinear", "nearest")),
        ]
    )


def case_of(study: Study) -> Case:
    suffix = study.nifti("P1").name.removeprefix("P1")
    return Case("P1", "P1", "benign", "internal", study.root, study.root / "masks" / f"P1{suffix}")


def affine_of(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    """Put the lesion's centre, slightly off the grid, at the origin; axes as scanners do."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2 + [0.2, -0.3, 0.1])
    return affine


def make_scan(root: Path, slices: int) -> float:
    """Write a body with bone, a lesion and noise as two studies; return the volume's MiB."""
    shape, spacing = (512, 512, slices), (0.75, 0.75, 1.0)
    rng, affine = np.random.default_rng(0), affine_of(shape, spacing)
    x, y = np.meshgrid(
        *(affine[axis, 3] + affine[axis, axis] * np.arange(512) for axis in (0, 1)), indexing="ij"
    )
    z = affine[2, 3] + affine[2, 2] * np.arange(slices)
    volume, mask = np.empty(shape, np.int16, order="F"), np.empty(shape, np.uint8, order="F")
    noise = rng.normal(0, 12, (640, 640)).astype(np.float32)
    body = (x / 170) ** 2 + (y / 120) ** 2 < 1
    bone = ((x / 60) ** 2 + (y / 50) ** 2 < 1) & ((x / 50) ** 2 + (y / 40) ** 2 > 1)
    still = np.where(body, np.where(bone, 700.0, 40 + 20 * np.sin(x / 9) * np.cos(y / 11)), -1000.0)
    for k in range(slices):
        drawn = x**2 + y**2 + z[k] ** 2 < RADIUS**2
        a, b = rng.integers(0, 128, 2)
        volume[:, :, k] = np.rint(np.where(drawn, 150, still) + noise[a : a + 512, b : b + 512])
        mask[:, :, k] = drawn
    for kind in (".nii", ".nii.gz"):
        written = root / kind / "nifti" / f"P1{kind}"
        write_nifti(written, volume, affine)
        write_json(
            record_of(written), {"volume": file_hash(written)}
        )  # as the conversion leaves it
        write_nifti(root / kind / "masks" / f"P1{kind}", mask, affine)
        (root / kind / "study.yaml").write_text("name: bench\n")
    return volume.nbytes / 2**20


def judge(root: Path) -> dict[str, tuple[float, float, float]]:
    """Return each chain's RMS and 99th percentile error in HU, and its lesion volume's error.

    The volume is a sum of cosines, the longer the stronger, up to the scanner's own limit. Its part
    below the cube's Nyquist limit, evaluated at the cube's voxels, is what an ideal (sinc)
    interpolation gives.
    """
    shape, spacing = (224, 224, 168), (0.75, 0.75, 1.0)
    rng, affine = np.random.default_rng(1), affine_of(shape, spacing)
    directions = rng.normal(size=(150, 3))
    cycles = rng.uniform(0.005, 0.5, 150)
    vectors = directions / np.linalg.norm(directions, axis=1, keepdims=True) * cycles[:, None]
    waves = Waves(vectors, 120 / (1 + (cycles / 0.12) ** 2), rng.uniform(0, 2 * np.pi, 150))
    index = np.ogrid[tuple(slice(n) for n in shape)]
    distance = sum((affine[a, 3] + affine[a, a] * index[a]) ** 2 for a in range(3))
    write_nifti(
        root / "nifti" / "P1.nii.gz", np.rint(waves.on(shape, affine)).astype(np.int16), affine
    )
    write_nifti(root / "masks" / "P1.nii.gz", (distance < RADIUS**2).astype(np.uint8), affine)
    (root / "study.yaml").write_text("name: waves\n")
    study = Study(root)
    _preprocess(study)
    made = monai_chain()({"image": str(study.nifti("P1")), "mask": str(case_of(study).mask)})
    ours, drawn = nib.load(study.crop("P1", "3d")), nib.load(study.crop_mask("P1", "3d"))
    results = {
        "ctbone": (np.asarray(ours.dataobj, dtype=float), ours.affine, np.asarray(drawn.dataobj)),
        "MONAI": (
            made["image"][0].numpy(),
            np.asarray(made["image"].affine, dtype=float),
            made["mask"][0].numpy(),
        ),
    }
    return {name: _difference(waves, *result) for name, result in results.items()}


def _difference(
    waves: Waves, values: np.ndarray, affine: np.ndarray, lesion: np.ndarray
) -> tuple[float, float, float]:
    spacing = np.abs(np.diag(affine)[:3])
    away = np.abs(values - waves.on(values.shape, affine, limit=0.5 / spacing))[4:-4, 4:-4, 4:-4]
    volume = np.count_nonzero(lesion) * spacing.prod() / (4 / 3 * np.pi * RADIUS**3) - 1
    return float(np.sqrt((away**2).mean())), float(np.percentile(away, 99)), float(volume)


def scale(cases: int) -> None:
    """Preprocess many small cases: one process, several, and a Dask cluster of this machine."""
    from distributed import LocalCluster

    cores = os.cpu_count() or 1
    print(f"\n{cases} cases of 128 × 128 × 96\n")
    print("| how | seconds | cases a second | efficiency |\n|---|---|---|---|")
    alone = 0.0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_small(root)
        for workers in sorted({1, 2, cores}):
            seconds = _run(root, cases, workers=workers)
            alone = alone or seconds
            told = f"{workers} process{'es' * (workers > 1)}"
            print(
                f"| {told} | {seconds:.1f} | {cases / seconds:.1f} "
                f"| {alone / seconds / min(workers, cores):.0%} |"
            )
        with LocalCluster(n_workers=cores, threads_per_worker=1, dashboard_address=None) as cluster:
            _run(
                root, cores, cluster=cluster.scheduler_address
            )  # the workers import what they need
            seconds = _run(root, cases, cluster=cluster.scheduler_address)
        print(
            f"| Dask, {cores} workers | {seconds:.1f} | {cases / seconds:.1f} "
            f"| {alone / seconds / cores:.0%} |"
        )


def make_small(root: Path) -> None:
    shape = (128, 128, 96)
    rng, affine = np.random.default_rng(2), affine_of(shape, (1.0, 1.0, 1.5))
    index = np.ogrid[tuple(slice(n) for n in shape)]
    distance = sum((affine[a, 3] + affine[a, a] * index[a]) ** 2 for a in range(3))
    write_nifti(root / "ct.nii.gz", rng.normal(40, 30, shape).astype(np.int16), affine)
    write_nifti(root / "mask.nii.gz", (distance < 25**2).astype(np.uint8), affine)


def _run(root: Path, cases: int, workers: int = 1, cluster: str | None = None) -> float:
    study = Study(root / "study")
    study.root.mkdir()
    study.settings_file.write_text("name: many\n")
    made = [
        Case(
            f"C{k:04d}", f"C{k:04d}", "benign", "internal", root / "ct.nii.gz", root / "mask.nii.gz"
        )
        for k in range(cases)
    ]
    started = time.perf_counter()
    outcomes = list(
        map_cases(
            prepare_case, [CaseJob(study, one) for one in made], workers=workers, cluster=cluster
        )
    )
    seconds = time.perf_counter() - started
    assert not any(outcome.error for outcome in outcomes), outcomes[0].error
    shutil.rmtree(study.root)
    return seconds


if __name__ == "__main__":
    main()
