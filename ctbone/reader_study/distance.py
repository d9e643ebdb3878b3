"""Distance of the readers' probabilities from the truth, and its improvement with AI (Figure 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ctbone.document import (
    INK,
    MM_PER_INCH,
    RULE,
    Cell,
    DrawnFigure,
    Table,
    TableColumn,
    TableRow,
    finish,
    shorten,
    style,
)
from ctbone.reader_study.effect import AIDED, UNAIDED, as_estimate
from ctbone.reader_study.readings import Readings
from ctbone.reader_study.session_style import (
    BETTER_WORSE,
    reader_name,
    session_colours,
    session_title,
)
from ctbone.stats import Comparison
from ctbone.stats.inputs import Floats
from ctbone.stats.obuchowski_rockette import ReaderAnalysis, obuchowski_rockette
from ctbone.stats.reader_performance import ReaderPerformance, reader_means

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def distances(readings: Readings) -> Floats:
    """Return |probability − truth| of each reading; shape (sessions, readers, n)."""
    return np.asarray(np.abs(readings.p - readings.truth), dtype=np.float64)


def distance_table(readings: Readings, level: float) -> Table:
    """Show the mean distance of each reader and level, and its improvement with AI."""
    columns = [
        TableColumn("group", "Readers", "text"),
        *(TableColumn(session, _title(session), "estimate") for session in readings.sessions),
    ]
    if readings.paired:
        columns += [
            TableColumn("improvement", "Improvement", "estimate"),
            TableColumn("p", "p", "p"),
        ]
    performance = _performance(readings)
    rows = []
    for number, reader in enumerate(readings.readers):
        rows.append(_row(reader, performance, np.array([number]), level))
    for name in readings.level_names:
        rows.append(_row(name or "no level", performance, readings.of_level(name), level))
    everyone = np.arange(len(readings.readers))
    rows.append(_row("All readers", performance, everyone, level, strong=True))
    return Table(
        key="reader_study_distance",
        title="Distance from the truth",
        columns=tuple(columns),
        rows=tuple(rows),
        note="Mean of |probability − truth|, where the truth is 1 for "
        f"{readings.classes[1]} and 0 for {readings.classes[0]}; smaller is better. Readers and "
        "levels: readers fixed, cases random. All readers: both random.",
    )


def distance_figure(readings: Readings, level: float) -> DrawnFigure:
    """Draw the main paper's Figure 5: distances, improvements, and improvements per patient."""
    from matplotlib.figure import Figure

    names, count = readings.level_names, len(readings.readers)
    height = max(58.0, 16.0 + 7.0 * count)
    width = 180.0
    with style():
        figure = Figure(figsize=(width / MM_PER_INCH, height / MM_PER_INCH))
        bottom, top = 14 / height, 1 - 9 / height
        first = figure.add_axes((12 / width, bottom, 40 / width, top - bottom))
        second = figure.add_axes((68 / width, bottom, 26 / width, top - bottom))
        third = figure.add_axes((119 / width, bottom, 47 / width, top - bottom))
        bar = figure.add_axes((169 / width, bottom, 2.2 / width, top - bottom))
        _draw_distances(first, readings, names)
        _draw_improvements(second, readings, names, level)
        _draw_cases(third, bar, readings)
        return finish(
            figure,
            "reader_study_distance",
            "Distance from the truth, and its improvement with AI",
            alt="Left: distance from the truth by level and session. Middle: mean improvement by "
            "level. Right: heat map of the improvement of each reader and case.",
            note="As Figure 5 of the main paper. Left: quartiles and 5th to 95th percentile of the "
            "readings, the dot is the mean. Middle: mean improvement of a level's readers, with "
            "the interval for these readers. Right: one column a case, ordered by the mean "
            f"improvement; the line separates {readings.classes[0]} from {readings.classes[1]}. "
            "Blue: closer to the truth with AI.",
        )


def _title(session: str) -> str:
    title = session_title(session)
    return title[0].upper() + title[1:]


def _performance(readings: Readings) -> ReaderPerformance:
    return reader_means(distances(readings), groups=readings.patients)


def _analysis(
    performance: ReaderPerformance, chosen: np.ndarray, level: float, *, everyone: bool
) -> ReaderAnalysis:
    random = "readers and cases" if everyone and len(chosen) > 1 else "cases"
    return obuchowski_rockette(performance.of_readers(chosen), random=random, level=level)  # type: ignore[arg-type]


def _row(
    name: str,
    performance: ReaderPerformance,
    chosen: np.ndarray,
    level: float,
    *,
    strong: bool = False,
) -> TableRow:
    analysis = _analysis(performance, chosen, level, everyone=strong)
    cells: list[Cell] = [name, *analysis.means]
    if performance.tests == 2:
        change = analysis.difference(UNAIDED, AIDED)
        cells += [as_estimate(change), change.p_value]
    return TableRow(tuple(cells), weight="strong" if strong else "plain")


def _draw_distances(axis: Axes, readings: Readings, names: tuple[str, ...]) -> None:
    from matplotlib.patches import Patch

    found, colours = distances(readings), session_colours(readings.sessions)
    for group, name in enumerate(names):
        for place, session in enumerate(readings.sessions):
            values = found[place][readings.of_level(name)]
            values = values[~np.isnan(values)]
            if not values.size:
                continue
            x = group + (place - (len(readings.sessions) - 1) / 2) * 0.36
            parts = axis.boxplot(
                [values],
                positions=[x],
                widths=0.28,
                whis=(5, 95),
                showfliers=False,
                patch_artist=True,
                medianprops={"color": INK, "linewidth": 0.8},
                whiskerprops={"linewidth": 0.6},
                capprops={"linewidth": 0.6},
            )
            parts["boxes"][0].set(facecolor=colours[session], linewidth=0.5, alpha=0.85)
            axis.plot(x, values.mean(), "o", color=INK, markersize=2.8)
    axis.set_xticks(range(len(names)), [name or "all" for name in names])
    axis.set(ylim=(0, 1), ylabel="Distance from the truth")
    axis.set_title("Distance")
    handles = [Patch(color=c, label=session_title(s)) for s, c in colours.items()]
    axis.legend(handles=handles, loc="upper right")


def _draw_improvements(
    axis: Axes, readings: Readings, names: tuple[str, ...], level: float
) -> None:
    performance = _performance(readings)
    for group, name in enumerate(names):
        chosen = readings.of_level(name)
        analysis = _analysis(performance, chosen, level, everyone=False)
        change: Comparison = analysis.difference(UNAIDED, AIDED)
        if change.difference is None:
            continue
        axis.bar(group, change.difference, width=0.6, color="#0072B2", alpha=0.85)
        if change.low is not None and change.high is not None:
            axis.plot([group, group], [change.low, change.high], color=INK, linewidth=0.8)
    axis.axhline(0, color=INK, linewidth=0.5)
    axis.grid(axis="y", color=RULE, linewidth=0.4)
    axis.set_xticks(range(len(names)), [name or "all" for name in names])
    axis.set_title("Improvement")


def improvements(readings: Readings) -> tuple[Floats, np.ndarray, int]:
    """Improvement of each reader and case, the order of the cases, and the negative ones' number.

    Negative cases first, and within a class from the largest to the smallest mean improvement.
    """
    found = distances(readings)
    gain = found[UNAIDED] - found[AIDED]
    counted = (~np.isnan(gain)).sum(axis=0)
    mean = np.nansum(gain, axis=0) / np.maximum(counted, 1)
    order = np.lexsort((-mean, readings.truth))
    order = order[counted[order] > 0]
    return gain, order, int((~readings.truth[order]).sum())


def _draw_cases(axis: Axes, bar: Axes, readings: Readings) -> None:
    gain, order, negatives = improvements(readings)
    mesh = axis.pcolormesh(gain[:, order], cmap=BETTER_WORSE, vmin=-0.8, vmax=0.8, rasterized=True)
    axis.axvline(negatives, color=INK, linewidth=0.9)
    axis.invert_yaxis()
    names = [
        shorten(reader_name(name, level), 14)
        for name, level in zip(readings.readers, readings.levels, strict=True)
    ]
    axis.set_yticks(np.arange(len(names)) + 0.5, names)
    axis.set_xlabel(f"Cases: {' | '.join(readings.classes)}")
    axis.set_title("Improvement per case")
    axis.figure.colorbar(mesh, cax=bar)
    bar.tick_params(labelsize=6)
