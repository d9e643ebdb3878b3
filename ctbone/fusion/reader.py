"""The radiologist as a part of a fusion: the choice of the reader, scores as probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ctbone.class_scores import CALLED, class_probabilities, names_classes, read_class_scores
from ctbone.cohort import Cohort
from ctbone.config import READER, Settings
from ctbone.errors import FusionError
from ctbone.fusion.parts import Parts
from ctbone.predictions import probability_columns
from ctbone.scores import read_scores, score_probability


@dataclass(frozen=True)
class ReaderPart:
    """The reader of a fusion.

    Attributes
    ----------
    reader_id
        The reader's ID in the table of scores.
    probabilities
        Of every class, columns ``p_<class>``, indexed by ``case_id``.
    file
        The table of scores.
    """

    reader_id: str
    probabilities: pd.DataFrame
    file: Path


def read_reader(
    path: Path, cohort: Cohort, needed: Iterable[str], reader: str | None, settings: Settings
) -> ReaderPart:
    """Choose the reader and map each unaided answer to the probabilities of the classes.

    Parameters
    ----------
    path
        ``scores.csv``.
    cohort
        The study's cases.
    needed
        The cases that the models predict; the reader must have scored each of them without AI.
    reader
        ``reader_id``, or None for the only reader who scored all of them.
    settings
        The study's classes.

    Returns
    -------
    ReaderPart

    Raises
    ------
    FusionError
        The reader is unknown or misses cases; no reader, or more than one, scored all cases; the
        study has more than two classes, and the scores name none.
    ScoreError
        The table of scores has errors.
    """
    table = _answers(path, cohort, settings)
    unaided = table[table["session"] == "unaided"]
    cases = set(needed)
    missing = {
        str(name): len(cases - set(rows["case_id"])) for name, rows in unaided.groupby("reader_id")
    }
    if reader is not None and reader not in missing:
        raise FusionError(
            "this reader has no unaided scores",
            file=path,
            found=reader,
            expected=", ".join(missing) or "any reader",
        )
    complete = [name for name, gaps in missing.items() if gaps == 0 and reader in (None, name)]
    if not complete:
        asked = {reader: missing[reader]} if reader is not None else missing
        gaps = ", ".join(f"{name} misses {count}" for name, count in asked.items())
        raise FusionError(
            "no reader scored every case without AI"
            if reader is None
            else "the reader did not score every case",
            file=path,
            found=f"of {len(cases)} cases {gaps}" if gaps else "no unaided scores",
            remedy="complete the scores, or leave the reader out of fusion.combinations",
        )
    if len(complete) > 1:
        raise FusionError(
            "several readers scored every case",
            file=path,
            found=", ".join(complete),
            expected="one reader",
            remedy="name one: fusion.reader in study.yaml, or --reader",
        )
    chosen = unaided[unaided["reader_id"] == complete[0]].set_index("case_id")
    return ReaderPart(complete[0], _probabilities(chosen, settings), path)


def _answers(path: Path, cohort: Cohort, settings: Settings) -> pd.DataFrame:
    if len(settings.classes) == 2:
        return read_scores(path, cohort)
    if names_classes(path):
        return read_class_scores(path, cohort, settings.classes)
    raise FusionError(
        "a confidence score distinguishes two classes, so a reader cannot be fused here",
        file=path,
        found=f"classes {', '.join(settings.classes)}",
        expected=f"two classes, or the column '{CALLED}' with the class that the reader names",
        remedy="add the column, or leave the reader out of fusion.combinations",
    )


def _probabilities(answers: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    classes = settings.classes
    if len(classes) == 2:
        p = score_probability(answers["score"]).to_numpy(float)
        own = np.column_stack([p if name == settings.positive_class else 1 - p for name in classes])
    else:
        own = class_probabilities(answers[CALLED], answers["score"], classes)
    return pd.DataFrame(own, index=answers.index, columns=probability_columns(classes))


def with_reader(parts: Parts, reader: ReaderPart, order: tuple[str, ...]) -> Parts:
    """Add the reader to the models, on the same rows.

    Parameters
    ----------
    parts
        The models.
    reader
        The reader and the probabilities.
    order
        The names of all parts, including the reader.
    """
    own = reader.probabilities.reindex(parts.rows["case_id"]).to_numpy(float)
    slices = {**dict(zip(parts.names, parts.probabilities, strict=True)), READER: own}
    return Parts(order, parts.rows, np.stack([slices[name] for name in order]))
