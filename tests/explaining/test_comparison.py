import numpy as np
import pytest
from scipy import stats

from ctbone.explaining.comparison import by_patient, comparisons, summaries
from ctbone.explaining.methods import TITLES

METHODS, CLASSES = ("grad-cam", "score-cam"), ("benign", "malignant")


def records_of(random, patients=40, broad=1.0, score=1.0):
    """Maps whose extent is ``broad`` times larger in malignant, ``score`` times with Score-CAM."""
    rows = []
    for number in range(patients):
        truth = CLASSES[number % 2]
        own = random.normal(0, 0.3)
        for method in METHODS:
            extent = 0.05 * np.exp(own + random.normal(0, 0.1))
            extent *= broad if truth == "malignant" else 1.0
            extent *= score if method == "score-cam" else 1.0
            rows.append(
                {
                    "case_id": f"C{number}",
                    "truth": truth,
                    "method": method,
                    "points": bool(random.random() < 0.5),
                    "extent": extent,
                    "ratio": 2.0,
                }
            )
    return rows


def compared(records):
    table = by_patient(records, {record["case_id"]: record["case_id"] for record in records})
    return comparisons(table, methods=METHODS, classes=CLASSES, titles=TITLES, level=0.95)


def test_broad_heat_in_malignant_lesions_is_found():
    records = records_of(np.random.default_rng(0), broad=2.0, score=1.5)
    grad, score, methods = compared(records)
    assert grad.what == "Grad-CAM: malignant to benign"
    for one in (grad, score):
        assert one.ratio.low < 2.0 < one.ratio.high
        assert one.adjusted < 0.05
    assert methods.what == "Score-CAM to Grad-CAM"
    assert methods.ratio.low < 1.5 < methods.ratio.high
    assert methods.adjusted < 0.05


def test_the_tests_are_those_of_scipy():
    records = records_of(np.random.default_rng(1), broad=1.2)
    grad, _, methods = compared(records)
    logs = {
        (method, truth): [
            np.log(r["extent"]) for r in records if (r["method"], r["truth"]) == (method, truth)
        ]
        for method in METHODS
        for truth in CLASSES
    }
    welch = stats.ttest_ind(
        logs["grad-cam", "malignant"], logs["grad-cam", "benign"], equal_var=False
    )
    assert grad.p == pytest.approx(welch.pvalue)
    paired = stats.ttest_rel(
        *([*logs[method, "benign"], *logs[method, "malignant"]] for method in METHODS)
    )
    assert methods.p == pytest.approx(paired.pvalue)


def test_without_a_difference_p_values_are_uniform():
    found = [compared(records_of(np.random.default_rng(seed)))[0].p for seed in range(60)]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_a_patient_with_many_cases_counts_once():
    random = np.random.default_rng(2)
    records = records_of(random, patients=20)
    twins = [{**record, "case_id": f"{record['case_id']}b"} for record in records]
    patients = {record["case_id"]: record["case_id"] for record in records}
    patients |= {record["case_id"]: record["case_id"][:-1] for record in twins}
    once, twice = compared(records), by_patient([*records, *twins], patients)
    found = comparisons(twice, methods=METHODS, classes=CLASSES, titles=TITLES, level=0.95)
    assert [one.p for one in found] == pytest.approx([one.p for one in once])
    assert found[0].cases == 20


def test_maps_without_heat_are_counted_and_left_out():
    records = records_of(np.random.default_rng(3), patients=10)
    records[0] |= {"extent": None, "points": None, "ratio": None}
    table = by_patient(records, {record["case_id"]: record["case_id"] for record in records})
    found = summaries(records, table, methods=METHODS, classes=CLASSES, level=0.95)
    assert [(one.cases, one.without) for one in found] == [(4, 1), (5, 0), (5, 0), (5, 0)]
