"""The stage: maps of a study's cases as NIfTI, with records, pictures and a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctbone.cohort import Case
from ctbone.config import ExplainMethod, ExplainSettings
from ctbone.errors import CtboneError, ExplainError
from ctbone.explaining.case_maps import CaseImages, CaseMaps, draw_case
from ctbone.explaining.faithfulness import heat_in_lesion
from ctbone.explaining.layers import Layer, choose_layer, grid_layers
from ctbone.explaining.methods import NEEDS_LAYER, options_of
from ctbone.explaining.page import write_explanations
from ctbone.explaining.picture import draw_picture, hottest
from ctbone.explaining.study_images import StudyImages
from ctbone.explaining.trained_folds import TrainedFolds
from ctbone.input_kind import INPUT_KINDS
from ctbone.models.network_input import network_input
from ctbone.nifti import write_nifti
from ctbone.overlay import CropSpace, to_scanner
from ctbone.progress import progress
from ctbone.study import Study, file_hash, provenance, read_json, record_of, write_json

_DRAWN_WITH = 1
"""Of maps and pictures; raise it when their computation changes, so that old ones are redrawn."""


@dataclass(frozen=True)
class Explanations:
    """Maps of the cases of one model.

    Attributes
    ----------
    model
        Its name.
    page
        The page with every picture and the tables.
    records
        One record a case and method, as beside the NIfTI file.
    layer
        The layer of class activation maps; None if none was drawn.
    cell_mm
        Edge of its cells, smallest and largest over the cases.
    unit
        Of that edge: mm, or of radiographs percent of the crop's edge.
    drawn, kept
        Cases that were drawn now, and cases whose maps were up to date.
    left_out
        Cases whose fold is not trained.
    """

    model: str
    page: Path
    records: tuple[dict[str, Any], ...]
    layer: Layer | None
    cell_mm: tuple[float, float] | None
    unit: str
    drawn: int
    kept: int
    left_out: tuple[str, ...]


def explain_study(
    study: Study, model: str, settings: ExplainSettings, *, cases: Sequence[str] = ()
) -> Explanations:
    """Draw the maps of a model's cases.

    An internal case is explained by the network that has not seen it, an external case by all
    folds. Maps that are up to date are kept.

    Parameters
    ----------
    study
        At least one fold of the model is trained.
    model
        A name under ``models`` in the settings.
    settings
        Methods, class, layer and options.
    cases
        ``case_id`` of the cases; empty for all whose folds are trained.

    Raises
    ------
    ExplainError
        No fold is trained, a named case is not in the cohort or its fold is not trained, or the
        network has no such layer.
    CustodyError
        Weights or crops do not belong to the data and settings of now.
    ModelError
        Crops or weights are missing or damaged.
    """
    folds = TrainedFolds(study, model)
    chosen = _chosen(folds, cases)
    ready = [case for case in chosen if folds.folds_for(case)]
    if not ready:
        raise ExplainError(
            f"no case can be explained: their folds of '{model}' are not trained",
            file=study.run_folder(model, 0).parent,
            found=f"trained: fold {', '.join(map(str, folds.trained))}",
            remedy="run 'ctbone train' until all folds are trained",
        )
    earlier = [case for case in folds.cohort if case not in ready and _has_maps(folds, case)]
    images = StudyImages(study, folds, [*ready, *earlier])
    layer = _layer(folds, images, settings)

    def keys_of(case: Case) -> dict[ExplainMethod, dict[str, Any]]:
        return {
            method: _made_from(folds, images, case, method, layer=layer, settings=settings)
            for method in settings.methods
        }

    due = [case for case in ready if not _current(study, model, case, keys_of(case))]
    with progress(f"Explain {model}", len(due)) as bar:
        for case in due:
            keys = keys_of(case)
            _draw(folds, images, case, layer=layer, settings=settings, keys=keys)
            bar.advance(case.case_id)
    shown = [case for case in earlier if _current(study, model, case, keys_of(case))]
    of_page = {case.case_id for case in [*ready, *shown]}
    page, records = write_explanations(
        study,
        model,
        settings.methods,
        cases=[case for case in folds.cohort if case.case_id in of_page],
    )
    return Explanations(
        model=model,
        page=page,
        records=tuple(records),
        layer=layer,
        cell_mm=images.cells(layer) if layer else None,
        unit=images.unit,
        drawn=len(due),
        kept=len(ready) - len(due),
        left_out=tuple(case.case_id for case in chosen if not folds.folds_for(case)),
    )


def _has_maps(folds: TrainedFolds, case: Case) -> bool:
    """Whether a case was explained before and can be explained now."""
    study, model = folds.study, folds.model
    picture = study.explanation_page(model).with_name(f"{case.case_id}.png")
    there = picture.is_file() and study.crop(case.case_id, folds.settings.dim).is_file()
    return there and bool(folds.folds_for(case))


def _chosen(folds: TrainedFolds, cases: Sequence[str]) -> list[Case]:
    if not cases:
        return list(folds.cohort)
    known = {case.case_id: case for case in folds.cohort}
    for name in cases:
        if name not in known:
            raise ExplainError(
                "the case is not in the cohort", case=name, file=folds.study.cohort_csv
            )
    chosen = [known[name] for name in dict.fromkeys(cases)]
    for case in chosen:
        if not folds.folds_for(case):
            raise ExplainError(
                "the fold that may explain the case is not trained",
                case=case.case_id,
                file=folds.study.run_folder(folds.model, 0).parent,
                found=f"trained: fold {', '.join(map(str, folds.trained))}",
                remedy="run 'ctbone train' until all folds are trained",
            )
    return chosen


def _layer(folds: TrainedFolds, images: StudyImages, settings: ExplainSettings) -> Layer | None:
    """Return the layer of class activation maps; None if no method draws one."""
    if not set(settings.methods) & set(NEEDS_LAYER):
        return None
    fold = folds.trained[0]
    network = folds.network(fold)[0]
    case = folds.cohort.case(images.lesions.case_ids[0])
    of_case = images.of(case)
    mask = None if of_case.mask is None else of_case.mask[:1]
    seen = network_input(of_case.hu[:1], folds.settings.windows, mask, folds.settings.mask)
    inputs = [folds.hardware.arrange(seen.to(folds.hardware.device))]
    second = folds.second(fold, case)
    return choose_layer(
        grid_layers(network, inputs if second is None else [*inputs, second]),
        settings.layers.get(folds.model),
        size=images.size,
        spacing=images.typical_spacing,
        network=folds.settings.network,
    )


def _made_from(
    folds: TrainedFolds,
    images: StudyImages,
    case: Case,
    method: ExplainMethod,
    *,
    layer: Layer | None,
    settings: ExplainSettings,
) -> dict[str, Any]:
    """Return everything that a map depends on."""
    return {
        "drawn_with": _DRAWN_WITH,
        "method": method,
        "layer": layer.name if layer and method in NEEDS_LAYER else None,
        "target": settings.target,
        "options": options_of(method, settings),
        "weights": {
            str(fold): folds.network(fold)[1].weights_sha256 for fold in folds.folds_for(case)
        },
        **images.digests(case),
    }


def _current(study: Study, model: str, case: Case, keys: dict[ExplainMethod, Any]) -> bool:
    """Whether a case has its picture and all of its maps, made from what is there now."""
    if not study.explanation_page(model).with_name(f"{case.case_id}.png").is_file():
        return False
    for method, key in keys.items():
        path = study.explanation(model, method, case.case_id)
        try:
            record = read_json(record_of(path))
        except CtboneError:
            return False
        if record.get("made_from") != key or record.get("methods") != list(keys):
            return False
        if not path.is_file() or record.get("map") != file_hash(path):
            return False
    return True


def _draw(
    folds: TrainedFolds,
    images: StudyImages,
    case: Case,
    *,
    layer: Layer | None,
    settings: ExplainSettings,
    keys: dict[ExplainMethod, Any],
) -> None:
    """Draw and write the maps, the records and the picture of a case."""
    study, of_case, space = folds.study, images.of(case), images.space(case)
    torch.manual_seed(0)
    maps = draw_case(of_case, folds, settings.methods, layer=layer, settings=settings)
    kind = INPUT_KINDS[folds.settings.dim]
    origin = provenance(study, "explain", {"cohort": study.cohort_csv, "folds": study.folds_csv})
    cells = [layer.cell(images.size, mm) for mm in of_case.spacings] if layer else None
    facts = {**_facts(folds, case, maps), "layer": layer.name if layer else None}
    facts |= {"cell_mm": cells, "unit": images.unit, "window_unit": kind.unit}
    draw_picture(
        study.explanation_page(folds.model).with_name(f"{case.case_id}.png"),
        of_case,
        maps,
        views=images.lesions.views,
        grids=space.grids,
        window=kind.window,
        facts=facts,
    )
    for method, heat in maps.heat.items():
        path = study.explanation(folds.model, method, case.case_id)
        on_crop = heat if kind.dimensions == 2 else heat[0]
        write_nifti(path, to_scanner(on_crop, space), space.scanner.affine)
        record = {
            **facts,
            "method": method,
            "methods": list(keys),
            "map": file_hash(path),
            "crop_file": file_hash(study.crop(case.case_id, folds.settings.dim)),
            "made_from": keys[method],
            **dict(_measures(of_case, heat, space, at="mm" if kind.mask_folder else "pixel")),
            "provenance": origin,
        }
        write_json(record_of(path), record)


def _facts(folds: TrainedFolds, case: Case, maps: CaseMaps) -> dict[str, Any]:
    """Return what the record and the picture say of a case."""
    classes = folds.study.settings.classes
    return {
        "case_id": case.case_id,
        "cohort": case.cohort,
        "truth": case.label,
        "target": classes[maps.target],
        "predicted": classes[int(maps.probabilities.argmax())],
        "probability": float(maps.probabilities[maps.target]),
        "folds": list(maps.folds),
    }


def _measures(
    images: CaseImages, heat: np.ndarray, space: CropSpace, *, at: str
) -> Iterator[tuple[str, object]]:
    """Yield how the heat lies to the lesion; all None where there is no heat or no lesion."""
    found = heat_in_lesion(heat, images.lesion)
    names = ("points", "inside", "volume", "extent", "ratio")
    for name in names:
        yield name, None if found is None else getattr(found, name)
    if found is None:
        yield "why", "no evidence for the class" if not heat.any() else "no lesion in the crop"
        return
    view, *place = hottest(heat)
    voxel = np.array([*place, 0][:3], float)
    world = space.grids[view].to_world(voxel[None])[0]
    yield f"hottest_{at}", [round(float(value), 2) for value in world]
