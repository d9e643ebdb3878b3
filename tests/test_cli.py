import os
import subprocess
import sys

import pytest

from tests.conftest import cohort_rows, write_rows
from tests.dicom.writer import Plan, ramp, write_series

COMMANDS = [
    *("init", "check", "convert", "preprocess", "train", "predict", "fuse", "evaluate"),
    *("readers", "explain", "report", "read", "run", "demo", "status", "audit"),
    "power",
]


def ctbone(*arguments, cwd=None, environment=None):
    environment = {
        **os.environ,
        "COLUMNS": "200",
        "NO_COLOR": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
        **(environment or {}),
    }
    return subprocess.run(
        [sys.executable, "-m", "ctbone", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        errors="replace",
        cwd=cwd,
        env=environment,
        check=False,
    )


def test_help_names_every_command_and_imports_nothing_heavy():
    code = (
        "import sys, contextlib\n"
        "from ctbone.cli import app\n"
        "with contextlib.suppress(SystemExit): app(['--help'])\n"
        "heavy = {'torch', 'monai', 'numpy', 'pandas', 'scipy', 'matplotlib', 'pydantic', 'rich'}\n"
        "heavy &= set(sys.modules)\n"
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
    ("arguments", "words"),
    [
        (("predict", "dicom"), "needs the mask of the lesion"),
        (("predict", ".", "--mask", "cohort.csv", "--column", "age"), "name=value"),
        (("predict", ".", "--mask", "cohort.csv"), "no model of the study is trained"),
        (("predict", "--model", "cohort.csv", ".", "--mask", "cohort.csv"), "not a model file"),
        (("export", "m.zip"), "ends in .ctbone"),
    ],
)
def test_a_new_patient_that_cannot_be_answered_says_why(study, arguments, words):
    done = ctbone(*arguments, cwd=study.root)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (study.root / "answers").exists()


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
        (_duplicate_case, ["C005", "row 7 has this case_id", "remedy"]),
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


def test_without_a_command_the_help_is_printed():
    bare, short, long = ctbone(), ctbone("-h"), ctbone("--help")
    assert (bare.returncode, bare.stderr) == (0, "")
    assert bare.stdout == short.stdout == long.stdout
    assert bare.stdout.startswith("Usage: ctbone [OPTIONS] COMMAND")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell):
    done = ctbone(
        "--show-completion",
        shell,
        environment={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "_CTBONE_COMPLETE=complete_" + shell in done.stdout
    complete = {"_CTBONE_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        words = {"COMP_WORDS": "ctbone pre", "COMP_CWORD": "1"}
    else:
        words = {"_TYPER_COMPLETE_ARGS": "ctbone pre", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    found = ctbone(environment={**complete, **words}).stdout
    assert "predict" in found or "preprocess" in found
    assert "evaluate" not in found


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
def test_a_console_without_unicode_gets_other_characters(study, encoding):
    console = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    shown = ctbone("-h", environment=console)
    assert (shown.returncode, shown.stderr) == (0, "")
    # Click prints help as UTF-8 where Python believes the console to be ASCII.
    assert ("human\ufffd" if encoding == "ascii" else "human-AI") in shown.stdout
    rows = cohort_rows()
    write_rows(study.root / "cohort.csv", [*rows, {**rows[0], "case_id": "C900", "label": "Σ–グ"}])
    checked = ctbone("check", "--study", study.root, environment=console)
    assert checked.returncode == 2
    assert "'?-?'" in checked.stderr if encoding == "ascii" else "'Σ-?'" in checked.stderr
    failed = ctbone("check", "--study", study.root / "ordner–ü–グ", environment=console)
    assert failed.returncode == 2
    assert "Error" not in failed.stderr.replace("error:", "")
    assert "ordner-" in failed.stderr


def test_progress_on_a_console_without_unicode(tmp_path):
    code = (
        "from ctbone import cli\n"
        "from ctbone.progress import progress\n"
        "cli._print_any_character()\n"
        "with progress('Fold 1 × 2 → グ', 1) as bar: bar.advance('ü')\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONIOENCODING": "ascii",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stderr.startswith("Fold 1 x 2 -> ?  1/1  ")


def in_a_terminal(columns, *arguments):
    """Run a command on a pseudo-terminal and return what it shows."""
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb",
                   "PYTHONPATH": os.pathsep.join(sys.path)}  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "ctbone", *map(str, arguments)],
        stdout=theirs,
        stderr=theirs,
        env=environment,
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert process.returncode in (0, 2)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [60, 80, 160])
def test_check_and_the_list_of_series_fit_the_terminal(study, tmp_path, columns):
    rows = [{**row, "label": "a long wrong label " * 3} for row in cohort_rows()]
    write_rows(study.root / "cohort.csv", rows)
    folder = tmp_path / "dicom"
    write_series(folder / "series", Plan(ramp(12, 48, 48)))
    for command in (["check", "--study", study.root], ["convert", folder, "--list"]):
        shown = in_a_terminal(columns, *command)
        wide = [line for line in shown.splitlines() if len(line) > columns]
        assert [line for line in wide if " " in line.strip()] == []  # a long path stays whole
        words = " ".join(shown.replace("│", " ").split())
        assert "label" in words if command[0] == "check" else "taken" in words


@pytest.fixture
def demo(tmp_path, monkeypatch, capsys):
    """``ctbone demo`` without patients and stages: the folder, and a call that gives stderr."""
    from ctbone import workflow
    from ctbone.cli import app
    from ctbone.phantom import cohort
    from ctbone.results import Report

    def run(study, *, workers):
        return Report(study.report / "index.html")

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
