"""Fuse the probabilities of models and readers: weights from validation, applied where nothing was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctbone.cohort import Cohort, read_cohort
from ctbone.config import READER, Settings, Stacking
from ctbone.fusion.clinical import clinical_columns
from ctbone.fusion.parts import FusionError, Parts, lay_over, read_part
from ctbone.fusion.reader import Reader, read_reader, with_reader
from ctbone.fusion.stacking import MODELS, stack, stack_record
from ctbone.fusion.weights import Search, aucs, search_weights, simplex_grid
from ctbone.predictions import probability_columns, write_predictions
from ctbone.progress import progress
from ctbone.study import Study, provenance

_HOW = {
    "auc": "weights with the highest AUC on the fold's validation predictions, the centre of the plateau",
    "log_loss": "weights with the lowest log-loss on the fold's validation predictions",
    "equal": "equal weights, nothing fitted",
    "given": "weights given in the settings, nothing fitted",
}


@dataclass(frozen=True)
class FusionSummary:
    """What became of one combination.

    Attributes
    ----------
    name
        The combination's name in the settings.
    parts
        What it fuses, in the settings' order.
    mean, spread
        Mean of each part's weight over the folds, and its standard deviation; None where skipped or, for the spread,
        with fewer than two folds.
    path
        The fused table; None where skipped.
    reader
        ``reader_id`` whose scores took part.
    skipped
        Why the combination was left out.
    stacked
        What a stack is made of, in words; a stack has no weights.
    """

    name: str
    parts: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    spread: tuple[float, ...] | None = None
    path: Path | None = None
    reader: str | None = None
    skipped: str | None = None
    stacked: str | None = None

    def __str__(self) -> str:
        if self.stacked is not None:
            return f"{self.name}: {self.stacked}"
        if self.mean is None:
            return f"{self.name}: left out, {self.skipped}"
        spread = self.spread or (None,) * len(self.mean)
        shares = [
            f"{part} {mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}")
            for part, mean, sd in zip(self.parts, self.mean, spread, strict=True)
        ]
        return f"{self.name}: {', '.join(shares)}"


@dataclass(frozen=True)
class _Fused:
    """One combination, computed but not yet written."""

    summary: FusionSummary
    path: Path
    parts: Parts
    table: pd.DataFrame
    record: dict[str, Any]


def fuse(study: Study, *, scores: Path | None, reader: str | None = None) -> list[FusionSummary]:
    """Fuse every combination and stack of the settings and write ``fusion/<name>.csv`` with the record of its weights.

    In each fold the weights are chosen on that fold's validation rows alone and applied to its test rows. For an
    external case each part is averaged over the folds first, as in the main paper, and the folds' weights are averaged;
    a stack answers for it with the mean of the folds' stackers.
    Where a reader takes part, the reader's own probabilities are written too, as ``fusion/reader.csv``.

    Parameters
    ----------
    study
        The study; any table in ``predictions/`` can be a part, whichever program wrote it.
    scores
        The radiologists' scores; without them the combinations with a reader are left out.
    reader
        ``reader_id``; default: the settings', else the only one who scored every case without AI.

    Returns
    -------
    list of FusionSummary
        One a combination, then one a stack, in the settings' order.

    Raises
    ------
    FusionError
        The parts do not answer for the same cases, labels and folds; the reader cannot be chosen; given weights lack
        a part; a clinical column is missing or unfit. Nothing has been written then.
    PredictionError, ScoreError, CohortError, StudyError
        A table is missing or faulty.
    """
    settings, cohort = study.settings, read_cohort(study)
    if READER in settings.fusion.combinations:
        raise FusionError(f"a combination cannot be called '{READER}'", remedy="rename it in fusion.combinations")
    wanted: dict[str, tuple[str, ...]] = {
        **settings.fusion.combinations,
        **{name: stacking.parts for name, stacking in settings.fusion.stacking.items()},
    }
    possible = {name: parts for name, parts in wanted.items() if scores is not None or READER not in parts}
    names = dict.fromkeys(part for parts in possible.values() for part in parts if part != READER)
    models = {name: read_part(study.predictions(name), cohort, settings.classes) for name in names}
    who = None
    if scores is not None and any(READER in parts for parts in possible.values()):
        cases = {case for table in models.values() for case in table.index.get_level_values("case_id")}
        who = read_reader(scores, cohort, cases, reader or settings.fusion.reader)
    done: dict[str, _Fused] = {}
    with progress("Fuse", total=len(possible)) as bar:
        for name, parts in possible.items():
            stacking = settings.fusion.stacking.get(name)
            laid = _lay_out(parts, models, who, cohort, settings, fitted=stacking is not None)
            done[name] = (
                _fuse_one(study, name, laid, who)
                if stacking is None
                else _stack_one(study, name, laid, who, stacking, cohort)
            )
            bar.advance(note=name)
    for result in done.values():
        write_predictions(result.path, result.table, settings.classes, result.record)
    if who is not None:
        _write_reader(study, list(done.values()), who)
    why = "no reader's scores were given (--with-reader scores.csv)"
    return [
        done[name].summary if name in done else FusionSummary(name, parts, skipped=_left_over(study, name, why))
        for name, parts in wanted.items()
    ]


def _left_over(study: Study, name: str, why: str) -> str:
    return f"{why}; its table is from an earlier run" if study.fusion(name).is_file() else why


def _lay_out(
    names: tuple[str, ...],
    models: Mapping[str, pd.DataFrame],
    who: Reader | None,
    cohort: Cohort,
    settings: Settings,
    *,
    fitted: bool,
) -> Parts:
    """Lay the parts of one combination over one another."""
    fitted = fitted or settings.fusion.weights in ("auc", "log_loss")
    parts = lay_over({name: models[name] for name in names if name != READER}, cohort, settings.classes, fitted=fitted)
    return parts if who is None or READER not in names else with_reader(parts, who, names, settings)


def _fuse_one(study: Study, name: str, parts: Parts, who: Reader | None) -> _Fused:
    settings = study.settings
    try:
        weights, searches = _weights(parts, settings)
    except FusionError as error:
        error.problem = f"fusion '{name}': {error.problem}"
        raise
    record = {**_origin(study, parts, who), **_record(parts, weights, searches, settings)}
    matrix = np.array(list(weights.values()))
    spread = tuple(map(float, matrix.std(axis=0, ddof=1))) if len(matrix) > 1 else None
    mean = tuple(map(float, matrix.mean(axis=0)))
    path = study.fusion(name)
    summary = FusionSummary(name, parts.names, mean, spread, path, record["reader"])
    return _Fused(summary, path, parts, _table(parts, _average(parts, weights), name, settings), record)


def _stack_one(study: Study, name: str, parts: Parts, who: Reader | None, stacking: Stacking, cohort: Cohort) -> _Fused:
    settings = study.settings
    try:
        clinical = clinical_columns(cohort, stacking.columns, list(parts.rows["case_id"]))
        stacked = stack(parts, clinical, stacking, settings.classes, settings.positive_class)
    except FusionError as error:
        error.problem = f"stack '{name}': {error.problem}"
        raise
    record = {
        **_origin(study, parts, who, {study.cohort_csv.name: study.cohort_csv} if stacking.columns else {}),
        **stack_record(stacked, stacking),
    }
    words = f"{MODELS[stacking.model].split(' (')[0]} over {', '.join([*stacking.parts, *stacking.columns])}"
    path = study.fusion(name)
    summary = FusionSummary(name, parts.names, path=path, reader=record["reader"], stacked=words)
    return _Fused(summary, path, parts, _table(parts, stacked.probabilities, name, settings), record)


def _origin(
    study: Study, parts: Parts, who: Reader | None, further: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Say what a fusion was made from, and where the scores lay if within the study."""
    inputs = {part: study.predictions(part) for part in parts.names if part != READER} | dict(further or {})
    if who is None or READER not in parts.names:
        return {**provenance(study, "fusion", inputs), "reader": None}
    record = provenance(study, "fusion", {**inputs, READER: who.file})
    return {**record, "reader": who.reader_id, "scores": _place(study, who.file)}


def _place(study: Study, file: Path) -> str | None:
    """Return the file's place within the study; None outside it, whose path is nobody's business."""
    root, file = study.root.resolve(), file.resolve()
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else None


def _weights(parts: Parts, settings: Settings) -> tuple[dict[int, np.ndarray], dict[int, Search]]:
    """Return the weights of each fold, and how they were found where they were."""
    rule, count = settings.fusion.weights, len(parts.names)
    folds = parts.folds or (0,)
    if isinstance(rule, dict):
        missing = [part for part in parts.names if part not in rule]
        given = np.array([rule.get(part, 0.0) for part in parts.names])
        if missing or given.sum() == 0:
            problem = f"fusion.weights gives none to {', '.join(missing)}" if missing else "all given weights are 0"
            raise FusionError(problem, found=rule, expected="a weight for every part, not all 0")
        return dict.fromkeys(folds, given / given.sum()), {}
    if rule == "equal":
        return dict.fromkeys(folds, np.full(count, 1 / count)), {}
    if not parts.folds:
        raise FusionError(
            "no internal test rows with a fold, so no folds to fit the weights in",
            remedy="fill the fold column, or set fusion.weights to 'equal' or give them",
        )
    labels = _class_numbers(parts, settings)
    searches = {}
    for fold in parts.folds:
        rows = parts.of("val", fold)
        if not rows.any():
            raise FusionError(
                f"fold {fold} has no validation rows to choose the weights on",
                remedy="add rows with split 'val', or set fusion.weights to 'equal' or give them",
            )
        try:
            searches[fold] = search_weights(parts.probabilities[:, rows], labels[rows], rule)
        except FusionError as error:
            error.problem = f"fold {fold}: {error.problem}"
            raise
    return {fold: search.weights for fold, search in searches.items()}, searches


def _class_numbers(parts: Parts, settings: Settings) -> np.ndarray:
    return np.array([settings.classes.index(label) for label in parts.rows["label"]])


def _average(parts: Parts, weights: Mapping[int, np.ndarray]) -> np.ndarray:
    """Average the parts: each fold's rows with its own weights, external rows with the mean of all."""
    mean = np.mean(list(weights.values()), axis=0)
    of_rows = np.array([mean if pd.isna(fold) else weights.get(int(fold), mean) for fold in parts.rows["fold"]])
    fused: np.ndarray = np.einsum("rp,prc->rc", of_rows, parts.probabilities)
    return fused


def _table(parts: Parts, probabilities: np.ndarray, name: str, settings: Settings) -> pd.DataFrame:
    columns = zip(probability_columns(settings.classes), np.clip(probabilities, 0, 1).T, strict=True)
    return parts.rows.assign(model=name, view="", **dict(columns))


def _record(
    parts: Parts, weights: Mapping[int, np.ndarray], searches: Mapping[int, Search], settings: Settings
) -> dict[str, Any]:
    rule = settings.fusion.weights if isinstance(settings.fusion.weights, str) else "given"
    matrix = np.array(list(weights.values()))

    def named(values: np.ndarray) -> dict[str, float]:
        return {part: round(float(value), 10) for part, value in zip(parts.names, values, strict=True)}

    return {
        "parts": list(parts.names),
        "chosen_by": rule,
        "how": _HOW[rule],
        "weights": {
            "folds": {str(fold): named(values) for fold, values in weights.items()},
            "mean": named(matrix.mean(axis=0)),
            "sd": named(matrix.std(axis=0, ddof=1)) if len(matrix) > 1 else None,
            "min": named(matrix.min(axis=0)),
            "max": named(matrix.max(axis=0)),
        },
        "validation": {
            str(fold): {"aim": search.aim, "value": search.value, "plateau": search.plateau}
            for fold, search in searches.items()
        },
        "curve": _curve(parts, settings),
    }


def _curve(parts: Parts, settings: Settings) -> dict[str, Any] | None:
    """Draw each fold's validation AUC against the weight of the first of two parts; None where there is none."""
    if len(parts.names) != 2:
        return None
    labels = _class_numbers(parts, settings)
    grid = simplex_grid(2)[:, ::-1] / 100
    grid = grid[np.argsort(grid[:, 0])]
    curves = {}
    for fold in parts.folds:
        rows = parts.of("val", fold)
        if len(np.unique(labels[rows])) == len(settings.classes):
            curves[str(fold)] = np.round(aucs(grid, parts.probabilities[:, rows], labels[rows]), 10).tolist()
    return {"part": parts.names[0], "weight": grid[:, 0].tolist(), "auc": curves} if curves else None


def _write_reader(study: Study, fused: list[_Fused], who: Reader) -> None:
    """Set the reader beside the models: the reader's own probabilities, on the rows of the longest fusion."""
    parts = max((result.parts for result in fused if READER in result.parts.names), key=lambda parts: len(parts.rows))
    table = _table(parts, parts.probabilities[parts.names.index(READER)], READER, study.settings)
    origin = provenance(study, "fusion", {READER: who.file})
    record = {**origin, "parts": [READER], "reader": who.reader_id, "scores": _place(study, who.file)}
    write_predictions(study.fusion(READER), table, study.settings.classes, record)
