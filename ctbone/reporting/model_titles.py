"""Titles of models, the reader and fusions in tables and figures."""

from __future__ import annotations

from ctbone.config import READER, Settings
from ctbone.reporting.readers_section import reader_title
from ctbone.scores import SESSIONS, Scores
from ctbone.study import Study, read_json, record_of


def model_titles(study: Study, scores: Scores | None) -> dict[str, str]:
    """Return the title of every model, of the reader, and of fusions named after their parts.

    Parameters
    ----------
    study
        The study; ``title`` of a model comes from its settings.
    scores
        As ``reader_scores`` returns them: they hold the reader's level.

    Returns
    -------
    dict
        By key. A key that is missing is its own title.
    """
    titles = {name: model.title for name, model in study.settings.models.items() if model.title}
    reader = _reader(study, scores)
    titles |= {READER: reader} if reader else {}
    return titles | fusion_titles(study.settings, titles)


def fusion_titles(settings: Settings, titles: dict[str, str]) -> dict[str, str]:
    """Return the titles of fusions whose keys are those of their parts, such as ``3d+2d``.

    Examples
    --------
    >>> settings = Settings(name="pilot")
    >>> fusion_titles(settings, {"3d": "3D network", "2d": "2D network"})["3d+2d"]
    '3D network + 2D network'
    """
    found = {}
    for name, parts in settings.fusion.combinations.items():
        if name == "+".join(parts) and any(part in titles for part in parts):
            found[name] = " + ".join(titles.get(part, part) for part in parts)
    return found


def _reader(study: Study, scores: Scores | None) -> str:
    """Return the name and level of the reader whose scores are fused; "" if not recorded."""
    path = record_of(study.fusion_csv(READER))
    if not path.is_file():
        return ""
    reader_id = read_json(path).get("reader")
    if not isinstance(reader_id, str) or not reader_id:
        return ""
    level = "" if scores is None else scores.levels.get(reader_id, "")
    return reader_title(reader_id, level, SESSIONS[0])
