"""The manuscript kit: every number is a field, in Word, Markdown and LaTeX alike."""

import csv
import json
import re
import shutil
import subprocess

import docx
import pytest

import ctbone as ct
from ctbone.errors import ReportError
from ctbone.manuscript import write_manuscript
from ctbone.manuscript.kit import compose
from ctbone.manuscript.parts import Author, Field, plain
from tests.manuscript.numbers_of_a_report import (
    METRICS,
    changed,
    comparison,
    estimate,
    report_of,
)
from tests.manuscript.tex_parser import check
from tests.reporting.synthetic_study import Sizes, make_study


def texts(report) -> dict[str, str]:
    """Write the kit and return its text, and its tables, as each format has them."""
    folder = write_manuscript(report).folder
    document = docx.Document(str(folder / "manuscript.docx"))
    lines = [paragraph.text for paragraph in document.paragraphs]
    lines += [c.text for t in document.tables for row in t.rows for c in row.cells]
    return {
        "docx": "\n".join(lines),
        "md": (folder / "manuscript.md").read_text(encoding="utf-8"),
        "tex": (folder / "manuscript.tex").read_text(encoding="utf-8"),
    }


def prose(metrics, tmp_path) -> str:
    made = compose(metrics, tmp_path)
    return "\n".join(plain(paragraph) for paragraph in made.paragraphs)


VARIANTS = {
    "all": METRICS,
    "few": {"study": "pilot", "classes": ["a", "b"], "confidence": 0.9},
    "youden": changed(("threshold",), "youden"),
    "synthetic": changed(("synthetic",), True),
    "three classes": {**METRICS, "positive": None, "classes": ["a", "b", "c"]},
    "nobody left out": changed(("records", "cohort", "excluded"), {"cases": 0, "reasons": {}}),
    "no records": {**METRICS, "records": None},
    "made elsewhere": {
        **METRICS,
        "records": {**METRICS["records"], "networks": {}, "folds": None, "elsewhere": ["3d"]},
    },
    "radiographs": changed(
        ("records", "networks"),
        {"r": [{**METRICS["records"]["networks"]["2d"][0], "dim": "radiograph"}]},
    ),
}


@pytest.mark.parametrize("metrics", VARIANTS.values(), ids=VARIANTS)
def test_every_number_of_the_text_is_a_field(metrics, tmp_path):
    for paragraph in compose(metrics, tmp_path).paragraphs:
        for part in paragraph:
            if isinstance(part, str):
                assert not re.search(r"\d", part.replace("F1", "")), part


@pytest.mark.parametrize("metrics", VARIANTS.values(), ids=VARIANTS)
def test_every_field_is_in_metrics_json(metrics, tmp_path):
    parts = [part for text in compose(metrics, tmp_path).paragraphs for part in text]
    fields = [part for part in parts if isinstance(part, Field)]
    assert fields
    for field in fields:
        found = metrics
        for key in re.sub(r" \(.*\)$", "", field.path).split("/"):
            if key in ("*", "low, high"):
                break
            found = found[int(key)] if isinstance(found, list) else found[key]
        assert field.text not in ("None", ""), field


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    return texts(report_of(METRICS, tmp_path_factory.mktemp("unchanged")))


@pytest.mark.parametrize(
    ("path", "value", "printed"),
    [
        (("models", "3d", "auc", "value"), 0.98765, "0.988"),
        (("models", "3d", "auc", "low"), 0.11111, "0.111"),
        (("models", "3d+2d", "specificity", "high"), 0.98765, "0.988"),
        (("models", "2d", "calibration_slope", "value"), 9.87654, "9.877"),
        (("external", "models", "3d", "n"), 98765, "98765"),
        (("comparisons", 0, "difference"), 0.98765, "0.988"),
        (("comparisons", 0, "p_value_holm"), 0.04321, ".043"),
        (("fusion", "3d+2d", "mean", "2d"), 0.98765, "0.99"),
        (("reader_study", "effect", "auc", "change", "difference"), 0.98765, "0.988"),
        (("reader_study", "time_ratio", "value"), 9.87654, "9.88"),
        (("records", "cohort", "patients"), 98765, "98765"),
        (("records", "cohort", "sets", "external", "classes", "malignant"), 98765, "98765"),
        (("records", "cohort", "excluded", "cases"), 98765, "98765"),
        (("records", "images", "preprocess.crop_3d.size"), "9876", "9876"),
        (("records", "networks", "3d", 0, "training", "epochs"), 98765, "98765"),
        (("records", "networks", "2d", 0, "training", "learning_rate"), 0.98765, "0.98765"),
        (("records", "networks", "2d", 0, "windows", 0, "width"), 98765.0, "98765"),
        (("records", "folds", "validation_share"), 0.987, "98.7%"),
        (("threshold",), 0.98765, "0.98765"),
        (("confidence",), 0.987, "98.7%"),
        (("baseline", "rows", 1, "cells"), ["age", "98.7 ± 6.5", 0.0321], "98.7"),
    ],
)
def test_a_changed_value_changes_in_word_markdown_and_latex(
    path, value, printed, unchanged, tmp_path
):
    after = texts(report_of(changed(path, value), tmp_path))
    for kind in ("docx", "md", "tex"):
        there = printed.replace("%", r"\%") if kind == "tex" else printed
        assert there not in unchanged[kind], kind
        assert there in after[kind], kind


def test_the_text_says_what_the_records_say(tmp_path):
    text = prose(METRICS, tmp_path)
    for sentence in (
        "The study included 103 cases of 97 patients (41 benign and 62 malignant).",
        "No result is reported for 6 cases: mask is empty (6).",
        "The external test comprised 23 cases of 21 patients (9 benign and 14 malignant) from "
        "2 centres (centre2, 11; centre3, 12).",
        "The model 3d was a densenet121 with 3-dimensional input, trained from ImageNet weights "
        "for 51 epochs in batches of 19 with adam, a learning rate of 0.0003 (cosine) and "
        "cross-entropy loss.",
        "For 3d, the AUC was 0.710 (95% CI 0.660 to 0.740), the sensitivity 0.720 (95% CI 0.670 "
        "to 0.750), the specificity 0.730 (95% CI 0.680 to 0.760) and the accuracy 0.760 "
        "(95% CI 0.710 to 0.790).",
        "the calibration intercept −0.710 (no interval)",
        "1 of 2 exploratory comparisons of AUCs had an adjusted p below 0.05 (Table 4).",
        "3d against 2d 0.123 (95% CI 0.083 to 0.173; p = .021)",
        "had 5 readers (3 junior and 2 senior), who read 20 cases; 12 of these were malignant.",
        "a change of 0.075 (95% CI 0.035 to 0.125; p = .016)",
    ):
        assert sentence in text, sentence
    assert "highest of" not in text


def test_primary_comparisons_come_first_and_name_the_models(tmp_path):
    primary = {**comparison("3d+2d", "3d", 0.0777, 0.0123), "cohort": "internal"}
    for shape in ([primary], {"comparisons": [primary]}):
        text = prose({**METRICS, "primary": shape}, tmp_path)
        first = text.index("Primary comparison of 3d+2d with 3d on the internal test")
        assert first < text.index("For 3d, the AUC")
        assert "0.078 (95% CI 0.038 to 0.128; p = .012)" in text
        assert "For 2d, the AUC" not in text
        assert "All other comparisons are exploratory" in text
    assert "No primary comparison was named" in prose(METRICS, tmp_path)
    other = prose({**METRICS, "primary": [{"question": 1}]}, tmp_path)
    assert "[authors: primary comparison 0, which metrics.json does not describe]" in other


def test_what_no_record_proves_is_left_to_the_authors(tmp_path):
    without = {**METRICS["records"], "networks": {}, "folds": None, "elsewhere": ["3d"]}
    text = prose({**METRICS, "records": without}, tmp_path)
    assert "trained from" not in text
    assert "out-of-fold" not in text
    assert "[authors: how these models were trained, and on which cases]" in text
    for kind, found in texts(report_of(METRICS, tmp_path / "report")).items():
        mark = r"\authors{reference standard" if kind == "tex" else "[authors: reference standard"
        assert mark in found, kind


def test_an_undefined_value_says_why(tmp_path):
    why = {**estimate(0.5), "value": None, "why": "one class"}
    text = prose(changed(("models", "3d", "auc"), why), tmp_path)
    assert "For 3d, the AUC was undefined (one class), the sensitivity 0.720" in text


NASTY = {
    **METRICS,
    "study_title": r"\input{x} 5 % of A_1 & $B^2$ #~ <|> 中文 Σ é",
    "models": {r"a_b&%$#{}~^\x": METRICS["models"]["3d"], "模型": METRICS["models"]["2d"]},
    "comparisons": [comparison(r"a_b&%$#{}~^\x", "模型", 0.1, 0.01)],
    "records": {**METRICS["records"], "elsewhere": ["[x]*_`|", "\x07"]},
}


@pytest.mark.parametrize("metrics", [*VARIANTS.values(), NASTY], ids=[*VARIANTS, "nasty"])
def test_the_latex_is_well_formed(metrics, tmp_path):
    folder = write_manuscript(report_of(metrics, tmp_path)).folder
    document = (folder / "manuscript.tex").read_text(encoding="utf-8")
    environments = check(document)
    tables = sum("table" in name and name != "longtable" for name in environments)
    assert environments.count("figure") == len(metrics.get("figures", {}))
    assert tables + environments.count("longtable") == document.count(r"\label{tab:")
    for picture in re.findall(r"\\includegraphics\[[^]]*\]\{([^}]*)\}", document):
        assert (folder / picture).is_file()
    declared = re.findall(r"DeclareUnicodeCharacter\{(\w+)\}", document)
    body = document.split(r"\begin{document}")[1]
    for letter in set(body):
        known = ord(letter) < 0x180 or letter in "–—…−‘’“”" or f"{ord(letter):04X}" in declared
        assert known, f"pdflatex does not know U+{ord(letter):04X}"


def test_the_parser_finds_faults():
    good = r"\begin{document}\begin{tabular}{lr}a & b \\" + "\n" + r"\end{tabular}\end{document}"
    assert check(good) == ["document", "tabular"]
    for wrong in (
        good.replace(r"\end{tabular}", ""),
        good.replace("a &", "a_1 &"),
        good.replace("a &", "a"),
        good.replace("a &", "{a &"),
        good.replace("a &", "$a &"),
        good.replace(r"\begin{tabular}{lr}", "").replace(r"\end{tabular}", ""),
    ):
        with pytest.raises(AssertionError):
            check(wrong)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("metrics", [METRICS, NASTY], ids=["all", "nasty"])
def test_the_latex_compiles(metrics, tmp_path):
    folder = write_manuscript(report_of(metrics, tmp_path)).folder
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "manuscript.tex"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    log = done.stdout.decode(errors="replace")
    if missing := re.search(r"File `(\S+\.sty)' not found", log):
        pytest.skip(f"{missing.group(1)} is not installed")
    assert done.returncode == 0, log[-2000:]
    assert (folder / "manuscript.pdf").stat().st_size > 0


def test_markdown_and_word_have_the_same_tables(tmp_path):
    folder = write_manuscript(report_of(METRICS, tmp_path)).folder
    document = docx.Document(str(folder / "manuscript.docx"))
    text = (folder / "manuscript.md").read_text(encoding="utf-8")
    grids = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(grids) == len(document.tables) == 5
    for grid, table in zip(grids, document.tables, strict=True):
        lines = grid.replace("\\", "").splitlines()[2:]
        body = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]
        rows = [[c.text.replace("\u00a0", " ") for c in row.cells] for row in table.rows]
        assert [[c.strip() for c in row] for row in body] == [
            [c.strip() for c in row] for row in rows[-len(body) :]
        ]


def test_figures_have_their_width_and_caption(tmp_path):
    folder = write_manuscript(report_of(METRICS, tmp_path)).folder
    document = docx.Document(str(folder / "manuscript.docx"))
    widths = [shape.width.mm for shape in document.inline_shapes]
    assert widths == pytest.approx([88, 180], abs=0.1)
    captions = [p.text for p in document.paragraphs if p.text.startswith("Figure ")]
    assert captions == ["Figure 1. ROC_curves. n = 80 & more.", "Figure 2. Calibration."]
    assert {path.name for path in (folder / "figures").iterdir()} == {
        f"figure-{n}.{suffix}" for n in (1, 2) for suffix in ("png", "svg")
    }
    text = (folder / "manuscript.md").read_text(encoding="utf-8")
    assert "![Figure 1](figures/figure-1.png)" in text


def test_fields_csv_lists_every_field(tmp_path):
    folder = write_manuscript(report_of(METRICS, tmp_path)).folder
    with (folder / "fields.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    listed = {(row["text"].removeprefix("'"), row["field"]) for row in rows}
    fields = [p for text in compose(METRICS, tmp_path).paragraphs for p in text]
    assert listed == {(p.text, p.path) for p in fields if isinstance(p, Field)}
    assert ("0.710", "models/3d/auc/value") in listed


def test_authors_edits_are_kept(tmp_path):
    report = report_of(METRICS, tmp_path)
    first = write_manuscript(report)
    before = (first.folder / "manuscript.docx").read_bytes()
    assert write_manuscript(report).kept == ()
    assert (first.folder / "manuscript.docx").read_bytes() == before
    (first.folder / "manuscript.md").write_text("our words")
    report_of({**changed(("threshold",), 0.3), "figures": {}}, tmp_path)
    kit = write_manuscript(report)
    assert kit.kept == ("manuscript.edited-1.md",)
    assert (kit.folder / "manuscript.edited-1.md").read_text() == "our words"
    assert "0.3" in (kit.folder / "manuscript.md").read_text()
    assert list((kit.folder / "figures").iterdir()) == []


def test_without_a_report_there_is_a_clear_message(tmp_path):
    with pytest.raises(ReportError, match="no report"):
        write_manuscript(tmp_path)


def test_no_placeholder_is_empty(tmp_path):
    made = compose(METRICS, tmp_path)
    marks = [p for text in made.paragraphs for p in text if isinstance(p, Author)]
    assert len(marks) > 5
    assert all(mark.what for mark in marks)


def test_the_report_of_a_study_has_its_manuscript(tmp_path):
    study = make_study(
        tmp_path / "study",
        Sizes((20, 40), (8, 12)),
        readers=("senior", "junior"),
        evaluation={"bootstrap": 100},
    )
    report = ct.report(study, manuscript=True)
    assert str(report).splitlines()[1] == f"Manuscript: {study.report / 'manuscript'}"
    metrics = json.loads((study.report / "metrics.json").read_text())
    text = (study.report / "manuscript" / "manuscript.md").read_text(encoding="utf-8")
    cases = metrics["records"]["cohort"]
    assert f"{cases['cases']} cases of {cases['patients']} patients" in text
    assert f"For 3d, the AUC was {metrics['models']['3d']['auc']['value']:.3f}" in text
    assert "Table 1" in text
    assert "Figure 1" in text
    assert "None" not in text
    check((study.report / "manuscript" / "manuscript.tex").read_text(encoding="utf-8"))
