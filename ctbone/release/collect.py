"""From a trained study to its model file: verified, gathered, and kept until an input changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as save_arrays

import ctbone
from ctbone.cohort import Case, Cohort, read_cohort
from ctbone.config import READER, Settings
from ctbone.custody import inspect, require_current
from ctbone.errors import CtboneError, ReleaseError
from ctbone.folds import Folds, read_folds
from ctbone.input_kind import INPUT_KINDS
from ctbone.models.arithmetic import place_as_trained
from ctbone.models.crops import load_crops
from ctbone.models.ensemble import FoldNetwork, fold_output
from ctbone.models.hardware import choose_hardware
from ctbone.models.trained import Card, card_file, load_trained, read_card, weights_file
from ctbone.progress import progress
from ctbone.release.answer_list import collect_answers
from ctbone.release.archive import read_release, write_release
from ctbone.release.contents import (
    FORMAT,
    Contents,
    Distances,
    FoldFile,
    Normalisation,
    Numbers,
    Release,
    features_member,
    weights_member,
)
from ctbone.release.facts import CLINICAL, case_facts, training_range
from ctbone.release.feature_space import fit_feature_space
from ctbone.release.model_card import model_card
from ctbone.study import (
    Study,
    content_hash,
    file_hash,
    provenance,
    read_json,
    record_of,
    write_json,
)

_FILE_NAME = "file"
"""Stands for the path of initial weights, which may be private; no path is needed any more."""


def release_file(study: Study) -> Path:
    """Return the study's model file, ``release/<name>.ctbone``, made again if an input changed.

    Parameters
    ----------
    study
        All folds of at least one model are trained.

    Raises
    ------
    ReleaseError
        A model is trained in some of its folds, or none is trained; a network is a plug-in.
    CustodyError
        Weights, predictions or fusions do not belong to the data and settings of now.
    """
    cohort = read_cohort(study)
    models = _trained_models(study)
    count = study.settings.folds.count
    require_current(study, "weights", [f"{name}/fold{k}" for name in models for k in range(count)])
    require_current(study, "predictions", models)
    require_current(study, "fusion", _fusions(study))
    path = study.model_file
    key = _key(study, models)
    try:
        known = read_json(record_of(path))
        if known.get("key") == key and known.get("sha256") == file_hash(path):
            return path
    except (CtboneError, OSError):
        pass
    release = _collected(study, cohort, models, _earlier(path))
    digest = write_release(path, release)
    record = {
        "key": key,
        "sha256": digest,
        "models": models,
        "files": {
            file.relative_to(study.root).as_posix(): file_hash(file)
            for file in _tables(study, models)
        },
    }
    write_json(record_of(path), {**record, **provenance(study, "release")})
    read_release(path)  # what was written can be read
    return path


def _trained_models(study: Study) -> list[str]:
    """Return the models that are trained in all folds.

    Raises
    ------
    ReleaseError
        None is, or one is trained in some folds only.
    """
    count = study.settings.folds.count
    complete = []
    for name, model in study.settings.models.items():
        done = [fold for fold in range(count) if card_file(study, name, fold).is_file()]
        if done and len(done) < count:
            missing = ", ".join(str(fold) for fold in range(count) if fold not in done)
            raise ReleaseError(
                f"the model '{name}' is trained in {len(done)} of {count} folds",
                file=study.run_folder(name, done[0]).parent,
                found=f"folds {missing} are missing",
                remedy="run 'ctbone train' until all folds are trained",
            )
        if done and (":" in model.network or model.training.augmentation.extra):
            raise ReleaseError(
                f"the model '{name}' uses a plug-in, whose code a model file cannot hold",
                file=study.settings_file,
                found=model.network,
                remedy="use a network of MONAI or timm, and no transforms of your own",
            )
        complete += [name] if done else []
    if not complete:
        raise ReleaseError(
            "no model of the study is trained",
            file=study.root,
            remedy="run 'ctbone train' first",
        )
    return complete


def _fusions(study: Study) -> list[str]:
    fusion = study.settings.fusion
    names = [READER, *fusion.combinations, *fusion.stacking, *fusion.recalibration]
    return [name for name in names if study.fusion_csv(name).is_file()]


def _tables(study: Study, models: Sequence[str]) -> list[Path]:
    """Return cohort, folds, predictions, records of fusions and cards, whose content enters."""
    count = study.settings.folds.count
    return [
        *(study.cohort_csv, study.folds_csv),
        *(study.predictions_csv(name) for name in models),
        *(record_of(study.fusion_csv(name)) for name in _fusions(study)),
        *(card_file(study, name, fold) for name in models for fold in range(count)),
    ]


def _key(study: Study, models: Sequence[str]) -> str:
    """Return a digest of everything that the model file depends on."""
    files = _tables(study, models)
    metrics = study.report / "metrics.json"
    files += [metrics] if metrics.is_file() else []
    records = [record_of(study.nifti(case.case_id)) for case in read_cohort(study).internal]
    files += [record for record in records if record.is_file()]
    settings = study.settings.model_dump(mode="json")
    made_by = [FORMAT, ctbone.__version__]
    return content_hash([[file_hash(file) for file in files], settings, made_by])


def _earlier(path: Path) -> Release | None:
    """Return the model file of an earlier state of the study, if this ctbone can read it."""
    try:
        return read_release(path)
    except ReleaseError:
        return None


def _kept_spaces(
    earlier: Release | None, name: str, cards: Sequence[Card]
) -> tuple[dict[str, bytes], Distances | None] | None:
    """Return the feature spaces of an earlier file if its weights, and so its crops, are these.

    Measuring them again takes minutes; custody has verified that the crops are those of training.
    """
    if earlier is None or earlier.contents.made_with.get("ctbone") != ctbone.__version__:
        return None
    then = [fold.weights for fold in earlier.contents.folds.get(name, ())]
    if then != [card.weights_sha256 for card in cards]:
        return None
    known = earlier.contents.distances.get(name)
    if known is None:
        return {}, None
    members = [features_member(name, k) for k in range(len(cards))]
    return {member: earlier.tensors[member] for member in members}, known


def _collected(
    study: Study, cohort: Cohort, models: Sequence[str], earlier: Release | None
) -> Release:
    folds = read_folds(study, cohort)
    cards = {name: [read_card(study, name, k) for k in range(folds.count)] for name in models}
    tensors: dict[str, bytes] = {}
    distances: dict[str, Distances] = {}
    for name in models:
        for k in range(folds.count):
            tensors[weights_member(name, k)] = weights_file(study, name, k).read_bytes()
        spaces, known = _kept_spaces(earlier, name, cards[name]) or _feature_spaces(
            study, name, cohort=cohort, folds=folds
        )
        tensors |= spaces
        if known is not None:
            distances[name] = known
    answers, first, left_out = collect_answers(study, cohort, models)
    internal = cohort.internal
    columns = _compared_columns(study, models)
    facts = [case_facts(study, case, columns) for case in internal]
    contents = Contents(
        settings=_settings(study.settings),
        folds={name: tuple(map(_fold_file, cards[name])) for name in models},
        answers=answers,
        first=first,
        left_out=left_out,
        range=training_range(facts, [case.patient_id for case in internal]),
        distances=distances,
        cohort=_counts(study, cohort),
        made_with={"ctbone": ctbone.__version__, **provenance(study, "release")["libraries"]},
        made_from={
            "folds": folds.hash,
            **{f"predictions/{name}": file_hash(study.predictions_csv(name)) for name in models},
            **{f"fusion/{name}": file_hash(study.fusion_csv(name)) for name in _fusions(study)},
        },
    )
    return Release(contents, tensors, card=model_card(contents, _metrics(study)))


def _fold_file(card: Card) -> FoldFile:
    return FoldFile(
        weights=card.weights_sha256,
        epoch=card.epoch,
        encoding=card.metadata,
        normalisation=None
        if card.normalisation is None
        else Normalisation.model_validate(card.normalisation),
        computed_otherwise=card.computed_otherwise,
    )


def _settings(settings: Settings) -> Settings:
    """Return the settings without readers, and without paths of initial weights."""
    content = settings.model_dump(mode="json")
    content["fusion"] = {"combinations": {}}
    for model in content["models"].values():
        if model["weights"] not in ("none", "imagenet"):
            model["weights"] = _FILE_NAME
    return Settings.model_validate(content)


def _compared_columns(study: Study, models: Sequence[str]) -> list[str]:
    taken = [column for name in models for column in study.settings.models[name].metadata]
    taken += [name for one in study.settings.fusion.stacking.values() for name in one.columns]
    return list(dict.fromkeys([*CLINICAL, *taken]))


def _counts(study: Study, cohort: Cohort) -> dict[str, Any]:
    def _of(cases: Sequence[Case]) -> dict[str, Any]:
        return {
            "cases": len(cases),
            "patients": len({case.patient_id for case in cases}),
            "classes": {
                name: sum(case.label == name for case in cases) for name in study.settings.classes
            },
        }

    centres = {case.cohort for case in cohort.external}
    return {
        "training": _of(cohort.internal),
        "external": {**_of(cohort.external), "centres": len(centres)},
    }


def _metrics(study: Study) -> Mapping[str, Any] | None:
    """Return the metrics of the report if it is current."""
    if any(link.state != "current" for link in inspect(study).of("report")):
        return None
    return read_json(study.report / "metrics.json")


def _feature_spaces(
    study: Study, name: str, *, cohort: Cohort, folds: Folds
) -> tuple[dict[str, bytes], Distances | None]:
    """Fit the feature space of every fold; measure the distances of its out-of-fold cases."""
    model = study.settings.models[name]
    hardware = choose_hardware(model.training)
    masks = model.mask != "none"
    tensors: dict[str, bytes] = {}
    distances: list[float] = []
    axes = 0
    with progress(f"Measure the features of {name}", folds.count) as bar:
        for k in range(folds.count):
            network, card = load_trained(study, name, k, folds=folds.hash)
            placed = place_as_trained(
                network,
                card.computed_otherwise,
                hardware=hardware,
                shape=(model.channels, *INPUT_KINDS[model.dim].grid(study.settings.preprocess)),
                metadata=0 if card.encoding is None else card.encoding.width,
            )
            fold = FoldNetwork(placed, card.encoding)
            outputs = {}
            for role in ("train", "test"):
                cases = [cohort.case(case_id) for case_id in folds.cases(k, role)]
                crops = load_crops(
                    study, cases, model.dim, masks=masks, dilation=model.mask_dilation
                )
                outputs[role] = fold_output(fold, crops, cases, model=model, hardware=hardware)
            fitted, tested = outputs["train"].features, outputs["test"].features
            if fitted is None or tested is None:
                return {}, None
            space = fit_feature_space(fitted)
            axes = len(space.axes)
            tensors[features_member(name, k)] = save_arrays(space.arrays())
            distances += list(map(float, space.distances(tested)))
            bar.advance(f"fold {k}")
    return tensors, Distances(axes=axes, distances=Numbers.of(np.array(distances)))
