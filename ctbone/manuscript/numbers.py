"""The fields of ``metrics.json`` as they are printed in a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctbone.document import interval, number, p_text
from ctbone.manuscript.parts import Author, Field, Paragraph, Part, line
from ctbone.stats import Estimate


class Numbers:
    """The content of ``metrics.json``, read by path.

    What the file lacks becomes a placeholder for the authors.

    Parameters
    ----------
    content
        The parsed file.

    Examples
    --------
    >>> numbers = Numbers({"confidence": 0.95, "n": 80, "auc": {"value": 0.9, "low": 0.8}})
    >>> numbers.count("n")
    Field(text='80', path='n')
    >>> numbers.share("confidence").text
    '95%'
    >>> numbers.text("positive").text
    '[authors: positive is not recorded]'
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content

    def get(self, *path: str | int) -> Any:
        """Return the value at a path; None if a part of the path is missing."""
        found: Any = self.content
        for key in path:
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                return None
        return found

    def names(self, *path: str | int) -> list[str]:
        """Return the keys of a mapping; none if it is missing."""
        found = self.get(*path)
        return list(found) if isinstance(found, Mapping) else []

    def text(self, *path: str | int) -> Part:
        """Return a text as it is."""
        return _field(self.get(*path), path)

    def key(self, *path: str | int) -> Field:
        """Return the last key of a path, such as the name of a model."""
        return Field(str(path[-1]), "/".join(map(str, path)))

    def count(self, *path: str | int) -> Part:
        """Return an integer; of a list or a mapping its length."""
        found = self.get(*path)
        return _field(len(found) if isinstance(found, list | Mapping) else found, path)

    def value(self, *path: str | int, digits: int = 3) -> Part:
        """Return a number with fixed decimals."""
        return _field(number(_number(self.get(*path)), digits), path)

    def short(self, *path: str | int) -> Part:
        """Return a number with as few digits as it has: 0.0002, 15, 1e-05."""
        found = self.get(*path)
        try:
            return _field(f"{float(found):g}", path)
        except (TypeError, ValueError):
            return _field(found, path)

    def share(self, *path: str | int) -> Field | Author:
        """Return a share as a percentage."""
        found = _number(self.get(*path))
        return _field("–" if found is None else f"{100 * found:g}%", path)

    def p(self, *path: str | int) -> Part:
        """Return a p-value with its sign of relation: ``= .031``, ``< .001``."""
        text = p_text(_number(self.get(*path)))
        return _field(text if text[0] in "<>–" else f"= {text}", path)

    def read(self, *path: str | int) -> Estimate:
        """Return the estimate at a path; undefined if it is missing."""
        found = self.get(*path)
        if not isinstance(found, Mapping):
            return Estimate.undefined("", "not in metrics.json")
        value = found.get("value", found.get("difference"))
        return Estimate(
            _number(value),
            _number(found.get("low")),
            _number(found.get("high")),
            str(found.get("method", "")),
            found.get("why"),
        )

    def estimate(
        self, *path: str | int, digits: int = 3, p: tuple[str | int, ...] = ()
    ) -> Paragraph:
        """Return a value with its interval, and the p-value at ``p``, in brackets.

        If the value is undefined, the brackets hold the reason.
        """
        estimate = self.read(*path)
        if estimate.value is None:
            return line("undefined ({why})", why=_field(estimate.why or "no value", (*path, "why")))
        key = "difference" if "difference" in (self.get(*path) or {}) else "value"
        value = _field(number(estimate.value, digits), (*path, key))
        ends = interval(estimate, digits)
        test = line("; p {p}", p=self.p(*p)) if p else ()
        if not ends:
            return line("{value} (no interval{test})", value=value, test=test)
        return line(
            "{value} ({level} CI {ends}{test})",
            value=value,
            level=self.share("confidence"),
            ends=_field(ends, (*path, "low, high")),
            test=test,
        )


def _field(found: object, path: tuple[str | int, ...]) -> Field | Author:
    """Return a field; what is missing in the file is left to the authors."""
    where = "/".join(map(str, path))
    return Author(f"{where} is not recorded") if found in (None, "") else Field(str(found), where)


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if usable else None
