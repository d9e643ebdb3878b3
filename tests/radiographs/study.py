"""A small study of synthetic radiographs, made once a session."""

from pathlib import Path
from unittest import mock

import numpy as np
import yaml

from ctbone.phantom import radiograph_cohort
from ctbone.phantom.radiograph_cohort import RadiographCohort, write_radiographs
from ctbone.study import Study

THIN = {"block_config": [1, 1], "growth_rate": 8, "init_features": 8, "bn_size": 2}
TUMOURS = {"infection": "benign", "tumour": "malignant"}
COLUMNS = ["age", "crp", "esr", "pain"]


def model(**changes):
    training = {"epochs": 8, "batch_size": 8, "learning_rate": 0.01, "schedule": "cosine"}
    training |= {"augmentation": {"flip": ["horizontal"], "rotation": 5, "translation": 0.05}}
    return {
        "dim": "radiograph",
        "network": "densenet",
        "network_options": THIN,
        "normalise": "training",
        "training": {**training, **changes.pop("training", {})},
        **changes,
    }


def write_study(root: Path, *, models, classes=None, region="box", fusion=None, **cohort) -> Study:
    """Write cohort and settings; the cohort is ``RadiographCohort`` with these values."""
    settings = RadiographCohort(
        **{
            "internal": 24,
            "external": {},
            "classes": classes or TUMOURS,
            "difficulty": 0.0,
            "spacing_mm": 4.0,
            **cohort,
        }
    )
    with mock.patch.object(radiograph_cohort, "_render", _ball):
        write_radiographs(root, settings)
    content = {
        "name": "films",
        "classes": [*settings.classes],
        "folds": {"count": 2, "validation_share": 0.25},
        "preprocess": {"radiographs": {"size": 32, "region": region, "margin": 0.1}},
        "models": models,
        "fusion": {"combinations": {}, **(fusion or {})},
        "evaluation": {"bootstrap": 200},
    }
    (root / "study.yaml").write_text(yaml.safe_dump(content))
    return Study.open(root)


def _ball(patient, settings, rng):
    """A ball in water, in place of the anatomy, which takes a second a patient: lytic, or dense."""
    shape = tuple(round(edge / settings.spacing_mm) for edge in (190, 170, 150))
    centre = np.array(shape) / 2 + rng.uniform(-4, 4, 3)
    distance = np.linalg.norm(np.indices(shape) - centre[:, None, None, None], axis=0)
    mask = distance < rng.uniform(5, 8)
    hu = {None: 0.0, "benign": -400.0, "malignant": 500.0}[settings.classes[patient.truth]]
    return np.where(mask, hu, 0.0) + rng.normal(0, 20, shape), mask
