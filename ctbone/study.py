"""The study folder: paths and tables, atomic writes, and provenance records."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

import ctbone
from ctbone.config import Settings
from ctbone.config_file import load_settings
from ctbone.differences import nearest
from ctbone.errors import StudyError
from ctbone.input_kind import INPUT_KINDS, Dim
from ctbone.lock import alive, machine

_ABANDONED = 24 * 3600.0
"""Seconds after which a temporary file of another machine counts as abandoned."""


@dataclass(frozen=True)
class Study:
    """A study folder: the inputs and outputs of every stage.

    The settings are read once. Make a new ``Study`` after editing ``study.yaml``.

    Parameters
    ----------
    root
        The study folder; it holds ``study.yaml``.

    Examples
    --------
    >>> import tempfile, ctbone as ct
    >>> study = ct.init(tempfile.mkdtemp(), config="demo")
    >>> study.settings.classes
    ('benign', 'malignant')
    >>> study.cohort_csv.name
    'cohort.csv'
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))

    @classmethod
    def open(cls, root: str | os.PathLike[str]) -> Study:
        """Return the study in ``root`` after reading its settings.

        Raises
        ------
        StudyError
            There is no ``study.yaml`` in ``root``.
        ConfigError
            The settings are not valid.
        """
        study = cls(Path(root))
        study.settings  # noqa: B018 (read now, so that an error shows before work begins)
        return study

    @cached_property
    def settings(self) -> Settings:
        """The settings of ``study.yaml``.

        Raises
        ------
        StudyError, ConfigError
            As ``open``.
        """
        if not self.settings_file.is_file():
            raise StudyError(
                "not a study folder: study.yaml is missing",
                file=self.root,
                remedy="make a study with 'ctbone init DIR', or name its folder with --study DIR",
            )
        return load_settings(self.settings_file)

    @property
    def cohort(self) -> pd.DataFrame:
        """The table of ``cohort.csv``, checked: one row a case.

        Empty cells of ``patient_id`` and ``cohort`` hold their defaults, labels are class names,
        paths start at the study folder, and clinical columns are text.

        Raises
        ------
        CohortError, StudyError
            The table is missing or has errors.
        """
        from ctbone.cohort import cohort_table, read_cohort

        return cohort_table(read_cohort(self))

    @property
    def folds(self) -> pd.DataFrame:
        """The table of ``folds.csv``, checked: ``case_id, patient_id, label, fold, role_<k>``.

        Raises
        ------
        FoldError, CohortError, StudyError
            There are no folds yet, or they do not belong to the cohort.
        """
        from ctbone.cohort import read_cohort
        from ctbone.folds import read_folds

        return read_folds(self, read_cohort(self)).table.astype({"fold": int})

    @property
    def scores(self) -> pd.DataFrame:
        """The table of ``scores.csv``, checked: one row a reading, with its ``probability``.

        Raises
        ------
        ScoreError, CohortError, StudyError
            The table is missing or has errors.
        """
        from ctbone.cohort import read_cohort
        from ctbone.scores import read_scores

        case_ids = {case.case_id for case in read_cohort(self)}
        return read_scores(self.scores_csv, case_ids, self.settings.scores).table

    def predictions(self, name: str) -> pd.DataFrame:
        """Return the probabilities of a model or a fusion, checked: one row a case, fold and view.

        Parameters
        ----------
        name
            A table in ``predictions/``, or else in ``fusion/``.

        Raises
        ------
        StudyError
            Neither folder has a table of that name; the message lists the names.
        PredictionError
            The table has errors, or contradicts the cohort, the folds or itself.
        """
        from ctbone.cohort import read_cohort
        from ctbone.study_predictions import read_study_predictions

        for path in (self.predictions_csv(name), self.fusion_csv(name)):
            if path.is_file():
                return read_study_predictions(self, path, read_cohort(self))
        folders = (self.predictions_csv(name).parent, self.fusion_csv(name).parent)
        known = [path.stem for folder in folders for path in sorted(folder.glob("[!.]*.csv"))]
        raise StudyError(
            "the study has no predictions of that name",
            file=self.root,
            found=name,
            expected=" or ".join(known) or None,
            remedy=None if known else "run 'ctbone train' first",
        )

    @property
    def settings_file(self) -> Path:
        """The settings, in YAML."""
        return self.root / "study.yaml"

    @property
    def cohort_csv(self) -> Path:
        """The cohort table, one row a case, written by the user."""
        return self.root / "cohort.csv"

    @property
    def scores_csv(self) -> Path:
        """The radiologists' scores."""
        return self.root / "scores.csv"

    @property
    def exports(self) -> Path:
        """DICOM folders that ``ctbone pacs pull`` makes, one a case."""
        return self.root / "exports"

    @property
    def second_opinion_csv(self) -> Path:
        """Other converters' volumes compared with ctbone's, one row a case and converter."""
        return self.root / "second_opinion.csv"

    @property
    def preprocess_csv(self) -> Path:
        """The result of preprocessing, one row a case."""
        return self.root / "preprocess.csv"

    @property
    def folds_csv(self) -> Path:
        """The folds; the record beside the table holds the hash that later stages check."""
        return self.root / "folds.csv"

    @property
    def salt_file(self) -> Path:
        """The random salt of the digests of SOPInstanceUIDs."""
        return self.root / ".scan-salt"

    def nifti(self, case_id: str) -> Path:
        """Return the path of the case's volume in HU; its record is at ``record_of(path)``."""
        return self.root / "nifti" / f"{case_id}.nii.gz"

    def crop(self, case_id: str, dim: Dim) -> Path:
        """Return the path of the crop for ``dim`` networks: int16 HU, uncompressed."""
        return self.root / "crops" / dim / f"{case_id}.nii"

    def crop_mask(self, case_id: str, dim: Dim) -> Path:
        """Return the path of the lesion mask on the grid of ``crop``: uint8, 1 inside."""
        folder = INPUT_KINDS[dim].mask_folder
        if folder is None:
            raise StudyError(f"{dim} images have no masks", file=self.root / "crops")
        return self.root / "crops" / folder / f"{case_id}.nii"

    @property
    def qc(self) -> Path:
        """The folder of contact sheets, ``qc.csv`` and ``index.html``."""
        return self.root / "qc"

    def qc_sheet(self, case_id: str) -> Path:
        """Return the path of a case's contact sheet."""
        return self.qc / f"{case_id}.png"

    def qc_viewer(self, case_id: str) -> Path:
        """Return the path of the page that shows a case's cube in the viewer."""
        return self.qc / "viewer" / f"{case_id}.html"

    def qc_pair(self, first: str, second: str) -> Path:
        """Return the path of the picture of two cases whose scans are nearly the same."""
        return self.qc / "near_scans" / f"{first}--{second}.png"

    def run_folder(self, model: str, fold: int) -> Path:
        """Return the folder of one trained fold: checkpoint, weights, ``metrics.csv``."""
        return self.root / "runs" / model / f"fold{fold}"

    def fold_lock(self, model: str, fold: int) -> Path:
        """Return the lock of a fold: one process trains it."""
        return self.run_folder(model, fold) / ".lock"

    def case_lock(self, case_id: str) -> Path:
        """Return the lock of a case: one process converts it and makes its crops."""
        return self.root / "nifti" / f".{case_id}.lock"

    def predictions_csv(self, model: str) -> Path:
        """Return the path of a model's probabilities."""
        return self.root / "predictions" / f"{model}.csv"

    def fusion_csv(self, name: str) -> Path:
        """Return the path of a fusion's probabilities; its record holds the weights."""
        return self.root / "fusion" / f"{name}.csv"

    def explanation(self, model: str, method: str, case_id: str) -> Path:
        """Return the path of a case's heat map, on the grid of its volume."""
        return self.root / "explain" / model / method / f"{case_id}.nii.gz"

    def explanation_page(self, model: str) -> Path:
        """Return the page of a model's heat maps; the cases' pictures lie beside it."""
        return self.root / "explain" / model / "index.html"

    @property
    def status_page(self) -> Path:
        """The picture of the chain of custody."""
        return self.root / "status" / "index.html"

    @property
    def model_file(self) -> Path:
        """The study's model file, from which new patients are predicted."""
        return self.root / "release" / f"{self.settings.name}.ctbone"

    @property
    def reading_db(self) -> Path:
        """The database of the reading page: readers, order of the cases, scores and log."""
        return self.root / "reading" / "reading.db"

    @property
    def audit_json(self) -> Path:
        """The findings of the audit; its page, ``index.html``, and tables lie beside it."""
        return self.root / "audit" / "audit.json"

    @property
    def report(self) -> Path:
        """The folder of tables, figures and ``index.html``."""
        return self.root / "report"

    @property
    def primary_json(self) -> Path:
        """The record of when each primary comparison was named."""
        return self.root / "primary.json"


def record_of(path: Path) -> Path:
    """Return the path of the JSON record beside an output: its inputs, settings and versions.

    Examples
    --------
    >>> record_of(Path("nifti/P012.nii.gz")).name
    'P012.json'
    """
    return path.with_name(path.name.removesuffix(".gz").rsplit(".", 1)[0] + ".json")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, renamed to ``path`` only if the block succeeds.

    The temporary name keeps the suffixes, because some writers choose the format by them.
    Temporary files that killed processes left in the folder are removed.

    Raises
    ------
    StudyError
        The disk is full or the folder cannot be written.
    """
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if (
            error.filename
            and not path.is_relative_to(error.filename)
            and Path(error.filename) != temporary
        ):
            raise
        remedy = (
            "free some space on the disk"
            if error.errno == 28
            else "check the folder and its permissions"
        )
        raise StudyError(
            f"cannot write: {error.strerror or error}", file=path, remedy=remedy
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in ``parent`` that is removed after the block.

    Temporary files and folders that killed processes left in ``parent`` are removed.

    Raises
    ------
    OSError
        The folder cannot be made.
    """
    _sweep(parent)
    folder = _temporary(parent / "folder")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Return a temporary name that holds the machine, the process and a random part."""
    return path.with_name(f".writing-{machine()}-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


@cache  # once for each process and folder is enough
def _sweep(folder: Path) -> None:
    """Remove what dead processes of this machine left, and old leftovers of other machines."""
    for left in folder.glob(".writing-*"):
        its_machine, pid, _ = (left.name.removeprefix(".writing-") + "--").split("-", 2)
        with suppress(OSError):
            if os.name == "posix" and its_machine == machine() and pid.isdecimal():
                abandoned = not alive(int(pid))
            else:
                abandoned = time.time() - left.stat().st_mtime > _ABANDONED
            if abandoned and left.is_dir():
                shutil.rmtree(left)
            elif abandoned:
                left.unlink()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as JSON, atomically. NaN raises an error: undefined values are ``None``."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    StudyError
        The file is missing or is not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StudyError(
            f"cannot read this JSON ({error.__class__.__name__})", file=path
        ) from error
    if not isinstance(content, dict):
        raise StudyError("this JSON is not an object", file=path, found=type(content).__name__)
    return content


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically, with all digits of floats."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def read_table(path: Path, required: Sequence[str] = (), remedy: str | None = None) -> pd.DataFrame:
    """Read a CSV file as text.

    The delimiter is a comma, a semicolon or a tab; a byte-order mark, as Excel writes it, is
    skipped.

    Parameters
    ----------
    path
        The CSV file.
    required
        Columns that the table must have.
    remedy
        What to do when the file is missing.

    Returns
    -------
    pandas.DataFrame
        Every cell is a stripped string, possibly empty; empty lines are dropped.

    Raises
    ------
    StudyError
        The file is missing or unreadable, a row has another number of cells than the header, a
        column name repeats, or a required column is missing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise StudyError("the table is missing", file=path, remedy=remedy) from error
    except UnicodeDecodeError as error:
        raise StudyError(
            "the table is not UTF-8 text", file=path, remedy="save it as 'CSV UTF-8'"
        ) from error
    except OSError as error:
        raise StudyError(f"cannot read the table: {error.strerror}", file=path) from error
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    columns = _plain_columns(text, delimiter) or _columns(text, delimiter, path)
    if not columns:
        raise StudyError("the table is empty", file=path, remedy=remedy)
    header = [column[0] for column in columns]
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise StudyError("the table has a column twice", file=path, found=", ".join(doubled))
    missing = [name for name in required if name not in header]
    if missing:
        raise StudyError(
            f"the table lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}",
            file=path,
            found=", ".join(header),
            expected=", ".join(required),
            remedy=_did_you_mean(missing, header),
        )
    cells = {name: column[1:] for name, column in zip(header, columns, strict=True)}
    return pd.DataFrame(cells, dtype=str)


def _did_you_mean(missing: Sequence[str], header: Sequence[str]) -> str | None:
    pairs = [(near, name) for name in missing if (near := nearest(name, header))]
    return "; ".join(f"the column '{near}': did you mean '{name}'?" for near, name in pairs) or None


def _plain_columns(text: str, delimiter: str) -> list[list[str]]:
    """Split a table without quotes and spaces into columns, header included.

    This takes a fifth of the time of ``_columns``. The list is empty for any other table, and for
    rows of different lengths.
    """
    if '"' in text or re.search(r"[^\S\n]", text):
        return []
    lines = [line for line in text.split("\n") if line.strip(delimiter)]
    if len({line.count(delimiter) for line in lines}) != 1:
        return []
    width = lines[0].count(delimiter) + 1
    cells = delimiter.join(lines).split(delimiter)
    return [cells[column::width] for column in range(width)]


def _columns(text: str, delimiter: str, path: Path) -> list[list[str]]:
    """Parse a table of any form into columns of stripped cells, header included."""
    rows: list[list[str]] = []
    try:
        for number, cells in enumerate(
            csv.reader(io.StringIO(text), delimiter=delimiter, strict=True), start=1
        ):
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if rows and len(cells) != len(rows[0]):
                raise StudyError(
                    f"row {number} has {len(cells)} cells",
                    file=path,
                    expected=f"{len(rows[0])}, as many as the header",
                    remedy="put quotes around a cell that holds the delimiter",
                )
            rows.append(cells)
    except csv.Error as error:
        raise StudyError(f"the table is not valid CSV: {error}", file=path) from error
    return [list(column) for column in zip(*rows, strict=True)]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(content: object) -> str:
    """SHA-256 of a JSON-serialisable value, independent of the order of keys.

    Examples
    --------
    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def provenance(
    study: Study, stage: str, inputs: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Return the record of an output: versions, settings, and the hashes of its inputs.

    Parameters
    ----------
    study
        The study of the output.
    stage
        The stage that writes it.
    inputs
        Name and path of each input file; the record keeps the name and the hash, not the path.
    """
    return {
        "stage": stage,
        "ctbone": ctbone.__version__,
        "python": platform.python_version(),
        "libraries": dict(_versions()),
        "settings": study.settings.model_dump(mode="json"),
        "inputs": {name: file_hash(path) for name, path in (inputs or {}).items()},
    }


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    libraries = (
        "numpy",
        "scipy",
        "pandas",
        "torch",
        "monai",
        "timm",
        "pydicom",
        "simpleitk",
        "scikit-learn",
    )
    found = []
    for name in libraries:
        # A machine that only trains may lack the DICOM libraries.
        with suppress(metadata.PackageNotFoundError):
            found.append((name, metadata.version(name)))
    return tuple(found)
