"""A trained fold on disk: ``weights.safetensors`` and ``card.json``, which describes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ctbone.errors import ModelError, StudyError
from ctbone.input_kind import INPUT_KINDS
from ctbone.models.metadata import Encoding
from ctbone.models.networks import build_network, normalise_input
from ctbone.models.training_key import model_settings, refuse_other, training_key
from ctbone.study import Study, atomic_path, file_hash, read_json, write_json

_FORMAT = 2


@dataclass(frozen=True)
class Card:
    """Description of a fold's weights.

    Attributes
    ----------
    training_key
        Everything that the training depended on, by name: see ``training_key``; ``crops`` and
        ``folds`` are digests.
    fold
        The fold, whose test cases took no part in the training.
    epoch
        The epoch that was kept, from 1.
    score, validation_loss
        Of that epoch; the training says what its score is, such as the validation AUC.
    weights_sha256
        Digest of ``weights.safetensors``.
    provenance
        Versions, settings and input digests.
    metadata
        Encoding of the clinical columns, from ``Encoding.to_json``; None if the network takes
        images alone.
    computed_otherwise
        Layers that this device computed wrong as set, and how they were computed instead; see
        ``check_arithmetic``.
    normalisation
        ``mean`` and ``deviation`` of the training part, a number a channel, where the settings
        normalise by them; else None.
    """

    training_key: dict[str, Any]
    fold: int
    epoch: int
    score: float
    validation_loss: float
    weights_sha256: str
    provenance: dict[str, Any]
    metadata: dict[str, Any] | None = None
    computed_otherwise: dict[str, str] = field(default_factory=dict)
    normalisation: dict[str, list[float]] | None = None

    @property
    def encoding(self) -> Encoding | None:
        """Encoding of the network's second input; None if it has none."""
        return None if self.metadata is None else Encoding.from_json(self.metadata)


def weights_file(study: Study, model: str, fold: int) -> Path:
    """Return the file of a fold's weights."""
    return study.run_folder(model, fold) / "weights.safetensors"


def card_file(study: Study, model: str, fold: int) -> Path:
    """Return the file of a fold's card; it is written last, so a fold with a card is finished."""
    return study.run_folder(model, fold) / "card.json"


def save_trained(study: Study, model: str, card: Card) -> None:
    """Write a fold's card, the last of its files."""
    write_json(card_file(study, model, card.fold), {"format": _FORMAT, **asdict(card)})


def save_weights(path: Path, state: Mapping[str, Tensor]) -> str:
    """Write tensors as safetensors, atomically, and return the file's SHA-256."""
    from safetensors.torch import save

    # Into memory first: on a full disk the error of the format's own writer does not say so.
    content = save({name: value.detach().cpu().contiguous() for name, value in state.items()})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_card(study: Study, model: str, fold: int) -> Card:
    """Read a finished fold's card and check that it belongs to the weights.

    Raises
    ------
    ModelError
        The card or the weights are missing or damaged, or do not belong together.
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
        if not isinstance(card.training_key, dict) or card.fold != fold:
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
        The fold.
    folds
        The current hash of ``folds.csv``.

    Raises
    ------
    ModelError
        The fold is not trained, is damaged, or was trained with other settings or folds.
    """
    from ctbone.models.pretrained import read_state

    card = read_card(study, model, fold)
    settings = model_settings(study.settings, model)
    refuse_other(
        card.training_key,
        training_key(study, model, folds),
        card_file(study, model, fold),
        ModelError,
    )
    size = INPUT_KINDS[settings.dim].settings(study.settings.preprocess).size
    width = 0 if card.encoding is None else card.encoding.width
    network = build_network(
        settings, len(study.settings.classes), size=size, metadata=width, folder=study.root
    )
    if card.normalisation is not None:
        dimensions = INPUT_KINDS[settings.dim].dimensions
        normalise_input(network, **card.normalisation, dimensions=dimensions)
    file = weights_file(study, model, fold)
    try:
        network.load_state_dict(read_state(file))
    except RuntimeError as error:
        raise ModelError(
            "the weights are of another network", file=file, remedy="train again"
        ) from error
    return network, card
