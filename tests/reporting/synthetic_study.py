"""A study folder without images: cohort, folds, probabilities of two models, readers' scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy.special import expit

from ctbone.cohort import read_cohort
from ctbone.folds import read_or_draw_folds
from ctbone.predictions import probability_columns, write_predictions
from ctbone.study import Study, write_text

# How much the logit of the true class stands out; with two classes the AUC is about Φ of it.
SEPARATION = {"3d": 1.3, "2d": 0.9, "senior": 1.15, "junior": 0.5}


@dataclass(frozen=True)
class Sizes:
    """Cases of each class, internal and at each of two external centres."""

    internal: tuple[int, ...] = (60, 140)
    external: tuple[int, ...] = (20, 36)


def make_study(
    root: Path,
    sizes: Sizes | None = None,
    *,
    seed: int = 0,
    readers: tuple[str, ...] = ("senior",),
    patients_of_two: bool = False,
    **settings: object,
) -> Study:
    """Write a study whose stages up to prediction have run.

    With ``patients_of_two``, every third case is of the patient of the last one of its centre.
    """
    sizes = sizes or Sizes()
    classes = tuple(settings.get("classes", ("benign", "malignant")))
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    write_text(root / "study.yaml", yaml.safe_dump({"name": "pilot", **_plain(settings)}))
    cohort = _cohort(sizes, classes, rng)
    if patients_of_two:
        before = cohort.groupby("cohort")["patient_id"].shift()
        third = cohort.groupby("cohort").cumcount() % 3 == 2
        cohort["patient_id"] = before.where(third, cohort["patient_id"])
    cohort.to_csv(root / "cohort.csv", index=False)
    study = Study.open(root)
    folds = read_or_draw_folds(study, read_cohort(study)).table.set_index("case_id")
    for model in ("3d", "2d"):
        table = _predictions(model, cohort, folds, classes, rng, views=model == "2d")
        write_predictions(study.predictions_csv(model), table, classes, {"stage": "test"})
    if len(classes) == 2:
        _scores(cohort, classes, readers, rng).to_csv(root / "scores.csv", index=False)
    return study


def _plain(settings: dict[str, object]) -> dict[str, object]:
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()
    }


def _cohort(sizes: Sizes, classes: tuple[str, ...], rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for cohort, counts in (("internal", sizes.internal), ("external", sizes.external)):
        for number, count in enumerate(counts):
            for _ in range(count):
                name = cohort if cohort == "internal" else f"centre{rng.integers(2, 4)}"
                age = np.clip(rng.normal(40 + 4 * number, 17), 6, 85)
                rows.append(
                    (
                        name,
                        classes[number],
                        f"{age:.0f}",
                        rng.choice(["female", "male"], p=[0.47, 0.53]),
                    )
                )
    order = rng.permutation(len(rows))
    table = pd.DataFrame([rows[i] for i in order], columns=["cohort", "label", "age", "sex"])
    table["site"] = rng.choice(["S1", "S2", "S3–5"], len(table))
    table.loc[rng.choice(len(table), 4, replace=False), "age"] = ""
    table.insert(0, "case_id", [f"P{number:04d}" for number in range(1, len(table) + 1)])
    table.insert(1, "patient_id", table["case_id"])
    return table.assign(image="images/none.nii.gz", mask="")


def _latent(
    separation: float, table: pd.DataFrame, classes: tuple[str, ...], rng: np.random.Generator
) -> np.ndarray:
    """Logits of each class, shape (cases, classes)."""
    truth = np.array([classes.index(label) for label in table["label"]])
    logits = rng.normal(size=(len(table), len(classes)))
    logits[np.arange(len(table)), truth] += separation
    return logits


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _predictions(
    model: str,
    cohort: pd.DataFrame,
    folds: pd.DataFrame,
    classes: tuple[str, ...],
    rng: np.random.Generator,
    *,
    views: bool,
) -> pd.DataFrame:
    base = _latent(SEPARATION[model], cohort, classes, rng)
    parts = []
    for fold in range(sum(name.startswith("role_") for name in folds)):
        role = cohort["case_id"].map(folds[f"role_{fold}"]).fillna("external")
        kept = (role != "train").to_numpy()
        noise = 0.3 * rng.normal(size=base.shape)
        p = _softmax(base + noise)[kept]
        rows = cohort.loc[kept, ["case_id", "patient_id", "cohort", "label"]].assign(
            model=model, fold=fold, split=role[kept], view=""
        )
        rows[probability_columns(classes)] = p
        parts.append(rows)
        if views:
            parts += [rows.assign(view=view) for view in ("axial", "coronal", "sagittal")]
    return pd.concat(parts, ignore_index=True)


def _scores(
    cohort: pd.DataFrame,
    classes: tuple[str, ...],
    readers: tuple[str, ...],
    rng: np.random.Generator,
) -> pd.DataFrame:
    scale = np.array([1, 2, 3, 4, 6, 7, 8, 9])
    tables = []
    for reader in readers:
        logits = _latent(SEPARATION[reader], cohort, classes, rng)
        p = expit(logits[:, 1] - logits[:, 0] + 0.3)
        score = scale[np.digitize(p, np.linspace(0, 1, 9)[1:-1])]
        tables.append(
            cohort[["case_id"]].assign(
                reader_id=reader, level=reader, session="unaided", score=score
            )
        )
    return pd.concat(tables)[["reader_id", "level", "session", "case_id", "score"]]
