"""The radiologist as a part of a fusion: which reader, and the probabilities that the scores stand for."""

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
class Reader:
    """The reader who takes part.

    Attributes
    ----------
    reader_id
        As in the table of scores.
    probabilities
        Of the positive class, 0.1–0.9, indexed by ``case_id``.
    file
        The table of scores.
    """

    reader_id: str
    probabilities: pd.Series
    file: Path


def read_reader(path: Path, cohort: Cohort, needed: Iterable[str], reader: str | None) -> Reader:
    """Choose the reader and map each unaided score to the probability of the positive class.

    Parameters
    ----------
    path
        ``scores.csv``.
    cohort
        The study's cases.
    needed
        The cases that the models answer for; the reader must have scored each of them without AI.
    reader
        ``reader_id``, or None for the only reader who scored them all.

    Returns
    -------
    Reader

    Raises
    ------
    FusionError
        The reader is unknown or misses cases; nobody scored them all, or several did.
    ScoreError
        The table of scores is faulty.
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
    return Reader(complete[0], score_probability(chosen), path)


def with_reader(parts: Parts, reader: Reader, order: tuple[str, ...], settings: Settings) -> Parts:
    """Set a reader beside the models, on the same rows.

    Parameters
    ----------
    parts
        The models.
    reader
        The reader and the probabilities.
    order
        The names of all parts, the reader's among them.
    settings
        The study's classes.

    Raises
    ------
    FusionError
        The study has more than two classes: one confidence score cannot say which of the others is meant.
    """
    if len(settings.classes) > 2:
        raise FusionError(
            "a confidence score speaks of two classes, so a reader cannot be fused here",
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
