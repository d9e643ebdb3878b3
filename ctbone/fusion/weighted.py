"""Weighted fusion: the weights of each fold, the weighted average, and their record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ctbone.config import Settings
from ctbone.errors import FusionError
from ctbone.fusion.parts import Parts
from ctbone.fusion.weights import Search, aucs, search_weights, simplex_grid

_HOW = {
    "auc": "weights with the highest AUC on the fold's validation predictions, "
    "the centre of the plateau",
    "log_loss": "weights with the lowest log-loss on the fold's validation predictions",
    "equal": "equal weights, nothing fitted",
    "given": "weights given in the settings, nothing fitted",
}


def weights_of(parts: Parts, settings: Settings) -> tuple[dict[int, np.ndarray], dict[int, Search]]:
    """Return the weights of each fold, and the searches that found them."""
    rule, count = settings.fusion.weights, len(parts.names)
    folds = parts.folds or (0,)
    if isinstance(rule, dict):
        missing = [part for part in parts.names if part not in rule]
        given = np.array([rule.get(part, 0.0) for part in parts.names])
        if missing or given.sum() == 0:
            problem = (
                f"fusion.weights lacks {', '.join(missing)}"
                if missing
                else "all given weights are 0"
            )
            raise FusionError(problem, found=rule, expected="a weight for every part, not all 0")
        return dict.fromkeys(folds, given / given.sum()), {}
    if rule == "equal":
        return dict.fromkeys(folds, np.full(count, 1 / count)), {}
    if not parts.folds:
        raise FusionError(
            "no internal test rows with a fold, so no folds to fit the weights in",
            remedy="fill the fold column, or set fusion.weights to 'equal' or to given weights",
        )
    labels = _class_numbers(parts, settings)
    searches = {}
    for fold in parts.folds:
        rows = parts.of("val", fold)
        if not rows.any():
            raise FusionError(
                f"fold {fold} has no validation rows to choose the weights on",
                remedy="add rows with split 'val', "
                "or set fusion.weights to 'equal' or to given weights",
            )
        try:
            searches[fold] = search_weights(parts.probabilities[:, rows], labels[rows], rule)
        except FusionError as error:
            error.problem = f"fold {fold}: {error.problem}"
            raise
    return {fold: search.weights for fold, search in searches.items()}, searches


def _class_numbers(parts: Parts, settings: Settings) -> np.ndarray:
    return np.array([settings.classes.index(label) for label in parts.rows["label"]])


def average(parts: Parts, weights: Mapping[int, np.ndarray]) -> np.ndarray:
    """Average the parts with the weights of each row's fold; external rows take the means."""
    mean = np.mean(list(weights.values()), axis=0)
    of_rows = np.array(
        [mean if pd.isna(fold) else weights.get(int(fold), mean) for fold in parts.rows["fold"]]
    )
    fused: np.ndarray = np.einsum("rp,prc->rc", of_rows, parts.probabilities)
    return fused


def weight_record(
    parts: Parts,
    weights: Mapping[int, np.ndarray],
    searches: Mapping[int, Search],
    settings: Settings,
) -> dict[str, Any]:
    """Return the part of the fusion's JSON record that describes the weights."""
    rule = settings.fusion.weights if isinstance(settings.fusion.weights, str) else "given"
    matrix = np.array(list(weights.values()))

    def _named(values: np.ndarray) -> dict[str, float]:
        return {
            part: round(float(value), 10) for part, value in zip(parts.names, values, strict=True)
        }

    return {
        "parts": list(parts.names),
        "chosen_by": rule,
        "how": _HOW[rule],
        "weights": {
            "folds": {str(fold): _named(values) for fold, values in weights.items()},
            "mean": _named(matrix.mean(axis=0)),
            "sd": _named(matrix.std(axis=0, ddof=1)) if len(matrix) > 1 else None,
            "min": _named(matrix.min(axis=0)),
            "max": _named(matrix.max(axis=0)),
        },
        "validation": {
            str(fold): {"aim": search.aim, "value": search.value, "plateau": search.plateau}
            for fold, search in searches.items()
        },
        "curve": _curve(parts, settings),
    }


def _curve(parts: Parts, settings: Settings) -> dict[str, Any] | None:
    """Return each fold's validation AUC against the weight of the first of two parts, or None."""
    if len(parts.names) != 2:
        return None
    labels = _class_numbers(parts, settings)
    grid = simplex_grid(2)[:, ::-1] / 100
    grid = grid[np.argsort(grid[:, 0])]
    curves = {}
    for fold in parts.folds:
        rows = parts.of("val", fold)
        if len(np.unique(labels[rows])) == len(settings.classes):
            curves[str(fold)] = np.round(
                aucs(grid, parts.probabilities[:, rows], labels[rows]), 10
            ).tolist()
    return (
        {"part": parts.names[0], "weight": grid[:, 0].tolist(), "auc": curves} if curves else None
    )
