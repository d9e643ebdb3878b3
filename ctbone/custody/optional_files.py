"""The model file and the maps of ``explain``: listed where they exist, never needed by a stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctbone.custody.derived_files import MadeLinks
from ctbone.custody.image_files import first_stale
from ctbone.custody.link import Link
from ctbone.errors import CtboneError
from ctbone.study import read_json, record_of


def optional_links(made: MadeLinks) -> list[Link]:
    """Return a link for the study's model file, and one a model and method of its maps."""
    study = made.study
    links = [_model_file(made)] if study.model_file.is_file() else []
    for folder in sorted((study.root / "explain").glob("*/*/")):
        records = sorted(folder.glob("*.json"))
        if records:
            links.append(_maps(made, folder, records))
    return links


def _model_file(made: MadeLinks) -> Link:
    """Return whether the model file was made from the weights, tables and settings of now."""
    path = made.study.model_file
    because = _why_not_released(made, path)
    if not because:
        return Link("release", path.name, path, "current")
    remedy = "run 'ctbone export', or 'ctbone predict' with an image"
    return Link("release", path.name, path, "stale", because, remedy, "data")


def _why_not_released(made: MadeLinks, path: Path) -> str:
    """Return why the model file is out of date; "" if it is current."""
    study = made.study
    try:
        record = read_json(record_of(path))
        inputs = dict(record["files"])
        settings = record["settings"]
    except (CtboneError, KeyError, TypeError, ValueError):
        return "its record is missing or of an older version"
    if made.memory.hash(path) != record.get("sha256"):
        return "the file is not that of its record"
    for name, digest in inputs.items():
        now = made.memory.hash(study.root / str(name))
        if now != digest:
            return f"{name} {'has changed' if now else 'is gone'}"
    if settings != study.settings.model_dump(mode="json"):
        return "the settings have changed"
    upstream = [
        made.weights(model, fold)
        for model in record.get("models", ())
        if model in study.settings.models
        for fold in range(study.settings.folds.count)
    ]
    first = first_stale(upstream)
    return "" if first is None else f"{first.name}: {first.because}"


def _maps(made: MadeLinks, folder: Path, records: list[Path]) -> Link:
    """Return the state of the maps of a model by one method."""
    model, name = folder.parent.name, f"{folder.parent.name}/{folder.name}"
    stale = [text for record in records if (text := _why_not_drawn(made, model, record))]
    if not stale:
        return Link("explain", name, folder, "current", part=f"{len(records)} maps")
    more = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
    return Link(
        "explain",
        name,
        folder,
        "stale",
        f"{stale[0]}{more}",
        "run 'ctbone explain'",
        "data",
        part=f"{len(stale)} of {len(records)} maps",
    )


def _why_not_drawn(made: MadeLinks, model: str, path: Path) -> str:
    """Return why a map is out of date; "" if it is current."""
    study = made.study
    try:
        record: dict[str, Any] = read_json(path)
        case, made_from = str(record["case_id"]), dict(record["made_from"])
        weights: Mapping[str, str] = dict(made_from["weights"])
    except (CtboneError, KeyError, TypeError, ValueError):
        return f"the record {path.name} cannot be read"
    drawn = path.with_name(f"{path.name.removesuffix('.json')}.nii.gz")
    if made.memory.hash(drawn) != record.get("map"):
        return f"case {case}: the map is not that of its record"
    if model not in study.settings.models:
        return "the settings no longer name the model"
    for fold, digest in weights.items():
        of_fold = made.weights(model, int(fold))
        if of_fold.state != "current":
            return f"{of_fold.name}: {of_fold.because}"
        if read_json(of_fold.path.with_name("card.json")).get("weights_sha256") != digest:
            return f"{of_fold.name} was trained again"
    crop = study.crop(case, study.settings.models[model].dim)
    if record.get("crop_file", made.memory.hash(crop)) != made.memory.hash(crop):
        return f"case {case} was drawn from another crop"
    return ""
