"""The error of this room."""

from ctbone.errors import CtboneError


class TrainingError(CtboneError):
    """A network cannot be trained as the settings ask."""
