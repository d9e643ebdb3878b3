"""Tables of scores and truth become arrays; faulty ones are refused."""

import numpy as np
import pandas as pd
import pytest

from ctbone.errors import ReaderStudyError, ScoreError
from ctbone.reader_study import read_readings, table_truth
from tests.reader_study.simulated import write_readings


@pytest.fixture
def folder(tmp_path):
    return write_readings(tmp_path)


def edit(path, change):
    table = pd.read_csv(path, dtype=str)
    change(table).to_csv(path, index=False)


def read(folder, **options):
    return read_readings(folder / "scores.csv", table_truth(folder / "cohort.csv", **options))


def test_every_score_has_its_place(folder):
    found = read(folder, model=folder / "model.csv")
    table = pd.read_csv(folder / "scores.csv")
    assert found.sessions == ("unaided", "aided")
    assert found.levels == ("junior", "junior", "mid", "mid", "senior", "senior")
    row = table[(table.reader_id == "r3") & (table.session == "aided") & (table.case_id == "P007")]
    place = (1, found.readers.index("r3"), found.case_ids.index("P007"))
    assert found.p[place] == row["score"].item() / 10
    assert found.seconds[place] == row["seconds"].item()
    assert found.truth.sum() == 36
    assert found.called[place] == (row["score"].item() > 5)


def test_readers_are_ordered_by_level(folder):
    edit(folder / "scores.csv", lambda t: t.iloc[::-1])
    assert read(folder).levels == ("junior", "junior", "mid", "mid", "senior", "senior")


def test_only_cases_of_both_sessions_count(folder):
    def drop(table):
        return table[(table.case_id != "P003") | (table.session == "unaided")]

    edit(folder / "scores.csv", drop)
    found = read(folder)
    assert (len(found.case_ids), found.left_out) == (59, 1)


def test_a_missing_reading_is_nan(folder):
    edit(folder / "scores.csv", lambda t: t.drop(index=5))
    assert np.isnan(read(folder).p).sum() == 1


def test_several_cases_of_a_patient_are_known(folder):
    edit(folder / "cohort.csv", lambda t: t.assign(patient_id=[f"Q{k // 2}" for k in range(60)]))
    assert len(set(read(folder).patients)) == 30


def test_the_positive_class_is_asked_for(folder):
    edit(folder / "cohort.csv", lambda t: t.assign(label=t.label.replace({"malignant": "B"})))
    with pytest.raises(ReaderStudyError, match="positive") as error:
        read(folder)
    assert "--positive" in error.value.remedy
    assert read(folder, positive="B").classes == ("benign", "B")


@pytest.mark.parametrize(
    ("file", "change", "error"),
    [
        ("scores.csv", lambda t: t.assign(score="5"), ScoreError),
        ("scores.csv", lambda t: t.assign(score="10"), ScoreError),
        ("scores.csv", lambda t: t.assign(seconds="-3"), ScoreError),
        ("scores.csv", lambda t: t.assign(seconds="fast"), ScoreError),
        ("scores.csv", lambda t: t.assign(level=[str(k % 2) for k in t.index]), ScoreError),
        ("scores.csv", lambda t: pd.concat([t, t.iloc[:1]]), ScoreError),
        ("scores.csv", lambda t: t.iloc[:0], ReaderStudyError),
        ("cohort.csv", lambda t: t.iloc[:50], ScoreError),
        ("cohort.csv", lambda t: t.assign(label="malignant"), ReaderStudyError),
        ("cohort.csv", lambda t: pd.concat([t, t.iloc[:1]]), ReaderStudyError),
        ("model.csv", lambda t: t.assign(p_malignant="2"), ReaderStudyError),
    ],
)
def test_faulty_tables_are_refused(folder, file, change, error):
    edit(folder / file, change)
    with pytest.raises(error) as found:
        read(folder, model=folder / "model.csv")
    assert "Traceback" not in str(found.value)
    assert found.value.file


def test_sessions_without_a_common_case_are_refused(folder):
    edit(
        folder / "scores.csv",
        lambda t: t[(t.case_id < "P030") == (t.session == "aided")],
    )
    with pytest.raises(ReaderStudyError, match="both sessions"):
        read(folder)


def test_a_reader_who_left_before_the_second_session_is_named_and_counted(folder):
    edit(folder / "scores.csv", lambda t: t[(t.reader_id != "r3") | (t.session == "unaided")])
    found = read(folder)
    (one,) = found.dropped
    assert (one.reader, one.level, one.readings, one.why) == ("r3", "mid", 60, "no case with AI")
    assert found.readers == ("r0", "r1", "r2", "r4", "r5")
    assert not np.isnan(found.p).any()


def test_a_reader_of_one_class_has_no_auc_and_does_not_count(folder):
    edit(
        folder / "scores.csv",
        lambda t: t[(t.reader_id != "r0") | (t.session == "unaided") | (t.case_id == "P001")],
    )
    (one,) = read(folder).dropped
    assert (one.reader, one.readings) == ("r0", 61)
    assert one.why == "cases of one class only with AI"


def test_cases_that_only_a_dropped_reader_read_twice_do_not_count(folder):
    """P001 is read with AI by r0 alone, who left: it has no pair."""
    edit(
        folder / "scores.csv",
        lambda t: t[(t.session == "unaided") | ((t.reader_id == "r0") == (t.case_id == "P001"))],
    )
    found = read(folder)
    assert [one.reader for one in found.dropped] == ["r0"]
    assert "P001" not in found.case_ids
    assert (len(found.case_ids), found.left_out) == (59, 1)


def test_without_a_complete_reader_nothing_is_analysed(folder):
    edit(
        folder / "scores.csv",
        lambda t: t[(t.session == "unaided") == (t.reader_id.isin(["r0", "r1", "r2"]))],
    )
    with pytest.raises(ReaderStudyError, match="no reader read cases of both classes") as error:
        read(folder)
    assert "r0: no case with AI" in error.value.found


def test_days_between_the_readings(folder):
    def timed(table):
        table["read_at"] = "2026-03-01T09:00:00+00:00"
        table.loc[table["session"] == "aided", "read_at"] = "2026-03-30T21:00:00+00:00"
        table.loc[(table["session"] == "aided") & (table["case_id"] == "P000"), "read_at"] = ""
        return table

    assert read(folder).days is None
    edit(folder / "scores.csv", timed)
    days = read(folder).days
    assert days.shape == (6, 60)
    assert np.isnan(days[:, 0]).all()
    assert days[:, 1:] == pytest.approx(29.5)
