"""Several folds in parallel, in processes of this machine or in workers of a Dask cluster."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import suppress
from dataclasses import dataclass

import torch

from ctbone.cohort import read_cohort
from ctbone.errors import CtboneError, TrainingError
from ctbone.folds import read_or_draw_folds
from ctbone.learning.ranks import Ranks
from ctbone.learning.tracking import Log
from ctbone.models.fold_tables import join_fold_tables
from ctbone.models.training_key import model_settings
from ctbone.progress import use_lines
from ctbone.study import Study
from ctbone.training.protocol import FoldSummary, TrainingSummary, chosen_folds, summary_of, train
from ctbone.workers import map_cases

_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class FoldJob:
    """One fold of one model: the unit of work of a worker.

    Attributes
    ----------
    study, model, fold
        The study, and the names of model and fold.
    threads
        Threads to compute with; None: as many as its Dask worker has.
    log
        Tracker of the epochs.
    notes
        Whether this fold prints the notes of the whole run.
    """

    study: Study
    model: str
    fold: int
    threads: int | None
    log: Log
    notes: bool


def train_folds(
    study: Study,
    model: str,
    *,
    fold: int | None = None,
    at_once: int = 1,
    threads: int = 1,
    cluster: str | None = None,
    log: Log = "none",
) -> TrainingSummary:
    """Train the folds of a model in parallel; each ends as with ``train``.

    Parameters
    ----------
    study, model, fold, log
        As for ``train``.
    at_once
        Folds that train at the same time on this machine, each in a process of its own. The
        processes take the GPUs in turn; with more processes than GPUs, several share one.
    threads
        Threads of this machine, which the folds share.
    cluster
        Address of a Dask scheduler that gets the folds instead. If workers declare GPUs
        (``--resources GPU=1``), only they get folds, one for each GPU declared. All workers see
        the study folder under the same path.

    Raises
    ------
    TrainingError, ModelError, CohortError, FoldError, StudyError, LockError
        As ``train``, after the other folds are done.
    WorkerError
        The scheduler does not answer or has no workers, or a process died.
    """
    model_settings(study.settings, model)
    chosen = chosen_folds(study, fold)
    cohort = read_cohort(study)
    read_or_draw_folds(study, cohort)
    share = None if cluster else max(1, threads // at_once)
    jobs = [
        FoldJob(
            study=study,
            model=model,
            fold=number,
            threads=share,
            log=log,
            notes=number == chosen[0],
        )
        for number in chosen
    ]
    outcomes = list(map_cases(_train_one, jobs, workers=at_once, cluster=cluster, exclusive=True))
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if errors:
        with suppress(CtboneError):  # the table still gets the folds that were finished
            join_fold_tables(study, model, cohort)
        raise errors[0]
    folds = [outcome.result for outcome in outcomes if outcome.result is not None]
    return summary_of(study, model, folds=sorted(folds, key=lambda one: one.fold), cohort=cohort)


def _train_one(job: FoldJob) -> FoldSummary:
    use_lines()
    with _ONE_AT_A_TIME:  # a Dask worker has threads, and PyTorch one global random state
        before = torch.get_num_threads()
        torch.set_num_threads(job.threads or _worker_threads())
        try:
            _take_gpu()
            alone = Ranks()  # even if a batch system started several workers together
            (summary,) = train(
                job.study,
                job.model,
                fold=job.fold,
                log=job.log,
                ranks=alone,
                notes=job.notes,
                join=False,
            ).folds
        finally:
            torch.set_num_threads(before)
    return summary


def _take_gpu() -> None:
    """Use the GPUs in turn in the processes of a pool; a Dask worker uses the one it sees."""
    number = multiprocessing.current_process().name.rpartition("-")[2]
    if torch.cuda.is_available() and number.isdecimal():
        torch.cuda.set_device(int(number) % torch.cuda.device_count())


def _worker_threads() -> int:
    from distributed import get_worker

    try:
        return int(get_worker().state.nthreads)
    except ValueError as error:
        raise TrainingError("the number of threads is unknown: not in a Dask worker") from error
