"""Class activation maps: Grad-CAM, Grad-CAM++ and Score-CAM, in 2D and 3D."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from ctbone.explaining.evidence import Evidence
from ctbone.explaining.layers import watched


def grad_cam(evidence: Evidence, image: torch.Tensor, layer: str) -> torch.Tensor:
    """Grad-CAM: channels of a layer, weighted by the mean gradient of the score.

    Parameters
    ----------
    evidence
        The network and the class.
    image
        (1, channels, …grid).
    layer
        Name of a layer whose output has a grid.

    Returns
    -------
    torch.Tensor
        Evidence for the class, (…grid), 0 or more; a cell's value is interpolated linearly.

    References
    ----------
    Selvaraju et al., ICCV 2017, doi:10.1109/ICCV.2017.74.
    """
    channels, gradient = _activations(evidence, image, layer)
    weights = gradient.mean(dim=_space(gradient), keepdim=True)
    return _on_image((weights * channels).sum(dim=1, keepdim=True), image)


def grad_cam_plus_plus(evidence: Evidence, image: torch.Tensor, layer: str) -> torch.Tensor:
    """Grad-CAM++: each cell's positive gradient counts with a weight from its powers.

    With the exponential of the score as the function that is explained, the second and third
    derivative are the square and the cube of the gradient.

    Parameters
    ----------
    evidence, image, layer
        As in `grad_cam`.

    Returns
    -------
    torch.Tensor
        As `grad_cam`.

    References
    ----------
    Chattopadhyay et al., WACV 2018, doi:10.1109/WACV.2018.00097, equations 10 and 19.
    """
    channels, gradient = _activations(evidence, image, layer)
    square = gradient.square()
    sums = channels.sum(dim=_space(channels), keepdim=True)
    below = 2 * square + sums * square * gradient
    alpha = torch.where(below != 0, square / torch.where(below != 0, below, 1), 0)
    weights = (alpha * gradient.clamp(min=0)).sum(dim=_space(gradient), keepdim=True)
    return _on_image((weights * channels).sum(dim=1, keepdim=True), image)


def score_cam(
    evidence: Evidence, image: torch.Tensor, layer: str, *, channels: int | None = None
) -> torch.Tensor:
    """Score-CAM: channels of a layer, weighted by the score of the image seen through each.

    A channel is scaled to 0–1 and multiplied with the image. Its weight is the softmax, over the
    channels, of the score that remains. Channels that do not vary are left out.

    Parameters
    ----------
    evidence, image, layer
        As in `grad_cam`.
    channels
        How many take part, those that vary most over the grid; None for all.

    Returns
    -------
    torch.Tensor
        As `grad_cam`.

    References
    ----------
    Wang et al., CVPR Workshops 2020, doi:10.1109/CVPRW50498.2020.00020.
    """
    with torch.inference_mode(), watched(evidence.network, layer) as collected:
        evidence.score(image)
    cells = collected[0].float()[0]
    spread = cells.flatten(1).std(dim=1)
    taken = spread.argsort(descending=True)[: channels or len(spread)]
    taken = taken[spread[taken] > 0]
    if not len(taken):
        return torch.zeros(image.shape[2:], device=image.device)
    cells = cells[taken]
    low, high = cells.flatten(1).aminmax(dim=1)
    shape = (-1, *[1] * (cells.dim() - 1))
    scaled = (cells - low.reshape(shape)) / (high - low).reshape(shape)
    air = torch.zeros_like(image)
    masks = (part[:, None] for part in scaled.split(evidence.batch))
    scores = evidence.scores(
        evidence.replaced(image, air, _enlarged(mask, image)) for mask in masks
    )
    weights = scores.softmax(dim=0).reshape(shape)
    return _on_image((weights * cells).sum(dim=0)[None, None], image)


def _activations(
    evidence: Evidence, image: torch.Tensor, layer: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the output of a layer and the gradient of the score by it, (1, channels, …cells)."""
    with torch.enable_grad(), watched(evidence.network, layer) as collected:
        score = evidence.score(image).sum()
        (gradient,) = torch.autograd.grad(score, collected[0])
    return collected[0].detach().float(), gradient.float()


def _space(cells: torch.Tensor) -> tuple[int, ...]:
    return tuple(range(2, cells.dim()))


def _on_image(cells: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Clip evidence against the class, and interpolate (1, 1, …cells) to the image's grid."""
    return _enlarged(cells.clamp(min=0), image)[0, 0]


def _enlarged(cells: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    mode = "trilinear" if cells.dim() == 5 else "bilinear"
    return interpolate(cells, size=image.shape[2:], mode=mode, align_corners=False)
