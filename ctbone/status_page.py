"""The chain of custody as a picture: a page with every kind of file and its state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctbone.custody import STATES, Link
from ctbone.document import (
    FAINT,
    INK,
    Block,
    DrawnFigure,
    FigureBlock,
    Page,
    Section,
    TableBlock,
    TableColumn,
    Text,
    finish,
    panels,
    plain_table,
    shorten,
    style,
    write_page,
)
from ctbone.results import Status, duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"current": "#009E73", "stale": "#D55E00", "missing": "#FFFFFF", "elsewhere": "#56B4E9"}
"""Of Okabe and Ito (2008)."""
_INKS = {"current": "white", "stale": "white", "missing": INK, "elsewhere": INK}
_MOST_NAMED = 12
"""Files of a kind that are drawn one by one; more are drawn as shares of one bar."""
_MOST_ROWS = 200
"""Files in the table of what is not current."""
_WIDTH, _GAP = 0.78, 0.22
"""Of a column and between columns, in columns."""


def write_status_page(status: Status) -> Path:
    """Write the status of a study as a page with a picture.

    Returns
    -------
    pathlib.Path
        ``status/index.html`` in the study folder.
    """
    study = status.study
    title = study.settings.title or study.settings.name
    page = Page(
        title=f"Status of {title}",
        subtitle=f"Study {study.settings.name}",
        summary=(Text((str(status).rsplit("\n", 1)[-1] if status.ok else _todo(status),)),),
        sections=(
            Section("chain", "Chain of custody", (FigureBlock(_draw(status)),)),
            Section("rest", "What is not current", _tables(status)),
        ),
        metrics=status.record,
    )
    return write_page(study.status_page.parent, page, "status.json")


def _todo(status: Status) -> str:
    steps = ", ".join(f"{step.command} ({step.what})" for step in status.steps)
    return f"'ctbone run' would run: {steps}."


def _draw(status: Status) -> DrawnFigure:
    """Draw a column a kind of file: a box a file, or a bar with the share of each state."""
    kinds = [kind for kind in status.chain.kinds if status.chain.of(kind)]
    with style():
        figure, (axes,) = panels(1, columns=1, size=(174.0, 74.0), margin=(3, 3, 9, 3))
        axes.set(xlim=(-0.1, len(kinds) - _GAP + 0.1), ylim=(0, 1.12))
        axes.axis("off")
        for number, kind in enumerate(kinds):
            links = status.chain.of(kind)
            current = sum(link.state == "current" for link in links)
            middle = number + _WIDTH / 2
            axes.text(middle, 1.10, kind, ha="center", va="top", fontweight="bold")
            axes.text(middle, 1.045, f"{current} of {len(links)} current", ha="center", va="top")
            (_draw_files if len(links) <= _MOST_NAMED else _draw_shares)(axes, number, links)
            if number:
                axes.annotate(
                    "",
                    xy=(number - 0.02, 0.91),
                    xytext=(number - _GAP + 0.02, 0.91),
                    arrowprops={"arrowstyle": "->", "color": FAINT, "linewidth": 0.8},
                )
        _legend(axes)
    counts = Counter(link.state for link in status.chain.links)
    return finish(
        figure,
        key="chain",
        title="Every file that ctbone makes, from the volumes to the report",
        alt=", ".join(f"{counts[state]} {state}" for state in STATES),
        note="Stale: made from something that has changed. Elsewhere: there is no record of "
        "ctbone that describes the file.",
    )


def _draw_files(axes: Axes, number: int, links: Sequence[Link]) -> None:
    height = min(1 / len(links), 0.2)
    for place, link in enumerate(links):
        name = f"{link.name} ({link.part})" if link.part else link.name
        top = 1 - place * height
        _box(axes, number, bottom=top - height * 0.9, height=height * 0.9, state=link.state)
        middle = (number + _WIDTH / 2, top - height * 0.45)
        axes.text(
            *middle,
            shorten(name, 17),
            ha="center",
            va="center",
            fontsize=6,
            color=_INKS[link.state],
        )


def _draw_shares(axes: Axes, number: int, links: Sequence[Link]) -> None:
    counts = Counter(link.state for link in links)
    top = 1.0
    for state in STATES:
        share = counts[state] / len(links)
        if not share:
            continue
        _box(axes, number, bottom=top - share, height=share, state=state)
        if share > 0.05:
            at = (number + _WIDTH / 2, top - share / 2)
            axes.text(*at, str(counts[state]), ha="center", va="center", color=_INKS[state])
        top -= share


def _box(axes: Axes, number: int, *, bottom: float, height: float, state: str) -> None:
    from matplotlib.patches import Rectangle

    dashed = state == "missing"
    axes.add_patch(
        Rectangle(
            (number, bottom),
            _WIDTH,
            height,
            facecolor=_COLOURS[state],
            edgecolor=FAINT if dashed else "white",
            linestyle="--" if dashed else "-",
            linewidth=0.7,
        )
    )


def _legend(axes: Axes) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=_COLOURS[state], edgecolor=FAINT, linewidth=0.5, label=state)
        for state in STATES
    ]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=4)


def _tables(status: Status) -> tuple[Block, ...]:
    links = [link for link in status.chain.links if link.state != "current"]
    if not links:
        return (Text(("Every file is current.",)),)
    rows = [
        (link.kind, f"{link.name} {link.part}".strip(), link.state, link.because, link.remedy)
        for link in links[:_MOST_ROWS]
    ]
    table = plain_table(
        "not_current",
        "Files that are not current",
        _columns("File", "Of", "State", "Because", "Remedy"),
        rows,
        note=f"The first {_MOST_ROWS} of {len(links)}." if len(links) > _MOST_ROWS else "",
    )
    steps = plain_table(
        "steps",
        "What 'ctbone run' would make",
        _columns("Command", "What", "Expected time"),
        [
            (step.command, step.what, "–" if step.seconds is None else duration(step.seconds))
            for step in status.steps
        ],
        note="Times are those recorded in this study; a dash: none is recorded yet.",
    )
    return (TableBlock(table), TableBlock(steps))


def _columns(*titles: str) -> list[TableColumn]:
    return [TableColumn(title.lower().replace(" ", "_"), title, "text") for title in titles]
