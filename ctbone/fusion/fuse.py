"""Fuse the probabilities of models and readers: weights from validation, applied where nothing was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctbone.cohort import Cohort, read_cohort
from ctbone.config import READER, Recalibration, Settings, Stacking
from ctbone.errors import FusionError
from ctbone.fusion.parts import Parts, lay_over, read_part
from ctbone.fusion.reader import Reader, read_reader, with_reader
from ctbone.fusion.recalibrating import in_words, recalibrate, recalibration_record
from ctbone.fusion.stacking import MODELS, clinical_columns, stack, stack_record
from ctbone.fusion.weighted import average, weight_record, weights_of
from ctbone.predictions import probability_columns, write_predictions
from ctbone.progress import progress
from ctbone.study import Study, provenance


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
    made_of
        What a stack or a recalibration is made of, in words; these have no weights.
    """

    name: str
    parts: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    spread: tuple[float, ...] | None = None
    path: Path | None = None
    reader: str | None = None
    skipped: str | None = None
    made_of: str | None = None

    def __str__(self) -> str:
        if self.made_of is not None:
            return f"{self.name}: {self.made_of}"
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
    probabilities: np.ndarray
    origin: dict[str, Any]
    details: dict[str, Any]


def fuse(study: Study, *, scores: Path | None, reader: str | None = None) -> list[FusionSummary]:
    """Fuse every combination and stack of the settings, recalibrate what they name, and write ``fusion/<name>.csv``.

    In each fold the weights are chosen on that fold's validation rows alone and applied to its test rows. For an
    external case each part is averaged over the folds first, as in the main paper, and the folds' weights are averaged;
    a stack answers for it with the mean of the folds' stackers, a recalibration with the mean of the folds' maps.
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
        One a combination, then one a stack, then one a recalibration, in the settings' order.

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
        raise FusionError(
            f"a combination cannot be called '{READER}'", remedy="rename it in fusion.combinations"
        )
    wanted: dict[str, tuple[str, ...]] = {
        **settings.fusion.combinations,
        **{name: stacking.parts for name, stacking in settings.fusion.stacking.items()},
    }
    possible = {
        name: parts for name, parts in wanted.items() if scores is not None or READER not in parts
    }
    names = dict.fromkeys(part for parts in possible.values() for part in parts if part != READER)
    models = {name: read_part(study.predictions(name), cohort, settings.classes) for name in names}
    who = None
    if scores is not None and any(READER in parts for parts in possible.values()):
        cases = {
            case for table in models.values() for case in table.index.get_level_values("case_id")
        }
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
    if who is not None:
        done[READER] = _reader_alone(study, list(done.values()), who)
    for name, recalibration in settings.fusion.recalibration.items():
        wanted[name] = (recalibration.of,)
        source = _source(study, recalibration.of, done, cohort)
        if source is not None:
            done[name] = _recalibrate_one(study, name, *source, recalibration)
    for name, result in done.items():
        table = _table(result.parts, result.probabilities, name, settings)
        write_predictions(result.path, table, settings.classes, {**result.origin, **result.details})
    why = "no reader's scores were given (--with-reader scores.csv)"
    return [
        done[name].summary
        if name in done
        else FusionSummary(name, parts, skipped=_left_over(study, name, why))
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
    parts = lay_over(
        {name: models[name] for name in names if name != READER},
        cohort,
        settings.classes,
        fitted=fitted,
    )
    return parts if who is None or READER not in names else with_reader(parts, who, names, settings)


def _fuse_one(study: Study, name: str, parts: Parts, who: Reader | None) -> _Fused:
    settings = study.settings
    try:
        weights, searches = weights_of(parts, settings)
    except FusionError as error:
        error.problem = f"fusion '{name}': {error.problem}"
        raise
    origin = _origin(study, parts, who)
    matrix = np.array(list(weights.values()))
    spread = tuple(map(float, matrix.std(axis=0, ddof=1))) if len(matrix) > 1 else None
    mean = tuple(map(float, matrix.mean(axis=0)))
    path = study.fusion(name)
    summary = FusionSummary(name, parts.names, mean, spread, path, origin["reader"])
    details = weight_record(parts, weights, searches, settings)
    return _Fused(summary, path, parts, average(parts, weights), origin, details)


def _stack_one(
    study: Study, name: str, parts: Parts, who: Reader | None, stacking: Stacking, cohort: Cohort
) -> _Fused:
    settings = study.settings
    try:
        clinical = clinical_columns(cohort, stacking.columns, list(parts.rows["case_id"]))
        stacked = stack(parts, clinical, stacking, settings.classes, settings.positive_class)
    except FusionError as error:
        error.problem = f"stack '{name}': {error.problem}"
        raise
    origin = _origin(
        study, parts, who, {study.cohort_csv.name: study.cohort_csv} if stacking.columns else {}
    )
    words = f"{MODELS[stacking.model].split(' (')[0]} over {', '.join([*stacking.parts, *stacking.columns])}"
    path = study.fusion(name)
    summary = FusionSummary(name, parts.names, path=path, reader=origin["reader"], made_of=words)
    return _Fused(
        summary, path, parts, stacked.probabilities, origin, stack_record(stacked, stacking)
    )


def _origin(
    study: Study, parts: Parts, who: Reader | None, further: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Say what a fusion was made from, and where the scores lay if within the study."""
    inputs = {part: study.predictions(part) for part in parts.names if part != READER} | dict(
        further or {}
    )
    if who is None or READER not in parts.names:
        return {**provenance(study, "fusion", inputs), "reader": None}
    record = provenance(study, "fusion", {**inputs, READER: who.file})
    return {**record, "reader": who.reader_id, "scores": _place(study, who.file)}


def _place(study: Study, file: Path) -> str | None:
    """Return the file's place within the study; None outside it, whose path is nobody's business."""
    root, file = study.root.resolve(), file.resolve()
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else None


def _table(parts: Parts, probabilities: np.ndarray, name: str, settings: Settings) -> pd.DataFrame:
    columns = zip(
        probability_columns(settings.classes), np.clip(probabilities, 0, 1).T, strict=True
    )
    return parts.rows.assign(model=name, view="", **dict(columns))


def _reader_alone(study: Study, fused: list[_Fused], who: Reader) -> _Fused:
    """Set the reader beside the models: the reader's own probabilities, on the rows of the longest fusion."""
    parts = max(
        (result.parts for result in fused if READER in result.parts.names),
        key=lambda parts: len(parts.rows),
    )
    own = parts.probabilities[parts.names.index(READER)]
    alone = Parts((READER,), parts.rows, own[None])
    summary = FusionSummary(READER, (READER,), path=study.fusion(READER), reader=who.reader_id)
    return _Fused(
        summary, study.fusion(READER), alone, own, _origin(study, alone, who), {"parts": [READER]}
    )


def _source(
    study: Study, name: str, done: Mapping[str, _Fused], cohort: Cohort
) -> tuple[Parts, dict[str, Any]] | None:
    """Return what is to be recalibrated and where it came from; None for a fusion or a reader that was left out."""
    fusion = study.settings.fusion
    if name in done:
        fused = done[name]
        return Parts((name,), fused.parts.rows, fused.probabilities[None]), fused.origin
    if name == READER or name in fusion.combinations or name in fusion.stacking:
        return None
    table = read_part(study.predictions(name), cohort, study.settings.classes)
    parts = lay_over({name: table}, cohort, study.settings.classes, fitted=True)
    return parts, _origin(study, parts, None)


def _recalibrate_one(
    study: Study, name: str, parts: Parts, origin: dict[str, Any], recalibration: Recalibration
) -> _Fused:
    settings = study.settings
    try:
        found = recalibrate(parts, recalibration, settings.classes, settings.positive_class)
    except FusionError as error:
        error.problem = f"recalibration '{name}': {error.problem}"
        raise
    path = study.fusion(name)
    words = in_words(found.learned, recalibration)
    summary = FusionSummary(name, parts.names, path=path, reader=origin["reader"], made_of=words)
    return _Fused(
        summary,
        path,
        parts,
        found.probabilities,
        origin,
        recalibration_record(found, recalibration),
    )
