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
        return "\n".join([head, *(f"  {name + ':':<9} {value}" for name, value in details if value)])

    def __reduce__(self) -> tuple:
        # Worker processes send their errors home by pickle, which would otherwise drop the keyword arguments.
        return (
            _rebuild,
            (type(self), self.problem, self.case, self.file, self.found, self.expected, self.remedy),
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
