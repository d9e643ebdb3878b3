"""Whether a fused table still belongs to the probabilities, scores and settings of today."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ctbone.config import READER
from ctbone.document.page import Notice
from ctbone.report.gather import Source
from ctbone.study import Study, file_hash, read_json, record_of


def stale_notices(study: Study, found: Sequence[Source]) -> list[Notice]:
    """Warn of fused tables, the reader's among them, that an earlier run has left behind."""
    texts = []
    for source in found:
        if source.path.parent != study.fusion(source.name).parent:
            continue
        reasons = _reasons(study, source)
        if reasons:
            texts.append(f"{source.name} ({', '.join(reasons)})")
    if not texts:
        return []
    text = f"These fused tables are not of the current probabilities, scores and settings: {'; '.join(texts)}. "
    return [
        Notice(
            "Out of date.", f"{text}Run 'ctbone fuse' again, or delete what is no longer wanted."
        )
    ]


def _reasons(study: Study, source: Source) -> list[str]:
    path = record_of(source.path)
    if not path.is_file():
        return ["no record says what it was made from"]
    content = read_json(path)
    inputs = content.get("inputs")
    if not isinstance(inputs, dict):
        return ["its record names no inputs"]
    reasons = [
        reason
        for name, digest in inputs.items()
        if (reason := _changed(study, str(name), digest, content))
    ]
    if source.name != READER:
        reasons += _settings_changed(study, source.name, content)
    made_of = content.get("of")
    if isinstance(made_of, str) and made_of != READER and study.fusion(made_of).is_file():
        reasons += _reasons(study, Source(made_of, study.fusion(made_of), fused=True))
    return list(dict.fromkeys(reasons))


def _changed(study: Study, name: str, digest: object, content: dict[str, Any]) -> str | None:
    if name == READER:
        place = content.get("scores")
        if not isinstance(place, str):
            return None  # the scores lay outside the study, and where is not recorded
        path, subject, verb = study.root / place, "the scores", ("are", "have")
    elif name == study.cohort_csv.name:
        path, subject, verb = study.cohort_csv, name, ("is", "has")
    else:
        path, subject, verb = study.predictions_csv(name), name, ("is", "has")
    if not path.is_file():
        return f"{subject} {verb[0]} gone"
    return f"{subject} {verb[1]} changed" if file_hash(path) != digest else None


def _settings_changed(study: Study, name: str, content: dict[str, Any]) -> list[str]:
    """Compare how the table was made with how today's settings would make it."""
    fusion = study.settings.fusion
    if name in fusion.stacking:
        stacking = fusion.stacking[name]
        now: tuple[object, ...] = (list(stacking.parts), list(stacking.columns), stacking.model)
        then: tuple[object, ...] = (
            content.get("parts"),
            content.get("columns"),
            content.get("stacker"),
        )
    elif name in fusion.recalibration:
        recalibration = fusion.recalibration[name]
        now, then = (
            (recalibration.of, recalibration.method),
            (content.get("of"), content.get("method")),
        )
    elif name in fusion.combinations:
        rule = fusion.weights if isinstance(fusion.weights, str) else "given"
        now, then = (
            (list(fusion.combinations[name]), rule),
            (content.get("parts"), content.get("chosen_by")),
        )
    else:
        return ["the settings no longer name it"]
    return [] if now == then else ["the settings have changed"]
