"""Run the three-class pipeline on a BTXRD folder; print the paper's numbers beside yours.

scripts/bench radiographs --data BTXRD [--study DIR] [--group COLUMN] [--config NAME]
scripts/bench radiographs --phantom [--seeds 10]     synthetic anatomy: minutes a seed
scripts/bench radiographs --metadata [--seeds 10]    a ball in water: seconds a seed
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parents[2] / "pipelines"))

PAPER = {
    "accuracy": "0.9605 (0.9541–0.9666)",
    "balanced accuracy": "0.9394",
    "macro F1": "0.9262",
    "macro AUC": "0.9921 (0.9889–0.9942)",
    "malignant called normal": "1/342, 0.0029 (0.0001–0.0162)",
}
"""Abstract of the paper, Diagnostics 2026;16:1811: 3,746 radiographs, folds not by patient."""


def ours(study) -> dict[str, str]:
    """Return the same numbers of a study, out of fold."""
    from scipy.stats import beta
    from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

    classes = list(study.settings.classes)
    (name,) = study.settings.models
    table = study.predictions(name)
    table = table[(table["split"] == "test") & (table["view"] == "")]
    p = table[[f"p_{one}" for one in classes]].to_numpy()
    truth = np.array([classes.index(label) for label in table["label"]])
    called = p.argmax(axis=1)
    malignant = truth == classes.index("malignant")
    wrong, of = int((called[malignant] == classes.index("normal")).sum()), int(malignant.sum())
    low = beta.ppf(0.025, wrong, of - wrong + 1) if wrong else 0.0
    high = beta.ppf(0.975, wrong + 1, of - wrong) if wrong < of else 1.0
    return {
        "accuracy": f"{(called == truth).mean():.4f}",
        "balanced accuracy": f"{balanced_accuracy_score(truth, called):.4f}",
        "macro F1": f"{f1_score(truth, called, average='macro'):.4f}",
        "macro AUC": f"{roc_auc_score(truth, p, multi_class='ovr', average='macro'):.4f}",
        "malignant called normal": f"{wrong}/{of}, {wrong / of:.4f} ({low:.4f}–{high:.4f})",
    }


def compare(data: Path, folder: Path, group: str | None, config: str) -> None:
    import three_class_radiographs as pipeline

    from ctbone.study import Study

    pipeline.main(data, folder, group, config)
    found = ours(Study.open(folder))
    print(f"{'':24}{'paper':28}yours, grouped by {Study.open(folder).settings.grouping}")
    for name, value in PAPER.items():
        print(f"{name:24}{value:28}{found[name]}")


COLUMNS = ["age", "crp", "esr", "alp", "pain", "swelling", "trauma"]
CLASSES = {"infection": "benign", "tumour": "malignant"}
NET = {
    "dim": "radiograph",
    "network": "densenet",
    "network_options": {"block_config": [2, 2], "growth_rate": 8, "init_features": 16},
    "normalise": "training",
}
STUDY = {
    "name": "phantom",
    "classes": [*CLASSES],
    "folds": {"count": 3},
    "preprocess": {"radiographs": {"size": 32, "margin": 0.1}},
    "training": {
        "epochs": 16,
        "batch_size": 8,
        "learning_rate": 0.004,
        "schedule": "cosine",
        "augmentation": {"flip": ["horizontal"], "rotation": 5, "translation": 0.05},
    },
    "models": {"image": NET, "metadata": {**NET, "metadata": COLUMNS}},
    "fusion": {"combinations": {}},
}
ANATOMY = {"internal": 72, "external": {}, "classes": CLASSES, "spacing_mm": 2.2}
BALLS = {"internal": 90, "external": {}, "classes": CLASSES, "spacing_mm": 4.0}
APART, SPREAD = 240.0, 200.0
"""HU between the mean balls of the classes, and their standard deviation: 1.2 of it apart, so that
no reader of the images exceeds an AUC of Φ(1.2 / √2) = .80. The seven clinical values are .8 apart
each: at most Φ(.8 √7 / √2) = .93 alone and .95 with the images, less for the missing ones."""


def ball(patient, settings, rng):
    """Return a ball in water, in place of the anatomy, which takes a second a patient."""
    shape = tuple(round(edge / settings.spacing_mm) for edge in (190, 170, 150))
    centre = np.array(shape) / 2 + rng.uniform(-4, 4, 3)
    distance = np.linalg.norm(np.indices(shape) - centre[:, None, None, None], axis=0)
    mask = distance < rng.uniform(5, 8)
    side = 1 if patient.truth == "tumour" else -1
    hu = rng.normal(side * APART / 2, SPREAD)
    return np.where(mask, hu, 0.0) + rng.normal(0, 20, shape), mask


def phantom(seeds: int, design: dict) -> None:
    """AUC of images alone and with metadata that carries signal, is noise, or has no truth.

    The films of a seed are drawn once. Clinical values and labels are drawn anew on them, so the
    image model of signal and of noise is the same, and differences are paired.
    """
    import ctbone as ct
    from ctbone.phantom.radiograph_cohort import RadiographCohort, write_radiographs

    kinds = {"signal": {}, "noise": {"signal": 0.0}, "shuffled": {"shuffle_labels": True}}
    found = {(kind, name): [] for kind in kinds for name in ("image", "metadata")}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            films = Path(folder) / "films"
            cohort = RadiographCohort(seed=seed, **design)
            write_radiographs(films, cohort)
            (films / "study.yaml").write_text(yaml.safe_dump(STUDY))
            if not (done := ct.preprocess(films)).ok:
                sys.exit(str(done))
            for kind, changes in kinds.items():
                study = Path(folder) / kind
                shutil.copytree(films, study)
                relabel(study, replace(cohort, **changes))
                ct.train(study)
                for name in ("image", "metadata"):
                    found[kind, name].append(auc(ct.Study(study), name))
        print(json.dumps({f"{a} {b}": v for (a, b), v in found.items()}), flush=True)
    for (kind, name), values in found.items():
        print(f"{kind:10}{name:10}AUC {with_interval(values)}")
    for kind in kinds:
        gains = np.subtract(found[kind, "metadata"], found[kind, "image"])
        print(f"{kind:10}metadata − image {with_interval(gains)}")


def relabel(study: Path, cohort) -> None:
    """Replace the clinical values and the labels of a study by those of another cohort."""
    import pandas as pd

    from ctbone.phantom.radiograph_cohort import draw_clinical, draw_patients

    patients = draw_patients(cohort)
    labels = {one.case.patient_id: one.label for one in patients}
    clinical = pd.DataFrame(draw_clinical(cohort, patients)).T
    table = pd.read_csv(study / "cohort.csv", dtype=str, keep_default_na=False)
    table["label"] = table["patient_id"].map(labels)
    for name in clinical:
        table[name] = table["patient_id"].map(clinical[name])
    table.to_csv(study / "cohort.csv", index=False)


def auc(study, name: str) -> float:
    """Return the out-of-fold AUC, of all folds together."""
    from sklearn.metrics import roc_auc_score

    table = study.predictions(name)
    test = table[(table["split"] == "test") & (table["view"] == "")]
    return float(roc_auc_score(test["label"] == "tumour", test["p_tumour"]))


def with_interval(values) -> str:
    """Return the mean and its 95 % t interval over the seeds.

    >>> with_interval([0.8, 0.9])
    '0.850 (0.215 to 1.485), 2 seeds'
    """
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return f"{np.mean(values):.3f}, 1 seed"
    half = t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)
    mean = np.mean(values)
    return f"{mean:.3f} ({mean - half:.3f} to {mean + half:.3f}), {n} seeds"


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path)
    options.add_argument("--study", type=Path, default=Path("btxrd-study"))
    options.add_argument("--group")
    options.add_argument("--config", default="three_class_radiographs")
    options.add_argument("--phantom", action="store_true")
    options.add_argument("--metadata", action="store_true")
    options.add_argument("--seeds", type=int, default=10)
    given = options.parse_args()
    if given.phantom:
        phantom(given.seeds, ANATOMY)
    elif given.metadata:
        with mock.patch("ctbone.phantom.radiograph_cohort._render", ball):
            phantom(given.seeds, BALLS)
    elif given.data is None:
        options.error("name the BTXRD folder: --data DIR")
    else:
        compare(given.data, given.study, given.group, given.config)
