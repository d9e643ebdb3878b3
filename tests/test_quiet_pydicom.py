from __future__ import annotations

import logging
import warnings

import pytest
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from ctbone.quiet_pydicom import quiet_pydicom

TOO_LONG = "0.12345678901234567"


def test_invalid_values_give_no_warnings_and_no_logs(caplog):
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet_pydicom():
            logging.getLogger("pydicom").critical("PatientName")
            dataset = Dataset()
            dataset.PatientID = "x" * 100
            assert float(DSfloat(TOO_LONG)) == float(TOO_LONG)
    assert not caplog.records


def test_settings_are_restored_after_an_error():
    logger = logging.getLogger("pydicom")
    before = config.settings.reading_validation_mode, logger.level, warnings.filters[:]
    with quiet_pydicom():
        assert config.settings.reading_validation_mode == config.IGNORE
        assert logger.level > logging.CRITICAL
    with pytest.raises(ValueError, match="damaged"), quiet_pydicom():
        raise ValueError("damaged")
    assert (config.settings.reading_validation_mode, logger.level, warnings.filters[:]) == before
