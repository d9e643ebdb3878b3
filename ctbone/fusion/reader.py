"""The radiologist as a part of a fusion: the choice of the reader, scores as probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ctbone.cohort import Cohort
from ctbone.config import READER, Settings
from ctbone.errors import FusionError
from ctbone.fusion.parts import Parts
from ctbone.scores import read_scores, score_probability


@dataclass(frozen=True)
class ReaderPart:
    """The reader of a fusion.

    Attributes
    ----------
    reader_id
        The reader's ID in the table of scores.
    probabilities
        Of the positive class, 0.1–0.9, indexed by ``case_id``.
    file
        The table of scores.
    """

    reader_id: str
    probabilities: pd.Series
    file: Path


def read_reader(
    path: Path, cohort: Cohort, needed: Iterable[str], reader: str | None
) -> ReaderPart:
    """Choose the reader and map each unaided score to the probability of the positive class.

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

    Returns
    -------
    ReaderPart

    Raises
    ------
    FusionError
        The reader is unknown or misses cases; no reader, or more than one, scored all cases.
    ScoreError
        The table of scores has errors.
    """
    table = read_scores(path, cohort)
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
    chosen = unaided[unaided["reader_id"] == complete[0]].set_index("case_id")["score"]
    return ReaderPart(complete[0], score_probability(chosen), path)


def with_reader(
    parts: Parts, reader: ReaderPart, order: tuple[str, ...], settings: Settings
) -> Parts:
    """Add the reader to the models, on the same rows.

    Parameters
    ----------
    parts
        The models.
    reader
        The reader and the probabilities.
    order
        The names of all parts, including the reader.
    settings
        The study's classes.

    Raises
    ------
    FusionError
        The study has more than two classes, which one confidence score cannot distinguish.
    """
    if len(settings.classes) > 2:
        raise FusionError(
            "a confidence score distinguishes two classes, so a reader cannot be fused here",
            found=f"classes {', '.join(settings.classes)}",
            expected="two classes",
            remedy="leave the reader out of fusion.combinations",
        )
    p = reader.probabilities.reindex(parts.rows["case_id"]).to_numpy(float)
    own = np.column_stack(
        [p if name == settings.positive_class else 1 - p for name in settings.classes]
    )
    slices = {**dict(zip(parts.names, parts.probabilities, strict=True)), READER: own}
    return Parts(order, parts.rows, np.stack([slices[name] for name in order]))
