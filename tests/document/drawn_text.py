"""What text a figure really shows, from the calls of matplotlib's renderer, and what overlaps."""

from dataclasses import dataclass
from itertools import combinations

from matplotlib.backends.backend_agg import RendererAgg

_ALLOWED = 3.0  # pixels at 300 dpi, 0.25 mm: the box of a line is a little higher than its letters


@dataclass(frozen=True)
class Drawn:
    text: str
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other):
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > _ALLOWED and down > _ALLOWED


@dataclass
class Sheet:
    width: float
    height: float
    texts: list

    def faults(self):
        """Name the texts that leave the figure or overlap."""
        outside = [
            f"{one.text!r} leaves the figure"
            for one in self.texts
            if min(one.left, one.top) < -_ALLOWED
            or one.right > self.width + _ALLOWED
            or one.bottom > self.height + _ALLOWED
        ]
        over = [
            f"{one.text!r} overlaps {other.text!r}"
            for one, other in combinations(self.texts, 2)
            if one.overlaps(other)
        ]
        return outside + over


def record_figures(monkeypatch):
    """Record every PNG figure from now on; returns the list that grows."""
    sheets = []
    begin, write = RendererAgg.__init__, RendererAgg.draw_text

    def beginning(self, width, height, dpi):
        begin(self, width, height, dpi)
        self.sheet = Sheet(width, height, [])
        sheets.append(self.sheet)

    def writing(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
        wide, high, below = self.get_text_width_height_descent(s, prop, ismath)
        if angle == 90:
            box = (x - high + below, y - wide, x + below, y)
        else:
            box = (x, y - high + below, x + wide, y + below)
        self.sheet.texts.append(Drawn(s, *box))
        return write(self, gc, x, y, s, prop, angle, ismath, mtext)

    monkeypatch.setattr(RendererAgg, "__init__", beginning)
    monkeypatch.setattr(RendererAgg, "draw_text", writing)
    return sheets
