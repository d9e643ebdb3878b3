"""The worst cases with image and heat maps side by side: the pictures of ``ctbone explain``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from ctbone.document import Block, Gallery, PicturedCase, Text
from ctbone.errors import CtboneError
from ctbone.study import Study, file_hash, read_json, record_of

_MOST = 4  # cases of each set; a picture takes about 0.3 MB of the page
_WIDTH = 900
"""Pixels of a picture on the page; the originals, in explain/, are wider."""


def mistake_maps(study: Study, case_ids: Sequence[str]) -> tuple[Block, ...]:
    """Show image and maps of the worst cases that were explained with the weights of now.

    Parameters
    ----------
    study
        The study; nothing is drawn here.
    case_ids
        The worst cases, the worst first.

    Returns
    -------
    tuple of Block
        Empty if no case has current maps.

    Notes
    -----
    A map of other weights, or one that was changed since, is left out: it would explain another
    probability. The text names the cases without current maps.
    """
    pictured, without = [], []
    for case_id in case_ids[:_MOST]:
        found = [
            _pictured(study, model, case_id)
            for model in study.settings.models
            if _is_current(study, model, case_id)
        ]
        pictured += found
        without += [] if found else [case_id]
    if not pictured:
        return ()
    words = (
        "Image, lesion's outline and heat maps of the worst cases, as 'ctbone explain' drew them. "
        "A map shows what the network used, not whether it was right to use it."
    )
    if without:
        words += f" No current maps: {', '.join(without)}; run 'ctbone explain'."
    return (Text((words,)), Gallery(tuple(pictured)))


def _is_current(study: Study, model: str, case_id: str) -> bool:
    """Whether a case has its picture, and its maps are those of the weights of now."""
    if not _picture(study, model, case_id).is_file():
        return False
    records = sorted(study.explanation_page(model).parent.glob(f"*/{case_id}.json"))
    try:
        return bool(records) and all(_describes(study, model, path) for path in records)
    except (CtboneError, KeyError, TypeError, ValueError, OSError):
        return False


def _describes(study: Study, model: str, path: Path) -> bool:
    record = read_json(path)
    drawn = path.with_name(f"{path.stem}.nii.gz")
    if record_of(drawn) != path or record["map"] != file_hash(drawn):
        return False
    weights = {
        fold: read_json(study.run_folder(model, int(fold)) / "card.json")["weights_sha256"]
        for fold in record["made_from"]["weights"]
    }
    return bool(weights == record["made_from"]["weights"])


def _pictured(study: Study, model: str, case_id: str) -> PicturedCase:
    records = sorted(study.explanation_page(model).parent.glob(f"*/{case_id}.json"))
    record = read_json(records[0])
    line = (
        f"{model}; truth {record['truth']}, called {record['predicted']}; probability of "
        f"{record['target']} {record['probability']:.2f}"
    )
    methods = ", ".join(path.parent.name for path in records)
    image = _reduced(_picture(study, model, case_id))
    return PicturedCase(case_id=case_id, line=line, images=(image,), names=(f"maps: {methods}",))


def _picture(study: Study, model: str, case_id: str) -> Path:
    return study.explanation_page(model).with_name(f"{case_id}.png")


def _reduced(path: Path) -> bytes:
    """Return a picture of at most ``_WIDTH`` pixels as PNG."""
    from PIL import Image

    file = io.BytesIO()
    with Image.open(path) as picture:
        height = round(picture.height * _WIDTH / picture.width)
        small = picture.convert("RGB")
        if picture.width > _WIDTH:
            small = small.resize((_WIDTH, height), Image.Resampling.LANCZOS)
        small.save(file, format="PNG", optimize=True)
    return file.getvalue()
