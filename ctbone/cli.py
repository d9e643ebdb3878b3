"""The commands: they parse and print; a stage is imported only when its command runs."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

import ctbone
from ctbone.errors import CtboneError

if TYPE_CHECKING:
    from ctbone.dicom import Series
    from ctbone.study import Study

SOME_FAILED = 1
WRONG_INPUT = 2

app = typer.Typer(
    name="ctbone",
    help="Bone-tumour CT from DICOM to a defensible human–AI diagnosis.\n\n"
    "A study is a folder: study.yaml holds its settings, cohort.csv one row a case. ctbone demo shows all "
    "of it on synthetic patients; ctbone init DIR begins your own.",
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich would more than double the time that --help takes
    pretty_exceptions_enable=False,
    add_completion=False,
)

StudyDir = Annotated[Path, typer.Option("--study", help="The study folder.", metavar="DIR")]
DimOption = Annotated[
    Literal["2d", "3d"] | None, typer.Option("--dim", help="Only the models of this dimension.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes; default: one a processor.", metavar="N"),
]
HERE = Path()


def main() -> NoReturn:
    """Run the command line; a user's mistake ends in its message and exit code 2, never in a traceback."""
    # Threads that wait spin for microseconds, then sleep. PyTorch's own milliseconds double the time on a busy machine;
    # sleeping at once costs a quarter on a quiet one.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        app()
    except CtboneError as error:
        fail(error)
    except KeyboardInterrupt:
        print(
            "\nstopped; what was finished is kept, the same command goes on from there",
            file=sys.stderr,
        )
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (head, less) is gone: nothing to say, and nobody to say it to.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(0)


def fail(error: CtboneError) -> NoReturn:
    """Print the error and exit with 2."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(WRONG_INPUT)


def not_yet(what: str, instead: str) -> NoReturn:
    """Say plainly what this version does not do."""
    raise CtboneError(f"this version of ctbone ({ctbone.__version__}) {what}", remedy=instead)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ctbone {ctbone.__version__}")
        raise typer.Exit


def _open(study: Path) -> Study:
    from ctbone.study import Study

    return Study.open(study)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="A new folder.")] = Path(
        "ctbone-demo"
    ),
    shuffle_labels: Annotated[
        bool,
        typer.Option(
            "--shuffle-labels", help="Permute the labels: then there is nothing to learn."
        ),
    ] = False,
    difficulty: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="0: classes never overlap; 1: they cannot be told apart."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draw other patients.")] = 0,
) -> None:
    """Run all of it on synthetic patients, in minutes, on a laptop.

    Writes DICOM series with masks, a cohort table and six readers' scores; then checks, preprocesses, trains in 3D
    and 2D, predicts the external centres, fuses with a reader and reports.
    """
    from ctbone import workflow

    page = workflow.demo(folder, shuffle_labels=shuffle_labels, difficulty=difficulty, seed=seed)
    print(f"Report: {page.resolve()}")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The study folder to make.")],
    config: Annotated[
        str, typer.Option(help="A config by name (sacral_ct, demo) or a YAML file.")
    ] = "sacral_ct",
) -> None:
    """Make a study folder: commented settings and an empty cohort.

    Then fill cohort.csv, one row a case, and run ctbone check.
    """
    from ctbone import workflow

    study = workflow.init_study(folder, config)
    print(
        f"Wrote {study.settings_file} and {study.cohort_csv}; fill the cohort, then run: ctbone check --study {folder}"
    )


@app.command()
def check(study: StudyDir = HERE) -> None:
    """List every problem of the cohort before anything long runs."""
    opened = _open(study)
    from ctbone import workflow

    found = workflow.check(opened)
    problems = found.problems
    for note in found.notes:
        print(f"note: {note}")
    _print_problems(problems)
    if problems:
        print(
            f"{len(problems)} problem{'s' * (len(problems) > 1)} in {opened.cohort_csv}",
            file=sys.stderr,
        )
        sys.exit(WRONG_INPUT)
    from ctbone.cohort import read_cohort

    cohort = read_cohort(opened)
    print(
        f"{len(cohort)} cases are in order: {len(cohort.internal)} internal, {len(cohort.external)} external"
    )


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with DICOM files.")],
    out: Annotated[
        Path | None, typer.Argument(metavar="[OUT.nii.gz]", help="The NIfTI file to write.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="Show the series and why each is taken or not.")
    ] = False,
) -> None:
    """Convert one DICOM series to NIfTI in Hounsfield units."""
    from ctbone import dicom
    from ctbone.config import DicomSettings

    settings = DicomSettings()
    if show:
        _print_series(dicom.list_series(source, settings))
        return
    if out is None:
        raise CtboneError("no output file is named", expected="ctbone convert DIR OUT.nii.gz")
    print(f"Wrote {dicom.convert_series(source, out, settings)}")


@app.command()
def preprocess(
    study: StudyDir = HERE,
    case: Annotated[
        str | None, typer.Option("--case", help="Only this case.", metavar="ID")
    ] = None,
    workers: WorkersOption = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler that gets the cases.", metavar="ADDRESS"),
    ] = None,
    qc: Annotated[
        bool,
        typer.Option("--qc", help="Also draw a contact sheet of each case, and a page of all."),
    ] = False,
) -> None:
    """Take every case from DICOM to its 3D crop and 2D images.

    A case that is up to date is skipped; one bad case stops no other.
    """
    opened = _open(study)
    from ctbone import workflow

    outcomes = workflow.preprocess(
        opened, case_id=case, workers=workers, cluster=cluster, quality=qc
    )
    failed = [outcome.error for outcome in outcomes if outcome.error]
    _print_problems(failed)
    print(
        f"{len(outcomes) - len(failed)} cases are ready in {opened.root / 'crops'}, {len(failed)} failed"
    )
    if qc:
        print(f"Look at {opened.qc / 'index.html'}")
    if failed:
        sys.exit(SOME_FAILED)


@app.command()
def train(
    dim: DimOption = None,
    fold: Annotated[
        int | None, typer.Option(min=0, help="Only this fold, from 0.", metavar="K")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="One batch of each fold, nothing kept.")
    ] = False,
    at_once: Annotated[
        int,
        typer.Option(
            "--at-once", min=1, help="Folds that train side by side on this machine.", metavar="N"
        ),
    ] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler that gets the folds.", metavar="ADDRESS"),
    ] = None,
    log: Annotated[
        Literal["none", "tensorboard", "mlflow"], typer.Option(help="Tell each epoch there too.")
    ] = "none",
    study: StudyDir = HERE,
) -> None:
    """Train the folds, going on where they were stopped.

    What was finished before is not trained again. Under torchrun or srun several processes train each fold together.
    """
    opened = _open(study)
    from ctbone import training, workflow

    for name in workflow.models_of(opened, dim):
        if dry_run or (at_once == 1 and cluster is None):
            summary = training.train(opened, name, fold=fold, dry_run=dry_run, log=log)
        else:
            threads = workflow.default_workers()
            summary = training.train_folds(
                opened, name, fold=fold, at_once=at_once, threads=threads, cluster=cluster, log=log
            )
        if training.is_rank_0():
            print(summary)


@app.command()
def predict(
    image: Annotated[
        Path | None, typer.Argument(metavar="[DICOM_DIR]", help="A new patient (not yet).")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="The new patient's lesion mask (not yet).")
    ] = None,
    dim: DimOption = None,
    study: StudyDir = HERE,
) -> None:
    """Let the folds' ensemble answer for the external centres."""
    if image is not None or mask is not None:
        not_yet(
            "does not answer for a single new patient",
            "add the patient to cohort.csv with an external cohort name; then 'ctbone preprocess' and 'ctbone predict'",
        )
    opened = _open(study)
    from ctbone import inference, workflow

    for name in workflow.models_of(opened, dim):
        print(f"Wrote {inference.predict_external(opened, name)}")


@app.command()
def fuse(
    with_reader: Annotated[
        Path | None,
        typer.Option(
            metavar="SCORES.csv", help="The radiologists' scores; default: none takes part."
        ),
    ] = None,
    reader: Annotated[
        str | None, typer.Option(help="Which reader, where several scored every case.")
    ] = None,
    study: StudyDir = HERE,
) -> None:
    """Fuse the models with one another and with a radiologist.

    The weights are fitted on the validation cases of each fold, never on what is reported.
    """
    opened = _open(study)
    from ctbone import fusion

    scores = (
        with_reader if with_reader is None or with_reader.exists() else opened.root / with_reader
    )
    for summary in fusion.fuse(opened, scores=scores, reader=reader):
        print(summary)


@app.command()
def evaluate(
    table: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="Any table with a label and probabilities.")
    ],
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of truths; default: label.")
    ] = None,
    prob: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="A column of probabilities; may be given several times."
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="The label that the probabilities speak for."),
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
        typer.Option(
            metavar="P", help="Decision curves at this prevalence, for case-control data."
        ),
    ] = None,
    bands: Annotated[
        bool, typer.Option("--bands", help="Bootstrap bands around the curves; takes longer.")
    ] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go.")] = Path(
        "evaluation"
    ),
) -> None:
    """Analyse any table of probabilities; no images needed.

    Discrimination, calibration, decision curves and comparisons, each number with its interval.
    """
    gc.disable()  # among the classes that the imports make it finds nothing, and takes a tenth of the time
    from ctbone import report as reporting
    from ctbone.config import EvaluationSettings
    from ctbone.config_file import checked

    settings = checked(EvaluationSettings, {"threshold": threshold, "prevalence": prevalence})
    page = reporting.evaluate(
        table,
        label=label,
        prob=prob or [],
        positive=positive,
        bands=bands,
        out=out,
        settings=settings,
    )
    print(f"Report: {page}")


@app.command()
def report(study: StudyDir = HERE) -> None:
    """Write every table and figure, and one HTML page."""
    opened = _open(study)
    from ctbone import report as reporting

    print(f"Report: {reporting.report(opened).resolve()}")


@app.command()
def run(
    with_reader: Annotated[
        Path | None, typer.Option(metavar="SCORES.csv", help="The radiologists' scores.")
    ] = None,
    workers: WorkersOption = None,
    study: StudyDir = HERE,
) -> None:
    """Run all stages that are not up to date, from check to report."""
    opened = _open(study)
    from ctbone import workflow

    scores = with_reader or (opened.scores_csv if opened.scores_csv.exists() else None)
    print(f"Report: {workflow.run(opened, scores=scores, workers=workers).resolve()}")


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


def _print_problems(problems: Iterable[CtboneError]) -> None:
    """Print each kind of problem once, with the cases that have it."""
    kinds: dict[tuple[str, str | None, str | None], list[CtboneError]] = {}
    for problem in problems:
        kinds.setdefault((problem.problem, problem.expected, problem.remedy), []).append(problem)
    for (text, expected, remedy), alike in kinds.items():
        if len(alike) == 1:
            print(f"- {alike[0]}", file=sys.stderr)
            continue
        print(f"- {len(alike)} times: {text}", file=sys.stderr)
        for one in alike:
            what = "  ".join(part for part in (one.case, one.found, one.file) if part)
            print(f"    {what}", file=sys.stderr)
        for name, detail in (("expected:", expected), ("remedy:", remedy)):
            if detail:
                print(f"  {name:<9} {detail}", file=sys.stderr)


def _print_series(series: Iterable[Series]) -> None:
    from rich.console import Console
    from rich.table import Table

    headings = (
        "",
        "Modality",
        "Kernel",
        "Files",
        "Slices",
        "Spacing mm",
        "Thick mm",
        "Tilt °",
        "Transfer syntax",
    )
    table = Table(*headings, "Verdict", "Reason")
    for one in series:
        spacing = " × ".join(f"{mm:.3g}" for mm in one.spacing) if one.spacing else ""
        tilt = one.tilt or None
        cells = [
            one.number,
            one.modality,
            one.kernel,
            len(one.files),
            one.slices,
            spacing,
            one.thickness,
            tilt,
        ]
        table.add_row(*map(_cell, [*cells, one.transfer_syntax, one.verdict, one.reason]))
    for column in table.columns:
        column.overflow = "fold"
    # A pipe or a file has no width of its own: there nothing is folded.
    Console(width=None if sys.stdout.isatty() else 240).print(table)


def _cell(content: object) -> str:
    if content is None:
        return ""
    return f"{content:.3g}" if isinstance(content, float) else str(content)
