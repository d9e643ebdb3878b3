"""A lesion with known truth: where it is, how large, how it looks, and how to paint it into a CT, also a real one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, laplace
from scipy.spatial.transform import Rotation

from ctbone.errors import PhantomError
from ctbone.phantom.appearance import Appearance, draw_appearance, draw_evidence
from ctbone.phantom.texture import Texture

Field = NDArray[np.floating]
Point = tuple[float, float, float]

_FINEST_MM = 1.6
_AIR_HU = -300.0


@dataclass(frozen=True)
class Lesion:
    """A lesion before it is painted.

    Parameters
    ----------
    class_name
        The true class.
    evidence
        How much it resembles each class, in the order of the study's classes; what radiologists react to.
    centre
        RAS, mm.
    volume_ml
        Volume of the whole lesion with its rim and its part outside of the bone; independent of the class.
    axes
        Relative lengths of the three half-axes, product 1.
    rotation
        Rotation vector of the axes, radians.
    outwards
        Unit vector to the side on which a soft-tissue mass leaves the bone.
    appearance
        How it looks.
    seed
        Chooses the irregularities of its surface and its texture.
    """

    class_name: str
    evidence: tuple[float, ...]
    centre: Point
    volume_ml: float
    axes: Point
    rotation: Point
    outwards: Point
    appearance: Appearance
    seed: int

    @property
    def radius_mm(self) -> float:
        """Radius of the ball of the same volume."""
        return (self.volume_ml * 1000 * 3 / (4 * math.pi)) ** (1 / 3)


def draw_lesion(
    rng: np.random.Generator,
    class_name: str,
    classes: Sequence[str],
    *,
    centre: Point,
    outwards: Point = (0.0, 1.0, 0.0),
    difficulty: float = 0.5,
) -> Lesion:
    """Draw a lesion of a class.

    Parameters
    ----------
    rng
        Source of randomness.
    class_name
        The true class.
    classes
        All classes of the study; see :data:`ctbone.phantom.appearance.PROFILES`.
    centre
        Where it sits in the bone, RAS mm.
    outwards
        To which side a soft-tissue mass would leave the bone; in the sacrum forwards, into the pelvis.
    difficulty
        0: the classes look different without exception; 1: looks do not depend on the class.

    Returns
    -------
    Lesion
        With a volume drawn alike for all classes, so that size gives nothing away.

    Raises
    ------
    PhantomError
        If a class has no profile or the difficulty is out of range.
    """
    evidence = draw_evidence(rng, class_name, classes, difficulty)
    radius = float(np.clip(np.exp(rng.normal(math.log(17.5), 0.22)), 11, 27))
    stretch = np.exp(rng.normal(0, 0.14, 3))
    stretch /= np.cbrt(stretch.prod())
    aim = np.asarray(outwards, dtype=float) + rng.normal(0, 0.25, 3)
    aim /= np.linalg.norm(aim)
    return Lesion(
        class_name=class_name,
        evidence=evidence,
        centre=centre,
        volume_ml=4 / 3 * math.pi * radius**3 / 1000,
        axes=_point(stretch),
        rotation=_point(rng.uniform(-1.2, 1.2, 3)),
        outwards=_point(aim),
        appearance=draw_appearance(rng, evidence, classes),
        seed=int(rng.integers(2**31)),
    )


def choose_centre(
    bone_mask: NDArray[np.bool_], affine: NDArray, rng: np.random.Generator, *, depth_mm: float = 5
) -> Point:
    """Choose a place inside a bone, preferring its thick parts.

    Parameters
    ----------
    bone_mask
        Where the bone is.
    affine
        Of the mask, voxels to RAS mm.
    rng
        Source of randomness.
    depth_mm
        Least distance to the surface, where the bone has it.

    Raises
    ------
    PhantomError
        If the mask is empty.
    """
    if not bone_mask.any():
        raise PhantomError(
            "the mask of the bone is empty", remedy="give a mask that covers the bone"
        )
    depth = distance_transform_edt(bone_mask, sampling=np.linalg.norm(affine[:3, :3], axis=0))
    weight = np.clip(depth - min(depth_mm, 0.6 * depth.max()), 0, None).ravel()
    index = np.unravel_index(int(rng.choice(weight.size, p=weight / weight.sum())), depth.shape)
    return _point(affine[:3, :3] @ np.array(index) + affine[:3, 3])


def paint_lesion(
    hu: NDArray,
    affine: NDArray,
    bone_mask: NDArray[np.bool_],
    lesion: Lesion,
    rng: np.random.Generator,
) -> tuple[Field, NDArray[np.bool_]]:
    """Paint a lesion into a CT.

    The lesion is a level set grown until it has its volume: from a stretched ball with a rough surface, held back at
    the surface of the bone as far as its appearance asks, and never into air. Thick slices are divided for partial
    volume. Grain as strong as that of the image around is added, so that a real CT does not turn smooth where the
    lesion is.

    Parameters
    ----------
    hu
        Hounsfield units, three axes; not changed.
    affine
        4 × 4, voxels to RAS mm.
    bone_mask
        Where the bone is that bears the lesion, same shape.
    lesion
        What to paint.
    rng
        Source of the grain.

    Returns
    -------
    hu, mask
        The CT with the lesion (float32) and the lesion's mask (bool), same shape.

    Raises
    ------
    PhantomError
        If the lesion does not lie in the image or the shapes differ.
    """
    if hu.shape != bone_mask.shape:
        raise PhantomError(
            "image and bone mask differ in shape", found=bone_mask.shape, expected=hu.shape
        )
    block = _block(lesion, np.asarray(affine, dtype=float), hu.shape)
    patch = hu[block.slices].astype(np.float32)
    fine = _Fine(block, patch, bone_mask[block.slices])
    level = _level(lesion, fine)
    share, painted = _tissue(lesion, fine, level)
    share_mean, painted_mean = fine.mean(share), fine.mean(share * painted)
    grain = _grain(patch, rng)
    result = hu.astype(np.float32, copy=True)
    result[block.slices] = patch * (1 - share_mean) + painted_mean + grain * share_mean
    mask = np.zeros(hu.shape, dtype=bool)
    mask[block.slices] = fine.mean(level) <= 0
    return result, mask


@dataclass(frozen=True)
class _Block:
    """The part of the image around a lesion."""

    slices: tuple[slice, slice, slice]
    affine: NDArray
    spacing: NDArray


def _block(lesion: Lesion, affine: NDArray, shape: tuple[int, ...]) -> _Block:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    middle = np.linalg.solve(affine[:3, :3], np.array(lesion.centre) - affine[:3, 3])
    if np.any(middle < -0.5) or np.any(middle > np.array(shape) - 0.5):
        raise PhantomError("the lesion's centre lies outside of the image", found=lesion.centre)
    reach = (lesion.radius_mm * (1.7 + 0.6 * lesion.appearance.mass_offset) + 9) / spacing
    low = np.clip(np.floor(middle - reach), 0, None).astype(int)
    high = np.minimum(np.ceil(middle + reach).astype(int) + 1, shape)
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ low
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return _Block(slices=(i, j, k), affine=moved, spacing=spacing)


class _Fine:
    """Sub-voxels of a block: their coordinates, their distance to the bone's surface, the HU below them."""

    def __init__(self, block: _Block, patch: Field, bone: NDArray[np.bool_]) -> None:
        self.parts = tuple(max(1, round(float(step) / _FINEST_MM)) for step in block.spacing)
        self.shape = patch.shape
        places = [
            (np.arange(n * p) + 0.5) / p - 0.5 for n, p in zip(patch.shape, self.parts, strict=True)
        ]
        index = np.stack(np.meshgrid(*places, indexing="ij")).astype(np.float32)
        linear = block.affine[:3, :3].astype(np.float32)
        start = block.affine[:3, 3]
        self.x, self.y, self.z = (
            np.tensordot(linear[axis], index, axes=1) + float(start[axis]) for axis in range(3)
        )
        sampling = block.spacing
        outside = distance_transform_edt(~bone, sampling=sampling) - distance_transform_edt(
            bone, sampling=sampling
        )
        self.outside_mm = _interpolate(outside.astype(np.float32), places)
        self.hu = _interpolate(patch, places)
        self.voxel_ml = float(np.prod(block.spacing)) / 1000 / math.prod(self.parts)

    def mean(self, values: Field) -> Field:
        """Mean over the parts of each voxel."""
        (a, b, c), (p, q, r) = self.shape, self.parts
        return values.reshape(a, p, b, q, c, r).mean(axis=(1, 3, 5))


def _interpolate(values: Field, places: list[NDArray]) -> Field:
    """Linear interpolation at the crossings of ``places`` (voxel indices along each axis), constant beyond the edge."""
    for axis, place in enumerate(places):
        if len(place) == values.shape[axis]:
            continue
        low = np.clip(np.floor(place).astype(int), 0, max(0, values.shape[axis] - 2))
        high = np.minimum(low + 1, values.shape[axis] - 1)
        share = np.expand_dims(
            np.clip(place - low, 0, 1).astype(np.float32), tuple(a for a in range(3) if a != axis)
        )
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values


def _level(lesion: Lesion, fine: _Fine) -> Field:
    """Signed distance to the lesion's surface, about mm, negative in exactly the lesion's volume."""
    look, radius = lesion.appearance, lesion.radius_mm
    x, y, z = (
        axis - float(c) for axis, c in zip((fine.x, fine.y, fine.z), lesion.centre, strict=True)
    )
    turn = Rotation.from_rotvec(lesion.rotation).as_matrix().T / np.array(lesion.axes)[:, None]
    reach = np.sqrt(sum(np.square(float(a) * x + float(b) * y + float(c) * z) for a, b, c in turn))
    if look.mass_offset > 0.05:
        ox, oy, oz = (look.mass_offset * radius * c for c in lesion.outwards)
        lobe = np.sqrt(np.square(x - ox) + np.square(y - oy) + np.square(z - oz)) + 0.05 * radius
        reach = _smooth_min(reach, lobe, 0.8 * radius)
    # Lobulated everywhere; ragged only in bone, whose trabeculae are destroyed one by one.
    ragged = np.clip(1.5 - fine.outside_mm / 2, 0, 1)
    rough = 0.85 * Texture(lesion.seed, 0.6 * radius, cells=9)(x, y, z)
    rough += 0.45 * ragged * Texture(lesion.seed + 1, 0.25 * radius, cells=6)(x, y, z)
    level = reach - np.clip(look.irregularity * radius * rough, -0.6 * radius, 0.6 * radius)
    level += 2.5 * np.clip(fine.outside_mm - look.breach_mm, 0, None)
    level += 40 * np.clip((_AIR_HU - fine.hu) / 300, 0, 1)
    count = round(lesion.volume_ml / fine.voxel_ml)
    if count >= level.size:
        raise PhantomError(
            "the image is too small for the lesion", found=f"{lesion.volume_ml:.1f} ml"
        )
    return level - np.partition(level.ravel(), count)[count]


def _tissue(lesion: Lesion, fine: _Fine, level: Field) -> tuple[Field, Field]:
    """Share of each sub-voxel that the lesion takes, and the HU it has there."""
    look, seed = lesion.appearance, lesion.seed
    x, y, z = fine.x, fine.y, fine.z
    blotch = Texture(seed + 2, 6.0)(x, y, z)
    fleck = Texture(seed + 3, 3.0)(x, y, z)
    in_bone = np.clip(0.5 - (fine.outside_mm - 1) / 2, 0, 1)
    ragged = level + 0.35 * (look.margin_mm - 1) * fleck * in_bone
    share = np.clip(0.5 - ragged / look.margin_mm, 0, 1)
    # In fat and muscle a lesion has an ordinary surface; only bone can be permeated.
    share = share * in_bone + np.clip(0.5 - level / 1.5, 0, 1) * (1 - in_bone)
    holes = (
        np.clip((fleck - 2.0 + 1.4 * look.permeation) * 3, 0, 1)
        * np.clip(1 - level / 8, 0, 1)
        * (level > 0)
    )
    share = np.maximum(share, 0.85 * holes * in_bone * min(1.0, 2 * look.permeation))
    shell = np.clip(1.6 - np.abs(fine.outside_mm + 1.0), 0, 1)
    # What lies deep inside, such as the wall of a foramen, goes; the bone's outer surface over the lesion stays.
    share *= 1 - look.cortex_kept * shell * (fine.hu > 250) * np.clip((level + 6) / 3, 0, 1)
    inside = look.matrix_hu + look.heterogeneity_hu * (0.8 * blotch + 0.5 * fleck)
    bits = (
        np.clip((fleck + 0.6 * blotch - 2.9 + 10 * look.mineral) * 2, 0, 1)
        * in_bone
        * (look.mineral > 0.01)
    )
    inside = inside + bits * (420 - inside)
    rim = (
        np.clip(look.rim_mm - 0.3 * look.rim_mm * np.abs(blotch) + level, 0, 1.2)
        / 1.2
        * np.clip(1.0 - level, 0, 1)
    )
    near_bone = np.clip((look.breach_mm + 3 - fine.outside_mm) / 2, 0, 1)
    rim *= near_bone
    share = np.maximum(share, rim)
    return share.astype(np.float32), (inside + rim * (look.rim_hu - inside)).astype(np.float32)


def _grain(patch: Field, rng: np.random.Generator) -> Field:
    """Voxel noise as strong as in the soft tissue of the patch (none if that is smooth)."""
    soft = (patch > -30) & (patch < 120)
    if soft.sum() < 50:
        return np.zeros_like(patch)
    # The 6-point Laplacian of white noise has √42 times its standard deviation; the median keeps borders out.
    edges = np.abs(laplace(patch)[soft])
    strength = float(np.median(edges)) / 0.6745 / math.sqrt(42)
    return (strength * rng.standard_normal(patch.shape)).astype(np.float32)


def _smooth_min(a: Field, b: Field, radius: float) -> Field:
    blend = np.clip(radius - np.abs(a - b), 0, None)
    return np.minimum(a, b) - blend * blend * (0.25 / radius)


def _point(values: NDArray) -> Point:
    a, b, c = (float(value) for value in values)
    return a, b, c
