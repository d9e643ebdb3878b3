"""Enough of TeX's grammar to find what pdflatex would refuse: braces, environments, columns."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"(?P<comment>(?<!\\)%[^\n]*)|\\(?P<begin>begin|end)\{(?P<name>\w+)\*?\}"
    r"|(?P<command>\\(?:[a-zA-Z]+\*?|.))|(?P<special>[{}&$#^_~])",
    re.DOTALL,
)
_CELL_GROUP = re.compile(r"\\multicolumn\{(\d+)\}")


def check(document: str) -> list[str]:
    """Return the names of all environments; an AssertionError says what is wrong."""
    preamble, body = document.split(r"\begin{document}")
    assert preamble.count("{") == preamble.count("}")
    open_: list[tuple[str, int]] = []
    depth, math, found = 0, False, []
    for token in _TOKEN.finditer(r"\begin{document}" + body):
        around = body[max(0, token.start() - 60) : token.end() + 20]
        if token["begin"] == "begin":
            open_.append((token["name"], depth))
            found.append(token["name"])
        elif token["begin"] == "end":
            name, level = open_.pop()
            assert (name, level) == (token["name"], depth), around
            assert not math, around
        elif token["special"] == "{":
            depth += 1
        elif token["special"] == "}":
            depth -= 1
            assert depth >= 0, around
        elif token["special"] == "$":
            math = not math
        elif token["special"] == "&":
            assert any(name in ("tabular", "longtable") for name, _ in open_), around
        elif token["special"] in ("#", "^", "_"):
            raise AssertionError(f"active letter: {around}")
    assert (open_, depth, math) == ([], 0, False)
    _check_columns(body)
    return found


def _check_columns(body: str) -> None:
    """Every row of a table has as many cells as the table has columns."""
    pattern = (
        r"\\begin\{(tabular|longtable)\}\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}(.*?)\\end\{\1\}"
    )
    for _, columns, content in re.findall(pattern, body, re.DOTALL):
        bare = re.sub(r">\{(?:[^{}]|\{[^{}]*\})*\}|p\{[^{}]*\}", "p", columns).replace("pp", "p")
        for row in re.split(r"\\\\(?=\n)", content)[:-1]:
            if "\\caption" in row:
                continue
            cells = len(re.findall(r"(?<!\\)&", row)) + 1
            merged = sum(int(n) - 1 for n in _CELL_GROUP.findall(row))
            assert cells + merged == len(bare), (bare, row)
