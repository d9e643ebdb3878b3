import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from ctbone.cohort import read_cohort
from ctbone.errors import CtboneError
from ctbone.folds import read_folds
from ctbone.models import fold_tables
from ctbone.models.fold_tables import join_fold_tables
from ctbone.predictions import read_predictions
from ctbone.study import Study, read_json, record_of
from ctbone.training import TrainingError, protocol, train, train_folds
from tests.models.small_study import model_of, small_study

CLASSES = ("benign", "malignant")


def made(root, folds=2):
    return small_study(
        root,
        models={"3d": model_of("3d", training={"epochs": 2})},
        folds=folds,
        patients=10 * folds,
    )


@pytest.fixture
def whole(tmp_path):
    """Predictions of folds trained in turn, on one thread."""
    study = made(tmp_path / "whole")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    train(study, "3d")
    torch.set_num_threads(before)
    return study.predictions_csv("3d").read_bytes()


def test_folds_in_parallel_give_the_bytes_of_folds_in_turn(whole, tmp_path):
    study = made(tmp_path / "parallel")
    summary = train_folds(study, "3d", at_once=2, threads=2)
    assert summary.predictions.read_bytes() == whole
    assert [fold.fold for fold in summary.folds] == [0, 1]
    assert summary.missing == ()


def test_the_joined_table_is_written_once_a_command(tmp_path, monkeypatch):
    study, written = made(tmp_path), []
    write = fold_tables.write_predictions

    def counted(path, *rest):
        written.append(path)
        write(path, *rest)

    monkeypatch.setattr(fold_tables, "write_predictions", counted)
    train_folds(study, "3d", at_once=1)
    assert written.count(study.predictions_csv("3d")) == 1
    assert len(written) == 3  # and one table for each of the two folds


def test_folds_over_a_cluster_whose_workers_declare_a_gpu_give_the_same(whole, tmp_path):
    from distributed import Client, LocalCluster

    study = made(tmp_path / "parallel")
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        LocalCluster(n_workers=1, resources={"GPU": 1}, **options) as cluster,
        Client(cluster) as client,
    ):
        summary = train_folds(study, "3d", cluster=cluster.scheduler_address)
        # what declares none gets none: the folds ran where a GPU was declared
        assert {
            worker["resources"]["GPU"] for worker in client.scheduler_info()["workers"].values()
        } == {1}
    assert summary.predictions.read_bytes() == whole


def test_the_error_of_a_fold_is_raised_after_the_others_are_done(tmp_path):
    study = made(tmp_path / "study")
    train(study, "3d", fold=0)
    (study.run_folder("3d", 0) / "card.json").unlink()
    (study.run_folder("3d", 0) / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="damaged"):
        train_folds(study, "3d", at_once=1)
    assert (study.run_folder("3d", 1) / "card.json").is_file()


def test_workers_started_together_train_their_folds_alone(tmp_path, monkeypatch):
    def join():
        raise AssertionError("folds of several workers would become one")

    monkeypatch.setattr(protocol, "join_ranks", join)
    summary = train_folds(made(tmp_path / "study"), "3d")
    assert [fold.fold for fold in summary.folds] == [0, 1]


def test_an_unknown_fold_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="no such fold"):
        train_folds(made(tmp_path), "3d", fold=2)


def test_jobs_that_start_together_do_not_collide(tmp_path):
    """Four jobs, one a fold, start without folds.csv: all use the same folds, no rows are lost."""
    study = made(tmp_path, folds=4)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([train_alone.__module__])
    with ProcessPoolExecutor(4, mp_context=context) as pool:
        errors = list(pool.map(train_alone, [(study, fold) for fold in range(4)]))
    assert errors == [None] * 4
    table = read_predictions(study.predictions_csv("3d"), CLASSES)
    folds = read_folds(study, read_cohort(study))
    assert set(table["fold"]) == {0, 1, 2, 3}
    for fold in range(4):
        tested = table[(table["fold"] == fold) & (table["split"] == "test")]
        assert tuple(tested["case_id"]) == folds.cases(fold, "test")
    assert not list(study.root.rglob(".writing-*"))


def train_alone(job):
    study, fold = job
    torch.set_num_threads(1)
    try:
        train(study, "3d", fold=fold)
    except CtboneError as error:
        return str(error)
    return None


def test_a_fold_finished_during_another_job_s_join_is_not_lost(tmp_path, monkeypatch):
    study = made(tmp_path)
    train(study, "3d")
    card = study.run_folder("3d", 1) / "card.json"
    text = card.read_text()
    card.unlink()
    real = fold_tables.write_predictions

    def late(path, *rest):
        real(path, *rest)
        card.write_text(text)  # the other job finishes now, having joined before

    monkeypatch.setattr(fold_tables, "write_predictions", late)
    join_fold_tables(study, "3d", read_cohort(study))
    assert set(read_predictions(study.predictions_csv("3d"), CLASSES)["fold"]) == {0, 1}
    assert set(read_json(record_of(study.predictions_csv("3d")))["weights"]) == {"fold0", "fold1"}


def test_the_record_of_the_folds_exists_before_the_folds(tmp_path, monkeypatch):
    """A job that starts between the two files must not find folds without their record."""
    from ctbone import folds as module

    study = Study.open(made(tmp_path).root)
    cohort = read_cohort(study)
    real, order = module.write_json, []
    monkeypatch.setattr(
        module, "write_json", lambda *given: (order.append(study.folds_csv.exists()), real(*given))
    )
    assert module.read_or_draw_folds(study, cohort).count == 2
    assert order == [False]
