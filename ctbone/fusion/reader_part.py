"""The radiologists as a part of a fusion: the choice of readers, and their probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctbone.class_scores import (
    CALLED,
    called_classes,
    class_probabilities,
    names_classes,
    read_class_scores,
)
from ctbone.cohort import Cohort
from ctbone.config import READER, READERS, Settings
from ctbone.errors import FusionError
from ctbone.fusion.parts import Parts
from ctbone.predictions import probability_columns
from ctbone.scores import Scores, read_scores


@dataclass(frozen=True)
class ReaderPart:
    """The readers of a fusion.

    Attributes
    ----------
    title
        The ``reader_id``, or such as ``mean of 6 readers``.
    why
        Why this reader or this mean was chosen, for messages.
    probabilities
        Of every class, 0–1, columns ``p_<class>``, indexed by ``case_id``.
    each
        Those of the positive class of every reader, a column each; a missing score is the mean of
        the other readers. None if no stack takes every reader.
    readers
        ``reader_id`` of those whose scores ``probabilities`` come from.
    missing, each_missing
        Scores that these readers, and those of ``each``, did not give, of readers × cases.
    file
        The table of scores.
    """

    title: str
    why: str
    probabilities: pd.DataFrame
    each: pd.DataFrame | None
    readers: tuple[str, ...]
    missing: int
    each_missing: int
    file: Path

    @property
    def each_title(self) -> str:
        """What ``readers`` in a stack stands for, and how many scores are missing."""
        count = 0 if self.each is None else self.each.shape[1]
        gaps = f" ({self.each_missing} scores are missing)" if self.each_missing else ""
        return f"each of {count} readers{gaps}"

    @property
    def record(self) -> dict[str, Any]:
        """The choice, as the records of the fusions hold it."""
        return {"why": self.why, "readers": list(self.readers), "missing_scores": self.missing}

    def __str__(self) -> str:
        gaps = f"; {self.missing} scores are missing" if self.missing else ""
        return f"{self.title} ({self.why}{gaps})"


def takes_reader(parts: Iterable[str]) -> bool:
    """Whether a fusion of these parts needs a reader's scores."""
    return not {READER, READERS}.isdisjoint(parts)


def read_reader(
    path: Path,
    cohort: Cohort,
    needed: Iterable[str],
    *,
    settings: Settings,
    reader: str | None = None,
) -> ReaderPart:
    """Choose the readers whose unaided scores are fused, and return their probabilities.

    The choice: the reader that is named; the mean or median of ``fusion.readers``; the only reader
    who scored every case; the only senior among several of these; else the mean of all readers.

    Parameters
    ----------
    path
        ``scores.csv``.
    cohort
        The study's cases.
    needed
        The cases that the models predict.
    settings
        The scale of the scores, and the choice of readers.
    reader
        ``reader_id``; None is that of the settings.

    Raises
    ------
    FusionError
        The named reader is unknown or misses cases; no reader scored a case; or the study has more
        than two classes, and the scores name none.
    ScoreError
        The table of scores has errors.
    """
    scores = _scores(path, cohort, settings)
    wide = scores.probabilities("unaided", dict.fromkeys(needed))
    named, rule = reader or settings.fusion.reader, settings.fusion.readers
    if named is not None:
        taken, how, why = [_named(wide, named, path)], "mean", "named"
    elif rule != "one":
        taken, how, why = list(wide.columns), rule, f"fusion.readers is '{rule}'"
    else:
        taken, why = _chosen(wide, scores)
        how = "mean"
    _require_scored(wide, taken, path)
    own = wide[taken]
    return ReaderPart(
        title=taken[0] if len(taken) == 1 else f"{how} of {len(taken)} readers",
        why=why,
        probabilities=_joined(own, how, scores, settings),
        each=_each(settings, wide, path),
        readers=tuple(taken),
        missing=int(own.isna().to_numpy().sum()),
        each_missing=int(wide.isna().to_numpy().sum()),
        file=path,
    )


def _scores(path: Path, cohort: Cohort, settings: Settings) -> Scores:
    case_ids = {case.case_id for case in cohort}
    if len(settings.classes) == 2:
        return read_scores(path, case_ids, settings.scores)
    if names_classes(path):
        return read_class_scores(path, case_ids, settings.classes)
    raise FusionError(
        "a confidence score distinguishes two classes, so a reader cannot be fused here",
        file=path,
        found=f"classes {', '.join(settings.classes)}",
        expected=f"two classes, or the column '{CALLED}' with the class that the reader names",
        remedy="add the column, or leave the reader out of fusion.combinations",
    )


def _joined(own: pd.DataFrame, how: str, scores: Scores, settings: Settings) -> pd.DataFrame:
    """Return the probabilities of every class from those of the chosen readers."""
    classes = settings.classes
    if len(classes) == 2:
        p = own.median(axis=1) if how == "median" else own.mean(axis=1)
        return _by_class(own.iloc[:, 0] if own.shape[1] == 1 else p, settings)
    called = called_classes(scores, "unaided").reindex(own.index)
    each = np.stack([class_probabilities(called[name], own[name], classes) for name in own])
    p_of_classes = np.nanmedian(each, axis=0) if how == "median" else np.nanmean(each, axis=0)
    p_of_classes /= p_of_classes.sum(axis=1, keepdims=True)
    return pd.DataFrame(p_of_classes, index=own.index, columns=probability_columns(classes))


def _named(wide: pd.DataFrame, reader: str, path: Path) -> str:
    if reader not in wide:
        raise FusionError(
            "this reader has no unaided scores",
            file=path,
            found=reader,
            expected=", ".join(wide.columns) or "any reader",
        )
    gaps = int(wide[reader].isna().sum())
    if gaps:
        raise FusionError(
            "the reader did not score every case",
            file=path,
            found=f"of {len(wide)} cases {reader} misses {gaps}",
            remedy="complete the scores, or fuse several readers: fusion.readers: mean",
        )
    return reader


def _chosen(wide: pd.DataFrame, scores: Scores) -> tuple[list[str], str]:
    """Choose readers where the settings do not; return them and why."""
    complete = [str(name) for name in wide.columns if wide[name].notna().all()]
    seniors = [name for name in complete if scores.levels[name].casefold() == "senior"]
    if len(complete) == 1:
        only = "the only reader" if len(wide.columns) == 1 else "the only one who scored every case"
        return complete, only
    if len(seniors) == 1:
        return seniors, "the only senior who scored every case"
    return [str(name) for name in wide.columns], "no single reader is named, and none stands out"


def _require_scored(wide: pd.DataFrame, readers: list[str], path: Path) -> None:
    """Refuse cases that none of these readers scored."""
    unread = wide.index[wide[readers].isna().all(axis=1)] if readers else wide.index
    if not len(unread):
        return
    misses = (f"{name} misses {int(wide[name].isna().sum())}" for name in readers)
    raise FusionError(
        "no reader scored every case without AI"
        if len(readers) < 2
        else f"no reader scored {len(unread)} of {len(wide)} cases without AI",
        case=str(unread[0]),
        file=path,
        found=f"of {len(wide)} cases {', '.join(misses)}" if readers else "no unaided scores",
        remedy="complete the scores, or leave the reader out of fusion.combinations",
    )


def _each(settings: Settings, wide: pd.DataFrame, path: Path) -> pd.DataFrame | None:
    """Return every reader's probabilities if a stack takes them; gaps take the others' mean."""
    if not any(READERS in stack.parts for stack in settings.fusion.stacking.values()):
        return None
    if len(settings.classes) > 2:
        raise FusionError(
            "a stack takes the readers' scores of two classes only",
            file=path,
            found=f"classes {', '.join(settings.classes)}",
            remedy=f"leave '{READERS}' out of fusion.stacking, or take '{READER}'",
        )
    _require_scored(wide, list(wide.columns), path)
    mean = wide.mean(axis=1)
    return wide.apply(lambda column: column.fillna(mean))


def with_reader(
    parts: Parts, reader: ReaderPart, order: tuple[str, ...], settings: Settings
) -> Parts:
    """Add the readers to the models, on the same rows.

    Parameters
    ----------
    parts
        The models.
    reader
        The readers and their probabilities.
    order
        The names of all parts; ``readers`` becomes one part a reader.
    settings
        The study's classes.
    """
    slices: dict[str, np.ndarray] = dict(zip(parts.names, parts.probabilities, strict=True))
    names: list[str] = []
    for name in order:
        added = _reader_columns(name, reader, settings)
        names += list(added) or [name]
        for part, p in added.items():
            slices[part] = p.reindex(parts.rows["case_id"]).to_numpy(float)
    return Parts(tuple(names), parts.rows, np.stack([slices[name] for name in names]))


def _reader_columns(
    part: str, reader: ReaderPart, settings: Settings
) -> Mapping[str, pd.DataFrame]:
    """Return the probabilities that a part of the settings stands for; none for a model."""
    if part == READER:
        return {READER: reader.probabilities}
    if part == READERS and reader.each is not None:
        return {f"{READER} {name}": _by_class(reader.each[name], settings) for name in reader.each}
    return {}


def _by_class(p: pd.Series, settings: Settings) -> pd.DataFrame:
    """Return the probabilities of both classes."""
    own = [p if name == settings.positive_class else 1 - p for name in settings.classes]
    return pd.DataFrame(np.column_stack(own), p.index, probability_columns(settings.classes))
