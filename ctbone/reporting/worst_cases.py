"""The section on worst cases: those that models call wrongly, with pictures and the viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ctbone.document import (
    Block,
    Cell,
    Gallery,
    PicturedCase,
    Section,
    Table,
    TableBlock,
    TableColumn,
    Text,
    number,
    plain_table,
)
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.case_picture import WINDOWS, case_picture, viewer_of
from ctbone.reporting.mistake_maps import mistake_maps
from ctbone.reporting.scored_cases import ScoredCases
from ctbone.reporting.sources import Source
from ctbone.study import Study

_MOST = 6  # cases of each set


@dataclass(frozen=True)
class RankedCase:
    """A case and the probabilities of its true class.

    Attributes
    ----------
    case_id, cohort, label
        The case, its centre and its true class.
    probabilities
        Of the true class, by model; NaN if a model does not have the case.
    mean
        Over the models that have the case.
    wrong
        The models that call it another class.
    """

    case_id: str
    cohort: str
    label: str
    probabilities: dict[str, float]
    mean: float
    wrong: tuple[str, ...]


def worst_cases(study: Study, analysis: Analysis, tables: Sequence[Source]) -> Section:
    """Show the wrong cases of each set with the lowest probability of the true class, with images.

    Parameters
    ----------
    study
        The study. Its 2D crops are shown if they are there, and the cube in the viewer.
    analysis
        The judged sets.
    tables
        The tables of probabilities: only models count, not the reader and the fusions.
    """
    single = {
        source.name
        for source in tables
        if not source.fused and source.path.parent.name == "predictions"
    }
    text = (
        f"Cases that at least one model calls wrongly, at most {_MOST} of a set, ranked by the "
        "probability of the true class, averaged over the models without the reader and the "
        "fusions."
    )
    windows = ", ".join(
        f"{name} (centre {window.center:g} HU, width {window.width:g} HU)"
        for name, window in WINDOWS.items()
    )
    images = (
        f" The images are those of the 2D network, centred on the lesion, in two windows: {windows}"
        ". Yellow: the outline of the mask. The patient's right side, or front, is on the left."
    )
    blocks: list[Block] = []
    for judged in analysis.reported:
        wrong = [case for case in ranked(judged, single) if case.wrong][:_MOST]
        if not wrong:
            title = judged.case_set.title
            blocks.append(Text((f"{title}: no model calls a case wrongly.",)))
            continue
        blocks.append(TableBlock(_table(judged, wrong)))
        pictured = [_pictured(study, case, judged) for case in wrong]
        if any(case.images for case in pictured):
            blocks.append(Gallery(tuple(pictured)))
        blocks += mistake_maps(study, [case.case_id for case in wrong])
    if any(isinstance(block, Gallery) for block in blocks):
        text += "" if study.settings.of_radiographs else images
    return Section("worst", "Worst cases", (Text((text,)), *blocks))


def has_images(section: Section) -> bool:
    """Whether the section on worst cases has images."""
    return any(isinstance(block, Gallery) for block in section.blocks)


def ranked(judged: JudgedSet, single: set[str]) -> list[RankedCase]:
    """Rank the cases of a set by the mean probability of their true class, lowest first.

    Parameters
    ----------
    judged
        The set.
    single
        The models that count; if none of them is in the set, all models count.
    """
    counted = [a for a in judged.case_set.scored if a.name in single] or list(
        judged.case_set.scored
    )
    known = pd.concat([scored.cases for scored in counted]).drop_duplicates("case_id")
    columns = []
    wrong: dict[str, list[str]] = {}
    for scored in counted:
        missed = _calls(scored) != scored.class_numbers
        for case in scored.cases["case_id"][missed]:
            wrong.setdefault(str(case), []).append(scored.name)
        p = scored.matrix[np.arange(len(scored)), scored.class_numbers]
        columns.append(
            pd.Series(p, index=scored.cases["case_id"]).reindex(known["case_id"]).to_numpy()
        )
    wide = np.column_stack(columns)
    means = np.nanmean(wide, axis=1)
    cases = [
        RankedCase(
            case_id=str(case),
            cohort=str(cohort),
            label=str(label),
            probabilities=dict(zip((a.name for a in counted), row.tolist(), strict=True)),
            mean=mean,
            wrong=tuple(wrong.get(str(case), ())),
        )
        for case, cohort, label, row, mean in zip(
            known["case_id"], known["cohort"], known["label"], wide, means.tolist(), strict=True
        )
    ]
    return sorted(cases, key=lambda case: (case.mean, case.case_id))


def _calls(scored: ScoredCases) -> np.ndarray:
    """Return the number of the class that each case is called, shape (n,)."""
    if not scored.two_class:
        return scored.matrix.argmax(axis=1)
    positive = scored.classes.index(scored.positive)
    return np.where(scored.called, positive, 1 - positive)


def _table(judged: JudgedSet, cases: Sequence[RankedCase]) -> Table:
    models = list(cases[0].probabilities) if cases else []
    columns = [
        TableColumn("case_id", "Case", "text"),
        TableColumn("cohort", "Cohort", "text"),
        TableColumn("label", "Truth", "text"),
    ]
    columns += [TableColumn("mean", "Mean", digits=2)] + [
        TableColumn(name, judged.title(name), digits=2) for name in models
    ]
    columns.append(TableColumn("wrong", "Called wrongly by", "text"))
    cells: list[list[Cell]] = [
        [
            *(case.case_id, case.cohort, case.label, case.mean),
            *(None if np.isnan(p) else p for p in case.probabilities.values()),
            f"{len(case.wrong)} of {sum(not np.isnan(p) for p in case.probabilities.values())}",
        ]
        for case in cases
    ]
    title = f"Lowest probability of the true class, {judged.case_set.inline_title}"
    return plain_table(key=f"worst_{judged.case_set.key}", title=title, columns=columns, rows=cells)


def _pictured(study: Study, case: RankedCase, judged: JudgedSet) -> PicturedCase:
    picture, names = case_picture(study, case.case_id)
    line = (
        f"{case.label}; probability of it {number(case.mean, 2)}; called "
        f"{_called(judged, case)} by {', '.join(judged.title(name) for name in case.wrong)}"
    )
    return PicturedCase(
        case_id=case.case_id,
        line=line,
        images=(picture,) if picture else (),
        names=(names,) if picture else (),
        viewer=viewer_of(study, case.case_id) if picture else "",
    )


def _called(judged: JudgedSet, case: RankedCase) -> str:
    """Name the wrong classes that a case is called."""
    found = []
    for scored in judged.case_set.scored:
        if scored.name in case.wrong:
            row = int(np.flatnonzero((scored.cases["case_id"] == case.case_id).to_numpy())[0])
            found.append(scored.classes[int(_calls(scored)[row])])
    return " or ".join(dict.fromkeys(found))
