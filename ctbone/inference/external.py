"""Predictions of every fold's model for the external cases, added to those of the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ctbone.cohort import read_cohort
from ctbone.custody import require_current
from ctbone.errors import InferenceError, StudyError
from ctbone.folds import read_folds
from ctbone.input_kind import INPUT_KINDS
from ctbone.models.arithmetic import place_as_trained
from ctbone.models.batches import batch_source
from ctbone.models.crops import load_crops, refuse_shared_voxels
from ctbone.models.fold_tables import join_fold_tables, table_record, write_fold_table
from ctbone.models.hardware import choose_hardware
from ctbone.models.probabilities import logits_of, prediction_rows, probabilities_of, view_shares
from ctbone.models.trained import card_file, load_trained
from ctbone.models.training_key import model_settings
from ctbone.progress import progress
from ctbone.study import Study, provenance


def predict_external(study: Study, model: str) -> Path:
    """Predict every external case with every fold's model.

    A case gets one row a fold, in 2D one more for each of its images; ``case_probabilities``
    averages the folds.

    Parameters
    ----------
    study
        All folds of the model are trained, and the external cases preprocessed.
    model
        A name under ``models`` in the settings.

    Returns
    -------
    Path
        ``predictions/<model>.csv``: the rows of the training and these, of split ``external``.

    Raises
    ------
    InferenceError
        The cohort has no external case, or folds are not trained (they are named).
    CustodyError
        The weights or the external crops do not belong to the data and settings of now.
    ModelError
        Weights are damaged or were trained with other settings or folds; crops are missing; an
        external patient has the voxels of an internal one.
    """
    ours = model_settings(study.settings, model)
    cohort = read_cohort(study)
    if not cohort.external:
        raise InferenceError(
            "the cohort has no external case",
            file=study.cohort_csv,
            expected="a row whose cohort is the name of an external centre",
            remedy="no prediction is needed: the table already holds the test rows of the training",
        )
    folds = read_folds(study, cohort)
    count = study.settings.folds.count
    missing = missing_folds(study, model)
    if missing:
        listed = ", ".join(map(str, missing))
        raise InferenceError(
            f"the model '{model}' lacks {len(missing)} of its {count} folds: {listed}",
            file=study.run_folder(model, missing[0]).parent,
            remedy="run 'ctbone train' until all folds are trained",
        )
    require_current(study, "weights", [f"{model}/fold{fold}" for fold in range(count)])
    crops = load_crops(
        study, cohort.external, ours.dim, masks=ours.mask != "none", dilation=ours.mask_dilation
    )
    refuse_shared_voxels(study, cohort, crops)
    shares = view_shares(ours, crops)
    hardware = choose_hardware(ours.training)
    source = batch_source(crops, hardware.device)
    shape = (ours.channels, *INPUT_KINDS[ours.dim].grid(study.settings.preprocess))
    rows_of_all = np.arange(len(crops.case_ids))
    made_from = table_record(study, model, weights="", cohort=cohort, part="external")
    with progress(f"Predict {model}, {len(cohort.external)} external cases", count) as bar:
        for fold in range(count):
            network, card = load_trained(study, model, fold, folds=folds.hash)
            metadata = None if card.encoding is None else card.encoding.encode(cohort.external)
            logits = logits_of(
                place_as_trained(
                    network,
                    card.computed_otherwise,
                    hardware=hardware,
                    shape=shape,
                    metadata=0 if metadata is None else metadata.shape[1],
                ),
                source,
                rows=rows_of_all,
                model=ours,
                hardware=hardware,
                metadata=metadata,
            )
            rows = prediction_rows(
                probabilities_of(logits),
                shares,
                cases=cohort.external,
                views=crops.views,
                classes=study.settings.classes,
                model=model,
                fold=fold,
                split="external",
            )
            origin = provenance(
                study, "inference", {"cohort": study.cohort_csv, "folds": study.folds_csv}
            )
            record = {
                **made_from,
                "weights": card.weights_sha256,
                "provenance": origin,
            }
            write_fold_table(study, model, fold, part="external", rows=rows, record=record)
            bar.advance(f"fold {fold}")
    table = join_fold_tables(study, model, cohort)
    if table is None:
        raise StudyError("no fold is finished", file=study.run_folder(model, 0).parent)
    return table


def missing_folds(study: Study, model: str) -> tuple[int, ...]:
    """Return the folds of a model that are not trained."""
    count = study.settings.folds.count
    return tuple(fold for fold in range(count) if not card_file(study, model, fold).is_file())
