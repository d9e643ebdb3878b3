"""The section on readers: every reader and session of ``scores.csv``, judged one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from ctbone.config import READER
from ctbone.document import (
    INK,
    MM_PER_INCH,
    MOST_CURVES,
    Block,
    Cell,
    DrawnFigure,
    FigureBlock,
    LineStyle,
    NamedPoint,
    Section,
    Table,
    TableBlock,
    TableColumn,
    TableRow,
    Text,
    draw_diagonal,
    finish,
    line_styles,
    shorten,
    style,
    titled_panels,
    unit_axes,
)
from ctbone.predictions import probability_columns
from ctbone.reporting.analysis import Analysis, JudgedSet, Judgement, judge
from ctbone.reporting.metrics import metric_columns
from ctbone.reporting.roc_figures import (
    FEW_CROSSES,
    curve_points,
    draw_operating_point,
    few_points,
    set_counts,
)
from ctbone.reporting.scored_cases import CaseSet, ScoredCases, two_class_columns
from ctbone.scores import MIDPOINT, SESSIONS, Scores, read_scores
from ctbone.stats import roc_points
from ctbone.study import Study, file_hash, read_json, record_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

READER_METRICS = ("auc", "sensitivity", "specificity")
_MANY_CLASS_METRICS = ("auc", "accuracy", "balanced_accuracy", "f1")
UNAIDED, AIDED = SESSIONS


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
    scale: str = ""
    """The scale of the scores, as the end of a sentence."""

    def as_dict(self) -> dict[str, Any]:
        """Return ``readers`` of ``metrics.json``, without the reader whom ``models`` contains."""
        if self.why:
            return {"why": self.why}
        return {
            key: [found.as_dict() for found in sessions if not found.fused]
            for key, sessions in self.sessions.items()
        }


def reader_scores(study: Study, cohort: Cohort) -> Scores | None:
    """Read ``scores.csv``; None if it is missing.

    With more than two classes it needs the column ``called``, and None is returned without it.

    Raises
    ------
    ScoreError
        The table of scores is faulty.
    """
    if not study.scores_csv.is_file():
        return None
    case_ids = {case.case_id for case in cohort}
    if len(study.settings.classes) == 2:
        return read_scores(study.scores_csv, case_ids, study.settings.scores)
    if not names_classes(study.scores_csv):
        return None
    return read_class_scores(study.scores_csv, case_ids, study.settings.classes)


def judge_readers(
    study: Study, cohort: Cohort, analysis: Analysis, scores: Scores | None
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
    if scores is None or scores.table.empty:
        return None
    sessions: dict[str, tuple[ReaderSession, ...]] = {
        judged.case_set.key: _sessions(
            study, cohort=cohort, analysis=analysis, judged=judged, scores=scores
        )
        for judged in analysis.reported
        if judged.case_set.key != "validation"
    }
    if not any(sessions.values()):
        return JudgedReaders({}, "No reader scored a case of the test sets.")
    kept = {
        key: found for key, found in sessions.items() if not all(reader.fused for reader in found)
    }
    if not kept:
        return None
    words = scores.settings.description
    return JudgedReaders(kept, other_table=_other_table(study), scale=words)


def reader_title(reader_id: str, level: str, session: str) -> str:
    """Name a reader and session as the report shows them.

    Examples
    --------
    >>> reader_title("r1", "senior", "unaided"), reader_title("r1", "senior", "aided")
    ('r1 (senior)', 'r1 (senior) with AI')
    """
    name = f"{reader_id} ({level})" if level else reader_id
    return f"{name} with AI" if session == AIDED else name


def readers_section(analysis: Analysis, readers: JudgedReaders) -> Section:
    """Show every reader and session: ROC curves, and a table with intervals for each set."""
    if readers.why:
        return Section("readers", "Readers", (Text((readers.why,)),))
    if not analysis.two_class:
        return _named_classes_section(analysis, readers)
    text = (
        f"Readers gave each case a score {readers.scale} that it is {analysis.positive}. From "
        f"50 %, the reader calls the case {analysis.positive}. Each reader and session "
        "is judged on the cases that the reader scored. An interval holds for that one reader; "
        "conclusions about readers in general, or about the gain from AI, need a multi-reader "
        "multi-case analysis: see the reader study, if readers read in two sessions."
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
    study: Study, cohort: Cohort, analysis: Analysis, judged: JudgedSet, scores: Scores
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
    by_session = {name: scores.probabilities(name, cases["case_id"]) for name in SESSIONS}
    for reader_id, level in scores.levels.items():
        for session, wide in by_session.items():
            if reader_id not in wide or wide[reader_id].isna().all():
                continue
            scored_by = wide[reader_id].notna().to_numpy()
            own = cases[scored_by].reset_index(drop=True)
            p = wide[reader_id].to_numpy(float)[scored_by]
            if analysis.two_class:
                columns = two_class_columns(p, analysis.classes, analysis.positive)
            else:
                called = called_classes(scores, session).loc[own["case_id"], reader_id]
                every = class_probabilities(called, p, analysis.classes)
                columns = dict(zip(probability_columns(analysis.classes), every.T, strict=True))
            scored = ScoredCases(
                name=reader_title(reader_id, level, session),
                cases=own.assign(
                    fold=pd.array([pd.NA] * len(own), dtype="Int64"),
                    threshold=MIDPOINT,
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
                    reader_id=reader_id,
                    level=level,
                    session=session,
                    scored=scored,
                    judgement=known or judge(scored, analysis.settings, bands=False),
                    missing=len(cases) - len(own),
                    fused=known is not None,
                )
            )
    return tuple(found)


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
        columns = probability_columns(scored.classes)
        same = np.allclose(own[columns], scored.matrix, atol=1e-9)
        if same and (not scored.two_class or (own["threshold"] == MIDPOINT).all()):
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
    note = "Sensitivity and specificity at a probability of 50 %." if two else ""
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
    """Draw the ROC curve and the operating point of every session.

    Up to six curves share an axis, one panel a set of cases; if there are more, each reader has a
    panel.
    """
    everyone = [found for sessions in readers.sessions.values() for found in sessions]
    lines = line_styles(list(dict.fromkeys(found.reader_id for found in everyone)))
    aided = any(found.session == AIDED for found in everyone)
    most = max(len(sessions) for sessions in readers.sessions.values())
    draw = _shared_roc if most <= MOST_CURVES else _roc_of_each
    crosses = most <= FEW_CROSSES or most > MOST_CURVES
    with style():
        figure, points = draw(analysis, readers, lines)
        return finish(
            figure,
            key="roc_readers",
            title="ROC curves of the readers",
            alt="Sensitivity against 1 − specificity of every reader and session; the areas are in "
            "the tables of readers.",
            note="Dots: operating points at the probability of 50 %"
            + (f", with {analysis.settings.confidence:.0%} intervals." if crosses else ".")
            + (" Dashed lines and open dots: with AI." if aided else ""),
            points=few_points(points),
        )


def _shared_roc(
    analysis: Analysis, readers: JudgedReaders, lines: Mapping[str, LineStyle]
) -> tuple[Figure, list[NamedPoint]]:
    sets = _sets_of_readers(analysis, readers)
    everyone = [found for sessions in readers.sessions.values() for found in sessions]
    handles = _reader_handles(everyone, lines)
    columns = 3 if len(sets) > 1 else 2
    rows = -(-len(handles) // columns)
    cross = max(len(sessions) for sessions in readers.sessions.values()) <= FEW_CROSSES
    heads = [(case_set.title, _session_counts(readers, case_set.key)) for case_set in sets]
    right = 8 if len(sets) > 1 else 30
    figure, all_axes = titled_panels(
        heads, columns=2, size=(70, 70), gap=18, margin=(14, right, 16 + 4.4 * rows)
    )
    points: list[NamedPoint] = []
    for axes, case_set in zip(all_axes, sets, strict=True):
        unit_axes(axes, "1 − specificity", "Sensitivity")
        draw_diagonal(axes)
        for found in readers.sessions[case_set.key]:
            colour = lines[found.reader_id].colour
            points += _draw_session(axes, found, colour, cross=cross)
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(14 / (figure.get_figwidth() * MM_PER_INCH), 0.01),
        ncol=columns,
    )
    return figure, points


def _roc_of_each(
    analysis: Analysis, readers: JudgedReaders, lines: Mapping[str, LineStyle]
) -> tuple[Figure, list[NamedPoint]]:
    places: list[tuple[CaseSet, list[ReaderSession]]] = []
    for case_set in _sets_of_readers(analysis, readers):
        for reader_id in lines:
            sessions = [one for one in readers.sessions[case_set.key] if one.reader_id == reader_id]
            places += [(case_set, sessions)] if sessions else []
    heads = [
        (f"{_named(sessions[0])}: {case_set.key}", set_counts(sessions[0].scored))
        for case_set, sessions in places
    ]
    figure, all_axes = titled_panels(heads)
    points: list[NamedPoint] = []
    for axes, (_, sessions) in zip(all_axes, places, strict=True):
        unit_axes(axes, "1 − specificity", "Sensitivity")
        draw_diagonal(axes)
        for found in sessions:
            points += _draw_session(axes, found, lines[found.reader_id].colour, cross=True)
    return figure, points


def _sets_of_readers(analysis: Analysis, readers: JudgedReaders) -> list[CaseSet]:
    sets = [judged.case_set for judged in analysis.reported]
    return [case_set for case_set in sets if case_set.key in readers.sessions]


def _session_counts(readers: JudgedReaders, key: str) -> str:
    """Count the cases of the sessions; a range where readers scored different cases."""
    counts = list(dict.fromkeys(set_counts(found.scored) for found in readers.sessions[key]))
    if len(counts) == 1:
        return counts[0]
    sizes = [len(found.scored) for found in readers.sessions[key]]
    return f"n = {min(sizes)} to {max(sizes)}, by reader"


def _named(found: ReaderSession) -> str:
    """Return the reader's name and level, whichever the session."""
    return reader_title(found.reader_id, found.level, UNAIDED)


def _draw_session(
    axes: Axes, found: ReaderSession, colour: str, *, cross: bool
) -> tuple[NamedPoint, ...]:
    unaided = found.session == UNAIDED
    curve = roc_points(found.scored.truth, found.scored.p)
    dash = "-" if unaided else (0, (3, 1.5))
    axes.plot(curve.fpr, curve.tpr, color=colour, linestyle=dash, linewidth=0.8, alpha=0.6)
    draw_operating_point(axes, found.judgement, colour, cross=cross, filled=unaided)
    return curve_points(axes, found.scored, curve, found.scored.name)


def _reader_handles(
    everyone: Sequence[ReaderSession], lines: Mapping[str, LineStyle]
) -> list[object]:
    from matplotlib.lines import Line2D

    names = {found.reader_id: _named(found) for found in everyone}
    handles: list[object] = [
        Line2D(
            [], [], color=line.colour, marker="o", markersize=4, label=shorten(names[reader], 26)
        )
        for reader, line in lines.items()
    ]
    if any(found.session == AIDED for found in everyone):
        open_dot: dict[str, Any] = {
            "markerfacecolor": "white",
            "linestyle": (0, (3, 1.5)),
            "label": "with AI",
        }
        closed_dot: dict[str, Any] = {"label": "without AI"}
        for how in (closed_dot, open_dot):
            handles.append(Line2D([], [], color=INK, marker="o", markersize=4, **how))
    return handles
