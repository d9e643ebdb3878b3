"""The analysis of a reader study as sections of a page, as one chapter, and as a page."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

import ctbone
from ctbone.config import EvaluationSettings
from ctbone.document import (
    Block,
    FigureBlock,
    Page,
    Section,
    Table,
    TableBlock,
    Text,
    write_page,
)
from ctbone.errors import ReaderStudyError
from ctbone.reader_study.against_model import model_table
from ctbone.reader_study.agreement import cochran_table, group_table, pair_table, session_table
from ctbone.reader_study.calibration import calibration_figure, calibration_table
from ctbone.reader_study.decisions import (
    automation_table,
    followed_cases,
    reclassification_table,
)
from ctbone.reader_study.design import design_text, guideline_table
from ctbone.reader_study.distance import distance_figure, distance_table
from ctbone.reader_study.effect import (
    AIDED,
    UNAIDED,
    change_table,
    component_table,
    effect_table,
    factor_table,
    level_change_table,
)
from ctbone.reader_study.figures import forest_figure, level_figure, roc_figure
from ctbone.reader_study.performance import (
    Performances,
    level_table,
    performances,
    reader_estimates,
    reader_table,
)
from ctbone.reader_study.readings import Readings, read_readings, study_truth
from ctbone.reader_study.times import mean_ratio, time_table
from ctbone.stats.obuchowski_rockette import obuchowski_rockette
from ctbone.study import Study, file_hash

KEY = "reader_study"
TITLE = "Reader study"


@dataclass(frozen=True)
class ReaderStudy:
    """The analysed readings.

    Attributes
    ----------
    found
        Every measure of every reader.
    settings
        Confidence level, resamples and seed.
    margin
        Loss of AUC that is acceptable (non-inferiority); None is no such test.
    """

    found: Performances
    settings: EvaluationSettings
    margin: float | None = None

    @property
    def readings(self) -> Readings:
        """The readings."""
        return self.found.readings

    def sections(self) -> tuple[Section, ...]:
        """Return the sections of the page, without those that the readings do not allow."""
        parts = {
            "design": ("Design", (design_text(self.found),)),
            "performance": ("Performance", self._performance()),
            "effect": ("Effect of AI", self._effect()),
            "decisions": ("Decisions", self._decisions()),
            "distance": ("Distance from the truth", self._distance()),
            "model": ("Against the model", self._model()),
            "agreement": ("Agreement", self._agreement()),
            "calibration": ("Calibration", self._calibration()),
            "time": ("Reading time", self._time()),
            "guidelines": ("Guidelines", _tables(guideline_table(self.readings))),
        }
        return tuple(
            Section(f"{KEY}_{key}", title, blocks)
            for key, (title, blocks) in parts.items()
            if blocks
        )

    def chapter(self) -> Section:
        """Return all of it as one section, for the report of a study."""
        blocks = tuple(chain(*(part.blocks for part in self.sections())))
        return Section(KEY, TITLE, blocks, self.metrics())

    def metrics(self) -> dict[str, Any]:
        """Return the main numbers for ``metrics.json``."""
        readings, level = self.readings, self.found.level
        grouped = readings.patients
        readers = [
            {
                "reader_id": name,
                "level": readings.levels[number],
                "session": session,
                **{
                    measure: estimate.as_dict()
                    for measure, estimate in reader_estimates(
                        readings, number, place, level
                    ).items()
                },
            }
            for number, name in enumerate(readings.readers)
            for place, session in enumerate(readings.sessions)
        ]
        result: dict[str, Any] = {
            "classes": list(readings.classes),
            "cases": len(readings.case_ids),
            "positives": int(readings.truth.sum()),
            "patients": len(readings.case_ids if grouped is None else set(grouped)),
            "missing": int(np.isnan(readings.p).sum()),
            "design": obuchowski_rockette(self.found.measures["auc"], level=level).design,
            "levels": dict(Counter(readings.levels)),
            "model": readings.model or None,
            "readers": readers,
        }
        if readings.paired:
            result["effect"] = {name: self._change(name) for name in self.found.measures}
            if readings.seconds is not None:
                ratio, p_value = mean_ratio(readings, level)
                result["time_ratio"] = {**ratio.as_dict(), "p_value": p_value}
        return result

    def _change(self, measure: str) -> dict[str, Any]:
        analysis = obuchowski_rockette(self.found.measures[measure], level=self.found.level)
        means = [mean.as_dict() for mean in analysis.means]
        change = analysis.difference(AIDED, UNAIDED).as_dict()
        df = analysis.denominator_df
        finite = df is not None and math.isfinite(df)  # infinite if readers do not differ
        numbers = {"f": analysis.test.statistic, "df": df if finite else None}
        return {"unaided": means[UNAIDED], "aided": means[AIDED], "change": change | numbers}

    def _performance(self) -> tuple[Block, ...]:
        blocks = _tables(level_table(self.found), reader_table(self.found))
        if self.readings.paired:
            blocks = (FigureBlock(level_figure(self.found)), *blocks)
        return (*blocks, FigureBlock(roc_figure(self.found)))

    def _effect(self) -> tuple[Block, ...]:
        if not self.readings.paired:
            return ()
        factors = factor_table(
            self.found,
            replicates=self.settings.bootstrap,
            seed=self.settings.seed,
            margin=self.margin,
        )
        return (
            FigureBlock(forest_figure(self.found)),
            *_tables(effect_table(self.found), level_change_table(self.found)),
            *_tables(change_table(self.found), factors),
            *_tables(component_table(self.found)),
        )

    def _decisions(self) -> tuple[Block, ...]:
        if not self.readings.paired:
            return ()
        blocks = _tables(reclassification_table(self.readings))
        if self.readings.model:
            blocks += _tables(automation_table(self.readings, self.found.level))
            blocks += _tables(followed_cases(self.readings))
        return blocks

    def _distance(self) -> tuple[Block, ...]:
        blocks = _tables(distance_table(self.readings, self.found.level))
        if self.readings.paired:
            return (FigureBlock(distance_figure(self.readings, self.found.level)), *blocks)
        return blocks

    def _model(self) -> tuple[Block, ...]:
        return _tables(model_table(self.found)) if self.readings.model else ()

    def _agreement(self) -> tuple[Block, ...]:
        if len(self.readings.readers) < 2 and not self.readings.paired:
            return ()
        tables = [group_table(self.readings, self.found.level)]
        if len(self.readings.readers) > 1:
            tables.append(pair_table(self.readings, self.found.level))
        if self.readings.paired:
            tables.append(session_table(self.readings, self.found.level))
        tables.append(cochran_table(self.readings))
        return _tables(*(table for table in tables if table.rows))

    def _calibration(self) -> tuple[Block, ...]:
        figure = FigureBlock(calibration_figure(self.readings, self.found.level))
        return (figure, *_tables(calibration_table(self.readings, self.found.level)))

    def _time(self) -> tuple[Block, ...]:
        if self.readings.seconds is None or not self.readings.paired:
            return ()
        return _tables(time_table(self.readings, self.found.level))


def analyse_readers(
    readings: Readings, settings: EvaluationSettings, *, margin: float | None = None
) -> ReaderStudy:
    """Analyse the readings."""
    return ReaderStudy(performances(readings, settings.confidence), settings, margin)


def write_reader_study(
    readings: Readings,
    scores: Path,
    out: Path,
    *,
    settings: EvaluationSettings,
    margin: float | None = None,
) -> Path:
    """Write ``index.html``, ``metrics.json``, ``tables/`` and ``figures/`` of a reader study.

    Returns
    -------
    Path
        ``index.html``.
    """
    study = analyse_readers(readings, settings, margin=margin)
    design, *others = study.sections()
    page = Page(
        title=TITLE,
        subtitle=f"{len(readings.readers)} readers, {len(readings.case_ids)} cases: {scores.name}",
        summary=design.blocks,
        sections=tuple(others),
        metrics={
            "source": {"file": scores.name, "sha256": file_hash(scores)},
            "ctbone": ctbone.__version__,
            **study.metrics(),
        },
    )
    return write_page(out, page)


def reader_chapter(study: Study) -> Section | None:
    """Analyse the readings of a study for its report.

    Returns
    -------
    Section or None
        None without scores, with more than two classes, or with one reader in one session, whom
        the section on readers shows.
    """
    if not study.scores_csv.is_file() or len(study.settings.classes) != 2:
        return None
    try:
        readings = read_readings(study.scores_csv, study_truth(study, None))
    except ReaderStudyError as error:
        return Section(KEY, TITLE, (Text((f"Not analysed: {error.problem}.",)),))
    if len(readings.readers) < 2 and not readings.paired:
        return None
    return analyse_readers(readings, study.settings.evaluation).chapter()


def _tables(*tables: Table) -> tuple[Block, ...]:
    return tuple(TableBlock(table) for table in tables)
