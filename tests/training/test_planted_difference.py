"""A small part of ``scripts/bench learning``: the AUC rises with the planted difference."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ctbone.predictions import read_predictions
from ctbone.training import protocol, train
from tests.models.small_study import model_of, small_study


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(protocol, "draw_curves", lambda *_, **__: None)


def test_the_auc_rises_with_the_planted_difference(tmp_path):
    means = []
    for contrast in (0, 200, 1000):
        aucs = []
        for seed in range(2):
            model = model_of("3d", training={"epochs": 5, "batch_size": 6, "seed": seed})
            root = tmp_path / f"{contrast}-{seed}"
            study = small_study(
                root,
                models={"3d": model},
                patients=40,
                external=0,
                contrast=contrast,
                seed=seed,
                noise=300,
            )
            own = read_predictions(train(study, "3d").predictions, ("benign", "malignant")).query(
                "split == 'test'"
            )
            for _, part in own.groupby("fold"):
                aucs.append(roc_auc_score(part["label"] == "malignant", part["p_malignant"]))
        means.append(np.mean(aucs))
    assert means[0] < means[1] < means[2]
    assert means[2] > 0.85
    # four AUCs of 10 against 10, each with a spread of 0.132 under chance
    assert abs(means[0] - 0.5) < 3 * 0.132 / 2
