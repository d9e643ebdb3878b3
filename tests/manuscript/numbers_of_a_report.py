"""A metrics.json as a report writes it, small and complete, with numbers that occur only once."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from PIL import Image

# A method as the report writes it: the level, the degrees of freedom and the set do not belong into
# a methods section.
_METHOD = "DeLong by patient (Obuchowski), Student's t (df 29) 95%; internal test, 80 cases"


def estimate(value: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "method": _METHOD}


def model(start: float) -> dict[str, Any]:
    """Return the results of a model; every value differs from those of another start."""
    names = ("auc", "sensitivity", "specificity", "ppv", "npv", "accuracy", "brier")
    found = {
        name: estimate(start + k / 100, start + k / 100 - 0.05, start + k / 100 + 0.03)
        for k, name in enumerate(names)
    }
    found["calibration_slope"] = estimate(1 + start, start, 2 + start)
    found["calibration_intercept"] = {**estimate(-start), "why": "too few cases"}
    return {**found, "n": 80, "positives": 48}


def comparison(a: str, b: str, difference: float, p: float) -> dict[str, Any]:
    return {
        **{"a": a, "b": b, "metric": "auc", "n": 80, "difference": difference},
        **{"low": difference - 0.04, "high": difference + 0.05, "p_value": p / 2},
        **{"p_value_holm": p, "method": "DeLong, paired, 95%; internal test, 80 cases of both"},
    }


def _network(dim: str, epochs: int) -> dict[str, Any]:
    return {
        **{"dim": dim, "network": "densenet121", "weights": "imagenet", "unit": "HU"},
        **{"dimensions": int(dim[0]), "views": dim == "2d", "view_weights": "equal"},
        "windows": [{"center": 413.0, "width": 1817.0}],
        "training": {
            **{"epochs": epochs, "batch_size": 19, "optimizer": "adam", "learning_rate": 0.0003},
            **{"schedule": "cosine", "loss": "cross_entropy"},
            "augmentation": {
                **{"rotation": 14.0, "translation": 0.11, "scale": 0.12},
                "flip": ["left_right"],
            },
        },
        **{"folds": [0, 1], "kept_epochs": [epochs - 3, epochs - 5]},
    }


def _cases(cases: int, patients: int, malignant: int) -> dict[str, Any]:
    return {
        **{"cases": cases, "patients": patients},
        "classes": {"benign": cases - malignant, "malignant": malignant},
        "centres": {"centre2": 11, "centre3": cases - 11},
    }


METRICS: dict[str, Any] = {
    **{"study": "pilot", "study_title": "Sacral tumours", "synthetic": False},
    **{"classes": ["benign", "malignant"], "positive": "malignant", "confidence": 0.95},
    **{"threshold": 0.52, "set": "internal", "title": "Internal test"},
    "models": {"3d": model(0.71), "2d": model(0.61), "3d+2d": model(0.81)},
    "comparisons": [comparison("3d", "2d", 0.1234, 0.021), comparison("3d", "3d+2d", -0.1, 0.34)],
    "external": {
        "title": "External test",
        "models": {"3d": {**model(0.55), "n": 23, "positives": 14}},
        "comparisons": [],
    },
    "fusion": {"3d+2d": {"parts": ["3d", "2d"], "mean": {"3d": 0.43, "2d": 0.57}}},
    "baseline": {
        "columns": [
            {"name": "c", "title": "Characteristic", "kind": "text", "digits": 3, "group": ""},
            {"name": "i", "title": "all", "kind": "number", "digits": 3, "group": "Internal"},
            {"name": "p", "title": "p", "kind": "p", "digits": 3, "group": "Internal"},
        ],
        "rows": [
            {"cells": ["Cases", 80, ""], "opens": False},
            {"cells": ["age_years & more", "40.1 ± 15.6", 0.0321], "opens": True},
        ],
        "note": "Numbers: mean ± SD.",
    },
    "reader_study": {
        **{"cases": 20, "positives": 12, "patients": 20, "missing": 7, "design": "factorial"},
        **{"levels": {"junior": 3, "senior": 2}, "model": "3d"},
        "effect": {
            "auc": {
                **{"unaided": estimate(0.802, 0.7, 0.9), "aided": estimate(0.877, 0.8, 0.95)},
                "change": {**comparison("", "", 0.075, 0.031), "p_value": 0.0163},
            }
        },
        "time_ratio": {**estimate(0.83, 0.7, 0.97), "p_value": 0.018},
    },
    "records": {
        "cohort": {
            **_cases(103, 97, 62),
            "unit": "patient",
            "sets": {"internal": _cases(80, 76, 48), "external": _cases(23, 21, 14)},
            "excluded": {"cases": 6, "reasons": {"mask is empty": 6}},
            "missing": {"age": 4},
            "columns": ["age"],
        },
        "images": {
            **{"preprocess.crop_3d.size": "33", "preprocess.crop_3d.spacing": "2.0"},
            **{"preprocess.crop_3d.margin": "5.0", "preprocess.crop_3d.mode": "physical"},
            **{"preprocess.images_2d.size": "65", "preprocess.images_2d.margin": "10.0"},
            "preprocess.images_2d.views": "planes",
        },
        "folds": {"count": 5, "validation_share": 0.2, "seed": 0},
        "networks": {"3d": [_network("3d", 51)], "2d": [_network("2d", 37)]},
        "elsewhere": [],
        "fusions": {
            "3d+2d": {
                **{"kind": "weighted average", "parts": ["3d", "2d"], "columns": []},
                **{"how": "weights by AUC, in steps of 0.05", "reader": None},
            }
        },
        "software": {"ctbone": "0.1.0", "torch": "2.15.0"},
    },
    "provenance": {"ctbone": "0.1.0", "python": "3.11.7"},
    "figures": {
        "roc": {"title": "ROC_curves", "note": "n = 80 & more.", "width_mm": 88.0},
        "calibration_internal": {"title": "Calibration", "note": "", "width_mm": 180.0},
    },
}


def report_of(metrics: dict[str, Any], folder: Path) -> Path:
    """Write the folder of a report: metrics.json, and a picture for each figure."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for key in metrics.get("figures", {}):
        Image.new("L", (40, 20)).save(folder / "figures" / f"{key}.png")
        (folder / "figures" / f"{key}.svg").write_text("<svg/>")
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """Return the metrics with one other value."""
    metrics = deepcopy(METRICS)
    place: Any = metrics
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return metrics
