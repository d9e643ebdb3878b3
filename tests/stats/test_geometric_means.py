import numpy as np
import pytest
from scipy import stats

from ctbone.errors import StatsError
from ctbone.stats import geometric_mean, paired_ratio, unpaired_ratio


@pytest.fixture
def samples():
    random = np.random.default_rng(4)
    return random.lognormal(0, 0.7, 17), random.lognormal(0.4, 0.3, 17)


def test_the_mean_is_that_of_scipy(samples):
    found = geometric_mean(samples[0], level=0.9)
    assert found.value == pytest.approx(stats.gmean(samples[0]))
    logs = np.log(samples[0])
    low, high = stats.t.interval(0.9, 16, loc=logs.mean(), scale=stats.sem(logs))
    assert (found.low, found.high) == pytest.approx((np.exp(low), np.exp(high)))


def test_the_paired_ratio_is_the_paired_t_test_of_the_logarithms(samples):
    ratio, p = paired_ratio(*samples)
    theirs = stats.ttest_rel(*np.log(samples))
    interval = theirs.confidence_interval()
    assert p == pytest.approx(theirs.pvalue)
    assert ratio.value == pytest.approx(stats.gmean(samples[0]) / stats.gmean(samples[1]))
    assert (ratio.low, ratio.high) == pytest.approx(tuple(np.exp(interval)))


def test_the_unpaired_ratio_is_the_welch_test_of_the_logarithms(samples):
    first, second = samples[0][:6], samples[1]
    ratio, p = unpaired_ratio(first, second)
    theirs = stats.ttest_ind(np.log(first), np.log(second), equal_var=False)
    interval = theirs.confidence_interval()
    assert p == pytest.approx(theirs.pvalue)
    assert (ratio.low, ratio.high) == pytest.approx(tuple(np.exp(interval)))


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0]])
def test_without_spread_there_is_a_value_but_no_interval(values):
    found = geometric_mean(values)
    assert found.value == pytest.approx(values[0])
    assert found.low is None
    assert found.why
    ratio, p = unpaired_ratio(values, values)
    assert (ratio.value, ratio.low, p) == (1.0, None, None)
    assert paired_ratio(values, values)[1] is None


def test_no_value_is_undefined():
    assert geometric_mean([]).value is None
    assert unpaired_ratio([], [1.0])[0].value is None
    assert paired_ratio([], [])[0].value is None


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_only_positive_numbers_have_a_geometric_mean(wrong):
    with pytest.raises(StatsError, match="positive"):
        geometric_mean([1.0, wrong])


def test_pairs_need_the_same_number():
    with pytest.raises(StatsError, match="differ in number"):
        paired_ratio([1.0], [1.0, 2.0])
