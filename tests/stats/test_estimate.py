"""Undefined results, and the entries of metrics.json."""

import json

import numpy as np
import pytest

from ctbone.stats import Comparison, Estimate, TestResult


def test_as_dict_gives_the_entries_of_the_metrics_file():
    assert Estimate(0.5, 0.25, 0.75, "m").as_dict() == {
        "value": 0.5,
        "low": 0.25,
        "high": 0.75,
        "method": "m",
    }
    assert Comparison(0.1, 0.0, 0.2, 2.0, 0.04, "m").as_dict() == {
        "difference": 0.1,
        "low": 0.0,
        "high": 0.2,
        "statistic": 2.0,
        "p_value": 0.04,
        "method": "m",
    }
    assert TestResult(3.0, 1.0, 0.08, "m").as_dict() == {
        "statistic": 3.0,
        "df": 1.0,
        "p_value": 0.08,
        "method": "m",
    }


@pytest.mark.parametrize("kind", [Estimate, Comparison, TestResult])
def test_undefined_results_are_none_with_a_reason(kind):
    written = json.loads(json.dumps(kind.undefined("m", "one class").as_dict()))
    assert written.pop("why") == "one class"
    assert written.pop("method") == "m"
    assert set(written.values()) == {None}


def test_nan_becomes_none():
    assert Estimate(float("nan"), float("-inf"), np.inf, "m", "odd").as_dict()["low"] is None
    assert "NaN" not in json.dumps(Estimate(float("nan"), None, None, "m", "odd").as_dict())


def test_results_are_frozen_and_print_well():
    estimate = Estimate(0.5, 0.25, 0.75, "m")
    with pytest.raises(AttributeError):
        estimate.value = 1
    assert str(estimate) == "0.5000 (0.2500 to 0.7500)"
    assert str(Estimate(0.5, None, None, "m", "one case")) == "0.5000 (no interval: one case)"
