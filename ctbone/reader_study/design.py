"""The design of the reader study in words, and the items of reporting guidelines it answers."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ctbone.document import Table, TableColumn, Text, number, plain_table
from ctbone.reader_study.effect import AIDED, UNAIDED
from ctbone.reader_study.performance import Performances
from ctbone.reader_study.readings import Readings
from ctbone.stats.obuchowski_rockette import obuchowski_rockette

AUTHORS = "For the authors to write"
_ANALYSES = "Obuchowski–Rockette, DeLong, McNemar"
_WORDS = {
    "factorial": "fully crossed: readers read the same cases",
    "incomplete": "crossed, with missing readings",
    "split-plot": "split-plot: groups of readers have their own cases",
    "nested": "nested: every reader has own cases",
}


def design_text(found: Performances) -> Text:
    """Describe readers, cases, sessions and analysis, as a methods section does."""
    readings = found.readings
    positives = int(readings.truth.sum())
    counts = Counter(readings.levels)
    levels = ", ".join(f"{count} {name}".strip() for name, count in counts.items())
    design = obuchowski_rockette(found.measures["auc"], level=found.level).design
    missing = _missing(readings)
    shape = "incomplete" if missing and design == "factorial" else design
    patients = len(readings.case_ids if readings.patients is None else set(readings.patients))
    first = (
        f"{len(readings.readers)} readers ({levels}) read {len(readings.case_ids)} cases of "
        f"{patients} patients: {positives} {readings.classes[1]} and "
        f"{len(readings.case_ids) - positives} {readings.classes[0]}. "
    )
    if readings.paired:
        first += (
            "Each case was read without and with AI"
            f"{f' (model {readings.model})' if readings.model else ''}. The design is "
            f"{_WORDS[shape]}. {_between(readings)}"
        )
    else:
        first += f"There is one session ({readings.sessions[0]}), so no effect of AI is analysed. "
    if readings.left_out:
        first += f"{readings.left_out} cases that were not read in both sessions do not count. "
    second = (
        f"Readers gave each case a score {readings.scale.description} that it is "
        f"{readings.classes[1]}; from 50 %, they call it so. AUCs are empirical (trapezoidal). "
        "The primary analysis treats readers and cases as random samples (Obuchowski–Rockette "
        "model, Hillis' degrees of freedom, covariances by the jackknife over "
        f"{'patients' if readings.patients is not None else 'cases'}). Intervals are "
        f"{found.level:.0%} intervals; p-values are two-sided and not adjusted for the number of "
        "measures."
    )
    if readings.patients is not None:
        second += " κ, McNemar's test and Cochran's Q count cases, not patients."
    return Text((first + _gaps(readings, missing), *_result(found), second))


def _gaps(readings: Readings, missing: int) -> str:
    """Say which readers and readings are missing."""
    parts = [
        f"Reader {one.reader}{f' ({one.level})' if one.level else ''} read {one.why} and does not "
        f"count, with {one.readings} readings."
        for one in readings.dropped
    ]
    if not missing:
        parts.append("No reading is missing." if not parts else "No other reading is missing.")
    else:
        of_readers = np.isnan(readings.p).sum(axis=(0, 2))
        named = ", ".join(
            f"{name} {count}"
            for name, count in zip(readings.readers, of_readers, strict=True)
            if count
        )
        parts.append(
            f"{missing} of {readings.p.size} readings are missing ({named}); these cases count for "
            "the readers who read them, and the jackknife allows for it. DeLong's covariances need "
            "every reading and are left out."
        )
    return " ".join(parts)


def _between(readings: Readings) -> str:
    """Say in which order and how long apart the two readings of a case were."""
    if readings.days is None or np.isnan(readings.days).all():
        return ""
    days = readings.days[~np.isnan(readings.days)]
    share = float((days < 0).mean())
    if share == 0:
        order = "The reading without AI came first"
    elif share == 1:
        order = "The reading with AI came first"
    else:
        order = f"The reading with AI came first in {share:.0%} of the pairs"
    low, middle, high = np.quantile(np.abs(days), (0, 0.5, 1))
    if high < 1:
        return f"{order}, the other on the same day. "
    return (
        f"{order}; the other followed after a median of {middle:.0f} days ({low:.0f}–{high:.0f}). "
    )


def _result(found: Performances) -> tuple[str, ...]:
    """State the effect on the AUC of the average reader."""
    if not found.readings.paired:
        return ()
    analysis = obuchowski_rockette(found.measures["auc"], level=found.level)
    change = analysis.difference(AIDED, UNAIDED)
    before, after = analysis.means[UNAIDED].value, analysis.means[AIDED].value
    if change.difference is None or before is None or after is None:
        return (f"The effect of AI on the AUC is undefined: {change.why}.",)
    text = f"The mean AUC was {number(before)} without and {number(after)} with AI: a change of "
    text += number(change.difference)
    if change.low is not None and change.p_value is not None:
        text += (
            f" ({found.level:.0%} interval {number(change.low)} to {number(change.high)}, "
            f"p = {change.p_value:.3g})"
        )
    else:
        text += f" (no interval: {change.why})"
    return (f"{text}.",)


def guideline_table(readings: Readings) -> Table:
    """Show what this chapter answers to the items on readers of STARD-AI and CLAIM 2024.

    The subjects are in our words. STARD-AI: Sounderajah et al., Nature Medicine 2025;31:3283–3289.
    CLAIM: Tejani et al., Radiology: Artificial Intelligence 2024;6:e240300. The report of a study
    has every item of both.
    """
    positives = int(readings.truth.sum())
    negatives = len(readings.case_ids) - positives
    support = (
        f"First session without, second with {readings.model or 'AI'}"
        if readings.paired
        else "One session"
    )
    levels = ", ".join(
        f"{count} {name}".strip() for name, count in Counter(readings.levels).items()
    )
    followed = "Cases in which readers followed the wrong model"
    asked = readings.paired and bool(readings.model)
    rows = (
        ("STARD-AI 12", "Who annotated the data, and how", AUTHORS),
        ("STARD-AI 15a", "Index test: readers and AI", support),
        ("STARD-AI 15c", "Cut-off of the index test", "From 50 %, the midpoint of the scale"),
        ("STARD-AI 15d", "Users and their expertise", f"{len(readings.readers)} readers: {levels}"),
        ("STARD-AI 16a", "Reference standard", AUTHORS),
        ("STARD-AI 17a", "What was known to readers of the index test", AUTHORS),
        ("STARD-AI 18", "Estimating and comparing accuracy", _ANALYSES),
        ("STARD-AI 20", "Missing data", f"{_missing(readings)} readings; see the design"),
        ("STARD-AI 21", "Variability of accuracy", "Agreement; variance components"),
        (
            "STARD-AI 22",
            "Intended sample size",
            f"{AUTHORS}; 'ctbone power readers' computes it",
        ),
        ("STARD-AI 23", "Analysis of errors", followed if asked else AUTHORS),
        (
            "STARD-AI 24",
            "Flow: cases read",
            f"{positives} {readings.classes[1]}, {negatives} other",
        ),
        ("STARD-AI 30", "Cross tabulation", "Decisions changed" if readings.paired else AUTHORS),
        ("STARD-AI 31", "Accuracy with its precision", "Each reader; levels; effect"),
        ("CLAIM 18", "Variability between and within readers", "Fleiss' and Cohen's κ, intervals"),
        ("CLAIM 29", "Uncertainty and significance", "Random and fixed readers and cases"),
        ("CLAIM 38", "Accuracy with its precision", "Each reader; readers against the model"),
        ("CLAIM 39", "Analysis of failures", followed if asked else AUTHORS),
    )
    return plain_table(
        key="reader_study_guidelines",
        title="Items of STARD-AI and CLAIM 2024 on readers",
        columns=[
            TableColumn(name, name.capitalize(), "text") for name in ("item", "subject", "answer")
        ],
        rows=rows,
        note="Items of STARD-AI (Sounderajah et al., Nature Medicine 2025;31:3283–3289) and CLAIM "
        "2024 (Tejani et al., Radiology: Artificial Intelligence 2024;6:e240300) in our words; the "
        "report of a study lists every item.",
    )


def _missing(readings: Readings) -> int:
    return int(np.isnan(readings.p).sum())
