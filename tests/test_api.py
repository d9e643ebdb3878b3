"""The public API: ``import ctbone as ct`` in a plain script, from the phantom to the report."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import ctbone as ct
from ctbone.phantom.cohort import PhantomCohort, write_cohort
from ctbone.results import Report
from ctbone.study import Study
from pipelines import sacral_ct

ROOT = Path(__file__).parents[1]
SETTINGS = """
name: tiny
preprocess: {crop_3d: {size: 16, spacing: 4.0}, images_2d: {size: 16}}
folds: {count: 2, validation_share: 0.3}
training: {epochs: 1, batch_size: 4}
models:
  3d: {dim: 3d, network: densenet, network_options: &small {block_config: [1], init_features: 4}}
  2d: {dim: 2d, network: densenet, network_options: *small, weights: none}
fusion: {combinations: {3d+2d: [3d, 2d], 3d+reader: [3d, reader]}}
evaluation: {bootstrap: 100}
"""

# A plain script: no main guard, everything at its top level.
SCRIPT = """
import sys
import ctbone as ct

study = ct.Study.open(sys.argv[1])
print(ct.check(study))
print(ct.preprocess(study))
print(ct.train(study, dim="3d", dry_run=True))
print(ct.train(study))
print(ct.predict(study))
print(ct.fuse(study, with_reader="scores.csv"))
print(ct.report(study))
print(ct.evaluate(study.predictions_csv("3d"), prob="p_malignant", out=study.root / "evaluation"))
print(ct.convert(study.cohort["image"][0], list=True))
print(ct.convert(study.cohort["image"][0], study.root / "one.nii.gz"))
try:
    ct.check(study, workers=2)
except ct.CtboneError as error:
    print("refused:", error.problem)
"""


def python(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """A tiny phantom study, and what the script printed about it."""
    root = tmp_path_factory.mktemp("api") / "study"
    write_cohort(root, PhantomCohort(internal=16, external={"centre2": 2}, scale=0.25))
    (root / "study.yaml").write_text(SETTINGS)
    script = root.parent / "script.py"
    script.write_text(SCRIPT)
    done = python(script, root, cwd=root.parent)
    assert done.returncode == 0, done.stderr
    return Study.open(root), done.stdout


def test_a_plain_script_runs_from_check_to_report(phantom):
    study, printed = phantom
    for line in (
        "18 cases are in order: 16 internal, 2 external",
        "18 cases are ready",
        "3d: one batch",
        "3d: 2 folds trained",
        "2d: 2 folds trained",
        f"Wrote {study.predictions_csv('2d')}",
        "3d+reader: 3d ",
        f"Report: {study.report / 'index.html'}",
        f"Report: {study.root / 'evaluation' / 'index.html'}",
        f"Wrote {study.root / 'one.nii.gz'}",
        "refused: the script starts processes at its top level",
    ):
        assert line in printed, line
    assert printed.count("cases are in order") == 1
    assert ": taken, " in printed


def test_the_study_shows_its_tables(phantom):
    study, _ = phantom
    assert len(study.cohort) == 18
    assert set(study.folds["fold"]) == {0, 1}
    assert set(study.scores["session"]) == {"unaided", "aided"}
    own = study.predictions("3d").query("split == 'test' and view == ''")
    assert sorted(own["case_id"]) == sorted(study.cohort.query("cohort == 'internal'")["case_id"])
    assert study.predictions("3d+reader")["p_malignant"].between(0, 1).all()


def test_results_are_tables_and_html(phantom):
    study, _ = phantom
    checked = ct.check(study)
    assert checked.ok
    assert "18 cases are in order" in checked._repr_html_()
    done = ct.preprocess(study)
    assert list(done.table["case_id"]) == list(study.cohort["case_id"])
    assert (done.table["lesion_ml"] > 0).all()
    trained = ct.train(study)
    assert set(zip(trained.table["model"], trained.table["fold"], strict=True)) == {
        (model, fold) for model in ("3d", "2d") for fold in (0, 1)
    }
    predicted = ct.predict(study, dim="3d")
    assert set(predicted.table["cohort"]) == {"centre2"}
    fused = ct.fuse(study, with_reader="scores.csv").table
    assert fused.groupby("fusion")["weight"].sum().tolist() == pytest.approx([1, 1])
    report = Report(study.report / "index.html")
    metrics = json.loads((study.report / "metrics.json").read_text())
    assert report.metrics == metrics
    auc = report.table.query("model == '3d' and metric == 'auc'")["value"].item()
    assert auc == metrics["models"]["3d"]["auc"]["value"]
    for result in (checked, done, trained, predicted, report):
        assert "<table" in result._repr_html_()
        assert repr(result) == str(result)


def test_a_failed_case_and_a_problem_are_shown(phantom, tmp_path):
    study, _ = phantom
    broken = ct.init(tmp_path / "broken", config="demo")
    table = study.cohort.assign(image="nowhere")[["case_id", "label", "image"]]
    table.head(1).to_csv(broken.cohort_csv, index=False)
    found = ct.check(broken)
    assert not found.ok
    assert "the image does not exist" in str(found)
    assert "the image does not exist" in found._repr_html_()
    failed = ct.preprocess(broken)
    assert not failed.ok
    assert failed.table["problem"].item() in str(failed)


def test_the_pipeline_of_the_main_paper_runs_to_the_report(phantom, capsys):
    study, _ = phantom
    (study.report / "index.html").unlink()
    assert sacral_ct.main(study.root).path.is_file()
    assert "3d+reader: 3d " in capsys.readouterr().out


def test_the_pipeline_stops_at_the_first_bad_stage(tmp_path):
    ct.init(tmp_path / "empty")
    with pytest.raises(SystemExit, match="the cohort has no cases"):
        sacral_ct.main(tmp_path / "empty")


def test_the_import_is_light():
    code = (
        "import sys; before = set(sys.modules)\n"
        "import ctbone as ct\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "assert new <= {'ctbone', *sys.stdlib_module_names}, new\n"
        "assert 'ctbone.workflow' not in sys.modules\n"
        "assert set(ct.__all__) <= set(dir(ct))\n"
    )
    done = python("-c", code, cwd=ROOT)
    assert done.returncode == 0, done.stderr


COMMANDS = [name for name in ct.__all__ if name.islower()]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_function_has_the_name_and_the_options_of_its_command(name):
    import typer

    from ctbone.cli import app

    command = typer.main.get_command(app)
    for word in [name] if name in command.commands else name.split("_"):  # power_auc: power auc
        command = command.commands[word]
    options = {
        option.lstrip("-").replace("-", "_")
        for parameter in command.params
        if parameter.param_type_name == "option"
        for option in parameter.opts
    }
    ours = set(inspect.signature(getattr(ct, name)).parameters)
    only_shown = {"json", "open"}  # the result of the function has the same content
    assert options - only_shown - {"study"} <= ours


def test_no_command_has_the_name_of_a_module():
    """Importing a submodule would replace the command of that name."""
    modules = {path.stem for path in Path(ct.__file__).parent.iterdir()}
    assert not modules & set(ct.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ct.nonsense


def test_the_shuffled_demo_has_a_folder_of_its_own(tmp_path, monkeypatch):
    """The second step of the README: the demo, then the demo with shuffled labels."""
    from ctbone import workflow
    from ctbone.phantom import cohort as phantom_cohort

    def _write(folder, cohort, **_):
        (folder / "truth.json").write_text(json.dumps({"shuffled": cohort.shuffle_labels}))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(phantom_cohort, "write_cohort", _write)
    monkeypatch.setattr(workflow, "run", lambda study, workers: study.root)
    for shuffled in (False, True, True):
        root = ct.demo(shuffle_labels=shuffled)
        assert json.loads((root / "truth.json").read_text()) == {"shuffled": shuffled}
    assert {path.name for path in tmp_path.iterdir()} == {"ctbone-demo", "ctbone-demo-shuffled"}
    with pytest.raises(ct.CtboneError, match="other options"):
        ct.demo("ctbone-demo", shuffle_labels=True)


def test_the_problems_of_a_table_are_rows(study):
    found = ct.check(study).table
    assert isinstance(found, pd.DataFrame)
    assert set(found["problem"]) == {"the image does not exist", "the mask does not exist"}
