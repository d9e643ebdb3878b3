"""The viewer in headless Chromium without 3D: markers, grey values, letters, rulers, outline."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ctbone.nifti import write_nifti
from ctbone.viewer import open_image, viewer_page
from tests.browser import chromium, needs_chromium, watched

pytestmark = needs_chromium

SHAPE = (60, 50, 24)
OBLIQUE = Rotation.from_euler("xyz", [9, -6, 14], degrees=True).as_matrix()
ORIENTATIONS = {
    "RAS": np.diag([1.0, 1.0, 1.0]),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "LPS, 0.7 x 0.7 x 5 mm": np.diag([-0.7, -0.7, 5.0]),
    "oblique": OBLIQUE @ np.diag([0.8, 0.8, 2.5]),
    "sagittal slices": np.array([[0, 0, 3.0], [0.9, 0, 0], [0, -0.9, 0]]),
}
# A marker at each side: share of the shape along the axes of the file. No two share a slice.
MARKERS = ((0.2, 0.5, 0.5), (0.8, 0.4, 0.6), (0.5, 0.15, 0.4), (0.6, 0.8, 0.3), (0.4, 0.6, 0.9))
BRIGHT = 3000
PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
# Screen directions in RAS: the patient's right side on the left, anterior or superior on top.
ACROSS = {"axial": (-1, 0, 0), "coronal": (-1, 0, 0), "sagittal": (0, -1, 0)}
DOWN = {"axial": (0, -1, 0), "coronal": (0, 0, -1), "sagittal": (0, 0, -1)}
TEXTS = """
globalThis.texts = [];
const fill = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (words, x, y) {
  texts.push([this.canvas.className.split(" ")[1], words, x / this.canvas.width,
    y / this.canvas.height]);
  return fill.call(this, words, x, y);
};
"""
LINES = """
globalThis.lines = [];
const { moveTo, lineTo } = CanvasRenderingContext2D.prototype;
let from = [0, 0];
CanvasRenderingContext2D.prototype.moveTo = function (x, y) {
  from = [x, y];
  return moveTo.call(this, x, y);
};
CanvasRenderingContext2D.prototype.lineTo = function (x, y) {
  lines.push([this.canvas.className.split(" ")[1], ...from, x, y]);
  from = [x, y];
  return lineTo.call(this, x, y);
};
"""
# Brightest pixels of a plane: centre and size; the grey value of one pixel.
FIND = """plane => {
  const { canvas, context } = viewer.views.find((view) => view.plane === plane);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let [x0, y0, x1, y1] = [1e9, 1e9, -1, -1];
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] < 250) continue;
    const [x, y] = [(at / 4) % canvas.width, Math.floor(at / 4 / canvas.width)];
    [x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x), Math.max(y1, y)];
  }
  return [(x0 + x1 + 1) / 2, (y0 + y1 + 1) / 2, x1 - x0 + 1, y1 - y0 + 1,
    canvas.width, canvas.height];
}"""
BARE = """() => { viewer.shows.crosshair = false; viewer.shows.smooth = false;
  CanvasRenderingContext2D.prototype.fillText = () => {};
  CanvasRenderingContext2D.prototype.strokeText = () => {};
  CanvasRenderingContext2D.prototype.stroke = () => {}; }"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def affine_of(matrix, shape=SHAPE):
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = (7, -30, 400) - matrix @ ((np.array(shape) - 1) / 2)
    return affine


def show(browser, tmp_path, hu, affine, mask=None, init=""):
    path = tmp_path / "scan.nii.gz"
    write_nifti(path, hu, affine)
    image = open_image(path, mask=None if mask is None else (mask, affine))
    (tmp_path / "page.html").write_text(viewer_page(image, "test"))
    page = watched(browser.new_context(viewport={"width": 1000, "height": 700}))
    page.add_init_script(init)
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_function("globalThis.viewer?.volume?.complete")
    return page


def expected(plane, point, affine, size, shape=SHAPE):
    """Where a point of the patient is drawn, from the affine alone."""
    matrix = affine[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    axes = [
        int(np.argmax(np.abs(matrix.T @ side / spacing))) for side in (ACROSS[plane], DOWN[plane])
    ]
    extent = [shape[axis] * spacing[axis] for axis in axes]
    scale = min(size[0] / extent[0], size[1] / extent[1])
    centre = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    at = []
    for axis, side, length in zip(axes, (ACROSS[plane], DOWN[plane]), size, strict=True):
        unit = matrix[:, axis] / spacing[axis]
        unit = unit * np.sign(unit @ side)
        at.append(length / 2 + (point - centre) @ unit * scale)
    return np.array(at), [spacing[axis] * scale for axis in axes]


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_markers_stand_at_their_exact_pixel(browser, tmp_path, name):
    affine = affine_of(ORIENTATIONS[name])
    indices = [np.floor(np.array(share) * SHAPE).astype(int) for share in MARKERS]
    hu = np.zeros(SHAPE, np.int16)
    for index in indices:
        hu[tuple(index)] = BRIGHT
    page = show(browser, tmp_path, hu, affine)
    page.evaluate(BARE)
    for index in indices:
        point = affine[:3, :3] @ index + affine[:3, 3]
        page.evaluate(
            """mm => { const inverse = new DOMMatrix([0, 1, 2, 3].flatMap((column) =>
                 [0, 1, 2].map((row) => viewer.volume.affine[row][column]).concat(column === 3)))
                 .inverse();
               const at = inverse.transformPoint(new DOMPoint(...mm));
               viewer.moveTo([at.x, at.y, at.z]); viewer.draw(); }""",
            point.tolist(),
        )
        for plane in PLANES:
            x, y, wide, high, *size = page.evaluate(FIND, plane)
            place, voxel = expected(plane, point, affine, size)
            assert np.abs([x, y] - place).max() <= 1, (plane, index)
            assert np.abs(np.array([wide, high]) - voxel).max() <= 1.5, (plane, index)
    assert page.complaints == []
    page.context.close()


@pytest.mark.parametrize("key", ["b", "t", "l"])
def test_grey_is_the_windows_formula(browser, tmp_path, key):
    centre, width = {"b": (400, 1800), "t": (40, 400), "l": (-600, 1500)}[key]
    values = np.linspace(-1024, 2500, 60).astype(np.int16)
    hu = np.broadcast_to(values[:, None, None], (60, 20, 3)).copy()
    page = show(browser, tmp_path, hu, np.diag([-1.0, -1, 1, 1]))
    page.evaluate(BARE)
    page.keyboard.press(key)
    greys = page.evaluate(
        """() => { const view = viewer.views[0]; viewer.draw();
             return Array.from({ length: 60 }, (_, column) => {
               const [x, y] = view.placement.toScreen(column, 9);
               return view.context.getImageData(x, y, 1, 1).data[0]; }); }"""
    )
    formula = 255 * np.clip((values - (centre - width / 2)) / width, 0, 1)
    assert np.abs(np.array(greys) - formula).max() <= 1
    page.context.close()


def test_letters_rulers_and_readings(browser, tmp_path):
    hu = np.zeros((40, 40, 10), np.int16)
    hu[20, 20, 5] = 777
    page = show(browser, tmp_path, hu, np.diag([0.7, 0.7, 5.0, 1.0]), init=TEXTS)  # RAS
    texts = page.evaluate("() => { texts.length = 0; viewer.draw(); return texts; }")
    sides = {
        (plane, words): (x < 0.2, x > 0.8, y < 0.2, y > 0.8)
        for plane, words, x, y in texts
        if words in set("RLAPSI")
    }
    left, right, top, bottom = np.eye(4, dtype=bool)
    letters = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
    wanted = {
        (plane, letter): tuple(side)
        for plane, four in letters.items()
        for letter, side in zip(four, (left, right, top, bottom), strict=True)
    }
    assert sides == wanted
    page.evaluate("viewer.moveTo([19, 19, 5])")  # LPS indices of the voxel (20, 20, 5) in RAS
    page.keyboard.press("m")
    for _ in range(10):
        page.keyboard.press("Alt+ArrowRight")
    page.keyboard.press("m")
    page.evaluate("viewer.moveTo([19, 19, 5])")
    words = page.evaluate(
        "() => { texts.length = 0; viewer.draw(); return texts.map((t) => t[1]); }"
    )
    assert "7.0 mm" in words
    assert "777 HU" in words
    assert "Axial 6/10" in words
    page.context.close()


def test_the_scale_bar_is_as_long_as_it_says(browser, tmp_path):
    hu = np.zeros((40, 40, 10), np.int16)
    page = show(browser, tmp_path, hu, np.diag([0.7, 0.7, 5.0, 1.0]), init=TEXTS + LINES)
    texts, lines, sizes = page.evaluate(
        """() => { texts.length = lines.length = 0; viewer.draw();
             const sizes = viewer.views.map(({ plane, canvas }) =>
               [plane, [canvas.width, canvas.height]]);
             return [texts, lines, Object.fromEntries(sizes)]; }"""
    )
    extents = {"axial": (28.0, 28.0), "coronal": (28.0, 50.0), "sagittal": (28.0, 50.0)}  # mm
    for plane, extent in extents.items():
        width, height = sizes[plane]
        pixels_per_mm = min(width / extent[0], height / extent[1])
        (words,) = (w for of, w, x, y in texts if of == plane and w.endswith(" mm") and x > 0.8)
        (length,) = (
            x1 - x0
            for of, x0, y0, x1, y1 in lines
            if of == plane and y0 == y1 > 0.9 * height and x1 > 0.9 * width
        )
        assert length == pytest.approx(float(words.split()[0]) * pixels_per_mm, abs=1)
    page.context.close()


def test_a_ruler_by_mouse_measures_mm_in_an_anisotropic_plane(browser, tmp_path):
    page = show(browser, tmp_path, np.zeros((40, 40, 10), np.int16), np.diag([0.7, 0.7, 5.0, 1.0]))
    page.click("button.ruler")
    box = page.locator("canvas.coronal").bounding_box()
    scale = page.evaluate("viewer.views[1].placement.scale")
    page.mouse.move(box["x"] + 60, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 90, steps=4)
    page.mouse.up()
    length = page.evaluate(
        """() => { const { from, to } = viewer.rulers[0]; const [x, , z] = viewer.volume.spacing;
             return Math.hypot((to[0] - from[0]) * x, (to[1] - from[1]) * z); }"""
    )
    # A few pixels pass before a press counts as a drag; the ruler begins at the last of them.
    assert 30 / scale <= length <= 50 / scale + 0.01
    page.context.close()


def test_the_outline_follows_the_mask(browser, tmp_path):
    mask = np.zeros((40, 40, 5), np.uint8)
    mask[10:20, 15:30, 2] = 1
    page = show(browser, tmp_path, np.zeros(mask.shape, np.int16), np.diag([-1.0, -1, 1, 1]), mask)
    edges = np.array(page.evaluate("viewer.volume.outline('axial', 2)")).reshape(-1, 4)
    assert len(edges) == 2 * (10 + 15)
    assert (edges.min(), edges[:, [0, 2]].max(), edges[:, [1, 3]].max()) == (9.5, 19.5, 29.5)
    count = """() => { const view = viewer.views[0]; viewer.draw();
      const { data } = view.context.getImageData(0, 0, view.canvas.width, view.canvas.height);
      let red = 0;
      for (let at = 0; at < data.length; at += 4) red += data[at] > 200 && data[at + 1] < 140;
      return red; }"""
    before = page.evaluate(count)
    page.keyboard.press("o")
    assert page.evaluate(count) > before + 100
    page.context.close()


def test_windows_scrolling_zoom_and_planes_by_mouse_and_keys(browser, tmp_path):
    page = show(browser, tmp_path, np.zeros((30, 30, 12), np.int16), np.diag([1.0, 1, 1, 1]))
    box = page.locator("canvas.axial").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.wheel(0, -100)
    assert page.evaluate("viewer.views[0].slice") == 7
    page.keyboard.press("PageDown")
    assert page.evaluate("viewer.views[0].slice") == 0
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 100, steps=5)
    page.mouse.up()
    assert page.evaluate("viewer.window[1]") > 1800
    page.keyboard.press("+")
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("[viewer.views[0].zoom, viewer.views[0].pan[0]]") == [1.2, 20]
    page.keyboard.press("s")
    page.keyboard.press("f")
    assert page.locator("canvas.sagittal").is_visible()
    assert not page.locator("canvas.axial").is_visible()
    page.context.close()


def test_a_radiograph_has_one_plane(browser, tmp_path):
    page = show(browser, tmp_path, np.zeros((64, 48, 1), np.int16), np.diag([0.2, 0.2, 1, 1]))
    assert page.locator("canvas:visible").count() == 1
    assert page.complaints == []
    page.context.close()
