"""The training key: everything that a training depends on, by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctbone.config import ModelSettings, Settings
from ctbone.custody import settings_key, subject_of
from ctbone.differences import found_and_expected
from ctbone.errors import CtboneError, ModelError
from ctbone.models.plugins import plugin_sources
from ctbone.study import Study


def model_settings(settings: Settings, model: str) -> ModelSettings:
    """Return the settings of one model of a study.

    Raises
    ------
    ModelError
        The study has no model of this name; the nearest is given.
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


def training_key(study: Study, model: str, folds: str) -> dict[str, Any]:
    """Return everything that a trained network depends on, apart from the crops.

    Of plug-ins these are their names and arguments, and the SHA-256 of their source files.

    Parameters
    ----------
    study
        The study.
    model
        A name under ``models`` in its settings.
    folds
        The hash of ``folds.csv``.

    Raises
    ------
    ModelError
        The study has no such model, or a plug-in cannot be imported.
    """
    ours = model_settings(study.settings, model)
    key = {**settings_key(study, model), "folds": folds}
    sources = plugin_sources(ours, study.root)
    return {**key, "plugins": sources} if sources else key


def refuse_other(
    found: Mapping[str, Any], now: Mapping[str, Any], file: Path, error: type[CtboneError]
) -> None:
    """Raise ``error`` where the training key in a file differs from the current one.

    Parameters
    ----------
    found, now
        The key in the file, and the current key.
    file
        The file, in the folder of a fold.
    error
        Type of the error.
    """
    fold = file.parent
    for name, value in now.items():
        if found.get(name) != value:
            remedy = f"undo the change, or delete the folder {fold.parent} and train again"
            if name == "computed_in":
                remedy = (
                    "finish it on the device it was begun on (precision: auto is bf16 on GPUs "
                    f"only), or delete the folder {fold}: the fold then starts at its first epoch"
                )
            then, here = found_and_expected(found.get(name), value, name)
            raise error(
                f"this was trained with other {subject_of(name)}",
                file=file,
                found=then,
                expected=f"{here}, as it is now",
                remedy=remedy,
            )
