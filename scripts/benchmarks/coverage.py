"""Coverage of 95 % intervals and bands, and size of tests at 5 %, in simulated small cohorts."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from ctbone import stats

LOWEST, HIGHEST, LARGEST_SIZE = 0.92, 0.99, 0.06  # goals: coverage, size
PATIENTS, PREVALENCES = (30, 100, 500), (0.1, 0.5)
SHIFT = 1.2  # difference of the classes' mean scores in standard deviations: an AUC of .80
SHARED = 0.6  # share of the score's variance that the cases of a patient have in common
WRONG_SHIFT, WRONG_SLOPE = 0.7, 1.5  # logits of the miscalibrated model: 0.7 + 1.5 · true logit
REPETITIONS = {30: 600, 100: 400, 500: 150}  # by patients
RESAMPLES = {30: 300, 100: 200, 500: 200}  # of each bootstrap, by patients
CURVE_RESAMPLES, CURVE_SHARE = 60, 2  # of a loess curve, of every second sample
FEWEST = 60  # samples with an interval, or a test, below which the share is not shown
LARGE = 300_000  # cases in which an estimate's value is taken as true


@dataclass(frozen=True)
class Cell:
    """Number of patients, prevalence, and whether a patient has 1–5 cases or one."""

    patients: int
    prevalence: float
    several: bool


@dataclass(frozen=True)
class Sample:
    """A simulated cohort; all cases of a patient have the same class.

    Parameters
    ----------
    scores
        Scores of three models of equal AUC, correlated .5 within a class, shape (3, n).
    kind
        Class of three, shape (n,): 1 if y, else 0 or 2 with equal probability.
    """

    y: np.ndarray
    kind: np.ndarray
    scores: np.ndarray
    groups: np.ndarray | None
    cell: Cell

    def logit(self, model: str) -> np.ndarray:
        """Logit of the first model: ``calibrated``, or ``wrong``, too high and too extreme."""
        prevalence = self.cell.prevalence
        true = math.log(prevalence / (1 - prevalence)) + SHIFT * self.scores[0] - SHIFT**2 / 2
        return true if model == "calibrated" else WRONG_SHIFT + WRONG_SLOPE * true

    def p(self, model: str) -> np.ndarray:
        return 1 / (1 + np.exp(-self.logit(model)))

    def called(self, model: str) -> np.ndarray:
        """Calls: above the prevalence; of the wrong model above ½, which few cases are."""
        return self.p(model) >= (self.cell.prevalence if model == "calibrated" else 0.5)

    def three(self) -> np.ndarray:
        """Probabilities of three classes, calibrated, shape (n, 3)."""
        prior = np.array([(1 - self.cell.prevalence) / 2, self.cell.prevalence, 0.0])
        prior[2] = prior[0]
        logits = np.log(prior) + SHIFT * np.stack(
            [np.zeros(self.y.size), self.scores[0], self.scores[1]], axis=1
        )
        odds = np.exp(logits)
        return odds / odds.sum(axis=1, keepdims=True)


def draw(cell: Cell, rng: np.random.Generator) -> Sample:
    """Draw a cohort; scores have variance 1 in each class."""
    sizes = rng.integers(1, 6, cell.patients) if cell.several else np.ones(cell.patients, int)
    patient = np.repeat(np.arange(cell.patients), sizes)
    y = (rng.random(cell.patients) < cell.prevalence)[patient]
    other = 2 * (rng.random(cell.patients) < 0.5)[patient]
    common, own = rng.normal(size=(4, cell.patients)), rng.normal(size=(4, patient.size))
    noise = math.sqrt(SHARED) * common[:, patient] + math.sqrt(1 - SHARED) * own
    scores = SHIFT * y + math.sqrt(0.5) * (noise[0] + noise[1:])
    groups = patient if cell.several else None
    return Sample(y=y, kind=np.where(y, 1, other), scores=scores, groups=groups, cell=cell)


Interval = tuple[float | None, float | None]
Named = Iterator[tuple[str, float | None, Interval]]


def intervals(sample: Sample, model: str, *, resamples: int, curve: bool) -> Named:
    """Name, value and interval of every estimate of one model."""
    s, p, groups = sample, sample.p(model), sample.groups
    boot = {"replicates": resamples, "groups": groups}
    found: dict[str, stats.Estimate] = {
        "AUC": stats.auc_interval(s.y, p, groups=groups),
        "AUC, bootstrap": stats.bootstrap_auc(s.y, p, **boot),
        "AUC, bootstrap, BCa": stats.bootstrap_auc(s.y, p, interval="bca", **boot)
        if s.y.size < LARGE
        else stats.auc_interval(s.y, p),
    }
    rates = stats.clustered_rates(s.y, s.called(model), groups)
    found |= {name.replace("_", " "): rate for name, rate in rates.items()}
    found |= {
        "Brier score": stats.brier(s.y, p, groups=groups),
        "scaled Brier score": stats.scaled_brier(s.y, p, groups=groups),
        "calibration intercept": stats.calibration_intercept(s.y, p, groups=groups),
        "intercept, slope fitted too": stats.calibration_intercept(
            s.y, p, groups=groups, joint=True
        ),
        "calibration slope": stats.calibration_slope(s.y, p, groups=groups),
        "observed / expected": stats.observed_expected(s.y, p, groups=groups),
        "ECE": stats.ece(s.y, p, **boot),
        "MCE": stats.mce(s.y, p, **boot),
    }
    for name, estimate in found.items():
        yield name, estimate.value, (estimate.low, estimate.high)
    if curve:
        errors = stats.calibration_errors(s.y, p, replicates=CURVE_RESAMPLES, groups=groups)
        for name in ("ici", "e50", "e90", "emax"):
            estimate = getattr(errors, name)
            yield (
                name.upper() if name == "ici" else name.capitalize(),
                estimate.value,
                (
                    estimate.low,
                    estimate.high,
                ),
            )


def bands(sample: Sample, model: str, *, resamples: int) -> Named:
    """Name, value and limits of the bands at chosen points."""
    s, p = sample, sample.p(model)
    rates = np.array([0.1, 0.2, 0.5])
    band = stats.roc_band(s.y, p, rates, replicates=resamples, groups=s.groups)
    for k, rate in enumerate(rates):
        yield f"ROC band at {rate:g}", band.tpr[k], (band.low[k], band.high[k])
    curve = stats.decision_curve(s.y, p, rates, replicates=resamples, groups=s.groups)
    for k, rate in enumerate(rates):
        limits = (curve.low[k], curve.high[k])
        yield f"decision curve at {rate:g}", curve.net_benefit[k], limits


def other_intervals(sample: Sample, *, resamples: int) -> Named:
    """Name, value and interval of three-class estimates and, for single cases, of κ."""
    s, P, groups = sample, sample.three(), sample.groups
    boot = {"replicates": resamples, "groups": groups}
    found = {
        "AUC, three classes": stats.multiclass_auc(s.kind, P, **boot),
        "macro F1": stats.macro_f1(s.kind, P, **boot),
        "balanced accuracy, three classes": stats.multiclass_balanced_accuracy(
            s.kind, P, groups=groups
        ),
        "Brier score, three classes": stats.multiclass_brier(s.kind, P, groups=groups),
        "top-label ECE": stats.top_label_ece(s.kind, P, **boot),
        "dangerous error": stats.dangerous_error(s.kind, P, truth=2, called=0, groups=groups),
    }
    if groups is None:
        grades = np.digitize(s.scores, [-0.5, 0.5, 1.5])
        found |= {
            "Cohen's κ": stats.cohen_kappa(*(grades[:2] > 1)),
            "Cohen's κ, quadratic": stats.cohen_kappa(*grades[:2], weights="quadratic"),
            "Fleiss' κ": stats.fleiss_kappa(grades.T > 1),
        }
    for name, estimate in found.items():
        yield name, estimate.value, (estimate.low, estimate.high)


def tests(sample: Sample, rng: np.random.Generator, *, resamples: int) -> Named:
    """Name, p-value and interval of each test whose null hypothesis is true in the simulation."""
    s = sample
    a, b, c = s.scores  # of equal AUC and accuracy
    paired = {
        "DeLong, paired": stats.delong_test(s.y, a, b, groups=s.groups),
        "bootstrap of two AUCs": stats.bootstrap_auc_difference(
            s.y, a, b, replicates=resamples, groups=s.groups
        ),
    }
    if s.groups is None:
        right = (s.scores > SHIFT / 2) == s.y
        paired["McNemar, mid-p"] = stats.mcnemar(right[0], right[1])
        other = draw(s.cell, rng)
        paired["DeLong, unpaired"] = stats.delong_unpaired(s.y, a, other.y, other.scores[0])
    for name, test in paired.items():
        yield name, test.p_value, (test.low, test.high)
    if s.groups is not None:
        return
    loose = rng.normal(size=(3, s.y.size)) > rng.normal(size=(3, 1)) / 4
    null = {
        "Cochran's Q": stats.cochran_q(right.T),
        "Hosmer–Lemeshow": stats.hosmer_lemeshow(s.y, s.p("calibrated")),
        "κ = 0, Cohen": stats.cohen_kappa_test(loose[0], loose[1]),
        "κ = 0, Fleiss": stats.fleiss_kappa_test(loose.T),
        "χ² with Yates' correction, Table 1": stats.independence_test(
            [[int((k & x).sum()) for x in (loose[0], ~loose[0])] for k in (s.y, ~s.y)]
        ),
    }
    if 2 <= s.y.sum() <= s.y.size - 2:
        noise = c - SHIFT * s.y
        null["Welch's t test of Table 1"] = stats.location_test([noise[s.y], noise[~s.y]])
    for name, result in null.items():
        yield name, result.p_value, (None, None)


@cache
def true_values(prevalence: float) -> dict[tuple[str, str], float]:
    """True value of every estimate by model and name: that in 300 000 cases."""
    big = draw(Cell(LARGE, prevalence, several=False), np.random.default_rng(1))
    found: dict[tuple[str, str], float] = {}
    for model in ("calibrated", "wrong"):
        parts = (intervals(big, model, resamples=1, curve=False), bands(big, model, resamples=1))
        for name, value, _ in (row for part in parts for row in part):
            assert value is not None
            found[model, name] = value
        # Errors of the probabilities, not of a smoothed curve; none if they are calibrated.
        distance = np.abs(big.p(model) - big.p("calibrated"))
        found |= {
            (model, "ICI"): float(distance.mean()),
            (model, "E50"): float(np.quantile(distance, 0.5)),
            (model, "E90"): float(np.quantile(distance, 0.9)),
            (model, "Emax"): float(distance.max()),
        }
    found |= {("calibrated", name): 0.0 for name in ("ECE", "MCE")}
    for name, value, _ in other_intervals(big, resamples=1):
        assert value is not None
        found["other", name] = 0.0 if name == "top-label ECE" else value
    return found


@dataclass
class Tally:
    """Samples with an interval (or p-value), and those that it covers (or that are rejected)."""

    given: int = 0
    hits: int = 0

    @property
    def share(self) -> float | None:
        return self.hits / self.given if self.given >= FEWEST else None


Tallies = dict[tuple[str, str], Tally]


def simulate(cell: Cell, repetitions: int) -> tuple[Tallies, Tallies]:
    """Coverage of intervals and size of tests in one cell, by model and name."""
    truth, rng = true_values(cell.prevalence), np.random.default_rng(cell.patients)
    covered: Tallies = {}
    rejected: Tallies = {}
    resamples = RESAMPLES[cell.patients]

    def cover(model: str, name: str, interval: Interval, true: float) -> None:
        tally = covered.setdefault((model, name), Tally())
        low, high = interval
        if low is not None and high is not None and math.isfinite(low + high):
            tally.given += 1
            # 1e-9: limits and true values such as 0 and 1 have rounding errors.
            tally.hits += low - 1e-9 <= true <= high + 1e-9

    for number in range(repetitions):
        sample = draw(cell, rng)
        for model in ("calibrated", "wrong"):
            curve = number % CURVE_SHARE == 0
            rows = [*intervals(sample, model, resamples=resamples, curve=curve)]
            rows += bands(sample, model, resamples=resamples)
            for name, _, interval in rows:
                cover(model, name, interval, truth[model, name])
        for name, _, interval in other_intervals(sample, resamples=resamples):
            cover("other", name, interval, truth["other", name])
        for name, p_value, interval in tests(sample, rng, resamples=resamples):
            tally = rejected.setdefault(("other", name), Tally())
            if p_value is not None:
                tally.given += 1
                tally.hits += p_value <= 0.05
            if interval != (None, None):
                cover("other", f"difference: {name}", interval, 0.0)
    return covered, rejected


def shown(tallies: Tallies, name: str) -> tuple[str, list[float]]:
    """Text of a cell of the table, both models if they differ, and the shares."""
    kept = [tally for (_, own), tally in tallies.items() if own == name]
    shares = [tally.share for tally in kept if tally.share is not None]
    if not kept:
        return "", []
    if not shares:
        return "–", []
    low, high = (f"{share:.3f}".removeprefix("0") for share in (min(shares), max(shares)))
    return low if low == high else f"{low}–{high}", shares


def table(results: Mapping[Cell, Tallies], title: str, lowest: float, highest: float) -> list[str]:
    """Print one row an estimate, one column a cell; return what misses the goals."""
    missed = []
    cases = {False: "1 case", True: "1–5 cases"}
    print(
        f"\n| {title} | "
        + " | ".join(
            f"{cell.patients}, {cell.prevalence:g}, {cases[cell.several]}" for cell in results
        )
        + " |"
    )
    print("|---|" + "---|" * len(results))
    names = dict.fromkeys(name for tallies in results.values() for _, name in tallies)
    for name in names:
        texts = []
        for cell, tallies in results.items():
            text, shares = shown(tallies, name)
            texts.append(text)
            missed += [f"{name}, {cell}: {s:.3f}" for s in shares if not lowest <= s <= highest]
        print(f"| {name} | " + " | ".join(texts) + " |", flush=True)
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the repetitions")
    parser.add_argument("--cases", choices=("1", "1-5", "both"), default="both")
    parser.add_argument("--patients", type=int, nargs="+", default=PATIENTS, choices=PATIENTS)
    options = parser.parse_args()
    covered, rejected = {}, {}
    clustered = {"1": (False,), "1-5": (True,), "both": (False, True)}[options.cases]
    for several, patients, prevalence in product(clustered, options.patients, PREVALENCES):
        cell = Cell(patients, prevalence, several)
        repetitions = round(options.share * REPETITIONS[patients])
        covered[cell], rejected[cell] = simulate(cell, repetitions)
        print(f"{cell}: {repetitions} repetitions", file=sys.stderr, flush=True)
    missed = table(covered, "coverage", LOWEST, HIGHEST)
    missed += table(rejected, "size", 0.0, LARGEST_SIZE)
    print("\n" + ("\n".join(["missed:", *missed]) if missed else "all goals met"))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
