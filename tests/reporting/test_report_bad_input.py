"""Bad input at the command line: exit 2, a message that names the fault, no partial output."""

import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from ctbone.cli import main
from ctbone.study import Study
from tests.document.parsed_page import without_own_script
from tests.reporting.test_report_evaluate import made_up, run


def command(monkeypatch, capsys, *words) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["ctbone", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.err + captured.out


def contents(folder) -> dict:
    """Return every file of the study; hidden files hold hashes and the salt, no results."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if not path.name.startswith(".")}


def long(table: pd.DataFrame) -> pd.DataFrame:
    parts = [
        table[["case_id", "truth"]].assign(model=m, p_1=table[m]) for m in ("model a", "model b")
    ]
    return pd.concat(parts, ignore_index=True)


def _logits(table):
    return table.assign(**{"model a": np.log(table["model a"] / (1 - table["model a"]))})


def _two_labels(table):
    return pd.concat([table, table.iloc[[3]].assign(truth=1 - table["truth"].iloc[3])])


def _stranger(table):
    named = pd.DataFrame(
        {
            "case_id": table["case_id"],
            "p_benign": 1 - table["model a"],
            "p_malignant": table["model a"],
        }
    )
    truth = np.where(table["truth"] == 1, "malignant", "benign")
    truth[4] = "unknown"
    return named.assign(truth=truth)


EVALUATE = {
    "above one": (lambda t: t.assign(**{"model a": t["model a"] + 0.5}), "not within 0–1"),
    "logits": (_logits, "these are logits"),
    "percent": (lambda t: t.assign(**{"model a": 100 * t["model a"]}), "percentages"),
    "a row twice": (lambda t: pd.concat([t, t.iloc[[3]]]), "case P3: the case has two rows"),
    "two labels": (_two_labels, "case P3: the case has two labels"),
    "a model's gap": (
        lambda t: t.assign(**{"model b": t["model b"].where(t.index != 5)}),
        "case P5: model b is not a number",
    ),
    "a third label": (
        lambda t: t.assign(truth=t["truth"].astype(str).where(t.index != 2, "maybe")),
        "labels 0, 1, maybe",
    ),
    "header only": (lambda t: t.iloc[:0], "no rows"),
}


@pytest.mark.parametrize("name", EVALUATE)
def test_evaluate_refuses(tmp_path, monkeypatch, capsys, name):
    change, words = EVALUATE[name]
    change(made_up()).to_csv(tmp_path / "t.csv", index=False)
    models = ["--prob", "model a", "--prob", "model b"]
    code, text = command(
        monkeypatch, capsys, "evaluate", tmp_path / "t.csv", *models, "--out", tmp_path / "out"
    )
    assert code == 2, text
    assert words in text
    assert not (tmp_path / "out").exists()


def test_evaluate_names_a_label_that_is_no_class(tmp_path, monkeypatch, capsys):
    _stranger(made_up()).to_csv(tmp_path / "t.csv", index=False)
    code, text = command(
        monkeypatch, capsys, "evaluate", tmp_path / "t.csv", "--out", tmp_path / "out"
    )
    assert code == 2
    assert "case P4: the label is not a class" in text
    assert "unknown" in text


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x89PNG\r\n\x1a\n\x00\xff", b'"open\n1,2\n'])
def test_evaluate_refuses_what_is_no_table(tmp_path, monkeypatch, capsys, content):
    (tmp_path / "t.csv").write_bytes(content)
    code, text = command(
        monkeypatch, capsys, "evaluate", tmp_path / "t.csv", "--out", tmp_path / "out"
    )
    assert code == 2
    assert "table" in text
    assert not (tmp_path / "out").exists()


def test_models_below_one_another_may_lack_cases_but_not_disagree(tmp_path, monkeypatch, capsys):
    table = long(made_up())
    found = run(table.iloc[:-2], tmp_path)
    assert {name: model["n"] for name, model in found["models"].items()} == {
        "model a": 60,
        "model b": 58,
    }
    assert found["comparisons"][0]["n"] == 58
    assert "of 60 cases model b lacks 2" in (tmp_path / "out" / "index.html").read_text()
    table.loc[60, "truth"] = 1 - table.loc[60, "truth"]
    table.to_csv(tmp_path / "t.csv", index=False)
    code, text = command(
        monkeypatch, capsys, "evaluate", tmp_path / "t.csv", "--out", tmp_path / "none"
    )
    assert (code, "case P0: the case has two labels" in text) == (2, True)


def test_formulas_and_html_stay_text(tmp_path):
    table = made_up(names=("=cmd|' /C calc'!A0", "<img src=x onerror=alert(1)>"))
    table.loc[0, "case_id"] = "<script>alert(1)</script>"
    run(table, tmp_path, label="truth", prob=list(table.columns[2:]))
    html = (tmp_path / "out" / "index.html").read_text()
    assert "<script" not in without_own_script(html)
    assert "<img src=x" not in html
    for path in (tmp_path / "out" / "tables").glob("*.csv"):
        assert (
            not pd.read_csv(path, dtype=str)
            .map(lambda cell: str(cell).startswith("="))
            .any(axis=None)
        ), path.name


PREDICTIONS = {
    "above one": (lambda t: t.assign(p_malignant="1.5"), "not within 0–1"),
    "logits": (lambda t: t.assign(p_malignant="-0.7"), "logits"),
    "no class": (lambda t: t.assign(label="grey"), "not one of the classes"),
    "a row twice": (lambda t: pd.concat([t, t.iloc[[0]]]), "two rows with the same"),
    "another label": (
        lambda t: t.assign(label=t["label"].map({"benign": "malignant", "malignant": "benign"})),
        "label",
    ),
    "nothing": (lambda t: t.iloc[:0], "no"),
}


@pytest.mark.parametrize("stage", ["fuse", "report"])
@pytest.mark.parametrize("name", PREDICTIONS)
def test_fuse_and_report_refuse(study: Study, monkeypatch, capsys, stage, name):
    change, words = PREDICTIONS[name]
    path = study.predictions_csv("2d")
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)
    if stage == "report":  # fusions of the earlier table would be refused first, as out of date
        shutil.rmtree(study.fusion_csv("3d+2d").parent)
    before = contents(study.root)
    code, text = command(monkeypatch, capsys, stage, "--study", study.root)
    assert code == 2, text
    assert words in text
    assert contents(study.root) == before


def test_fuse_refuses_a_case_that_one_model_lacks(study: Study, monkeypatch, capsys):
    path = study.predictions_csv("2d")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    case = table.loc[table["split"] == "test", "case_id"].iloc[0]
    table[table["case_id"] != case].to_csv(path, index=False)
    before = contents(study.root)
    code, text = command(monkeypatch, capsys, "fuse", "--study", study.root)
    assert code == 2
    assert f"case {case}: '2d' lacks this case" in text
    assert contents(study.root) == before
