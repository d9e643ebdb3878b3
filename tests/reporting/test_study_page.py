"""The page of a study: question first, the paper's order, the appendix."""

import json
import re
import shutil
from pathlib import Path

import pytest

from ctbone.reporting import report
from ctbone.study import Study
from tests.document.parsed_page import parse
from tests.reporting.test_primary import THREE, named

SHOWN = ["patients", "folds", "confusion", "curves"]


@pytest.fixture(scope="module")
def answered(fused_study, tmp_path_factory) -> Path:
    """The page of a study with three primary comparisons."""
    root = tmp_path_factory.mktemp("answered") / "study"
    shutil.copytree(fused_study.root, root, ignore=shutil.ignore_patterns("report"))
    return report(named(Study(root), THREE))


def text_of(path) -> str:
    return " ".join(" ".join(parse(path).text).split())


def test_the_question_comes_first_and_then_the_papers_order(answered):
    html = answered.read_text(encoding="utf-8")
    places = [html.index(f'id="{key}"') for key in ("summary", *SHOWN, "appendix")]
    assert places == sorted(places)
    front = html[places[0] : places[1]]
    titles = json.loads((answered.parent / "metrics.json").read_text())["titles"]
    first, second = titles["3d+2d+reader"], titles["reader"]
    assert second.startswith("senior")
    order = [
        front.index(words)
        for words in (
            f"Is the AUC of {first} higher than that of {second}, on the external test?",
            "Primary comparison, named",
            "Primary comparisons</caption>",
            "cases in the cohort",
            "ROC, calibration and decision curves",
            "What it means:",
            "For whom:",
            "What it does not mean:",
        )
    ]
    assert order == sorted(order)
    assert html.count("<details>") == html.count("</details>") > 5
    assert "<details open" not in html


def test_the_numbers_of_the_answer_are_those_of_metrics_json(answered):
    metrics = json.loads((answered.parent / "metrics.json").read_text())
    found, text = metrics["primary"][0], text_of(answered)
    assert found["compare"] == ["3d+2d+reader", "reader"]
    assert f"difference {found['difference']:.3f}".replace("-", "−") in text
    assert found["named_before_results"] is False
    assert "after results were known" in text
    assert "These tables existed then: fusion/3d+2d+reader.csv" in text
    models = metrics["external"]["models"]
    assert found["first"]["value"] == pytest.approx(models["3d+2d+reader"]["auc"]["value"])


def test_everything_else_is_exploratory(answered):
    metrics = json.loads((answered.parent / "metrics.json").read_text())

    def pairs(of):
        return {frozenset((one["a"], one["b"])) for one in of["comparisons"]}

    assert frozenset(("3d+2d+reader", "reader")) not in pairs(metrics["external"])
    assert frozenset(("3d", "2d")) not in pairs(metrics)
    assert frozenset(("3d", "2d")) in pairs(metrics["external"])
    html = answered.read_text(encoding="utf-8")
    for title in ("Fold by fold", "Every model", "Curves of every model"):
        assert re.search(rf'<p class="kicker">Exploratory</p>\s*<h2[^>]*>{title}', html), title
    assert re.search(r"<h3>Exploratory comparisons</h3> <span>Exploratory", html)


def test_without_a_named_comparison_all_models_are_shown_and_none_is_singled_out(reported):
    text = text_of(reported)
    assert "No primary comparison was named" in text
    assert "the AUCs are: 3d 0." in text
    assert "the highest of" not in text
    assert json.loads((reported.parent / "metrics.json").read_text())["primary"] == []


def test_a_withdrawn_comparison_is_named(answered, small_study):
    study = named(small_study, [THREE[0]])
    shutil.copy(answered.parents[1] / "primary.json", study.primary_json)
    text = text_of(report(study))
    assert "Primary comparisons withdrawn. The settings no longer name: 3d − 2d (auc" in text
    assert "Undefined: no probabilities of 3d+2d+reader and reader on the external test" in text
