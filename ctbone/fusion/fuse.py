"""Fuse the probabilities of models and readers, fitted on the validation rows of each fold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctbone.cohort import Cohort, read_cohort
from ctbone.config import READER, Recalibration, Settings, Stacking
from ctbone.custody import require_current
from ctbone.errors import FusionError
from ctbone.fusion.parts import Parts, align, read_part
from ctbone.fusion.reader import ReaderPart, read_reader, with_reader
from ctbone.fusion.recalibrating import in_words, recalibrate, recalibration_record
from ctbone.fusion.stacking import MODELS, clinical_columns, stack, stack_record
from ctbone.fusion.weighted import average, weight_record, weights_of
from ctbone.predictions import probability_columns, write_predictions
from ctbone.progress import progress
from ctbone.study import Study, provenance

_NO_SCORES = "no reader's scores were given (--with-reader scores.csv)"


@dataclass(frozen=True)
class FusionSummary:
    """Result of one combination, stack or recalibration.

    Attributes
    ----------
    name
        Its name in the settings.
    parts
        The parts that it fuses, in the settings' order.
    mean, sd
        Mean and standard deviation of each part's weight over the folds. None for fusions without
        weights; ``sd`` also with fewer than two folds.
    path
        The table of fused probabilities; None where skipped.
    reader
        ``reader_id`` whose scores took part.
    skipped
        The reason why the combination was left out.
    made_of
        Description of a stack or a recalibration, which have no weights.
    """

    name: str
    parts: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    sd: tuple[float, ...] | None = None
    path: Path | None = None
    reader: str | None = None
    skipped: str | None = None
    made_of: str | None = None

    def __str__(self) -> str:
        if self.made_of is not None:
            return f"{self.name}: {self.made_of}"
        if self.mean is None:
            return f"{self.name}: left out, {self.skipped}"
        sds = self.sd or (None,) * len(self.mean)
        shares = [
            f"{part} {mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}")
            for part, mean, sd in zip(self.parts, self.mean, sds, strict=True)
        ]
        return f"{self.name}: {', '.join(shares)}"


@dataclass(frozen=True)
class _Fused:
    """One fusion, computed but not yet written."""

    summary: FusionSummary
    path: Path
    parts: Parts
    probabilities: np.ndarray
    origin: dict[str, Any]
    details: dict[str, Any]


def fuse(study: Study, *, scores: Path | None, reader: str | None = None) -> list[FusionSummary]:
    """Compute the combinations, stacks and recalibrations of the settings; write their tables.

    In each fold the weights are chosen on the validation rows alone and applied to the test rows.
    For external cases each part is averaged over the folds first, as in the main paper, and the
    weights of the folds are averaged; a stack gives the mean of the folds' stackers, a
    recalibration the mean of the folds' maps. If a reader takes part, the reader's probabilities
    are written too, as ``fusion/reader.csv``.

    Parameters
    ----------
    study
        The study; every table in ``predictions/`` can be a part, also one of another program.
    scores
        The radiologists' scores; None leaves out the combinations with a reader.
    reader
        ``reader_id``; None takes the reader of the settings, or else the only reader who scored
        every case without AI.

    Returns
    -------
    list of FusionSummary
        Combinations, then stacks, then recalibrations, in the settings' order.

    A fusion with a model that is not trained, or that is trained in other folds than the other
    parts, is left out; its summary names the reason.

    Raises
    ------
    FusionError
        No model is trained; the parts differ in cases, labels or folds; the reader cannot be
        chosen, or is named without scores; given weights lack a part; a clinical column is missing
        or not usable. Nothing is written.
    CustodyError
        A model's predictions were made from other crops, weights or folds than those of now.
    PredictionError, ScoreError, CohortError, StudyError
        A table has errors, or that of another program is missing.
    """
    settings, cohort = study.settings, read_cohort(study)
    require_current(study, "predictions", settings.fusion.tables, settings=False)
    if READER in settings.fusion.combinations:
        raise FusionError(
            f"a combination cannot be called '{READER}'", remedy="rename it in fusion.combinations"
        )
    if reader is not None and scores is None:
        raise FusionError(
            "a reader is named, but no scores are given",
            found=reader,
            remedy="name the table of the scores: --with-reader scores.csv",
        )
    wanted: dict[str, tuple[str, ...]] = {
        **settings.fusion.combinations,
        **{name: stacking.parts for name, stacking in settings.fusion.stacking.items()},
    }
    models, left_out = _models(study, wanted, cohort, with_reader=scores is not None)
    possible = {name: parts for name, parts in wanted.items() if name not in left_out}
    parts_used = {part for parts in possible.values() for part in parts}
    models = {name: table for name, table in models.items() if name in parts_used}
    who = None
    if scores is not None and READER in parts_used:
        who = read_reader(
            scores,
            cohort=cohort,
            needed={case for table in models.values() for case in _cases(table)},
            reader=reader or settings.fusion.reader,
            settings=settings,
        )
    done: dict[str, _Fused] = {}
    with progress("Fuse", total=len(possible)) as bar:
        for name, parts in possible.items():
            stacking = settings.fusion.stacking.get(name)
            aligned = _align(
                names=parts,
                models=models,
                who=who,
                cohort=cohort,
                settings=settings,
                fitted=stacking is not None,
            )
            if stacking is None:
                done[name] = _fuse_one(study, name, parts=aligned, who=who)
            else:
                done[name] = _stack_one(
                    study, name, parts=aligned, who=who, stacking=stacking, cohort=cohort
                )
            bar.advance(note=name)
    if who is not None:
        done[READER] = _reader_alone(study, list(done.values()), who)
    for name, recalibration in settings.fusion.recalibration.items():
        wanted[name] = (recalibration.of,)
        if recalibration.of in left_out:
            left_out[name] = left_out[recalibration.of]
        elif recalibration.of == READER and READER not in done:
            left_out[name] = _NO_SCORES if scores is None else f"no fusion takes the {READER}"
        elif _is_untrained(study, recalibration.of):
            left_out[name] = _not_trained([recalibration.of])
        else:
            aligned, origin = _source(study, recalibration.of, done=done, cohort=cohort)
            done[name] = _recalibrate_one(
                study, name, parts=aligned, origin=origin, recalibration=recalibration
            )
    for name, result in done.items():
        table = _table(result, name, settings)
        record = {**result.origin, **result.details}
        write_predictions(result.path, table, classes=settings.classes, record=record)
    return [
        done[name].summary
        if name in done
        else FusionSummary(name, parts, skipped=_left_over(study, name, left_out[name]))
        for name, parts in wanted.items()
    ]


def _models(
    study: Study, wanted: Mapping[str, tuple[str, ...]], cohort: Cohort, *, with_reader: bool
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Read the tables of the parts; return them, and why each left-out fusion is left out.

    Raises
    ------
    FusionError
        None of the parts is trained.
    """
    needed = dict.fromkeys(part for parts in wanted.values() for part in parts if part != READER)
    untrained = [name for name in needed if _is_untrained(study, name)]
    if needed and len(untrained) == len(needed):
        raise FusionError(
            f"nothing can be fused: {_not_trained(untrained)}",
            file=study.predictions_csv(untrained[0]),
            remedy="run 'ctbone train' first",
        )
    models: dict[str, pd.DataFrame] = {}
    left_out: dict[str, str] = {}
    for name, parts in wanted.items():
        lacking = [part for part in parts if part in untrained]
        if lacking:
            left_out[name] = _not_trained(lacking)
        elif READER in parts and not with_reader:
            left_out[name] = _NO_SCORES
        else:
            own = [part for part in parts if part != READER]
            for part in own:
                if part not in models:
                    models[part] = read_part(study, study.predictions_csv(part), cohort)
            folds = {part: found for part in own if (found := _finished(study, part))}
            if len(set(folds.values())) > 1:
                each = (f"{part} in folds {', '.join(map(str, of))}" for part, of in folds.items())
                left_out[name] = f"the models are not trained in the same folds ({'; '.join(each)})"
    return models, left_out


def _is_untrained(study: Study, name: str) -> bool:
    """Whether ``name`` is a model of the settings that has no probabilities yet."""
    return name in study.settings.models and not study.predictions_csv(name).is_file()


def _not_trained(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last} are not trained" if others else f"{last} is not trained"


def _finished(study: Study, model: str) -> tuple[int, ...]:
    """Return the folds of a model that are trained; none where another program made its table."""
    count = study.settings.folds.count
    return tuple(k for k in range(count) if (study.run_folder(model, k) / "card.json").is_file())


def _cases(table: pd.DataFrame) -> Iterable[str]:
    return table.index.get_level_values("case_id")


def _left_over(study: Study, name: str, why: str) -> str:
    return f"{why}; its table is from an earlier run" if study.fusion_csv(name).is_file() else why


def _align(
    *,
    names: tuple[str, ...],
    models: Mapping[str, pd.DataFrame],
    who: ReaderPart | None,
    cohort: Cohort,
    settings: Settings,
    fitted: bool,
) -> Parts:
    """Align the parts of one combination row by row."""
    fitted = fitted or settings.fusion.weights in ("auc", "log_loss")
    parts = align(
        {name: models[name] for name in names if name != READER},
        cohort,
        settings.classes,
        fitted=fitted,
    )
    if who is None or READER not in names:
        return parts
    return with_reader(parts, reader=who, order=names)


def _fuse_one(study: Study, name: str, *, parts: Parts, who: ReaderPart | None) -> _Fused:
    settings = study.settings
    try:
        weights, searches = weights_of(parts, settings)
    except FusionError as error:
        error.problem = f"fusion '{name}': {error.problem}"
        raise
    origin = _origin(study, parts, who)
    matrix = np.array(list(weights.values()))
    sd = tuple(map(float, matrix.std(axis=0, ddof=1))) if len(matrix) > 1 else None
    mean = tuple(map(float, matrix.mean(axis=0)))
    path = study.fusion_csv(name)
    summary = FusionSummary(
        name=name, parts=parts.names, mean=mean, sd=sd, path=path, reader=origin["reader"]
    )
    details = weight_record(parts, weights=weights, searches=searches, settings=settings)
    return _Fused(
        summary=summary,
        path=path,
        parts=parts,
        probabilities=average(parts, weights),
        origin=origin,
        details=details,
    )


def _stack_one(
    study: Study,
    name: str,
    *,
    parts: Parts,
    who: ReaderPart | None,
    stacking: Stacking,
    cohort: Cohort,
) -> _Fused:
    settings = study.settings
    try:
        clinical = clinical_columns(cohort, stacking.columns, list(parts.rows["case_id"]))
        stacked = stack(
            parts,
            clinical=clinical,
            settings=stacking,
            classes=settings.classes,
            positive=settings.positive_class,
        )
    except FusionError as error:
        error.problem = f"stack '{name}': {error.problem}"
        raise
    further = {study.cohort_csv.name: study.cohort_csv} if stacking.columns else {}
    origin = _origin(study, parts=parts, who=who, further=further)
    features = ", ".join([*stacking.parts, *stacking.columns])
    words = f"{MODELS[stacking.model].split(' (')[0]} over {features}"
    path = study.fusion_csv(name)
    summary = FusionSummary(
        name=name, parts=parts.names, path=path, reader=origin["reader"], made_of=words
    )
    return _Fused(
        summary=summary,
        path=path,
        parts=parts,
        probabilities=stacked.probabilities,
        origin=origin,
        details=stack_record(stacked, stacking),
    )


def _origin(
    study: Study, parts: Parts, who: ReaderPart | None, further: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Return the provenance of a fusion; the path of the scores only if it is in the study."""
    inputs = {part: study.predictions_csv(part) for part in parts.names if part != READER} | dict(
        further or {}
    )
    if who is None or READER not in parts.names:
        return {**provenance(study, "fusion", inputs), "reader": None}
    record = provenance(study, "fusion", {**inputs, READER: who.file})
    return {**record, "reader": who.reader_id, "scores": _place(study, who.file)}


def _place(study: Study, file: Path) -> str | None:
    """Return the file's path in the study; None outside it, because such paths may be private."""
    root, file = study.root.resolve(), file.resolve()
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else None


def _table(fused: _Fused, name: str, settings: Settings) -> pd.DataFrame:
    probabilities = np.clip(fused.probabilities, 0, 1)
    columns = zip(probability_columns(settings.classes), probabilities.T, strict=True)
    return fused.parts.rows.assign(model=name, view="", **dict(columns))


def _reader_alone(study: Study, fused: list[_Fused], who: ReaderPart) -> _Fused:
    """Return the reader's own probabilities, on the rows of the fusion with most rows."""
    parts = max(
        (result.parts for result in fused if READER in result.parts.names),
        key=lambda parts: len(parts.rows),
    )
    own = parts.probabilities[parts.names.index(READER)]
    alone = Parts((READER,), parts.rows, own[None])
    summary = FusionSummary(READER, (READER,), path=study.fusion_csv(READER), reader=who.reader_id)
    return _Fused(
        summary=summary,
        path=study.fusion_csv(READER),
        parts=alone,
        probabilities=own,
        origin=_origin(study, alone, who),
        details={"parts": [READER]},
    )


def _source(
    study: Study, name: str, *, done: Mapping[str, _Fused], cohort: Cohort
) -> tuple[Parts, dict[str, Any]]:
    """Return the rows to recalibrate and their provenance."""
    if name in done:
        fused = done[name]
        return Parts((name,), fused.parts.rows, fused.probabilities[None]), fused.origin
    table = read_part(study, study.predictions_csv(name), cohort)
    parts = align({name: table}, cohort, study.settings.classes, fitted=True)
    return parts, _origin(study, parts, None)


def _recalibrate_one(
    study: Study, name: str, *, parts: Parts, origin: dict[str, Any], recalibration: Recalibration
) -> _Fused:
    settings = study.settings
    try:
        found = recalibrate(
            parts,
            settings=recalibration,
            classes=settings.classes,
            positive=settings.positive_class,
        )
    except FusionError as error:
        error.problem = f"recalibration '{name}': {error.problem}"
        raise
    path = study.fusion_csv(name)
    words = in_words(found.learned, recalibration)
    summary = FusionSummary(
        name=name, parts=parts.names, path=path, reader=origin["reader"], made_of=words
    )
    return _Fused(
        summary=summary,
        path=path,
        parts=parts,
        probabilities=found.probabilities,
        origin=origin,
        details=recalibration_record(found, recalibration),
    )
