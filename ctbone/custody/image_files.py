"""The volume and the crops of a case: whether they were made from the images and mask of now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ctbone
from ctbone.cohort import Case
from ctbone.custody.link import Cause, Link
from ctbone.custody.memory import Memory, stat_of
from ctbone.errors import CtboneError
from ctbone.input_kind import INPUT_KINDS, Dim, kinds_of
from ctbone.study import Study, content_hash, file_hash, read_json, read_table, record_of

_PREPROCESS = "run 'ctbone preprocess'"
_REMAKE = f"{_PREPROCESS}; it makes outdated crops again"


def source_place(study: Study, path: Path) -> str:
    """Return a hash of a path of the cohort table, relative to the study where it lies inside."""
    root, full = os.path.abspath(study.root), os.path.abspath(path)  # noqa: PTH100 (symlinks stay)
    return content_hash(full.removeprefix(root + os.sep).replace(os.sep, "/"))


def source_stat(study: Study, case: Case) -> str:
    """Hash the path, size and modification time of every file of a case's image, and the settings.

    An empty text where the image does not exist.
    """
    if not case.image.exists():
        return ""
    root = _source_root(case)
    files, start = [], len(str(root)) + 1
    for path in source_files(root):
        try:
            status = os.stat(path)  # noqa: PTH116 (a string here, and there may be many)
        except FileNotFoundError:  # removed since the folder was listed
            continue
        files.append((path[start:], status.st_size, status.st_mtime_ns))
    settings = study.settings.dicom.model_dump(mode="json")
    place = source_place(study, case.image)
    return content_hash([place, files, settings, ctbone.__version__])


def source_content(case: Case) -> str:
    """Hash the names and the bytes of every file of a case's image."""
    root = _source_root(case)
    digest = hashlib.sha256(case.image.name.encode() if not case.image.is_dir() else b"")
    for path in source_files(root):
        digest.update(f"{os.path.relpath(path, root)} {file_hash(Path(path))}\n".encode())
    return digest.hexdigest()


def source_files(folder: Path) -> list[str]:
    """List every regular file below ``folder``, sorted; each folder is visited once."""
    if folder.is_file():
        return [str(folder)]
    files: list[str] = []
    seen: set[tuple[int, int]] = set()
    pending = [str(folder)]
    while pending:
        parent = pending.pop()
        try:
            status = os.stat(parent)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(parent) as entries:
                for entry in entries:
                    if entry.is_dir():
                        pending.append(entry.path)
                    elif entry.is_file():
                        files.append(entry.path)
        except OSError:
            continue
    return sorted(files)


def _source_root(case: Case) -> Path:
    nifti = case.image.name.endswith((".nii", ".nii.gz"))
    return case.image if nifti or case.image.is_dir() else case.image.parent


def crop_digests(
    study: Study, cases: Iterable[Case], dim: Dim, *, masks: bool, memory: Memory | None = None
) -> dict[str, str]:
    """Return a digest of each case's crop, and of its mask where ``masks``; "" if it is missing."""
    own = Memory(study) if memory is None else memory
    digests = {}
    for case in cases:
        crop = study.crop(case.case_id, dim)
        digest = own.hash(crop)
        if masks and digest:
            digest = content_hash([digest, own.hash(study.crop_mask(case.case_id, dim))])
        digests[case.case_id] = digest
    if memory is None:
        own.save()
    return digests


@dataclass
class CaseLinks:
    """Volume and crops of the cases of a study."""

    study: Study
    memory: Memory
    settings: str = field(init=False)
    _failed: dict[str, str] | None = None
    _known: dict[Case, dict[str, Link]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = content_hash(self.study.settings.preprocess.model_dump(mode="json"))

    def links(self, case: Case) -> dict[str, Link]:
        """Return the links of a case by name: one a dimension, and of CT ``volume``."""
        if case not in self._known:
            self._known[case] = self._verify(case)
        return self._known[case]

    @property
    def failed(self) -> dict[str, str]:
        """The reason for each case that failed in the last preprocess."""
        if self._failed is None:
            self._failed = {}
            if self.study.preprocess_csv.is_file():
                table = read_table(self.study.preprocess_csv, ("case_id",))
                if {"status", "reason"} <= set(table.columns):  # other programs may lack them
                    rows = table[table["status"] == "failed"]
                    self._failed = dict(zip(rows["case_id"], rows["reason"], strict=True))
        return self._failed

    def _verify(self, case: Case) -> dict[str, Link]:
        study, name = self.study, case.case_id
        source = source_stat(study, case)
        seen = content_hash(
            [
                source,
                [str(case.image), str(case.mask), case.lesion, case.box, case.frame],
                [stat_of(path) for path in self._files(case)],
                self.settings,
                self.failed.get(name),
            ]
        )
        if self.memory.knows_case(name, seen):
            links = {"volume": Link("volume", name, study.nifti(name), "current")}
            for dim in kinds_of(study.settings):
                links[dim] = Link("crop", name, study.crop(name, dim), "current", part=dim)
            return _of_study(study, links)
        # A radiograph has no volume: its crop is made from the file itself.
        radiographs = study.settings.of_radiographs
        volume = None if radiographs else self._volume(case, source)
        links = {} if volume is None else {"volume": volume}
        for dim in kinds_of(study.settings):
            links[dim] = self._crop(case, dim, volume)
        if all(link.state == "current" for link in links.values()):
            self.memory.keep_case(name, seen)
        return links

    def _files(self, case: Case) -> Iterable[Path]:
        study, name = self.study, case.case_id
        volume, kinds = study.nifti(name), kinds_of(study.settings)
        crops = [study.crop(name, dim) for dim in kinds]
        masks = [study.crop_mask(name, dim) for dim, kind in kinds.items() if kind.mask_folder]
        yield from [volume, record_of(volume), *crops, *map(record_of, crops), *masks]
        if case.mask is not None:
            yield case.mask

    def _volume(self, case: Case, source: str) -> Link:
        path = self.study.nifti(case.case_id)

        def _link(state: Any, because: str = "", cause: Cause = "") -> Link:
            remedy = "" if state == "current" else _PREPROCESS
            return Link("volume", case.case_id, path, state, because, remedy, cause)

        if not path.is_file():
            return _link("missing", "it was not converted yet")
        try:
            record = read_json(record_of(path))
            settings = record["settings"]["dicom"]
            recorded = str(record["volume"])
        except (CtboneError, KeyError, TypeError):
            return _link("elsewhere", "it has no record of ctbone")
        if self.memory.hash_by_record(path, record_of(path), recorded) != recorded:
            return _link("stale", "the file was changed after it was written", "data")
        if not source:  # this machine lacks the image: its path must be the one it was made from
            same = record.get("place") in (None, source_place(self.study, case.image))
        else:
            same = source == record.get("source") or record.get("content") == source_content(case)
        if not same:
            return _link("stale", "cohort.csv names another image, or the image changed", "data")
        if settings != self.study.settings.dicom.model_dump(mode="json"):
            return _link("stale", "the settings 'dicom' changed", "settings")
        return _link("current")

    def _crop(self, case: Case, dim: Dim, volume: Link | None) -> Link:
        study, path = self.study, self.study.crop(case.case_id, dim)
        file = record_of(path)

        def _stale(because: str, cause: Cause = "data", **values: Any) -> Link:
            return Link("crop", case.case_id, path, "stale", because, _REMAKE, cause, dim, **values)

        reason = self.failed.get(case.case_id)
        if reason is not None:
            mend = f"mend it, then {_PREPROCESS}"
            link = _stale(f"the case failed in the last preprocess: {reason}")
            return link.with_remedy(mend)
        if not path.is_file():
            because = "it was not made yet"
            return Link("crop", case.case_id, path, "missing", because, _PREPROCESS, part=dim)
        try:
            record = read_json(file)
            made_with = record["settings"]["preprocess"]
            of = record.get("case", {})
            lesion, owner = of.get("lesion"), of.get("case_id", case.case_id)
            inputs = record.get("inputs", {})
            names = (
                INPUT_KINDS[dim].section,
                *(() if volume is None else ("mask_label", "lesions")),
            )
            then = {name: made_with[name] for name in names}
        except (CtboneError, KeyError, TypeError, AttributeError):
            return _stale("it has no record of the settings that it was made with")
        preprocess = study.settings.preprocess.model_dump(mode="json")
        now: dict[str, Any] = {name: preprocess[name] for name in names}
        if owner != case.case_id:
            return _stale(f"it is the crop of case {owner}")
        if lesion != case.lesion:
            then, now = {**then, "lesion": lesion}, {**now, "lesion": case.lesion}
        if then != now:
            cause: Cause = "settings" if lesion == case.lesion else "data"
            found, expected = apart(then, now)
            return _stale("it was made with other settings", cause, found=found, expected=expected)
        if not isinstance(inputs, Mapping) or "file" not in record or "image" not in inputs:
            because = "its record holds no hashes"
            return Link("crop", case.case_id, path, "elsewhere", because, part=dim)
        files = {"file": path}
        if INPUT_KINDS[dim].mask_folder:
            files["mask"] = study.crop_mask(case.case_id, dim)
        for name, one in files.items():
            if self.memory.hash_by_record(one, file, str(record.get(name))) != record.get(name):
                what = "crop" if name == "file" else "mask on the crop's grid"
                return _stale(f"the {what} is not the file that was written for this case")
        if case.mask is not None and case.mask.is_file():
            if self.memory.hash(case.mask) != inputs.get("mask"):
                return _stale("the mask of cohort.csv is not the one it was made from")
        elif case.mask is not None and of.get("mask_place") not in (
            None,
            source_place(study, case.mask),
        ):
            return _stale("cohort.csv names another mask, which does not exist")
        if volume is None:
            changed = self._radiograph_changed(case, record)
            if changed:
                return _stale(changed)
            return Link("crop", case.case_id, path, "current", part=dim)
        if volume.state == "stale":
            return _stale(f"its volume is out of date: {volume.because}", volume.cause)
        try:
            made_from = read_json(record_of(volume.path)).get("volume", inputs["image"])
        except CtboneError:
            made_from = self.memory.hash(volume.path) or inputs["image"]
        if made_from != inputs["image"]:
            return _stale("its volume is not the one it was made from")
        return Link("crop", case.case_id, path, "current", part=dim)

    def _radiograph_changed(self, case: Case, record: Mapping[str, Any]) -> str | None:
        """Return why the crop of a radiograph is out of date with its row or its file."""
        of = record.get("case", {})
        row = {"box": None if case.box is None else list(case.box), "frame": case.frame}
        if any(of.get(name) != value for name, value in row.items()):
            return "cohort.csv names another box or frame"
        if case.image.is_file() and self.memory.hash(case.image) != record["inputs"]["image"]:
            return "cohort.csv names another image, or the image changed"
        return None


def _of_study(study: Study, links: dict[str, Link]) -> dict[str, Link]:
    """Leave the volume out where the study has radiographs."""
    if study.settings.of_radiographs:
        links.pop("volume")
    return links


def apart(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str]:
    """Return the settings that differ, as text: those of then, and those of now."""
    found, expected = [], []
    for name, value in now.items():
        before = then.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            for key in value:
                if before.get(key) != value[key]:
                    found.append(f"{name}.{key}: {before.get(key)}")
                    expected.append(f"{name}.{key}: {value[key]}")
        elif before != value:
            found.append(f"{name}: {before}")
            expected.append(f"{name}: {value}")
    return ", ".join(found), ", ".join(expected)


def first_stale(links: Sequence[Link]) -> Link | None:
    """Return the first stale link, those with other data before those with other settings."""
    stale = [link for link in links if link.state == "stale"]
    return min(stale, key=lambda link: link.cause == "settings", default=None)
