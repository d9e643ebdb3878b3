"""Six subtypes in 3D with age and sex: one loop, one table, and benign or malignant from it."""

import numpy as np
import pandas as pd
import yaml

from ctbone import workflow
from ctbone.study import Study
from tests.models.small_study import model_of, small_study

SUBTYPES = ("cyst", "giant_cell", "schwannoma", "chordoma", "metastasis", "myeloma")
MALIGNANT = ["chordoma", "metastasis", "myeloma"]


def test_six_classes_in_3d_with_metadata_and_their_hierarchy(tmp_path):
    model = model_of("3d", metadata=["age", "sex"], training={"epochs": 2, "learning_rate": 0.01})
    study = small_study(
        tmp_path, models={"net": model}, classes=SUBTYPES, patients=48, external=0, contrast=300
    )
    cohort = pd.read_csv(study.cohort_csv)
    number = np.array([SUBTYPES.index(label) for label in cohort["label"]])
    rng = np.random.default_rng(0)
    cohort["age"] = np.round(30 + 5 * number + rng.normal(0, 4, len(cohort))).astype(int)
    cohort["sex"] = rng.choice(["female", "male"], len(cohort))
    cohort.to_csv(study.cohort_csv, index=False)
    settings = yaml.safe_load(study.settings_file.read_text())
    settings["evaluation"] = {"bootstrap": 100, "groups": {"malignant": MALIGNANT}}
    study.settings_file.write_text(yaml.safe_dump(settings))
    workflow.train(study.root)
    workflow.report(study.root)
    table = Study.open(tmp_path).predictions("net")
    test = table[table["split"] == "test"]
    assert len(test) == 48
    np.testing.assert_allclose(test[[f"p_{name}" for name in SUBTYPES]].sum(axis=1), 1)
    levels = pd.read_csv(tmp_path / "report" / "tables" / "levels_internal.csv")
    assert set(levels["outcome"]) == {*SUBTYPES, "malignant"}
    row = levels[levels["outcome"] == "malignant"].iloc[0]
    p = test[[f"p_{name}" for name in MALIGNANT]].sum(axis=1)
    truth = test["label"].isin(MALIGNANT)
    wins = (p[truth].to_numpy()[:, None] > p[~truth].to_numpy()).mean()
    assert abs(row["auc"] - wins) < 1e-6
    assert row["positives"] == truth.sum() == 24
