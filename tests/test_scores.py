import pytest

from ctbone.cohort import read_cohort
from ctbone.errors import ScoreError, StudyError
from ctbone.scores import read_scores

HEADER = "reader_id,level,session,case_id,score\n"


def read(study, *rows):
    study.scores_csv.write_text(HEADER + "\n".join(rows) + "\n")
    return read_scores(study.scores_csv, read_cohort(study))


def test_scores_are_read(study):
    table = read(study, "r1,senior,unaided,C001,9", "r1,senior,aided,C001,1")
    assert table["score"].tolist() == [9, 1]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("r1,senior,unaided,C002,5", "midpoint"),
        ("r1,senior,unaided,C002,0", "not on the scale"),
        ("r1,senior,unaided,C002,10", "not on the scale"),
        ("r1,senior,unaided,C002,5.0", "not on the scale"),
        ("r1,senior,unaided,C002,", "not on the scale"),
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
        read_scores(study.scores_csv, read_cohort(study))
