"""The error of this room."""

from __future__ import annotations

from ctbone.errors import CtboneError


class PhantomError(CtboneError):
    """A synthetic patient or cohort cannot be made as asked."""
