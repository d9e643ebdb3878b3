"""A page in a browser: names under the pointer, a phone, landmarks; whole without scripts."""

import base64

import pytest
from PIL import Image

from ctbone.document import (
    FigureBlock,
    Gallery,
    ImageFile,
    ImageFiles,
    Page,
    PicturedCase,
    Section,
    Table,
    TableBlock,
    TableColumn,
    TableRow,
    finish,
    named_points,
    style,
    titled_panels,
    unit_axes,
    write_page,
)
from tests.browser import chromium, needs_chromium, watched

pytestmark = needs_chromium
HOSTILE = "P1 <b>\"' & (malignant)"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with style():
        figure, (axes,) = titled_panels([("3d", "n = 2, 1 malignant")])
        unit_axes(axes, "x", "y")
        points = named_points(axes, [0.25, 0.75], [0.25, 0.75], [HOSTILE, "P2 (benign)"])
        drawn = finish(figure, "roc", "ROC", "alt", points=points)
    columns = tuple(TableColumn(f"c{k}", f"Column {k}", "text") for k in range(12))
    table = Table("wide", "Wide", columns, (TableRow(("a wide cell",) * 12),))
    sheet = ImageFile(path="sheet.png", alt="Contact sheet of P1", anchor="sheet-P1")
    case = PicturedCase("P1", "wrong", (PIXEL,), ("axial",), viewer="<!doctype html><p>viewer")
    folder = tmp_path_factory.mktemp("page")
    written = write_page(
        folder,
        Page(
            title="A title",
            subtitle="A study",
            sections=(
                Section("roc", "Curves", (FigureBlock(drawn), TableBlock(table))),
                Section("sheets", "Sheets", (ImageFiles((sheet,)), Gallery((case,)))),
            ),
        ),
    )
    Image.new("L", (1200, 2600), 200).save(folder / "sheet.png")
    return written


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


def opened_at(browser, page, *, width=1200, **how):
    context = browser.new_context(viewport={"width": width, "height": 900}, **how)
    opened = watched(context)
    opened.goto(page.as_uri())
    return opened


def test_the_pointer_names_the_case(browser, page):
    opened = opened_at(browser, page)
    image = opened.locator("[data-points] img")
    image.scroll_into_view_if_needed()
    box = image.bounding_box()
    label = opened.locator(".point-label")
    assert not label.is_visible()
    for x, y, text in opened.evaluate(
        "JSON.parse(document.querySelector('[data-points]').dataset.points)"
    ):
        opened.mouse.move(box["x"] + x * box["width"] + 3, box["y"] + y * box["height"] - 3)
        label.wait_for(state="visible")
        assert label.inner_text() == text
    opened.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    label.wait_for(state="hidden")
    assert opened.complaints == [], "the policy allows the script and nothing is missing"


def test_without_scripts_the_page_is_whole(browser, page):
    opened = opened_at(browser, page, java_script_enabled=False)
    assert opened.locator("[data-points] img").is_visible()
    assert opened.locator(".point-label").count() == 0
    assert opened.locator("h2").all_inner_texts() == ["Curves", "Sheets"]


def test_a_phone_scrolls_down_only(browser, page):
    opened = opened_at(browser, page, width=390)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    assert opened.locator(".images img").bounding_box()["width"] <= 390


def test_sections_are_landmarks_with_their_headings(browser, page):
    opened = opened_at(browser, page)
    assert opened.get_by_role("main").count() == 1
    assert opened.get_by_role("navigation", name="Sections").count() == 1
    for name in ("Curves", "Sheets"):
        assert opened.get_by_role("region", name=name, exact=True).count() == 1


def test_a_case_leads_to_its_page_of_the_viewer(browser, page):
    opened = opened_at(browser, page)
    opened.get_by_role("link", name="Open in the viewer").click()
    opened.wait_for_url("**/viewer/P1.html")
    assert opened.locator("p").inner_text() == "viewer"
