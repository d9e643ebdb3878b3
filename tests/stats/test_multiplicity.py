"""Holm and Benjamini–Hochberg against statsmodels."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from ctbone.stats import StatsError, benjamini_hochberg, holm

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize("values", [[0.01, 0.04, 0.03, 0.5, 0.04], [0.9, 0.2], [0.0, 1.0, 1e-9]])
def test_both_equal_statsmodels(values):
    assert holm(values) == pytest.approx(
        multipletests(values, method="holm")[1].tolist(), abs=1e-12
    )
    assert benjamini_hochberg(values) == pytest.approx(
        multipletests(values, method="fdr_bh")[1].tolist(), abs=1e-12
    )


@settings(max_examples=100, deadline=None)
@given(p_values, st.floats(0.001, 0.999))
def test_both_reject_what_their_procedures_reject(values, alpha):
    """Published procedures: step down to the first failure, step up to the last success."""
    m, ordered = len(values), sorted(values)
    down = 0
    while down < m and ordered[down] * (m - down) <= alpha:
        down += 1
    up = max((k + 1 for k in range(m) if ordered[k] * (m / (k + 1)) <= alpha), default=0)
    assert sum(p <= alpha for p in holm(values)) == down
    assert sum(p <= alpha for p in benjamini_hochberg(values)) == up


@settings(max_examples=50, deadline=None)
@given(p_values)
def test_adjusted_p_values_are_not_smaller_and_holm_is_stricter(values):
    for raw, lenient, strict in zip(values, benjamini_hochberg(values), holm(values), strict=True):
        assert raw - 1e-12 <= lenient <= strict + 1e-12 <= 1 + 1e-11


def test_undefined_tests_are_not_counted():
    assert holm([0.01, None, 0.04, float("nan")]) == [0.02, None, 0.04, None]
    assert benjamini_hochberg([None]) == [None]
    assert holm([]) == []
    with pytest.raises(StatsError):
        holm([0.5, 1.2])
