"""The maps by the names of the settings, with lengths in mm turned into voxels."""

from __future__ import annotations

import torch

from ctbone.config import ExplainMethod, ExplainSettings
from ctbone.explaining.activation_maps import grad_cam, grad_cam_plus_plus, score_cam
from ctbone.explaining.evidence import Evidence
from ctbone.explaining.input_maps import integrated_gradients, occlusion

TITLES: dict[ExplainMethod, str] = {
    "grad-cam": "Grad-CAM",
    "grad-cam++": "Grad-CAM++",
    "score-cam": "Score-CAM",
    "integrated-gradients": "Integrated gradients",
    "occlusion": "Occlusion",
}

NEEDS_LAYER = ("grad-cam", "grad-cam++", "score-cam")
"""Class activation maps, which are drawn at a layer."""


def draw_map(
    method: ExplainMethod,
    evidence: Evidence,
    image: torch.Tensor,
    *,
    layer: str,
    spacing: float,
    settings: ExplainSettings,
) -> torch.Tensor:
    """Draw a map of one image.

    Parameters
    ----------
    method
        Its name in the settings.
    evidence
        The network and the class.
    image
        (1, channels, …grid).
    layer
        Of class activation maps; the others ignore it.
    spacing
        Edge of a voxel in mm.
    settings
        Channels of Score-CAM, steps, smoothing and the edge of the occluded cube.

    Returns
    -------
    torch.Tensor
        (…grid), 0 or more.
    """
    if method == "grad-cam":
        return grad_cam(evidence, image, layer)
    if method == "grad-cam++":
        return grad_cam_plus_plus(evidence, image, layer)
    if method == "score-cam":
        return score_cam(evidence, image, layer, channels=settings.score_cam_channels)
    if method == "integrated-gradients":
        smooth = settings.smoothing / spacing
        return integrated_gradients(evidence, image, steps=settings.steps, smooth=smooth)
    edge = min(max(2, round(settings.occlusion / spacing)), min(image.shape[2:]))
    return occlusion(evidence, image, edge=edge, stride=max(1, edge // 2))


def options_of(method: ExplainMethod, settings: ExplainSettings) -> dict[str, object]:
    """Return the settings that a map depends on, for its record."""
    names = {
        "score-cam": ("score_cam_channels",),
        "integrated-gradients": ("steps", "smoothing"),
        "occlusion": ("occlusion",),
    }.get(method, ())
    return {name: getattr(settings, name) for name in names}
