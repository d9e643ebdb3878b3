"""Evaluating any table: guesses, numbers, refusals."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ctbone.config import EvaluationSettings
from ctbone.errors import CtboneError
from ctbone.reporting import ReportError, evaluate
from tests.document.parsed_page import without_own_script

QUICK = EvaluationSettings(bootstrap=100)


def made_up(n: int = 60, seed: int = 0, names=("model a", "model b")) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3 > 0
    table = pd.DataFrame({"case_id": [f"P{i}" for i in range(n)], "truth": y.astype(int)})
    for place, name in enumerate(names):
        table[name] = 1 / (1 + np.exp(-rng.normal(size=n) - (1.2 - place) * (2 * y - 1)))
    return table


def run(table, tmp_path, **arguments) -> dict:
    path = tmp_path / "table.csv"
    table.to_csv(path, index=False)
    written = evaluate(
        path, out=tmp_path / "out", settings=arguments.pop("settings", QUICK), **arguments
    )
    assert written == tmp_path / "out" / "index.html"
    return json.loads((tmp_path / "out" / "metrics.json").read_text())


def refused(table, tmp_path, words, **arguments):
    with pytest.raises(CtboneError, match=words) as error:
        run(table, tmp_path, **arguments)
    assert not (tmp_path / "out").exists()
    return error.value


def test_named_columns_are_models(tmp_path):
    table = made_up()
    found = run(table, tmp_path, label="truth", prob=["model a", "model b"])
    for name in ("model a", "model b"):
        assert found["models"][name]["auc"]["value"] == pytest.approx(
            roc_auc_score(table["truth"], table[name])
        )
    (comparison,) = found["comparisons"]
    assert (comparison["a"], comparison["b"], comparison["metric"]) == ("model a", "model b", "auc")
    out = tmp_path / "out"
    assert {p.suffix for p in (out / "figures").iterdir()} == {".svg", ".png"}
    curve = pd.read_csv(out / "tables" / "decision_curve.csv")
    assert list(curve) == [
        "model",
        "threshold",
        "net_benefit",
        "low",
        "high",
        "standardized_net_benefit",
        "interventions_avoided",
    ]
    assert set(curve["model"]) == {"model a", "model b", "treat_all", "treat_none"}


def test_net_benefit_by_hand(tmp_path):
    table = made_up()
    run(table, tmp_path, label="truth", prob=["model a"])
    curve = pd.read_csv(tmp_path / "out" / "tables" / "decision_curve.csv")
    y, p = table["truth"].to_numpy() == 1, table["model a"].to_numpy()
    for row in curve[curve["model"] == "model a"].itertuples():
        called, odds = p >= row.threshold, row.threshold / (1 - row.threshold)
        expected = (called & y).mean() - (called & ~y).mean() * odds
        assert row.net_benefit == pytest.approx(expected, abs=1e-12)


def test_names_of_our_own_tables_are_guessed(tmp_path):
    p = made_up()["model a"]
    table = pd.DataFrame(
        {
            "case_id": [f"P{i}" for i in range(60)],
            "label": np.where(np.arange(60) % 3, "malignant", "benign"),
        }
    )
    found = run(table.assign(p_benign=1 - p, p_malignant=p), tmp_path)
    assert list(found["models"]) == ["table"]
    assert found["positive"] == "malignant"
    assert found["models"]["table"]["auc"]["value"] == pytest.approx(
        roc_auc_score(table["label"] == "malignant", p)
    )


def test_a_predictions_table_keeps_its_splits_apart(fused_study, tmp_path):
    evaluate(fused_study.predictions_csv("2d"), out=tmp_path / "out", settings=QUICK)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    own = pd.read_csv(fused_study.predictions_csv("2d"), keep_default_na=False)
    own = own[own["view"] == ""]
    test = own[own["split"] == "test"]
    assert found["models"]["2d"]["n"] == len(test)
    assert found["models"]["2d"]["auc"]["value"] == pytest.approx(
        roc_auc_score(test["label"] == "malignant", test["p_malignant"])
    )
    assert set(found["models"]["2d"]["folds"]) == {"0", "1", "2"}
    assert (
        found["external"]["models"]["2d"]["n"]
        == own.loc[own["split"] == "external", "case_id"].nunique()
    )


@pytest.mark.parametrize("positive", ["A", "B"])
def test_the_positive_class_can_be_named(tmp_path, positive):
    table = made_up()
    table["truth"] = np.where(table["truth"] == 1, "B", "A")
    refused(table, tmp_path, "which of the classes", label="truth", prob=["model a"])
    found = run(table, tmp_path, label="truth", prob=["model a"], positive=positive)
    assert found["models"]["model a"]["auc"]["value"] == pytest.approx(
        roc_auc_score(table["truth"] == positive, table["model a"])
    )


def test_one_class_only_stays_undefined(tmp_path):
    table = made_up().assign(truth=1)
    model = run(table, tmp_path, label="truth", prob=["model a"])["models"]["model a"]
    for name in ("auc", "specificity", "calibration_slope", "ici"):
        assert model[name]["value"] is None, name
        assert model[name]["why"], name
    assert model["sensitivity"]["value"] is not None
    page = (tmp_path / "out" / "index.html").read_text()
    assert "only one class is present" in page


def test_perfect_separation_and_two_cases(tmp_path):
    table = pd.DataFrame({"y": [0, 1], "p_a": [0, 0.9], "p_b": [0.5, 0.5]})
    models = run(table, tmp_path)["models"]
    assert models["p_a"]["auc"]["value"] == 1
    assert models["p_a"]["auc"]["low"] < 1
    assert models["p_b"]["auc"]["value"] == 0.5


def test_three_classes(tmp_path):
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=90)
    p = (
        rng.dirichlet([1, 1, 1], size=90) * 0.4
        + 0.6 * np.eye(3)[rng.permutation(labels)] * 0.5
        + 0.3 * np.eye(3)[labels]
    )
    p /= p.sum(axis=1, keepdims=True)
    names = np.array(["benign", "intermediate", "malignant"])
    table = pd.DataFrame(p, columns=[f"p_{name}" for name in names]).assign(label=names[labels])
    found = run(table, tmp_path)
    model = found["models"]["table"]
    assert model["auc"]["value"] == pytest.approx(roc_auc_score(labels, p, multi_class="ovr"))
    assert np.sum(model["confusion"]) == 90
    assert model["accuracy"]["value"] == pytest.approx((p.argmax(axis=1) == labels).mean())
    refused_table = table.drop(columns="p_benign")
    other = tmp_path / "other"
    other.mkdir()
    refused(refused_table, other, "add a column p_benign")


def test_youden_needs_validation_rows(tmp_path):
    words = "no validation rows"
    refused(
        made_up(),
        tmp_path,
        words,
        label="truth",
        prob=["model a"],
        settings=EvaluationSettings(threshold="youden"),
    )


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.assign(**{"model a": t["model a"] * 6 - 3}), "not within 0–1"),
        (lambda t: t.assign(**{"model a": t["model a"].mask(t.index == 4)}), "is not a number"),
        (
            lambda t: t.assign(truth=t["truth"].astype("Int64").mask(t.index == 4)),
            "the label is missing",
        ),
        (lambda t: pd.concat([t, t.head(1)]), "has two rows"),
        (lambda t: t.head(0), "no rows"),
        (lambda t: t.drop(columns="truth"), "no column 'truth'"),
        (lambda t: t.drop(columns="model a"), "no column 'model a'"),
    ],
)
def test_bad_tables_are_named_and_nothing_is_written(tmp_path, edit, words):
    refused(edit(made_up()), tmp_path, words, label="truth", prob=["model a"])


def test_logits_are_told_by_case_and_row(tmp_path):
    table = made_up()
    table.loc[5, "model a"] = 2.5
    error = refused(table, tmp_path, "0–1", label="truth", prob=["model a"])
    assert error.case == "P5"
    assert "row 7" in str(error)
    assert "logits" in str(error)


@pytest.mark.parametrize("content", ["", "\n\n", "a,b\n1\n", '"unclosed'])
def test_what_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(CtboneError):
        evaluate(tmp_path / "table.csv", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_label_and_no_probability_can_be_guessed(tmp_path):
    table = made_up().rename(columns={"truth": "verdict"})
    assert "--label" in str(refused(table, tmp_path, "no column has the name of a label"))
    assert "--prob" in str(refused(made_up(), tmp_path, "p_<something>"))


def test_hostile_names_are_escaped_and_formulas_disarmed(tmp_path):
    name = '=<script>alert("x")</script>'
    table = made_up(names=(name,))
    run(table, tmp_path, label="truth", prob=[name])
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<script" not in without_own_script(page).lower()
    assert "&lt;script&gt;" in page
    summary = pd.read_csv(tmp_path / "out" / "tables" / "summary_internal.csv")
    assert summary["model"].tolist() == [f"'{name}"]


def test_no_torch_is_imported(tmp_path):
    made_up(569, names=("a", "b", "c")).to_csv(tmp_path / "table.csv", index=False)
    files = f"Path({str(tmp_path / 'table.csv')!r}), out=Path({str(tmp_path / 'out')!r})"
    code = (
        "import sys; from pathlib import Path; from ctbone.reporting import evaluate\n"
        f"evaluate({files}, label='truth', prob=['a', 'b', 'c'])\n"
        "print(sorted({'torch', 'monai', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_large_table_is_read(tmp_path):
    n = 20_001
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"y": np.arange(n) % 2, "p_a": rng.random(n).round(6)})
    assert run(table, tmp_path)["models"]["p_a"]["n"] == n


def test_report_error_is_a_ctbone_error():
    assert issubclass(ReportError, CtboneError)
