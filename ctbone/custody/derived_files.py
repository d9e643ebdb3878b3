"""Folds, weights, predictions, fusions and the report: whether they belong to their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctbone.cohort import Case, Cohort
from ctbone.config import READER, ScoreSettings
from ctbone.custody.image_files import CaseLinks, apart, crop_digests, first_stale
from ctbone.custody.link import Cause, Kind, Link, State
from ctbone.custody.memory import Memory
from ctbone.errors import CtboneError
from ctbone.folds import read_folds
from ctbone.input_kind import INPUT_KINDS
from ctbone.study import Study, content_hash, read_json, record_of

_NO_RECORD = "no record of ctbone describes it"
_FIRST_SCALE = ScoreSettings().model_dump(mode="json")
"""The scale of the scores in fusions of versions that had only this one."""


_SUBJECTS = {
    "dim": "dimensions",
    "training": "training settings",
    "preprocess": "preprocessing settings",
    "metadata_values": "values of its metadata",
    "computed_in": "arithmetic",
    "plugins": "source code of its plug-ins",
}


def subject_of(entry: str) -> str:
    """Return what messages call an entry of the training key."""
    return _SUBJECTS.get(entry, entry)


def settings_key(study: Study, model: str) -> dict[str, Any]:
    """Return the settings that the training of a model depends on, by name."""
    ours = study.settings.models[model]
    key = {
        "classes": list(study.settings.classes),
        **ours.model_dump(mode="json"),
        "preprocess": INPUT_KINDS[ours.dim]
        .settings(study.settings.preprocess)
        .model_dump(mode="json"),
    }
    del key["title"]  # changes no network
    if not ours.training.augmentation.extra:
        del key["training"]["augmentation"]["extra"]  # so that keys of earlier versions still match
    for part, section in (("", ours), ("training", ours.training)):
        for name, unused in _ADDED[part].items():
            if getattr(section, name) == unused:
                del (key[part] if part else key)[name]
    return key


_ADDED: dict[str, dict[str, Any]] = {
    "": {"normalise": "windows", "outputs": "softmax", "tta": "none"},
    "training": {
        "momentum": 0.0,
        "step_epochs": 30,
        "step_factor": 0.1,
        "cutmix": 0.0,
        "swa_start": None,
    },
}
"""Settings that earlier versions lacked, and the values that change nothing: see there."""


@dataclass
class MadeLinks:
    """Links of what is made from all cases together; each is computed once."""

    study: Study
    cohort: Cohort
    cases: CaseLinks
    memory: Memory
    _folds: Link | None = None
    _weights: dict[tuple[str, int], Link] = field(default_factory=dict)
    _predictions: dict[str, tuple[Link, ...]] = field(default_factory=dict)
    _digests: dict[str, dict[str, str]] = field(default_factory=dict)

    def folds(self) -> Link:
        """Return the link of ``folds.csv``."""
        if self._folds is None:
            self._folds = self._find_folds()
        return self._folds

    def _find_folds(self) -> Link:
        path = self.study.folds_csv
        if not path.is_file():
            return Link("folds", "folds", path, "missing", "not drawn yet", "run 'ctbone train'")
        try:
            read_folds(self.study, self.cohort)
        except CtboneError as error:
            cause: Cause = "settings" if "settings" in error.problem else "data"
            return Link(
                "folds",
                "folds",
                path,
                "stale",
                error.problem,
                error.remedy or "",
                cause,
                found=error.found or "",
                expected=error.expected or "",
            )
        return Link("folds", "folds", path, "current")

    def crop_states(self, model: str, cases: tuple[Case, ...]) -> Link | None:
        """Return the first stale crop of these cases that a model takes."""
        dim = self.study.settings.models[model].dim
        return first_stale([self.cases.links(case)[dim] for case in cases])

    def digests(self, model: str) -> dict[str, str]:
        """Return the digest of every case's crop, as a model takes it."""
        if model not in self._digests:
            ours = self.study.settings.models[model]
            self._digests[model] = crop_digests(
                self.study, self.cohort, ours.dim, masks=ours.mask != "none", memory=self.memory
            )
        return self._digests[model]

    def weights(self, model: str, fold: int) -> Link:
        """Return the link of a fold's weights."""
        key = (model, fold)
        if key not in self._weights:
            self._weights[key] = self._find_weights(model, fold)
        return self._weights[key]

    def _find_weights(self, model: str, fold: int) -> Link:
        folder = self.study.run_folder(model, fold)
        path, name = folder / "weights.safetensors", f"{model}/fold{fold}"
        train = f"delete the folder {folder} and run 'ctbone train', or run 'ctbone run'"

        def _stale(because: str, cause: Cause = "data", remedy: str = train, **more: str) -> Link:
            return Link("weights", name, path, "stale", because, remedy, cause, **more)

        if not (folder / "card.json").is_file():
            because = "not trained yet"
            return Link("weights", name, path, "missing", because, "run 'ctbone train'")
        try:
            card = read_json(folder / "card.json")
            key, inputs = dict(card["training_key"]), dict(card["provenance"]["inputs"])
            recorded = card["weights_sha256"]
        except (CtboneError, KeyError, TypeError, ValueError):
            return _stale("the card cannot be read")
        if self.memory.hash(path) != recorded:
            return _stale("the file is missing or not that of the card")
        folds = self.folds()
        if folds.state == "stale":
            return _stale(
                f"{folds.because} (folds.csv)",
                folds.cause,
                folds.remedy,
                found=folds.found,
                expected=folds.expected,
            )
        if key.get("folds") != self.memory.hash(self.study.folds_csv):
            return _stale("they were trained in other folds")
        crop = self.crop_states(model, self.cohort.internal)
        if crop is not None and crop.cause == "data":
            return _stale(f"crop of case {crop.name}: {crop.because}", remedy=crop.remedy)
        digests = {case.case_id: self.digests(model)[case.case_id] for case in self.cohort.internal}
        if inputs.get("crops", content_hash(digests)) != content_hash(digests):
            return _stale("they were trained on other crops")
        for entry, now in settings_key(self.study, model).items():
            if key.get(entry) != now:
                found, expected = apart({entry: key.get(entry)}, {entry: now})
                because = f"they were trained with other {subject_of(entry)}"
                return _stale(because, "settings", found=found, expected=expected)
        return Link("weights", name, path, "current")

    def predictions(self, name: str) -> tuple[Link, ...]:
        """Return the links of a table in ``predictions/``: its internal and external rows."""
        if name not in self._predictions:
            self._predictions[name] = self._find_predictions(name)
        return self._predictions[name]

    def _find_predictions(self, name: str) -> tuple[Link, ...]:
        path = self.study.predictions_csv(name)
        parts = ["internal", *(["external"] if self.cohort.external else [])]
        commands = {"internal": "run 'ctbone train'", "external": "run 'ctbone predict'"}

        def _all(state: State, because: str) -> tuple[Link, ...]:
            ours = name in self.study.settings.models
            return tuple(
                Link(
                    "predictions",
                    name,
                    path,
                    state,
                    because,
                    commands[part] if ours else "",
                    part=part,
                )
                for part in parts
            )

        if not path.is_file():
            return _all("missing", "not predicted yet")
        record = self._described(path)
        if record is None or not isinstance(record.get("weights"), Mapping):
            return _all("elsewhere", _NO_RECORD)
        if name not in self.study.settings.models:
            return _all("elsewhere", "study.yaml has no model of this name")
        return tuple(self._part(name, path, record, part) for part in parts)

    def _part(self, name: str, path: Path, record: Mapping[str, Any], part: str) -> Link:
        cases = self.cohort.internal if part == "internal" else self.cohort.external
        predict = "run 'ctbone predict'"
        command = "run 'ctbone train'" if part == "internal" else predict

        def _link(
            state: State, because: str, cause: Cause = "", remedy: str = command, **more: str
        ) -> Link:
            return Link("predictions", name, path, state, because, remedy, cause, part, **more)

        made_from = record.get("crops")
        known = {case.case_id for case in cases} & set(made_from or {})
        if part == "external" and not known:
            return _link("missing", "not predicted yet")
        upstream: list[Link] = []
        for fold, digest in record["weights"].items():
            weights = self.weights(name, int(str(fold).removeprefix("fold")))
            if weights.state != "current":
                upstream.append(weights)
            elif self._card_hash(weights) != digest:
                return _link("stale", f"{weights.name} was trained again", "data")
        first = first_stale(upstream)
        if first is not None:
            because = f"{first.name}: {first.because}"
            values = {"found": first.found, "expected": first.expected}
            return _link("stale", because, first.cause, first.remedy, **values)
        if upstream:
            return _link("stale", f"{upstream[0].name} is gone", "data")
        crop = self.crop_states(name, cases)
        if crop is not None:
            remedy = f"{crop.remedy}; then {command}"
            return _link("stale", f"crop of case {crop.name}: {crop.because}", crop.cause, remedy)
        for case in cases:
            then, now = (made_from or {}).get(case.case_id), self.digests(name)[case.case_id]
            if then is None and part == "external":
                return _link("stale", f"case {case.case_id} was not predicted", "data")
            if then is not None and then != now:
                return _link(
                    "stale", f"case {case.case_id} was predicted from another crop", "data"
                )
        return Link("predictions", name, path, "current", part=part)

    def _card_hash(self, weights: Link) -> object:
        return read_json(weights.path.with_name("card.json")).get("weights_sha256")

    def _described(self, path: Path) -> dict[str, Any] | None:
        """Return the record of a table; None where none describes exactly this file."""
        try:
            record = read_json(record_of(path))
        except CtboneError:
            return None
        return record if record.get("table") == self.memory.hash(path) else None

    def fusion(self, name: str) -> Link:
        """Return the link of a table in ``fusion/``."""
        path = self.study.fusion_csv(name)
        command = "run 'ctbone fuse'"

        def _link(
            state: State, because: str, cause: Cause = "", remedy: str = command, **more: str
        ) -> Link:
            return Link("fusion", name, path, state, because, remedy, cause, **more)

        if not path.is_file():
            return _link("missing", "not fused yet")
        record = self._described(path)
        if record is None or not isinstance(record.get("inputs"), Mapping):
            return _link("elsewhere", _NO_RECORD, remedy="")
        upstream: list[Link] = []
        for part, digest in record["inputs"].items():
            changed = self._input_changed(str(part), digest, record)
            if changed:
                return _link("stale", changed, "data")
            if part not in (READER, self.study.cohort_csv.name):
                upstream += self.predictions(str(part))
        of = record.get("of")
        if isinstance(of, str) and of != READER and self.study.fusion_csv(of).is_file():
            upstream.append(self.fusion(of))
        first = first_stale(upstream)
        if first is not None:
            because = f"{first.name}: {first.because}"
            values = {"found": first.found, "expected": first.expected}
            remedy = f"{first.remedy}; then {command}"
            return _link("stale", because, first.cause, remedy, **values)
        other = self._other_scale(record)
        if other is None and name != READER:
            other = self._other_settings(name, record)
        return _link("stale", other, "settings") if other else Link("fusion", name, path, "current")

    def _other_scale(self, record: Mapping[str, Any]) -> str | None:
        """Compare the scale of the scores that a fusion took with the current one."""
        if record.get("reader") is None:
            return None
        made_with = record.get("score_scale", {}).get("scale", _FIRST_SCALE)
        now = self.study.settings.scores.model_dump(mode="json")
        return None if made_with == now else "the scale of the scores has changed"

    def _input_changed(self, part: str, digest: object, record: Mapping[str, Any]) -> str | None:
        if part == READER:
            place = record.get("scores")
            if not isinstance(place, str):
                return None  # the scores were outside the study; the record has no path
            path, subject, verb = self.study.root / place, "the scores", ("are", "have")
        elif part == self.study.cohort_csv.name:
            path, subject, verb = self.study.cohort_csv, part, ("is", "has")
        else:
            path, subject, verb = self.study.predictions_csv(part), part, ("is", "has")
        if not path.is_file():
            return f"{subject} {verb[0]} gone"
        return f"{subject} {verb[1]} changed" if self.memory.hash(path) != digest else None

    def _other_settings(self, name: str, record: Mapping[str, Any]) -> str | None:
        """Compare the settings in the record of a fusion with the current ones."""
        fusion = self.study.settings.fusion
        now: tuple[object, ...]
        if name in fusion.stacking:
            stacking = fusion.stacking[name]
            now = (list(stacking.parts), list(stacking.columns), stacking.model)
            then = tuple(record.get(key) for key in ("parts", "columns", "stacker"))
        elif name in fusion.recalibration:
            recalibration = fusion.recalibration[name]
            now = (recalibration.of, recalibration.method)
            then = tuple(record.get(key) for key in ("of", "method"))
        elif name in fusion.combinations:
            rule = fusion.weights if isinstance(fusion.weights, str) else "given"
            now = (list(fusion.combinations[name]), rule)
            then = tuple(record.get(key) for key in ("parts", "chosen_by"))
        else:
            return "the settings no longer name it"
        return None if now == then else "the settings have changed"

    def report(self) -> Link:
        """Return the link of the report."""
        study, command = self.study, "run 'ctbone report'"
        path = study.report / "index.html"

        def _link(state: State, because: str, cause: Cause = "") -> Link:
            return Link("report", "report", path, state, because, command, cause)

        if not path.is_file():
            return _link("missing", "not written yet")
        try:
            origin = read_json(study.report / "metrics.json")["provenance"]
            inputs = {str(name): str(digest) for name, digest in origin["inputs"].items()}
        except (CtboneError, KeyError, TypeError, AttributeError):
            return _link("stale", "it has no readable metrics.json", "data")
        tables = [*self.tables("predictions"), *self.tables("fusion")]
        now = {f"{file.parent.name}/{file.name}" for file in tables}
        now |= {study.scores_csv.name} if study.scores_csv.is_file() else set()
        for name in sorted(now - set(inputs)):
            return _link("stale", f"{name} is new", "data")
        for name, digest in inputs.items():
            found = self.memory.hash(study.root / name)
            if found != digest:
                return _link("stale", f"{name} {'has changed' if found else 'is gone'}", "data")
        links = [
            link for file in self.tables("predictions") for link in self.predictions(file.stem)
        ]
        first = first_stale([*links, *(self.fusion(file.stem) for file in self.tables("fusion"))])
        if first is not None:
            return _link("stale", f"{first.kind} {first.name}: {first.because}", first.cause)
        if origin.get("settings") != study.settings.model_dump(mode="json"):
            return _link("stale", "the settings have changed", "settings")
        return Link("report", "report", path, "current")

    def tables(self, kind: Kind) -> list[Path]:
        """Return the tables of a kind, sorted: ``predictions`` or ``fusion``."""
        return sorted((self.study.root / kind).glob("[!.]*.csv"))
