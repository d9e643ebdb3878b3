"""A manuscript as a LaTeX document that pdflatex, lualatex and xelatex compile."""

from __future__ import annotations

from ctbone.document.latex import escape, latex
from ctbone.manuscript.parts import (
    Author,
    Heading,
    Manuscript,
    NumberedFigure,
    NumberedTable,
    Paragraph,
    text_of,
)

_PREAMBLE = r"""\documentclass[10pt,a4paper]{article}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[T1]{fontenc}
  \usepackage[utf8]{inputenc}
  \IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\else
  \usepackage{fontspec}
\fi
\usepackage[a4paper,margin=15mm]{geometry}
\usepackage{array,booktabs,textcomp,longtable,adjustbox,rotating,pdflscape}
\usepackage{graphicx,xcolor}
\newcommand{\authors}[1]{\textcolor{red}{[authors: #1]}}
"""
# Letters that pdflatex does not know by itself and that method names have.
_SYMBOLS = {
    **{"Σ": r"\Sigma", "π": r"\pi", "α": r"\alpha", "β": r"\beta", "μ": r"\mu", "σ": r"\sigma"},
    **{"Δ": r"\Delta", "→": r"\to", "√": r"\surd", "≈": r"\approx", "∞": r"\infty", "∈": r"\in"},
}
# Above Latin Extended-A, inputenc knows only these of the letters that a text is likely to have.
_KNOWN = frozenset("–—‘’‚“”„†‡•…‰‹›€™−")
_LAST_LATIN = 0x17F


def tex(manuscript: Manuscript) -> str:
    """Return the manuscript as LaTeX; figures are read from ``figures/`` beside it."""
    body = [rf"\section*{{{escape(manuscript.title)}}}"]
    for block in manuscript.blocks:
        if isinstance(block, Heading):
            command = "section" if block.level == 1 else "subsection"
            body.append(rf"\{command}*{{{escape(block.text)}}}")
        elif isinstance(block, NumberedTable):
            body.append(latex(block.table).rstrip())
        elif isinstance(block, NumberedFigure):
            body.append(_figure(block))
        else:
            body.append(_paragraph(block))
    text = "\n\n".join(body)
    opening = rf"{_PREAMBLE}{_declared(text)}\begin{{document}}"
    return f"{opening}\n\n{text}\n\n\\end{{document}}\n"


def _paragraph(paragraph: Paragraph) -> str:
    return "".join(
        rf"\authors{{{escape(part.what)}}}" if isinstance(part, Author) else escape(text_of(part))
        for part in paragraph
    )


def _figure(block: NumberedFigure) -> str:
    return "\n".join(
        (
            r"\begin{figure}[htbp]",
            r"\centering",
            rf"\includegraphics[width={block.width:.1f}mm]{{{block.file}}}",
            rf"\caption{{{escape(block.caption)}}}",
            r"\end{figure}",
        )
    )


def _declared(text: str) -> str:
    """Declare the letters of the text that pdflatex does not know; others print their number."""
    unknown = {letter for letter in text if ord(letter) > _LAST_LATIN} - _KNOWN
    if not unknown:
        return ""
    lines = [
        rf"  \DeclareUnicodeCharacter{{{ord(letter):04X}}}{{{_replacement(letter)}}}"
        for letter in sorted(unknown)
    ]
    return "\n".join([r"\ifPDFTeX", *lines, r"\fi", ""])


def _replacement(letter: str) -> str:
    command = _SYMBOLS.get(letter)
    return rf"\ensuremath{{{command}}}" if command else f"[U+{ord(letter):04X}]"
