"""Progress of long work on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS_BETWEEN_LINES = 5.0
_lines_only = False


class Progress:
    """Number of finished steps, shown with a note on the latest one."""

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.done = 0

    def advance(self, note: str = "", steps: int = 1) -> None:
        """Count ``steps`` as done and show ``note`` beside the bar."""
        self.done += steps
        self._show(note)

    def _show(self, note: str) -> None: ...


class _Bar(Progress):
    def __init__(self, title: str, total: int) -> None:
        super().__init__(title, total)
        from rich import progress
        from rich.console import Console

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", style="bold"),
            progress.BarColumn(bar_width=32),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=Console(stderr=True),
        )
        self._bar.start()
        self._task = self._bar.add_task(title, total=total, note="")

    def _show(self, note: str) -> None:
        self._bar.update(self._task, completed=self.done, note=note)

    def close(self) -> None:
        self._bar.stop()


class _Lines(Progress):
    def __init__(self, title: str, total: int) -> None:
        super().__init__(title, total)
        self._started = self._last = time.monotonic()

    def _show(self, note: str) -> None:
        now = time.monotonic()
        if self.done < self.total and now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        line = f"{self.title}  {self.done}/{self.total}  {now - self._started:.0f} s  {note}"
        print(line.rstrip(), file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


def use_lines() -> None:
    """Show progress as lines from now on, for processes that share one terminal."""
    global _lines_only
    _lines_only = True


@contextmanager
def progress(title: str, total: int, *, shown: bool = True) -> Iterator[Progress]:
    """Show the progress of ``total`` steps on standard error.

    Parameters
    ----------
    title
        The text before the bar.
    total
        The number of steps.
    shown
        False shows nothing, for example where another process shows the progress.

    Examples
    --------
    >>> with progress("Preprocess", total=2) as bar:
    ...     for case in ("P1", "P2"):
    ...         bar.advance(note=case)
    """
    if not shown:
        yield Progress(title, total)
        return
    bar = _Bar(title, total) if sys.stderr.isatty() and not _lines_only else _Lines(title, total)
    try:
        yield bar
    finally:
        bar.close()
