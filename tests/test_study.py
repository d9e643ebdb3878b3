import errno
import json
import os
import signal
import subprocess
import sys

import pandas as pd
import pytest

from ctbone.cohort import COLUMNS as COHORT_COLUMNS
from ctbone.cohort import read_cohort
from ctbone.errors import ConfigError, StudyError
from ctbone.folds import read_or_draw_folds
from ctbone.study import (
    Study,
    atomic_path,
    content_hash,
    file_hash,
    provenance,
    read_json,
    read_table,
    record_of,
    write_json,
    write_table,
    write_text,
)
from tests.conftest import cohort_rows


def test_a_folder_without_settings_is_no_study(tmp_path):
    with pytest.raises(StudyError, match="ctbone init"):
        Study.open(tmp_path)


def test_wrong_settings_show_when_the_study_is_opened(tmp_path):
    (tmp_path / "study.yaml").write_text("name: s\nunknown: 1")
    with pytest.raises(ConfigError):
        Study.open(tmp_path)


def test_paths_are_those_of_the_design(study):
    relative = [
        path.relative_to(study.root).as_posix()
        for path in (
            study.nifti("P1"),
            record_of(study.nifti("P1")),
            study.crop("P1", "3d"),
            study.crop("P1", "2d"),
            study.run("3d", 4),
            study.predictions_csv("3d"),
            study.fusion("3d+2d"),
            record_of(study.fusion("3d+2d")),
            study.explanation("3d", "grad-cam", "P1"),
        )
    ]
    assert relative == [
        "nifti/P1.nii.gz",
        "nifti/P1.json",
        "crops/3d/P1.nii",
        "crops/2d/P1.nii",
        "runs/3d/fold4",
        "predictions/3d.csv",
        "fusion/3d+2d.csv",
        "fusion/3d+2d.json",
        "explain/3d/grad-cam/P1.nii.gz",
    ]


@pytest.mark.parametrize("name", ["a.b.nii.gz", "a.b.nii", "a.b.csv"])
def test_the_record_keeps_dots_in_a_case_id(tmp_path, name):
    assert record_of(tmp_path / name).name == "a.b.json"


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt):
        _write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def _write_half(path):
    with atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt


def test_a_full_disk_is_named(tmp_path):
    with pytest.raises(StudyError, match="free some space"), atomic_path(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_input_is_not_taken_for_a_failed_write(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "out"):
        (tmp_path / "in").read_text()


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot write"):
        write_text(tmp_path / "file" / "x", "text")


def test_tables_come_back_as_text(tmp_path):
    write_table(
        tmp_path / "t.csv", pd.DataFrame({"id": ["007", "NA"], "p": [0.1 + 0.2, float("nan")]})
    )
    table = read_table(tmp_path / "t.csv")
    assert table["id"].tolist() == ["007", "NA"]
    assert table["p"].tolist() == ["0.30000000000000004", ""]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_any_office_program_are_read(tmp_path, delimiter):
    text = "\ufeff" + "\r\n".join(["a{0} b", '"1,5"{0}2', "{0}", ""]).format(delimiter)
    (tmp_path / "t.csv").write_bytes(text.encode())
    assert read_table(tmp_path / "t.csv", ["a", "b"]).to_dict("records") == [{"a": "1,5", "b": "2"}]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"a,b\n1\n", "row 2 has 1 cells"),
        (b"a,a\n1,2\n", "column twice"),
        (b"a,c\n1,2\n", "lacks the column b"),
        (b"a,b\n\xff\xfe,2\n", "not UTF-8"),
        (b'a,b\n"1,2\n', "not valid CSV"),
    ],
)
def test_a_faulty_table_is_refused(tmp_path, content, word):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(StudyError, match=word):
        read_table(tmp_path / "t.csv", ["a", "b"])


def test_a_missing_table_says_what_to_do(tmp_path):
    with pytest.raises(StudyError, match=r"missing[\s\S]*run the stage"):
        read_table(tmp_path / "t.csv", remedy="run the stage")


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"auc": float("nan")})
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000])
def test_unreadable_json_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(StudyError):
        read_json(tmp_path / "x.json")


def test_provenance_holds_hashes_and_versions_and_no_path(study):
    record = provenance(study, "training", {"cohort": study.cohort_csv})
    assert record["inputs"] == {"cohort": file_hash(study.cohort_csv)}
    assert record["settings"]["name"] == "test"
    assert set(record["libraries"]) >= {"torch", "monai", "numpy"}
    assert str(study.root) not in json.dumps(record)


def test_content_hash_sees_a_changed_value():
    assert content_hash({"a": 1}) != content_hash({"a": 2})


def test_what_a_killed_process_left_is_swept(tmp_path):
    code = (
        "import os, signal, sys, pathlib; from ctbone.study import atomic_path\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "crops" / "P1.json"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = path.parent.iterdir()
    assert not path.exists(), "half a file never gets the name"
    old, young, working = (
        path.parent / f".writing-{name}" for name in ("deadbeef-1-a.nii", "deadbeef-1-b.nii", "x")
    )
    for other in (old, young, working):
        other.write_text("another machine's")
    os.utime(old, (0, 0))
    alive = left.with_name(left.name.replace(left.name.split("-")[2], str(os.getppid())))
    alive.write_text("a process that lives")
    write_text(path, "whole")
    assert sorted(path.parent.iterdir()) == sorted([path, young, working, alive])


def test_the_tables_of_a_study(study):
    rows = cohort_rows()
    cohort = study.cohort
    assert list(cohort.columns) == [*COHORT_COLUMNS, "age", "sex"]
    assert list(cohort["case_id"]) == [row["case_id"] for row in rows]
    assert cohort.loc[3, "patient_id"] == "P001"
    assert cohort.loc[0, "image"] == study.root / "dicom/C000"
    study.scores_csv.write_text("reader_id,level,session,case_id,score\nr1,senior,unaided,C003,7\n")
    assert study.scores["score"].tolist() == [7]
    with pytest.raises(StudyError, match=r"folds.csv"):
        _ = study.folds
    folds = read_or_draw_folds(study, read_cohort(study))
    assert study.folds["fold"].tolist() == folds.table["fold"].astype(int).tolist()
    assert list(study.folds.columns) == list(folds.table.columns)


def test_predictions_of_a_model_and_of_a_fusion(study):
    with pytest.raises(StudyError, match="ctbone train"):
        study.predictions("3d")
    table = pd.DataFrame(
        {"case_id": ["C000"], "label": ["benign"], "p_benign": [0.9], "p_malignant": [0.1]}
    )
    for path, shift in ((study.predictions_csv("3d"), 0.0), (study.fusion("3d+2d"), 0.2)):
        path.parent.mkdir()
        moved = table.assign(
            p_benign=table["p_benign"] - shift, p_malignant=table["p_malignant"] + shift
        )
        moved.to_csv(path, index=False)
    assert study.predictions("3d")["p_malignant"].tolist() == [0.1]
    assert study.predictions("3d+2d")["p_malignant"].tolist() == pytest.approx([0.3])
    with pytest.raises(StudyError, match=r"found: +2d\n +expected: +3d or 3d\+2d"):
        study.predictions("2d")
