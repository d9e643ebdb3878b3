"""What the records of a study prove: trained folds, the draw of the folds, images and crops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ctbone.cohort import Cohort
from ctbone.config import READER, READERS, FoldSettings, ModelSettings, Settings
from ctbone.document import Notice
from ctbone.errors import StudyError
from ctbone.input_kind import INPUT_KINDS, Dim
from ctbone.reporting.sources import Source
from ctbone.study import Study, file_hash, read_json, record_of


@dataclass(frozen=True)
class TrainedFold:
    """One trained fold, as its card describes it.

    Attributes
    ----------
    fold, epoch
        Its number, and the epoch that was kept.
    model
        The settings of the model.
    shared
        The study's ``training`` settings at that time; a model may override them.
    preprocess
        The preprocessing settings of its images.
    folds
        Hash of ``folds.csv``.
    versions
        ctbone, Python and libraries.
    """

    fold: int
    epoch: int
    model: ModelSettings
    shared: dict[str, Any]
    preprocess: dict[str, Any]
    folds: str
    versions: tuple[tuple[str, str], ...]

    @property
    def settings(self) -> dict[str, str]:
        """Every setting of the model and of its images, as a dotted key and a text."""
        section = INPUT_KINDS[self.model.dim].section
        return {
            **dict(flatten(self.model.model_dump(mode="json"))),
            **dict(flatten(self.preprocess, f"preprocess.{section}")),
        }


@dataclass(frozen=True)
class TrainedModel:
    """A model whose table of probabilities was made by trained folds of this study.

    Attributes
    ----------
    name
        The model.
    folds
        The trained folds, ascending.
    missing
        Folds of the study that are not trained.
    """

    name: str
    folds: tuple[TrainedFold, ...]
    missing: tuple[int, ...]

    def groups(self) -> list[tuple[TrainedFold, ...]]:
        """Return the folds, grouped by their settings."""
        found: dict[str, list[TrainedFold]] = {}
        for fold in self.folds:
            found.setdefault(repr(sorted(fold.settings.items())), []).append(fold)
        return [tuple(group) for group in found.values()]


@dataclass(frozen=True)
class RunRecords:
    """What the records prove about the tables of a report.

    Attributes
    ----------
    models
        By table, the model that was trained in this study and made it.
    elsewhere
        The other tables of probabilities, and the fusions with one of them as a part: who made
        them, in which folds and how, is not recorded here.
    folds
        How the folds were drawn; None where no model was trained here, or ``folds.csv`` is not the
        table that the models were trained with.
    images
        Settings of the images and crops, ``dicom.…`` and ``preprocess.…``, from the records of
        the cases; several values of a key are joined by a comma. Empty where no model was trained.
    """

    models: Mapping[str, TrainedModel]
    elsewhere: tuple[str, ...]
    folds: FoldSettings | None
    images: Mapping[str, str]

    def proves(self, names: Iterable[str]) -> bool:
        """Whether the folds of all these tables are known, and at least one model was trained."""
        known = [name for name in names if name != READER]
        return bool(known) and not set(known) & set(self.elsewhere)

    @property
    def preprocessed(self) -> dict[str, str]:
        """Settings of images and crops; those that a model was trained with come first."""
        trained = [fold.settings for model in self.models.values() for fold in model.folds]
        used = _joined(
            {key: text for key, text in settings.items() if key.startswith("preprocess.")}
            for settings in trained
        )
        return {**self.images, **used}


def run_records(study: Study, cohort: Cohort, tables: Sequence[Source]) -> RunRecords:
    """Read the cards of the trained folds, and the records of the folds and of the crops.

    Parameters
    ----------
    study, cohort
        The study and its cases.
    tables
        The tables of probabilities.
    """
    draw = _read(record_of(study.folds_csv))
    drawn = _drawn(study, draw)
    models = {
        source.name: model
        for source in tables
        if source.path == study.predictions_csv(source.name)
        and (model := _trained(study, source, drawn)) is not None
    }
    if any(fold.folds != draw.get("sha256") for model in models.values() for fold in model.folds):
        drawn = None
    known = {*models, READER, READERS}
    for source in tables:  # a recalibration of a fusion stands after the fusion
        parts = _parts(source) if source.fused else None
        if parts and set(parts) <= known:
            known.add(source.name)
    return RunRecords(
        models=models,
        elsewhere=tuple(source.name for source in tables if source.name not in known),
        folds=drawn if models else None,
        images=_images(study, cohort) if models else {},
    )


def _read(path: Any) -> dict[str, Any]:
    try:
        return read_json(path) if path.is_file() else {}
    except StudyError:
        return {}


def _drawn(study: Study, record: Mapping[str, Any]) -> FoldSettings | None:
    """Return the settings of the draw if ``folds.csv`` is as it was drawn."""
    if not study.folds_csv.is_file() or record.get("sha256") != file_hash(study.folds_csv):
        return None
    try:
        return FoldSettings.model_validate(record.get("settings"))
    except ValidationError:
        return None


def _trained(study: Study, source: Source, drawn: FoldSettings | None) -> TrainedModel | None:
    """Return the model that made a table; None unless the records prove it for every fold."""
    record = _read(record_of(source.path))
    weights = record.get("weights")
    if not isinstance(weights, dict) or not weights:
        return None
    if "table" in record and record["table"] != file_hash(source.path):
        return None
    folds = []
    for name, digest in weights.items():
        number = str(name).removeprefix("fold")
        if not number.isdecimal():
            return None
        card = _read(study.run_folder(source.name, int(number)) / "card.json")
        fold = _fold(card) if card.get("weights_sha256") == digest else None
        if fold is None or fold.fold != int(number):
            return None
        folds.append(fold)
    folds.sort(key=lambda fold: fold.fold)
    count = (drawn or study.settings.folds).count
    missing = set(range(count)) - {fold.fold for fold in folds}
    return TrainedModel(source.name, tuple(folds), tuple(sorted(missing)))


def _fold(card: Mapping[str, Any]) -> TrainedFold | None:
    """Return the fold of a card; None where the card is of another version or damaged."""
    try:
        key, origin = card["training_key"], card["provenance"]
        model = {name: key[name] for name in ModelSettings.model_fields if name in key}
        versions = {"ctbone": origin["ctbone"], "Python": origin["python"], **origin["libraries"]}
        return TrainedFold(
            fold=int(card["fold"]),
            epoch=int(card["epoch"]),
            model=ModelSettings.model_validate(model),
            shared=dict(origin["settings"]["training"]),
            preprocess=dict(key["preprocess"]),
            folds=str(key["folds"]),
            versions=tuple((str(name), str(version)) for name, version in versions.items()),
        )
    except (KeyError, TypeError, ValueError):  # pydantic's errors are ValueErrors
        return None


def _parts(source: Source) -> list[str]:
    """Return the parts of a fused table: models, or the table that it recalibrates."""
    record = _read(record_of(source.path))
    if "table" in record and record["table"] != file_hash(source.path):
        return []
    parts = [record["of"]] if "of" in record else record.get("parts")
    return [str(part) for part in parts] if isinstance(parts, list) else []


def _images(study: Study, cohort: Cohort) -> dict[str, str]:
    """Return the settings of the volumes and crops of all cases that have records."""
    seen: dict[str, dict[str, str]] = {}
    first: Dim = "radiograph" if study.settings.of_radiographs else "3d"
    for case in cohort:
        for path, section in (
            (study.nifti(case.case_id), "dicom"),
            (study.crop(case.case_id, first), "preprocess"),
        ):
            settings = _read(record_of(path)).get("settings")
            content = settings.get(section) if isinstance(settings, dict) else None
            if isinstance(content, dict) and (key := f"{section} {content}") not in seen:
                seen[key] = dict(flatten(content, section))
    return _joined(seen.values())


def _joined(settings: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Join settings to one list; different values of a key are separated by ' or '."""
    found: dict[str, dict[str, None]] = {}
    for one in settings:
        for key, text in one.items():
            found.setdefault(key, {})[text] = None
    return {key: " or ".join(texts) for key, texts in found.items()}


def flatten(content: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each setting as a dotted key and a short text."""
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(content, list) and any(isinstance(item, dict) for item in content):
        for number, item in enumerate(content):
            yield from flatten(item, f"{prefix}.{number}")
    elif isinstance(content, list):
        yield prefix, ", ".join(map(str, content)) or "–"
    else:
        yield prefix, "–" if content in (None, "", {}) else str(content)


def settings_as_run(study: Study, tables: Sequence[Source], records: RunRecords) -> dict[str, str]:
    """Return the settings behind the page's numbers, as a dotted key and a text.

    Those of images, folds, models and fusions come from the records; those of the evaluation are
    the current ones, because the report itself evaluates.
    """
    now = study.settings
    found = {"classes": ", ".join(now.classes), "positive": now.positive_class}
    found |= records.preprocessed
    if records.folds is not None:
        found |= flatten(records.folds.model_dump(mode="json"), "folds")
    for model in records.models.values():
        found |= _of_model(model)
    found |= _joined(_fusion_as_run(source) for source in tables if source.fused)
    return {**found, **dict(flatten(now.evaluation.model_dump(mode="json"), "evaluation"))}


def _of_model(model: TrainedModel) -> dict[str, str]:
    """Return the settings of a model; where its folds differ, each value with its folds."""
    groups = model.groups()
    keys = dict.fromkeys(key for group in groups for key in group[0].settings)
    return {
        f"models.{model.name}.{key}": _by_group(groups, key)
        for key in keys
        if not key.startswith("preprocess.")
    }


def _by_group(groups: Sequence[Sequence[TrainedFold]], key: str) -> str:
    values: dict[str, list[int]] = {}
    for group in groups:
        folds = [fold.fold for fold in group]
        values.setdefault(group[0].settings.get(key, "–"), []).extend(folds)
    if len(values) == 1:
        return next(iter(values))
    return ", ".join(f"{text} in {fold_list(folds)}" for text, folds in values.items())


def fold_list(folds: Sequence[int]) -> str:
    """Name folds in a sentence.

    Examples
    --------
    >>> fold_list([0, 2]), fold_list([1])
    ('folds 0, 2', 'fold 1')
    """
    return f"fold{'s' * (len(folds) != 1)} {', '.join(map(str, sorted(folds)))}"


def _fusion_as_run(source: Source) -> dict[str, str]:
    settings = _read(record_of(source.path)).get("settings")
    fusion = settings.get("fusion") if isinstance(settings, dict) else None
    return _of_fusion(fusion, source.name) if isinstance(fusion, dict) else {}


def _of_fusion(fusion: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return the settings that one fused table depends on."""
    found: dict[str, str] = {}
    for section in ("combinations", "stacking", "recalibration"):
        content = fusion.get(section)
        if isinstance(content, dict) and name in content:
            found |= flatten(content[name], f"fusion.{section}.{name}")
            if section == "combinations":
                found |= flatten(fusion.get("weights"), "fusion.weights")
    return found


def record_notices(study: Study, tables: Sequence[Source], records: RunRecords) -> list[Notice]:
    """Warn where study.yaml is not what was run, where folds differ, and where folds are missing.

    Parameters
    ----------
    study
        The study, with its current settings.
    tables
        The tables of probabilities.
    records
        Their records.
    """
    notices = []
    changes = changed_settings(study, tables, records)
    if changes:
        text = f"This page describes what was run. {'; '.join(changes)}."
        notices.append(Notice("study.yaml differs from what was run.", text))
    uneven = [text for model in records.models.values() if (text := _uneven(model))]
    if uneven:
        notices.append(Notice("Folds were trained with different settings.", " ".join(uneven)))
    lacking = [text for model in records.models.values() if (text := _lacking(model))]
    if lacking:
        text = f"{' '.join(lacking)} Results count only the cases that a trained fold tests."
        notices.append(Notice("The cross-validation is not complete.", text))
    return notices


def _uneven(model: TrainedModel) -> str:
    groups = model.groups()
    keys = dict.fromkeys(key for group in groups for key in group[0].settings)
    apart = [key for key in keys if len({g[0].settings.get(key) for g in groups}) > 1]
    each = "; ".join(f"{key}: {_by_group(groups, key)}" for key in apart)
    return f"{model.name}: {each}." if apart else ""


def _lacking(model: TrainedModel) -> str:
    if not model.missing:
        return ""
    count = len(model.folds) + len(model.missing)
    trained = [fold.fold for fold in model.folds]
    verb = "is" if len(trained) == 1 else "are"
    return (
        f"{model.name}: {len(trained)} of {count} folds {verb} trained ({fold_list(trained)}); "
        f"{fold_list(model.missing)} {'is' if len(model.missing) == 1 else 'are'} missing."
    )


def changed_settings(study: Study, tables: Sequence[Source], records: RunRecords) -> list[str]:
    """List the settings of the records that study.yaml no longer has, each with both values."""
    now = study.settings
    lines: dict[str, None] = {}
    current = dict(flatten(now.model_dump(mode="json")))
    then = dict(records.preprocessed)
    if records.folds is not None:
        then |= flatten(records.folds.model_dump(mode="json"), "folds")
    for source in tables:
        then |= _fusion_as_run(source) if source.fused else {}
    for key in [*then, *_new_keys(then, current)]:
        if then.get(key) != current.get(key):
            lines[_change(key, then.get(key), current.get(key))] = None
    for model in records.models.values():
        for fold in model.folds:
            lines |= dict.fromkeys(_changes_of_fold(model.name, fold, now))
    return list(lines)


def _new_keys(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return current settings that lie beside or below one of the records, such as new weights."""
    return [key for key in now if key not in then and key.rsplit(".", 1)[0] in then]


def _changes_of_fold(name: str, fold: TrainedFold, now: Settings) -> Iterator[str]:
    if name not in now.models:
        yield f"models.{name}: was run, study.yaml no longer has it"
        return
    then = dict(flatten(fold.model.model_dump(mode="json")))
    current = dict(flatten(now.models[name].model_dump(mode="json")))
    shared_then = dict(flatten(fold.shared, "training"))
    shared_now = dict(flatten(now.training.model_dump(mode="json"), "training"))
    for key in dict.fromkeys([*then, *current]):
        if key == "title":
            continue  # records hold none
        a, b = then.get(key), current.get(key)
        if a != b:
            of_study = key in shared_then and (shared_then[key], shared_now.get(key)) == (a, b)
            yield _change(key if of_study else f"models.{name}.{key}", a, b)


def _change(key: str, then: str | None, now: str | None) -> str:
    if now is None:
        return f"{key}: {then} was run, study.yaml no longer has it"
    if then is None:
        return f"{key}: was not set, study.yaml now says {now}"
    return f"{key}: {then} was run, study.yaml now says {now}"
