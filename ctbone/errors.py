"""Errors that a user can correct: case, file, value found, value expected, remedy."""

from __future__ import annotations

from pathlib import Path


class CtboneError(Exception):
    """An error that the user can correct; the command line prints it without a traceback.

    Parameters
    ----------
    problem
        What is wrong, one sentence without a full stop.
    case
        The ``case_id`` it concerns.
    file
        The file or folder it was found in.
    found, expected
        The wrong value, and what is expected in its place.
    remedy
        What the user can do about it.

    Examples
    --------
    >>> print(CtboneError("the mask is empty", case="P012", file="P012.nii", remedy="draw it"))
    case P012: the mask is empty
      file:     P012.nii
      remedy:   draw it
    """

    def __init__(
        self,
        problem: str,
        *,
        case: str | None = None,
        file: str | Path | None = None,
        found: object = None,
        expected: object = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.case = case
        self.file = None if file is None else str(file)
        self.found = None if found is None else str(found)
        self.expected = None if expected is None else str(expected)
        self.remedy = remedy

    def __str__(self) -> str:
        head = f"case {self.case}: {self.problem}" if self.case else self.problem
        details = [
            ("file", self.file),
            ("found", self.found),
            ("expected", self.expected),
            ("remedy", self.remedy),
        ]
        return "\n".join(
            [head, *(f"  {name + ':':<9} {value}" for name, value in details if value)]
        )

    def __reduce__(self) -> tuple:
        # Worker processes return errors by pickle, which drops keyword arguments by default.
        return (
            _rebuild,
            (
                type(self),
                self.problem,
                self.case,
                self.file,
                self.found,
                self.expected,
                self.remedy,
            ),
        )


def _rebuild(
    kind: type[CtboneError],
    problem: str,
    case: str | None,
    file: str | None,
    found: str | None,
    expected: str | None,
    remedy: str | None,
) -> CtboneError:
    return kind(problem, case=case, file=file, found=found, expected=expected, remedy=remedy)


class ConfigError(CtboneError):
    """The settings of a study are not valid."""


class StudyError(CtboneError):
    """The study folder, or a table in it, is not valid."""


class CohortError(CtboneError):
    """The cohort table is not valid."""


class PredictionError(CtboneError):
    """A table of probabilities is not valid."""


class ScoreError(CtboneError):
    """A score is not on the scale, or its case is not in the cohort."""


class ReaderStudyError(CtboneError):
    """The readings do not make a reader study, or its analysis cannot be made."""


class FoldError(CtboneError):
    """The folds cannot be drawn, or belong to another cohort."""


class WorkerError(CtboneError):
    """An unexpected error in a worker process, or the process died or cannot be started."""


class LockError(CtboneError):
    """Another process works on the same fold or case."""


class NiftiError(CtboneError):
    """A NIfTI file is damaged, or its geometry is not that of a volume in mm."""


class PhantomError(CtboneError):
    """A synthetic patient or cohort cannot be made with these settings."""


class DicomError(CtboneError):
    """No series of a folder is a valid volume in HU. Messages never quote the file's text."""


class PacsError(CtboneError):
    """An archive cannot be asked, or does not send what it lists. Messages hold no patient data."""


class DicomOutError(CtboneError):
    """An answer cannot be written as DICOM objects. Messages never quote the file's text."""


class PreprocessError(CtboneError):
    """No crop can be made from a volume and its mask."""


class RadiographError(CtboneError):
    """A radiograph or its region cannot be read, or they do not belong together."""


class CustodyError(CtboneError):
    """A file of the study does not belong to what it was made from."""


class ModelError(CtboneError):
    """A network, its weights or its inputs do not match the settings."""


class TrainingError(CtboneError):
    """A network cannot be trained with these settings."""


class InferenceError(CtboneError):
    """The ensemble cannot predict the external cases."""


class FusionError(CtboneError):
    """The parts of a fusion do not match, or its weights cannot be fitted."""


class ReleaseError(CtboneError):
    """A model file is damaged or not trustworthy, or cannot be made or applied."""


class StatsError(CtboneError):
    """The input of a statistic is not valid."""


class ReportError(CtboneError):
    """There are no results to report, or they contradict each other."""


class ReadingError(CtboneError):
    """The reader study cannot be opened, or does not allow what was asked."""


class AuditError(CtboneError):
    """There is no audit of the study as it stands, or it cannot be made."""


class ExplainError(CtboneError):
    """No map can be drawn of these cases with this network, layer or method."""
