"""The answer as structured report: TID 1500, Measurement Report (PS3.16)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom.sr as sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.seg import Segmentation

import ctbone
from ctbone.config import Settings
from ctbone.dicom_out import codes
from ctbone.dicom_out.objects import completed, first_answer, new_series, new_uid
from ctbone.dicom_out.segmentation import TRACKING_ID
from ctbone.dicom_out.source import SourceSeries

_DIGITS = 4
"""Decimal digits of a probability in per cent; answers have six of a share."""


def make_report(
    cut: SourceSeries,
    segmentation: Segmentation,
    answer: Mapping[str, Any],
    *,
    tracking_uid: str,
    settings: Settings,
    comments: Sequence[str] = (),
) -> sr.Comprehensive3DSR:
    """Make the report: probability, class and conformal set of the lesion, and all caveats.

    Probabilities are in per cent with the unit ``%``: a validator does not tell 0.873 with the unit
    ``%`` from 87.3 %.

    Parameters
    ----------
    cut, segmentation
        The slices that cut the lesion, and the lesion on them.
    answer
        What ``Predictor.answer`` returned.
    tracking_uid
        The lesion's, the same in the segmentation.
    settings
        Classes and ``prediction.bone``.
    comments
        More sentences.
    """
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(tracking_uid, TRACKING_ID),
        referenced_segment=_referenced(segmentation, cut),
        finding_category=codes.LESION_CATEGORY,
        finding_type=codes.LESION,
        finding_sites=[sr.FindingSite(codes.site(settings.prediction.bone))],
        measurements=_measurements(answer, settings),
        qualitative_evaluations=_evaluations(answer),
    )
    (content,) = sr.MeasurementReport(
        observation_context=_observer(), procedure_reported=codes.PROCEDURE, title=codes.REPORT,
        imaging_measurements=[group],
    )  # fmt: skip
    for text in (*caveats(answer), *comments):
        content.ContentSequence.append(
            sr.TextContentItem(codes.COMMENT, text, relationship_type="CONTAINS")
        )
    made = sr.Comprehensive3DSR(
        evidence=[segmentation, *cut.images],
        content=content,
        coding_schemes=[
            CodingSchemeIdentificationItem(codes.SCHEME, name="ctbone", version=ctbone.__version__)
        ],
        is_complete=False,
        is_final=False,
        is_verified=False,
        **new_series("report").attributes(),
    )
    completed(made, cut.headers[0])
    return made


def caveats(answer: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the report must know, one sentence or more an item."""
    trust, file = answer["trust"], answer["model_file"]
    made_by = (
        f"Made by ctbone {answer['ctbone']} with the model file {file['name']}, "
        f"SHA-256 {file['sha256']}; answer {answer['answer']}."
    )
    drawn = "The lesion was drawn by a person or another program and given to ctbone."
    return [
        str(answer["notice"]), made_by, drawn, *trust["outside_training_range"],
        *trust["not_compared"], *trust["remarks"],
    ]  # fmt: skip


def _referenced(segmentation: Segmentation, cut: SourceSeries) -> sr.ReferencedSegment:
    """Refer to the segment and its source slices.

    ``ReferencedSegment.from_segmentation`` fails for a segmentation of one segment, whose number
    highdicom keeps in the shared functional groups.
    """
    numbers = [frame.index + 1 for frame in cut.frames] if cut.multiframe else None
    return sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=1,
        source_images=[
            sr.SourceImageForSegmentation(header.SOPClassUID, header.SOPInstanceUID, numbers)
            for header in cut.images
        ],
    )


def _observer() -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=new_uid(), name="ctbone", manufacturer_name="ctbone", model_name="ctbone"
    )
    return sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DEVICE, device))


def _measurements(answer: Mapping[str, Any], settings: Settings) -> list[sr.Measurement]:
    """Return the probability of the positive class; of three or more classes that of each."""
    name, content = first_answer(answer)
    classes = list(settings.classes)
    shown = [settings.positive_class] if len(classes) == 2 else classes
    parameters = [f"answer {name}", f"model file {answer['model_file']['sha256']}"]
    if content["threshold"] is not None:
        parameters.append(f"threshold {content['threshold']:g}")
    algorithm = sr.AlgorithmIdentification(
        name=f"ctbone {answer['model_file']['name']}",
        version=str(answer["ctbone"]),
        parameters=parameters,
    )
    return [
        sr.Measurement(
            name=codes.probability_code(label),
            value=round(100 * content["probabilities"][label], _DIGITS),
            unit=codes.PERCENT,
            method=codes.ARTIFICIAL_INTELLIGENCE,
            algorithm_id=algorithm,
        )
        for label in shown
    ]


def _evaluations(answer: Mapping[str, Any]) -> list[sr.QualitativeEvaluation]:
    _, content = first_answer(answer)
    found = [sr.QualitativeEvaluation(codes.CLASS, codes.class_code(content["class"]))]
    chosen = content["conformal"]["set"]
    if chosen is None:
        return found
    found += [sr.QualitativeEvaluation(codes.CONFORMAL, codes.class_code(one)) for one in chosen]
    if not chosen:
        found.append(sr.QualitativeEvaluation(codes.CONFORMAL, codes.ABSTAINS))
    return found
