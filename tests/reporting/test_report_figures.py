"""Figures of any table: names that fit, counts, operating points, clinical thresholds, no gaps."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from statsmodels.stats.proportion import proportion_confint

from ctbone.config import EvaluationSettings
from ctbone.document import figure_style
from ctbone.errors import ConfigError
from ctbone.reporting import decision_curves, roc_figures
from ctbone.reporting.analysis import analyse
from ctbone.reporting.any_table import read_any_table
from ctbone.reporting.decision_curves import curves_by_set, decision, decision_bands
from ctbone.reporting.discrimination import metric_table
from ctbone.reporting.evaluate import evaluate
from ctbone.reporting.roc_figures import roc, roc_bands
from ctbone.study import Study
from tests.document.drawn_text import record_figures

QUICK = EvaluationSettings(bootstrap=100)
LONG = "radiomics_with_clinical_data_and_three_readers_of_two_centre"
CJK = "骶骨肿瘤三维密集连接网络模型与放射科医师的融合结果第二版本"
NAMES = ["3d", "2d", "reader", LONG, f"{LONG}s", CJK, f"{CJK}二", "3d+2d+reader", "a", "b", "c"]


def table_of(tmp_path, names, *, cases=60, events=30, external=0, seed=0):
    draw = np.random.default_rng(seed)
    labels = np.array([1] * events + [0] * (cases - events))
    split = ["external" if k % 3 == 0 and k < 3 * external else "test" for k in range(cases)]
    content = {"case_id": [f"P{k}" for k in range(cases)], "label": labels, "split": split}
    for name in names:
        content[name] = np.round(1 / (1 + np.exp(-draw.normal(1.5 * labels - 0.7, 1))), 4)
    path = tmp_path / "table.csv"
    pd.DataFrame(content).to_csv(path, index=False)
    return path


def analysis_of(path, names, settings=QUICK, **how):
    sets = read_any_table(path, label="label", prob=names, positive="1", threshold=0.5)
    return analyse(sets, settings, bands=False, **how)


@pytest.fixture
def figures(monkeypatch):
    """Figures as matplotlib objects, as they are finished."""
    kept = []
    for module in (roc_figures, decision_curves):
        finish = module.finish

        def keeping(figure, *args, _finish=finish, **told):
            kept.append(figure)
            return _finish(figure, *args, **told)

        monkeypatch.setattr(module, "finish", keeping)
    return kept


@pytest.mark.parametrize(
    ("names", "how"),
    [
        (NAMES, {"external": 12}),
        (NAMES[:1], {}),
        (NAMES[:2], {"cases": 1, "events": 1}),
        (NAMES[:2], {"events": 0}),
        (NAMES[3:6], {"cases": 12, "events": 12}),
    ],
    ids=["eleven models", "one model", "one case", "no events", "only events"],
)
def test_no_text_overlaps_or_leaves_its_figure(tmp_path, monkeypatch, names, how):
    path = table_of(tmp_path, names, **how)
    monkeypatch.setattr(figure_style, "_DPI", 300)
    sheets = record_figures(monkeypatch)
    evaluate(path, label="label", prob=names, positive="1", out=tmp_path / "out", settings=QUICK)
    assert len(sheets) >= 4
    assert [fault for sheet in sheets for fault in sheet.faults()] == []
    texts = {one.text for sheet in sheets for one in sheet.texts}
    assert any(text.startswith("n = ") for text in texts)
    if how.get("events") == 0 or how.get("cases") in (1, 12):
        drawn = " ".join(one.text for sheet in sheets for one in sheet.texts)
        assert "No curve: only" in drawn, "why there is no curve"


def test_six_curves_share_an_axis_and_the_others_have_panels(tmp_path, figures):
    analysis = analysis_of(table_of(tmp_path, NAMES), NAMES)
    assert "first 6 of 11 models" in roc(analysis).note
    (axes,) = figures[-1].axes
    curves = [line for line in axes.lines if not line.get_label().startswith("_")]
    assert len(curves) == 6
    roc_bands(analysis, analysis.lead, bands=False)
    assert len(figures[-1].axes) == 11
    decision(analysis, curves_by_set(analysis, bands=False))
    shown = [line for line in figures[-1].axes[0].lines if len(line.get_xdata()) > 50]
    assert len(shown) == 6 + 2, "with treat-all and treat-none"


def test_the_operating_point_has_wilsons_intervals(tmp_path, figures):
    path = table_of(tmp_path, ["3d"])
    analysis = analysis_of(path, ["3d"])
    roc(analysis)
    table = pd.read_csv(path)
    called = table["3d"] >= 0.5
    hits, alarms = int(called[table.label == 1].sum()), int(called[table.label == 0].sum())
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in figures[-1].axes[0].lines]
    assert ([alarms / 30], [hits / 30]) in [
        (pytest.approx(x), pytest.approx(y)) for x, y in lines if len(x) == 1
    ]
    low, high = proportion_confint(hits, 30, method="wilson")
    assert any(y == pytest.approx([low, high]) for _, y in lines if len(y) == 2)
    low, high = proportion_confint(alarms, 30, method="wilson")
    assert any(x == pytest.approx([low, high]) for x, _ in lines if len(x) == 2)


def test_each_point_of_a_curve_names_its_cases(tmp_path):
    path = table_of(tmp_path, ["3d"])
    table = pd.read_csv(path)
    named = " ".join(point.text for point in roc(analysis_of(path, ["3d"])).points)
    assert set(re.findall(r"P\d+", named)) == set(table["case_id"])
    top = table.loc[table["3d"].idxmax()]
    assert f"{top['3d']:.2f}: {top['case_id']} ({top['label']})" in named


def test_decision_curves_keep_to_the_clinical_thresholds(tmp_path, figures):
    settings = EvaluationSettings(bootstrap=100, clinical_thresholds=(0.1, 0.4))
    analysis = analysis_of(table_of(tmp_path, ["3d"], events=20), ["3d"], settings)
    curves = curves_by_set(analysis, bands=False)
    drawn = decision(analysis, curves)
    (axes,) = figures[-1].axes
    assert axes.get_xlim() == pytest.approx((0.1, 0.4))
    assert "Thresholds of 0.1 to 0.4" in drawn.note
    (right,) = axes.child_axes
    figures[-1].canvas.draw()
    ends = np.array(right.get_ylim())
    assert ends * (20 / 60) == pytest.approx(axes.get_ylim()), "net benefit over the prevalence"
    decision_bands(analysis, analysis.lead, curves["internal"])
    assert figures[-1].axes[0].get_xlim() == pytest.approx((0.1, 0.4))


@pytest.mark.parametrize("given", ["[0.4, 0.1]", "[0.1, 0.12]", "[0.1, 1.2]"])
def test_thresholds_without_a_range_are_refused(tmp_path, given):
    (tmp_path / "study.yaml").write_text(f"name: s\nevaluation: {{clinical_thresholds: {given}}}\n")
    with pytest.raises(ConfigError, match="clinical_thresholds"):
        Study.open(tmp_path)


def test_figures_and_tables_show_titles_and_the_csv_keys(tmp_path, figures):
    path = table_of(tmp_path, ["3d", "2d"])
    analysis = analysis_of(path, ["3d", "2d"], titles={"3d": "3D network"})
    roc_bands(analysis, analysis.lead, bands=False)
    heads = [text.get_text() for axes in figures[-1].axes for text in axes.texts]
    assert "3D network" in heads
    assert "n = 60, 30 of class 1" in heads
    table = metric_table(analysis.lead)
    assert [column.title for column in table.columns] == ["Metric", "3D network", "2d"]
    assert {"3d", "2d"} <= set(table.frame().columns)
    assert analysis.metrics()["titles"] == {"3d": "3D network", "2d": "2d"}


def test_the_png_is_not_blank(tmp_path):
    analysis = analysis_of(table_of(tmp_path, NAMES[:2]), NAMES[:2])
    grey = np.asarray(Image.open(io.BytesIO(roc(analysis).png)).convert("L"))
    assert (grey < 100).mean() > 0.001
