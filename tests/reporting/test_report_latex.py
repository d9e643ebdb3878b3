"""The LaTeX of a whole report: one file for each CSV, with balanced braces."""

from tests.document.test_latex import assert_compiles_and_fits, needs_latex


def test_every_table_of_a_report_is_there_twice(reported):
    names = {path.stem for path in (reported.parent / "tables").glob("*.csv")}
    assert names == {path.stem for path in (reported.parent / "tables").glob("*.tex")}
    for path in (reported.parent / "tables").glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        assert text.count(r"\begin{") == text.count(r"\end{") > 0
        assert text.replace(r"\{", "").replace(r"\}", "").count("{") == text.replace(
            r"\{", ""
        ).replace(r"\}", "").count("}")


@needs_latex
def test_every_table_of_a_report_compiles_and_fits_the_page(reported, tmp_path):
    assert_compiles_and_fits(sorted((reported.parent / "tables").glob("*.tex")), tmp_path)
