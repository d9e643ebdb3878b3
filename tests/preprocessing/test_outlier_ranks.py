"""Which cases are looked at first: few, and every one with an impossible value."""

import numpy as np
import pandas as pd
import pytest

from ctbone.preprocessing.impossible_values import impossible
from ctbone.preprocessing.outliers import farthest_z, flagged, ranks, robust_z


def test_ranks_follow_impossible_values_then_findings_then_z():
    findings, z, wrong = [1, 3, 1, 0, 1], [4.0, 3.6, 9.0, 1.0, np.nan], [0, 0, 0, 0, 1]
    assert ranks(findings, z, wrong) == [4, 2, 3, 5, 1]


@pytest.mark.parametrize(("cases", "most"), [(5, 1), (19, 1), (39, 1), (40, 2), (50, 2), (200, 10)])
def test_where_most_cases_have_findings_at_most_one_in_twenty_is_flagged(cases, most):
    findings = [1] * (cases // 2 + 2)
    findings += [0] * (cases - len(findings))
    found = flagged(ranks(findings, [0.0] * cases, [0] * cases), findings, [0] * cases)
    assert sum(found) == most
    assert all(findings[k] for k in np.flatnonzero(found))


def test_every_impossible_value_is_flagged_and_nothing_without_findings():
    wrong = [1] * 7 + [0] * 43
    assert sum(flagged(ranks(wrong, [0.0] * 50, wrong), wrong, wrong)) == 7
    nothing = [0] * 50
    assert not any(flagged(ranks(nothing, [0.0] * 50, nothing), nothing, nothing))


def test_the_largest_z_is_that_of_the_single_measures():
    draw = np.random.default_rng(0)
    table = pd.DataFrame({"ml": draw.lognormal(size=12), "hu": draw.normal(50, 9, 12)})
    table.loc[3, "ml"] = np.nan
    found = farthest_z(table, ("ml",), ("hu",))
    by_hand = np.fmax(
        np.abs(robust_z(np.log(table["ml"].to_numpy()))), np.abs(robust_z(table["hu"].to_numpy()))
    )
    np.testing.assert_allclose(found, by_hand)
    assert np.isnan(farthest_z(table[:7], ("ml",), ("hu",))).all()
    assert len(farthest_z(table[:0], ("ml",), ("hu",))) == 0


@pytest.mark.parametrize(
    ("mean_hu", "longest_mm", "spacing", "words"),
    [
        (-301.0, 40.0, (1, 1, 1), "air"),
        (3072.0, 40.0, (1, 1, 1), "above the range"),
        (50.0, 501.0, (1, 1, 1), "field of view"),
        (50.0, 40.0, (0.01, 1, 1), "0.01 × 1 × 1"),
        (50.0, 40.0, (1, 1, 40), "1 × 1 × 40"),
    ],
)
def test_impossible_values_are_named(mean_hu, longest_mm, spacing, words):
    (found,) = impossible(mean_hu, longest_mm, spacing)
    assert words in found
    assert impossible(-300.0, 500.0, (0.1, 1, 20)) == []
