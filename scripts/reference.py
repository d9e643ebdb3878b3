"""Write docs/reference.md from the code: the commands' help, and the settings with defaults."""

from __future__ import annotations

import ast
import json
import sys
import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, not another that is installed
PAGE = ROOT / "docs" / "reference.md"
_WIDTH = 100
_PAGE_WIDTH = 120
_HEAD = """# Reference

This page lists every command with its options, then every setting of `study.yaml` with its values
and default. `scripts/reference` writes it from the code: change the text there, not here.
"""


@dataclass(frozen=True)
class _Setting:
    name: str
    annotation: ast.expr
    default: str
    meaning: str


def reference() -> str:
    """Return the whole page."""
    return (
        "\n".join(
            [_HEAD, "## Commands", "", *_commands(), "## Settings", "", *_settings()]
        ).rstrip()
        + "\n"
    )


def _commands() -> Iterator[str]:
    import typer

    from ctbone.cli import app

    group = typer.main.get_command(app)
    for name, command in _leaves(group):
        context = command.make_context(
            name,
            [],
            resilient_parsing=True,
            terminal_width=_WIDTH,
            max_content_width=_WIDTH,
            **group.context_settings,
        )
        context.info_name = f"ctbone {name}"
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        yield from (f"### ctbone {name}", "", "```text", text, "```", "")


def _leaves(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command with its name; a command with commands of its own yields those."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _leaves(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _settings() -> Iterator[str]:
    """Walk through the sections of ``study.yaml``, outermost first."""
    source = (ROOT / "ctbone" / "config.py").read_text(encoding="utf-8")
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    sections = {
        name: node
        for name, node in classes.items()
        if any(_name(base) == "_Section" for base in node.bases)
    }
    seen: list[tuple[str, str]] = [("", "Settings")]
    for place, name in seen:
        node = sections[name]
        yield from (f"### `{place}`" if place else "### `study.yaml`", "", _summary(node), "")
        for setting in _fields(node):
            kind = _kind(setting.annotation, sections)
            yield from _entry(setting, kind)
            path = f"{place}.{setting.name}" if place else setting.name
            path += ".NAME" if kind.startswith("dict") else ""
            names = {
                _name(part) for part in ast.walk(setting.annotation) if isinstance(part, ast.Name)
            }
            seen += [
                (path, other)
                for other in sections
                if other in names and other not in dict(map(reversed, seen))
            ]  # type: ignore[arg-type]
        yield ""


def _entry(setting: _Setting, kind: str) -> Iterator[str]:
    """Write one setting as a list item: its name, values, default and meaning."""
    default = "" if setting.default == "see there" else f"; default: {setting.default}"
    default = "; required" if setting.default == "needed" else default
    meaning = f": {setting.meaning}" if setting.meaning else ""
    yield from textwrap.wrap(
        f"- `{setting.name}` ({kind}{default}){meaning}",
        _PAGE_WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _fields(node: ast.ClassDef) -> Iterator[_Setting]:
    from ctbone import config

    known = getattr(config, node.name).model_fields
    for here, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(here, ast.AnnAssign) or not isinstance(here.target, ast.Name):
            continue
        told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        meaning = str(after.value.value) if told else ""  # type: ignore[union-attr]
        words = " ".join(meaning.split()).replace("``", "`")
        yield _Setting(here.target.id, here.annotation, _default(known[here.target.id]), words)


def _kind(annotation: ast.expr, sections: Collection[str]) -> str:
    """Describe the values of a setting from its annotation."""
    if isinstance(annotation, ast.Subscript) and _name(annotation.value) == "Annotated":
        kind, *constraints = annotation.slice.elts  # type: ignore[attr-defined]
        limits = [
            f"{_SIGNS[keyword.arg]} {ast.unparse(keyword.value)}"
            for call in constraints
            if isinstance(call, ast.Call)
            for keyword in call.keywords
            if keyword.arg in _SIGNS
        ]
        return " ".join([_kind(kind, sections), *([", ".join(limits)] if limits else [])])
    if isinstance(annotation, ast.BinOp):
        return f"{_kind(annotation.left, sections)} or {_kind(annotation.right, sections)}"
    if isinstance(annotation, ast.Subscript) and _name(annotation.value) == "Literal":
        values = (
            annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        )
        return ", ".join(f"`{ast.literal_eval(value)}`" for value in values)
    if isinstance(annotation, ast.Subscript):
        inner = (
            annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        )
        kinds = [
            _kind(one, sections)
            for one in inner
            if not (isinstance(one, ast.Constant) and one.value is ...)
        ]
        return (
            f"list of {kinds[0]}"
            if _name(annotation.value) == "tuple"
            else f"dict of {', '.join(kinds)}"
        )
    word = ast.unparse(annotation)
    return "section" if word in sections else _WORDS.get(word, word)


_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_WORDS = {
    "int": "whole number",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "None": "null",
    "PositiveFloat": "number > 0",
    "NonNegativeFloat": "number ≥ 0",
    "Name": "name",
    "Component": "name or package.module:name",
    "Any": "anything",
}


def _default(field: FieldInfo) -> str:
    """Return a default as written in the YAML file."""
    from pydantic import BaseModel
    from pydantic_core import to_jsonable_python

    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see there"
    return (
        f"`{json.dumps(to_jsonable_python(value), ensure_ascii=False)}`" if value != {} else "none"
    )


def _summary(node: ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").split("\n\n")[0].replace("``", "`")


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def main() -> None:
    """Write the page, or with --check exit with an error if it is out of date."""
    page = reference()
    if "--check" in sys.argv[1:]:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
            sys.exit(f"{PAGE.relative_to(ROOT)} is out of date: run scripts/reference")
        return
    PAGE.write_text(page, encoding="utf-8")
    print(f"Wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
