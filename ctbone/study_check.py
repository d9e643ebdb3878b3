"""Problems of a study beyond its cohort table and images: settings, scores, and disk space."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from ctbone.class_scores import check_class_scores, names_classes
from ctbone.clinical import clinical_column, refuse_giveaway
from ctbone.cohort import Cohort
from ctbone.config import READER, READERS, ModelSettings
from ctbone.differences import did_you_mean, nearest
from ctbone.errors import ConfigError, CtboneError, ModelError, ScoreError, StudyError
from ctbone.input_kind import INPUT_KINDS, kinds_of
from ctbone.scores import Scores, check_scores
from ctbone.study import Study

_BUILT_IN = frozenset({"densenet", "densenet121"})
"""Networks in 2D and 3D that need no import of MONAI or timm, which takes seconds, to be known."""
_LOSSES = frozenset({"cross_entropy", "focal"})
_NAMED = 20
"""Number of missing cases that a message lists at most."""


def check_models(study: Study, cohort: Cohort) -> list[CtboneError]:
    """List networks, losses, transforms, weights and metadata that do not exist; build nothing."""
    problems: list[CtboneError] = []
    for name, model in study.settings.models.items():
        for key, check in _checks_of(study, model, cohort):
            with _collected(problems, f"models.{name}.{key}"):
                check()
    return problems


def check_fusion(study: Study, cohort: Cohort) -> list[CtboneError]:
    """List the parts and clinical columns of the fusion settings that do not exist."""
    settings, fusion = study.settings, study.settings.fusion
    problems: list[CtboneError] = []
    tables = {file.stem for file in study.predictions_csv("any").parent.glob("[!.]*.csv")}
    parts = {*settings.models, READER, *tables}
    wanted: list[tuple[str, Iterable[str], set[str]]] = []
    if "combinations" in fusion.model_fields_set:  # the default names models that a study may lack
        wanted += [
            (f"combinations.{name}", names, parts) for name, names in fusion.combinations.items()
        ]
    wanted += [
        (f"stacking.{name}.parts", one.parts, {*parts, READERS})
        for name, one in fusion.stacking.items()
    ]
    fused = {*parts, *fusion.combinations, *fusion.stacking}
    wanted += [
        (f"recalibration.{name}", (one.of,), fused) for name, one in fusion.recalibration.items()
    ]
    for key, names, known in wanted:
        for part in names:
            if part not in known:
                with _collected(problems, f"fusion.{key}"):
                    raise ConfigError(
                        f"the study has no probabilities called '{part}'",
                        file=study.settings_file,
                        expected=", ".join(sorted(known)),
                        remedy=did_you_mean(part, known),
                    )
    for name, stack in fusion.stacking.items():
        for column in stack.columns:
            with _collected(problems, f"fusion.stacking.{name}.columns"):
                _require_column(cohort, column)
    return problems


def check_primary(study: Study, cohort: Cohort) -> list[CtboneError]:
    """List models and cohorts of ``evaluation.primary`` that do not exist."""
    fusion = study.settings.fusion
    known = {*study.settings.models, READER, *fusion.stacking, *fusion.recalibration}
    for csv in (study.predictions_csv("any"), study.fusion_csv("any")):
        known |= {file.stem for file in csv.parent.glob("[!.]*.csv")}
    given = "combinations" in fusion.model_fields_set
    known |= {name for name, parts in fusion.combinations.items() if given or known >= {*parts}}
    cohorts = ["internal"] if cohort.internal else []
    cohorts += (
        ["external", *sorted({case.cohort for case in cohort.external})]
        if (cohort.external)
        else []
    )
    problems: list[CtboneError] = []
    for number, one in enumerate(study.settings.evaluation.primary):
        for name in one.compare:
            if name not in known:
                with _collected(problems, f"evaluation.primary.{number}.compare"):
                    raise ConfigError(
                        f"the study has no model, fusion or reader called '{name}'",
                        file=study.settings_file,
                        expected=", ".join(sorted(known)),
                        remedy=did_you_mean(name, known),
                    )
        if cohorts and one.cohort not in cohorts:
            with _collected(problems, f"evaluation.primary.{number}.cohort"):
                raise ConfigError(
                    f"the study has no cohort called '{one.cohort}'",
                    file=study.settings_file,
                    expected=", ".join(cohorts),
                    remedy=did_you_mean(one.cohort, cohorts),
                )
    return problems


def require_ct(study: Study, command: str) -> None:
    """Refuse a command that works on CT in a study of radiographs.

    Raises
    ------
    StudyError
        The study holds radiographs.
    """
    if study.settings.of_radiographs:
        raise StudyError(
            f"ctbone {command} works on CT, not on radiographs",
            file=study.settings_file,
            found="dim: radiograph",
            remedy="docs/how-to.md lists under Radiographs what works on CT alone",
        )


def region_notes(study: Study, cohort: Cohort) -> list[str]:
    """Note classes of radiographs that differ in having a region: the crop then tells the class."""
    settings = study.settings
    if not settings.of_radiographs or settings.preprocess.radiographs.region != "box_or_image":
        return []
    has: dict[str, list[bool]] = {}
    for case in cohort:
        has.setdefault(case.label, []).append(case.box is not None or case.mask is not None)
    shares = {label: sum(found) / len(found) for label, found in has.items()}
    if len(shares) < 2 or max(shares.values()) - min(shares.values()) < _UNEVEN:
        return []
    listed = ", ".join(f"{share:.0%} of {label}" for label, share in shares.items())
    return [
        f"a region is given for {listed}: whether a radiograph is cropped tells the class; compare "
        "with preprocess.radiographs.region: image"
    ]


_UNEVEN = 0.2
"""Difference of two classes' shares of cases with a region that is noted."""


def check_readers(study: Study, cohort: Cohort) -> tuple[list[CtboneError], list[str]]:
    """Return problems and notes of ``scores.csv``; none where a study has no such table.

    Parameters
    ----------
    study
        The study.
    cohort
        Every case that the table may name.

    Returns
    -------
    tuple of list of CtboneError and list of str
        Bad rows, and no reader for the fusions that take one; and a note for each reader who
        scored a part of a centre's cases.
    """
    path = study.scores_csv
    if not path.exists() or not len(cohort):
        return [], []
    every = {case.case_id for case in cohort}
    try:
        scores, problems = _checked_answers(study, every)
    except StudyError as error:
        return [error], []
    unaided = scores.probabilities("unaided", sorted(every))
    missing = {str(name): set(unaided.index[unaided[name].isna()]) for name in unaided}
    fault = _reader_fault(study, missing, len(every)) if not problems else None
    if fault is not None:
        return [fault], []
    empty = [f"{scores.empty} rows of {path.name} have no score"] if scores.empty else []
    return problems, [*empty, *_partial_notes(scores.table, cohort)]


def _checked_answers(study: Study, case_ids: set[str]) -> tuple[Scores, list[CtboneError]]:
    path, classes = study.scores_csv, study.settings.classes
    if len(classes) > 2 and names_classes(path):
        return check_class_scores(path, case_ids, classes)
    return check_scores(path, case_ids, study.settings.scores)


def _reader_fault(study: Study, missing: dict[str, set[str]], cases: int) -> ScoreError | None:
    """Return why no fusion can take a reader; None if one can, or none takes a reader."""
    fusion = study.settings.fusion
    fused = [*fusion.combinations.values(), *(one.parts for one in fusion.stacking.values())]
    if all({READER, READERS}.isdisjoint(parts) for parts in fused):
        return None
    reader = fusion.reader
    if reader is not None and reader not in missing:
        return ScoreError(
            "fusion.reader names a reader without unaided scores",
            file=study.scores_csv,
            found=reader,
            expected=", ".join(sorted(missing)),
            remedy=did_you_mean(reader, missing, otherwise="correct fusion.reader in study.yaml"),
        )
    asked = {reader: missing[reader]} if reader is not None else missing
    unread = set.intersection(*asked.values()) if asked else set()
    if asked and not unread:
        return None
    who = f"reader {next(iter(asked))} misses" if len(asked) == 1 else "no reader scored"
    found = f"{who} {len(unread)} of {cases} cases: {_names(unread)}"
    return ScoreError(
        "no reader scored every case without AI" if reader is None else "scores are missing",
        file=study.scores_csv,
        found=found if asked else "no unaided scores",
        remedy="complete the scores, or leave the reader out of fusion.combinations",
    )


def _partial_notes(table: pd.DataFrame, cohort: Cohort) -> list[str]:
    """Note each reader who scored some cases of a centre and not all; none at all is a choice."""
    centres: dict[str, set[str]] = {}
    for case in cohort:
        centres.setdefault(case.cohort, set()).add(case.case_id)
    notes = []
    for (reader, session), rows in table.groupby(["reader_id", "session"]):
        scored = set(rows["case_id"])
        for centre, cases in centres.items():
            left = cases - scored
            if left and left != cases:
                notes.append(
                    f"reader {reader} ({session}) misses {len(left)} of {len(cases)} cases of "
                    f"{centre}: {_names(left)}"
                )
    return notes


def _names(cases: Collection[str]) -> str:
    shown = sorted(cases)[:_NAMED]
    more = len(cases) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _checks_of(
    study: Study, model: ModelSettings, cohort: Cohort
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the key of each named thing of a model, and a function that raises if it is unknown."""
    training = model.training
    if model.network not in _BUILT_IN:
        yield "network", lambda: _require_network(study, model)
    if model.weights != "none":
        yield "weights", lambda: _require_weights(study, model)
    if training.loss not in _LOSSES:
        yield "training.loss", lambda: _require_loss(study, model)
    if training.augmentation.extra:
        yield "training.augmentation.extra", lambda: _require_transforms(study, model)
    for column in model.metadata:
        yield "metadata", lambda column=column: _require_column(cohort, column)  # type: ignore[misc]


def _require_network(study: Study, model: ModelSettings) -> None:
    from ctbone.models.networks import refuse_unknown_network

    refuse_unknown_network(model, study.root)


def _require_loss(study: Study, model: ModelSettings) -> None:
    from ctbone.models.losses import refuse_unknown_loss

    refuse_unknown_loss(model.training.loss, study.root)


def _require_transforms(study: Study, model: ModelSettings) -> None:
    from ctbone.models.plugins import ExtraTransforms

    ExtraTransforms(model.training.augmentation, study.root, masked=model.mask != "none")


def _require_weights(study: Study, model: ModelSettings) -> None:
    if model.weights == "imagenet":
        if INPUT_KINDS[model.dim].dimensions == 2 and model.network == "densenet121":
            return
        from ctbone.models.networks import is_timm

        if not is_timm(model):
            raise ModelError(
                f"there are no ImageNet weights for the {model.dim} network '{model.network}'",
                remedy="set 'weights: none', or the path of a safetensors file",
            )
        return
    path = study.root / model.weights
    if not path.is_file():
        near = nearest(model.weights, ("none", "imagenet"))
        beside = [file.name for file in path.parent.glob("*") if file.is_file()]
        raise ModelError(
            "the file of weights does not exist",
            file=path,
            remedy=f"did you mean '{near}'?"
            if near
            else did_you_mean(path.name, beside, otherwise="correct 'weights' in study.yaml"),
        )


def _require_column(cohort: Cohort, column: str) -> None:
    internal = cohort.internal
    if not internal:
        return  # the check of the table says so
    clinical_column(internal, column, ConfigError).require_usable(ConfigError)
    refuse_giveaway(internal, [column], ConfigError)


@contextmanager
def _collected(problems: list[CtboneError], key: str) -> Iterator[None]:
    """Append an error of the block to the problems, with the key of the settings."""
    try:
        yield
    except CtboneError as error:
        error.problem = f"{key}: {error.problem}"
        problems.append(error)


_PARAMETERS = {("densenet121", "3d"): 11.2e6, ("densenet121", "2d"): 7.0e6, ("densenet", ""): 0.2e6}
"""Number of parameters: counted; ``densenet`` is that of the demo."""
_OTHER_PARAMETERS = 25e6
"""Of networks that are not in the table: about a ResNet-50."""
_COMPRESSED = 0.7
"""Size of a compressed volume, per byte of its int16 voxels; 0.45–0.66 on synthetic patients."""


def check_space(study: Study, cohort: Cohort, voxels: int) -> list[CtboneError]:
    """Compare the free disk space with the bytes that preprocessing and training will write.

    The estimate counts only what is not there yet:

    - volumes: voxels × 2 bytes × 0.7 (compressed);
    - crops: for each case, the voxels of the 3D crop and of the three 2D images × 3 bytes (int16
      HU and a uint8 mask);
    - training: parameters × 4 bytes × copies × (folds + 1). The copies of a fold are the weights
      that are kept, and the checkpoint's weights and optimizer (twice the weights) and EMA; the
      further fold stands for the files that are written beside those that they replace.

    Parameters
    ----------
    study, cohort
        The study and its cases.
    voxels
        Of all volumes that are not converted yet.
    """
    settings = study.settings
    crops = sum(
        3
        * kind.settings(settings.preprocess).size ** kind.dimensions
        * (3 if kind.has_views else 1)
        for case in cohort
        for dim, kind in kinds_of(settings).items()
        if not study.crop(case.case_id, dim).exists()
    )
    weights = sum(_training_bytes(study, name) for name in settings.models)
    needed = voxels * 2 * _COMPRESSED + crops + weights
    free = shutil.disk_usage(study.root).free
    if free >= needed:
        return []
    return [
        StudyError(
            "the disk has too little space for volumes, crops and checkpoints",
            file=study.root,
            found=f"{_gb(free)} free",
            expected=f"about {_gb(needed)}: volumes {_gb(voxels * 2 * _COMPRESSED)}, crops "
            f"{_gb(crops)}, checkpoints {_gb(weights)}",
            remedy="free some space, or move the study folder to another disk",
        )
    ]


def _training_bytes(study: Study, name: str) -> float:
    model, folds = study.settings.models[name], study.settings.folds.count
    known = _PARAMETERS.get((model.network, model.dim)) or _PARAMETERS.get((model.network, ""))
    left = sum(not _card(study, name, fold).is_file() for fold in range(folds))
    copies = 4 + (model.training.ema > 0)
    return 4 * (known or _OTHER_PARAMETERS) * copies * (left + 1) if left else 0


def _card(study: Study, model: str, fold: int) -> Path:
    return study.run_folder(model, fold) / "card.json"


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
