"""A trained fold on disk: ``weights.safetensors`` and ``card.json``, which says what they are and may be used for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ctbone.errors import ModelError, StudyError
from ctbone.models.metadata import Encoding
from ctbone.models.networks import build_network
from ctbone.models.training_key import model_settings, refuse_other, training_identity
from ctbone.study import Study, atomic_path, file_hash, read_json, write_json

_FORMAT = 2


@dataclass(frozen=True)
class Card:
    """What a fold's weights are.

    Attributes
    ----------
    identity
        What the training depended on, by name: see ``training_identity``; ``crops`` and ``folds`` are digests.
    fold
        The fold whose test cases these weights have not seen.
    epoch
        The epoch that was kept, from 1.
    score, validation_loss
        Of that epoch; the training says what its score is, such as the validation AUC.
    weights_sha256
        Digest of ``weights.safetensors``.
    provenance
        Versions, settings and input digests.
    metadata
        The encoding of the clinical columns, as ``Encoding.to_json`` gives it; None where the network has images alone.
    """

    identity: dict[str, Any]
    fold: int
    epoch: int
    score: float
    validation_loss: float
    weights_sha256: str
    provenance: dict[str, Any]
    metadata: dict[str, Any] | None = None

    @property
    def encoding(self) -> Encoding | None:
        """How the network's second input is encoded; None where it has none."""
        return None if self.metadata is None else Encoding.from_json(self.metadata)


def weights_file(study: Study, model: str, fold: int) -> Path:
    """Return where a fold's weights lie."""
    return study.run(model, fold) / "weights.safetensors"


def card_file(study: Study, model: str, fold: int) -> Path:
    """Return where a fold's card lies; it is written last, so a fold that has one is finished."""
    return study.run(model, fold) / "card.json"


def save_trained(study: Study, model: str, card: Card) -> None:
    """Write a fold's card, the last of its files."""
    write_json(card_file(study, model, card.fold), {"format": _FORMAT, **asdict(card)})


def save_weights(path: Path, state: Mapping[str, Tensor]) -> str:
    """Write tensors as safetensors, atomically, and return the file's SHA-256."""
    from safetensors.torch import save

    # Into memory first: on a full disk the format's own writer fails with an error that does not say so.
    content = save({name: value.detach().cpu().contiguous() for name, value in state.items()})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_card(study: Study, model: str, fold: int) -> Card:
    """Read a finished fold's card and check that its weights are the ones it speaks of.

    Raises
    ------
    ModelError
        The card or the weights are missing, damaged, or not of one training.
    """
    file, weights = card_file(study, model, fold), weights_file(study, model, fold)
    remedy = f"delete the folder {file.parent} and run 'ctbone train' again"
    if not file.is_file():
        raise ModelError(
            f"fold {fold} of '{model}' is not trained", file=file, remedy="run 'ctbone train'"
        )
    try:
        content = read_json(file)
        if content.pop("format", None) != _FORMAT:
            raise ModelError(
                "the card has another format", file=file, expected=_FORMAT, remedy=remedy
            )
        card = Card(**content)
        if not isinstance(card.identity, dict) or card.fold != fold:
            raise ModelError(
                "the card is another fold's",
                file=file,
                found=card.fold,
                expected=fold,
                remedy=remedy,
            )
    except (StudyError, TypeError) as error:
        raise ModelError(
            "the card of the trained fold cannot be read", file=file, remedy=remedy
        ) from error
    if not weights.is_file() or file_hash(weights) != card.weights_sha256:
        raise ModelError(
            "the weights are missing or not those of the card", file=weights, remedy=remedy
        )
    return card


def load_trained(study: Study, model: str, fold: int, folds: str) -> tuple[nn.Module, Card]:
    """Build the network of a finished fold, with its weights, on the CPU.

    Parameters
    ----------
    study, model, fold
        Which one.
    folds
        The hash of ``folds.csv`` as it is now.

    Raises
    ------
    ModelError
        The fold is not trained, is damaged, or was trained with other settings or folds than those of now.
    """
    from ctbone.models.pretrained import read_state

    card = read_card(study, model, fold)
    settings = model_settings(study.settings, model)
    refuse_other(
        card.identity,
        training_identity(study.settings, model, folds),
        card_file(study, model, fold),
        ModelError,
    )
    preprocess, encoding = study.settings.preprocess, card.encoding
    size = preprocess.crop_3d.size if settings.dim == "3d" else preprocess.images_2d.size
    width = 0 if encoding is None else encoding.width
    network = build_network(settings, len(study.settings.classes), size=size, metadata=width)
    file = weights_file(study, model, fold)
    try:
        network.load_state_dict(read_state(file))
    except RuntimeError as error:
        raise ModelError(
            "the weights are of another network", file=file, remedy="train anew"
        ) from error
    return network, card
