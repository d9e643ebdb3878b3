"""The reader study: whether radiologists read better with the model."""

from ctbone.reader_study.chapter import (
    ReaderStudy,
    analyse_readers,
    reader_chapter,
    write_reader_study,
)
from ctbone.reader_study.readings import Readings, Truth, read_readings, study_truth, table_truth

__all__ = [
    "ReaderStudy",
    "Readings",
    "Truth",
    "analyse_readers",
    "read_readings",
    "reader_chapter",
    "study_truth",
    "table_truth",
    "write_reader_study",
]
