"""Names that fit, panels with names and counts, and points that the page can name."""

import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctbone.document import finish, named_points, style, titled_panels, unit_axes, wrap_name
from ctbone.document.figure_style import name_width, shorten

from .drawn_text import record_figures

LONG = "radiomics_with_clinical_data_and_three_readers_of_two_centres"
CJK = "骶骨肿瘤三维密集连接网络模型与放射科医师的融合结果第二版本以及外部验证中心"
NAMES = st.text(st.sampled_from(string.ascii_letters + " +_骶骨肿瘤"), min_size=1, max_size=70)


@given(NAMES, st.integers(5, 40))
def test_a_shortened_name_is_no_wider_than_asked(name, length):
    assert name_width(shorten(name, length)) <= length
    if name_width(name) <= length:
        assert shorten(name, length) == name


@given(NAMES, st.integers(6, 30), st.integers(1, 3))
def test_a_wrapped_name_fits_its_lines(name, width, lines):
    broken = wrap_name(name, width, lines).split("\n")
    assert len(broken) <= lines
    assert max(map(name_width, broken)) <= width


def test_panels_of_any_names_do_not_overlap(monkeypatch):
    sheets = record_figures(monkeypatch)
    with style():
        figure, axes = titled_panels(
            [("3d", "n = 80, 48 malignant"), (LONG, "n = 80, 48 malignant"), (CJK, ""), ("2d", "")]
        )
        for panel in axes:
            unit_axes(panel, "1 − specificity", "Sensitivity")
        finish(figure, "key", "title", "alt")
    assert sheets
    assert [fault for sheet in sheets for fault in sheet.faults()] == []
    assert "n = 80, 48 malignant" in {one.text for one in sheets[-1].texts}


def test_the_overlap_is_seen_by_its_test(monkeypatch):
    sheets = record_figures(monkeypatch)
    with style():
        figure, axes = titled_panels([("3d", ""), ("2d", "")])
        axes[0].text(0.5, 0.5, "a long text that runs into the next panel and its own")
        axes[1].text(-0.4, 0.5, "the next panel")
        finish(figure, "key", "title", "alt")
    faults = [fault for sheet in sheets for fault in sheet.faults()]
    assert any("overlaps" in fault for fault in faults)


@pytest.mark.parametrize(("x", "y"), list(itertools.product([0.0, 0.25, 1.0], repeat=2)))
def test_a_named_point_lies_where_the_picture_has_it(x, y):
    """A black dot is drawn there, so the darkest pixels of the picture are around it."""
    import io

    import numpy as np
    from PIL import Image

    with style():
        figure, (axes,) = titled_panels([("", "")])
        axes.set(xlim=(-0.1, 1.1), ylim=(-0.1, 1.1))
        axes.plot([x], [y], "o", color="black", markersize=10, clip_on=False)
        axes.set_axis_off()
        (point,) = named_points(axes, [x], [y], ["P1"])
        drawn = finish(figure, "key", "title", "alt", points=[point])
    grey = np.asarray(Image.open(io.BytesIO(drawn.png)).convert("L"))
    rows, columns = np.nonzero(grey < 60)
    height, width = grey.shape  # half a percent, or a pixel of a coarse picture
    assert abs(columns.mean() / width - point.x) < max(0.005, 1 / width)
    assert abs(rows.mean() / height - point.y) < max(0.005, 1 / height)
    assert drawn.points == (point,)
