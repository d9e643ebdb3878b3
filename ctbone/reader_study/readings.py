"""The readings of a study as arrays: truth, scores, seconds, and the model's probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ctbone.cohort import read_cohort
from ctbone.config import ScoreSettings
from ctbone.custody import require_current
from ctbone.differences import did_you_mean
from ctbone.errors import ReaderStudyError
from ctbone.predictions import case_probabilities, probability_columns
from ctbone.scores import MIDPOINT, SESSIONS, read_scores
from ctbone.stats.inputs import Bools, Floats
from ctbone.study import Study, read_table
from ctbone.study_predictions import read_study_predictions

_POSITIVES = ("1", "1.0", "true", "yes", "positive", "malignant")
"""Labels that name the positive class of two."""
SESSION_WORDS = {"unaided": "without AI", "aided": "with AI"}
"""The sessions in sentences."""
_LEVEL_ORDER = ("junior", "mid", "mid-level", "senior")
_SPLITS: tuple[Literal["test", "external"], ...] = ("test", "external")
_USUAL_MODEL = "3d"
"""The model that supported the readers in the main paper."""


@dataclass(frozen=True)
class Truth:
    """Class and patient of each case, and a model's probability where it is known.

    Attributes
    ----------
    classes
        Both classes, the positive one last.
    cases
        ``label`` and ``patient_id`` by ``case_id``.
    model
        Name of the model; empty if there is none.
    p
        Its probability of the positive class by ``case_id``.
    """

    classes: tuple[str, str]
    cases: pd.DataFrame
    model: str
    p: pd.Series
    scale: ScoreSettings = field(default_factory=ScoreSettings)
    """The scale of the scores."""


@dataclass(frozen=True)
class DroppedReader:
    """A reader who does not count, such as one who left before the second session.

    Attributes
    ----------
    reader, level
        Name and level.
    readings
        Number of readings that are left out with the reader.
    why
        The reason, in words.
    """

    reader: str
    level: str
    readings: int
    why: str


@dataclass(frozen=True)
class Readings:
    """Every reading of the reader study.

    Attributes
    ----------
    readers, levels
        Name and level of each reader, by level and then in the order of the table.
    sessions
        ``unaided``, ``aided`` or both, in this order.
    case_ids
        The cases that count.
    classes
        Both classes, the positive one last.
    truth
        Whether a case is positive, shape (n,).
    patients
        Patient of each case, shape (n,); None if every patient has one case.
    p
        Probability by the reader's score, shape (sessions, readers, n); NaN if not read.
    seconds
        Reading time in seconds, same shape; None if the table has no such column.
    model, model_p
        Name of the model (empty if there is none) and its probabilities, shape (n,).
    left_out
        Scored cases that do not count, because they were not read in both sessions.
    dropped
        Readers who do not count, because they have no AUC in one of the sessions.
    days
        Days from the reading without AI to the one with AI, shape (readers, n); negative if the
        one with AI came first, NaN if a reading or its time is missing. None if the table has no
        times, or one session.
    """

    readers: tuple[str, ...]
    levels: tuple[str, ...]
    sessions: tuple[str, ...]
    case_ids: tuple[str, ...]
    classes: tuple[str, str]
    truth: Bools
    patients: np.ndarray | None
    p: Floats
    seconds: Floats | None
    model: str
    model_p: Floats
    left_out: int
    dropped: tuple[DroppedReader, ...] = ()
    days: Floats | None = None
    scale: ScoreSettings = field(default_factory=ScoreSettings)
    """The scale of the scores."""

    @property
    def paired(self) -> bool:
        """Whether there are both sessions."""
        return len(self.sessions) == 2

    @property
    def level_names(self) -> tuple[str, ...]:
        """The levels, each once."""
        return tuple(dict.fromkeys(self.levels))

    @property
    def called(self) -> Floats:
        """Whether a reader calls a case positive: 1 or 0; NaN if not read."""
        return np.where(np.isnan(self.p), np.nan, self.p >= MIDPOINT)

    @property
    def correct(self) -> Floats:
        """Whether a reader's call is correct: 1 or 0; NaN if not read."""
        return np.where(np.isnan(self.p), np.nan, (self.p >= MIDPOINT) == self.truth)

    @property
    def model_called(self) -> Bools:
        """Whether the model calls a case positive."""
        return np.asarray(self.model_p >= MIDPOINT)

    def of_level(self, level: str) -> np.ndarray:
        """Numbers of the readers of a level."""
        return np.flatnonzero(np.array(self.levels) == level)


def study_truth(study: Study, model: str | None) -> Truth:
    """Take truth and model from a study.

    Parameters
    ----------
    study
        The study.
    model
        A table in ``predictions/`` or ``fusion/``, or a CSV file; None is ``3d``, or the only one.

    Raises
    ------
    CohortError, StudyError, PredictionError
        A table is missing or faulty.
    ReaderStudyError
        The study has more than two classes, or no such model.
    """
    settings = study.settings
    if len(settings.classes) != 2:
        raise ReaderStudyError(
            "a reader study needs two classes",
            file=study.settings_file,
            found=", ".join(settings.classes),
        )
    cohort = read_cohort(study)
    cases = pd.DataFrame(
        [(case.case_id, case.label, case.patient_id) for case in cohort],
        columns=["case_id", "label", "patient_id"],
    ).set_index("case_id")
    positive = settings.positive_class
    other = next(name for name in settings.classes if name != positive)
    name, p = "", pd.Series(dtype=float)
    if model is not None and Path(model).suffix == ".csv":
        name, p = _model_file(Path(model), positive)
    elif path := _model_table(study, model):
        require_current(study, path.parent.name, [path.stem], settings=False)  # type: ignore[arg-type]
        table = read_study_predictions(study, path, cohort)
        of_splits = [case_probabilities(table, split, settings.classes) for split in _SPLITS]
        found = pd.concat(of_splits).set_index("case_id")
        name, p = path.stem, found[probability_columns([positive])[0]]
    return Truth((other, positive), cases, name, p, settings.scores)


def table_truth(
    path: Path,
    *,
    positive: str | None = None,
    model: Path | None = None,
    scale: ScoreSettings | None = None,
) -> Truth:
    """Take the truth from a table without a study: ``case_id, label``, optionally ``patient_id``.

    Parameters
    ----------
    path
        The table.
    positive
        The positive class; None recognises ``1``, ``true``, ``yes``, ``positive``, ``malignant``.
    model
        A CSV file with ``case_id`` and ``p_<positive>``; None is no model.
    scale
        The scale of the scores; None is the nine-point scale.

    Raises
    ------
    ReaderStudyError
        There are not two classes, or it is not clear which one is positive.
    StudyError
        A table is missing or faulty.
    """
    table = read_table(path, ("case_id", "label"), remedy="name the table of the true classes")
    labels = list(dict.fromkeys(table["label"]))
    if table["case_id"].duplicated().any():
        double = table.loc[table["case_id"].duplicated(), "case_id"].iloc[0]
        raise ReaderStudyError("the case has two rows", case=double, file=path)
    if len(labels) != 2 or "" in labels:
        raise ReaderStudyError(
            "a reader study needs two classes",
            file=path,
            found=", ".join(repr(name) for name in labels),
            expected="two labels in the column label, none empty",
        )
    if positive is None:
        known = [name for name in labels if name.casefold() in _POSITIVES]
        positive = known[0] if len(known) == 1 else None
    if positive not in labels:
        raise ReaderStudyError(
            "which of the classes is the positive one?",
            file=path,
            found=", ".join(labels),
            remedy="name it: --positive CLASS",
        )
    assert positive is not None
    other = next(name for name in labels if name != positive)
    cases = table.set_index("case_id")
    if "patient_id" not in cases:
        cases["patient_id"] = cases.index
    cases["patient_id"] = cases["patient_id"].where(cases["patient_id"] != "", cases.index)
    name, p = _model_file(model, positive) if model else ("", pd.Series(dtype=float))
    known_cases = cases[["label", "patient_id"]]
    return Truth((other, positive), known_cases, name, p, scale or ScoreSettings())


def read_readings(path: Path, truth: Truth) -> Readings:
    """Read a table of scores.

    With two sessions, only cases that were read in both count. A reader who read no case of a class
    in one of the sessions has no AUC there, and does not count: such as one who left the study
    before the second session.

    Raises
    ------
    ScoreError
        A score is faulty; see ``ctbone.scores``.
    ReaderStudyError
        No case was read, no reader counts, or all cases are of one class.
    """
    scores = read_scores(path, truth.cases.index, truth.scale)
    table = scores.table
    if table.empty:
        raise ReaderStudyError("the table of scores has no reading", file=path)
    sessions = tuple(name for name in SESSIONS if (table["session"] == name).any())
    levels = scores.levels
    of_all = table
    table, dropped = _of_counted_readers(_of_common_cases(table, sessions, path), truth, path)
    dropped = tuple(
        replace(
            one, level=levels[one.reader], readings=int((of_all["reader_id"] == one.reader).sum())
        )
        for one in dropped
    )
    counted = set(table["case_id"])
    left_out = len(set(of_all["case_id"]) - counted)
    levels = {reader: levels[reader] for reader in levels if (table["reader_id"] == reader).any()}
    readers = sorted(levels, key=lambda reader: _level_place(levels[reader]))
    case_ids = [case for case in truth.cases.index if case in counted]
    rows = truth.cases.loc[case_ids]
    is_positive = (rows["label"] == truth.classes[1]).to_numpy()
    if is_positive.all() or not is_positive.any():
        raise ReaderStudyError(
            "all cases that were read have one class", file=path, found=rows["label"].iloc[0]
        )
    patients = rows["patient_id"].to_numpy(str)
    return Readings(
        readers=tuple(readers),
        levels=tuple(levels[reader] for reader in readers),
        sessions=sessions,
        case_ids=tuple(case_ids),
        classes=truth.classes,
        truth=is_positive,
        patients=patients if len(set(patients)) < len(patients) else None,
        p=_array(table, table["probability"], sessions, readers, case_ids),
        seconds=_seconds(table, sessions, readers, case_ids),
        model=truth.model if truth.p.index.isin(case_ids).any() else "",
        model_p=truth.p.reindex(case_ids).to_numpy(float),
        left_out=left_out,
        scale=truth.scale,
        dropped=dropped,
        days=_days(table, sessions, readers, case_ids),
    )


def _of_common_cases(table: pd.DataFrame, sessions: Sequence[str], path: Path) -> pd.DataFrame:
    """Return the readings of cases that somebody read in every session."""
    by_session = [set(table.loc[table["session"] == name, "case_id"]) for name in sessions]
    counted = set.intersection(*by_session)
    if not counted:
        raise ReaderStudyError(
            "no case was read in both sessions",
            file=path,
            found=" and ".join(str(len(one)) for one in by_session) + " cases",
            remedy="analyse one session: leave the other out of the table",
        )
    return table[table["case_id"].isin(counted)]


def _of_counted_readers(
    table: pd.DataFrame, truth: Truth, path: Path
) -> tuple[pd.DataFrame, tuple[DroppedReader, ...]]:
    """Return the readings of those who read cases of both classes in every session, and the others.

    Without a reader, a case may no longer be read in both sessions, so this is repeated.
    """
    sessions = [name for name in SESSIONS if (table["session"] == name).any()]
    dropped: list[DroppedReader] = []
    while True:
        label = truth.cases["label"].reindex(table["case_id"]).to_numpy()
        known = table.assign(label=label).groupby(["reader_id", "session"])["label"].nunique()
        lacking: dict[str, str] = {}
        for reader in dict.fromkeys(table["reader_id"]):
            for session in sessions:
                count = int(known.get((reader, session), 0))
                if count < 2 and reader not in lacking:
                    words = "no case" if count == 0 else "cases of one class only"
                    lacking[reader] = f"{words} {SESSION_WORDS[session]}"
        if not lacking:
            return table, tuple(dropped)
        dropped += [DroppedReader(reader, "", 0, why) for reader, why in lacking.items()]
        table = table[~table["reader_id"].isin(list(lacking))]
        if table.empty:
            raise ReaderStudyError(
                "no reader read cases of both classes in every session",
                file=path,
                found="; ".join(f"{one.reader}: {one.why}" for one in dropped),
                remedy="complete the readings, or leave a session out of the table",
            )
        table = _of_common_cases(table, sessions, path)


def _days(
    table: pd.DataFrame, sessions: Sequence[str], readers: Sequence[str], case_ids: Sequence[str]
) -> Floats | None:
    """Return the days between the readings of a case; None without times or a second session."""
    if "read_at" not in table or len(sessions) < 2:
        return None
    times = pd.to_datetime(table["read_at"], errors="coerce", utc=True, format="ISO8601")
    if times.isna().all():
        return None
    since = (times - times.min()) / pd.Timedelta(days=1)
    unaided, aided = _array(table, since, sessions, readers, case_ids)
    return np.asarray(aided - unaided)


def _level_place(level: str) -> int:
    """Junior before senior; levels of other names after them, in the order of the table."""
    name = level.casefold()
    return _LEVEL_ORDER.index(name) if name in _LEVEL_ORDER else len(_LEVEL_ORDER)


def _array(
    table: pd.DataFrame,
    values: pd.Series,
    sessions: Sequence[str],
    readers: Sequence[str],
    case_ids: Sequence[str],
) -> Floats:
    """Spread one value a reading over (sessions, readers, cases)."""
    found = np.full((len(sessions), len(readers), len(case_ids)), np.nan)
    places = [
        pd.Index(names).get_indexer(table[column])
        for names, column in ((sessions, "session"), (readers, "reader_id"), (case_ids, "case_id"))
    ]
    found[tuple(places)] = values
    return found


def _seconds(
    table: pd.DataFrame,
    sessions: Sequence[str],
    readers: Sequence[str],
    case_ids: Sequence[str],
) -> Floats | None:
    if "seconds" not in table or table["seconds"].isna().all():
        return None
    return _array(table, table["seconds"], sessions, readers, case_ids)


def _model_table(study: Study, model: str | None) -> Path | None:
    """Return the table of the model; None if none is named and none is there to choose."""
    folders = (study.root / "predictions", study.root / "fusion")
    tables = {path.stem: path for folder in folders for path in sorted(folder.glob("*.csv"))}
    if model is None:
        own = sorted(path.stem for path in folders[0].glob("*.csv"))
        chosen = _USUAL_MODEL if _USUAL_MODEL in own else own[0] if len(own) == 1 else None
        return tables[chosen] if chosen else None
    if model not in tables:
        raise ReaderStudyError(
            "the study has no probabilities of this model",
            file=folders[0],
            found=model,
            expected=", ".join(tables) or None,
            remedy=did_you_mean(model, tables, otherwise="run 'ctbone train' first"),
        )
    return tables[model]


def _model_file(path: Path, positive: str) -> tuple[str, pd.Series]:
    """Read a model's probabilities from a CSV with ``case_id`` and ``p_<positive>``."""
    column = f"p_{positive}"
    table = read_table(path, ("case_id", column))
    numbers = pd.to_numeric(table[column], errors="coerce")
    wrong = ~numbers.between(0, 1)
    if wrong.any():
        raise ReaderStudyError(
            "a probability is not a number from 0 to 1",
            case=str(table.loc[wrong, "case_id"].iloc[0]),
            file=path,
            found=repr(table.loc[wrong, column].iloc[0]),
        )
    return path.stem, numbers.groupby(table["case_id"]).mean()
