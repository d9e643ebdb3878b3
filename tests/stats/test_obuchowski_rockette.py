"""Obuchowski–Rockette analysis against published printouts and independent formulas.

Van Dyke's and Franken's studies: AUCs and variance components as printed by OR-DBM MRMC 2.51
(trapezoidal area, jackknife). The data are public in the R packages MRMCaov and RJafroc.
"""

import numpy as np
import pytest
from scipy import stats

from ctbone.errors import StatsError
from ctbone.stats.obuchowski_rockette import obuchowski_rockette
from ctbone.stats.reader_performance import ReaderPerformance, reader_areas

FRANKEN = {
    "areas": [
        [0.85345997, 0.86499322, 0.85730439, 0.81524197],
        [0.84961556, 0.84350972, 0.84011759, 0.81433740],
    ],
    "components": (0.00152578, 0.00079168, 0.00048364, 0.00051251),
}
VAN_DYKE = {
    "areas": [
        [0.9196457, 0.8587762, 0.9038647, 0.9731079, 0.8297907],
        [0.9478261, 0.9053140, 0.9217391, 0.9993559, 0.9299517],
    ],
    "components": (0.00080229, 0.00034661, 0.00034407, 0.00023903),
}


def performance(areas, components, blocks=None):
    """AUCs with the covariance that four components define."""
    areas = np.array(areas)
    tests, readers = areas.shape
    error, cov1, cov2, cov3 = components
    test, reader = (axis.ravel() for axis in np.indices((tests, readers)))
    same_test, same_reader = test[:, None] == test, reader[:, None] == reader
    matrix = np.select(
        [same_test & same_reader, same_reader, same_test], [error, cov1, cov2], default=cov3
    )
    blocks = np.zeros(readers, dtype=int) if blocks is None else np.array(blocks)
    matrix = np.where(blocks[reader][:, None] == blocks[reader], matrix, 0)
    return ReaderPerformance(areas, matrix, blocks, "assumed")


def printed(study, random):
    return obuchowski_rockette(performance(**study), random=random)


def test_franken_comes_out_as_printed():
    both = printed(FRANKEN, "readers and cases")
    assert both.test.statistic == pytest.approx(4.69, abs=0.005)
    assert both.denominator_df == pytest.approx(3.00, abs=0.005)
    assert both.test.p_value == pytest.approx(0.1188, abs=5e-5)
    change = both.difference(0, 1)
    ends = (change.difference, both.standard_error, change.low, change.high)
    assert ends == pytest.approx((0.01085, 0.00501, -0.00509, 0.02680), abs=5e-6)
    fixed = printed(FRANKEN, "cases")
    assert fixed.test.statistic == pytest.approx(0.32101, abs=2e-5)  # components have 8 decimals
    assert fixed.test.p_value == pytest.approx(0.5710, abs=5e-5)
    change = fixed.difference(0, 1)
    assert (change.low, change.high) == pytest.approx((-0.02670, 0.04840), abs=5e-6)
    cases = printed(FRANKEN, "readers")
    assert cases.test.p_value == pytest.approx(0.1188, abs=5e-5)
    assert cases.means[0].low == pytest.approx(0.81243106, abs=1e-7)
    assert cases.means[1].high == pytest.approx(0.86162818, abs=1e-7)
    assert both.components.reader == pytest.approx(0.00003776, abs=2e-8)
    assert both.components.test_by_reader == pytest.approx(-0.00071276, abs=2e-8)


def test_van_dyke_comes_out_as_printed():
    both = printed(VAN_DYKE, "readers and cases")
    assert both.test.statistic == pytest.approx(4.456, abs=0.0005)
    assert both.denominator_df == pytest.approx(15.26, abs=0.005)
    assert both.test.p_value == pytest.approx(0.0517, abs=5e-5)
    change = both.difference(0, 1)
    assert (change.low, change.high) == pytest.approx((-0.08796, 0.00036), abs=5e-6)
    assert change.statistic == pytest.approx(-2.11, abs=0.005)
    fixed = printed(VAN_DYKE, "cases")
    assert fixed.test.statistic == pytest.approx(5.476, abs=0.0005)
    assert fixed.test.p_value == pytest.approx(0.0193, abs=5e-5)
    cases = printed(VAN_DYKE, "readers")
    assert cases.test.statistic == pytest.approx(8.704, abs=0.0005)
    assert cases.test.p_value == pytest.approx(0.0420, abs=5e-5)
    assert both.components.test_by_reader == pytest.approx(0.00020040, abs=2e-8)


def test_means_of_one_test_as_printed():
    """Franken, analysis 1c, with the Cov2 of each test: 0.00047230 and 0.00049498."""
    study = performance(FRANKEN["areas"], (0.00152278, 0.00079168, 0.00047230, 0.0))
    mean = obuchowski_rockette(study).means[0]
    assert (mean.low, mean.high) == pytest.approx((0.79908282, 0.89641696), abs=2e-6)
    study = performance(FRANKEN["areas"], (0.00152877, 0.00079168, 0.00049498, 0.0))
    mean = obuchowski_rockette(study, random="cases").means[1]
    assert (mean.low, mean.high) == pytest.approx((0.78309680, 0.89069334), abs=2e-6)


def test_split_plot_from_the_differences_of_the_readers():
    """Two groups of readers with own cases: the paired analysis of differences within groups."""
    areas = [[0.80, 0.84, 0.70, 0.75, 0.78], [0.86, 0.85, 0.80, 0.79, 0.90]]
    blocks, cov2, cov3 = [0, 0, 1, 1, 1], 4e-4, 1e-4
    study = performance(areas, (9e-4, 5e-4, cov2, cov3), blocks)
    found = obuchowski_rockette(study)
    assert found.design == "split-plot"
    d = np.array(areas[1]) - np.array(areas[0])
    within = ((d[:2] - d[:2].mean()) ** 2).sum() + ((d[2:] - d[2:].mean()) ** 2).sum()
    spread, together = within / 3, (2**2 + 3**2) / 5
    total = spread + together * 2 * (cov2 - cov3)
    error, df = np.sqrt(total / 5), 3 * (total / spread) ** 2
    assert found.standard_error == pytest.approx(error)
    assert found.denominator_df == pytest.approx(df)
    assert found.test.p_value == pytest.approx(2 * stats.t.sf(abs(d.mean() / error), df))


def test_without_case_variance_it_is_the_paired_t_test():
    areas = np.array([[0.8, 0.7, 0.9, 0.75], [0.85, 0.8, 0.91, 0.8]])
    study = performance(areas, (0, 0, 0, 0))
    found = obuchowski_rockette(study, random="readers")
    expected = stats.ttest_rel(areas[1], areas[0])
    assert found.difference(1, 0).statistic == pytest.approx(expected.statistic)
    assert found.test.p_value == pytest.approx(expected.pvalue)


def test_non_inferiority_is_one_sided():
    found = printed(VAN_DYKE, "readers and cases")
    error, df = found.standard_error, found.denominator_df
    shifted = (-0.04380032 + 0.05) / error
    assert found.non_inferiority(0, 1, 0.05).p_value == pytest.approx(stats.t.sf(shifted, df), 1e-4)
    assert found.non_inferiority(0, 1, 0.01).p_value > 0.5
    with pytest.raises(StatsError, match="margin"):
        found.non_inferiority(0, 1, 0.0)


def test_three_tests_have_two_numerator_degrees_of_freedom():
    areas = [[0.80, 0.84, 0.7], [0.86, 0.85, 0.8], [0.9, 0.91, 0.8]]
    found = obuchowski_rockette(performance(areas, (9e-4, 5e-4, 3e-4, 1e-4)))
    assert found.test.df == 2
    assert found.difference(2, 0).difference == pytest.approx(0.09)


def test_one_reader_has_no_random_readers_but_a_fixed_analysis():
    one = performance([[0.8], [0.9]], (9e-4, 5e-4, 0, 0))
    assert "one reader" in obuchowski_rockette(one).test.why
    fixed = obuchowski_rockette(one, random="cases")
    assert fixed.standard_error == pytest.approx(np.sqrt(2 * (9e-4 - 5e-4)))
    alone = obuchowski_rockette(performance([[0.8, 0.9]], (9e-4, 0, 3e-4, 0)))
    assert alone.test.p_value is None
    assert alone.means[0].low is not None


def test_the_size_of_the_test_is_kept():
    """Without a difference, 5 % of studies of binormal readers and cases are significant."""
    rng = np.random.default_rng(5)
    y = np.arange(40) < 20
    rejected = []
    for _ in range(120):
        shared, by_reader = rng.normal(size=40), rng.normal(scale=0.6, size=(1, 4, 40))
        noise = rng.normal(scale=0.8, size=(2, 4, 40))
        scores = 1.2 * y + shared + by_reader + noise
        found = obuchowski_rockette(reader_areas(y, scores, covariance="delong"))
        rejected.append(found.test.p_value < 0.05)
    assert sum(rejected) <= stats.binom.ppf(0.999, 120, 0.05)


def test_equal_changes_have_infinite_degrees_of_freedom():
    """Without interaction of tests and readers, the error comes from the cases alone."""
    study = performance([[0.8, 0.7, 0.9], [0.85, 0.75, 0.95]], (9e-4, 5e-4, 4e-4, 1e-4))
    found = obuchowski_rockette(study)
    z = 0.05 / np.sqrt(2 * (4e-4 - 1e-4))
    assert found.difference(1, 0).p_value == pytest.approx(2 * stats.norm.sf(z), rel=1e-6)
    assert found.non_inferiority(1, 0, 0.01).p_value == pytest.approx(
        stats.norm.sf(z * 0.06 / 0.05), rel=1e-6
    )
