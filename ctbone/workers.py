"""Run one function over many items: in this process, in local processes, or on a Dask cluster.

An item that fails does not stop the others: its outcome holds the error.
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

from ctbone.allocator import keep_blocks
from ctbone.errors import CtboneError, WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """The result of one item, or the error that stopped it."""

    item: Item
    result: Result | None
    error: CtboneError | None


def default_workers() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_cases(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int = 1,
    cluster: str | None = None,
    exclusive: bool = False,
    preload: Sequence[str] = (),
) -> Iterator[Outcome[Item, Result]]:
    """Call ``function`` on every item and yield each outcome when it is ready, in no fixed order.

    Parameters
    ----------
    function
        A module-level function; other processes import it by name.
    items
        The argument of each call.
    workers
        Processes on this machine; with 1, the calls run in this process.
    cluster
        Address of a Dask scheduler that distributes the calls instead, such as
        ``tcp://host:8786``.
    exclusive
        Whether each item needs a GPU of its own. If workers of the cluster declare the resource
        ``GPU``, only they get items, one for each GPU declared.
    preload
        Modules that are imported once for all processes, beside that of ``function``: slow imports
        that every process needs. The first call that starts processes loads them; a later call
        cannot add to them.

    Raises
    ------
    WorkerError
        The scheduler at ``cluster`` does not answer or has no workers, or processes are started at
        the top level of a script (see ``require_main_guard``).
    """
    if cluster is not None:
        yield from _over_cluster(function, items, address=cluster, exclusive=exclusive)
    elif workers <= 1 or len(items) <= 1:
        for item in items:
            yield _attempt(function, item)
    else:
        require_main_guard()
        yield from _over_processes(function, items, min(workers, len(items)), preload)


def require_main_guard() -> None:
    """Refuse to start processes from a script's top level outside ``if __name__ == "__main__":``.

    A new process imports the main script. Without the guard it would run the whole script again.

    Raises
    ------
    WorkerError
        The call comes from an unguarded line of the main script.
    """
    line = _line_of_main_script()
    if line is None:
        return
    script = Path(str(sys.modules["__main__"].__file__))
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    guards = [
        node for node in tree.body if isinstance(node, ast.If) and "__name__" in ast.dump(node.test)
    ]
    if not any(guard.lineno <= line <= (guard.end_lineno or line) for guard in guards):
        raise WorkerError(
            "the script starts processes at its top level, and each would run the script again",
            file=f"{script}, line {line}",
            expected="the call inside: if __name__ == '__main__':",
            remedy="add this line above the call and indent what follows, or use workers=1",
        )


def _line_of_main_script() -> int | None:
    """Return the line that the main script is running at its top level; None without a script."""
    main = sys.modules["__main__"]
    if not getattr(main, "__file__", None):
        return None  # an interactive session, a notebook, or python -c: nothing is imported again
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is vars(main) and frame.f_code.co_name == "<module>":
            return frame.f_lineno
        frame = frame.f_back
    return None


def _attempt(function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    try:
        return Outcome(item, function(item), None)
    except CtboneError as error:
        # Causes and tracebacks refer to frames, and frames to the item's arrays: release them.
        error.__cause__ = error.__context__ = None
        return Outcome(item, None, error.with_traceback(None))
    except Exception as error:
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        place = f" at {where.tb_frame.f_code.co_name}:{where.tb_lineno}" if where else ""
        return Outcome(
            item, None, WorkerError(f"unexpected {type(error).__name__}{place}: {error}")
        )


def _attempt_on_cluster(function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    _keep_blocks()
    return _attempt(function, item)


def _keep_blocks() -> None:
    # MiB: enough for the arrays of one case, and little for a Dask worker that others use later.
    keep_blocks(largest=64, together=256)


def _over_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    preload: Sequence[str],
) -> Iterator[Outcome[Item, Result]]:
    left = dict(enumerate(items))
    try:
        with _pool(function, workers, preload) as pool:
            futures = {pool.submit(_attempt, function, item): key for key, item in left.items()}
            for future in as_completed(futures):
                outcome = future.result()
                del left[futures[future]]
                yield outcome
    except BrokenProcessPool:
        # A process died (out of memory, a crash in a codec). Run each remaining item in a process
        # of its own, so that only the item that kills its process is lost.
        for item in left.values():
            try:
                with _pool(function, 1, preload) as pool:
                    outcome = pool.submit(_attempt, function, item).result()
            except BrokenProcessPool:
                error = WorkerError("the worker process died; it may have run out of memory")
                outcome = Outcome(item, None, error)
            yield outcome


def _pool(function: Callable, workers: int, preload: Sequence[str]) -> ProcessPoolExecutor:
    if sys.platform == "win32":
        context = multiprocessing.get_context("spawn")
    else:
        # The fork server imports the function's module once and forks from there: heavy imports
        # are paid once, and no thread of this process is forked while it holds a lock.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([function.__module__, *preload])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)


def _begin_worker() -> None:
    end_with_parent()
    _keep_blocks()


def end_with_parent() -> None:
    """End this worker process, even within a computation, when the process that asked for it ends.

    A worker that computes does not notice a parent that was killed (SIGKILL, out of memory). The
    thread started here waits for the end of a pipe whose other end only the parent holds. Linux's
    ``PR_SET_PDEATHSIG`` does not help: the parent that it watches is the fork server.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end, name="end_with_parent", daemon=True).start()


_WAIT_FOR_WORKERS = 15.0
"""Seconds within which a worker must have joined the Dask scheduler."""


def _over_cluster(
    function: Callable[[Item], Result], items: Sequence[Item], *, address: str, exclusive: bool
) -> Iterator[Outcome[Item, Result]]:
    from distributed import Client
    from distributed import as_completed as finished

    try:
        client = Client(address, timeout="10s")
    except (OSError, TimeoutError, ValueError) as error:
        raise WorkerError(
            "no Dask scheduler answers",
            found=address,
            remedy="start one: dask scheduler; dask worker ADDRESS",
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_WAIT_FOR_WORKERS)
        except TimeoutError as error:
            raise WorkerError(
                "the Dask scheduler has no workers",
                found=f"{address}, no worker within {_WAIT_FOR_WORKERS:.0f} s",
                remedy=f"start one on each machine: dask worker {address}",
            ) from error
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        gpus = any(worker["resources"].get("GPU") for worker in workers)
        resources = {"GPU": 1} if exclusive and gpus else None
        futures = {
            client.submit(
                _attempt_on_cluster, function, item, pure=False, resources=resources
            ): item
            for item in items
        }
        for future, outcome in finished(futures, with_results=True, raise_errors=False):
            if future.status == "finished":
                yield outcome
            else:
                yield Outcome(
                    futures[future], None, WorkerError(f"the worker failed: {future.exception()}")
                )
