"""Numbers by patient and for groups of classes, against a plain computation."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ctbone.config import EvaluationSettings, Settings
from ctbone.reporting.levels import by_patient, in_groups_of_classes
from ctbone.reporting.scored_cases import ScoredCases

CLASSES = ("chordoma", "giant_cell", "cyst", "schwannoma", "metastasis", "myeloma")
GROUPS = {"malignant": ("chordoma", "metastasis", "myeloma")}


def scored(n=90, classes=CLASSES, several=True, seed=0):
    rng = np.random.default_rng(seed)
    patient = np.arange(n) // 2 if several else np.arange(n)
    labels = np.array(classes)[patient % len(classes)]
    p = rng.dirichlet(np.ones(len(classes)), n)
    p += 0.5 * (labels[:, None] == np.array(classes))
    p /= p.sum(axis=1, keepdims=True)
    cases = pd.DataFrame(
        {
            "case_id": [f"C{k}" for k in range(n)],
            "patient_id": [f"P{k}" for k in patient],
            "cohort": "internal",
            "label": labels,
            "fold": pd.array(patient % 3, dtype="Int64"),
            "threshold": 0.5,
            **{f"p_{name}": p[:, k] for k, name in enumerate(classes)},
        }
    )
    return ScoredCases("net", cases, tuple(classes), classes[-1])


def test_a_patient_has_the_mean_of_the_cases():
    one = scored()
    merged = by_patient(one)
    assert len(merged) == 45
    expected = one.matrix.reshape(45, 2, 6).mean(axis=1)
    np.testing.assert_allclose(merged.matrix, expected)
    assert merged.patients is None
    assert merged.cases["label"].tolist() == one.cases["label"].tolist()[::2]


def test_patients_with_several_labels_are_left_out():
    one = scored()
    one.cases.loc[0, "label"] = "myeloma"
    assert "P0" not in set(by_patient(one).cases["patient_id"])
    assert len(by_patient(one)) == 44


def test_a_group_has_the_sum_of_its_classes():
    one = scored()
    (group,) = in_groups_of_classes(one, GROUPS)
    truth = one.cases["label"].isin(GROUPS["malignant"])
    p = one.cases["p_chordoma"] + one.cases["p_metastasis"] + one.cases["p_myeloma"]
    np.testing.assert_allclose(group.p, p)
    assert roc_auc_score(group.truth, group.p) == pytest.approx(roc_auc_score(truth, p))
    assert group.positive == "malignant"


@pytest.mark.parametrize("members", [["osteoma"], ["cyst", "cyst"], []])
def test_groups_name_classes_of_the_study(members):
    with pytest.raises(ValueError, match="groups"):
        Settings(
            name="s",
            classes=CLASSES,
            evaluation=EvaluationSettings.model_construct(
                **{**EvaluationSettings().model_dump(), "groups": {"g": members}}
            ).model_dump(),
        )
