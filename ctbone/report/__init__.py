"""Tables, figures and the page: of a whole study, or of any table of probabilities."""

from ctbone.errors import ReportError
from ctbone.report.evaluate import evaluate
from ctbone.report.study_report import report

__all__ = ["ReportError", "evaluate", "report"]
