"""The documentation names only what exists, its links resolve, and its lines are short."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

import ctbone
from ctbone.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
)
WIDE = sorted([*PAGES, ROOT / "CHANGELOG.md"])
GENERATED = DOCS / "reference.md"

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page):
    return page.read_text(encoding="utf-8")


def code_of(text):
    """Inline code, indented lines and fenced blocks, one string each."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}\S.*$", text, re.MULTILINE)
    lines = [line for block in fenced for line in block.splitlines()]
    return [*re.findall(r"`([^`\n]+)`", text), *lines, *indented]


@pytest.mark.parametrize("page", WIDE, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_is_wider_than_120_columns(page):
    wide = {
        number: len(line)
        for number, line in enumerate(text_of(page).splitlines(), 1)
        if len(line) > 120
    }
    assert not wide


@each_page
def test_each_page_begins_with_one_title_and_says_what_it_is_for(page):
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    assert re.match(r"# \S", text)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    assert not re.match(r"#", text.split("\n", 1)[1].strip()), "a paragraph follows the title"


@each_page
def test_paths_exist(page):
    named = set(
        re.findall(r"\b(?:ctbone|scripts|tests|configs|pipelines|docs)/[\w./-]*\w", text_of(page))
    )
    missing = {path for path in named if not (ROOT / path).exists()}
    assert not missing


@each_page
def test_dotted_names_exist(page):
    for name in set(re.findall(r"\bctbone(?:\.\w+)+", text_of(page))):
        if name not in {"ctbone.def", "ctbone.sif"}:  # files
            assert resolve(name) is not None, name


def resolve(name):
    """The module or attribute of a dotted name; None where there is none."""
    found = importlib.import_module("ctbone")
    path = "ctbone"
    for part in name.split(".")[1:]:
        path += f".{part}"
        try:
            found = importlib.import_module(path)
        except ModuleNotFoundError:
            found = getattr(found, part, None)
            if found is None:
                return None
    return found


COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page != GENERATED],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_commands_and_options_exist(page):
    for line in code_of(text_of(page)):
        for call in re.findall(r"(?:^|[\s/])ctbone (?!as\b)([a-z]+\b[^|#]*)", line):
            words = call.split()
            assert words[0] in COMMANDS, f"ctbone {call}"
            command = COMMANDS[words[0]]
            if hasattr(command, "commands") and len(words) > 1:
                assert words[1] in command.commands, f"ctbone {call}"
                command = command.commands[words[1]]
            known = {option for parameter in command.params for option in parameter.opts}
            options = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert options <= known | {"--help"}, f"ctbone {call}"


@each_page
def test_scripts_and_their_options_exist(page):
    for line in code_of(text_of(page)):
        for name in re.findall(r"\bscripts/bench ([a-z]\w*)", line):
            assert (ROOT / "scripts" / "benchmarks" / f"{name}.py").is_file(), line
        call = re.search(
            r"\bscripts/(bench (?P<bench>[a-z]\w*)|(?P<demo>demo))(?P<rest>[^#|]*)", line
        )
        if call is None:
            continue
        options = set(re.findall(r"(?<!\S)--[\w-]+", call["rest"]))
        if call["demo"]:
            known = {option for parameter in COMMANDS["demo"].params for option in parameter.opts}
        else:
            source = text_of(ROOT / "scripts" / "benchmarks" / f"{call['bench']}.py")
            known = set(re.findall(r'"(--[\w-]+)"', source))
        assert options <= known, line


SETTINGS = set(re.findall(r"^- `(\w+)` \(", text_of(GENERATED), re.MULTILINE))


@pytest.mark.parametrize("page", ["docs/how-to.md", "docs/method.md", "docs/dicom.md", "README.md"])
def test_settings_exist(page):
    sections = r"(?:training|preprocess|fusion|evaluation|dicom|folds|crop_3d|images_2d)"
    text = text_of(ROOT / page)
    dotted = re.findall(rf"`{sections}\.(?!csv|json)(\w+)", text)
    inline = re.findall(rf"`{sections}: \{{(\w+):", text)
    assert set(dotted + inline) <= SETTINGS


def test_the_api_page_has_every_public_name():
    text = text_of(DOCS / "api.md")
    documented = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)", text, re.MULTILINE)}
    assert set(ctbone.__all__) <= documented
    used = set(re.findall(r"\bct\.(\w+)", text))
    assert used <= set(ctbone.__all__)


@each_page
def test_links_resolve(page):
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(<?([^)\s>]+)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"https?://doi\.org/", target):
            continue
        assert "://" not in target, f"{target}: only DOIs point outside"
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(text_of(file)), target


def anchors(text):
    """Anchors of the headings, as MkDocs and GitHub form them."""
    found = set(re.findall(r"\{ *#([\w-]+) *\}", text))
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        words = re.sub(r"[^\w\s-]", "", heading.lower().replace("`", ""))
        found.add(re.sub(r"\s", "-", words.strip()))
        ascii_words = words.encode("ascii", "ignore").decode().strip()
        found.add(re.sub(r"[-\s]+", "-", ascii_words))
    return found


def test_the_site_lists_every_page():
    config = yaml.safe_load(text_of(ROOT / "mkdocs.yml"))

    def leaves(item):
        if isinstance(item, str):
            return {item}
        return set().union(*map(leaves, item.values() if isinstance(item, dict) else item))

    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert leaves(config["nav"]) == pages


def test_the_site_loads_nothing_from_elsewhere():
    config = yaml.safe_load(text_of(ROOT / "mkdocs.yml"))
    assert config["theme"]["font"] is False
    assert not {"extra_javascript", "extra_css"} & set(config)
    for page in DOCS.rglob("*.md"):
        assert "```mermaid" not in text_of(page)  # its script would come from a CDN


def test_sources_of_the_code_are_in_the_bibliography():
    entries = re.split(r"^- ", text_of(DOCS / "bibliography.md"), flags=re.MULTILINE)
    for file in sorted((ROOT / "ctbone").rglob("*.py")):
        for author, year, number in re.findall(
            r"([A-Z][\w’'öé-]+)[^.;\n]*?[\s,]((?:18|19|20)\d\d)[;:](\d+(?::\w+)?)", text_of(file)
        ):
            assert any(
                author in entry and re.search(rf"{year}[;:(]{number}\b", entry) for entry in entries
            ), f"{file.relative_to(ROOT)}: {author} {year};{number}"


def test_the_dockerfile_is_in_order():
    linted = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout
    lines = text_of(ROOT / "Dockerfile").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users[-1] not in {"root", "0"}
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    files = [name for names in copied for name in names]
    kept = {line[1:] for line in text_of(ROOT / ".dockerignore").splitlines() if line[0] == "!"}
    assert set(files) == kept
    assert all((ROOT / name).exists() for name in files)


def test_the_apptainer_file_copies_what_the_dockerfile_copies():
    sections = dict(
        re.findall(
            r"^%(\w+)\n(.*?)(?=^%|\Z)", text_of(ROOT / "ctbone.def"), re.MULTILINE | re.DOTALL
        )
    )
    assert {"files", "post", "runscript", "test", "help"} <= set(sections)
    files = {line.split()[0] for line in sections["files"].splitlines() if line.strip()}
    docker = re.findall(r"^COPY (.+) \S+$", text_of(ROOT / "Dockerfile"), re.MULTILINE)
    assert files == set(" ".join(docker).split())
    for section in ("post", "runscript"):
        subprocess.run(["sh", "-n"], input=sections[section], text=True, check=True)


@pytest.mark.parametrize(
    "file",
    [
        "CITATION.cff",
        ".github/workflows/test.yml",
        *map(str, Path(".github/ISSUE_TEMPLATE").glob("*")),
    ],
)
def test_project_files_are_yaml(file):
    assert yaml.safe_load(text_of(ROOT / file))


def test_the_citation_has_the_version():
    citation = yaml.safe_load(text_of(ROOT / "CITATION.cff"))
    assert citation["version"] == ctbone.__version__


def test_public_ci_runs_the_same_tests():
    workflow = yaml.safe_load(text_of(ROOT / ".github" / "workflows" / "test.yml"))
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["scripts/test"]
    supported = re.findall(
        r'"Programming Language :: Python :: (3\.\d+)"', text_of(ROOT / "pyproject.toml")
    )
    assert job["strategy"]["matrix"]["python"] == supported
