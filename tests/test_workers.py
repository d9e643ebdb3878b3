import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctbone.errors import CohortError, CtboneError, WorkerError
from ctbone.workers import map_cases


def square(number: int) -> int:
    if number == 3:
        raise CohortError("three is bad", case="3", file="x", remedy="choose another")
    if number == 4:
        raise ZeroDivisionError("four")
    return number * number


def die(number: int) -> int:
    if number == 2:
        time.sleep(0.2)
        os._exit(9)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_case_stops_no_other(workers):
    outcomes = {outcome.item: outcome for outcome in map_cases(square, range(6), workers=workers)}
    assert {item: outcome.result for item, outcome in outcomes.items()} == {
        0: 0,
        1: 1,
        2: 4,
        3: None,
        4: None,
        5: 25,
    }
    assert (outcomes[3].error.case, outcomes[3].error.remedy) == ("3", "choose another")
    assert isinstance(outcomes[3].error, CohortError)
    assert "unexpected ZeroDivisionError at square" in str(outcomes[4].error)


def test_an_error_does_not_hold_what_the_item_had_in_memory():
    (outcome,) = map_cases(fail_over, [1], workers=1)
    assert (
        outcome.error.__traceback__ is outcome.error.__cause__ is outcome.error.__context__ is None
    )


def fail_over(number: int) -> int:
    try:
        return square(4)
    except ZeroDivisionError as error:
        raise CohortError(f"{number} is bad") from error


def test_a_process_that_dies_takes_no_other_case_with_it():
    outcomes = {outcome.item: outcome for outcome in map_cases(die, range(5), workers=2)}
    assert {item for item, outcome in outcomes.items() if outcome.error} == {2}
    assert isinstance(outcomes[2].error, WorkerError)


def test_a_dask_cluster_gives_the_same():
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    code = (
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    options = {'n_workers': 1, 'threads_per_worker': 1, 'dashboard_address': None}\n"
        "    with LocalCluster(**options) as cluster:\n"
        "        print(cluster.scheduler_address, flush=True); input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as scheduler:
        address = scheduler.stdout.readline().strip()
        outcomes = {
            outcome.item: outcome for outcome in map_cases(square, range(6), cluster=address)
        }
        scheduler.communicate("\n", timeout=60)
    assert {item: outcome.result for item, outcome in outcomes.items()} == {
        0: 0,
        1: 1,
        2: 4,
        3: None,
        4: None,
        5: 25,
    }


def test_a_scheduler_that_is_not_there_is_named():
    with pytest.raises(CtboneError, match="no Dask scheduler answers"):
        list(map_cases(square, [1], cluster="tcp://127.0.0.1:9"))


SCRIPT = """
import time
from tests.test_workers import square
from ctbone.errors import CtboneError
from ctbone.workers import map_cases

def work():
    print("runs", flush=True)
    try:
        outcomes = map_cases(square, range(6), workers=WORKERS)
        print(sorted(outcome.result or 0 for outcome in outcomes))
    except CtboneError as error:
        print(error)

CALL
"""
GUARDED = "if __name__ == '__main__':\n    work()"


def run_script(tmp_path, call, workers):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("CALL", call).replace("WORKERS", str(workers)))
    return subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize(("call", "workers"), [(GUARDED, 2), ("work()", 1)])
def test_a_script_runs_with_a_main_guard_or_without_processes(tmp_path, call, workers):
    done = run_script(tmp_path, call, workers)
    assert done.stdout.splitlines() == ["runs", "[0, 0, 0, 1, 4, 25]"]


@pytest.mark.parametrize("call", ["work()", "if time.time():\n    work()"])
def test_a_script_without_a_main_guard_starts_no_process(tmp_path, call):
    done = run_script(tmp_path, call, 2)
    assert done.stdout.count("runs") == 1
    line = len(SCRIPT.replace("CALL", call).splitlines())
    assert f"script.py, line {line}" in done.stdout
    assert "if __name__ == '__main__':" in done.stdout
    assert "workers=1" in done.stdout
    assert done.stderr == ""
