from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ctbone.errors import StudyError
from ctbone.grid import Grid
from ctbone.preprocessing import draw_sheet, preprocess_case, sheet, write_quality
from ctbone.preprocessing.outliers import outliers, robust_z
from ctbone.preprocessing.sheet import input_rows
from ctbone.study import Study, record_of

from .scans import affine, ball, case_of, world

SHAPE = (60, 50, 40)
CENTER = np.array([12.0, -34.0, 560.0])
GRID = Grid(SHAPE, affine((0, 0, 180), (1.0, 1.2, 1.5), shape=SHAPE))


def prepared(study, hu=None, drawn=None, case_id="P1", grid=GRID):
    drawn = ball(grid, 8.0) if drawn is None else drawn
    hu = np.zeros(grid.shape) if hu is None else hu
    return preprocess_case(study, case_of(study, hu, grid, drawn, case_id=case_id))


def panels(path):
    """The pictures of a sheet's six rows as grey arrays, their rim and its letters cut off."""
    pixels = np.asarray(Image.open(path).convert("L"), dtype=float)
    mm = sheet._DPI / 25.4
    found = []
    for row in range(6):
        top = sheet._HEAD + row * (sheet._TITLE + sheet._PANEL) + sheet._TITLE
        for column in range(3):
            left = sheet._EDGE + column * (sheet._PANEL + sheet._GAP)
            y, x, size = int(top * mm), int(left * mm), int(sheet._PANEL * mm)
            rim = int(0.12 * size)
            found.append(pixels[y + rim : y + size - rim, x + rim : x + size - rim])
    return found


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
@pytest.mark.parametrize(
    ("axis", "sides"),
    [(0, ("left", "left", None)), (1, ("top", None, "left")), (2, (None, "top", "top"))],
)
def test_patients_are_shown_as_radiologists_see_them(study, flips, axis, sides):
    """Right stands on the left of the picture, anterior on top or on the left, superior on top."""
    grid = Grid(SHAPE, affine((0, 0, 0), (1.0, 1.2, 1.5), flips, shape=SHAPE))
    away = world(grid)[..., axis] - CENTER[axis]
    prepared(study, np.where(away > 0, 1000, -1000), grid=grid)
    for number, picture in enumerate(panels(draw_sheet(study, "P1"))):
        height, width = picture.shape
        halves = {"left": picture[:, : width // 2], "top": picture[: height // 2]}
        others = {"left": picture[:, width // 2 :], "top": picture[height // 2 :]}
        side = sides[number % 3]
        if side is not None:
            assert halves[side].mean() > others[side].mean() + 60, (number, side)


def test_a_sheet_is_drawn_again_only_when_the_crop_changed(study):
    prepared(study)
    path = draw_sheet(study, "P1")
    made = path.stat().st_mtime_ns
    assert Image.open(path).size[0] > 1000
    assert draw_sheet(study, "P1").stat().st_mtime_ns == made
    prepared(study, drawn=ball(GRID, 9.0))
    assert draw_sheet(study, "P1").stat().st_mtime_ns > made
    path.write_bytes(path.read_bytes()[:2000])
    draw_sheet(study, "P1")
    Image.open(path).verify()


def test_neighbours_and_a_case_without_crops(study):
    study.settings_file.write_text(
        "name: test\npreprocess: {images_2d: {views: neighbours, size: 64, distance: 12}}\n"
    )
    study = Study.open(study.root)
    prepared(study)
    assert draw_sheet(study, "P1").is_file(), "the outer images miss the lesion"
    with pytest.raises(StudyError):
        draw_sheet(study, "P2")


def test_a_sheet_shows_the_windows_of_the_networks_and_no_other(study):
    """A cube of 500 HU is grey in a bone window, white in one of 0 to 400 HU, black above 600."""
    study.settings_file.write_text(
        "name: test\nmodels:\n"
        "  a: {dim: 3d, title: Narrow, windows: [{center: 200, width: 400}]}\n"
        "  b: {dim: 3d, windows: [{center: 200, width: 400}, {center: 700, width: 200}]}\n"
    )
    opened = Study.open(study.root)
    prepared(opened, np.full(SHAPE, 500))
    told = [(title, window.center) for title, window in input_rows(opened.settings, "3d")]
    assert told == [("Input of Narrow, b", 200), ("Input of b", 700)]
    assert [title for title, _ in input_rows(opened.settings, "2d")] == [
        "2D crop, input of no network"
    ]
    pixels = np.asarray(Image.open(draw_sheet(opened, "P1")).convert("L"), dtype=float)
    mm = sheet._DPI / 25.4
    levels = []
    for row in range(5):
        top = sheet._HEAD + row * (sheet._TITLE + sheet._PANEL) + sheet._TITLE
        y, x = int((top + 0.2 * sheet._PANEL) * mm), int((sheet._EDGE + 0.2 * sheet._PANEL) * mm)
        levels.append(pixels[y, x])
    assert levels[2] == 255
    assert levels[3] == 0
    assert 120 < levels[0] < 160, "bone window: (500 + 500) / 1800 of white"
    assert pixels[2, 2] == 255, "white paper"


def test_robust_z_follows_its_definition():
    values = np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5, np.nan, 300])
    known = sorted(values[~np.isnan(values)])
    median = (known[4] + known[5]) / 2
    away = sorted(abs(value - median) for value in known)
    mad = (away[4] + away[5]) / 2
    np.testing.assert_allclose(robust_z(values), (values - median) / (1.4826 * mad))
    assert np.isnan(robust_z(np.arange(7.0))).all(), "too few to know what is usual"
    assert (robust_z(np.full(9, 3.0)) == 0).all()
    same_but_one = robust_z(np.array([1.0] * 9 + [2.0]))
    np.testing.assert_allclose(same_but_one, [0.0] * 9 + [1 / (1.2533 * 0.1)])


def test_outliers_are_named():
    table = pd.DataFrame(
        {"ml": [10.0, 12, 8, 9, 11, 10, 13, 400], "hu": [50.0, 60, 55, 52, 58, 57, -900, 54]}
    )
    found = outliers(table, lengths=("ml",), numbers=("hu",))
    assert [bool(flags) for flags in found] == [False] * 6 + [True, True]
    assert re.fullmatch(r"hu low \(z -\d+\.\d\)", found[6][0])
    assert re.fullmatch(r"ml high \(z \d+\.\d\)", found[7][0])


def test_the_table_and_the_page(study):
    hu = np.where(ball(GRID, 8.0), 300, 0)
    names = [f"P{number}" for number in range(9)]
    for number, name in enumerate(names):
        prepared(study, hu if number else hu * 6, ball(GRID, 7.0 + 0.1 * number), name)
    stray = ball(GRID, 7.3)
    stray[1, 1, :2] = True
    prepared(study, hu, stray, "P3")
    border = np.zeros(SHAPE, bool)
    border[:10, 20:30, 15:25] = True
    prepared(study, hu, border, "P4")
    draw_sheet(study, "P0")
    table = write_quality(study, [*names, "missing"]).set_index("case_id")
    assert list(table.index) == names
    assert "mean_hu high" in table.loc["P0", "findings"]
    assert "2 separate parts" in table.loc["P3", "findings"]
    assert table.loc["P3", "parts"] == 2
    assert "touches the border" in table.loc["P4", "findings"]
    assert table.loc["P1", "findings"] == ""
    assert (table["flags"] != "").sum() == 1, "of nine cases one is flagged"
    assert sorted(table["rank"]) == list(range(1, 10))
    assert table.loc[["P0", "P3", "P4"], "rank"].max() == 3
    assert table.loc[
        "P1", ["spacing_x_mm", "spacing_y_mm", "spacing_z_mm"]
    ].tolist() == pytest.approx([1.0, 1.2, 1.5])
    written = pd.read_csv(study.qc / "qc.csv", keep_default_na=False).set_index("case_id")
    assert written["lesion_ml"].tolist() == table["lesion_ml"].tolist()
    page = (study.qc / "index.html").read_text()
    assert page.count("<img") == 1, "of the cases that have a sheet"
    assert page.index("P4") < page.index("P1"), "by rank"


def test_a_shrunk_lesion_is_flagged_unless_the_box_fills_the_cube_anyway(study):
    drawn = ball(GRID, 12.0)
    for mode, told in (("physical", True), ("fit", False)):
        study.settings_file.write_text(
            f"name: test\npreprocess: {{crop_3d: {{size: 32, mode: {mode}}}}}\n"
        )
        opened = Study.open(study.root)
        prepared(opened, drawn=drawn)
        flags = write_quality(opened, ["P1"]).loc[0, "flags"]
        assert ("shrunk to fit" in flags) == told


def test_a_name_is_no_markup(study):
    study.settings_file.write_text("name: test\ntitle: <script>alert(1)</script>\n")
    opened = Study.open(study.root)
    prepared(opened)
    write_quality(opened, ["P1"])
    assert "<script>" not in (opened.qc / "index.html").read_text()


def test_the_command(study):
    case = case_of(study, np.zeros(SHAPE), GRID, ball(GRID, 8.0), case_id="C000")
    image = study.nifti("C000").rename(study.root / "ct.nii.gz")
    first = f"C000,benign,{image},{replace(case).mask}"
    rows = f"case_id,label,image,mask\n{first}\nC001,benign,{image},gone.nii\n"
    study.cohort_csv.write_text(rows)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ctbone",
            "preprocess",
            "--study",
            str(study.root),
            "--qc",
            "--workers",
            "1",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, "one case has no mask"
    assert "index.html" in done.stdout
    assert study.qc_sheet("C000").is_file()
    assert pd.read_csv(study.qc / "qc.csv")["case_id"].tolist() == ["C000"]
    assert (
        json.loads(record_of(study.crop("C000", "3d")).read_text())["case"]["touches_border"]
        is False
    )


def test_a_sheet_leads_to_the_cube_in_the_viewer(study):
    prepared(study)
    draw_sheet(study, "P1")
    write_quality(study, ["P1"])
    assert 'href="viewer/P1.html"' in (study.qc / "index.html").read_text()
    page = study.qc_viewer("P1")
    assert "class Viewer" in page.read_text()
    assert "src=" not in page.read_text()  # it needs no other file
    page.unlink()
    draw_sheet(study, "P1")
    assert page.is_file()
