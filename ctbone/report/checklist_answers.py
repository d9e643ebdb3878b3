"""What this report can say to the items of a checklist, each with its numbers and the section that holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ctbone.cohort import Cohort
from ctbone.config import READER
from ctbone.document.page import Section, Shown, Text
from ctbone.document.table import interval, number
from ctbone.report.analysis import Analysis, JudgedSet
from ctbone.report.checklists import Found, claim, tripod_ai
from ctbone.report.fusion_records import FusionRecord, RecalibrationRecord, StackRecord
from ctbone.report.gather import Source
from ctbone.report.worst_cases import has_images
from ctbone.study import Study


def checklist_section(
    study: Study,
    cohort: Cohort,
    analysis: Analysis,
    found: Sequence[Source],
    fusions: Sequence[FusionRecord | StackRecord | RecalibrationRecord],
    record: dict[str, Any],
    sections: Sequence[Section],
) -> Section:
    """Fill both checklists; an answer points only at a section that the page has."""
    titles = {section.key: section.title for section in sections} | {"method": "Method"}
    raw = {
        **_of_patients(study, cohort, analysis),
        **_of_method(study, found, fusions, record),
        **_of_results(analysis, sections),
    }
    answers = {
        key: Found(text, at, titles[at]) for key, (text, at) in raw.items() if text and at in titles
    }
    words = Text(
        (
            "Where this report answers the items of two reporting guidelines, and what is left to the authors.",
        )
    )
    return Section(
        "checklists", "Checklists", (words, Shown(tripod_ai(answers)), Shown(claim(answers)))
    )


def _of_patients(study: Study, cohort: Cohort, analysis: Analysis) -> dict[str, tuple[str, str]]:
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
    judged = {
        str(case) for s in analysis.sets for a in s.cases.answers for case in a.cases["case_id"]
    }
    left_out = sum(case.case_id not in judged for case in cohort)
    return {
        "data": (
            f"{len(cohort)} cases of {patients} patients ({cases}); their origin is for the authors",
            "patients",
        ),
        "flow": (f"Flow chart; {left_out} cases left out, with the reasons", "patients"),
        "sides": (
            "Table of baseline characteristics, internal and external side by side; no test between them",
            "patients",
        ),
        "baseline": (
            "Table of baseline characteristics by cohort and class, with standardised differences",
            "patients",
        ),
        "sizes": (f"{sizes}; why so many is for the authors", "patients"),
        "outcome": (
            f"Classes {' or '.join(study.settings.classes)}; how they were ascertained is for the authors",
            "patients",
        ),
        "imbalance": (f"{counts}; folds are stratified by class", "patients"),
        "missing": (
            f"Cells missing: {gaps}; cases without a probability are in the flow chart",
            "patients",
        ),
    }


def _size(judged: JudgedSet) -> str:
    first = judged.judgements[0]
    answers = judged.cases.answers[0]
    events = f", {first.positives} {answers.positive}" if answers.two_class else ""
    return f"{judged.cases.title}: {first.n} cases{events}"


def _of_method(
    study: Study,
    found: Sequence[Source],
    fusions: Sequence[FusionRecord | StackRecord | RecalibrationRecord],
    record: dict[str, Any],
) -> dict[str, tuple[str, str]]:
    settings = study.settings
    models = [settings.models[source.name] for source in found if source.name in settings.models]
    networks = ", ".join(
        dict.fromkeys(
            f"{m.network} in {m.dim.upper()} from {_start(m.weights)} weights" for m in models
        )
    )
    epochs = ", ".join(dict.fromkeys(f"{m.training.epochs} epochs" for m in models))
    columns = list(
        dict.fromkeys(name for r in fusions if isinstance(r, StackRecord) for name in r.columns)
    )
    crop, flat = settings.preprocess.crop_3d, settings.preprocess.images_2d
    readers = list(dict.fromkeys(record.reader for record in fusions if record.reader))
    images = f"CT around the lesion's mask: {crop.size}³ voxels of {crop.spacing:g} mm, three images of {flat.size}² pixels"
    also = "".join(
        [
            f"; clinical: {', '.join(columns)}" if columns else "",
            "; a reader's score" if readers else "",
        ]
    )
    names = ", ".join(record.name for record in fusions)
    recalibrated = [record.name for record in fusions if isinstance(record, RecalibrationRecord)]
    versions = ", ".join(
        f"{name} {record['libraries'][name]}"
        for name in ("torch", "monai")
        if name in record["libraries"]
    )
    return {
        "preparation": (
            "One resampling of CT in Hounsfield units; a case that fails is left out and listed",
            "method",
        ),
        "predictors": (images + also, "method"),
        "reader": (
            f"Reader {', '.join(readers)}; training and experience are for the authors"
            if readers
            else "",
            "method",
        ),
        "partition": (
            f"{settings.folds.count} folds by patient, stratified by class; "
            f"{settings.folds.validation_share:.0%} of the rest validate",
            "method",
        ),
        "model": (f"{networks}, {epochs}; every setting is listed" if models else "", "method"),
        "selection": (
            "The epoch with the highest validation AUC of its fold" if models else "",
            "method",
        ),
        "ensemble": (
            "Internal: the one model that has not seen the patient; external: mean of the folds' models"
            + (f"; fusions {names}" if names else ""),
            "method",
        ),
        "updating": (
            f"Recalibrated inside the folds: {', '.join(recalibrated)}"
            if recalibrated
            else "No model was updated",
            "fusion" if recalibrated else "method",
        ),
        "software": (
            f"ctbone {record['ctbone']}, Python {record['python']}{', ' if versions else ''}{versions}",
            "method",
        ),
        "statistics": ("The method of every interval and test is listed", "method"),
        "deidentified": (
            "This report holds case_id only; how the images were de-identified is for the authors",
            "method",
        ),
    }


def _start(weights: str) -> str:
    return {"none": "random", "imagenet": "ImageNet"}.get(weights, "given")


def _of_results(analysis: Analysis, sections: Sequence[Section]) -> dict[str, tuple[str, str]]:
    pictured = ", with images" if any(s.key == "worst" and has_images(s) for s in sections) else ""
    external = analysis.of("external")
    two = analysis.any_answers.two_class
    threshold = analysis.settings.threshold
    rule = (
        "the threshold of each fold by Youden's index"
        if threshold == "youden"
        else f"threshold {threshold:g}"
    )
    centred = external is not None and len(external.cases.answers[0].cohorts) > 1
    found = {
        "metrics": (
            "AUC, sensitivity, specificity, predictive values, F1, MCC, Brier, calibration, net benefit; ROC, "
            "calibration and decision curves" if two else "AUC, accuracy, F1, Brier, calibration error, confusion",
            "discrimination",
        ),
        "output": (f"Probability of each class; {rule if two else 'the likeliest class is called'}", "confusion"),
        "performance": ("; ".join(_area(judged, analysis) for judged in analysis.reported), "discrimination"),
        "folds": ("Every fold by itself, validation and test; mean of the folds and pooled", "folds"),
        "failures": (f"The cases that the models got most wrong{pictured}", "worst"),
    }  # fmt: skip
    if external is not None:
        found["external"] = (_area(external, analysis), "discrimination")
    if centred:
        found["centres"] = ("Table of each centre by itself", "discrimination")
    return found


def _area(judged: JudgedSet, analysis: Analysis) -> str:
    parts = []
    for judgement in judged.judgements:
        area = judgement.estimates["auc"]
        if area.value is not None and judgement.name != READER:
            ends = interval(area, 2)
            parts.append(f"{judgement.name} {number(area.value, 2)}{f' ({ends})' if ends else ''}")
    return f"{judged.cases.title}: AUC {', '.join(parts) or 'undefined'}, {analysis.settings.confidence:.0%} intervals"
