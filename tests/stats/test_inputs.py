"""Invalid input is an error that names the value found."""

import numpy as np
import pandas as pd
import pytest

from ctbone.errors import CtboneError
from ctbone.stats import StatsError
from ctbone.stats.inputs import (
    checked_labels,
    checked_level,
    checked_models,
    checked_scores,
    percent,
)


@pytest.mark.parametrize(
    "y",
    [
        [0, 1, 1],
        [False, True, True],
        [0.0, 1.0, 1.0],
        np.array([0, 1, 1], dtype=np.uint8),
        pd.Series([0, 1, 1]),
        ["0", "1", "1"],
    ],
)
def test_labels_of_any_type(y):
    assert checked_labels(y).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([], "no case"),
        ([0, 2], "not 0 or 1"),
        ([1, -1], "not 0 or 1"),
        ([0.5, 1], "not 0 or 1"),
        ([0, float("nan")], "missing"),
        (["benign", "malignant"], "not 0 or 1"),
        ([[0, 1]], "one-dimensional"),
        ([0, None], "missing"),
    ],
)
def test_invalid_labels_are_an_error(y, words):
    with pytest.raises(StatsError, match=words):
        checked_labels(y)


@pytest.mark.parametrize(
    ("p", "words"),
    [
        ([0.1], "fit together"),
        ([0.1, float("nan")], "missing"),
        ([0.1, float("inf")], "infinite"),
        ([0.1, -0.001], "outside"),
        ([0.1, 1.0000001], "outside"),
        (["a", "b"], "not numbers"),
        ([[0.1, 0.2]], "fit together"),
    ],
)
def test_invalid_probabilities_are_an_error(p, words):
    with pytest.raises(StatsError, match=words):
        checked_scores(p, 2, probability=True)


def test_the_error_for_percent_and_logits_names_the_remedy():
    with pytest.raises(StatsError) as error:
        checked_scores([12.0, 97.0, 3.0], 3, probability=True)
    assert "3 of 3" in error.value.found
    assert "percent" in error.value.remedy
    assert isinstance(error.value, CtboneError)
    assert checked_scores([12.0, 97.0], 2).tolist() == [12, 97], "a mere score may be anything"


def test_models_are_rows():
    assert checked_models([0, 1], [[0.1, 0.2], [0.3, 0.4]])[1].dtype == np.float64
    with pytest.raises(StatsError, match="wrong shape"):
        checked_models([0, 1], [[0.1], [0.2]])
    with pytest.raises(StatsError, match="different numbers"):
        checked_models([0, 1], [[0.1], [0.2, 0.3]])


@pytest.mark.parametrize("level", [0, 1, 95, -0.1, float("nan")])
def test_invalid_levels_are_an_error(level):
    with pytest.raises(StatsError, match="level"):
        checked_level(level)


def test_levels_are_written_as_percent():
    assert [percent(level) for level in (0.9, 0.95, 0.999)] == ["90%", "95%", "99.9%"]
