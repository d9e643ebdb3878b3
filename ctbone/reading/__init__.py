"""The reader study: a page on which radiologists read the cases, and the database behind it."""

from ctbone.reading.logins import add_reader
from ctbone.reading.rounds import end_reading, skip_washout
from ctbone.reading.serve import address, serve
from ctbone.reading.tables import export_scores, reading_progress

__all__ = [
    "add_reader",
    "address",
    "end_reading",
    "export_scores",
    "reading_progress",
    "serve",
    "skip_washout",
]
