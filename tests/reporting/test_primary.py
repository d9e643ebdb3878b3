"""Primary comparisons: named, recorded, tested against a margin, adjusted among themselves."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ctbone.cohort import read_cohort
from ctbone.custody import record_primary
from ctbone.errors import ConfigError, CustodyError
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.primary import answer, judge_primary, naming, question
from ctbone.reporting.sources import case_sets, sources
from ctbone.study import Study
from ctbone.study_check import check_primary

FIRST = {"compare": ["3d+2d+reader", "reader"], "metric": "auc", "cohort": "external"}
AGAINST_MARGIN = {"compare": ["3d", "2d"], "cohort": "internal", "type": "noninferiority"}
THREE = [
    FIRST,
    {**AGAINST_MARGIN, "margin": 0.05},
    {"compare": ["3d+reader", "reader"], "metric": "specificity", "cohort": "internal"},
]


def named(study, primary) -> Study:
    """Return the study with other primary comparisons in its settings."""
    settings = yaml.safe_load(study.settings_file.read_text())
    settings.setdefault("evaluation", {})["primary"] = primary
    study.settings_file.write_text(yaml.safe_dump(settings))
    return Study.open(study.root)


def judged(study):
    """Return the results, without the metrics of every model."""
    sets = case_sets(study, read_cohort(study), sources(study))
    empty = tuple(JudgedSet(one, (), ()) for one in sets)
    return judge_primary(Analysis(empty, study.settings.evaluation), record_primary(study))


def slow_delong(truth, first, second):
    """Difference of the AUCs and its standard error, from every pair of cases."""
    parts = []
    for p in (first, second):
        pairs = (p[truth][:, None] > p[~truth][None]) + 0.5 * (p[truth][:, None] == p[~truth][None])
        parts.append(pairs)
    apart = parts[0] - parts[1]
    positives, negatives = apart.mean(axis=1), apart.mean(axis=0)
    variance = positives.var(ddof=1) / len(positives) + negatives.var(ddof=1) / len(negatives)
    return apart.mean(), np.sqrt(variance), min(len(positives), len(negatives)) - 1


def columns(study, name, key):
    """Return truth and probabilities of one model on one set of cases."""
    for one in case_sets(study, read_cohort(study), sources(study)):
        for scored in one.scored:
            if (one.key, scored.name) == (key, name):
                return scored.truth, scored.p
    raise AssertionError(name)


def test_the_values_are_those_of_a_slow_computation(study):
    results = judged(named(study, THREE))
    truth, first = columns(study, "3d+2d+reader", "external")
    _, second = columns(study, "reader", "external")
    difference, error, df = slow_delong(truth, first, second)
    assert results[0].result.difference == pytest.approx(difference)
    assert results[0].result.p_value == pytest.approx(2 * stats.t.sf(abs(difference / error), df))
    truth, first = columns(study, "3d", "internal")
    _, second = columns(study, "2d", "internal")
    difference, error, df = slow_delong(truth, first, second)
    one_sided = stats.t.sf((difference + 0.05) / error, df)
    assert results[1].result.p_value == pytest.approx(min(1, 2 * one_sided))
    low = difference - stats.t.ppf(0.975, df) * error
    assert results[1].result.low == pytest.approx(low)
    assert (results[1].result.p_value < 0.05) == (low > -0.05)


def test_only_primary_comparisons_are_adjusted_together(study):
    results = judged(named(study, THREE))
    expected = multipletests([one.result.p_value for one in results], method="holm")[1]
    assert [one.adjusted for one in results] == pytest.approx(list(expected))
    alone = judged(named(study, THREE[:1]))
    assert alone[0].adjusted == alone[0].result.p_value


def test_a_margin_decides_the_answer(study):
    def of(margin, kind, order=("3d", "2d")):
        one = {"compare": [*order], "cohort": "internal", "type": kind, "margin": margin}
        return judged(named(study, [one]))[0]

    assert of(0.5, "noninferiority").answer == "yes"
    assert of(0.9, "superiority").answer == "no"
    assert of(0.9, "superiority").result.p_value == 1
    better, worse = of(0.0, "superiority"), of(0.0, "superiority", ("2d", "3d"))
    assert better.result.difference == pytest.approx(-worse.result.difference)
    assert {better.answer, worse.answer} in ({"yes", "no"}, {"not shown"})


def test_questions_and_answers_are_sentences(study):
    results = judged(named(study, THREE))
    assert question(results[0]) == (
        "Is the AUC of 3d+2d+reader higher than that of reader, on the external test?"
    )
    assert question(results[1]) == (
        "Is the AUC of 3d not lower than that of 2d by 0.05 or more, on the internal test?"
    )
    assert "adjusted for 3 primary comparisons by Holm" in answer(results[0], 3)
    assert "95% interval" in answer(results[0], 1)
    assert "adjusted" not in answer(results[0], 1)


def test_a_centre_is_a_cohort_and_a_missing_one_is_undefined(study):
    centre = next(case.cohort for case in read_cohort(study).external)
    results = judged(named(study, [{**FIRST, "cohort": centre}, {**FIRST, "cohort": "nowhere"}]))
    count = sum(case.cohort == centre for case in read_cohort(study))
    assert results[0].n == count
    assert results[1].answer == "undefined"
    assert "no probabilities of 3d+2d+reader and reader on the cases of nowhere" in answer(
        results[1], 2
    )
    assert results[1].adjusted is None


def test_one_case_and_no_event_are_undefined_with_a_reason(study):
    table = pd.read_csv(study.cohort_csv, dtype=str, keep_default_na=False)
    lone = table.loc[(table["cohort"] == "centre2") & (table["label"] == "benign"), "case_id"]
    table.loc[table["case_id"] == lone.iloc[0], "cohort"] = "alone"
    table.to_csv(study.cohort_csv, index=False)
    for path in [*study.root.glob("predictions/*.csv"), *study.root.glob("fusion/*.csv")]:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows.loc[rows["case_id"] == lone.iloc[0], "cohort"] = "alone"
        rows.to_csv(path, index=False)
    metrics = ("auc", "sensitivity", "accuracy")
    primary = [{**FIRST, "metric": metric, "cohort": "alone"} for metric in metrics]
    area, sensitivity, accuracy = judged(named(study, primary))
    assert area.result.why == "only one class is present"
    assert sensitivity.result.why == "there is no positive case"
    assert (accuracy.n, accuracy.positives) == (1, 0)


def test_a_comparison_is_named_before_or_after_its_tables(study, tmp_path):
    study = named(study, [FIRST])
    for folder in ("predictions", "fusion"):
        shutil.move(study.root / folder, tmp_path / folder)
    (first,) = record_primary(study)
    assert first.before
    assert naming(first).endswith("UTC, before the results were known")
    for folder in ("predictions", "fusion"):
        shutil.move(tmp_path / folder, study.root / folder)
    content = study.primary_json.read_bytes()
    assert record_primary(study) == (first,)
    assert study.primary_json.read_bytes() == content
    study = named(study, [FIRST, {**FIRST, "type": "noninferiority", "margin": 0.1}][1:])
    with_margin, old = record_primary(study)
    assert not with_margin.before
    assert with_margin.known == (
        "fusion/3d+2d+reader.csv",
        "predictions/3d.csv",
        "predictions/2d.csv",
    )
    assert old == type(old)(first.comparison, first.named_at, (), withdrawn=True)


def test_a_record_that_was_changed_by_hand_is_refused(study):
    study = named(study, THREE)
    record_primary(study)
    content = json.loads(study.primary_json.read_text())
    content["comparisons"][1]["tables"] = {}
    study.primary_json.write_text(json.dumps(content))
    with pytest.raises(CustodyError, match="was changed or is damaged"):
        record_primary(study)
    study.primary_json.write_text("[]")
    with pytest.raises(CustodyError, match="was changed or is damaged"):
        record_primary(study)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"margin": 5}, "write 0.05 for 5 percentage points, found 5"),
        ({"margin": "5 %"}, "write 0.05 for 5 percentage points, found '5 %'"),
        ({"type": "noninferiority"}, "noninferiority needs a margin"),
        ({"compare": ["3d", "3d"]}, "compare names two models, found '3d' twice"),
        ({"compare": ["3d"]}, "evaluation.primary.0.compare"),
        ({"metric": "auroc"}, "'auc', 'sensitivity', 'specificity' or 'accuracy'"),
        ({"kohort": "external"}, "did you mean 'cohort'"),
    ],
)
def test_settings_that_are_wrong_are_refused(study, change, words):
    with pytest.raises(ConfigError, match=r"(?s)primary") as caught:
        named(study, [{**FIRST, **change}])
    assert words in str(caught.value)


def test_a_comparison_is_named_once_and_needs_two_classes(study):
    with pytest.raises(ConfigError, match="name each comparison once"):
        named(study, [FIRST, {**FIRST, "compare": FIRST["compare"][::-1]}])
    settings = yaml.safe_load(study.settings_file.read_text())
    settings["evaluation"] = {"primary": [FIRST]}
    settings["classes"] = ["benign", "between", "malignant"]
    study.settings_file.write_text(yaml.safe_dump(settings))
    with pytest.raises(ConfigError, match="primary comparisons are for two classes"):
        Study.open(study.root)


def test_unknown_models_and_cohorts_are_found_before_the_training(study):
    primary = [{**FIRST, "compare": ["3d+2d+readr", "reader"]}, {**FIRST, "cohort": "extern"}]
    problems = check_primary(named(study, primary), read_cohort(study))
    assert [str(problem.problem) for problem in problems] == [
        "evaluation.primary.0.compare: the study has no model, fusion or reader called "
        "'3d+2d+readr'",
        "evaluation.primary.1.cohort: the study has no cohort called 'extern'",
    ]
    assert "3d+2d+reader" in problems[0].remedy
    assert "external" in problems[1].remedy
    assert check_primary(named(study, THREE), read_cohort(study)) == []
