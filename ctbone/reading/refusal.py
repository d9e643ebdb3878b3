"""What the server refuses: a code that the page translates, and the HTTP status."""

from __future__ import annotations

from ctbone.errors import ReadingError


class RefusedError(ReadingError):
    """A request that is refused.

    Parameters
    ----------
    code
        Key of the phrase that the reader sees, without ``error_``.
    status
        HTTP status.
    problem
        The same in English, for the log of the server and the command line.
    details
        Values that the phrase quotes.
    """

    def __init__(self, code: str, status: int, problem: str, **details: object) -> None:
        super().__init__(problem)
        self.code = code
        self.status = status
        self.details = details

    def __reduce__(self) -> tuple:
        return (_rebuilt, (self.code, self.status, self.problem, self.details))


def _rebuilt(code: str, status: int, problem: str, details: dict[str, object]) -> RefusedError:
    return RefusedError(code, status, problem, **details)
