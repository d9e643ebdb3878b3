"""Time and memory of converting one synthetic CT series: ctbone, dicom2nifti and dcm2niix."""

from __future__ import annotations

import argparse
import logging
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import dcm2niix
import numpy as np
from timing import added_memory, machine, paired_ratio, print_added_memory, take_turns

from ctbone.config import DicomSettings
from ctbone.dicom import convert_series
from ctbone.phantom.dicom_series import SeriesHeader, write_series

# Faster, slower, and the largest accepted ratio of their times.
GOALS = (
    ("ctbone .nii.gz", "dicom2nifti .nii.gz", 1 / 6),
    ("ctbone .nii.gz", "dcm2niix -z y", 1 / 3),
    ("ctbone .nii", "dcm2niix -z n", 1.3),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--series", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        with tempfile.TemporaryDirectory() as folder:
            print_added_memory(contenders(options.series, Path(folder))[options.only])
        return
    with tempfile.TemporaryDirectory() as folder:
        series = Path(folder) / "series"
        volume_mib = make_series(series, options.slices)
        runs = contenders(series, Path(folder))
        seconds = take_turns(runs, options.rounds)
        memory = {
            name: added_memory(Path(__file__), "--only", name, "--series", str(series))
            for name in runs
        }
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("ctbone", "dicom2nifti", "dcm2niix", "isal")
    )
    print(
        f"512 × 512 × {options.slices}, int16, {volume_mib:.0f} MiB; "
        f"{options.rounds} rounds, taking turns"
    )
    print(f"{machine()}; {versions}\n")
    print(
        "| converter | median s | fastest s | added memory MiB | memory / volume |\n"
        "|---|---|---|---|---|"
    )
    for name, times in seconds.items():
        share = memory[name] / volume_mib
        print(
            f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} "
            f"| {memory[name]:.0f} | {share:.1f} |"
        )
    print("\n| comparison | median ratio of pairs | goal |  |\n|---|---|---|---|")
    met = True
    for ours, theirs, goal in GOALS:
        ratio = paired_ratio(seconds[ours], seconds[theirs])
        met &= ratio <= goal
        comparison = (
            f"{1 / ratio:.1f}× faster | ≥ {1 / goal:.0f}×"
            if goal < 1
            else f"{ratio:.2f}× the time | ≤ {goal}×"
        )
        print(f"| {ours} to {theirs} | {comparison} | {'met' if ratio <= goal else 'missed'} |")
    worst = max(memory[name] for name in seconds if name.startswith("ctbone")) / volume_mib
    met &= worst < 3
    print(
        f"| added memory of ctbone to the volume | {worst:.1f}× | < 3× "
        f"| {'met' if worst < 3 else 'missed'} |"
    )
    sys.exit(0 if met else 1)


def contenders(series: Path, folder: Path) -> dict:
    import dicom2nifti

    logging.getLogger("dicom2nifti").setLevel(logging.ERROR)
    settings = DicomSettings()

    def by_dcm2niix(compress: str) -> None:
        name = ["-f", "theirs", "-w", "1", "-b", "n"]
        command = [dcm2niix.bin, "-z", compress, *name, "-o", str(folder), str(series)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    return {
        "ctbone .nii.gz": lambda: convert_series(series, folder / "ours.nii.gz", settings),
        "dcm2niix -z y": lambda: by_dcm2niix("y"),
        "dicom2nifti .nii.gz": lambda: dicom2nifti.dicom_series_to_nifti(
            str(series), str(folder / "d2n.nii.gz")
        ),
        "ctbone .nii": lambda: convert_series(series, folder / "ours.nii", settings),
        "dcm2niix -z n": lambda: by_dcm2niix("n"),
    }


def make_series(folder: Path, slices: int) -> float:
    """Write a noisy body with bone; return the size of the volume in MiB."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-1, 1, 512), np.linspace(-1, 1, 512), indexing="ij")
    body = np.where(x**2 / 0.7 + y**2 / 0.45 < 1, 40.0, -1000.0)
    body[(x**2 + (y - 0.3) ** 2) < 0.03] = 700.0
    hu = np.empty((512, 512, slices), np.int16, order="F")
    for k in range(slices):
        noise = rng.normal(0, 1, (512, 512)) * np.where(body > -1000, 18, 6)
        hu[:, :, k] = np.clip(body + noise, -1024, 3071).round()
    write_series(
        folder, hu=hu, affine=np.diag([-0.7, -0.7, 1.0, 1.0]), header=SeriesHeader("bench", seed=1)
    )
    return hu.nbytes / 2**20


if __name__ == "__main__":
    main()
