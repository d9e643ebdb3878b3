"""The page: every block, escaped, self-contained, and written as a whole or not at all."""

import json
import signal
import subprocess
import sys

import pytest

from ctbone.document import (
    FigureBlock,
    Flow,
    FlowBox,
    Gallery,
    ImageFile,
    ImageFiles,
    Notice,
    Page,
    PicturedCase,
    Section,
    SectionLink,
    TableBlock,
    TableColumn,
    Terms,
    Text,
    finish,
    panels,
    plain_table,
    render,
    style,
    write_page,
)
from ctbone.errors import StudyError
from tests.document.parsed_page import parse

HOSTILE = "<script>alert(1)</script> & 'x' \"y\""


def figure(title: str = "A curve"):
    with style():
        drawn, (axes,) = panels(1, columns=1, size=(20, 20))
        axes.plot([0, 1], [0, 1])
        return finish(drawn, key="curve", title=title, alt=f"Alt of {title}", note="A note.")


def page_of(*blocks, text: str = "words") -> Page:
    return Page(
        title=text,
        subtitle=text,
        summary=(Text((text,)), Notice(text, text)),
        sections=(Section("first", text, tuple(blocks)),),
        metrics={"auc": 0.9},
    )


def every_block(text: str):
    table = plain_table(
        key="some_table",
        title=text,
        columns=[TableColumn("name", text, "text"), TableColumn("at", "At", "text")],
        rows=[[SectionLink(text, "first"), text]],
        note=text,
    )
    return (
        Text((text,)),
        Terms(text, ((text, text),)),
        Flow(FlowBox(text, (text,), (FlowBox(text),), (text,))),
        TableBlock(table),
        FigureBlock(figure(text)),
        Gallery((PicturedCase(text, text, (b"png",), (text,)),)),
    )


def test_every_block_is_escaped_and_nothing_is_loaded(tmp_path):
    page = write_page(tmp_path / "out", page_of(*every_block(HOSTILE), text=HOSTILE))
    html, parsed = page.read_text(encoding="utf-8"), parse(page)
    assert "<script" not in html
    assert HOSTILE in " ".join(parsed.text)
    assert "img-src data:;" in html
    assert all(reference.startswith("data:") for reference in parsed.references)
    assert {"#summary", "#first"} <= set(parsed.anchors)


def test_images_beside_the_page_are_linked_by_name(tmp_path):
    image = ImageFile(path="P1.png", alt=HOSTILE, anchor="sheet-P1")
    (tmp_path / "index.html").write_text(render(page_of(ImageFiles((image,)))), encoding="utf-8")
    parsed = parse(tmp_path / "index.html")
    assert parsed.references == ["P1.png", "P1.png"]
    assert "sheet-P1" in parsed.ids
    assert "img-src data: 'self' file:;" in (tmp_path / "index.html").read_text()


def test_the_files_beside_the_page(tmp_path):
    page = write_page(tmp_path / "out", page_of(*every_block("words")))
    found = json.loads((page.parent / "metrics.json").read_text())
    assert found["auc"] == 0.9
    assert set(found["files"]) == {
        *(f"tables/some_table.{suffix}" for suffix in ("csv", "tex")),
        *(f"figures/curve.{suffix}" for suffix in ("svg", "png")),
    }
    assert all((page.parent / name).stat().st_size for name in found["files"])


def test_a_second_page_deletes_only_the_files_of_the_first(tmp_path):
    page = write_page(tmp_path, page_of(*every_block("words")))
    own = tmp_path / "tables" / "my own.csv"
    own.write_text("a\n")
    write_page(tmp_path, page_of(Text(("no table",))))
    assert own.is_file()
    assert not (tmp_path / "tables" / "some_table.csv").exists()
    assert "no table" in page.read_text()


def test_what_a_killed_page_left_is_removed(tmp_path):
    code = (
        "import os, signal, sys, pathlib; from ctbone.study import temporary_folder\n"
        "with temporary_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'tables').mkdir(); (folder / 'tables' / 't.csv').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name[:9] for path in tmp_path.iterdir()] == [".writing-"]
    write_page(tmp_path, page_of(Text(("words",))))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "metrics.json"]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        write_page(tmp_path / "file" / "out", page_of())


def test_the_same_figure_gives_the_same_bytes():
    assert (figure().svg, figure().png) == (figure().svg, figure().png)
