"""Clinical columns: their kinds, and the one rule for columns that give the class away."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from ctbone.clinical import ClinicalColumn, clinical_column, refuse_giveaway
from ctbone.cohort import Case
from ctbone.errors import CohortError, FusionError, ModelError
from ctbone.fusion import fuse
from ctbone.study import Study
from ctbone.training import train
from tests.models.small_study import model_of, small_study

MESSAGE = "the clinical column gives the class of every case away"


def cases(*cells):
    """Cases whose classes alternate, with these cells in the column ``x``."""
    return [
        Case(
            case_id=f"C{k}",
            patient_id=f"P{k}",
            label="am"[k % 2],
            cohort="internal",
            image=Path(),
            mask=None,
            metadata=(("x", cell),),
        )
        for k, cell in enumerate(cells)
    ]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (("1", "2.5", "", "-3e2"), "number"),
        (("1", "2", "high", "1"), "level"),
        (("nan", "1", "1", "1"), "level"),
        (tuple(f"note {k}" for k in range(13)), "text"),
        (("", "", ""), "empty"),
    ],
)
def test_the_kind_of_a_column(cells, kind):
    column = ClinicalColumn("x", cells)
    assert column.kind == kind
    if kind in ("text", "empty"):
        with pytest.raises(FusionError):
            column.require_usable(FusionError)
    else:
        column.require_usable(FusionError)


@pytest.mark.parametrize(
    "cells",
    [
        ("0", "1", "0", "1"),  # a copy of the label
        ("0", "1.0", "", "1"),  # 1 and 1.0 are one number
        ("low", "high", "low", "high"),
        ("cyst", "sarcoma", "lipoma", ""),  # two levels of one class
        ("", "yes", "", "yes"),  # only the sick have a cell
        ("", "7", "", "7"),
    ],
)
def test_a_column_that_gives_the_class_away_is_refused(cells):
    with pytest.raises(CohortError, match=MESSAGE):
        refuse_giveaway(cases(*cells), ["x"], CohortError)


@pytest.mark.parametrize(
    "cells",
    [
        ("0", "1", "1", "1"),
        ("40", "50", "60", "70"),  # distinct, as ages are
        ("low", "high", "high", "high"),
        ("", "yes", "", ""),
        ("", "", "", ""),
        ("same", "same", "same", "same"),
    ],
)
def test_an_ordinary_column_passes(cells):
    refuse_giveaway(cases(*cells), ["x"], CohortError)


def test_the_nearest_column_is_named():
    with pytest.raises(ModelError, match="no such clinical column") as caught:
        clinical_column(cases("1", "2"), "xx", ModelError)
    assert "did you mean 'x'?" in caught.value.remedy


def test_network_and_stack_refuse_the_same_copy_of_the_label(tmp_path):
    study = small_study(tmp_path, models={"m": model_of("3d", training={"epochs": 1})})
    train(study, "m")
    table = pd.read_csv(study.cohort_csv)
    table["verdict"] = (table["label"] == "malignant").astype(int)
    table.to_csv(study.cohort_csv, index=False)
    settings = yaml.safe_load(study.settings_file.read_text())
    settings["fusion"]["stacking"] = {"s": {"parts": ["m"], "columns": ["verdict"]}}
    study.settings_file.write_text(yaml.safe_dump(settings))
    with pytest.raises(FusionError, match=MESSAGE) as stacked:
        fuse(Study.open(tmp_path), scores=None)
    settings["models"]["n"] = model_of("3d", metadata=["verdict"])
    study.settings_file.write_text(yaml.safe_dump(settings))
    with pytest.raises(ModelError, match=MESSAGE) as trained:
        train(Study.open(tmp_path), "n")
    assert stacked.value.found == trained.value.found == "verdict"
