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
def check(
    study: StudyDir = HERE,
    workers: WorkersOption = None,
    second_opinion: Annotated[
        bool,
        typer.Option(
            "--second-opinion", help="Compare each DICOM series with other converters' volumes."
        ),
    ] = False,
) -> None:
    """List every problem of the study before anything long runs.

    These are problems of cohort.csv, images, masks, scores.csv, study.yaml and disk space.
    """
    from ctbone import workflow
    from ctbone.results import problem_lines

    found = workflow.check(study, workers=_processes(workers), second_opinion=second_opinion)
    _print_lines(f"note: {note}" for note in found.notes)
    _print_lines(found.opinion_lines)
    _print_lines(problem_lines(found.problems), sys.stderr)
    _print_lines([found.summary], sys.stdout if found.ok else sys.stderr)
    if not found.ok:
        sys.exit(WRONG_INPUT)


pacs = typer.Typer(help="Pull examinations from a PACS, or send files.", no_args_is_help=True)
app.add_typer(pacs, name="pacs")


@pacs.command()
def pull(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE.csv",
            help="case_id and one of accession, patient_id, study_uid; outside the study.",
        ),
    ],
    archive: Annotated[
        str,
        typer.Option(
            "--archive",
            help="https://host/dicom-web, dicom://AET@host:port or, with TLS, dicoms://",
            metavar="ADDRESS",
        ),
    ],
    study: StudyDir = HERE,
    aet: Annotated[str, typer.Option(help="AE title of this machine.")] = "CTBONE",
    move_port: Annotated[
        int | None,
        typer.Option("--move-port", help="Use C-MOVE and listen on this port; default: C-GET."),
    ] = None,
    per_second: Annotated[
        float | None, typer.Option("--per-second", min=0.01, help="Images a second at most.")
    ] = None,
    deid: Annotated[
        Literal["basic", "none"] | None,
        typer.Option(
            help="De-identify in memory by the basic profile of DICOM PS3.15, or not; default: as "
            "the study's pacs.deid says (basic)."
        ),
    ] = None,
) -> None:
    """Pull CT series into the study's exports, de-identified, by a table of pseudonyms.

    Tokens and certificates come from CTBONE_PACS_TOKEN, CTBONE_PACS_CA, CTBONE_PACS_CERT and
    CTBONE_PACS_KEY. A pull that was interrupted continues with the images that are missing.
    """
    from ctbone import workflow
    from ctbone.results import problem_lines

    done = workflow.pacs_pull(
        table,
        study,
        archive=archive,
        aet=aet,
        move_port=move_port,
        per_second=per_second,
        deid=deid,
    )
    _print_lines(problem_lines(done.problems), sys.stderr)
    print(done.summary)
    if not done.ok:
        sys.exit(SOME_FAILED)


@pacs.command()
def push(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES", help="DICOM files, or folders of them.")
    ],
    archive: Annotated[
        str,
        typer.Option(
            "--archive",
            help="https://host/dicom-web, dicom://AET@host:port or, with TLS, dicoms://",
            metavar="ADDRESS",
        ),
    ],
    aet: Annotated[str, typer.Option(help="AE title of this machine.")] = "CTBONE",
) -> None:
    """Send DICOM files to a PACS, by STOW-RS or C-STORE; a push can be repeated.

    Tokens and certificates come from the environment, as for 'ctbone pacs pull'.
    """
    from ctbone import workflow
    from ctbone.results import problem_lines

    done = workflow.pacs_push(files, archive=archive, aet=aet)
    _print_lines(problem_lines(done.problems), sys.stderr)
    print(done)
    if not done.ok:
        sys.exit(SOME_FAILED)


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
    series: Annotated[
        int | None,
        typer.Option(
            "--series",
            min=1,
            metavar="N",
            help="Take the series with this number of the list, reformatted ones too.",
        ),
    ] = None,
    irregular: Annotated[
        Literal["refuse", "resample"] | None,
        typer.Option(help="Handling of tilted and unevenly spaced series; default: refuse."),
    ] = None,
    kernel: Annotated[
        Literal["any", "bone", "soft"] | None,
        typer.Option(help="Preferred reconstruction; default: any."),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            "--study", metavar="DIR", help="Take the other DICOM settings from this study."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the list or the record as JSON.")
    ] = False,
) -> None:
    """Convert one DICOM series to NIfTI in Hounsfield units."""
    from ctbone import workflow

    done = workflow.convert(
        folder, out, list=show, series=series, irregular=irregular, kernel=kernel, study=study
    )
    if as_json:
        import json

        print(json.dumps(done.record, indent=1, ensure_ascii=False))
    elif show:
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
        Path | None,
        typer.Argument(
            metavar="DICOM_DIR",
            help="A new patient's series, or a folder of many; default: the external centres.",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="The lesion's mask, or the folder of the masks of many."),
    ] = None,
    cohort: Annotated[
        str | None, typer.Option(metavar="NAME", help="The cases of an external centre.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE.ctbone", help="A model file of 'ctbone export'."),
    ] = None,
    case: Annotated[
        str | None, typer.Option(metavar="ID", help="Name of the case in the output.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A clinical column; can be repeated."),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(
            metavar="SCORE",
            help="A radiologist's score on the study's scale, for fusions with a reader.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the JSON files and answers.csv.")
    ] = Path("answers"),
    dicom: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write DICOM objects too, with the patient's name."),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Send DICOM objects to a PACS, as 'pacs push' does."),
    ] = None,
    aet: Annotated[str, typer.Option(help="AE title of this machine, for --push.")] = "CTBONE",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON too.")] = False,
    dim: DimOption = None,
    study: StudyDir = HERE,
) -> None:
    """Predict a new patient, or the external centres with the ensemble of all folds.

    With DICOM_DIR and --mask, or --cohort: one answer a case, with what limits its trust. Without
    them: the tables of the external centres; a model with a fold that is not trained is left out
    and named.
    """
    from ctbone import workflow

    if image is None and mask is None and cohort is None and model is None:
        if dicom is not None or push is not None:
            raise CtboneError(
                "DICOM objects are made for a new patient", remedy="give DICOM_DIR and --mask"
            )
        print(workflow.predict(study, dim=dim))
        return
    if dim is not None:
        raise CtboneError(
            "--dim is for the tables of the external centres",
            remedy="the answer of a new patient holds every model",
        )
    from ctbone.new_patient import parse_columns
    from ctbone.results import Answers, problem_lines

    done = workflow.predict(
        study,
        image=image,
        mask=mask,
        cohort=cohort,
        model=model,
        case=case,
        column=parse_columns(column or []),
        score=score,
        out=out,
        dicom=dicom,
        push=push,
        aet=aet,
    )
    assert isinstance(done, Answers)
    if as_json:
        import json

        found = done.answers[0] if len(done.answers) == 1 else [*done.answers]
        print(json.dumps(found, indent=1, ensure_ascii=False))
        _print_lines(problem_lines(done.problems), sys.stderr)
    else:
        _print_lines(str(done).splitlines())
    if not done.ok:
        sys.exit(SOME_FAILED)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE.ctbone", help="The model file to write.")],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also write every network as ONNX, in a folder beside.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    study: StudyDir = HERE,
) -> None:
    """Write the trained study as one file, without any patient's data.

    'ctbone predict DICOM_DIR --mask MASK --model FILE' needs nothing else. For research only.
    """
    from ctbone import workflow

    print(workflow.export(out, study=study, onnx=onnx, force=force))


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
        str | None,
        typer.Option(help="The reader; default: that of the settings, or see fusion.reader."),
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
def report(
    manuscript: Annotated[
        bool,
        typer.Option(
            "--manuscript",
            help="Also write Methods and Results as Word, Markdown and LaTeX.",
        ),
    ] = False,
    study: StudyDir = HERE,
) -> None:
    """Write every table and figure, and one HTML page."""
    from ctbone import workflow

    print(workflow.report(study, manuscript=manuscript))


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
    picture: Annotated[
        bool, typer.Option("--open", help="Draw the chain of files and open it in a browser.")
    ] = False,
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
    if picture:
        import webbrowser

        from ctbone.status_page import write_status_page

        page = write_status_page(found)
        webbrowser.open(page.resolve().as_uri())
        print(f"Wrote {page}", file=sys.stderr)


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
        str | None,
        typer.Option(help="The reader; default: that of the settings, or see fusion.reader."),
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
    scores: Annotated[
        Path,
        typer.Argument(metavar="SCORES.csv", help="The scores, here or in the study folder."),
    ] = Path("scores.csv"),
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="COHORT.csv", help="Table with case_id and label; no study is needed then."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the results; default: readers in the study."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The model that supported the readers: a table of the study, or a CSV with "
            "case_id and p_<positive class>; default: 3d, if the study has it.",
        ),
    ] = None,
    positive: Annotated[
        str | None, typer.Option(metavar="CLASS", help="The positive class of COHORT.csv.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(metavar="AUC", help="Acceptable loss of AUC: also test non-inferiority."),
    ] = None,
    scale: Annotated[
        Literal["nine_point", "percent", "five_point"],
        typer.Option(help="With --truth: the scale of the scores."),
    ] = "nine_point",
    study: StudyDir = HERE,
) -> None:
    """Compare readers with and without AI, by reader, level and on average."""
    from ctbone import workflow

    print(
        workflow.readers(
            scores,
            truth=truth,
            out=out,
            model=model,
            positive=positive,
            margin=margin,
            scale=scale,
            study=study,
        )
    )


power = typer.Typer(help="Compute the sample size of a planned study.", no_args_is_help=True)
app.add_typer(power, name="power")
PowerOption = Annotated[float, typer.Option("--power", help="Wanted power.", metavar="P")]
AlphaOption = Annotated[float, typer.Option(help="Two-sided significance level.", metavar="P")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the results.", metavar="DIR")]
PrevalenceOption = Annotated[float, typer.Option(help="Share of positive cases.", metavar="P")]


@power.command("readers")
def power_readers(
    difference: Annotated[
        float | None,
        typer.Option(metavar="AUC", help="Difference of the mean AUCs; default: the pilot's."),
    ] = None,
    pilot: Annotated[
        Path | None,
        typer.Option(metavar="SCORES.csv", help="Pilot study with both sessions."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(metavar="COHORT.csv", help="True classes of the pilot; default: the study's."),
    ] = None,
    positive: Annotated[
        str | None, typer.Option(metavar="CLASS", help="The positive class of COHORT.csv.")
    ] = None,
    auc: Annotated[
        float, typer.Option(metavar="AUC", help="Without a pilot: mean AUC of the readers.")
    ] = 0.8,
    prevalence: PrevalenceOption = 0.5,
    change_sd: Annotated[
        float,
        typer.Option(
            metavar="SD",
            help="Without a pilot: standard deviation over readers of the true change of AUC.",
        ),
    ] = 0.03,
    correlations: Annotated[
        tuple[float, float, float],
        typer.Option(
            metavar="R1 R2 R3",
            help="Without a pilot: correlations of AUCs of one reader and two sessions, two "
            "readers and one session, two readers and two sessions.",
        ),
    ] = (0.5, 0.4, 0.3),
    wanted: PowerOption = 0.8,
    alpha: AlphaOption = 0.05,
    random: Annotated[
        Literal["both", "cases", "readers"],
        typer.Option(help="What is random: readers and cases, or only one of them."),
    ] = "both",
    out: OutOption = Path("power"),
    study: StudyDir = HERE,
) -> None:
    """Readers and cases of a reader study (Hillis and Obuchowski)."""
    from ctbone import sample_sizes

    print(
        sample_sizes.power_readers(
            difference,
            pilot=pilot,
            truth=truth,
            positive=positive,
            auc=auc,
            prevalence=prevalence,
            change_sd=change_sd,
            correlations=correlations,
            power=wanted,
            alpha=alpha,
            random=random,
            study=study,
            out=out,
        )
    )


@power.command("auc")
def power_auc(
    auc: Annotated[float, typer.Option(metavar="AUC", help="Expected AUC.")],
    against: Annotated[
        float, typer.Option(metavar="AUC", help="The value or AUC that it is compared with.")
    ] = 0.5,
    correlation: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            help="Correlation of two AUCs on the same cases; default: a fixed value.",
        ),
    ] = None,
    prevalence: PrevalenceOption = 0.5,
    wanted: PowerOption = 0.8,
    alpha: AlphaOption = 0.05,
    out: OutOption = Path("power"),
) -> None:
    """Cases for an AUC against a value or another AUC (Obuchowski; Hanley and McNeil)."""
    from ctbone import sample_sizes

    print(
        sample_sizes.power_auc(
            auc,
            against,
            correlation=correlation,
            prevalence=prevalence,
            power=wanted,
            alpha=alpha,
            out=out,
        )
    )


@power.command("validation")
def power_validation(
    auc: Annotated[float, typer.Option(metavar="AUC", help="Expected AUC.")],
    prevalence: PrevalenceOption,
    oe_width: Annotated[
        float, typer.Option(metavar="W", help="Width of the interval of observed / expected.")
    ] = 0.2,
    slope_width: Annotated[
        float, typer.Option(metavar="W", help="Width of the interval of the calibration slope.")
    ] = 0.4,
    auc_width: Annotated[
        float, typer.Option(metavar="W", help="Width of the interval of the AUC.")
    ] = 0.1,
    out: OutOption = Path("power"),
) -> None:
    """Cases of an external validation: O/E, calibration slope, c-statistic (Riley 2021)."""
    from ctbone import sample_sizes

    print(
        sample_sizes.power_validation(
            auc,
            prevalence,
            oe_width=oe_width,
            slope_width=slope_width,
            auc_width=auc_width,
            out=out,
        )
    )


@app.command()
def explain(
    dim: DimOption = None,
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only this case; can be repeated."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="grad-cam, grad-cam++, score-cam, integrated-gradients or occlusion; can be "
            "repeated; default: those of the settings.",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Layer of class activation maps; default: the deepest with cells of at most 8 mm.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="Evidence for this class; default: the predicted one."),
    ] = None,
    study: StudyDir = HERE,
) -> None:
    """Draw maps of what the models use, on the scanner's grid and as pictures.

    A case is explained by the network that has not seen it. Maps that are up to date are kept.
    """
    from ctbone import workflow

    print(
        workflow.explain(
            study, dim=dim, case=case or [], method=method or [], layer=layer, target=target
        )
    )


@app.command()
def read(
    study: StudyDir = HERE,
    add_reader: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Add a reader, or make a new link for a known one."),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Level of the new reader, such as junior or senior."),
    ] = None,
    progress: Annotated[
        bool, typer.Option("--progress", help="Show how many cases each reader has read.")
    ] = False,
    export: Annotated[
        bool, typer.Option("--export", help="Write the scores of the finished sessions.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="SCORES.csv", help="Where --export writes; default: in the study."),
    ] = None,
    skip_washout: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Let this reader start session two at once."),
    ] = None,
    end_session: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Close the session of this reader, who left the study."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who did this, for the log."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="TCP port; 0 takes a free one.")
    ] = 8765,
    certificate: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Certificate for TLS, with --key.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Private key of the certificate.")
    ] = None,
) -> None:
    """Serve the page on which radiologists read the cases, until Ctrl-C.

    Without --add-reader, --progress, --export, --skip-washout and --end-session, the page is
    served. Every score is on disk before the page moves on.
    """
    from ctbone import workflow

    done = workflow.read(
        study,
        add_reader=add_reader,
        level=level,
        progress=progress,
        export=export,
        out=out,
        skip_washout=skip_washout,
        end_session=end_session,
        by=by,
        host=host,
        port=port,
        certificate=certificate,
        key=key,
    )
    if done is not None:
        print(done)


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


_WITHOUT_TERMINAL = 240
"""Columns of the table of series in files and pipes, which have no width: little is folded."""


_REASON = 30
"""Columns that the reasons need at least, where the table folds them."""


def _print_series(series: Iterable[Series]) -> None:
    """Print a table of the series, or a list where the terminal is narrower than the table."""
    rows = [_series_cells(one) for one in series]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WITHOUT_TERMINAL
    widths = {
        name: max([len(name), *(len(row[name]) for row in rows)])
        for name in _COLUMNS
        if not name or any(row[name] for row in rows)
    }
    if "Reason" in widths:
        widths["Reason"] = min(widths["Reason"], _REASON)
    if sum(widths.values()) + 3 * len(widths) + 1 > width:  # cells have a margin and a border
        for row in rows:
            number, *details, verdict, reason = row.items()
            shown = ", ".join(f"{name} {cell}" for name, cell in details if cell)
            _print_lines([f"{number[1]}  {verdict[1]}: {reason[1]}", f"   {shown}"])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name, least in widths.items():
        table.add_column(name, min_width=least, overflow="fold")
    for row in rows:
        table.add_row(*(row[name] for name in widths))
    Console(width=width).print(table)


_COLUMNS = ("", "Part", "Modality", "Kernel", "Files", "Slices", "Spacing mm", "Thick mm",
            "Tilt °", "Transfer syntax", "Verdict", "Reason")  # fmt: skip


def _series_cells(one: Series) -> dict[str, str]:
    spacing = " × ".join(f"{mm:.3g}" for mm in one.spacing) if one.spacing else ""
    cells = (
        one.number,
        one.part,
        one.modality,
        one.kernel,
        len(one.files),
        one.slices,
        spacing,
        one.thickness,
        one.tilt or None,
        one.transfer_syntax,
        one.verdict,
        "; ".join(filter(None, (one.reason, one.note))),
    )
    return {name: _cell(cell) for name, cell in zip(_COLUMNS, cells, strict=True)}


def _cell(content: object) -> str:
    if content is None:
        return ""
    return f"{content:.3g}" if isinstance(content, float) else str(content)
