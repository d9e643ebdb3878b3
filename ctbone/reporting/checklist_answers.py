"""What a report answers to the items of reporting guidelines, by topic, with its own numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ctbone.cohort import Cohort
from ctbone.config import READER, ModelSettings
from ctbone.document import Section, interval, number
from ctbone.input_kind import INPUT_KINDS
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.fusion_records import FusionRecord, RecalibrationRecord, StackingRecord
from ctbone.reporting.patients import cases_without_result
from ctbone.reporting.run_records import RunRecords, TrainedFold
from ctbone.reporting.worst_cases import has_images
from ctbone.study import Study

NO = "No"
"""First word of the answer to a condition that does not hold."""


@dataclass(frozen=True)
class ChecklistAnswer:
    """The answer of the report to a topic.

    Attributes
    ----------
    text
        A few words with the numbers.
    section, title
        Key and title of the section with the details; "" where a file beside the report has them.
    """

    text: str
    section: str
    title: str

    @property
    def denies(self) -> bool:
        """Whether it says that a condition does not hold."""
        return self.text.split(":")[0] == NO


def checklist_answers(
    *,
    study: Study,
    cohort: Cohort,
    analysis: Analysis,
    runs: RunRecords,
    fusions: Sequence[FusionRecord | StackingRecord | RecalibrationRecord],
    record: dict[str, Any],
    sections: Sequence[Section],
) -> dict[str, ChecklistAnswer]:
    """Return the answers by topic; an answer refers only to a section that the page has."""
    titles = {section.key: section.title for section in sections} | {"": ""}
    raw = {
        **_of_patients(study, cohort=cohort, analysis=analysis, runs=runs),
        **_of_method(runs, fusions=fusions, record=record),
        **_of_conditions(runs, fusions),
        **_of_results(analysis, sections),
        "maps": (_maps(study), ""),
    }
    return {
        key: ChecklistAnswer(text, at, titles[at])
        for key, (text, at) in raw.items()
        if text and at in titles
    }


def _of_patients(
    study: Study, *, cohort: Cohort, analysis: Analysis, runs: RunRecords
) -> dict[str, tuple[str, str]]:
    patients = len({case.patient_id for case in cohort})
    centres = Counter(case.cohort for case in cohort)
    cases = ", ".join(f"{name}: {count}" for name, count in centres.items())
    sizes = "; ".join(_size(judged) for judged in analysis.reported)
    classes = Counter(case.label for case in cohort)
    counts = ", ".join(f"{classes[name]} {name}" for name in study.settings.classes)
    columns = list(dict.fromkeys(name for case in cohort for name, _ in case.metadata))
    empty = {name: sum(not dict(case.metadata).get(name) for case in cohort) for name in columns}
    gaps = (
        ", ".join(f"{name} {count}" for name, count in empty.items() if count)
        or "none in the clinical columns"
    )
    excluded = len(cases_without_result(cohort, analysis))
    stratified = "; folds are stratified by class" if runs.folds is not None else ""
    return {
        "data": (
            f"{len(cohort)} cases of {patients} patients ({cases}); their origin: for the authors",
            "patients",
        ),
        "flow": (
            f"Flow chart; cases without a result: {excluded}; criteria: for the authors",
            "patients",
        ),
        "sides": (
            "Table of baseline characteristics, internal and external side by side, without a test "
            "between them",
            "patients",
        ),
        "baseline": (
            "Table of baseline characteristics by cohort and class, with standardised mean "
            "differences",
            "patients",
        ),
        "sizes": (f"{sizes}; the reason for the size: for the authors", "patients"),
        "outcome": (
            f"Classes {' or '.join(study.settings.classes)}; reference standard: for the authors",
            "patients",
        ),
        "imbalance": (f"{counts}{stratified}", "patients"),
        "missing": (
            f"Missing cells: {gaps}; cases without a probability are in the flow chart",
            "patients",
        ),
    }


def _size(judged: JudgedSet) -> str:
    first = judged.judgements[0]
    scored = judged.case_set.scored[0]
    events = f", {first.positives} {scored.positive}" if scored.two_class else ""
    return f"{judged.case_set.title}: {first.n} cases{events}"


def _of_method(
    runs: RunRecords,
    fusions: Sequence[FusionRecord | StackingRecord | RecalibrationRecord],
    record: dict[str, Any],
) -> dict[str, tuple[str, str]]:
    """Answer from the records; an empty answer leaves the item to the authors."""
    folds = [fold for model in runs.models.values() for fold in model.folds]
    models = list(dict.fromkeys(_network(fold.model) for fold in folds))
    epochs = list(dict.fromkeys(f"{fold.model.training.epochs} epochs" for fold in folds))
    only = f" ({', '.join(runs.models)})" if runs.elsewhere else ""
    columns = list(
        dict.fromkeys(name for r in fusions if isinstance(r, StackingRecord) for name in r.columns)
    )
    readers = list(dict.fromkeys(record.reader for record in fusions if record.reader))
    predictors = [_images(runs)] if folds else []
    predictors += [f"clinical: {', '.join(columns)}"] if columns else []
    predictors += ["the score of a reader"] if readers else []
    names = ", ".join(record.name for record in fusions if record.name not in runs.elsewhere)
    recalibrated = [record.name for record in fusions if isinstance(record, RecalibrationRecord)]
    unchanged = "" if runs.elsewhere or not folds else "No model was updated"
    answers = {
        "images": _images(runs) if folds else "",
        "start": ", ".join(dict.fromkeys(_start(fold.model.weights) for fold in folds))
        + (f" weights{only}" if folds else ""),
        "modality": f"One modality: {_unit(runs)}" if folds else "",
        "preparation": f"One resampling of {_unit(runs)}; a case that fails is excluded and listed"
        if folds
        else "",
        "predictors": f"{'; '.join(predictors)}{only if folds else ''}",
        "reader": f"Reader {', '.join(readers)}; training and experience: for the authors"
        if readers
        else "",
        "partition": f"{runs.folds.count} folds by patient, stratified by class; "
        f"{runs.folds.validation_share:.0%} of the rest for validation{only}"
        if runs.folds is not None
        else "",
        "model": f"{', '.join(models)}, {', '.join(epochs)}; all settings are listed{only}"
        if folds
        else "",
        "selection": f"The epoch with the highest validation AUC of its fold{only}"
        if folds
        else "",
        "ensemble": "Internal: the one model that has not seen the patient; external: mean of the "
        f"folds' models{only}{f'; fusions {names}' if names else ''}"
        if runs.folds is not None
        else "",
        "updating": f"Recalibrated inside the folds: {', '.join(recalibrated)}"
        if recalibrated
        else unchanged,
        "software": _software(folds, record),
        "statistics": "Method of every interval and test",
        "deidentified": "This report contains case_id only; de-identification of the images: for "
        "the authors",
    }
    return {
        topic: (text, "fusion" if topic == "updating" and recalibrated else "method")
        for topic, text in answers.items()
    }


def _of_conditions(
    runs: RunRecords, fusions: Sequence[FusionRecord | StackingRecord | RecalibrationRecord]
) -> dict[str, tuple[str, str]]:
    """Answer the conditions of METRICS; only what the records prove."""
    models = [fold.model for model in runs.models.values() for fold in model.folds]
    if not models:
        return {}
    stacks = [record for record in fusions if isinstance(record, StackingRecord)]
    columns = [name for model in models for name in model.metadata]
    columns += [name for stack in stacks for name in stack.columns]
    clinical = ", ".join(dict.fromkeys(columns))
    known = not runs.elsewhere
    masks = "radiograph" not in {model.dim for model in models}
    return {
        "condition 1": ("Yes: crops are made around the lesion's mask" if masks else "", "method"),
        "condition 3": (f"{NO}: networks only" if known else "", "method"),
        "condition 4": (
            f"Yes: {clinical}" if clinical else f"{NO}: no clinical column" if known else "",
            "method",
        ),
        "condition 5": ("Yes: networks from image to probability", "method"),
    }


def _maps(study: Study) -> str:
    """Name the pages of maps that the study has."""
    pages = [study.explanation_page(name) for name in study.settings.models]
    files = [page.relative_to(study.root).as_posix() for page in pages if page.is_file()]
    return f"Maps of what the networks use: {', '.join(files)}" if files else ""


def _network(model: ModelSettings) -> str:
    dimensions = INPUT_KINDS[model.dim].dimensions
    return f"{model.network} in {dimensions}D from {_start(model.weights)} weights"


def _unit(runs: RunRecords) -> str:
    dims = {fold.model.dim for model in runs.models.values() for fold in model.folds}
    return "radiographs in grey" if "radiograph" in dims else "CT in Hounsfield units"


def _images(runs: RunRecords) -> str:
    """Describe the images of the models that were trained."""
    used = {fold.model.dim for model in runs.models.values() for fold in model.folds}
    crops = runs.preprocessed
    words = []
    if "radiograph" in used:
        size, region = (crops[f"preprocess.radiographs.{key}"] for key in ("size", "region"))
        return f"Radiographs cut to their region ({region}), {size}² pixels"
    if "3d" in used:
        size, spacing = (crops[f"preprocess.crop_3d.{key}"] for key in ("size", "spacing"))
        words.append(f"{size}³ voxels of {_short(spacing)} mm")
    if "2d" in used:
        words.append(f"three images of {crops['preprocess.images_2d.size']}² pixels")
    return f"CT around the mask of the lesion: {', '.join(words)}"


def _short(text: str) -> str:
    """Shorten '1.0' to '1'."""
    return text.removesuffix(".0")


def _software(folds: Sequence[TrainedFold], record: dict[str, Any]) -> str:
    """Name the versions: those of the report, and of the libraries that trained."""
    trained = (dict(fold.versions) for fold in folds)
    used = [f"{name} {of[name]}" for of in trained for name in ("torch", "monai") if name in of]
    own = [f"ctbone {record['ctbone']}", f"Python {record['python']}"]
    return ", ".join(dict.fromkeys([*own, *used]))


def _start(weights: str) -> str:
    return {"none": "random", "imagenet": "ImageNet"}.get(weights, "given")


def _of_results(analysis: Analysis, sections: Sequence[Section]) -> dict[str, tuple[str, str]]:
    pictured = ", with images" if any(s.key == "worst" and has_images(s) for s in sections) else ""
    external = analysis.of("external")
    two = analysis.two_class
    threshold = analysis.settings.threshold
    rule = (
        "the threshold of each fold by Youden's index"
        if threshold == "youden"
        else f"threshold {threshold:g}"
    )
    centred = external is not None and len(external.case_set.scored[0].cohorts) > 1
    measures = (
        "AUC, sensitivity, specificity, predictive values, F1, MCC, Brier, calibration, net "
        "benefit; ROC, calibration and decision curves"
        if two
        else "AUC, accuracy, F1, Brier, calibration error, confusion"
    )
    call = rule if two else "the most probable class is called"
    areas = "; ".join(_area(judged, analysis) for judged in analysis.reported)
    found = {
        "guidelines": ("The tables of this section: TRIPOD+AI, CLAIM, STARD-AI", "checklists"),
        "calibration": ("Slope, intercept and errors; calibration curves", "calibration"),
        "subgroups": ("Each subgroup with its interval", "subgroups"),
        "confounding": ("Columns that give the class away, and control networks", "audit"),
        "crosstab": ("Cases by true and called class", "confusion"),
        "metrics": (measures, "discrimination"),
        "output": (f"Probability of each class; {call}", "confusion"),
        "performance": (areas, "discrimination"),
        "folds": ("Each fold, validation and test; mean of the folds and pooled", "folds"),
        "failures": (f"The cases with the worst predictions{pictured}", "worst"),
    }
    internal = analysis.of("internal")
    if internal is not None:
        found["internal"] = (_area(internal, analysis), "discrimination")
    if READER in analysis.models:
        found["against_reader"] = ("Models compared with the reader", "comparisons")
    if external is not None:
        found["external"] = (_area(external, analysis), "discrimination")
    if centred:
        found["centres"] = ("Table of each centre", "discrimination")
    return found


def _area(judged: JudgedSet, analysis: Analysis) -> str:
    parts = []
    for judgement in judged.judgements:
        area = judgement.estimates["auc"]
        if area.value is not None and judgement.name != READER:
            ends = interval(area, 2)
            parts.append(f"{judgement.name} {number(area.value, 2)}{f' ({ends})' if ends else ''}")
    level = f"{analysis.settings.confidence:.0%} intervals"
    return f"{judged.case_set.title}: AUC {', '.join(parts) or 'undefined'}, {level}"
