"""Designs, order, wash-out, scores and their log, without a browser."""

import sqlite3
import time
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest

import ctbone as ct
from ctbone.cohort import read_cohort
from ctbone.config import ReadingSettings, Settings
from ctbone.errors import ReadingError
from ctbone.nifti import write_nifti
from ctbone.reading import (
    add_reader,
    end_reading,
    export_scores,
    reading_progress,
    skip_washout,
)
from ctbone.reading.content import Content
from ctbone.reading.database import Database
from ctbone.reading.frozen import frozen_plan
from ctbone.reading.logins import Reader, log_in, reader_of
from ctbone.reading.refusal import RefusedError
from ctbone.reading.rounds import Plan, finish, halves, start, state_of
from ctbone.reading.scoring import keep_time, open_item, store_score
from ctbone.reading.tables import finished_scores
from ctbone.scores import read_scores
from ctbone.study import Study
from tests.reading.small_study import AFFINE, SHAPE, make_study

CASES = tuple(f"C{number:02d}" for number in range(12))


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "reading" / "reading.db")
    add_reader(database, "r1", "senior")
    add_reader(database, "r2", "junior")
    return database


R1, R2 = Reader("r1", "senior", 0), Reader("r2", "junior", 1)


def plan(design="two_sessions", training=(), washout=28.0):
    settings = ReadingSettings(design=design, washout_days=washout)
    labelled = [(case, "ab"[int(case[1:]) % 2]) for case in CASES]
    return Plan(settings, CASES, tuple(training), halves(labelled))


def give(database, plan, reader, item, session, score=7, seconds=1.0, request=None):
    request = request or f"request-{item}-{session}-{time.monotonic_ns()}"
    store_score(
        database,
        plan,
        reader,
        item,
        session=session,
        score=score,
        seconds=seconds,
        request=request,
    )


def read_round(database, plan, reader, number, score=7):
    start(database, plan, reader, number)
    read = []
    for entry in state_of(database, plan, reader)["items"]:
        item = open_item(database, reader, entry["item"])
        for session in item.sessions:
            give(database, plan, reader, entry["item"], session, score)
            read.append((item.case_id, session))
    finish(database, plan, reader, number)
    return read


@contextmanager
def refused(code):
    with pytest.raises(RefusedError) as caught:
        yield
    assert caught.value.code == code


def test_two_sessions_read_every_case_unaided_then_aided(database):
    two = plan(washout=0)
    first, second = (read_round(database, two, R1, number) for number in (1, 2))
    assert sorted(first) == [(case, "unaided") for case in CASES]
    assert sorted(second) == [(case, "aided") for case in CASES]
    assert [case for case, _ in first] != [case for case, _ in second]
    assert state_of(database, two, R1)["stage"] == "finished"


def test_sequential_reads_each_case_unaided_then_aided_at_once(database):
    read = read_round(database, plan("sequential"), R1, 1)
    assert [session for _, session in read] == ["unaided", "aided"] * 12
    assert [case for case, _ in read[::2]] == [case for case, _ in read[1::2]]
    assert state_of(database, plan("sequential"), R1)["stage"] == "finished"


def test_crossover_exchanges_the_halves_and_turns_them_for_every_second_reader(database):
    cross = plan("crossover", washout=0)
    aided = {}
    for reader in (R1, R2):
        for number in (1, 2):
            read = read_round(database, cross, reader, number)
            sessions = [session for _, session in read]
            assert sessions == ["unaided"] * 6 + ["aided"] * 6
            aided[reader.reader_id, number] = {case for case, what in read if what == "aided"}
    assert aided["r1", 1] == aided["r2", 2]
    assert aided["r1", 1] | aided["r1", 2] == set(CASES)
    assert not aided["r1", 1] & aided["r1", 2]
    labels = Counter(int(case[1:]) % 2 for case in aided["r1", 1])
    assert labels == {0: 3, 1: 3}


def test_orders_differ_and_stay(database):
    two = plan()
    start(database, two, R1, 1)
    start(database, two, R2, 1)
    orders = [state_of(database, two, reader)["items"] for reader in (R1, R2)]
    names = [[open_case(database, entry) for entry in order] for order in orders]
    assert sorted(names[0]) == sorted(names[1]) == list(CASES)
    assert names[0] != names[1]
    assert not {entry["item"] for entry in orders[0]} & {entry["item"] for entry in orders[1]}
    start(database, two, R1, 1)  # a second click draws no other order
    assert state_of(database, two, R1)["items"] == orders[0]


def open_case(database, entry):
    with database.reading() as tables:
        query = "SELECT case_id FROM items WHERE item = ?"
        return tables.execute(query, (entry["item"],)).fetchone()[0]


def test_session_two_waits_for_the_washout_after_the_last_score(database, monkeypatch):
    two = plan()
    read_round(database, two, R1, 1)
    now = time.time()
    state = state_of(database, two, R1)
    assert state["stage"] == "waiting"
    assert state["until"] == pytest.approx(now + 28 * 86400, abs=5)
    with refused("too_early"):
        start(database, two, R1, 2)
    monkeypatch.setattr(time, "time", lambda: now + 27.99 * 86400)
    with refused("too_early"):
        start(database, two, R1, 2)
    monkeypatch.setattr(time, "time", lambda: now + 28.01 * 86400)
    start(database, two, R1, 2)


def test_skipping_the_washout_is_a_named_act(database):
    two = plan()
    read_round(database, two, R1, 1)
    with pytest.raises(ReadingError, match="must be named"):
        skip_washout(database, "r1", " ")
    with pytest.raises(ReadingError, match="no such reader"):
        skip_washout(database, "r9", "Chair")
    skip_washout(database, "r1", "Chair")
    start(database, two, R1, 2)
    with database.reading() as tables:
        acts = tables.execute("SELECT who, act, detail FROM log").fetchall()
    assert ("Chair", "skip_washout", "r1") in acts


def test_a_reader_who_leaves_keeps_the_scores_and_loses_the_link(database):
    two = plan(washout=0)
    token = add_reader(database, "r1", None)
    login = log_in(database, token)
    start(database, two, R1, 1)
    items = [entry["item"] for entry in state_of(database, two, R1)["items"]]
    for item in items[:5]:
        give(database, two, R1, item, "unaided", 8)
    with pytest.raises(ReadingError, match="must be named"):
        end_reading(database, "r1", "")
    with pytest.raises(ReadingError, match="no session of this reader runs"):
        end_reading(database, "r2", "Chair")
    end_reading(database, "r1", "Chair")
    (row,) = reading_progress(database).query("reader_id == 'r1'").itertuples()
    assert (row.state, row.read, row.cases) == ("left", 5, 12)
    assert len(finished_scores(database)) == 5
    with refused("wrong_link"):
        log_in(database, token)
    with refused("logged_out"):
        reader_of(database, login)
    with refused("session_closed"):
        give(database, two, R1, items[5], "unaided", 8)
    with database.reading() as tables:
        acts = tables.execute("SELECT who, act, detail FROM log").fetchall()
    assert ("Chair", "end_reading", "r1: round 1, 7 cases unread") in acts
    log_in(database, add_reader(database, "r1", None))  # the reader returns
    start(database, two, R1, 2)


def test_the_export_names_sessions_that_are_not_finished(tmp_path):
    study = make_study(tmp_path / "study", cases=12, external=0)
    database = Database(study.reading_db)
    add_reader(database, "r1", "senior")
    add_reader(database, "r2", "junior")
    two = frozen_plan(database, Content(study))
    read_round(database, two, R1, 1)
    start(database, two, R2, 1)
    item = state_of(database, two, R2)["items"][0]["item"]
    give(database, two, R2, item, "unaided", 8)
    found = ct.read(study, export=True)
    assert len(found.table) == 12
    assert "Not in the table: r2, session 1, 1 of 12 cases read, not finished" in str(found)
    ct.read(study, end_session="r2", by="Chair")
    again = ct.read(study, export=True)
    assert len(again.table) == 13
    assert "Not in the table" not in str(again)


def test_a_session_cannot_be_skipped_or_left_incomplete(database):
    two = plan(washout=0)
    with refused("not_next"):
        start(database, two, R1, 2)
    start(database, two, R1, 1)
    with refused("not_complete"):
        finish(database, two, R1, 1)


def test_training_comes_first_and_is_not_exported(database):
    trained = plan(training=["training 1", "training 2"])
    with refused("not_next"):
        start(database, trained, R1, 1)
    assert sorted(read_round(database, trained, R1, 0)) == [
        ("training 1", "unaided"),
        ("training 2", "unaided"),
    ]
    assert state_of(database, trained, R1)["round"] == 1
    assert list(reading_progress(database)["state"]) == ["finished", "not started"]


@pytest.mark.parametrize("score", [0, 5, 10, -1, 7.0, "7", None, True, 10**30])
def test_a_score_off_the_scale_is_refused(database, score):
    two = plan()
    start(database, two, R1, 1)
    item = state_of(database, two, R1)["items"][0]["item"]
    with refused("score_out_of_range"):
        give(database, two, R1, item, "unaided", score)


@pytest.mark.parametrize(
    ("scores", "good", "bad"),
    [
        ({"scale": "percent"}, [0, 60, 100], [5, 101]),
        ({"scale": "five_point"}, [1, 3, 5], [0, 6]),
        ({"scale": "given", "given": {0: 0, 1: 1}}, [0, 1], [2, True]),
    ],
)
def test_the_page_takes_the_scores_of_the_scale(database, scores, good, bad):
    of_scale = Plan(Settings(name="a", scores=scores).reading, CASES, ())
    start(database, of_scale, R1, 1)
    item = state_of(database, of_scale, R1)["items"][0]["item"]
    for score in good:
        give(database, of_scale, R1, item, "unaided", score)
        assert open_item(database, R1, item).scores == {"unaided": score}
    for score in bad:
        with refused("score_out_of_range"):
            give(database, of_scale, R1, item, "unaided", score)


def test_only_the_next_case_is_open_and_the_one_after_it_can_be_loaded(database):
    two = plan()
    start(database, two, R1, 1)
    items = [entry["item"] for entry in state_of(database, two, R1)["items"]]
    open_item(database, R1, items[1])
    for refused_item in (items[2], items[11]):
        with refused("no_such_case"):
            open_item(database, R1, refused_item)
    with refused("no_such_case"):
        give(database, two, R1, items[1], "unaided")
    with refused("no_such_case"):
        open_item(database, R2, items[0])


def test_going_back_changes_the_score_and_logs_it(database):
    two = plan()
    start(database, two, R1, 1)
    items = [entry["item"] for entry in state_of(database, two, R1)["items"]]
    give(database, two, R1, items[0], "unaided", 3)
    give(database, two, R1, items[1], "unaided", 3)
    give(database, two, R1, items[0], "unaided", 8)
    assert open_item(database, R1, items[0]).scores == {"unaided": 8}
    with database.reading() as tables:
        log = tables.execute("SELECT detail FROM log WHERE act = 'change'").fetchall()
        assert tables.execute("SELECT count(*) FROM scores").fetchone() == (3,)
    assert log == [("unaided: 3 to 8",)]


def test_after_the_model_was_shown_the_unaided_score_stays(database):
    sequential = plan("sequential")
    start(database, sequential, R1, 1)
    item = state_of(database, sequential, R1)["items"][0]["item"]
    with refused("reading_closed"):
        give(database, sequential, R1, item, "aided")
    assert not open_item(database, R1, item).aided
    give(database, sequential, R1, item, "unaided", 2)
    assert open_item(database, R1, item).aided
    with refused("reading_closed"):
        give(database, sequential, R1, item, "unaided", 9)


def test_a_closed_session_takes_no_score(database):
    two = plan()
    read_round(database, two, R1, 1)
    with database.reading() as tables:
        (item,) = tables.execute("SELECT item FROM items LIMIT 1").fetchone()
    with refused("session_closed"):
        give(database, two, R1, item, "unaided", 2)


def test_a_request_that_is_sent_twice_counts_once(database):
    two = plan()
    start(database, two, R1, 1)
    items = [entry["item"] for entry in state_of(database, two, R1)["items"]]
    for _ in range(3):
        give(database, two, R1, items[0], "unaided", 4, request="the-same-request")
    with database.reading() as tables:
        assert tables.execute("SELECT count(*) FROM scores").fetchone() == (1,)
    with refused("bad_request"):
        give(database, two, R1, items[1], "unaided", 4, request="the-same-request")


def test_the_time_cannot_exceed_the_servers_clock(database, monkeypatch):
    two = plan()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    start(database, two, R1, 1)
    item = state_of(database, two, R1)["items"][0]["item"]
    keep_time(database, R1, item, session="unaided", seconds=0.0)
    monkeypatch.setattr(time, "time", lambda: now + 60)
    give(database, two, R1, item, "unaided", seconds=41.5)
    assert open_item(database, R1, item).seconds == {"unaided": 41.5}
    give(database, two, R1, item, "unaided", 3, seconds=9999.0)
    assert open_item(database, R1, item).seconds["unaided"] == pytest.approx(62)
    for wrong in (float("nan"), float("inf"), -1.0, "3", None):
        with refused("bad_request"):
            keep_time(database, R1, item, session="unaided", seconds=wrong)


def test_scores_and_log_cannot_be_changed_in_the_file(database):
    two = plan()
    read_round(database, two, R1, 1)
    connection = sqlite3.connect(database.path)
    for statement in ("UPDATE scores SET score = 1", "DELETE FROM scores", "DELETE FROM log"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


def test_links_are_hashed_and_a_new_one_ends_the_old(database):
    token = add_reader(database, "r3", "mid")
    login = log_in(database, token)
    assert reader_of(database, login).reader_id == "r3"
    assert token.encode() not in database.path.read_bytes()
    newer = add_reader(database, "r3", None)
    with refused("wrong_link"):
        log_in(database, token)
    with refused("logged_out"):
        reader_of(database, login)
    assert reader_of(database, log_in(database, newer)).level == "mid"


@pytest.mark.parametrize(
    ("reader_id", "level"),
    [("r9", None), ("r9", "<b>chief</b>"), ("../r9", "mid"), ("", "mid"), ("r1", "junior")],
)
def test_a_wrong_reader_is_refused(database, reader_id, level):
    with pytest.raises(ReadingError):
        add_reader(database, reader_id, level)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("plain") / "study", washout_days=0)


def test_the_export_is_a_table_of_scores(study):
    database = Database(study.reading_db)
    add_reader(database, "r1", "senior")
    agreed = frozen_plan(database, Content(study))
    with pytest.raises(ReadingError, match="no session is finished"):
        export_scores(study, database, study.scores_csv)
    read = read_round(database, agreed, R1, 1, score=6)
    table = export_scores(study, database, study.scores_csv)
    assert list(table["case_id"]) == [case for case, _ in read]
    assert list(table["order"]) == list(range(1, len(read) + 1))
    back = read_scores(study.scores_csv, {case.case_id for case in read_cohort(study)}).table
    assert set(back.columns) >= {"read_at", "seconds", "order"}
    assert set(back["score"]) == {6}
    export_scores(study, database, study.scores_csv)  # its own export is replaced
    study.scores_csv.write_text("mine")
    with pytest.raises(ReadingError, match="not an export"):
        export_scores(study, database, study.scores_csv)
    assert study.scores_csv.read_text() == "mine"


def test_a_study_that_changed_since_the_first_reading_is_refused(study):
    database = Database(study.reading_db)
    frozen_plan(database, Content(study))
    text = study.settings_file.read_text()
    study.settings_file.write_text(text.replace("washout_days: 0", "design: unaided"))
    with pytest.raises(ReadingError, match="changed since") as caught:
        frozen_plan(database, Content(type(study).open(study.root)))
    assert "design" in caught.value.found
    study.settings_file.write_text(text)


def test_scores_in_words_cannot_be_given_on_the_page(study):
    text = study.settings_file.read_text()
    scale = "\nscores: {scale: given, given: {low: 0.1, high: 0.9}}\n"
    study.settings_file.write_text(text + scale)
    opened = Study.open(study.root)
    study.settings_file.write_text(text)
    with pytest.raises(ReadingError, match="no scores to offer"):
        frozen_plan(Database(opened.reading_db), Content(opened))


def test_training_cases_of_the_study_are_refused(tmp_path):
    study = make_study(tmp_path / "study", cases=12, training="training.csv")
    from ctbone.nifti import open_nifti
    from ctbone.scan_identity import identify
    from ctbone.study import record_of, write_json

    volume = study.nifti("benign_00")
    hu = open_nifti(volume).read()
    identity = identify(hu, AFFINE, np.array([], np.uint64)).to_record()
    write_json(record_of(volume), {"identity": identity})
    (study.root / "training.csv").write_text("image,label,age\ntrain.nii,benign,40\n")
    write_nifti(study.root / "train.nii", hu[:, :, 3:8].copy(), AFFINE)
    with pytest.raises(ReadingError, match="is a case of the study"):
        Content(study)
    other = np.random.default_rng(9).integers(0, 99, SHAPE).astype(np.int16)
    write_nifti(study.root / "train.nii", other, AFFINE)
    content = Content(study)
    assert content.clinical("training 1") == [("age", "40"), ("sex", "")]
    (study.root / "training.csv").write_text("image,label\ntrain.nii,bad\n")
    with pytest.raises(ReadingError, match="not a class"):
        Content(study)


def test_the_models_answer_is_out_of_fold(study):
    content = Content(study)
    table = study.predictions("3d").query("view == ''").set_index(["case_id", "split"])
    inside, outside = content.answers["benign_00"], content.answers["malignant_13"]
    own = table.loc[[("benign_00", "test")], "p_malignant"]
    assert (inside.probabilities["malignant"], inside.low, inside.folds) == (own.iloc[0], None, 1)
    folds = table.loc[[("malignant_13", "external")], "p_malignant"]
    assert outside.probabilities["malignant"] == pytest.approx(folds.mean())
    assert (outside.low, outside.high, outside.folds) == (folds.min(), folds.max(), 2)


def test_a_column_that_tells_the_class_is_refused(tmp_path):
    study = make_study(tmp_path / "study", clinical=["grade"])
    table = study.cohort_csv.read_text().splitlines()
    rows = [f"{line},{'high' if 'malignant' in line else 'low'}" for line in table[1:]]
    study.cohort_csv.write_text("\n".join([f"{table[0]},grade", *rows]) + "\n")
    with pytest.raises(ReadingError, match="gives the class of every case away"):
        Content(study)


def test_volumes_outside_the_study_are_refused(study, tmp_path):
    path = study.nifti("benign_00")
    kept = path.read_bytes()
    (tmp_path / "elsewhere.nii.gz").write_bytes(kept)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.nii.gz")
    with pytest.raises(ReadingError, match="outside the study"):
        Content(study)
    path.unlink()
    path.write_bytes(kept)


@pytest.mark.parametrize(
    "content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 8000]
)
def test_a_damaged_database_is_named_and_kept(tmp_path, content):
    path = tmp_path / "reading.db"
    path.write_bytes(content)
    with pytest.raises(ReadingError, match="damaged"):
        Database(path)
    assert path.read_bytes() == content


def test_a_database_that_is_damaged_while_the_server_runs_says_so(database):
    two = plan()
    start(database, two, R1, 1)
    for path in database.path.parent.iterdir():
        path.write_bytes(b"\xa5" * 40960)
    with refused("damaged"):
        state_of(database, two, R1)


def test_a_locked_database_says_so(database, monkeypatch):
    monkeypatch.setattr("ctbone.reading.database._PATIENCE", 0.1)
    holder = sqlite3.connect(database.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with refused("busy"):
        start(database, plan(), R1, 1)
    holder.execute("ROLLBACK")
    holder.close()
    start(database, plan(), R1, 1)


def test_a_full_disk_says_so_and_loses_nothing(database, monkeypatch):
    two = plan()
    start(database, two, R1, 1)
    item = state_of(database, two, R1)["items"][0]["item"]
    connect = sqlite3.connect

    def full(*arguments, **options):
        connection = connect(*arguments, **options)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own "disk is full"
        return connection

    monkeypatch.setattr(sqlite3, "connect", full)
    with refused("disk_full"):
        for number in range(2000):
            give(database, two, R1, item, "unaided", 1 + number % 4)
    with database.reading() as tables:
        (before,) = tables.execute("SELECT count(*) FROM scores").fetchone()
    monkeypatch.undo()
    give(database, two, R1, item, "unaided", 9)
    with database.reading() as tables:
        assert tables.execute("SELECT count(*) FROM scores").fetchone() == (before + 1,)
