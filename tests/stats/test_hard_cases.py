"""Every statistic on degenerate inputs is finite or gives the reason, without a warning."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ctbone import stats

pytestmark = pytest.mark.filterwarnings("error")

ESTIMATES = {
    "auc": stats.auc_interval,
    "bootstrap auc": lambda y, p: stats.bootstrap_auc(y, p, replicates=20),
    "bootstrap bca": lambda y, p: stats.bootstrap_auc(y, p, replicates=20, interval="bca"),
    "bootstrap free": lambda y, p: stats.bootstrap_auc(y, p, replicates=20, stratified=False),
    "brier": stats.brier,
    "scaled brier": stats.scaled_brier,
    "intercept": stats.calibration_intercept,
    "joint intercept": lambda y, p: stats.calibration_intercept(y, p, joint=True),
    "slope": stats.calibration_slope,
    "o/e": stats.observed_expected,
    "ece": lambda y, p: stats.ece(y, p, replicates=20),
    "mce": lambda y, p: stats.mce(y, p, replicates=20),
    "ici": lambda y, p: stats.ici(y, p, replicates=10),
    **{
        name: (lambda y, p, name=name: stats.threshold_rates(stats.confusion(y, p))[name])
        for name in stats.threshold_rates(stats.Confusion(1, 1, 1, 1))
    },
    "multiclass auc": lambda y, p: stats.multiclass_auc(
        y, np.stack([1 - p, p], axis=1), replicates=20
    ),
    "macro f1": lambda y, p: stats.macro_f1(y, np.stack([1 - p, p], axis=1), replicates=20),
    "kappa": lambda y, p: stats.cohen_kappa(y, p > 0.5),
    "fleiss": lambda y, p: stats.fleiss_kappa(np.stack([y, p > 0.5, p > 0.2], axis=1)),
}
CLUSTERED = {
    "auc": stats.auc_interval,
    "delong": lambda y, p, groups: stats.delong_test(y, p, 1 - p**2, groups=groups),
    "brier": stats.brier,
    "scaled brier": stats.scaled_brier,
    "intercept": stats.calibration_intercept,
    "joint intercept": lambda y, p, groups: stats.calibration_intercept(
        y, p, joint=True, groups=groups
    ),
    "slope": stats.calibration_slope,
    "o/e": stats.observed_expected,
    "ici": lambda y, p, groups: stats.ici(y, p, replicates=10, groups=groups),
    **{
        name: (lambda y, p, groups, name=name: stats.clustered_rates(y, p >= 0.5, groups)[name])
        for name in stats.threshold_rates(stats.Confusion(1, 1, 1, 1))
    },
    "balanced accuracy of classes": lambda y, p, groups: stats.multiclass_balanced_accuracy(
        y, np.stack([1 - p, p], axis=1), groups=groups
    ),
    "dangerous error": lambda y, p, groups: stats.dangerous_error(
        y, np.stack([1 - p, p], axis=1), truth=1, called=0, groups=groups
    ),
}
PATIENTS = {
    "one patient": lambda n: ["only"] * n,
    "pairs": lambda n: np.arange(n) // 2,
    "two patients": lambda n: np.where(np.arange(n) == 0, "a", "b"),
    "one pair": lambda n: np.maximum(np.arange(n), 1),
}
COMPARISONS = {
    "delong": lambda y, p: stats.delong_test(y, p, 1 - p**2),
    "unpaired": lambda y, p: stats.delong_unpaired(y, p, ~y, p),
    "bootstrap": lambda y, p: stats.bootstrap_auc_difference(y, p, 1 - p**2, replicates=20),
    "mcnemar": lambda y, p: stats.mcnemar((p > 0.5) == y, y),
    "exact": lambda y, p: stats.mcnemar((p > 0.5) == y, y, test="exact"),
}
TESTS = {
    "hosmer-lemeshow": stats.hosmer_lemeshow,
    "development": lambda y, p: stats.hosmer_lemeshow(y, p, external=False),
    "cochran": lambda y, p: stats.cochran_q(np.stack([y, p > 0.5, p > 0.2], axis=1)),
    "kappa": lambda y, p: stats.cohen_kappa_test(y, p > 0.5),
    "fleiss": lambda y, p: stats.fleiss_kappa_test(np.stack([y, p > 0.5, p > 0.2], axis=1)),
}

HARD = {
    "one case": ([1], [0.7]),
    "two cases": ([0, 1], [0.2, 0.7]),
    "two cases, wrong": ([0, 1], [0.7, 0.2]),
    "two cases, equal": ([0, 1], [0.4, 0.4]),
    "one class": ([1] * 5, [0.1, 0.2, 0.3, 0.9, 0.9]),
    "the other class": ([0] * 5, [0.1, 0.2, 0.3, 0.9, 0.9]),
    "all at zero": ([0, 1, 0, 1, 1], [0.0] * 5),
    "all at one": ([0, 1, 0, 1, 1], [1.0] * 5),
    "perfect and certain": ([0, 0, 1, 1, 1], [0.0, 0.0, 1.0, 1.0, 1.0]),
    "wrong and certain": ([0, 0, 1, 1, 1], [1.0, 1.0, 0.0, 0.0, 0.0]),
    "certain": ([0, 1, 0, 1, 1, 0], [0.0, 1.0, 1.0, 0.0, 1.0, 0.0]),
    "separated": ([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.8]),
    "one positive": ([0, 0, 0, 0, 1], [0.1, 0.2, 0.3, 0.6, 0.4]),
    "nearly equal": ([0, 1, 0, 1], [0.5, np.nextafter(0.5, 1), np.nextafter(0.5, 1), 0.5]),
    "tiny": ([0, 1, 0, 1], [5e-324, 1e-300, 1e-12, 1e-9]),
    "a cluster and a straggler": ([0, 1] * 20 + [1], [1e-6 * k for k in range(40)] + [0.999]),
}


def check(result, name):
    parts = result.as_dict()
    method, why = parts.pop("method"), parts.pop("why", None)
    assert method, name
    for part in vars(result).values():
        assert not isinstance(part, float) or math.isfinite(part), f"{name}: {result}"
    if "df" in parts or "statistic" in parts:
        del parts["statistic"]  # a p-value without a statistic: Fisher, bootstrap
        parts.pop("df", None)
    if None in parts.values():
        assert why, f"{name}: {result}"
    middle = parts.get("value", parts.get("difference"))
    if parts.get("low") is not None and middle is not None:
        assert parts["low"] - 1e-9 <= middle <= parts["high"] + 1e-9 or "bootstrap" in method, (
            f"{name}: {result}"
        )
    if parts.get("p_value") is not None:
        assert 0 <= parts["p_value"] <= 1, f"{name}: {result}"


@pytest.mark.parametrize("hard", HARD)
@pytest.mark.parametrize("name", ESTIMATES)
def test_estimates(hard, name):
    y, p = np.array(HARD[hard][0], dtype=bool), np.array(HARD[hard][1])
    check(ESTIMATES[name](y, p), f"{name} on {hard}")


@pytest.mark.parametrize("hard", HARD)
@pytest.mark.parametrize("kind", PATIENTS)
def test_clustered_estimates(hard, kind):
    y, p = np.array(HARD[hard][0], dtype=bool), np.array(HARD[hard][1])
    for name, statistic in CLUSTERED.items():
        check(statistic(y, p, groups=PATIENTS[kind](y.size)), f"{name} on {hard}, {kind}")
    curve = stats.calibration_curve(y, p, groups=PATIENTS[kind](y.size))
    for line in (curve.observed, curve.low, curve.high):
        assert np.isfinite(line).all()
        assert ((line >= 0) & (line <= 1)).all()


@pytest.mark.parametrize("hard", HARD)
def test_comparisons_and_tests(hard):
    y, p = np.array(HARD[hard][0], dtype=bool), np.array(HARD[hard][1])
    for name, test in {**COMPARISONS, **TESTS}.items():
        check(test(y, p), f"{name} on {hard}")


@pytest.mark.parametrize("hard", HARD)
def test_curves(hard):
    y, p = np.array(HARD[hard][0], dtype=bool), np.array(HARD[hard][1])
    roc = stats.roc_points(y, p)
    assert (roc.fpr.size == 0) == (roc.why is not None)
    band = stats.roc_band(y, p, replicates=10)
    assert np.isnan(band.tpr).all() == (y.all() or not y.any())
    assert np.isnan(band.low).all() or band.why is None
    curve = stats.calibration_curve(y, p)
    assert (curve.grid.size == 0) == (curve.why is not None)
    for line in (curve.observed, curve.low, curve.high):
        assert np.isfinite(line).all()
        assert ((line >= 0) & (line <= 1)).all()
    decision = stats.decision_curve(y, p, [0.0, 0.01, 0.5, 0.99, 1.0], replicates=10)
    assert np.isfinite(decision.net_benefit[:-1]).all()
    assert np.isnan(decision.net_benefit[-1])
    for pick in (stats.youden_threshold(y, p), stats.threshold_at_sensitivity(y, p, 0.9)):
        assert (pick.threshold is None) <= (pick.why is not None)


anything = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.lists(
            st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])), min_size=n, max_size=n
        ),
    )
)


@settings(max_examples=80, deadline=None)
@given(anything)
@example(case=(np.array([False, True]), np.array([0.5, 2.225073858507203e-309])))
def test_any_labels_and_probabilities(case):
    y, p = np.array(case[0]), np.array(case[1])
    for name, statistic in {**ESTIMATES, **COMPARISONS, **TESTS}.items():
        check(statistic(y, p), name)


@settings(max_examples=80, deadline=None)
@given(anything, st.randoms(use_true_random=False))
def test_any_labels_probabilities_and_patients(case, random):
    y, p = np.array(case[0]), np.array(case[1])
    groups = [random.choice("abcd") for _ in range(y.size)]
    for name, statistic in CLUSTERED.items():
        check(statistic(y, p, groups=groups), name)
