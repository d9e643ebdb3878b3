"""An audit of the study as it stands: duplicates, shortcuts, give-away columns, folds, controls."""

from ctbone.auditing.study_audit import audit

__all__ = ["audit"]
