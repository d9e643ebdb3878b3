"""The error of this room."""

from ctbone.errors import CtboneError


class ModelError(CtboneError):
    """A network, its weights or what it is fed is not what the settings ask for."""
