"""The errors that a user can mend: each names the case, the file, what was found, what was expected, and the remedy."""

from __future__ import annotations

from pathlib import Path


class CtboneError(Exception):
    """A mistake in the input, told so that the user can mend it; the command line prints it without a traceback.

    Parameters
    ----------
    problem
        What is wrong, one sentence without a full stop.
    case
        The ``case_id`` it concerns.
    file
        The file or folder it was found in.
    found, expected
        The offending value and what should have stood there.
    remedy
        What the user can do about it.

    Examples
    --------
    >>> print(CtboneError("the mask is empty", case="P012", file="masks/P012.nii.gz", remedy="draw the lesion"))
    case P012: the mask is empty
      file:     masks/P012.nii.gz
      remedy:   draw the lesion
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
        # Worker processes send their errors home by pickle, which would otherwise drop the keyword arguments.
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
    """The settings of a study are wrong."""


class StudyError(CtboneError):
    """The study folder, or a table in it, is not what a stage expects."""


class CohortError(CtboneError):
    """The cohort table, the folds or the scores do not fit."""


class PredictionError(CtboneError):
    """A table of probabilities is not what the next stage can trust."""


class ScoreError(CtboneError):
    """A score is not on the scale, or not of a case of the cohort."""


class FoldError(CtboneError):
    """The folds cannot be drawn, or do not belong to this cohort."""


class WorkerError(CtboneError):
    """A case broke in a way that no stage foresaw, or its process died."""


class NiftiError(CtboneError):
    """A NIfTI file is damaged, or its geometry is not that of a volume in mm."""


class PhantomError(CtboneError):
    """A synthetic patient or cohort cannot be made as asked."""


class DicomError(CtboneError):
    """A folder holds no series that can be trusted as a volume in HU; no message quotes a file's text."""


class PreprocessError(CtboneError):
    """A volume or a mask from which no crop can be made."""


class ModelError(CtboneError):
    """A network, its weights or what it is fed is not what the settings ask for."""


class TrainingError(CtboneError):
    """A network cannot be trained as the settings ask."""


class InferenceError(CtboneError):
    """The ensemble cannot answer for the external cases."""


class FusionError(CtboneError):
    """The parts of a fusion do not fit together, or its weights cannot be found."""


class StatsError(CtboneError):
    """The numbers handed to a statistic cannot be what they claim to be."""


class ReportError(CtboneError):
    """There is nothing to report on, or it does not fit together."""
