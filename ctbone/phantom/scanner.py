"""Scanners and what they do to a patient: grid, orientation, blur of the kernel, correlated noise, stored values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.spatial.transform import Rotation

PatientPosition = Literal["HFS", "FFS", "HFP", "FFP"]
PixelFormat = Literal["unsigned 12", "signed 16", "unsigned 16"]

# Direction in the patient (RAS) of the image's columns index, row index, and of the slices from first to last.
_DIRECTIONS: Mapping[
    str, tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]
] = {
    "HFS": ((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "FFS": ((1, 0, 0), (0, -1, 0), (0, 0, 1)),
    "HFP": ((1, 0, 0), (0, 1, 0), (0, 0, -1)),
    "FFP": ((-1, 0, 0), (0, 1, 0), (0, 0, 1)),
}


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel.

    Parameters
    ----------
    name
        As the scanner writes it.
    blur_mm
        Standard deviation of its in-plane blur.
    edge
        Overshoot at borders: how much of the difference to a blurred copy is added back.
    noise_hu
        Standard deviation of the noise in soft tissue at 100 mAs and 2 mm.
    grain_mm
        In-plane size of the noise's grain.
    """

    name: str
    blur_mm: float
    edge: float
    noise_hu: float
    grain_mm: float


SOFT = Kernel("SOFT2", blur_mm=0.75, edge=0.0, noise_hu=14, grain_mm=0.75)
MEDIUM = Kernel("MED40", blur_mm=0.6, edge=0.25, noise_hu=20, grain_mm=0.5)
BONE = Kernel("BONE7", blur_mm=0.5, edge=0.8, noise_hu=34, grain_mm=0.25)


@dataclass(frozen=True)
class Scanner:
    """A CT scanner of a centre, its maker and model invented.

    Parameters
    ----------
    manufacturer, model
        As written into DICOM.
    kernels
        Those it reconstructs with.
    kvp
        Tube voltage, kV.
    mas
        Lowest and highest tube current–time product.
    field_mm
        Least and greatest reconstructed field of view.
    matrix
        Voxels along an edge of the image.
    slice_mm
        Distances between slices that occur.
    overlap
        Slice thickness relative to the distance between slices.
    positions
        How patients lie on it.
    oblique_deg
        Greatest inclination of the slices against the patient's axis.
    pixels
        How values are stored.
    padding
        Whether the corners outside of the round field hold a padding value instead of air.
    """

    manufacturer: str
    model: str
    kernels: tuple[Kernel, ...]
    kvp: int
    mas: tuple[float, float]
    field_mm: tuple[float, float]
    matrix: int
    slice_mm: tuple[float, ...]
    overlap: float
    positions: tuple[PatientPosition, ...]
    oblique_deg: float
    pixels: PixelFormat
    padding: bool


_NORTH = Scanner(
    "Meridian Imaging", "Aurora 64", (SOFT, MEDIUM), 120, (120, 240), (185, 220), 176, (3.0,), 1.0, ("HFS",), 0.0,
    "unsigned 12", False,
)  # fmt: skip
_NORTH_NEW = Scanner(
    "Meridian Imaging", "Aurora 256", (SOFT, BONE), 120, (100, 180), (170, 210), 176, (2.5, 3.0), 1.0,
    ("HFS", "FFS"), 0.0, "signed 16", False,
)  # fmt: skip
_WHOLE = Scanner(
    "Northfield Medical", "Pelican S", (SOFT,), 120, (150, 260), (340, 390), 208, (4.0,), 1.25, ("HFS",), 4.0,
    "signed 16", True,
)  # fmt: skip
_EAST = Scanner(
    "Kestrel Systems", "Vista 16", (MEDIUM, BONE), 130, (80, 140), (185, 215), 168, (3.5, 4.0), 1.0, ("FFS", "HFS"),
    0.0, "unsigned 16", False,
)  # fmt: skip
_EAST_OLD = Scanner(
    "Kestrel Systems", "Vista 4", (SOFT,), 110, (70, 120), (195, 230), 168, (4.0,), 1.0, ("HFS", "HFP"), 6.0,
    "unsigned 12", False,
)  # fmt: skip
_WEST = Scanner(
    "Osprey Tomography", "Helix Q", (SOFT, BONE), 120, (100, 200), (190, 220), 176, (2.5,), 1.0, ("HFP", "FFP", "HFS"),
    0.0, "signed 16", False,
)  # fmt: skip

CENTRES: Mapping[str, tuple[Scanner, ...]] = {
    "internal": (_NORTH, _NORTH_NEW, _WHOLE),
    "centre2": (_EAST, _EAST_OLD),
    "centre3": (_WEST, _NORTH),
}


@dataclass(frozen=True)
class Acquisition:
    """One scan before it is made: everything that was drawn about it.

    Parameters
    ----------
    scanner, kernel
        What was scanned and reconstructed with.
    mas
        Tube current–time product.
    spacing_mm
        In-plane distance of voxels and distance between slices.
    thickness_mm
        Slice thickness.
    shape
        Columns, rows, slices.
    position
        How the patient lies.
    oblique_deg
        Inclination of the slices, about the left–right axis.
    centre_mm
        What the middle of the volume shows, in the patient's coordinates (RAS).
    table_mm
        Where the patient's origin lies in the scanner's coordinates (RAS).
    noise_hu
        Standard deviation of the noise in soft tissue.
    """

    scanner: Scanner
    kernel: Kernel
    mas: float
    spacing_mm: tuple[float, float]
    thickness_mm: float
    shape: tuple[int, int, int]
    position: PatientPosition
    oblique_deg: float
    centre_mm: tuple[float, float, float]
    table_mm: tuple[float, float, float]
    noise_hu: float


def draw_acquisition(
    rng: np.random.Generator,
    centre: str,
    *,
    body_size: float = 1.0,
    coverage_mm: float = 138.0,
    scale: float = 1.0,
) -> Acquisition:
    """Draw a scan at a centre.

    Parameters
    ----------
    rng
        Source of randomness.
    centre
        Key of :data:`CENTRES`; an unknown centre has the internal one's scanners.
    body_size
        Size of the patient, 1 = average; larger patients are noisier and get a larger field.
    coverage_mm
        Length to scan.
    scale
        Voxels along every axis relative to the default; 0.5 makes an eighth of the data.

    Examples
    --------
    >>> scan = draw_acquisition(np.random.default_rng(0), "internal")
    >>> scan.scanner in CENTRES["internal"], scan.spacing_mm[1] >= 2
    (True, True)
    """
    scanners = CENTRES.get(centre, CENTRES["internal"])
    scanner = scanners[int(rng.choice(len(scanners), p=_shares(len(scanners))))]
    kernel = scanner.kernels[int(rng.integers(len(scanner.kernels)))]
    mas = float(rng.uniform(*scanner.mas))
    matrix = max(16, 2 * round(scanner.matrix * scale / 2))
    field = float(rng.uniform(*scanner.field_mm)) * min(1.08, max(0.95, body_size))
    step = float(rng.choice(scanner.slice_mm)) / scale
    noise = kernel.noise_hu * math.sqrt(100 / mas * 2 / (step * scanner.overlap)) * body_size**3
    oblique = (
        float(rng.uniform(-scanner.oblique_deg, scanner.oblique_deg)) if rng.random() < 0.6 else 0.0
    )
    return Acquisition(
        scanner=scanner,
        kernel=kernel,
        mas=round(mas, 1),
        spacing_mm=(round(field / matrix, 6), step),
        thickness_mm=step * scanner.overlap,
        shape=(matrix, matrix, max(8, math.ceil(coverage_mm / step))),
        position=scanner.positions[
            int(rng.choice(len(scanner.positions), p=_shares(len(scanner.positions))))
        ],
        oblique_deg=round(oblique, 2),
        centre_mm=(
            float(rng.normal(0, 4)),
            float(rng.normal(28, 5)) + 0.22 * max(0.0, field - 230),
            float(rng.normal(-3, 3)),
        ),
        table_mm=(
            float(rng.normal(0, 8)),
            float(rng.normal(-20, 20)),
            float(rng.uniform(-900, -300)),
        ),
        noise_hu=round(float(np.clip(noise, 4, 60)), 2),
    )


def _shares(count: int) -> NDArray:
    weights = 0.6 ** np.arange(count)
    return weights / weights.sum()


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a scan lie.

    ``patient`` and ``scanner`` are 4 × 4 affines from voxel indices (column, row, slice) to RAS mm, in the patient's
    own coordinates and in those of the scanner, which the files hold.
    """

    patient: NDArray
    scanner: NDArray
    shape: tuple[int, int, int]


def scan_grid(scan: Acquisition) -> Grid:
    """Lay the grid of a scan into the patient.

    Examples
    --------
    >>> grid = scan_grid(draw_acquisition(np.random.default_rng(0), "internal"))
    >>> bool(np.allclose(grid.patient[:3, :3], grid.scanner[:3, :3]))
    True
    """
    axes = np.array(_DIRECTIONS[scan.position], dtype=float).T
    turn = Rotation.from_euler("x", scan.oblique_deg, degrees=True).as_matrix()
    linear = turn @ axes * np.array([scan.spacing_mm[0], scan.spacing_mm[0], scan.spacing_mm[1]])
    patient = np.eye(4)
    patient[:3, :3] = linear
    patient[:3, 3] = np.array(scan.centre_mm) - linear @ ((np.array(scan.shape) - 1) / 2)
    scanner = patient.copy()
    scanner[:3, 3] += scan.table_mm
    return Grid(patient=patient, scanner=scanner, shape=scan.shape)


def acquire(hu: NDArray, scan: Acquisition, rng: np.random.Generator) -> NDArray[np.int16]:
    """Reconstruct a patient free of noise as the scanner does: kernel, slice thickness, noise.

    Parameters
    ----------
    hu
        Hounsfield units on the scan's grid.
    scan
        Kernel, noise, and thickness of the slices.
    rng
        Source of the noise.

    Returns
    -------
    ndarray of int16
        HU, cut at −1024 and 3071 as scanners do, of the same shape.
    """
    kernel, step = scan.kernel, scan.spacing_mm[0]
    sharp = gaussian_filter(
        hu.astype(np.float32), (kernel.blur_mm / step, kernel.blur_mm / step, 0), truncate=2.5
    )
    extra = scan.thickness_mm**2 - scan.spacing_mm[1] ** 2
    if extra > 0:
        sharp = gaussian_filter1d(
            sharp, math.sqrt(extra / 12) / scan.spacing_mm[1], axis=2, truncate=3
        )
    sharp += _noise(scan, hu.shape, rng)
    if kernel.edge:
        wide = 1.1 / step
        sharp += kernel.edge * (sharp - gaussian_filter(sharp, (wide, wide, 0), truncate=2.5))
    return np.clip(np.rint(sharp), -1024, 3071).astype(np.int16)


def _noise(
    scan: Acquisition, shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Noise with the grain of the kernel; strongest in the middle of the body, where fewest photons arrive."""
    white = rng.standard_normal(shape, dtype=np.float32)
    grain = scan.kernel.grain_mm / scan.spacing_mm[0]
    fine = gaussian_filter(white, (grain, grain, 0), truncate=2.5) if grain > 0.2 else white
    # The overshoot at edges, added later, strengthens noise as well.
    fine *= scan.noise_hu / (1 + 0.6 * scan.kernel.edge) / float(fine[:, :, shape[2] // 2].std())
    across = (np.arange(shape[0]) - shape[0] / 2) * scan.spacing_mm[0] / 130
    down = (np.arange(shape[1]) - shape[1] / 2) * scan.spacing_mm[0] / 110
    weight = 0.55 + 0.45 * np.exp(-(across[:, None] ** 2 + down[None, :] ** 2) / 2)
    return fine * weight[:, :, None].astype(np.float32)
