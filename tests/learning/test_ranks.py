import pytest
import torch

from ctbone.errors import TrainingError
from ctbone.learning.ranks import Ranks, is_rank_0, join_ranks


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_sample_is_in_the_share_of_one_process(count):
    for part in (slice(0, 20), slice(20, 29), slice(40, 43)):
        shares = [Ranks(rank=rank, count=count).share(part) for rank in range(count)]
        taken = [place for share in shares for place in range(share.start, share.stop)]
        assert taken == list(range(part.start, part.stop))
        sizes = [share.stop - share.start for share in shares]
        assert max(sizes) - min(sizes) <= 1


def test_a_batch_job_of_several_tasks_without_srun_is_one_process(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert join_ranks.__wrapped__().count == 1


def test_more_processes_than_visible_gpus_are_an_error(monkeypatch):
    for name, value in {
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_PROCID": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match="more processes than visible GPUs") as caught:
        join_ranks.__wrapped__()
    assert caught.value.found == "2 processes on a machine, 1 GPUs"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"RANK": "0"}, True),
        ({"RANK": "1"}, False),
        ({"SLURM_PROCID": "1"}, True),  # a batch job without srun
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, False),
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}, True),
    ],
)
def test_rank_0_is_found_in_the_environment(monkeypatch, environment, expected):
    for name in ("RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_rank_0() == expected
