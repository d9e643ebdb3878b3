"""Tables of the reader study against numbers counted by hand and by other libraries."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar

from ctbone.config import EvaluationSettings
from ctbone.reader_study import analyse_readers, read_readings, table_truth
from ctbone.reader_study.against_model import average_against_model, model_table
from ctbone.reader_study.agreement import group_table, pair_table
from ctbone.reader_study.decisions import (
    automation_table,
    followed_cases,
    reclassification_table,
)
from ctbone.reader_study.distance import distance_table, improvements
from ctbone.reader_study.effect import (
    change_table,
    effect_table,
    level_change_table,
    reader_change,
)
from ctbone.reader_study.performance import level_table, reader_table
from ctbone.reader_study.times import mean_ratio, time_table
from tests.reader_study.simulated import write_readings

LEVEL = 0.95


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write_readings(tmp_path_factory.mktemp("readers"))
    truth = table_truth(folder / "cohort.csv", model=folder / "model.csv")
    readings = read_readings(folder / "scores.csv", truth)
    return analyse_readers(readings, EvaluationSettings(bootstrap=100), margin=0.05)


def calls(readings, reader, session):
    return readings.p[session, reader] > 0.5


def test_the_table_of_readers_is_that_of_scikit_learn(study):
    frame, readings = reader_table(study.found).frame(), study.readings
    row = frame[(frame.reader == "r2") & (frame.session == "aided")].iloc[0]
    called, y, p = calls(readings, 2, 1), readings.truth, readings.p[1, 2]
    expected = {
        "auc": metrics.roc_auc_score(y, p),
        "sensitivity": metrics.recall_score(y, called),
        "specificity": metrics.recall_score(~y, ~called),
        "ppv": metrics.precision_score(y, called),
        "npv": metrics.precision_score(~y, ~called),
        "accuracy": metrics.accuracy_score(y, called),
        "f1": metrics.f1_score(y, called),
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row["auc_low"] < row["auc"] < row["auc_high"]


def test_levels_are_means_over_their_readers(study):
    """As Table 3 of the main paper: pooled sensitivity, mean precision."""
    frame, readings = level_table(study.found).frame(), study.readings
    row = frame[frame.signature == "senior, with AI"].iloc[0]
    pooled = np.concatenate([calls(readings, k, 1)[readings.truth] for k in (4, 5)])
    assert row["sensitivity"] == pytest.approx(pooled.mean())
    precision = [metrics.precision_score(readings.truth, calls(readings, k, 1)) for k in (4, 5)]
    assert row["ppv"] == pytest.approx(np.mean(precision))
    assert len(frame) == 6


def test_changes_are_paired(study):
    readings = study.readings
    change = reader_change(study.found, 0)
    right = [calls(readings, 0, k) == readings.truth for k in (0, 1)]
    table = [[(a & b).sum() for b in (right[1], ~right[1])] for a in (right[0], ~right[0])]
    exact = sm_mcnemar(table, exact=True).pvalue
    b, c = table[0][1], table[1][0]
    mid_p = exact - stats.binom.pmf(min(b, c), b + c, 0.5)
    assert change["accuracy"].p_value == pytest.approx(mid_p)
    assert change["accuracy"].difference == pytest.approx(right[1].mean() - right[0].mean())
    assert len(change_table(study.found).rows) == 6


def test_the_planted_gain_is_found(study):
    frame = effect_table(study.found).frame().set_index("measure")
    row = frame.loc["AUC"]
    assert row["change"] == pytest.approx(row["aided"] - row["unaided"])
    assert row["change_low"] > 0
    assert row["p"] < 0.05


def test_the_change_of_a_level_is_that_of_its_readers(study):
    frame = level_change_table(study.found).frame().set_index("level")
    right = study.readings.correct
    assert frame.loc["mid", "accuracy"] == pytest.approx((right[1, 2:4] - right[0, 2:4]).mean())
    assert frame.loc["mid", "auc_low"] < frame.loc["mid", "auc"] < frame.loc["mid", "auc_high"]


def test_without_a_gain_nothing_is_found(tmp_path):
    significant = []
    for seed in range(8):
        folder = write_readings(tmp_path / str(seed), n=40, gain=0.0, seed=seed, readers=4)
        readings = read_readings(folder / "scores.csv", table_truth(folder / "cohort.csv"))
        found = analyse_readers(readings, EvaluationSettings(bootstrap=100)).found
        significant.append(effect_table(found).frame()["p"].iloc[0] < 0.05)
    assert sum(significant) <= 2


def test_reclassification_counts_changed_decisions(study):
    readings = study.readings
    row = reclassification_table(readings).frame().iloc[0]
    before, after = (calls(readings, 0, k) for k in (0, 1))
    y = readings.truth
    assert row["positive_better"] == (y & ~before & after).sum()
    assert row["negative_worse"] == (~y & ~before & after).sum()
    net = (y & after).sum() / y.sum() - (y & before).sum() / y.sum()
    net += (~y & ~after).sum() / (~y).sum() - (~y & ~before).sum() / (~y).sum()
    assert row["nri"] == pytest.approx(net)


def test_automation_bias_counts_followed_errors(study):
    readings = study.readings
    row = automation_table(readings, LEVEL).frame().iloc[1]
    y, model = readings.truth, readings.model_p >= 0.5
    before, after = (calls(readings, 1, k) for k in (0, 1))
    wrong = model != y
    trusting = wrong & (before == y)
    assert (row["wrong_n"], row["wrong_correct"]) == (wrong.sum(), trusting.sum())
    assert row["followed"] == pytest.approx((after != y)[trusting].mean())
    corrected = ~wrong & (before != y)
    assert row["corrected"] == pytest.approx((after == y)[corrected].mean())
    listed = followed_cases(readings).frame()
    everyone = sum(
        int((wrong & (calls(readings, k, 0) == y) & (calls(readings, k, 1) != y)).sum())
        for k in range(6)
    )
    assert listed["readers"].sum() == everyone


def test_agreement_is_that_of_scikit_learn(study):
    readings = study.readings
    row = pair_table(readings, LEVEL).frame().iloc[0]
    one, other = (np.round(10 * readings.p[0, k]).astype(int) for k in (0, 1))
    steps = {score: place for place, score in enumerate((1, 2, 3, 4, 6, 7, 8, 9))}
    scores = [[steps[s] for s in who] for who in (one, other)]
    weighted = metrics.cohen_kappa_score(*scores, weights="quadratic", labels=range(8))
    assert row["unaided_scores"] == pytest.approx(weighted)
    assert row["unaided_calls"] == pytest.approx(metrics.cohen_kappa_score(one > 5, other > 5))
    assert len(group_table(readings, LEVEL).rows) == 8  # all and three levels, two sessions


def test_the_average_reader_is_compared_with_the_model(study):
    readings = study.readings
    found = average_against_model(study.found, 0)["auc"]
    y = readings.truth
    own = np.mean([metrics.roc_auc_score(y, readings.p[0, k]) for k in range(6)])
    model = metrics.roc_auc_score(y, readings.model_p)
    assert found.difference == pytest.approx(own - model)
    assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0)
    assert len(model_table(study.found).rows) == 14


def test_distance_and_its_improvement(study):
    readings = study.readings
    frame = distance_table(readings, LEVEL).frame().set_index("group")
    error = np.abs(readings.p - readings.truth)
    assert frame.loc["junior", "unaided"] == pytest.approx(error[0, :2].mean())
    gain, order, negatives = improvements(readings)
    assert frame.loc["All readers", "improvement"] == pytest.approx(gain.mean())
    assert negatives == (~readings.truth).sum()
    means = gain.mean(axis=0)[order]
    assert (np.diff(means[:negatives]) <= 1e-12).all()


def test_reading_time_is_a_ratio_of_geometric_means(study):
    readings = study.readings
    ratio, p = mean_ratio(readings, LEVEL)
    logs = np.log(readings.seconds)
    assert ratio.value == pytest.approx(np.exp((logs[1] - logs[0]).mean()))
    assert ratio.high < 1
    assert p < 0.05
    row = time_table(readings, LEVEL).frame().iloc[0]
    expected = stats.ttest_rel(logs[1, 0], logs[0, 0])
    assert row["p"] == pytest.approx(expected.pvalue)


def test_a_permutation_of_the_cases_changes_nothing(study, tmp_path):
    folder = write_readings(tmp_path)
    for name in ("scores.csv", "cohort.csv"):
        table = pd.read_csv(folder / name)
        table.sample(frac=1, random_state=3).to_csv(folder / name, index=False)
    readings = read_readings(folder / "scores.csv", table_truth(folder / "cohort.csv"))
    other = analyse_readers(readings, EvaluationSettings(bootstrap=100))
    for name in ("auc", "accuracy"):
        mine, theirs = (s.found.measures[name].values.mean(axis=1) for s in (study, other))
        assert theirs == pytest.approx(mine)
