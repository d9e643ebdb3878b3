"""The manuscript kit: Methods and Results of a study in words, tables and figures.

It reads ``report/metrics.json`` and the report's figures, and nothing else of the study, so every
number of the text is a field of that file.
"""

from ctbone.manuscript.kit import Kit, write_manuscript

__all__ = ["Kit", "write_manuscript"]
