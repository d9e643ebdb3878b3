"""The command line: parses options, calls ``ctbone.workflow``, prints the result."""

from __future__ import annotations

import codecs
import gc
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, TextIO

import typer

import ctbone
from ctbone.errors import CtboneError

if TYPE_CHECKING:
    from ctbone.dicom import Series

SOME_FAILED = 1
WRONG_INPUT = 2

app = typer.Typer(
    name="ctbone",
    help="Bone-tumour CT from DICOM to human–AI diagnosis.\n\n"
    "A study is a folder: study.yaml holds its settings, cohort.csv has one row a case. "
    "'ctbone demo' runs everything on synthetic patients; 'ctbone init DIR' makes a new study.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # importing rich would more than double the time of --help
    pretty_exceptions_enable=False,
)

StudyDir = Annotated[Path, typer.Option("--study", help="The study folder.", metavar="DIR")]
DimOption = Annotated[
    Literal["2d", "3d", "radiograph"] | None,
    typer.Option("--dim", help="Only the models of this dimension."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes; default: one a processor.", metavar="N"),
]
HERE = Path()


def main() -> NoReturn:
    """Run the command line. Errors in the input end with a message and exit code 2."""
    _print_any_character()
    # Waiting threads spin for microseconds, then sleep. PyTorch's default, milliseconds, doubles
    # the time on a busy machine; sleeping at once costs a quarter on an idle one.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        app(prog_name="ctbone")
    except CtboneError as error:
        fail(error)
    except KeyboardInterrupt:
        print(
            "\nstopped; finished parts are kept, and the same command continues from there",
            file=sys.stderr,
        )
        sys.exit(130)
    except BrokenPipeError:
        # stdout was closed, for example piped to head.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(0)


def fail(error: CtboneError) -> NoReturn:
    """Print the error and exit with 2."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(WRONG_INPUT)


def not_yet(missing: str, instead: str) -> NoReturn:
    """Raise the error of a command that this version lacks."""
    raise CtboneError(f"this version of ctbone ({ctbone.__version__}) {missing}", remedy=instead)


_ASCII = {"–": "-", "−": "-", "×": "x", "→": "->", "…": "...", "≥": ">=", "≤": "<=", "°": "deg"}
"""Replacements of the characters that ctbone prints, for consoles that cannot encode them."""


def _print_any_character() -> None:
    """Replace characters that the console cannot encode (ASCII, cp437) instead of failing."""

    def _replace(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        failed = error.object[error.start : error.end]
        return "".join(_ASCII.get(character, "?") for character in failed), error.end

    codecs.register_error("ctbone", _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ctbone")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ctbone {ctbone.__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Take the options before a command; without a command, print the help."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="A new folder; default: ctbone-demo, or ctbone-demo-shuffled with "
            "--shuffle-labels.",
        ),
    ] = None,
    study: Annotated[
        Literal["ct", "radiographs"], typer.Option(help="CT volumes, or radiographs.")
    ] = "ct",
    shuffle_labels: Annotated[
        bool,
        typer.Option(
            "--shuffle-labels", help="Permute the labels, so that there is nothing to learn."
        ),
    ] = False,
    difficulty: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="0: classes never overlap; 1: they cannot be told apart."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the patients.")] = 0,
    workers: WorkersOption = None,
) -> None:
    """Run every stage on synthetic patients, in minutes, on a laptop.

    Writes DICOM series with masks, a cohort table and the scores of six readers; then checks,
    preprocesses, trains in 3D and 2D, predicts the external centres, fuses with a reader and
    reports. With --study radiographs: films with boxes and clinical values in three classes.
    """
    from ctbone import workflow

    print(
        workflow.demo(
            folder,
            study=study,
            shuffle_labels=shuffle_labels,
            difficulty=difficulty,
            seed=seed,
            workers=_processes(workers),
        )
    )


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The study folder to make.")],
    config: Annotated[
        str, typer.Option(help="A config by name (sacral_ct, demo) or a YAML file.")
    ] = "sacral_ct",
) -> None:
    """Make a study folder with commented settings and an empty cohort table.

    Then fill cohort.csv, one row a case, and run 'ctbone check'.
    """
    from ctbone import workflow

    study = workflow.init(folder, config)
    print(
        f"Wrote {study.settings_file} and {study.cohort_csv}; "
        f"fill the cohort, then run: ctbone check --study {folder}"
    )


@app.command()
def check(study: StudyDir = HERE, workers: WorkersOption = None) -> None:
    """List every problem of the study before anything long runs.

    These are problems of cohort.csv, images, masks, scores.csv, study.yaml and disk space.
    """
    from ctbone import workflow
    from ctbone.results import problem_lines

    found = workflow.check(study, workers=_processes(workers))
    _print_lines(f"note: {note}" for note in found.notes)
    _print_lines(problem_lines(found.problems), sys.stderr)
    _print_lines([found.summary], sys.stdout if found.ok else sys.stderr)
    if not found.ok:
        sys.exit(WRONG_INPUT)


@app.command()
def doctor(
    study: StudyDir = HERE,
    network: Annotated[
        bool, typer.Option("--network", help="Ask whether the weights hub can be reached.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for bug reports.")] = False,
) -> None:
    """Show versions, devices, checked arithmetic, free space, and time for the study."""
    from ctbone import workflow

    found = workflow.doctor(study, network=network)
    print(found.json() if as_json else found)


@app.command()
def convert(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with DICOM files.")],
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT.nii.gz", help="The NIfTI file to write.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="List the series and why each is taken or not.")
    ] = False,
) -> None:
    """Convert one DICOM series to NIfTI in Hounsfield units."""
    from ctbone import workflow

    done = workflow.convert(folder, out, list=show)
    if show:
        _print_series(done.series)
    else:
        print(done)


@app.command()
def preprocess(
    study: StudyDir = HERE,
    case: Annotated[
        str | None, typer.Option("--case", help="Only this case.", metavar="ID")
    ] = None,
    workers: WorkersOption = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Address of a Dask scheduler that distributes the cases.", metavar="ADDRESS"
        ),
    ] = None,
    qc: Annotated[
        bool,
        typer.Option("--qc", help="Also draw a contact sheet of each case and an overview page."),
    ] = False,
) -> None:
    """Convert every case from DICOM to its 3D crop and 2D images.

    Cases that are up to date are skipped. A case that fails does not stop the others.
    """
    from ctbone import workflow
    from ctbone.results import problem_lines

    done = workflow.preprocess(
        study, case=case, workers=_processes(workers), cluster=cluster, qc=qc
    )
    _print_lines(f"note: {note}" for note in done.notes)
    _print_lines(problem_lines(done.problems), sys.stderr)
    print(done.summary)
    if qc:
        print(f"Overview: {done.study.qc / 'index.html'}")
    if not done.ok:
        sys.exit(SOME_FAILED)


@app.command()
def train(
    dim: DimOption = None,
    fold: Annotated[
        int | None, typer.Option(min=0, help="Only this fold, from 0.", metavar="K")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Run one batch of each model and write nothing.")
    ] = False,
    at_once: Annotated[
        int,
        typer.Option(
            "--at-once", min=1, help="Folds that train side by side on this machine.", metavar="N"
        ),
    ] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Address of a Dask scheduler that distributes the folds.", metavar="ADDRESS"
        ),
    ] = None,
    log: Annotated[
        Literal["none", "tensorboard", "mlflow"], typer.Option(help="Also log each epoch there.")
    ] = "none",
    study: StudyDir = HERE,
) -> None:
    """Train the folds, continuing where an earlier run stopped.

    Finished folds are not trained again. Under torchrun or srun, several processes train each
    fold together.
    """
    from ctbone import workflow

    done = workflow.train(
        study, dim=dim, fold=fold, dry_run=dry_run, at_once=at_once, cluster=cluster, log=log
    )
    from ctbone import training

    if training.is_rank_0():
        print(done)


@app.command()
def predict(
    image: Annotated[
        Path | None, typer.Argument(metavar="DICOM_DIR", help="A new patient (not yet).")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="The new patient's lesion mask (not yet).")
    ] = None,
    dim: DimOption = None,
    study: StudyDir = HERE,
) -> None:
    """Predict the external centres with the ensemble of all folds.

    A model with a fold that is not trained is left out and named.
    """
    if image is not None or mask is not None:
        not_yet(
            "does not predict a single new patient",
            "add the patient to cohort.csv with an external cohort name; "
            "then 'ctbone preprocess' and 'ctbone predict'",
        )
    from ctbone import workflow

    print(workflow.predict(study, dim=dim))


@app.command()
def fuse(
    with_reader: Annotated[
        Path | None,
        typer.Option(
            metavar="SCORES.csv",
            help="The radiologists' scores, here or in the study folder; default: no reader.",
        ),
    ] = None,
    reader: Annotated[
        str | None, typer.Option(help="The reader, if several scored every case.")
    ] = None,
    study: StudyDir = HERE,
) -> None:
    """Fuse the models with each other and with a radiologist.

    The weights are fitted on the validation cases of each fold, not on the reported cases. A
    fusion with a model that is not trained is left out and named.
    """
    from ctbone import workflow

    print(workflow.fuse(study, with_reader=with_reader, reader=reader))


@app.command()
def evaluate(
    table: Annotated[
        Path,
        typer.Argument(metavar="FILE.csv", help="A table with a label and probabilities."),
    ],
    label: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column of the true class; default: label."),
    ] = None,
    prob: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column of probabilities; can be repeated."),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="The label that the probabilities refer to."),
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The column of the patient, or none if every case is another patient; "
            "default: patient_id.",
        ),
    ] = None,
    threshold: Annotated[
        str,
        typer.Option(
            metavar="P",
            help="Probability that counts as positive, or youden (needs validation rows).",
        ),
    ] = "0.5",
    prevalence: Annotated[
        float | None,
        typer.Option(metavar="P", help="Prevalence of the decision curves, for case-control data."),
    ] = None,
    bands: Annotated[
        bool, typer.Option("--bands", help="Bootstrap bands around the curves; takes longer.")
    ] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results.")] = Path(
        "evaluation"
    ),
) -> None:
    """Analyse any table of probabilities, without images.

    Discrimination, calibration, decision curves and comparisons, each with its interval.
    """
    gc.disable()  # collecting during the imports frees nothing and takes a tenth of the time
    from ctbone import workflow

    print(
        workflow.evaluate(
            table,
            label=label,
            prob=prob or [],
            positive=positive,
            patient=patient,
            threshold=threshold,
            prevalence=prevalence,
            bands=bands,
            out=out,
        )
    )


@app.command()
def report(study: StudyDir = HERE) -> None:
    """Write every table and figure, and one HTML page."""
    from ctbone import workflow

    print(workflow.report(study))


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
    study: StudyDir = HERE,
) -> None:
    """Show what is there, current, out of date or missing, and what 'ctbone run' would make."""
    from ctbone import workflow

    found = workflow.status(study)
    if as_json:
        import json

        print(json.dumps(found.record, indent=1, ensure_ascii=False))
    else:
        print(found)


@app.command()
def audit(
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Train two small networks that must not know the class: one sees the lesion's "
            "surroundings only, one the values of the acquisition only.",
        ),
    ] = False,
    permute: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Train a small network N times on permuted labels."),
    ] = 0,
    study: StudyDir = HERE,
) -> None:
    """Look for leaks and shortcuts: duplicates, columns that predict the class, uneven folds."""
    from ctbone import workflow

    found = workflow.audit(study, controls=controls, permute=permute)
    _print_lines(str(found).splitlines())
    if not found.ok:
        sys.exit(SOME_FAILED)


@app.command()
def run(
    with_reader: Annotated[
        Path | None,
        typer.Option(
            metavar="SCORES.csv",
            help="The radiologists' scores, here or in the study folder; default: the study's "
            "scores.csv, if it exists.",
        ),
    ] = None,
    reader: Annotated[
        str | None, typer.Option(help="The reader, if several scored every case.")
    ] = None,
    workers: WorkersOption = None,
    study: StudyDir = HERE,
) -> None:
    """Make what 'ctbone status' calls stale or missing, from check to report.

    Trained folds that are out of date are moved to runs/replaced, not deleted.
    """
    from ctbone import workflow

    done = workflow.run(study, with_reader=with_reader, reader=reader, workers=_processes(workers))
    print(done)


@app.command()
def readers(
    scores: Annotated[Path, typer.Argument(metavar="SCORES.csv")],
    truth: Annotated[Path | None, typer.Option(metavar="COHORT.csv")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR")] = None,
) -> None:
    """Compare readers with and without AI (not yet)."""
    not_yet(
        "has no reader study", "'ctbone fuse' and 'ctbone report' use one reader's unaided scores"
    )


@app.command()
def explain(study: StudyDir = HERE) -> None:
    """Draw heat maps over the cases (not yet)."""
    not_yet(
        "draws no heat maps", "the weights in runs/ are safetensors that other tools can explain"
    )


@app.command()
def read(study: StudyDir = HERE) -> None:
    """Collect scores on a page in the browser (not yet)."""
    not_yet(
        "has no reading page", "write scores.csv by hand: reader_id, level, session, case_id, score"
    )


def _processes(workers: int | None) -> int:
    from ctbone.workers import default_workers

    return workers or default_workers()


def _print_lines(lines: Iterable[str], file: TextIO | None = None) -> None:
    """Print lines, wrapped to the width of the terminal where ``file`` is one."""
    file = file or sys.stdout
    width = shutil.get_terminal_size().columns if file.isatty() else None
    for line in lines:
        print(line if width is None else _wrapped(line, width), file=file)


def _wrapped(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line,
        width,
        subsequent_indent=f"{indent}    ",
        break_on_hyphens=False,
        break_long_words=False,  # paths stay whole
    )


_WIDE = 140
"""Columns that the table of series needs; narrower terminals get a list."""


def _print_series(series: Iterable[Series]) -> None:
    """Print a table of the series, or a list where the terminal is narrow."""
    rows = [_series_cells(one) for one in series]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if width is not None and width < _WIDE:
        for row in rows:
            number, *details, verdict, reason = row.items()
            shown = ", ".join(f"{name} {cell}" for name, cell in details if cell)
            _print_lines([f"{number[1]}  {verdict[1]}: {reason[1]}", f"   {shown}"])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*(rows[0] if rows else ()))
    for row in rows:
        table.add_row(*row.values())
    for column in table.columns:
        column.overflow = "fold"
    # Files and pipes have no width: 240 columns fold nothing.
    Console(width=width or 240).print(table)


def _series_cells(one: Series) -> dict[str, str]:
    spacing = " × ".join(f"{mm:.3g}" for mm in one.spacing) if one.spacing else ""
    cells = {
        "": one.number,
        "Modality": one.modality,
        "Kernel": one.kernel,
        "Files": len(one.files),
        "Slices": one.slices,
        "Spacing mm": spacing,
        "Thick mm": one.thickness,
        "Tilt °": one.tilt or None,
        "Transfer syntax": one.transfer_syntax,
        "Verdict": one.verdict,
        "Reason": one.reason,
    }
    return {name: _cell(content) for name, content in cells.items()}


def _cell(content: object) -> str:
    if content is None:
        return ""
    return f"{content:.3g}" if isinstance(content, float) else str(content)
