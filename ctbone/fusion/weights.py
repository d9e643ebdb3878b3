"""How the weights are found: a search over the simplex on the validation predictions of one fold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from ctbone.errors import FusionError
from ctbone.stats import auc

Aim = Literal["auc", "log_loss"]

_STEPS = (100, 50, 20, 10, 5)
_MOST_POINTS = 2000
_SAME = 1e-12
_SMALLEST = 1e-15


@dataclass(frozen=True)
class Search:
    """The outcome of a search.

    Attributes
    ----------
    weights
        Shape (parts,), 0–1, adding up to 1.
    aim
        What was optimised.
    value
        Its value at these weights on the validation predictions.
    plateau
        How many grid points reach that value in one connected piece; the weights are its centre.
    """

    weights: np.ndarray
    aim: Aim
    value: float
    plateau: int


def simplex_grid(parts: int) -> np.ndarray:
    """All weights on a regular grid that add up to 1, in whole steps, shape (points, parts).

    The grid is as fine as 2000 points allow: hundredths for two parts, fiftieths for three.

    Raises
    ------
    FusionError
        There are too many parts for a grid.

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
    """Find the weights whose average fits the validation cases best.

    The AUC of a few dozen cases is flat over stretches of weights. Of the best points the largest connected piece
    counts, and of that the point nearest its centre, where a small change of the cases moves the result least; equal
    choices go to the smaller log-loss.

    Parameters
    ----------
    probabilities
        Of the validation cases, shape (parts, cases, classes), 0–1.
    labels
        Index of each case's class, shape (cases,).
    aim
        ``auc`` (two classes: of either, the same; more: the mean of one class against the rest) or ``log_loss``.

    Returns
    -------
    Search

    Raises
    ------
    FusionError
        A class is absent, so that there is no AUC.

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
    return Search(grid[chosen] / steps, aim, float(value), piece)


def aucs(weights: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """AUC of the average under each of many weights, shape (points,); macro one-vs-rest for more than two classes.

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
        # Cases that every part finds alike must tie; without rounding the last digit would rank them.
        fused = np.round(weights @ probabilities[:, :, number], 12)
        truth = labels == number
        total += [auc(truth, scores) or 0.0 for scores in fused]
    return total / len(judged)


def _log_losses(weights: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of -log(probability of the true class) under each of many weights, shape (points,)."""
    of_truth = probabilities[:, np.arange(len(labels)), labels]
    losses: np.ndarray = -np.log(np.clip(weights @ of_truth, _SMALLEST, 1)).mean(axis=1)
    return losses


def _centre(grid: np.ndarray, best: np.ndarray, losses: np.ndarray) -> tuple[int, int]:
    """Return the size of the largest connected piece of the best grid points, and its central point."""
    pieces = _pieces(grid[best])
    sizes = np.bincount(pieces)
    candidates = []
    for number in np.flatnonzero(sizes == sizes.max()):
        points = best[pieces == number]
        distance = np.linalg.norm(grid[points] - grid[points].mean(axis=0), axis=1)
        candidates += list(points[distance <= distance.min() + _SAME])
    return int(sizes.max()), int(min(candidates, key=lambda point: (losses[point], point)))


def _pieces(points: np.ndarray) -> np.ndarray:
    """Give each point the number of its connected piece; neighbours differ by one step between two parts."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(1.5, output_type="ndarray")
    links = coo_array(
        (np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points))
    )
    numbers: np.ndarray = connected_components(links, directed=False)[1]
    return numbers
