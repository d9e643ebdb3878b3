"""Synthetic lesions with known truth, painted into a synthetic or a real CT."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, laplace
from scipy.spatial.transform import Rotation

from ctbone.errors import PhantomError
from ctbone.phantom.class_appearance import Appearance, draw_appearance, draw_evidence
from ctbone.phantom.texture import Texture

Field = NDArray[np.floating]
Point = tuple[float, float, float]

# Voxels are divided into sub-voxels of about this size (mm) for partial volume; chosen for the
# phantom.
_SUBVOXEL_MM = 1.6
# A lesion does not grow into voxels below this value (HU): between gas (below −800) and fat (about
# −100).
_NO_GROWTH_BELOW_HU = -300.0
# HU of residual or new bone inside a lesion, and the bone density that counts as cortex; chosen for
# the phantom.
_MINERAL_HU = 420
_CORTEX_HU = 250


@dataclass(frozen=True)
class PhantomLesion:
    """All drawn parameters of a lesion.

    Parameters
    ----------
    class_name
        The true class.
    evidence
        Latent evidence for each class, in the order of the study's classes; readers respond to it.
    centre
        RAS, mm.
    volume_ml
        Total volume with the rim and the part outside the bone, ml; independent of the class.
    axes
        Relative lengths of the three semi-axes, product 1.
    rotation
        Rotation vector of the axes, radians.
    outwards
        Unit vector (RAS) in which a soft-tissue mass leaves the bone.
    appearance
        Appearance on CT.
    seed
        Random seed of the surface and the texture.
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
        """Radius of the sphere of equal volume, mm."""
        return (self.volume_ml * 1000 * 3 / (4 * math.pi)) ** (1 / 3)


def draw_lesion(
    rng: np.random.Generator,
    class_name: str,
    classes: Sequence[str],
    *,
    centre: Point,
    outwards: Point = (0.0, 1.0, 0.0),
    difficulty: float = 0.5,
) -> PhantomLesion:
    """Draw a lesion of a class.

    Parameters
    ----------
    rng
        Random generator.
    class_name
        The true class.
    classes
        All classes of the study; see :data:`ctbone.phantom.class_appearance.PROFILES`.
    centre
        Centre of the lesion in the bone, RAS mm.
    outwards
        Direction (RAS) in which a soft-tissue mass leaves the bone; for the sacrum anterior, into
        the pelvis.
    difficulty
        0: the classes never overlap in appearance; 1: appearance is independent of the class.

    Returns
    -------
    PhantomLesion
        The volume is drawn from the same distribution for all classes.

    Raises
    ------
    PhantomError
        A class has no profile, or the difficulty is outside 0 to 1.
    """
    evidence = draw_evidence(rng, class_name, classes=classes, difficulty=difficulty)
    # Log-normal radius with a median of 17.5 mm, 11 to 27 mm; elongation and direction vary, too.
    # All chosen for the phantom.
    radius = float(np.clip(np.exp(rng.normal(math.log(17.5), 0.22)), 11, 27))
    stretch = np.exp(rng.normal(0, 0.14, 3))
    stretch /= np.cbrt(stretch.prod())
    aim = np.asarray(outwards, dtype=float) + rng.normal(0, 0.25, 3)
    aim /= np.linalg.norm(aim)
    return PhantomLesion(
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
    """Choose a random point inside a bone, weighted by the distance to its surface.

    Parameters
    ----------
    bone_mask
        Mask of the bone.
    affine
        (4, 4), voxel index of the mask to RAS mm.
    rng
        Random generator.
    depth_mm
        Minimum distance to the surface, mm; a thin bone uses 0.6 of its maximum depth.

    Raises
    ------
    PhantomError
        The mask is empty.
    """
    if not bone_mask.any():
        raise PhantomError("the bone mask is empty", remedy="provide a mask that covers the bone")
    depth = distance_transform_edt(bone_mask, sampling=np.linalg.norm(affine[:3, :3], axis=0))
    weight = np.clip(depth - min(depth_mm, 0.6 * depth.max()), 0, None).ravel()
    index = np.unravel_index(int(rng.choice(weight.size, p=weight / weight.sum())), depth.shape)
    return _point(affine[:3, :3] @ np.array(index) + affine[:3, 3])


def paint_lesion(
    hu: NDArray,
    affine: NDArray,
    bone_mask: NDArray[np.bool_],
    lesion: PhantomLesion,
    rng: np.random.Generator,
) -> tuple[Field, NDArray[np.bool_]]:
    """Paint a lesion into a CT.

    The lesion is the level set with the drawn volume of an ellipsoid with a rough surface. Growth
    beyond the bone is limited by the appearance, and air is excluded. Voxels are divided into
    sub-voxels for partial volume. Noise as strong as that of the surrounding image is added, so
    that the lesion in a real CT is not smoother than its surroundings.

    Parameters
    ----------
    hu
        HU, three axes; not modified.
    affine
        (4, 4), voxel index to RAS mm.
    bone_mask
        Mask of the bone that bears the lesion, same shape.
    lesion
        The lesion.
    rng
        Random generator for the noise.

    Returns
    -------
    hu, mask
        The CT with the lesion (float32, HU) and the lesion mask (bool), same shape.

    Raises
    ------
    PhantomError
        The lesion's centre lies outside the image, the image is too small for the lesion, or the
        shapes differ.
    """
    if hu.shape != bone_mask.shape:
        raise PhantomError(
            "the bone mask and the image differ in shape", found=bone_mask.shape, expected=hu.shape
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
    """Part of the image around a lesion: index ranges, affine (to RAS mm) and spacing (mm)."""

    slices: tuple[slice, slice, slice]
    affine: NDArray
    spacing: NDArray


def _block(lesion: PhantomLesion, affine: NDArray, shape: tuple[int, ...]) -> _Block:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    middle = np.linalg.solve(affine[:3, :3], np.array(lesion.centre) - affine[:3, 3])
    if np.any(middle < -0.5) or np.any(middle > np.array(shape) - 0.5):
        raise PhantomError("the lesion's centre lies outside the image", found=lesion.centre)
    # Half-width of the block (mm): stretched and rough ellipsoid, soft-tissue mass, and 9 mm of
    # margin.
    reach = (lesion.radius_mm * (1.7 + 0.6 * lesion.appearance.mass_offset) + 9) / spacing
    low = np.clip(np.floor(middle - reach), 0, None).astype(int)
    high = np.minimum(np.ceil(middle + reach).astype(int) + 1, shape)
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ low
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return _Block(slices=(i, j, k), affine=moved, spacing=spacing)


class _Fine:
    """Sub-voxels of a block: coordinates (RAS mm), signed distance to the bone (mm) and HU."""

    def __init__(self, block: _Block, patch: Field, bone: NDArray[np.bool_]) -> None:
        self.parts = tuple(max(1, round(float(step) / _SUBVOXEL_MM)) for step in block.spacing)
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
        """Mean over the sub-voxels of each voxel."""
        (a, b, c), (p, q, r) = self.shape, self.parts
        return values.reshape(a, p, b, q, c, r).mean(axis=(1, 3, 5))


def _interpolate(values: Field, places: list[NDArray]) -> Field:
    """Interpolate linearly at ``places`` (voxel indices per axis), constant beyond the edge."""
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


def _level(lesion: PhantomLesion, fine: _Fine) -> Field:
    """Approximate signed distance to the lesion's surface, mm; the drawn volume is negative."""
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
    # Surface roughness: lobulation everywhere, finer irregularity only in bone. Weights and scales
    # here and in _tissue are chosen for the phantom.
    ragged = np.clip(1.5 - fine.outside_mm / 2, 0, 1)
    rough = 0.85 * Texture(lesion.seed, 0.6 * radius, cells=9)(x, y, z)
    rough += 0.45 * ragged * Texture(lesion.seed + 1, 0.25 * radius, cells=6)(x, y, z)
    level = reach - np.clip(look.irregularity * radius * rough, -0.6 * radius, 0.6 * radius)
    # Growth beyond the bone's limit is penalised 2.5 mm per mm, growth into air by 40 mm.
    level += 2.5 * np.clip(fine.outside_mm - look.breach_mm, 0, None)
    level += 40 * np.clip((_NO_GROWTH_BELOW_HU - fine.hu) / 300, 0, 1)
    count = round(lesion.volume_ml / fine.voxel_ml)
    if count >= level.size:
        raise PhantomError(
            "the image is too small for the lesion",
            found=f"{lesion.volume_ml:.1f} ml of lesion",
            expected=f"less than {level.size * fine.voxel_ml:.1f} ml around its centre",
        )
    return level - np.partition(level.ravel(), count)[count]


def _tissue(lesion: PhantomLesion, fine: _Fine, level: Field) -> tuple[Field, Field]:
    """Share of each sub-voxel that the lesion occupies, and the lesion's HU there."""
    look, seed = lesion.appearance, lesion.seed
    x, y, z = fine.x, fine.y, fine.z
    blotch = Texture(seed + 2, 6.0)(x, y, z)
    fleck = Texture(seed + 3, 3.0)(x, y, z)
    in_bone = np.clip(0.5 - (fine.outside_mm - 1) / 2, 0, 1)
    ragged = level + 0.35 * (look.margin_mm - 1) * fleck * in_bone
    share = np.clip(0.5 - ragged / look.margin_mm, 0, 1)
    # Outside bone the margin is 1.5 mm wide; only bone is permeated.
    share = share * in_bone + np.clip(0.5 - level / 1.5, 0, 1) * (1 - in_bone)
    holes = (
        np.clip((fleck - 2.0 + 1.4 * look.permeation) * 3, 0, 1)
        * np.clip(1 - level / 8, 0, 1)
        * (level > 0)
    )
    share = np.maximum(share, 0.85 * holes * in_bone * min(1.0, 2 * look.permeation))
    shell = np.clip(1.6 - np.abs(fine.outside_mm + 1.0), 0, 1)
    # The preserved cortex is the bone's outer surface near the lesion's surface. Cortex deep inside
    # the lesion, such as the wall of a foramen, is destroyed.
    share *= 1 - look.cortex_kept * shell * (fine.hu > _CORTEX_HU) * np.clip((level + 6) / 3, 0, 1)
    inside = look.matrix_hu + look.heterogeneity_hu * (0.8 * blotch + 0.5 * fleck)
    bone_bits = (
        np.clip((fleck + 0.6 * blotch - 2.9 + 10 * look.mineral) * 2, 0, 1)
        * in_bone
        * (look.mineral > 0.01)
    )
    inside = inside + bone_bits * (_MINERAL_HU - inside)
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
    """Draw voxel noise as strong as in the soft tissue of the patch; zero where that is smooth."""
    # Soft tissue: −30 to 120 HU; fewer than 50 voxels give no estimate.
    soft = (patch > -30) & (patch < 120)
    if soft.sum() < 50:
        return np.zeros_like(patch)
    # The 6-point Laplacian of white noise has √42 times its standard deviation (6² + 6 · 1²). The
    # median of the absolute values, 0.6745 standard deviations for a normal distribution, is robust
    # against edges.
    edges = np.abs(laplace(patch)[soft])
    strength = float(np.median(edges)) / 0.6745 / math.sqrt(42)
    return (strength * rng.standard_normal(patch.shape)).astype(np.float32)


def _smooth_min(a: Field, b: Field, radius: float) -> Field:
    """Minimum with a rounded edge of about ``radius`` mm (polynomial blend)."""
    blend = np.clip(radius - np.abs(a - b), 0, None)
    return np.minimum(a, b) - blend * blend * (0.25 / radius)


def _point(values: NDArray) -> Point:
    a, b, c = (float(value) for value in values)
    return a, b, c
