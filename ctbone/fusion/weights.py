"""Search of the fusion weights over the simplex, on one fold's validation predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from ctbone.errors import FusionError
from ctbone.stats import auc

Aim = Literal["auc", "log_loss"]

# Steps of the grid from 0 to 1, the finest first, and the number of points that limits it.
_STEPS = (100, 50, 20, 10, 5)
_MOST_POINTS = 2000
# Values that differ by less count as equal: above rounding errors, below one step of an AUC.
_SAME = 1e-12
# Lower limit of a probability in the log-loss.
_SMALLEST = 1e-15


@dataclass(frozen=True)
class Search:
    """Result of a search.

    Attributes
    ----------
    weights
        Shape (parts,), 0–1, adding up to 1.
    aim
        The optimised measure.
    value
        Its value on the validation predictions with these weights.
    plateau
        Number of connected grid points with that value; the weights are their centre.
    """

    weights: np.ndarray
    aim: Aim
    value: float
    plateau: int


def simplex_grid(parts: int) -> np.ndarray:
    """Return all weights on a regular grid, in whole steps, shape (points, parts).

    The grid is as fine as 2000 points allow: steps of 1/100 for two parts, of 1/50 for three.

    Raises
    ------
    FusionError
        There are more than 7 parts.

    Examples
    --------
    >>> grid = simplex_grid(2)
    >>> grid.shape, grid[:2].tolist()
    ((101, 2), [[0, 100], [1, 99]])
    """
    fitting = [steps for steps in _STEPS if math.comb(steps + parts - 1, parts - 1) <= _MOST_POINTS]
    if not fitting:
        raise FusionError(
            "too many parts to search their weights",
            found=parts,
            expected="7 or fewer",
            remedy="weights: equal",
        )
    steps = fitting[0]
    bars = np.array(list(combinations(range(steps + parts - 1), parts - 1)))
    edges = np.hstack(
        [np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), steps + parts - 1)]
    )
    return np.diff(edges, axis=1) - 1


def search_weights(probabilities: np.ndarray, labels: np.ndarray, aim: Aim) -> Search:
    """Find the weights with the best average on the validation cases.

    The AUC of a few dozen cases is constant over ranges of weights. Of the best grid points, the
    largest connected set is taken, and of this set the point nearest to its centre, because there
    a small change of the cases changes the weights least. The lower log-loss breaks ties.

    Parameters
    ----------
    probabilities
        Of the validation cases, shape (parts, cases, classes), 0–1.
    labels
        Index of each case's class, shape (cases,).
    aim
        ``auc`` (with more than two classes, the mean of the one-vs-rest AUCs) or ``log_loss``.

    Returns
    -------
    Search

    Raises
    ------
    FusionError
        A class is absent, so the AUC is not defined.

    Examples
    --------
    >>> good, noise = np.array([0.1, 0.4, 0.6, 0.9]), np.array([0.9, 0.2, 0.8, 0.1])
    >>> parts = np.stack([np.column_stack([1 - p, p]) for p in (good, noise)])
    >>> search_weights(parts, np.array([0, 0, 1, 1]), "auc").weights.tolist()
    [0.76, 0.24]
    """
    grid = simplex_grid(len(probabilities))
    steps = grid[0].sum()
    losses = _log_losses(grid / steps, probabilities, labels)
    goal = -losses if aim == "log_loss" else aucs(grid / steps, probabilities, labels)
    best = np.flatnonzero(goal >= goal.max() - _SAME)
    piece, chosen = _centre(grid, best, losses)
    value = losses[chosen] if aim == "log_loss" else goal[chosen]
    return Search(weights=grid[chosen] / steps, aim=aim, value=float(value), plateau=piece)


def aucs(weights: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the AUC of the weighted average for each of many weights, shape (points,).

    With more than two classes it is the mean of the one-vs-rest AUCs.

    Parameters
    ----------
    weights
        Shape (points, parts).
    probabilities
        Shape (parts, cases, classes).
    labels
        Index of each case's class, shape (cases,).

    Raises
    ------
    FusionError
        A class is absent.
    """
    classes = probabilities.shape[2]
    if len(np.unique(labels)) < classes:
        raise FusionError(
            "the validation cases lack a class, so there is no AUC to maximise",
            remedy="set fusion.weights to 'log_loss' or 'equal'",
        )
    judged = [1] if classes == 2 else range(classes)
    total = np.zeros(len(weights))
    for number in judged:
        # Cases with equal probabilities in every part must tie; rounding removes float noise.
        fused = np.round(weights @ probabilities[:, :, number], 12)
        truth = labels == number
        total += [auc(truth, scores) or 0.0 for scores in fused]
    return total / len(judged)


def _log_losses(weights: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean of -log(probability of the true class) for each of many weights."""
    of_truth = probabilities[:, np.arange(len(labels)), labels]
    losses: np.ndarray = -np.log(np.clip(weights @ of_truth, _SMALLEST, 1)).mean(axis=1)
    return losses


def _centre(grid: np.ndarray, best: np.ndarray, losses: np.ndarray) -> tuple[int, int]:
    """Return the size of the largest connected set of the best grid points, and its centre."""
    pieces = _pieces(grid[best])
    sizes = np.bincount(pieces)
    candidates = []
    for number in np.flatnonzero(sizes == sizes.max()):
        points = best[pieces == number]
        distance = np.linalg.norm(grid[points] - grid[points].mean(axis=0), axis=1)
        candidates += list(points[distance <= distance.min() + _SAME])
    return int(sizes.max()), int(min(candidates, key=lambda point: (losses[point], point)))


def _pieces(points: np.ndarray) -> np.ndarray:
    """Return the number of each point's connected set.

    Neighbours differ by one step between two parts: their distance is sqrt(2) steps, and the next
    larger distance is 2 steps.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(1.5, output_type="ndarray")
    links = coo_array(
        (np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points))
    )
    numbers: np.ndarray = connected_components(links, directed=False)[1]
    return numbers
