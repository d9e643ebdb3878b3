"""The same function over many cases: in this process, over local processes, or over a Dask cluster.

One bad case stops no other: what a case raises comes back in its place.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from ctbone.allocator import keep_blocks
from ctbone.errors import CtboneError, WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: its result, or the error that stopped it."""

    item: Item
    result: Result | None
    error: CtboneError | None


def map_cases(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int = 1,
    cluster: str | None = None,
    exclusive: bool = False,
    preload: Sequence[str] = (),
) -> Iterator[Outcome[Item, Result]]:
    """Run ``function`` on every item and yield each outcome as it comes, in no fixed order.

    Parameters
    ----------
    function
        A function of a module (it must be importable by name in another process).
    items
        What it is called with, one at a time.
    workers
        Processes on this machine; 1 runs in this process.
    cluster
        Address of a Dask scheduler that gets the work instead, such as ``tcp://host:8786``.
    exclusive
        Whether an item needs a GPU for itself: where workers of the cluster declare ``GPU``, only they get items, one
        for each GPU declared.
    preload
        Modules that are imported once for all processes, beside that of ``function``: slow imports
        that every process needs. The first call that starts processes loads them; a later call
        cannot add to them.

    Raises
    ------
    WorkerError
        The scheduler at ``cluster`` does not answer.
    """
    if cluster is not None:
        yield from _over_cluster(function, items, cluster, exclusive)
    elif workers <= 1 or len(items) <= 1:
        for item in items:
            yield _attempt(function, item)
    else:
        yield from _over_processes(function, items, min(workers, len(items)), preload)


def _attempt(function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    try:
        return Outcome(item, function(item), None)
    except CtboneError as error:
        error.__cause__ = error.__context__ = (
            None  # they hold on to all that the item had in memory
        )
        return Outcome(item, None, error.with_traceback(None))
    except Exception as error:
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        place = f" at {where.tb_frame.f_code.co_name}:{where.tb_lineno}" if where else ""
        return Outcome(
            item, None, WorkerError(f"unforeseen {type(error).__name__}{place}: {error}")
        )


def _attempt_there(function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    _keep_blocks()
    return _attempt(function, item)


def _keep_blocks() -> None:
    keep_blocks(
        largest=64, together=256
    )  # enough for a case, and little for a worker that is another's tomorrow


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
        # A process died (out of memory, a crash in a codec): the others go on, each now alone with its process.
        for item in left.values():
            try:
                with _pool(function, 1, preload) as pool:
                    outcome = pool.submit(_attempt, function, item).result()
            except BrokenProcessPool:
                outcome = Outcome(
                    item, None, WorkerError("the process died; is the memory enough?")
                )
            yield outcome


def _pool(function: Callable, workers: int, preload: Sequence[str]) -> ProcessPoolExecutor:
    if sys.platform == "win32":
        context = multiprocessing.get_context("spawn")
    else:
        # The server imports the function's module once and forks from there: heavy imports are paid once,
        # and no thread of this process is forked with its locks held.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([function.__module__, *preload])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_keep_blocks)


def _over_cluster(
    function: Callable[[Item], Result], items: Sequence[Item], address: str, exclusive: bool
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
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        needs = (
            {"GPU": 1}
            if exclusive and any(worker["resources"].get("GPU") for worker in workers)
            else None
        )
        futures = {
            client.submit(_attempt_there, function, item, pure=False, resources=needs): item
            for item in items
        }
        for future, outcome in finished(futures, with_results=True, raise_errors=False):
            if future.status == "finished":
                yield outcome
            else:
                yield Outcome(
                    futures[future], None, WorkerError(f"the worker failed: {future.exception()}")
                )
