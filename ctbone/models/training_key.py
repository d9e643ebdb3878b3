"""What a training depends on, by name: what is trained with one identity is never mixed with another."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctbone.config import ModelSettings, Settings
from ctbone.errors import CtboneError, ModelError

_SUBJECTS = {
    "dim": "dimensions",
    "training": "training settings",
    "preprocess": "preprocessing settings",
    "metadata_values": "values of its metadata",
    "computed_in": "arithmetic",
}


def model_settings(settings: Settings, model: str) -> ModelSettings:
    """Return the settings of one model of a study.

    Raises
    ------
    ModelError
        The study has none of that name; the nearest is given.
    """
    if model not in settings.models:
        nearest = difflib.get_close_matches(model, settings.models, n=1, cutoff=0)
        remedy = (
            f"did you mean '{nearest[0]}'?" if nearest else "add it under 'models' in study.yaml"
        )
        raise ModelError(
            "the study has no such model",
            found=model,
            expected=", ".join(settings.models),
            remedy=remedy,
        )
    return settings.models[model]


def training_identity(settings: Settings, model: str, folds: str) -> dict[str, Any]:
    """Say by name what a trained network depends on, apart from the crops themselves.

    Parameters
    ----------
    settings
        The study's.
    model
        A name of ``settings.models``.
    folds
        The hash of ``folds.csv``.
    """
    ours = model_settings(settings, model)
    preprocess = settings.preprocess.crop_3d if ours.dim == "3d" else settings.preprocess.images_2d
    return {
        "classes": list(settings.classes),
        **ours.model_dump(mode="json"),
        "preprocess": preprocess.model_dump(mode="json"),
        "folds": folds,
    }


def refuse_other(
    found: Mapping[str, Any], now: Mapping[str, Any], file: Path, error: type[CtboneError]
) -> None:
    """Raise ``error`` where something was made from other settings, folds or crops than those of now."""
    fold = file.parent
    for name, value in now.items():
        if found.get(name) != value:
            remedy = f"undo the change, or delete the folder {fold.parent} and train anew"
            if name == "computed_in":
                remedy = (
                    "finish it on the device it was begun on (precision: auto is bf16 on GPUs "
                    f"only), or delete the folder {fold}: the fold then starts at its first epoch"
                )
            raise error(
                f"this was trained with other {_SUBJECTS.get(name, name)}",
                file=file,
                found=found.get(name),
                expected=f"{value}, as it is now",
                remedy=remedy,
            )
