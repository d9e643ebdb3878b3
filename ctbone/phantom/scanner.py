"""CT scanners and acquisition: voxel grid, patient position, kernel blur and correlated noise."""

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

# Directions (RAS) of increasing column index, row index and slice index, by DICOM PatientPosition
# (0018,5100).
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
        DICOM ConvolutionKernel.
    blur_mm
        Standard deviation of the in-plane Gaussian point-spread function, mm.
    edge
        Edge enhancement: weight of the unsharp mask (image minus blurred image) that is added.
    noise_hu
        Standard deviation of the noise in soft tissue at 100 mAs and 2 mm slice thickness, HU.
    grain_mm
        Standard deviation of the Gaussian that correlates the noise in-plane, mm.
    """

    name: str
    blur_mm: float
    edge: float
    noise_hu: float
    grain_mm: float


# Chosen for the phantom: a sharper kernel has less blur, more edge enhancement and more, finer
# noise.
SOFT = Kernel("SOFT2", blur_mm=0.75, edge=0.0, noise_hu=14, grain_mm=0.75)
MEDIUM = Kernel("MED40", blur_mm=0.6, edge=0.25, noise_hu=20, grain_mm=0.5)
BONE = Kernel("BONE7", blur_mm=0.5, edge=0.8, noise_hu=34, grain_mm=0.25)


@dataclass(frozen=True)
class Scanner:
    """A CT scanner of a centre.

    Parameters
    ----------
    manufacturer, model
        DICOM Manufacturer and ManufacturerModelName; both are invented.
    kernels
        Reconstruction kernels, drawn with equal probability.
    kvp
        Tube voltage, kV.
    mas
        Minimum and maximum tube current–time product, mAs.
    field_mm
        Minimum and maximum reconstructed field of view, mm.
    matrix
        Rows and columns of the image.
    slice_mm
        Possible distances between slices, mm.
    overlap
        Slice thickness divided by the distance between slices.
    positions
        Possible patient positions, most frequent first.
    oblique_deg
        Maximum angle between the slices and the axial plane, degrees.
    pixels
        Data type of the stored values.
    padding
        Whether the corners outside the circular field of view hold a padding value instead of air.
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


# Scanners; all values are chosen for the phantom, makers and models are invented. The matrix is
# smaller than a clinical 512, so that a demo cohort stays small.
_AURORA_64 = Scanner(
    manufacturer="Meridian Imaging",
    model="Aurora 64",
    kernels=(SOFT, MEDIUM),
    kvp=120,
    mas=(120, 240),
    field_mm=(185, 220),
    matrix=176,
    slice_mm=(3.0,),
    overlap=1.0,
    positions=("HFS",),
    oblique_deg=0.0,
    pixels="unsigned 12",
    padding=False,
)
_AURORA_256 = Scanner(
    manufacturer="Meridian Imaging",
    model="Aurora 256",
    kernels=(SOFT, BONE),
    kvp=120,
    mas=(100, 180),
    field_mm=(170, 210),
    matrix=176,
    slice_mm=(2.5, 3.0),
    overlap=1.0,
    positions=("HFS", "FFS"),
    oblique_deg=0.0,
    pixels="signed 16",
    padding=False,
)
# The whole pelvis in a wide field of view with oblique, overlapping slices.
_PELICAN_S = Scanner(
    manufacturer="Northfield Medical",
    model="Pelican S",
    kernels=(SOFT,),
    kvp=120,
    mas=(150, 260),
    field_mm=(340, 390),
    matrix=208,
    slice_mm=(4.0,),
    overlap=1.25,
    positions=("HFS",),
    oblique_deg=4.0,
    pixels="signed 16",
    padding=True,
)
_VISTA_16 = Scanner(
    manufacturer="Kestrel Systems",
    model="Vista 16",
    kernels=(MEDIUM, BONE),
    kvp=130,
    mas=(80, 140),
    field_mm=(185, 215),
    matrix=168,
    slice_mm=(3.5, 4.0),
    overlap=1.0,
    positions=("FFS", "HFS"),
    oblique_deg=0.0,
    pixels="unsigned 16",
    padding=False,
)
_VISTA_4 = Scanner(
    manufacturer="Kestrel Systems",
    model="Vista 4",
    kernels=(SOFT,),
    kvp=110,
    mas=(70, 120),
    field_mm=(195, 230),
    matrix=168,
    slice_mm=(4.0,),
    overlap=1.0,
    positions=("HFS", "HFP"),
    oblique_deg=6.0,
    pixels="unsigned 12",
    padding=False,
)
_HELIX_Q = Scanner(
    manufacturer="Osprey Tomography",
    model="Helix Q",
    kernels=(SOFT, BONE),
    kvp=120,
    mas=(100, 200),
    field_mm=(190, 220),
    matrix=176,
    slice_mm=(2.5,),
    overlap=1.0,
    positions=("HFP", "FFP", "HFS"),
    oblique_deg=0.0,
    pixels="signed 16",
    padding=False,
)

# The scanners of each centre, most frequent first.
CENTRES: Mapping[str, tuple[Scanner, ...]] = {
    "internal": (_AURORA_64, _AURORA_256, _PELICAN_S),
    "centre2": (_VISTA_16, _VISTA_4),
    "centre3": (_HELIX_Q, _AURORA_64),
}


@dataclass(frozen=True)
class Acquisition:
    """All parameters of one scan, drawn before it is simulated.

    Parameters
    ----------
    scanner, kernel
        Scanner and reconstruction kernel.
    mas
        Tube current–time product, mAs.
    spacing_mm
        In-plane voxel spacing and distance between slices, mm.
    thickness_mm
        Slice thickness, mm.
    shape
        Columns, rows, slices.
    position
        DICOM PatientPosition.
    oblique_deg
        Rotation of the slices about the left–right axis, degrees.
    centre_mm
        Centre of the volume in the patient's coordinates (RAS), mm.
    table_mm
        Origin of the patient's coordinates in the scanner's coordinates (RAS), mm.
    noise_hu
        Standard deviation of the noise in soft tissue, HU.
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
        Key of :data:`CENTRES`; any other centre uses the scanners of the internal one.
    body_size
        Size of the patient, 1 = average; a larger patient has more noise and a larger field of
        view.
    coverage_mm
        Scan length, mm.
    scale
        Number of voxels along every axis relative to the default; 0.5 gives an eighth of the
        voxels.

    Examples
    --------
    >>> scan = draw_acquisition(np.random.default_rng(0), "internal")
    >>> scan.scanner in CENTRES["internal"], scan.spacing_mm[1] >= 2
    (True, True)
    """
    scanners = CENTRES.get(centre, CENTRES["internal"])
    scanner = scanners[int(rng.choice(len(scanners), p=_choice_probabilities(len(scanners))))]
    kernel = scanner.kernels[int(rng.integers(len(scanner.kernels)))]
    mas = float(rng.uniform(*scanner.mas))
    matrix = max(16, 2 * round(scanner.matrix * scale / 2))
    field = float(rng.uniform(*scanner.field_mm)) * min(1.08, max(0.95, body_size))
    step = float(rng.choice(scanner.slice_mm)) / scale
    # Quantum noise in HU: proportional to 1/√(mAs · slice thickness), from the kernel's value at
    # 100 mAs and 2 mm. The cube of the body size stands for attenuation; it is chosen for the
    # phantom.
    noise = kernel.noise_hu * math.sqrt(100 / mas * 2 / (step * scanner.overlap)) * body_size**3
    # Chosen for the phantom: three scans in five on a scanner with oblique slices are oblique.
    oblique = (
        float(rng.uniform(-scanner.oblique_deg, scanner.oblique_deg)) if rng.random() < 0.6 else 0.0
    )
    count = len(scanner.positions)
    # Offsets in mm, chosen for the phantom; a wide field of view is shifted anteriorly, to the
    # middle of the body.
    return Acquisition(
        scanner=scanner,
        kernel=kernel,
        mas=round(mas, 1),
        spacing_mm=(round(field / matrix, 6), step),
        thickness_mm=step * scanner.overlap,
        shape=(matrix, matrix, max(8, math.ceil(coverage_mm / step))),
        position=scanner.positions[int(rng.choice(count, p=_choice_probabilities(count)))],
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


def _choice_probabilities(count: int) -> NDArray:
    """Probability of each option: 0.6 times that of the one before (chosen for the phantom)."""
    weights = 0.6 ** np.arange(count)
    return weights / weights.sum()


@dataclass(frozen=True)
class ScanGrid:
    """Voxel grid of a scan in two coordinate systems.

    Parameters
    ----------
    patient_affine
        (4, 4), voxel index (column, row, slice) to the patient's own coordinates (RAS, mm).
    scanner_affine
        (4, 4), voxel index to the scanner's coordinates (RAS, mm), as written to the files.
    shape
        Columns, rows, slices.
    """

    patient_affine: NDArray
    scanner_affine: NDArray
    shape: tuple[int, int, int]


def scan_grid(scan: Acquisition) -> ScanGrid:
    """Compute the voxel grid of a scan.

    Examples
    --------
    >>> grid = scan_grid(draw_acquisition(np.random.default_rng(0), "internal"))
    >>> bool(np.allclose(grid.patient_affine[:3, :3], grid.scanner_affine[:3, :3]))
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
    return ScanGrid(patient_affine=patient, scanner_affine=scanner, shape=scan.shape)


def acquire(hu: NDArray, scan: Acquisition, rng: np.random.Generator) -> NDArray[np.int16]:
    """Simulate a scan: apply the kernel's blur, the slice thickness, noise and edge enhancement.

    Parameters
    ----------
    hu
        Noise-free HU on the grid of the scan.
    scan
        Parameters of the scan.
    rng
        Random generator for the noise.

    Returns
    -------
    ndarray of int16
        HU in the same shape, clipped to −1024 and 3071, the range of 12 bits with an intercept of
        −1024.
    """
    kernel, step = scan.kernel, scan.spacing_mm[0]
    sharp = gaussian_filter(
        hu.astype(np.float32), (kernel.blur_mm / step, kernel.blur_mm / step, 0), truncate=2.5
    )
    # Overlapping slices: a rectangular profile of width t has variance t²/12. The grid already
    # averages over the distance between slices, so a Gaussian adds the difference of the two
    # variances (in voxels).
    extra = scan.thickness_mm**2 - scan.spacing_mm[1] ** 2
    if extra > 0:
        sharp = gaussian_filter1d(
            sharp, math.sqrt(extra / 12) / scan.spacing_mm[1], axis=2, truncate=3
        )
    sharp += _noise(scan, hu.shape, rng)
    if kernel.edge:
        wide = 1.1 / step  # 1.1 mm in voxels: width of the unsharp mask, chosen for the phantom
        sharp += kernel.edge * (sharp - gaussian_filter(sharp, (wide, wide, 0), truncate=2.5))
    return np.clip(np.rint(sharp), -1024, 3071).astype(np.int16)


def _noise(
    scan: Acquisition, shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Noise correlated by the kernel, strongest at the centre, where attenuation is greatest."""
    white = rng.standard_normal(shape, dtype=np.float32)
    grain = scan.kernel.grain_mm / scan.spacing_mm[0]
    fine = gaussian_filter(white, (grain, grain, 0), truncate=2.5) if grain > 0.2 else white
    # Edge enhancement amplifies noise later; 0.6 compensates for it (chosen for the phantom).
    fine *= scan.noise_hu / (1 + 0.6 * scan.kernel.edge) / float(fine[:, :, shape[2] // 2].std())
    # Gaussian of 130 mm and 110 mm standard deviation, from 1 at the centre to 0.55 outside; chosen
    # for the phantom.
    across = (np.arange(shape[0]) - shape[0] / 2) * scan.spacing_mm[0] / 130
    down = (np.arange(shape[1]) - shape[1] / 2) * scan.spacing_mm[0] / 110
    weight = 0.55 + 0.45 * np.exp(-(across[:, None] ** 2 + down[None, :] ** 2) / 2)
    return fine * weight[:, :, None].astype(np.float32)
