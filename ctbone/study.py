"""The study folder: where each table and file lies, atomic writes, and the record of where an output came from."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import secrets
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
from ctbone.errors import StudyError
from ctbone.input_kind import INPUT_KINDS, Dim

_ABANDONED = 24 * 3600.0
"""Seconds after which a file that another machine began to write is taken for abandoned."""


@dataclass(frozen=True)
class Study:
    """The corridor: every stage finds its inputs here and leaves its outputs here.

    Parameters
    ----------
    root
        The study folder; it holds ``study.yaml``.
    """

    root: Path

    @classmethod
    def open(cls, root: Path) -> Study:
        """Return the study in ``root`` after reading its settings.

        Raises
        ------
        StudyError
            There is no ``study.yaml`` in ``root``.
        ConfigError
            Its settings do not hold.
        """
        study = cls(Path(root))
        if not study.settings_file.is_file():
            raise StudyError(
                "this folder is no study: it has no study.yaml",
                file=study.root,
                remedy="make one with 'ctbone init DIR', or name it with --study DIR",
            )
        study.settings  # noqa: B018 (read now, so that a mistake shows before work begins)
        return study

    @cached_property
    def settings(self) -> Settings:
        """The settings of ``study.yaml``."""
        return load_settings(self.settings_file)

    @property
    def settings_file(self) -> Path:
        """The study's settings."""
        return self.root / "study.yaml"

    @property
    def cohort_csv(self) -> Path:
        """One row a case, written by the user."""
        return self.root / "cohort.csv"

    @property
    def scores_csv(self) -> Path:
        """The radiologists' scores."""
        return self.root / "scores.csv"

    @property
    def preprocess_csv(self) -> Path:
        """What became of each case in preprocessing."""
        return self.root / "preprocess.csv"

    @property
    def folds_csv(self) -> Path:
        """Which patient is in which fold; its record beside it holds the hash that later stages check."""
        return self.root / "folds.csv"

    def nifti(self, case_id: str) -> Path:
        """Return the case's volume in HU; ``record_of`` it says where it came from."""
        return self.root / "nifti" / f"{case_id}.nii.gz"

    def crop(self, case_id: str, dim: Dim) -> Path:
        """Return what the ``dim`` network sees of the case, int16 HU, uncompressed."""
        return self.root / "crops" / dim / f"{case_id}.nii"

    def crop_mask(self, case_id: str, dim: Dim) -> Path:
        """Return the lesion on the grid of ``crop``: uint8, 1 inside; the crop's record holds its hash."""
        folder = INPUT_KINDS[dim].mask_folder
        if folder is None:
            raise StudyError(f"{dim} images have no masks", file=self.root / "crops")
        return self.root / "crops" / folder / f"{case_id}.nii"

    @property
    def qc(self) -> Path:
        """The folder of the contact sheets, ``qc.csv`` and ``index.html``."""
        return self.root / "qc"

    def qc_sheet(self, case_id: str) -> Path:
        """Return the contact sheet of a case."""
        return self.qc / f"{case_id}.png"

    def run(self, model: str, fold: int) -> Path:
        """Return the folder of one trained fold: checkpoint, weights, ``metrics.csv``."""
        return self.root / "runs" / model / f"fold{fold}"

    def predictions(self, model: str) -> Path:
        """Return the model's table of probabilities."""
        return self.root / "predictions" / f"{model}.csv"

    def fusion(self, name: str) -> Path:
        """Return the fused table of probabilities; ``record_of`` it holds the weights."""
        return self.root / "fusion" / f"{name}.csv"

    def explanation(self, model: str, case_id: str) -> Path:
        """Return the heat map of one case, on the grid of its volume."""
        return self.root / "explain" / model / f"{case_id}.nii.gz"

    @property
    def report(self) -> Path:
        """The folder of tables, figures and ``index.html``."""
        return self.root / "report"


def record_of(path: Path) -> Path:
    """Return the JSON beside an output that says where it came from.

    Examples
    --------
    >>> record_of(Path("nifti/P012.nii.gz")).name
    'P012.json'
    """
    return path.with_name(path.name.removesuffix(".gz").rsplit(".", 1)[0] + ".json")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it takes the place of ``path`` only if the block succeeds.

    The temporary name keeps the suffixes, which some writers choose the format by. What a process that was killed has
    left half-written in the folder is removed.

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


def _temporary(path: Path) -> Path:
    """Name the file that becomes ``path``: the process says whether it is still written, chance the machine."""
    return path.with_name(f".writing-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


@cache
def _machine() -> str:
    """Name where a process's number means this process: the machine, and within it the container."""
    container = ""
    with suppress(OSError):
        container = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{platform.node()} {container}".encode()).hexdigest()[:8]


@cache  # once a process and folder: what is left lies there since before
def _sweep(folder: Path) -> None:
    """Remove what processes have left that were killed in mid-write: on this machine those that are gone, else old."""
    for left in folder.glob(".writing-*"):
        machine, pid, _ = (left.name.removeprefix(".writing-") + "--").split("-", 2)
        with suppress(OSError):
            if os.name == "posix" and machine == _machine() and pid.isdecimal():
                abandoned = not _alive(int(pid))
            else:
                abandoned = time.time() - left.stat().st_mtime > _ABANDONED
            if abandoned:
                left.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as JSON, atomically; NaN is refused, an undefined value is ``None``."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    StudyError
        The file is missing or holds something else.
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
    """Write a table as CSV, atomically, floats with all their digits."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def read_table(path: Path, required: Sequence[str] = (), remedy: str | None = None) -> pd.DataFrame:
    """Read a CSV as text, cell by cell; commas, semicolons and tabs are understood, as is Excel's byte-order mark.

    Parameters
    ----------
    path
        The CSV file.
    required
        Columns that must be there.
    remedy
        What to do when the file is missing.

    Returns
    -------
    pandas.DataFrame
        Every cell is a stripped string, empty where nothing stands; empty lines are dropped.

    Raises
    ------
    StudyError
        The file is missing, unreadable, ragged, has a column twice or lacks a required one.
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
    rows = _rows(text, delimiter, path)
    if not rows:
        raise StudyError("the table is empty", file=path, remedy=remedy)
    header = rows[0]
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
        )
    return pd.DataFrame(rows[1:], columns=header, dtype=str)


def _rows(text: str, delimiter: str, path: Path) -> list[list[str]]:
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
        raise StudyError(f"the table is no CSV: {error}", file=path) from error
    return rows


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(content: object) -> str:
    """SHA-256 of anything JSON can say, independent of the order of keys.

    Examples
    --------
    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def provenance(
    study: Study, stage: str, inputs: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Say where an output came from: ctbone's version, the settings, the hashes of its inputs, the libraries.

    Parameters
    ----------
    study
        The study it belongs to.
    stage
        The stage that writes it.
    inputs
        Name and path of each file it was made from; only the name and the hash are kept.
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
        with suppress(
            metadata.PackageNotFoundError
        ):  # a machine that only trains may lack what reads DICOM
            found.append((name, metadata.version(name)))
    return tuple(found)
