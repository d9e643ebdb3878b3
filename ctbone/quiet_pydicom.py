"""Silence pydicom's validation, warnings and logs, which quote header values."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom import config as pydicom_config

# pydicom and the codec plug-ins that it calls.
_LOGGERS = ("pydicom", "pylibjpeg", "openjpeg")


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Switch off validation, warnings and logs of pydicom: they may quote a patient's name."""
    settings = pydicom_config.settings
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    mode, levels = settings.reading_validation_mode, [logger.level for logger in loggers]
    settings.reading_validation_mode = pydicom_config.IGNORE
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        settings.reading_validation_mode = mode
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
