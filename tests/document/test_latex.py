"""Tables as LaTeX: escaped, balanced, and with the numbers of the CSV."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctbone.document import MatrixCell, Table, TableColumn, TableRow, plain_table
from ctbone.document.latex import escape, latex
from ctbone.stats import Estimate

COMMANDS = re.compile(
    r"\\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textquotedbl|ldots|textdegree)\{\}"
    r"|\\textsuperscript\{[23]\}|\$\\(?:pm|times|geq|leq|chi|kappa)\$|\$-\$|\\[{}&%$#_,]"
)


@given(st.text())
def test_no_text_stays_active(text):
    rest = COMMANDS.sub("", escape(text))
    assert not set(rest) & set('\\{}&%$#_^<>|"\n\r')


def example() -> Table:
    columns = (
        TableColumn("model", "Model_1", "text"),
        TableColumn("auc", "AUC", "estimate", group="Test & co"),
        TableColumn("p", "p", "p", group="Test & co"),
        TableColumn("n", "n"),
        TableColumn("c", "Confusion"),
    )
    rows = (
        TableRow(("3d", Estimate(0.9, 0.85, 0.95, "x"), 0.0002, 12, MatrixCell(((1, 2), (3, 4))))),
        TableRow(
            ("[2d]", Estimate(None, None, None, "x", "one class"), None, -3, ""),
            "strong",
            opens=True,
        ),
    )
    return Table("some_key", "50 % of it", columns, rows, "A note.")


def test_a_table_reads_as_it_should():
    lines = latex(example()).splitlines()
    assert r"\caption{50 \% of it.}\label{tab:some-key}" in lines
    assert r" & \multicolumn{2}{c}{Test \& co} &  &  \\" in lines
    assert r"\cmidrule(lr){2-3}" in lines
    assert (
        r"3d & 0.900 (0.850 to 0.950) & \textless{} .001 & 12 & \shortstack[r]{1 2\\3 4} \\"
        in lines
    )
    assert r"\textbf{{}[2d]} & \textbf{--} & \textbf{--} & \textbf{$-$3} &  \\" in lines
    assert lines[-1] == r"\end{table}"
    assert any("A note. Undefined (--): one class." in line for line in lines)


def test_a_long_table_breaks_over_pages():
    table = plain_table("k", "T", [TableColumn("a", "A", "text")], [[f"x{n}"] for n in range(60)])
    text = latex(table)
    assert r"\begin{longtable}{l}" in text.splitlines()
    assert text.count("\\\\\n") == 60 + 2


def test_long_cells_break_into_lines():
    table = plain_table(
        "k",
        "T",
        [TableColumn("a", "A", "text"), TableColumn("b", "B", "text")],
        [["short", "word " * 20]],
    )
    (share,) = re.findall(
        r"\\begin\{tabular\}\{l>\{[^}]*\}p\{(0\.\d\d)\\linewidth\}\}", latex(table)
    )
    assert 0.5 < float(share) < 0.95


def test_a_wide_table_is_turned_and_written_smaller():
    def of(columns: int, rows: int = 3) -> str:
        heads = [TableColumn(f"c{k}", f"C{k}", "text") for k in range(columns)]
        return latex(plain_table("k", "T", heads, [["0.914 (0.882)"] * columns] * rows))

    assert r"\begin{table}" in of(4)
    assert r"\normalsize" in of(4)
    assert r"\footnotesize" in of(5)
    assert r"\begin{sidewaystable}" in of(8)
    assert r"\scriptsize" in of(9)
    assert r"\begin{landscape}" in of(9, rows=60)
    assert r"\begin{landscape}" not in of(4, rows=60)


def assert_compiles_and_fits(tables: list[Path], folder: Path) -> None:
    """Compile all tables as one document, and look for boxes wider than the page."""
    packages = re.search(r"\\usepackage\{[^}]*\}", tables[0].read_text(encoding="utf-8")).group()
    body = "\n".join(rf"\input{{{path}}}\clearpage" for path in tables)
    head = r"\documentclass[10pt,a4paper]{article}\usepackage[T1]{fontenc}"
    document = rf"{head}{packages}\begin{{document}}{body}"
    (folder / "all.tex").write_text(document + r"\end{document}", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "all.tex"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    log = done.stdout.decode(errors="replace")
    missing = re.search(r"File `(\S+\.sty)' not found", log)
    if missing:
        pytest.skip(f"{missing.group(1)} is not installed")
    assert done.returncode == 0, log[-2000:]
    assert [
        width for width in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log) if float(width) > 10
    ] == []


needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not installed"
)


@needs_latex
def test_every_table_compiles_and_fits_the_page(tmp_path):
    wide = [TableColumn(f"c{k}", f"C{k}", "text") for k in range(9)]
    text = [TableColumn("a", "A", "text"), TableColumn("b", "B", "text")]
    for name, table in {
        "example": example(),
        "long": plain_table("k", "T", text[:1], [[f"x{n}"] for n in range(60)]),
        "wide": plain_table("k", "T", wide, [["0.914 (0.882)"] * 9] * 3),
        "texts": plain_table("k", "T", text, [["short", "word " * 20]]),
        "letters": plain_table("k", "T", text, [[r"\input{x} 5 % #_^~$", "χ² ± × ≥ − – … |<>"]]),
    }.items():
        (tmp_path / f"{name}.tex").write_text(latex(table), encoding="utf-8")
    assert_compiles_and_fits(sorted(tmp_path.glob("*.tex")), tmp_path)
