"""Reading in headless Chromium: by keyboard alone, through a SIGKILL, to the fusion."""

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import ctbone as ct
import ctbone.reading
from ctbone.errors import CtboneError
from ctbone.nifti import write_nifti
from tests.browser import chromium, needs_chromium, watched
from tests.reading.small_study import AFFINE, SHAPE, LiveServer, make_study

pytestmark = needs_chromium


@pytest.fixture
def serve():
    """Start servers that end with the test, whatever happens in it."""
    with ExitStack() as servers:
        yield lambda *arguments, **options: servers.enter_context(LiveServer(*arguments, **options))


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def open_page(browser, server, link, size=(1280, 720), **options):
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
    page = watched(context)
    page.heard = []
    page.on("response", lambda response: page.heard.append(response))
    page.goto(f"{server.address}#{link.link.split('#')[1]}")
    page.wait_for_selector("body[data-ready]")
    return page


def shown(page):
    return page.evaluate("document.body.dataset.shown")


def wait_for_another(page, before):
    page.wait_for_function(
        """before => document.body.dataset.shown !== before
          || !document.querySelector("#message").hidden""",
        arg=before,
    )


def give(page, score):
    before = shown(page)
    page.keyboard.press(str(score))
    page.keyboard.press("Enter")
    wait_for_another(page, before)


FITS = """() => {
  const shown = [...document.querySelectorAll("#next, #scale button, #viewer canvas")]
    .filter((element) => element.offsetParent !== null);
  const inside = shown.every((element) => {
    const { left, top, right, bottom } = element.getBoundingClientRect();
    return left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
  });
  const { scrollWidth, scrollHeight } = document.documentElement;
  const large = [...document.querySelectorAll("#next, #scale button")]
    .every((button) => button.offsetHeight >= 44 && button.offsetWidth >= 44);
  return [shown.length > 9, inside, scrollWidth <= innerWidth, scrollHeight <= innerHeight, large];
}"""


def fits(page):
    """Whether planes and controls are in the window, without scroll bars, large enough to tap."""
    page.wait_for_function("document.getElementById('viewer').viewer?.volume")
    return all(page.evaluate(FITS))


def pinch(page, selector):
    """Move two fingers apart on an element; return how far the plane was magnified."""
    box = page.locator(selector).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 20), ("touchMove", 30), ("touchMove", 60)):
        points = [{"x": x - apart, "y": y, "id": 1}, {"x": x + apart, "y": y, "id": 2}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    return page.evaluate("document.getElementById('viewer').viewer.views[0].zoom")


def position(page):
    return page.text_content("#position")


def test_a_reader_reads_by_keyboard_through_a_killed_server_to_the_fusion(browser, serve, tmp_path):
    study = make_study(tmp_path / "study", cases=12, external=2)
    links = [ct.read(study, add_reader=name, level="senior") for name in ("r1", "r2")]
    server = serve(study)
    pages = [open_page(browser, server, link) for link in links]
    given = [1, 9, 2, 8, 3, 7, 4, 6]
    for page in pages:
        page.keyboard.press("Enter")  # the button to start has the focus
        page.wait_for_selector("body[data-shown]")
    for number in range(6):  # two readers at once
        for page in pages:
            give(page, given[number])
    page = pages[0]
    page.keyboard.press("5")  # not on the scale
    assert page.is_disabled("#next")
    for page in pages:
        assert page.complaints == []  # no violation of the policy of content either
    page = pages[0]
    assert "case 7 of 14" in position(page)
    server.kill()
    before = shown(page)
    page.keyboard.press("8")
    page.keyboard.press("Enter")
    page.wait_for_selector("#alert:visible")
    assert "does not answer" in page.text_content("#alert")
    assert "kept" in page.text_content("#alert")
    assert shown(page) == before  # the page has not moved on
    server = serve(study, port=server.port)
    wait_for_another(page, before)
    assert "case 8 of 14" in position(page)
    assert page.is_hidden("#alert")
    for _ in range(7):
        give(page, 6)
    page.wait_for_selector("#message:visible")
    assert "All cases are scored" in page.text_content("#message")
    page.keyboard.press("Enter")  # finish
    page.wait_for_selector("#message-title:text-is('Session 2')")
    assert "opens on" in page.text_content("#message-text")
    assert "6  " in str(ct.read(study, progress=True)).replace("14", "  ")
    exported = ct.read(study, export=True)
    server.kill()
    assert list(exported.table["score"]) == [1, 9, 2, 8, 3, 7, 8, 6, 6, 6, 6, 6, 6, 6]
    assert list(exported.table["order"]) == list(range(1, 15))
    assert set(exported.table["reader_id"]) == {"r1"}
    fused = ct.fuse(study, with_reader="scores.csv")
    assert "3d+reader" in str(fused)
    nothing_revealed(page)
    for page in pages:
        page.context.close()


def nothing_revealed(page):
    """Neither a case nor a patient nor the model reached the browser."""
    for response in page.heard:
        if "/api/" in response.url and "/image/" not in response.url and response.status == 200:
            text = response.text() + response.url
            for secret in ("malignant_", "benign_", "P0", "P1", '"model"', "p_malignant"):
                assert secret not in text, (secret, response.url)


def test_sequential_reading_with_training_pause_and_back(browser, serve, tmp_path):
    study = make_study(
        tmp_path / "study", cases=12, external=1, design="sequential", training="train.csv"
    )
    other = np.random.default_rng(99).integers(0, 99, SHAPE).astype(np.int16)
    write_nifti(study.root / "train.nii", other, AFFINE)
    (study.root / "train.csv").write_text("image,label,age\ntrain.nii,benign,<b>70</b>\n")
    link = ct.read(study, add_reader="r1", level="junior")
    server = serve(study)
    page = open_page(browser, server, link, size=(1024, 768), has_touch=True)
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-shown]")
    assert "<b>70</b>" in page.text_content("#clinical")  # text, not markup
    give_once(page, 3)
    page.wait_for_selector("#truth:visible")
    assert page.text_content("#truth p") == "benign"
    page.keyboard.press("Enter")
    page.wait_for_selector("#message:visible")
    page.keyboard.press("Enter")  # finish the training
    page.wait_for_selector("#message-title:has-text('session')")
    page.keyboard.press("Enter")  # start
    page.wait_for_selector("#reading:visible")
    page.wait_for_selector("#model", state="hidden")
    first = shown(page)
    assert fits(page)
    page.set_viewport_size({"width": 1280, "height": 720})
    assert fits(page)
    page.set_viewport_size({"width": 1024, "height": 768})
    assert pinch(page, "canvas.axial") > 1.5
    page.tap("#scale button:text-is('6')")
    page.tap("#next")
    page.wait_for_selector("#model:visible")
    assert "%" in page.text_content("#model-text")
    assert shown(page).split()[0] == first.split()[0]
    page.keyboard.press("p")
    assert page.is_hidden("#viewer")
    assert page.text_content("#message-title") == "Paused"
    page.keyboard.press("7")  # does nothing in a pause
    page.keyboard.press("p")
    assert page.is_visible("#viewer")
    assert page.is_disabled("#next")
    give(page, 9)
    page.keyboard.press("Backspace")
    page.wait_for_function(
        "first => document.body.dataset.shown.startsWith(first)", arg=first.split()[0]
    )
    assert page.get_attribute("#scale button:text-is('9')", "aria-checked") == "true"
    assert page.complaints == []
    server.kill()
    page.context.close()
    with pytest.raises(CtboneError, match="no session is finished"):
        ct.read(study, export=True)


def give_once(page, score):
    page.keyboard.press(str(score))
    page.keyboard.press("Enter")


def test_the_page_speaks_the_readers_language_and_the_owner_sees_progress(browser, serve, tmp_path):
    study = make_study(tmp_path / "study", cases=12, external=0, design="unaided")
    link = ct.read(study, add_reader="r1", level="junior")
    server = serve(study)
    for language, start in (("de-DE", "Beginnen"), ("zh-CN", "开始"), ("fr-FR", "Start")):
        page = open_page(browser, server, link, locale=language)
        assert page.get_attribute("html", "lang") in (language[:2], "en")
        assert page.text_content("#message-action") == start
        assert page.complaints == []
        page.context.close()
    owner = watched(browser.new_context())
    owner.goto(server.owner)
    owner.wait_for_selector("#rows td")
    assert "r1" in owner.text_content("#rows")
    assert owner.is_disabled("#scores")
    assert owner.complaints == []
    server.kill()
    owner.context.close()


def test_all_languages_have_all_phrases():
    folder = Path(ctbone.reading.__file__).parent / "phrases"
    files = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    english = set(files["en"])
    for name in ("de", "zh"):
        assert set(files[name]) == english | {"unchecked"}
        assert files[name]["checked"] is False
        for key, phrase in files["en"].items():
            if isinstance(phrase, str):
                wanted = {part.split("}")[0] for part in phrase.split("{")[1:]}
                found = {part.split("}")[0] for part in files[name][key].split("{")[1:]}
                assert found == wanted, (name, key)
