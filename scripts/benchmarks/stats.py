"""Speed of DeLong, decision curves and bootstrapped AUCs against the quadratic form and dcurves."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from importlib import metadata

import numpy as np
import pandas as pd
from timing import machine, paired_ratio, take_turns

from ctbone.stats import (
    bootstrap_auc,
    bootstrap_weights,
    decision_curve,
    default_thresholds,
    delong_covariance,
    weighted_auc,
)

CASES, MANY = 569, 100_000  # cases of the small and the large sample
REPLICATES = 2000
LOOPED = 20  # resamples computed by dcurves; its time is multiplied by REPLICATES / LOOPED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    few, many = sample(CASES), sample(MANY)
    same_results(few)
    seconds = take_turns(contenders(few, many), options.rounds)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("ctbone", "numpy", "scipy", "dcurves")
    )
    print(f"{machine()}; {versions}; {options.rounds} rounds, taking turns\n")
    print("| what | median s | goal |  |\n|---|---|---|---|")
    met = True
    for name, goal in GOALS.items():
        held = goal is None or median[name] <= goal
        met &= held
        verdict = " | " if goal is None else f"≤ {goal:g} s | {'met' if held else 'missed'}"
        print(f"| {name} | {median[name]:.4g} | {verdict} |")
    print("\n| comparison | median ratio of pairs | goal |  |\n|---|---|---|---|")
    for ours, theirs, scale, goal in RATIOS:
        ratio = scale / paired_ratio(seconds[ours], seconds[theirs])
        met &= ratio >= goal
        verdict = "met" if ratio >= goal else "missed"
        print(f"| {ours} to {theirs} | {ratio:.0f}× faster | ≥ {goal}× | {verdict} |")
    sys.exit(0 if met else 1)


DELONG, QUADRATIC = "DeLong's variance, 100 000 cases", "the quadratic form, 100 000 cases"
CURVE = "decision curve with band, 569 cases, 99 thresholds, 2000 resamples"
LOOP = f"dcurves in a loop, {LOOPED} of the 2000 resamples"
FEW, LOT = "2000 resampled AUCs, 569 cases", "2000 resampled AUCs, 100 000 cases"
GOALS: dict[str, float | None] = {
    DELONG: 0.1,
    QUADRATIC: None,
    CURVE: 1.0,
    LOOP: None,
    FEW: 0.2,
    LOT: 30.0,
}
RATIOS = ((DELONG, QUADRATIC, 1, 100), (CURVE, LOOP, REPLICATES // LOOPED, 50))

Sample = tuple[np.ndarray, np.ndarray]


def contenders(few: Sample, many: Sample) -> dict[str, Callable[[], object]]:
    return {
        DELONG: lambda: delong_covariance(many[0], [many[1]]),
        QUADRATIC: lambda: quadratic_variance(*many),
        CURVE: lambda: decision_curve(*few, replicates=REPLICATES),
        LOOP: lambda: dcurves_loop(*few),
        FEW: lambda: bootstrap_auc(*few, replicates=REPLICATES),
        LOT: lambda: bootstrap_auc(*many, replicates=REPLICATES),
    }


def sample(n: int) -> Sample:
    rng = np.random.default_rng(n)
    y = rng.random(n) < 0.37
    return y, 1 / (1 + np.exp(-(rng.normal(0, 1.3, n) + 1.4 * (2 * y - 1))))


def quadratic_variance(y: np.ndarray, p: np.ndarray, block: int = 400) -> float:
    """DeLong's variance over all pairs of a positive and a negative, in cache-sized blocks."""
    positive, negative = p[y], p[~y]
    rows, columns = np.empty(len(positive)), np.zeros(len(negative))
    for start in range(0, len(positive), block):
        part = positive[start : start + block, None]
        wins = (part > negative).astype(np.float32)
        wins += np.float32(0.5) * (part == negative)
        rows[start : start + block] = wins.mean(axis=1, dtype=float)
        columns += wins.sum(axis=0, dtype=float)
    columns /= len(positive)
    return float(rows.var(ddof=1) / len(positive) + columns.var(ddof=1) / len(negative))


def dcurves_loop(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Net benefit of the resamples, with one call of dcurves per resample."""
    import dcurves

    rng = np.random.default_rng(0)
    curves = []
    for _ in range(LOOPED):
        drawn = rng.integers(0, len(y), len(y))
        data = pd.DataFrame({"y": y[drawn].astype(int), "model": p[drawn]})
        table = dcurves.dca(
            data=data, outcome="y", modelnames=["model"], thresholds=default_thresholds()
        )
        curves.append(table.loc[table["model"] == "model", "net_benefit"].to_numpy())
    return np.array(curves)


def same_results(few: Sample) -> None:
    """Stop if the implementations give different results."""
    import dcurves

    y, p = few
    np.testing.assert_allclose(delong_covariance(y, [p])[0, 0], quadratic_variance(y, p), rtol=1e-6)
    data = pd.DataFrame({"y": y.astype(int), "model": p})
    table = dcurves.dca(
        data=data, outcome="y", modelnames=["model"], thresholds=default_thresholds()
    )
    theirs = table.loc[table["model"] == "model", "net_benefit"]
    np.testing.assert_allclose(decision_curve(y, p).net_benefit, theirs, atol=1e-12)
    draws = next(bootstrap_weights(y, replicates=1))
    order = np.repeat(np.arange(len(y)), draws[0].astype(int))
    one = delong_area(y[order], p[order])
    np.testing.assert_allclose(weighted_auc(draws, y, p)[0], one, rtol=1e-12)


def delong_area(y: np.ndarray, p: np.ndarray) -> float:
    return float(np.mean((p[y][:, None] > p[~y]) + 0.5 * (p[y][:, None] == p[~y])))


if __name__ == "__main__":
    main()
