"""The section on readers: every reader and session of ``scores.csv``, judged one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ctbone.class_scores import CALLED, class_probabilities, names_classes, read_class_scores
from ctbone.cohort import Cohort
from ctbone.config import READER
from ctbone.document import (
    INK,
    MM_PER_INCH,
    Block,
    Cell,
    DrawnFigure,
    FigureBlock,
    Section,
    Table,
    TableBlock,
    TableColumn,
    TableRow,
    Text,
    draw_diagonal,
    finish,
    line_styles,
    panels,
    shorten,
    style,
    unit_axes,
)
from ctbone.reporting.analysis import Analysis, JudgedSet, Judgement, judge
from ctbone.reporting.metrics import metric_columns
from ctbone.reporting.scored_cases import CaseSet, ScoredCases, two_class_columns
from ctbone.scores import MIDPOINT, SESSIONS, read_scores, score_probability
from ctbone.stats import roc_points
from ctbone.study import Study, file_hash, read_json, record_of

READER_METRICS = ("auc", "sensitivity", "specificity")
_MANY_CLASS_METRICS = ("auc", "accuracy", "balanced_accuracy", "f1")
UNAIDED, AIDED = SESSIONS
# A reader calls a case positive above the midpoint of the scale, whatever the models' threshold.
_THRESHOLD = float(score_probability(pd.Series([MIDPOINT])).iloc[0])


@dataclass(frozen=True)
class ReaderSession:
    """One reader in one session on one set of cases.

    Attributes
    ----------
    reader_id, level, session
        As in ``scores.csv``.
    scored
        The cases that the reader scored, named by ``reader_title``.
    judgement
        The numbers.
    missing
        Cases of the set that the reader did not score.
    fused
        Whether the fusions use these scores, so that ``reader`` among the models is this reader.
    """

    reader_id: str
    level: str
    session: str
    scored: ScoredCases
    judgement: Judgement
    missing: int
    fused: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``metrics.json``."""
        return {
            "title": self.scored.name,
            "reader_id": self.reader_id,
            "level": self.level,
            "session": self.session,
            "missing": self.missing,
            **self.judgement.as_dict(),
        }


@dataclass(frozen=True)
class JudgedReaders:
    """Every reader of ``scores.csv``, judged.

    Attributes
    ----------
    sessions
        By the key of the set, ``internal`` or ``external``; without a set that only the reader of
        the fusions scored, because ``reader`` among the models has these numbers.
    why
        Why no reader is judged, empty if readers are.
    other_table
        Whether the fusions use the scores of another table than ``scores.csv``.
    """

    sessions: Mapping[str, tuple[ReaderSession, ...]]
    why: str = ""
    other_table: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return ``readers`` of ``metrics.json``, without the reader whom ``models`` contains."""
        if self.why:
            return {"why": self.why}
        return {
            key: [found.as_dict() for found in sessions if not found.fused]
            for key, sessions in self.sessions.items()
        }


def reader_scores(study: Study, cohort: Cohort) -> pd.DataFrame | None:
    """Read ``scores.csv``; None if it is missing.

    With more than two classes it needs the column ``called``, and None is returned without it.

    Raises
    ------
    ScoreError
        The table of scores is faulty.
    """
    if not study.scores_csv.is_file():
        return None
    if len(study.settings.classes) == 2:
        return read_scores(study.scores_csv, cohort)
    if not names_classes(study.scores_csv):
        return None
    return read_class_scores(study.scores_csv, cohort, study.settings.classes)


def judge_readers(
    study: Study, cohort: Cohort, analysis: Analysis, scores: pd.DataFrame | None
) -> JudgedReaders | None:
    """Judge every reader and session of ``scores.csv`` on the internal and external test cases.

    A reader who did not score every case of a set is judged on the cases that he or she scored.

    Parameters
    ----------
    study, cohort
        The study and its cases.
    analysis
        The judged sets of the models.
    scores
        As ``reader_scores`` returns them.

    Returns
    -------
    JudgedReaders or None
        None if the study has no scores, or none but those of the reader of the fusions.
    """
    classes = study.settings.classes
    if len(classes) > 2 and scores is None and study.scores_csv.is_file():
        why = (
            "A confidence score gives the probability of one class against one other. This study "
            f"has {len(classes)} classes ({', '.join(classes)}), so readers are not judged without "
            f"the column '{CALLED}', the class that the reader names."
        )
        return JudgedReaders({}, why)
    if scores is None or scores.empty:
        return None
    sessions: dict[str, tuple[ReaderSession, ...]] = {
        judged.case_set.key: _sessions(
            study, cohort=cohort, analysis=analysis, judged=judged, table=scores
        )
        for judged in analysis.reported
        if judged.case_set.key != "validation"
    }
    if not any(sessions.values()):
        return JudgedReaders({}, "No reader scored a case of the test sets.")
    kept = {
        key: found for key, found in sessions.items() if not all(reader.fused for reader in found)
    }
    return JudgedReaders(kept, other_table=_other_table(study)) if kept else None


def reader_title(reader_id: str, level: str, session: str) -> str:
    """Name a reader and session as the report shows them.

    Examples
    --------
    >>> reader_title("r1", "senior", "unaided"), reader_title("r1", "senior", "aided")
    ('r1 (senior)', 'r1 with AI')
    """
    if session == AIDED:
        return f"{reader_id} with AI"
    return f"{reader_id} ({level})" if level else reader_id


def readers_section(analysis: Analysis, readers: JudgedReaders) -> Section:
    """Show every reader and session: ROC curves, and a table with intervals for each set."""
    if readers.why:
        return Section("readers", "Readers", (Text((readers.why,)),))
    if not analysis.two_class:
        return _named_classes_section(analysis, readers)
    text = (
        f"Readers scored their confidence that a case is {analysis.positive} from 1 to 9, without "
        f"{MIDPOINT}. The scores are read as probabilities of 10 to 90 %; a score above {MIDPOINT} "
        f"calls the case {analysis.positive}. Each reader and session is judged on the cases that "
        "the reader scored. An interval holds for that one reader; conclusions about readers in "
        "general, or about the gain from AI, need a multi-reader multi-case analysis: see the "
        "reader study, if readers read in two sessions."
    )
    if readers.other_table:
        text += (
            " The fusions use the scores of another table than scores.csv: the reader among the "
            "models is not judged here."
        )
    blocks: list[Block] = [Text((text,)), FigureBlock(_roc(analysis, readers))]
    blocks += [
        TableBlock(_table(judged.case_set, readers.sessions[judged.case_set.key]))
        for judged in analysis.reported
        if judged.case_set.key in readers.sessions
    ]
    return Section("readers", "Readers", tuple(blocks))


def _named_classes_section(analysis: Analysis, readers: JudgedReaders) -> Section:
    text = (
        f"Readers named one of {len(analysis.classes)} classes with a confidence of 10 to 90 %. "
        "The named class has this probability, and the others share the rest equally, which limits "
        "the AUC. Each reader and session is judged on the cases that the reader answered. An "
        "interval holds for that one reader."
    )
    tables = (
        TableBlock(_table(judged.case_set, readers.sessions[judged.case_set.key]))
        for judged in analysis.reported
        if judged.case_set.key in readers.sessions
    )
    return Section("readers", "Readers", (Text((text,)), *tables))


def _sessions(
    study: Study, cohort: Cohort, analysis: Analysis, judged: JudgedSet, table: pd.DataFrame
) -> tuple[ReaderSession, ...]:
    """Judge the sessions of one set: by reader in the order of the scores, unaided first."""
    wanted = judged.case_set.case_ids
    cases = pd.DataFrame(
        [
            (case.case_id, case.patient_id, case.cohort, case.label)
            for case in cohort
            if case.case_id in wanted
        ],
        columns=["case_id", "patient_id", "cohort", "label"],
    )
    found = []
    for reader_id, rows in table.groupby("reader_id", sort=False):
        level = ", ".join(dict.fromkeys(rows["level"]))
        for session in SESSIONS:
            given = rows[rows["session"] == session].set_index("case_id")
            own = cases[cases["case_id"].isin(given.index)].reset_index(drop=True)
            if own.empty:
                continue
            columns = _probabilities(given.loc[own["case_id"]], analysis)
            scored = ScoredCases(
                name=reader_title(str(reader_id), level, session),
                cases=own.assign(
                    fold=pd.array([pd.NA] * len(own), dtype="Int64"),
                    threshold=_THRESHOLD,
                    **columns,
                ),
                classes=analysis.classes,
                positive=analysis.positive,
            )
            known = None
            if session == UNAIDED and _fused_reader_id(study) == reader_id:
                known = _judgement_in_models(judged, scored)
            found.append(
                ReaderSession(
                    reader_id=str(reader_id),
                    level=level,
                    session=session,
                    scored=scored,
                    judgement=known or judge(scored, analysis.settings, bands=False),
                    missing=len(cases) - len(own),
                    fused=known is not None,
                )
            )
    return tuple(found)


def _probabilities(given: pd.DataFrame, analysis: Analysis) -> dict[str, np.ndarray]:
    """Return the columns ``p_<class>`` of a reader's answers."""
    if analysis.two_class:
        p = score_probability(given["score"]).to_numpy(float)
        return two_class_columns(p, analysis.classes, analysis.positive)
    p = class_probabilities(given[CALLED], given["score"], analysis.classes)
    return {f"p_{name}": p[:, place] for place, name in enumerate(analysis.classes)}


def _fused_reader_id(study: Study) -> str | None:
    """Return the reader whom ``ctbone fuse`` used, if its table of the reader has a record."""
    path = record_of(study.fusion_csv(READER))
    if not path.is_file() or not study.fusion_csv(READER).is_file():
        return None
    reader_id = read_json(path).get("reader")
    return reader_id if isinstance(reader_id, str) else None


def _other_table(study: Study) -> bool:
    """Whether ``ctbone fuse`` used other scores than those of ``scores.csv`` now."""
    path = record_of(study.fusion_csv(READER))
    if not path.is_file() or not study.fusion_csv(READER).is_file():
        return False
    used = read_json(path).get("inputs", {}).get(READER)
    return used is not None and used != file_hash(study.scores_csv)


def _judgement_in_models(judged: JudgedSet, scored: ScoredCases) -> Judgement | None:
    """Return the judgement of the model ``reader`` if it has these cases, scores and threshold."""
    for model, judgement in zip(judged.case_set.scored, judged.judgements, strict=True):
        if model.name != READER or set(model.cases["case_id"]) != set(scored.cases["case_id"]):
            continue
        own = model.cases.set_index("case_id").loc[scored.cases["case_id"]]
        columns = [f"p_{name}" for name in scored.classes]
        same = np.allclose(own[columns], scored.matrix, atol=1e-9)
        if same and (not scored.two_class or (own["threshold"] == _THRESHOLD).all()):
            return judgement
    return None


def _table(case_set: CaseSet, sessions: tuple[ReaderSession, ...]) -> Table:
    two = case_set.two_class
    metrics = READER_METRICS if two else _MANY_CLASS_METRICS
    columns = [
        TableColumn("reader", "Reader", "text"),
        TableColumn("session", "Session", "text"),
        TableColumn("n", "Cases"),
        TableColumn("missing", "Not scored"),
        *([TableColumn("positives", "Positive")] if two else []),
        *metric_columns(metrics),
    ]
    rows, before = [], None
    for found in sessions:
        estimates = [found.judgement.estimates[name] for name in metrics]
        counts: list[Cell] = [found.judgement.n, found.missing]
        counts += [found.judgement.positives] if two else []
        cells: tuple[Cell, ...] = (found.scored.name, found.session, *counts, *estimates)
        rows.append(TableRow(cells, opens=found.reader_id != before))
        before = found.reader_id
    fused = [found.scored.name for found in sessions if found.fused]
    note = "Sensitivity and specificity at the midpoint of the scale." if two else ""
    if fused:
        note += f" {fused[0]} without AI is '{READER}' in the tables and figures of the models."
    return Table(
        key=f"readers_{case_set.key}",
        title=f"Readers, {case_set.inline_title}",
        columns=tuple(columns),
        rows=tuple(rows),
        note=note,
    )


def _roc(analysis: Analysis, readers: JudgedReaders) -> DrawnFigure:
    """Draw the ROC curve and the operating point of every session, one panel a set of cases."""
    from matplotlib.lines import Line2D

    sets = [judged.case_set for judged in analysis.reported]
    sets = [case_set for case_set in sets if case_set.key in readers.sessions]
    everyone = [found for sessions in readers.sessions.values() for found in sessions]
    reader_ids = list(dict.fromkeys(found.reader_id for found in everyone))
    aided = any(found.session == AIDED for found in everyone)
    lines = line_styles(reader_ids)
    entries = len(reader_ids) + 2 * aided
    columns = min(4, entries) if len(sets) > 1 else 2
    rows = -(-entries // columns)
    right = 8 if len(sets) > 1 else 30
    with style():
        figure, all_axes = panels(
            len(sets),
            columns=2,
            size=(70, 70),
            gap=(18, 0),
            margin=(14, right, 16 + 4.2 * rows, 7),
        )
        for axes, case_set in zip(all_axes, sets, strict=True):
            draw_diagonal(axes)
            for found in readers.sessions[case_set.key]:
                unaided = found.session == UNAIDED
                colour = lines[found.reader_id].colour
                curve = roc_points(found.scored.truth, found.scored.p)
                dash = "-" if unaided else (0, (3, 1.5))
                axes.plot(
                    curve.fpr, curve.tpr, color=colour, linestyle=dash, linewidth=0.8, alpha=0.6
                )
                sensitivity, specificity = (
                    found.judgement.estimates[name].value for name in READER_METRICS[1:]
                )
                if sensitivity is None or specificity is None:
                    continue
                axes.plot(
                    [1 - specificity],
                    [sensitivity],
                    "o",
                    color=colour,
                    markerfacecolor=colour if unaided else "white",
                    markersize=5,
                    markeredgewidth=1.2,
                    clip_on=False,
                    zorder=3,
                )
            unit_axes(axes, "1 − specificity", "Sensitivity")
            axes.set_title(case_set.title)
        handles = [
            Line2D([], [], color=lines[name].colour, marker="o", markersize=4, label=shorten(name))
            for name in reader_ids
        ]
        if aided:
            handles += [
                Line2D([], [], color=INK, marker="o", markersize=4, label="without AI"),
                Line2D(
                    [],
                    [],
                    color=INK,
                    marker="o",
                    markersize=4,
                    markerfacecolor="white",
                    linestyle=(0, (3, 1.5)),
                    label="with AI",
                ),
            ]
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(14 / (figure.get_figwidth() * MM_PER_INCH), 0.01),
            ncol=columns,
        )
        note = "Dots: operating points at the midpoint of the scale."
        return finish(
            figure,
            key="roc_readers",
            title="ROC curves of the readers",
            alt="Sensitivity against 1 − specificity of every reader and session; the areas are in "
            "the tables of readers.",
            note=note + (" Dashed lines and open dots: with AI." if aided else ""),
        )
