"""The page of a study as Chromium shows it: axe, and on a phone."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ctbone.reporting import report
from ctbone.study import Study
from tests.browser import chromium, needs_chromium
from tests.reporting.test_primary import THREE, named


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


@needs_chromium
def test_axe_finds_nothing_serious(answered):
    script = axe()
    with chromium() as browser:
        for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light")):
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
            )
            page = context.new_page()
            page.goto(answered.as_uri(), timeout=180_000)
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
        page.goto(answered.as_uri(), timeout=180_000)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        wrong = page.evaluate(
            """[...document.querySelectorAll(".table")]
            .filter(one => (one.scrollWidth > one.clientWidth + 1) !==
                           (getComputedStyle(one, "::before").visibility === "visible"))
            .map(one => one.getAttribute("aria-label"))"""
        )
        assert wrong == []
