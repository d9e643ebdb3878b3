import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from ctbone.phantom.class_appearance import draw_evidence
from ctbone.phantom.reader_scores import PhantomReader, draw_readers, draw_scores

CLASSES = ("benign", "malignant")
COUNT = 2500


def draw(level, difficulty=0.5):
    rng = np.random.default_rng(21)
    truth = np.arange(2 * COUNT) % 2
    evidence = [
        np.subtract(*draw_evidence(rng, CLASSES[y], classes=CLASSES, difficulty=difficulty)[::-1])
        for y in truth
    ]
    ids = [str(number) for number in range(truth.size)]
    return truth, draw_scores(
        rng,
        PhantomReader("r", level, 0.2),
        case_ids=ids,
        evidence=evidence,
        sessions=("unaided", "aided"),
    )


def auc(truth, scores, session):
    values = np.array([score.score for score in scores if score.session == session])
    labels = truth[[int(score.case_id) for score in scores if score.session == session]]
    return mannwhitneyu(values[labels == 1], values[labels == 0]).statistic / COUNT**2


def test_readers_reach_the_auc_of_their_level_and_gain_from_ai():
    unaided, aided = {}, {}
    for level in ("junior", "mid", "senior"):
        truth, scores = draw(level)
        unaided[level], aided[level] = auc(truth, scores, "unaided"), auc(truth, scores, "aided")
    assert unaided["junior"] == pytest.approx(0.68, abs=0.025)
    assert unaided["mid"] == pytest.approx(0.78, abs=0.025)
    assert unaided["senior"] == pytest.approx(0.87, abs=0.025)
    gain = {level: aided[level] - unaided[level] for level in unaided}
    assert gain["junior"] > gain["senior"] > 0


def test_readers_are_at_chance_at_full_difficulty():
    truth, scores = draw("senior", difficulty=1.0)
    assert auc(truth, scores, "unaided") == pytest.approx(0.5, abs=0.03)


def test_the_scale_has_eight_steps_without_a_midpoint():
    _, scores = draw("senior")
    assert {score.score for score in scores} == {1, 2, 3, 4, 6, 7, 8, 9}


def test_sessions_of_one_reader_are_correlated_but_not_equal():
    _, scores = draw("mid")
    sessions = {"unaided": {}, "aided": {}}
    for score in scores:
        sessions[score.session][score.case_id] = score.score
    unaided = list(sessions["unaided"].values())
    aided = [sessions["aided"][case] for case in sessions["unaided"]]
    assert 0.4 < np.corrcoef(unaided, aided)[0, 1] < 0.97


def test_two_readers_a_level():
    readers = draw_readers(np.random.default_rng(0))
    assert [reader.level for reader in readers] == ["junior"] * 2 + ["mid"] * 2 + ["senior"] * 2
    assert len({reader.reader_id for reader in readers}) == 6
