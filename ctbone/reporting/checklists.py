"""The section on checklists: what this report answers to the items of TRIPOD+AI and CLAIM.

The subjects of the items are in our words. TRIPOD+AI: Collins GS et al., BMJ 2024;385:e078378.
CLAIM: Mongan J et al., Radiology: Artificial Intelligence 2020;2:e200029.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ctbone.cohort import Cohort
from ctbone.config import READER, ModelSettings
from ctbone.document import (
    Cell,
    Section,
    SectionLink,
    Table,
    TableBlock,
    TableColumn,
    Text,
    interval,
    number,
    plain_table,
)
from ctbone.input_kind import INPUT_KINDS
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.fusion_records import FusionRecord, RecalibrationRecord, StackingRecord
from ctbone.reporting.patients import cases_without_result
from ctbone.reporting.run_records import RunRecords, TrainedFold
from ctbone.reporting.worst_cases import has_images
from ctbone.study import Study

AUTHORS = "authors"
"""Topic of the items that only the authors can answer."""
# Number of each item, its subject, and the topic of the answer.
_TRIPOD_AI = (
    ("1", "Title: prediction model, population, outcome", AUTHORS),
    ("2", "Abstract", AUTHORS),
    ("3a", "Clinical context and rationale", AUTHORS),
    ("3b", "Target population, purpose, users", AUTHORS),
    ("3c", "Known inequalities between groups", AUTHORS),
    ("4", "Objectives: development, evaluation or both", AUTHORS),
    ("5a", "Sources of the data", "data"),
    ("5b", "Dates of the data", AUTHORS),
    ("6a", "Setting: number and place of centres", "data"),
    ("6b", "Eligibility", "flow"),
    ("6c", "Treatments received", AUTHORS),
    ("7", "Preparation and quality checks of the data", "preparation"),
    ("8a", "Outcome and how it was assessed", "outcome"),
    ("8b", "Who assessed the outcome", AUTHORS),
    ("8c", "Blinding of the assessment", AUTHORS),
    ("9a", "Choice of predictors", "predictors"),
    ("9b", "Definition of predictors", "predictors"),
    ("9c", "Who assessed predictors", "reader"),
    ("10", "Sample size", "sizes"),
    ("11", "Missing data", "missing"),
    ("12a", "How data were split", "partition"),
    ("12b", "Handling of predictors", "predictors"),
    ("12c", "Type of model, building, internal validation", "model"),
    ("12d", "Differences between centres: method", "centres"),
    ("12e", "Measures and plots of performance", "metrics"),
    ("12f", "Model updating", "updating"),
    ("12g", "How predictions were computed", "ensemble"),
    ("13", "Class imbalance", "imbalance"),
    ("14", "Fairness", AUTHORS),
    ("15", "Output and thresholds", "output"),
    ("16", "Differences between development and evaluation data", "sides"),
    ("17", "Ethics", AUTHORS),
    ("18a", "Funding", AUTHORS),
    ("18b", "Conflicts of interest", AUTHORS),
    ("18c", "Protocol", AUTHORS),
    ("18d", "Registration", AUTHORS),
    ("18e", "Sharing of data", AUTHORS),
    ("18f", "Sharing of code", "software"),
    ("19", "Involvement of patients and public", AUTHORS),
    ("20a", "Flow of participants", "flow"),
    ("20b", "Characteristics of participants", "baseline"),
    ("20c", "Comparison of development and evaluation data", "sides"),
    ("21", "Participants and events in each analysis", "sizes"),
    ("22", "Full specification of the model", "model"),
    ("23a", "Performance with intervals", "performance"),
    ("23b", "Differences between centres: results", "centres"),
    ("24", "Results of updating", "updating"),
    ("25", "Interpretation", AUTHORS),
    ("26", "Limitations", AUTHORS),
    ("27a", "Poor or missing input in use", "preparation"),
    ("27b", "Users' interaction and expertise", AUTHORS),
    ("27c", "Further research", AUTHORS),
)
_CLAIM = (
    ("1", "Title: AI method and its category", AUTHORS),
    ("2", "Structured summary", AUTHORS),
    ("3", "Background, intended use", AUTHORS),
    ("4", "Objectives and hypotheses", AUTHORS),
    ("5", "Prospective or retrospective", AUTHORS),
    ("6", "Goal of the study", AUTHORS),
    ("7", "Data sources", "data"),
    ("8", "Eligibility", "flow"),
    ("9", "Preprocessing", "preparation"),
    ("10", "Subsets of the data", "predictors"),
    ("11", "Definitions of data elements", "predictors"),
    ("12", "De-identification", "deidentified"),
    ("13", "Missing data", "missing"),
    ("14", "Ground truth", "outcome"),
    ("15", "Rationale of the reference standard", AUTHORS),
    ("16", "Annotators", AUTHORS),
    ("17", "Annotation tools", AUTHORS),
    ("18", "Variability of the annotation", AUTHORS),
    ("19", "Intended sample size", "sizes"),
    ("20", "Assignment to partitions", "partition"),
    ("21", "Level at which partitions are apart", "partition"),
    ("22", "Model", "model"),
    ("23", "Software", "software"),
    ("24", "Initial parameters", "model"),
    ("25", "Training", "model"),
    ("26", "Choice of the final model", "selection"),
    ("27", "Ensembling", "ensemble"),
    ("28", "Measures of performance", "metrics"),
    ("29", "Uncertainty and significance", "statistics"),
    ("30", "Robustness", "folds"),
    ("31", "Explanations", AUTHORS),
    ("32", "External validation", "external"),
    ("33", "Flow of participants", "flow"),
    ("34", "Characteristics in each partition", "baseline"),
    ("35", "Performance on every partition", "folds"),
    ("36", "Accuracy with its precision", "performance"),
    ("37", "Analysis of failures", "failures"),
    ("38", "Limitations", AUTHORS),
    ("39", "Implications for practice", AUTHORS),
    ("40", "Registration", AUTHORS),
    ("41", "Protocol", AUTHORS),
    ("42", "Funding", AUTHORS),
)


def checklist_section(
    *,
    study: Study,
    cohort: Cohort,
    analysis: Analysis,
    runs: RunRecords,
    fusions: Sequence[FusionRecord | StackingRecord | RecalibrationRecord],
    record: dict[str, Any],
    sections: Sequence[Section],
) -> Section:
    """Fill both checklists; an answer refers only to a section that the page has."""
    titles = {section.key: section.title for section in sections}
    raw = {
        **_of_patients(study, cohort=cohort, analysis=analysis, runs=runs),
        **_of_method(runs, fusions=fusions, record=record),
        **_of_results(analysis, sections),
    }
    answers = {
        key: ChecklistAnswer(text, at, titles[at])
        for key, (text, at) in raw.items()
        if text and at in titles
    }
    words = Text(
        (
            "Where this report answers the items of two reporting guidelines, and which items are "
            "left to the authors.",
        )
    )
    return Section(
        "checklists",
        "Checklists",
        (words, TableBlock(tripod_ai(answers)), TableBlock(claim(answers))),
    )


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
        "flow": (f"Flow chart; {excluded} cases excluded, with the reasons", "patients"),
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
        "metrics": (measures, "discrimination"),
        "output": (f"Probability of each class; {call}", "confusion"),
        "performance": (areas, "discrimination"),
        "folds": ("Each fold, validation and test; mean of the folds and pooled", "folds"),
        "failures": (f"The cases with the worst predictions{pictured}", "worst"),
    }
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


@dataclass(frozen=True)
class ChecklistAnswer:
    """The answer of the report to a topic.

    Attributes
    ----------
    text
        A few words with the numbers.
    section, title
        Key and title of the section with the details.
    """

    text: str
    section: str
    title: str


def tripod_ai(answers: Mapping[str, ChecklistAnswer]) -> Table:
    """Fill the items of TRIPOD+AI from the answers; items without one are left to the authors."""
    source = "Items of TRIPOD+AI (Collins et al., BMJ 2024;385:e078378) in our words."
    return _fill(
        key="checklist_tripod_ai",
        title="TRIPOD+AI",
        items=_TRIPOD_AI,
        answers=answers,
        source=source,
    )


def claim(answers: Mapping[str, ChecklistAnswer]) -> Table:
    """Fill the items of CLAIM from the answers; items without one are left to the authors."""
    source = (
        "Items of CLAIM (Mongan et al., Radiology: Artificial Intelligence 2020;2:e200029) "
        "in our words."
    )
    return _fill(key="checklist_claim", title="CLAIM", items=_CLAIM, answers=answers, source=source)


def _fill(
    key: str,
    title: str,
    items: tuple[tuple[str, str, str], ...],
    answers: Mapping[str, ChecklistAnswer],
    source: str,
) -> Table:
    columns = [
        TableColumn(name, name.capitalize(), "text")
        for name in ("item", "subject", "section", "answer")
    ]
    rows: list[list[Cell]] = []
    answered = 0
    for item, subject, topic in items:
        found = answers.get(topic)
        answered += found is not None
        rows.append(
            [item, subject, SectionLink(found.title, found.section), found.text]
            if found is not None
            else [item, subject, "–", "For the authors to write"]
        )
    note = f"{source} This report answers {answered} of {len(items)}; the authors answer the rest."
    return plain_table(key=key, title=title, columns=columns, rows=rows, note=note)
