"""The reading page at 512 × 512 × 300 in headless Chromium without 3D: its budgets in seconds."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from timing import machine

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import ctbone as ct  # noqa: E402
from tests.browser import chromium, chromium_path, watched  # noqa: E402
from tests.reading.small_study import LiveServer, make_study  # noqa: E402

SHAPE = (512, 512, 300)
BUDGETS = {"first slice after next": 0.3, "scroll, a frame": 0.03, "window, a frame": 0.03}
"""Seconds."""
FRAMES = 60
# Seconds between frames while each frame changes the slice, or the window: drawing, painting and
# waiting for the screen, which shows at most 60 frames a second.
RUN = """([frames, act]) => new Promise((done) => {
  const { viewer } = document.getElementById("viewer");
  const times = [];
  let before = performance.now();
  const frame = () => {
    const now = performance.now();
    times.push((now - before) / 1000);
    before = now;
    if (times.length > frames) return done(times.slice(1));
    if (act === "scroll") viewer.scroll(times.length % 40 < 20 ? 1 : -1);
    else viewer.changeWindow(times.length % 40 < 20 ? 10 : -10, 5);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})"""
NEXT = """() => new Promise((done) => {
  const before = document.body.dataset.shown;
  const started = performance.now();
  const wait = () => {
    if (document.body.dataset.shown === before) return setTimeout(wait, 1);
    requestAnimationFrame(() => setTimeout(() => done((performance.now() - started) / 1000)));
  };
  document.querySelector("#next").click();
  wait();
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=3, help="steps to the next case")
    options = parser.parse_args()
    if chromium_path() is None:
        sys.exit("no chromium on this machine (Debian: apt install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder) / "study", cases=12, external=0, design="unaided")
        make_large(study)
        link = ct.read(study, add_reader="r1", level="senior")
        server = LiveServer(study)
        try:
            with chromium() as browser:
                seconds = measure(browser, server, str(link.link), options.cases)
        finally:
            server.kill()
    print_table(seconds)


def make_large(study) -> None:
    """Replace the volumes by one of 512 × 512 × 300 with the noise and the edges of a CT."""
    from ctbone.nifti import write_nifti

    rng = np.random.default_rng(0)
    x, y = np.ogrid[:512, :512]
    body = ((x - 256) / 200) ** 2 + ((y - 256) / 140) ** 2 < 1
    bone = ((x - 256) / 40) ** 2 + ((y - 300) / 40) ** 2 < 1
    plane = np.where(bone, 400, np.where(body, 40, -1000))[..., None]
    noise = rng.normal(0, 20, (*SHAPE[:2], 10))
    volume = np.tile(plane + noise, 30).astype(np.int16)
    first = study.nifti(study.cohort["case_id"][0])
    write_nifti(first, volume, np.diag([-0.7, -0.7, 1.0, 1.0]))
    for case in study.cohort["case_id"][1:]:
        path = study.nifti(case)
        path.unlink()
        path.hardlink_to(first)
    for mask in (study.root / "crops" / "3d_mask").glob("*.nii"):
        mask.unlink()


def measure(browser, server, link: str, cases: int) -> dict[str, list[float]]:
    page = watched(browser.new_context(viewport={"width": 1280, "height": 720}))
    page.goto(f"{server.address}#{link.split('#')[1]}")
    page.wait_for_selector("body[data-ready]")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-shown]", timeout=300_000)
    seconds: dict[str, list[float]] = {name: [] for name in BUDGETS}
    for _ in range(cases):
        page.wait_for_selector("body[data-next='loaded']", timeout=300_000)
        seconds["scroll, a frame"] += page.evaluate(RUN, [FRAMES, "scroll"])
        seconds["window, a frame"] += page.evaluate(RUN, [FRAMES, "window"])
        page.keyboard.press("7")
        seconds["first slice after next"].append(page.evaluate(NEXT))
    return seconds


def print_table(seconds: dict[str, list[float]]) -> None:
    print(f"{machine()}; Chromium without 3D, 1280 × 720; {' × '.join(map(str, SHAPE))} int16\n")
    print("| what | median s | 95th percentile s | budget s |  |\n|---|---|---|---|---|")
    met = True
    for name, budget in BUDGETS.items():
        median = statistics.median(seconds[name])
        held = median <= budget
        met &= held
        high = float(np.percentile(seconds[name], 95))
        print(
            f"| {name} | {median:.3f} | {high:.3f} | {budget:g} | {'met' if held else 'missed'} |"
        )
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
