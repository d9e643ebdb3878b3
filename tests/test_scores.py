import pytest

from ctbone.cohort import read_cohort
from ctbone.config import ScoreSettings, Settings
from ctbone.errors import ScoreError, StudyError
from ctbone.scores import read_scores
from ctbone.study import Study

HEADER = "reader_id,level,session,case_id,score\n"


def ids(study):
    return {case.case_id for case in read_cohort(study)}


def read(study, *rows, **scale):
    study.scores_csv.write_text(HEADER + "\n".join(rows) + "\n")
    return read_scores(study.scores_csv, ids(study), ScoreSettings(**scale))


def test_scores_are_read(study):
    scores = read(study, "r1,senior,unaided,C001,9", "r1,senior,aided,C001,1")
    assert scores.table["score"].tolist() == [9, 1]
    assert scores.table["probability"].tolist() == [0.9, 0.1]
    assert (scores.levels, scores.empty) == ({"r1": "senior"}, 0)


GIVEN = {"infection": 0.0, "unsure": 0.5, "tumour": 1.0}


@pytest.mark.parametrize(
    ("scale", "good", "bad"),
    [
        ("nine_point", {"1": 0.1, "4": 0.4, "6": 0.6, "9": 0.9}, ["5", "0", "10", "7.0"]),
        ("percent", {"0": 0, "7.5": 0.075, "50": 0.5, "100": 1}, ["-1", "100.5", "1e1", "nan"]),
        ("five_point", {"1": 0.1, "2": 0.3, "3": 0.5, "4": 0.7, "5": 0.9}, ["0", "6", "3.5"]),
        ("given", GIVEN, ["0", "Tumour", "1.0"]),
    ],
)
def test_each_scale_has_its_probabilities(study, scale, good, bad):
    given = {"given": GIVEN} if scale == "given" else {}
    rows = [f"r{k},EG{k},unaided,C001,{score}" for k, score in enumerate(good)]
    scores = read(study, *rows, scale=scale, **given)
    assert scores.table["probability"].tolist() == pytest.approx(list(good.values()))
    assert scores.levels["r1"] == "EG1"
    for score in bad:
        with pytest.raises(ScoreError, match="scale") as caught:
            read(study, f"r1,senior,unaided,C001,{score}", scale=scale, **given)
        assert score == "5" or f"which is '{scale}'" in str(caught.value)


def test_a_study_gives_its_scale_to_its_scores(study):
    study.settings_file.write_text("name: test\nscores: {scale: percent}\n")
    study.scores_csv.write_text(HEADER + "r1,senior,unaided,C001,62.5\n")
    assert Study.open(study.root).scores["probability"].tolist() == [0.625]


@pytest.mark.parametrize(
    "scores",
    [
        {"scale": "given"},
        {"scale": "percent", "given": {"1": 0.5}},
        {"scale": "given", "given": {"1": 0.5, "2": 0.5}},
        {"scale": "given", "given": {"1": 0.5, "2": 1.5}},
        {"scale": "seven_point"},
    ],
)
def test_a_scale_that_cannot_be_is_refused(scores):
    with pytest.raises(ValueError, match="scores"):
        Settings(name="a", scores=scores)


def test_empty_scores_are_missing_and_counted(study):
    scores = read(
        study,
        *("r1,senior,unaided,C001,8", "r1,senior,unaided,C002,"),
        *("r2,junior,unaided,C002,2", "r2,junior,aided,C001,3"),
    )
    assert (len(scores.table), scores.empty) == (3, 1)
    wide = scores.probabilities("unaided", ["C001", "C002"])
    assert wide.notna().to_numpy().tolist() == [[True, False], [False, True]]
    assert list(wide.columns) == ["r1", "r2"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("r1,senior,unaided,C002,5", "midpoint"),
        ("r1,senior,unaided,C002,0", "not on the scale"),
        ("r1,senior,unaided,C002,10", "not on the scale"),
        ("r1,senior,unaided,C002,5.0", "not on the scale"),
        ("r1,junior,unaided,C002,6", "two levels"),
        ("r1,senior,unaided,C999,6", "not in the cohort"),
        ("r1,senior,blind,C002,6", "unknown session"),
        (",senior,unaided,C002,6", "no reader_id"),
        ("r1,senior,unaided,C001,8", "row 2 already"),
    ],
)
def test_a_faulty_row_is_refused(study, row, words):
    with pytest.raises(ScoreError, match=words) as caught:
        read(study, "r1,senior,unaided,C001,7", row)
    assert "row 3" in str(caught.value)


def test_a_missing_column_is_named(study):
    study.scores_csv.write_text("reader_id,case_id,score\nr,C001,4\n")
    with pytest.raises(StudyError, match="level, session"):
        read_scores(study.scores_csv, ids(study))
