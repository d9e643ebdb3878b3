"""The page of a study: question first, the paper's order, the appendix; seen by Chromium."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ctbone.reporting import report
from ctbone.study import Study
from tests.browser import chromium, needs_chromium
from tests.document.parsed_page import parse
from tests.reporting.test_primary import THREE, named

SHOWN = ["patients", "folds", "confusion", "curves"]


@pytest.fixture(scope="module")
def answered(fused_study, tmp_path_factory) -> Path:
    """The page of a study with three primary comparisons."""
    root = tmp_path_factory.mktemp("answered") / "study"
    shutil.copytree(fused_study.root, root, ignore=shutil.ignore_patterns("report"))
    return report(named(Study(root), THREE))


def axe() -> str:
    """Return axe-core's script from an installed npm package; skip where there is none."""
    if shutil.which("node") is None:
        pytest.skip("no node on this machine")
    ask = "console.log(require.resolve('axe-core/axe.min.js'))"
    found = subprocess.run(
        ["node", "-e", ask], capture_output=True, text=True, timeout=60, check=False
    )
    if found.returncode:
        pytest.skip("no axe-core (npm install axe-core, and NODE_PATH to its node_modules)")
    return Path(found.stdout.strip()).read_text(encoding="utf-8")


def text_of(path) -> str:
    return " ".join(" ".join(parse(path).text).split())


def test_the_question_comes_first_and_then_the_papers_order(answered):
    html = answered.read_text(encoding="utf-8")
    places = [html.index(f'id="{key}"') for key in ("summary", *SHOWN, "appendix")]
    assert places == sorted(places)
    front = html[places[0] : places[1]]
    order = [
        front.index(words)
        for words in (
            "Is the AUC of 3d+2d+reader higher than that of reader, on the external test?",
            "Primary comparison, named",
            "Primary comparisons</caption>",
            "cases in the cohort",
            "ROC, calibration and decision curves",
            "What it means:",
            "For whom:",
            "What it does not mean:",
        )
    ]
    assert order == sorted(order)
    assert html.count("<details>") == html.count("</details>") > 5
    assert "<details open" not in html


def test_the_numbers_of_the_answer_are_those_of_metrics_json(answered):
    metrics = json.loads((answered.parent / "metrics.json").read_text())
    found, text = metrics["primary"][0], text_of(answered)
    assert found["compare"] == ["3d+2d+reader", "reader"]
    assert f"difference {found['difference']:.3f}".replace("-", "−") in text
    assert found["named_before_results"] is False
    assert "after results were known" in text
    assert "These tables existed then: fusion/3d+2d+reader.csv" in text
    models = metrics["external"]["models"]
    assert found["first"]["value"] == pytest.approx(models["3d+2d+reader"]["auc"]["value"])


def test_everything_else_is_exploratory(answered):
    metrics = json.loads((answered.parent / "metrics.json").read_text())

    def pairs(of):
        return {frozenset((one["a"], one["b"])) for one in of["comparisons"]}

    assert frozenset(("3d+2d+reader", "reader")) not in pairs(metrics["external"])
    assert frozenset(("3d", "2d")) not in pairs(metrics)
    assert frozenset(("3d", "2d")) in pairs(metrics["external"])
    html = answered.read_text(encoding="utf-8")
    for title in ("Fold by fold", "Every model", "Curves of every model"):
        assert re.search(rf'<p class="kicker">Exploratory</p>\s*<h2>{title}', html), title
    assert re.search(r"<h3>Exploratory comparisons</h3> <span>Exploratory", html)


def test_without_a_named_comparison_all_models_are_shown_and_none_is_singled_out(reported):
    text = text_of(reported)
    assert "No primary comparison was named" in text
    assert "the AUCs are: 3d 0." in text
    assert "the highest" not in text
    assert json.loads((reported.parent / "metrics.json").read_text())["primary"] == []


def test_a_withdrawn_comparison_is_named(answered, small_study):
    study = named(small_study, [THREE[0]])
    shutil.copy(answered.parents[1] / "primary.json", study.primary_json)
    text = text_of(report(study))
    assert "Primary comparisons withdrawn. The settings no longer name: 3d − 2d (auc" in text
    assert "Undefined: no probabilities of 3d+2d+reader and reader on the external test" in text


@needs_chromium
def test_axe_finds_nothing_serious(answered):
    script = axe()
    with chromium() as browser:
        for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light")):
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
            )
            page = context.new_page()
            page.goto(answered.as_uri())
            page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
            page.evaluate(script)
            found = page.evaluate("axe.run().then(result => result.violations)")
            bad = [one for one in found if one["impact"] in ("serious", "critical")]
            shown = [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in bad]
            assert shown == [], (width, scheme)
            context.close()


@needs_chromium
def test_a_phone_scrolls_tables_and_says_so(answered):
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(answered.as_uri())
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        wrong = page.evaluate(
            """[...document.querySelectorAll(".table")]
            .filter(one => (one.scrollWidth > one.clientWidth + 1) !==
                           (getComputedStyle(one, "::before").visibility === "visible"))
            .map(one => one.getAttribute("aria-label"))"""
        )
        assert wrong == []


@needs_chromium
def test_the_printed_page_is_short_and_nothing_is_cut(answered, tmp_path):
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 680, "height": 1000})  # 180 mm at 96 dpi
        page.goto(answered.as_uri())
        page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
        pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", (tmp_path / "page.pdf").read_bytes()))
        assert 0 < pages < 6
        page.emulate_media(media="print")
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        wide = page.evaluate(
            """[...document.querySelectorAll(".table table")]
            .filter(one => one.getBoundingClientRect().right > 681)
            .map(one => one.caption.textContent)"""
        )
        assert wide == []
        first = page.evaluate("document.querySelector('header').getBoundingClientRect().height")
        assert first < 1017  # 297 − 28 mm, one page
