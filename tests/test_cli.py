import os
import subprocess
import sys

import pytest

from tests.conftest import cohort_rows, write_rows

COMMANDS = (
    "init check convert preprocess train predict fuse evaluate readers explain report read run demo".split()  # noqa: SIM905
)


def ctbone(*arguments, cwd=None):
    environment = {
        **os.environ,
        "COLUMNS": "200",
        "NO_COLOR": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.run(
        [sys.executable, "-m", "ctbone", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        check=False,
    )


def test_help_names_every_command_and_imports_nothing_heavy():
    code = (
        "import sys, contextlib\n"
        "from ctbone.cli import app\n"
        "with contextlib.suppress(SystemExit): app(['--help'])\n"
        "heavy = {'torch', 'monai', 'numpy', 'pandas', 'scipy', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [name for name in COMMANDS if name not in done.stdout] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    done = ctbone(command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_version():
    assert ctbone("--version").stdout.startswith("ctbone 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("readers", "scores.csv"),
        ("explain",),
        ("read",),
        ("predict", "some_dicom_folder", "--mask", "m.nii"),
    ],
)
def test_what_comes_later_says_so(tmp_path, arguments):
    done = ctbone(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "this version of ctbone" in done.stderr
    assert "remedy" in done.stderr
    assert "Traceback" not in done.stderr


def test_init_makes_a_study_and_overwrites_nothing(tmp_path):
    assert ctbone("init", tmp_path / "mine").returncode == 0
    assert "[paper]" in (tmp_path / "mine" / "study.yaml").read_text()
    (tmp_path / "mine" / "cohort.csv").write_text("precious")
    again = ctbone("init", tmp_path / "mine")
    assert (again.returncode, "not overwritten" in again.stderr) == (2, True)
    assert (tmp_path / "mine" / "cohort.csv").read_text() == "precious"


def test_init_with_an_unknown_config_names_the_nearest(tmp_path):
    done = ctbone("init", tmp_path / "mine", "--config", "sacrl_ct")
    assert (done.returncode, "did you mean 'sacral_ct'" in done.stderr) == (2, True)
    assert not (tmp_path / "mine").exists()


def _without_cohort(root):
    (root / "cohort.csv").unlink()


def _unreadable_cohort(root):
    (root / "cohort.csv").write_bytes(b"\xff\xfe\x00c\x00a")


def _no_label_column(root):
    rows = [{name: cell for name, cell in row.items() if name != "label"} for row in cohort_rows()]
    write_rows(root / "cohort.csv", rows)


def _label_outside_the_classes(root):
    write_rows(
        root / "cohort.csv",
        [*cohort_rows(), {**cohort_rows()[0], "case_id": "C900", "label": "chordoma"}],
    )


def _duplicate_case(root):
    write_rows(root / "cohort.csv", [*cohort_rows(), cohort_rows()[5]])


def _missing_image(root):
    pass  # the fixture has no images


def _too_few_of_a_class(root):
    for row in cohort_rows():
        for kind in ("image", "mask"):
            (root / row[kind]).parent.mkdir(exist_ok=True)
            (root / row[kind]).touch()
    rows = cohort_rows()
    write_rows(root / "cohort.csv", [row for row in rows if row["label"] == "malignant"] + rows[:2])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without_cohort, ["cohort.csv", "missing", "remedy"]),
        (_unreadable_cohort, ["cohort.csv", "not UTF-8", "remedy"]),
        (_no_label_column, ["cohort.csv", "lacks the column label"]),
        (_label_outside_the_classes, ["C900", "'chordoma'", "benign, malignant", "remedy"]),
        (_duplicate_case, ["C005", "row 7 already", "remedy"]),
        (_missing_image, ["C000", "the image does not exist", "the mask does not exist", "remedy"]),
        (_too_few_of_a_class, ["class 'benign' has fewer internal patients", "remedy"]),
    ],
)
def test_check_names_what_is_wrong_and_writes_nothing(study, spoil, words):
    spoil(study.root)
    before = sorted(path.name for path in study.root.iterdir())
    done = ctbone("check", "--study", study.root)
    assert done.returncode == 2
    assert [word for word in words if word not in done.stderr] == []
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in study.root.iterdir()) == before


@pytest.mark.parametrize(
    "command", ["check", "preprocess", "train", "predict", "fuse", "report", "run"]
)
def test_a_folder_that_is_no_study_is_refused(tmp_path, command):
    done = ctbone(command, "--study", tmp_path)
    assert (done.returncode, "study.yaml" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def demo(tmp_path, monkeypatch, capsys):
    """``ctbone demo`` without patients and stages: the folder, and a call that gives stderr."""
    from ctbone import workflow
    from ctbone.cli import app
    from ctbone.phantom import cohort

    def run(study, *, scores):
        assert scores == study.scores_csv
        return study.report / "index.html"

    def write(folder, *_, **__):
        (folder / "truth.json").write_text("{}")

    monkeypatch.setattr(workflow, "run", run)
    monkeypatch.setattr(cohort, "write_cohort", write)
    folder = tmp_path / "demo"

    def call():
        app(["demo", str(folder)], standalone_mode=False)
        return capsys.readouterr().err

    assert "note:" not in call()
    return folder, call


def test_a_demo_folder_with_the_same_settings_gets_no_note(demo):
    folder, call = demo
    settings = folder / "study.yaml"
    text = settings.read_text().replace("learning_rate: 0.002", "learning_rate: 2.0e-3")
    settings.write_text(f"# a comment\n{text}")
    assert "note:" not in call()


def test_a_demo_folder_with_other_settings_keeps_them_and_says_so(demo):
    folder, call = demo
    settings = folder / "study.yaml"
    text = settings.read_text()
    assert text.count("learning_rate: 0.002\n") == 1
    edited = text.replace("learning_rate: 0.002\n", "learning_rate: 0.001\n  precision: fp32\n")
    settings.write_text(edited)
    said = call()
    assert settings.read_text() == edited
    assert f"note: {settings} is kept" in said
    assert "  training.learning_rate: 0.001, in the demo config 0.002\n" in said
    assert '  training.precision: "fp32", in the demo config "auto"\n' in said
    # both models take both settings over: six keys differ, four are shown
    assert said.count("in the demo config ") == 4
    assert "  and 2 more\n" in said
    assert "name another folder: ctbone demo DIR" in said


def test_a_demo_folder_with_a_further_model_says_so_in_one_short_line(demo):
    folder, call = demo
    settings = folder / "study.yaml"
    text = settings.read_text()
    settings.write_text(text.replace("models:\n", "models:\n  other: {dim: 3d}\n"))
    (line,) = [line for line in call().splitlines() if "in the demo config" in line]
    assert line.startswith("  models.other: {")
    assert line.endswith(", in the demo config null")
    assert len(line) < 120
