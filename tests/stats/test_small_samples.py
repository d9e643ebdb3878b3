"""Coverage with ten positive patients or fewer: a small version of ``scripts/bench coverage``."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from ctbone import stats

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


TRUE = {0.1: {"AUC": 0.8019, "Brier": 0.0762, "scaled": 0.1532, "slope": 1.0}}
"""Numerical integrals over the scores of a calibrated model at prevalence .1."""


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("patients", [30, 100])
def test_intervals_cover_with_few_positive_patients(bench, patients, several):
    rng = np.random.default_rng(patients)
    cell = bench.Cell(patients, 0.1, several)
    hits = {name: [] for name in TRUE[0.1]}
    for _ in range(400):
        sample = bench.draw(cell, rng)
        y, p, groups = sample.y, sample.p("calibrated"), sample.groups
        found = {
            "AUC": stats.auc_interval(y, p, groups=groups),
            "Brier": stats.brier(y, p, groups=groups),
            "scaled": stats.scaled_brier(y, p, groups=groups),
            "slope": stats.calibration_slope(y, p, groups=groups),
        }
        for name, estimate in found.items():
            if estimate.low is not None:
                hits[name].append(estimate.low <= TRUE[0.1][name] <= estimate.high)
    for name, held in hits.items():
        if len(held) >= 200:  # the slope by patient has an interval in a fifth of the smallest
            assert 0.92 <= np.mean(held) <= 0.995, name


def test_the_true_values_are_those_of_the_simulation(bench):
    scores = np.linspace(-9, 10.2, 20_001)
    step = scores[1] - scores[0]
    density = np.exp(-(scores**2) / 2) / np.sqrt(2 * np.pi) * step
    shifted = np.exp(-((scores - bench.SHIFT) ** 2) / 2) / np.sqrt(2 * np.pi) * step
    odds = np.log(0.1 / 0.9) + bench.SHIFT * scores - bench.SHIFT**2 / 2
    p = 1 / (1 + np.exp(-odds))
    brier = 0.1 * (shifted * (1 - p) ** 2).sum() + 0.9 * (density * p**2).sum()
    assert TRUE[0.1]["Brier"] == pytest.approx(brier, abs=1e-4)
    assert TRUE[0.1]["scaled"] == pytest.approx(1 - brier / 0.09, abs=1e-3)
    below = np.cumsum(density) - density / 2
    assert TRUE[0.1]["AUC"] == pytest.approx((shifted * below).sum(), abs=1e-4)


def test_the_bench_prints_a_table(bench, capsys):
    cell = bench.Cell(30, 0.5, several=True)
    bench.LARGE = 2000
    covered, rejected = bench.simulate(cell, 2)
    missed = bench.table({cell: covered}, "coverage", lowest=0.92, highest=0.99)
    assert missed == []  # two samples are too few to show a share
    printed = capsys.readouterr().out
    assert "| coverage | 30, 0.5, 1–5 cases |" in printed
    for name in ("AUC", "mcc", "ECE", "ROC band at 0.5", "macro F1", "difference: DeLong, paired"):
        assert f"| {name} | – |" in printed
    assert ("other", "DeLong, paired") in rejected
