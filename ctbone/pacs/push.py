"""Send DICOM files to an archive: STOW-RS or C-STORE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import UID, MediaStorageDirectoryStorage

from ctbone.errors import PacsError
from ctbone.pacs.archive import Archive
from ctbone.progress import progress
from ctbone.quiet_pydicom import quiet_pydicom

KNOWN = 0x0111
"""Failure of an instance that the archive has already (PS3.7 C.4.2, duplicate SOP instance)."""
_REASONS = {
    0x0105: "no such attribute",
    0x0106: "an attribute has an invalid value",
    0x0110: "the archive could not process it",
    0x0122: "the archive does not take this kind of object",
    0x0124: "the archive does not allow it",
    0xA700: "the archive is full",
    0xA900: "the object does not match its kind",
    0xC000: "the archive cannot understand it",
    0xC122: "the archive does not take this compression",
}
"""Statuses of C-STORE and failure reasons of STOW-RS (PS3.4 table B.2-1, PS3.18 table I.2-2)."""


@dataclass(frozen=True)
class Sendable:
    """A file to send; all of its UIDs are private.

    Attributes
    ----------
    path
        The file.
    kind, instance
        Its SOP class and SOP instance UID.
    syntax
        Its transfer syntax.
    """

    path: Path
    kind: UID
    instance: UID
    syntax: UID


@dataclass(frozen=True)
class Outcome:
    """What an archive says of one file.

    Attributes
    ----------
    file
        What was sent.
    failure
        None if it is stored; else the status or failure reason.
    """

    file: Sendable
    failure: int | None = None


@dataclass(frozen=True)
class Pushed:
    """What an archive took.

    Attributes
    ----------
    stored, known
        Files that it stored, and files that it says it had before; many archives do not say so and
        count them as stored.
    refused
        Files that it did not store.
    problems
        The reasons, each once.
    """

    stored: int
    known: int
    refused: int = 0
    problems: tuple[PacsError, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the archive holds every file."""
        return not self.refused

    def __str__(self) -> str:
        known = f", {self.known} were there before" if self.known else ""
        refused = f", {self.refused} refused" if self.refused else ""
        return f"The archive stored {self.stored} files{known}{refused}"


def dicom_files(paths: Sequence[Path]) -> list[Path]:
    """List the DICOM files among files and folders; DICOMDIR and other files are left out.

    Raises
    ------
    PacsError
        A path does not exist, or there is no DICOM file.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise PacsError("the file or folder does not exist", file=path)
        below = [path] if path.is_file() else sorted(path.rglob("*"))
        found += [one for one in below if one.is_file() and _is_dicom(one)]
    if not found:
        raise PacsError(
            "there is no DICOM file to send",
            file=paths[0] if paths else None,
            remedy="write the objects with 'ctbone predict DICOM_DIR --mask MASK --dicom DIR'",
        )
    return list(dict.fromkeys(found))


def push_files(files: Sequence[Path], archive: Archive) -> Pushed:
    """Send files one after another; one that is refused does not stop the others.

    Parameters
    ----------
    files
        DICOM files.
    archive
        From ``open_archive``.

    Raises
    ------
    PacsError
        The archive does not answer, or a file cannot be read.
    """
    sendable = [_sendable(path) for path in files]
    stored, known = 0, 0
    refused: Counter[tuple[UID, int]] = Counter()
    with progress("Push", total=len(sendable)) as bar:
        try:
            for outcome in archive.store(sendable):
                stored += outcome.failure is None
                known += outcome.failure == KNOWN
                if outcome.failure is not None and outcome.failure != KNOWN:
                    refused[outcome.file.kind, outcome.failure] += 1
                bar.advance()
        except PacsError as error:
            error.found = f"{error.found or ''} after {stored} of {len(sendable)} files".strip()
            error.remedy = "run 'ctbone pacs push' again: files that are stored may be sent twice"
            raise
    problems = [_refused(kind, status, count) for (kind, status), count in refused.items()]
    return Pushed(stored, known, refused.total(), tuple(problems))


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM" and path.name != "DICOMDIR"


def _sendable(path: Path) -> Sendable:
    try:
        with quiet_pydicom():
            meta = pydicom.filereader.read_file_meta_info(path)
            kind = UID(meta.MediaStorageSOPClassUID)
            if kind == MediaStorageDirectoryStorage:
                raise PacsError("a DICOMDIR cannot be sent", file=path)
            return Sendable(
                path, kind, UID(meta.MediaStorageSOPInstanceUID), UID(meta.TransferSyntaxUID)
            )
    except PacsError:
        raise
    except Exception as error:  # a damaged header raises anything, and quotes itself
        raise PacsError(
            "a file cannot be sent: it is damaged DICOM", file=path, found=type(error).__name__
        ) from None


def _refused(kind: UID, status: int, count: int) -> PacsError:
    """Name the kind of the objects and the reason, never an identifier."""
    reason = _REASONS.get(status, _REASONS.get(status & 0xFF00, "the archive does not say why"))
    files = "a file" if count == 1 else f"{count} files"
    return PacsError(
        f"the archive refuses {files}: {reason}", found=f"{kind.name}, status 0x{status:04X}"
    )


def failures_of(files: Sequence[Sendable], answer: object) -> Iterator[Outcome]:
    """Yield an outcome for each file from the DICOM JSON that answers a STOW request.

    The answer may have a FailedSOPSequence although everything was stored: only its items count. A
    file that stands in no sequence is not stored.
    """
    content = answer[0] if isinstance(answer, list) and answer else answer
    if not isinstance(content, dict):
        raise PacsError("the archive's answer cannot be read", found=type(answer).__name__)
    failed = {
        _value(item, _INSTANCE): int(_value(item, _FAILURE_REASON) or 0)
        for item in _items(content, _FAILED)
    }
    stored = {_value(item, _INSTANCE) for item in _items(content, _REFERENCED)}
    for file in files:
        if file.instance in failed:
            yield Outcome(file, failed[file.instance])
        else:
            yield Outcome(file, None if file.instance in stored else 0)


_FAILED, _REFERENCED = "00081198", "00081199"
_INSTANCE, _FAILURE_REASON = "00081155", "00081197"


def _items(content: dict, tag: str) -> list[dict]:
    items = content.get(tag, {}).get("Value") or []
    return [item for item in items if isinstance(item, dict)]


def _value(item: dict, tag: str) -> str:
    return str((item.get(tag, {}).get("Value") or [""])[0])
