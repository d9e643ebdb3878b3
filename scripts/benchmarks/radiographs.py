"""Run the three-class pipeline on a BTXRD folder; print the paper's numbers beside yours.

scripts/bench radiographs --data BTXRD [--study DIR] [--group COLUMN] [--config NAME]
scripts/bench radiographs --phantom [--seeds 10]
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

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


def phantom(seeds: int) -> None:
    """AUC of images alone and with metadata that carries signal, is noise, or is shuffled."""
    import yaml
    from sklearn.metrics import roc_auc_score

    import ctbone as ct
    from ctbone.phantom.radiograph_cohort import RadiographCohort, write_radiographs

    net = {
        "dim": "radiograph",
        "network": "densenet",
        "network_options": {"block_config": [2, 2, 2], "growth_rate": 8, "init_features": 16},
        "normalise": "training",
    }
    columns = ["age", "crp", "esr", "alp", "pain", "swelling", "trauma"]
    classes = {"infection": "benign", "tumour": "malignant"}
    settings = {
        "name": "phantom",
        "classes": [*classes],
        "folds": {"count": 3},
        "preprocess": {"radiographs": {"size": 40, "margin": 0.1}},
        "training": {
            "epochs": 14,
            "batch_size": 16,
            "learning_rate": 0.004,
            "schedule": "cosine",
            "augmentation": {"flip": ["horizontal"], "rotation": 5, "translation": 0.05},
        },
        "models": {"image": net, "metadata": {**net, "metadata": columns}},
        "fusion": {"combinations": {}},
    }
    kinds = {"signal": {}, "noise": {"signal": 0.0}, "shuffled": {"shuffle_labels": True}}
    found = {(kind, name): [] for kind in kinds for name in settings["models"]}
    for seed in range(seeds):
        for kind, changes in kinds.items():
            with tempfile.TemporaryDirectory() as folder:
                cohort = RadiographCohort(
                    internal=72, external={}, classes=classes, spacing_mm=2.2, seed=seed, **changes
                )
                write_radiographs(Path(folder), cohort)
                (Path(folder) / "study.yaml").write_text(yaml.safe_dump(settings))
                assert ct.preprocess(folder).ok
                ct.train(folder)
                for name in settings["models"]:
                    table = ct.Study(folder).predictions(name)
                    test = table[table["split"] == "test"]
                    auc = roc_auc_score(test["label"] == "tumour", test["p_tumour"])
                    found[kind, name].append(float(auc))
        print(json.dumps({f"{a} {b}": values for (a, b), values in found.items()}), flush=True)
    for (kind, name), values in found.items():
        half = 1.96 * np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        print(f"{kind:10}{name:10}AUC {np.mean(values):.3f} ± {half:.3f} ({len(values)} seeds)")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path)
    options.add_argument("--study", type=Path, default=Path("btxrd-study"))
    options.add_argument("--group")
    options.add_argument("--config", default="three_class_radiographs")
    options.add_argument("--phantom", action="store_true")
    options.add_argument("--seeds", type=int, default=10)
    given = options.parse_args()
    if given.phantom:
        phantom(given.seeds)
    elif given.data is None:
        options.error("name the BTXRD folder: --data DIR")
    else:
        compare(given.data, given.study, given.group, given.config)
