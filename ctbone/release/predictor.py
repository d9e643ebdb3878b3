"""The answer for a new patient: probabilities, their spread, a class, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.torch import load as load_tensors
from torch import nn

import ctbone
from ctbone.cohort import Case
from ctbone.config import READER, ModelSettings
from ctbone.errors import ModelError, ReleaseError
from ctbone.input_kind import INPUT_KINDS
from ctbone.models.arithmetic import place_as_trained
from ctbone.models.crops import Crops
from ctbone.models.ensemble import FoldNetwork, FoldOutput, fold_output
from ctbone.models.hardware import Hardware, choose_hardware
from ctbone.models.metadata import Encoding
from ctbone.models.networks import build_network, normalise_input
from ctbone.release.contents import Answer, FoldMap, Release, features_member, weights_member
from ctbone.release.facts import CaseFacts, outside
from ctbone.release.feature_space import FeatureSpace
from ctbone.release.further_parts import reader_probabilities, stacked, why_missing
from ctbone.release.repeats import dropout_outputs, refuse_without_dropout, varied_outputs
from ctbone.stats import IsotonicRegression, PlattScaling, TemperatureScaling, conformal_sets

RESEARCH_USE = "For research only; not a medical device. Do not use it to treat patients."
"""Stands in every answer."""
_ANOTHER_READER = (
    "The score is fused with weights that were fitted on the study's reader. They may not suit "
    "another reader."
)
_DIGITS = 6
"""Decimal digits of probabilities in answers."""


@dataclass(frozen=True)
class _Probability:
    """Probabilities of one answer: their value, and each fold's where folds have one."""

    value: np.ndarray
    of_folds: np.ndarray | None


class Predictor:
    """The networks of a model file, built once for many patients.

    Parameters
    ----------
    release
        The model file.

    Raises
    ------
    ReleaseError
        Weights do not fit the networks of the settings, or Monte-Carlo dropout is asked of networks
        without dropout.
    """

    def __init__(self, release: Release) -> None:
        self.release = release
        self.settings = release.contents.settings
        self._networks: dict[str, list[FoldNetwork]] = {}
        self._spaces: dict[str, list[FeatureSpace]] = {}
        self._hardware: dict[str, Hardware] = {}
        for name in release.contents.folds:
            model = self.settings.models[name]
            self._hardware[name] = choose_hardware(model.training)
            self._networks[name] = _networks(release, name, self._hardware[name])
            if name in release.contents.distances:
                self._spaces[name] = _spaces(release, name)
        if self.settings.prediction.dropout_passes:
            for name, folds in self._networks.items():
                refuse_without_dropout(name, folds[0].network)

    @property
    def dims(self) -> set[str]:
        """The dimensions of the models."""
        return {self.settings.models[name].dim for name in self._networks}

    def models(self) -> dict[str, ModelSettings]:
        """Return the settings of each model of the file."""
        return {name: self.settings.models[name] for name in self._networks}

    def networks(self, model: str) -> Sequence[FoldNetwork]:
        """Return the networks of a model, one a fold."""
        return self._networks[model]

    def answer(
        self,
        case: Case,
        crops: Mapping[str, Crops],
        *,
        facts: CaseFacts,
        inputs: Mapping[str, Any],
        remarks: Sequence[str] = (),
        score: str | None = None,
    ) -> dict[str, Any]:
        """Predict one case.

        Parameters
        ----------
        case
            The case; its clinical columns are used if a model takes them.
        crops
            Of this case alone, by model.
        facts
            Of its scan and lesion.
        inputs
            Hashes of what the answer is made from.
        remarks
            What preprocessing says about the case, one sentence each.
        score
            A radiologist's score on the study's scale, for fusions with a reader.

        Returns
        -------
        dict
            The content of the answer's JSON file; see docs/how-to.md.

        Raises
        ------
        ModelError
            A network gives NaN, or a clinical column is missing.
        ReleaseError
            The study's answer needs a score or a clinical column that is not given; the score is
            not on the scale, or no answer takes one.
        """
        contents = self.release.contents
        missing = self.missing(case, score)
        outputs = {name: self._outputs(name, crops[name], case) for name in self._networks}
        found: dict[str, _Probability] = {}
        given = [one for one in contents.answers if one.name not in missing]
        for answer in given:
            if answer.kind == "reader" and score is not None:
                own = reader_probabilities(score, self.settings)
                found[answer.name] = _Probability(own, None)
            elif answer.kind == "stack":
                values = {name: found[name].value for name in answer.weights}
                found[answer.name] = _Probability(stacked(answer, values, case), None)
            else:
                found[answer.name] = _probability(
                    answer, outputs=outputs, found=found, place=self._place
                )
        beyond, unknown = outside(facts, contents.range)
        distances = self._distances(outputs)
        beyond += [one["sentence"] for one in distances.values() if one["outside"]]
        return {
            "notice": RESEARCH_USE,
            "case": case.case_id,
            "model_file": {"name": self.settings.name, "sha256": self.release.digest},
            "ctbone": ctbone.__version__,
            "inputs": {**inputs, **({} if score is None else {"reader_score": score})},
            "answer": contents.first,
            "answers": {one.name: self._described(one, found[one.name], found) for one in given},
            "trust": {
                "outside_training_range": beyond,
                "not_compared": unknown,
                "remarks": [*remarks, *([] if score is None else [_ANOTHER_READER])],
                "facts": _compared(facts, self.release),
                "distances": distances,
                **self._repeats(case, crops),
            },
            "left_out": {**contents.left_out, **missing},
        }

    def missing(self, case: Case, score: str | None) -> dict[str, str]:
        """Return the answers that cannot be given for a case, and why; needs no image.

        Raises
        ------
        ReleaseError
            The study's answer is among them; the score is not on the scale, or is not used.
        """
        contents = self.release.contents
        if score is not None:
            reader_probabilities(score, self.settings)
        missing: dict[str, str] = {}
        for answer in contents.answers:
            why = why_missing(answer, case, score=score, missing=missing)
            if why:
                missing[answer.name] = why
        if score is not None and all(one.kind != "reader" for one in contents.answers):
            raise ReleaseError(
                "a radiologist's score is given, but no answer of the study takes one",
                found=score,
                remedy="leave out --score, or run 'ctbone fuse --with-reader scores.csv' first",
            )
        if contents.first in missing:
            raise ReleaseError(
                f"the study's answer '{contents.first}' cannot be given",
                case=case.case_id,
                found=missing[contents.first],
                remedy="give what is missing, or choose another answer: prediction.answer",
            )
        return missing

    @property
    def _place(self) -> int:
        return self.settings.classes.index(self.settings.positive_class)

    def _outputs(self, name: str, crops: Crops, case: Case) -> list[FoldOutput]:
        model, hardware = self.settings.models[name], self._hardware[name]
        return [
            fold_output(fold, crops, [case], model=model, hardware=hardware)
            for fold in self._networks[name]
        ]

    def _described(
        self, answer: Answer, own: _Probability, found: Mapping[str, _Probability]
    ) -> dict[str, Any]:
        classes, value = self.settings.classes, own.value
        record: dict[str, Any] = {
            "kind": answer.kind,
            "probabilities": _named(classes, value),
            "class": self._class_of(answer, value),
            "threshold": answer.threshold,
        }
        if own.of_folds is not None:
            p = own.of_folds[:, self._place]
            record["folds"] = {
                "of": self.settings.positive_class,
                "probabilities": [_round(one) for one in p],
                "sd": _round(p.std(ddof=1)) if len(p) > 1 else None,
                "lowest": _round(p.min()),
                "highest": _round(p.max()),
            }
        record["recalibrated"] = {
            other.name: _named(classes, found[other.name].value)
            for other in self.release.contents.answers
            if other.kind == "recalibration" and answer.name in other.weights
            if other.name in found
        }
        record["conformal"] = self._conformal(answer, value)
        return record

    def _class_of(self, answer: Answer, value: np.ndarray) -> str:
        classes = self.settings.classes
        if answer.threshold is None:
            return classes[int(np.argmax(value))]
        negative = next(name for name in classes if name != self.settings.positive_class)
        positive = round(float(value[self._place]), 12) >= answer.threshold
        return self.settings.positive_class if positive else negative

    def _conformal(self, answer: Answer, value: np.ndarray) -> dict[str, Any]:
        error_rate = self.settings.prediction.error_rate
        if answer.conformal is None:
            return {"set": None, "why": answer.no_conformal, "error_rate": error_rate}
        classes = self.settings.classes
        limits = [answer.conformal[name].limit for name in classes]
        within = conformal_sets(value[None], limits)[0]
        chosen = [name for name, inside in zip(classes, within, strict=True) if inside]
        return {
            "set": chosen,
            "abstains": len(chosen) != 1,
            "sentence": _set_sentence(chosen),
            "error_rate": error_rate,
            "calibration": "out-of-fold predictions (cross-conformal), by class",
            "expected_coverage": {
                name: {
                    "n": limit.n,
                    "between": [_round(limit.low), _round(limit.high)],
                    "range_95": [_round(limit.range_low), _round(limit.range_high)],
                }
                for name, limit in answer.conformal.items()
            },
        }

    def _distances(self, outputs: Mapping[str, Sequence[FoldOutput]]) -> dict[str, dict[str, Any]]:
        found = {}
        for name, spaces in self._spaces.items():
            known = self.release.contents.distances[name].distances
            of_folds = [
                float(space.distances(output.features)[0])
                for space, output in zip(spaces, outputs[name], strict=True)
                if output.features is not None
            ]
            distance = float(np.median(of_folds))
            share = known.percentile(distance)
            found[name] = {
                "distance": _round(distance),
                "percentile": share,
                "outside": distance > known.high,
                "sentence": f"In the features of the model {name} the case is farther from the "
                f"training cases than {share:.0f} % of {known.n} out-of-fold cases.",
            }
        return found

    def _repeats(self, case: Case, crops: Mapping[str, Crops]) -> dict[str, Any]:
        """Return the spread under test-time augmentation and dropout, as far as set."""
        wanted, found = self.settings.prediction, {}
        for key, count, work in (
            ("augmented_copies", wanted.augmented_copies, varied_outputs),
            ("dropout_passes", wanted.dropout_passes, dropout_outputs),
        ):
            if count:
                found[key] = {
                    name: _spread(
                        work(
                            self._networks[name],
                            crops[name],
                            case,
                            model=self.settings.models[name],
                            hardware=self._hardware[name],
                            count=count,
                        )[:, self._place]
                    )
                    for name in self._networks
                }
        return found


def load_network(release: Release, name: str, number: int, *, tested: bool = True) -> FoldNetwork:
    """Build the network of one fold with its weights, on the processor and as PyTorch made it.

    Parameters
    ----------
    release
        The model file.
    name, number
        The model and the fold.
    tested
        Whether to test the network on the size of the crops first.

    Raises
    ------
    ReleaseError
        The network cannot be built, or the weights are of another one.
    """
    settings = release.contents.settings
    model, fold = settings.models[name], release.contents.folds[name][number]
    size = INPUT_KINDS[model.dim].settings(settings.preprocess).size
    member = weights_member(name, number)
    try:
        encoding = None if fold.encoding is None else Encoding.from_json(fold.encoding)
        width = 0 if encoding is None else encoding.width
        network: nn.Module = build_network(
            model, len(settings.classes), size=size if tested else None, metadata=width
        )
        if fold.normalisation is not None:
            dimensions = INPUT_KINDS[model.dim].dimensions
            normalise_input(network, **fold.normalisation.model_dump(), dimensions=dimensions)
        network.load_state_dict(load_tensors(release.tensors[member]))
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ReleaseError(
            "the weights do not fit the network of the settings",
            found=f"{member}: {type(error).__name__}",
            remedy="export the study again",
        ) from None
    except ModelError as error:
        raise ReleaseError(
            f"the network of the model file cannot be built: {error.problem}", found=error.found
        ) from None
    return FoldNetwork(network.eval(), encoding)


def _networks(release: Release, name: str, hardware: Hardware) -> list[FoldNetwork]:
    """Build the networks of all folds on the device; the first is tested, the others are equal."""
    settings = release.contents.settings
    model, built = settings.models[name], []
    for number in range(len(release.contents.folds[name])):
        fold = load_network(release, name, number, tested=number == 0)
        try:
            placed = place_as_trained(
                fold.network,
                release.contents.folds[name][number].computed_otherwise,
                hardware=hardware,
                shape=(model.channels, *INPUT_KINDS[model.dim].grid(settings.preprocess)),
                metadata=0 if fold.encoding is None else fold.encoding.width,
            )
        except ModelError as error:
            raise ReleaseError(error.problem, found=error.found) from None
        built.append(FoldNetwork(placed, fold.encoding))
    return built


def _spaces(release: Release, name: str) -> list[FeatureSpace]:
    spaces = []
    for number in range(len(release.contents.folds[name])):
        member = features_member(name, number)
        try:
            arrays = load_arrays(release.tensors[member])
        except (SafetensorError, KeyError, TypeError, ValueError):
            raise ReleaseError(
                "a feature space of the model file cannot be read", found=member
            ) from None
        spaces.append(FeatureSpace.from_arrays(arrays, member))
    return spaces


def _probability(
    answer: Answer,
    *,
    outputs: Mapping[str, Sequence[FoldOutput]],
    found: Mapping[str, _Probability],
    place: int,
) -> _Probability:
    """Compute one answer from the networks' outputs or from earlier answers."""
    if answer.kind == "model":
        of_folds = np.stack([output.probabilities[0] for output in outputs[answer.name]])
        return _Probability(of_folds.mean(axis=0), of_folds)
    if answer.kind == "combination":
        total = sum(answer.weights.values())
        shares = {name: weight / total for name, weight in answer.weights.items()}
        value = sum((share * found[name].value for name, share in shares.items()), np.zeros(1))
        # A reader has no folds: the score is the same in each.
        parts = [
            found[name].of_folds if name != READER else found[name].value[None] for name in shares
        ]
        return _Probability(value, _fused_folds(parts, list(shares.values())))
    (source,) = answer.weights
    p = found[source].value[None]
    mapped = np.stack([_map(one, p, place)[0] for one in answer.maps])
    return _Probability(mapped.mean(axis=0), None)


def _fused_folds(parts: Sequence[np.ndarray | None], shares: Sequence[float]) -> np.ndarray | None:
    """Fuse the probabilities of fold k of every part; None where the parts differ in folds."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    sizes = {len(part) for part in known if len(part) > 1} or {1}
    if len(sizes) != 1:
        return None
    (count,) = sizes
    repeated = [np.broadcast_to(part, (count, part.shape[1])) for part in known]
    return np.einsum("p,pfc->fc", np.array(shares), np.stack(repeated))


def _map(of_fold: FoldMap, p: np.ndarray, place: int) -> np.ndarray:
    """Recalibrate probabilities, (cases, classes)."""
    if of_fold.temperature is not None:
        return TemperatureScaling(of_fold.temperature).apply(p)
    fitted: PlattScaling | IsotonicRegression
    if of_fold.intercept is not None and of_fold.slope is not None:
        fitted = PlattScaling(of_fold.intercept, of_fold.slope)
    else:
        fitted = IsotonicRegression(of_fold.probabilities or (), of_fold.calibrated or ())
    own = fitted.apply(p[:, place])
    return np.column_stack([1 - own, own] if place == 1 else [own, 1 - own])


def _compared(facts: CaseFacts, release: Release) -> dict[str, Any]:
    known = release.contents.range
    found: dict[str, Any] = {}
    for name, value in facts.numbers.items():
        own: dict[str, Any] = {"value": float(f"{value:.6g}")}
        if name in known.numbers:
            of = known.numbers[name]
            own |= {
                "percentile": of.percentile(value),
                "range": [of.quantiles[0], of.quantiles[-1]],
            }
        found[name] = own
    for name, level in facts.levels.items():
        found[name] = {"value": level, "training_cases": known.levels.get(name, {}).get(level, 0)}
    return found


def _set_sentence(chosen: Sequence[str]) -> str:
    if len(chosen) == 1:
        return f"The conformal set holds {chosen[0]} alone."
    if not chosen:
        return "The conformal set is empty: no class fits the calibration cases. It abstains."
    return f"The conformal set holds {', '.join(chosen)}: it abstains."


def _spread(p: np.ndarray) -> dict[str, Any]:
    return {
        "count": len(p),
        "mean": _round(p.mean()),
        "sd": _round(p.std(ddof=1)) if len(p) > 1 else None,
    }


def _named(classes: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {name: _round(value) for name, value in zip(classes, values, strict=True)}


def _round(value: float) -> float:
    return round(float(np.clip(value, 0, None)), _DIGITS)
