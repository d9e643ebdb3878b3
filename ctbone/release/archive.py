"""The model file: an uncompressed ZIP of JSON, Markdown and safetensors, each member with a hash.

Nothing is extracted to disk, no code is imported by a name in the file, and no pickle is loaded.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

import ctbone
from ctbone.errors import ReleaseError
from ctbone.release.contents import FORMAT, Contents, Release, features_member, weights_member
from ctbone.study import atomic_path

SUFFIX = ".ctbone"
_MANIFEST, _CONTENTS, _CARD = "manifest.json", "release.json", "model_card.md"
_FOLD = r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}/fold\d{1,2}\.safetensors"
_MEMBER = re.compile(rf"(manifest\.json|release\.json|model_card\.md|(weights|features)/{_FOLD})")
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".npy", ".npz")
_MOST_MEMBERS = 1000
_LARGEST_TEXT = 16 << 20
"""Bytes of the largest JSON or Markdown member, 16 MiB; a real one has less than 1."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every member, the earliest of the format: the same release gives the same bytes."""
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, KeyError),
    *(RuntimeError, NotImplementedError, OverflowError, MemoryError, IndexError, TypeError),
)
"""What the readers of ZIP and JSON raise for damaged bytes."""


def write_release(path: Path, release: Release) -> str:
    """Write a model file, atomically, and return its SHA-256; equal releases give equal bytes."""
    texts = {
        _CONTENTS: release.contents.model_dump_json(indent=1, exclude_none=True).encode(),
        _CARD: release.card.encode(),
    }
    members = {**texts, **dict(sorted(release.tensors.items()))}
    manifest = {
        "format": FORMAT,
        "ctbone": ctbone.__version__,
        "members": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in members.items()
        },
    }
    with atomic_path(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, content in {_MANIFEST: _json(manifest), **members}.items():
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
        with temporary.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def read_release(path: Path) -> Release:
    """Read and check a model file.

    Raises
    ------
    ReleaseError
        The file is missing, is not a model file, is of another version, was changed after it was
        written, or holds something that a model file must not hold.
    """
    if not path.is_file():
        raise ReleaseError(
            "the model file does not exist", file=path, remedy="make one with 'ctbone export'"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReleaseError(f"the model file cannot be read: {error.strerror}", file=path) from error
    return parse_release(content, path)


def parse_release(content: bytes, path: Path) -> Release:
    """Read and check the bytes of a model file; ``path`` is for messages.

    Raises
    ------
    ReleaseError
        As ``read_release``.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            _refuse_members(infos, len(content), path)
            members = {info.filename: archive.read(info) for info in infos}
    except ReleaseError:
        raise
    except _DAMAGE as error:
        raise ReleaseError(
            "this is not a model file of ctbone, or it is damaged",
            file=path,
            found=type(error).__name__,
            remedy="copy it again, or make it with 'ctbone export'",
        ) from None
    manifest = _object(members.pop(_MANIFEST, None), _MANIFEST, path)
    _refuse_version(manifest, path)
    _refuse_changed(manifest.get("members"), members, path)
    contents = _contents(members.pop(_CONTENTS, None), path)
    card = members.pop(_CARD, None)
    if card is None:
        raise _incomplete(_CARD, path)
    wanted = {
        name(model, fold)
        for model, folds in contents.folds.items()
        for fold in range(len(folds))
        for name in (weights_member, features_member)
        if name is weights_member or model in contents.distances
    }
    if set(members) != wanted:
        raise _incomplete(", ".join(sorted(set(members) ^ wanted)[:3]), path)
    for model, folds in contents.folds.items():
        for number, fold in enumerate(folds):
            name = weights_member(model, number)
            if hashlib.sha256(members[name]).hexdigest() != fold.weights:
                raise ReleaseError(
                    "weights are not those of the trained fold", file=path, found=name
                )
    return Release(
        contents=contents,
        tensors=members,
        card=card.decode(errors="replace"),
        digest=hashlib.sha256(content).hexdigest(),
    )


def _refuse_members(infos: list[zipfile.ZipInfo], size: int, path: Path) -> None:
    """Refuse names, sizes and kinds of members that ctbone never writes."""
    if len(infos) > _MOST_MEMBERS:
        raise ReleaseError(
            "the model file has too many members",
            file=path,
            found=len(infos),
            expected=f"{_MOST_MEMBERS} at most",
        )
    seen: set[str] = set()
    for info in infos:
        shown = repr(info.filename[:80])
        parts = PurePosixPath(info.filename.replace("\\", "/")).parts
        if ".." in parts or info.filename.startswith(("/", "\\")) or ":" in info.filename:
            raise ReleaseError(
                "the model file has a member whose path leads out of it", file=path, found=shown
            )
        if info.filename.lower().endswith(_PICKLES):
            raise ReleaseError(
                "the model file has a member of a format that can run code, such as a pickle",
                file=path,
                found=shown,
                expected="JSON, Markdown and safetensors",
            )
        if not _MEMBER.fullmatch(info.filename) or info.filename in seen:
            raise ReleaseError("the model file has an unknown member", file=path, found=shown)
        stored = info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size
        if not stored or info.flag_bits & 0x1:
            raise ReleaseError(
                "the model file has a compressed or encrypted member", file=path, found=shown
            )
        if not info.filename.endswith(".safetensors") and info.file_size > _LARGEST_TEXT:
            raise ReleaseError("the model file has a text that is too long", file=path, found=shown)
        seen.add(info.filename)
    if sum(info.file_size for info in infos) > size:
        raise ReleaseError("the members of the model file overlap", file=path)


def _refuse_version(manifest: dict[str, Any], path: Path) -> None:
    if manifest.get("format") != FORMAT:
        raise ReleaseError(
            "the model file is of another version of the format",
            file=path,
            found=repr(manifest.get("format"))[:40],
            expected=FORMAT,
            remedy=f"read it with the ctbone that wrote it ({str(manifest.get('ctbone'))[:20]}), "
            "or export the study again",
        )


def _refuse_changed(listed: object, members: dict[str, bytes], path: Path) -> None:
    """Compare every member with the manifest."""
    if not isinstance(listed, dict) or set(listed) != set(members):
        raise ReleaseError("the members of the model file are not those of its list", file=path)
    for name, content in members.items():
        entry = listed[name]
        digest = hashlib.sha256(content).hexdigest()
        if not isinstance(entry, dict) or entry.get("sha256") != digest:
            raise ReleaseError(
                "the model file was changed after it was written",
                file=path,
                found=f"{name} has another hash than the file's own list",
                remedy="get the file again from its source",
            )


def _contents(content: bytes | None, path: Path) -> Contents:
    raw = _object(content, _CONTENTS, path)
    try:
        return Contents.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])[:80]
        raise ReleaseError(
            f"{_CONTENTS} of the model file is not valid",
            file=path,
            found=f"{place}: {first['msg'][:120]}",
            remedy="export the study again",
        ) from None
    except RecursionError:
        raise ReleaseError(
            f"{_CONTENTS} of the model file is nested too deeply", file=path
        ) from None


def _object(content: bytes | None, name: str, path: Path) -> dict[str, Any]:
    if content is None:
        raise _incomplete(name, path)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise ReleaseError(f"{name} of the model file cannot be read", file=path) from None
    if not isinstance(found, dict):
        raise ReleaseError(f"{name} of the model file is not an object", file=path)
    return found


def _incomplete(name: str, path: Path) -> ReleaseError:
    return ReleaseError(
        "the model file is not complete",
        file=path,
        found=f"missing or unknown: {name}",
        remedy="export the study again",
    )


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode()
