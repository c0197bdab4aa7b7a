"""The shard runner: resuming, rejects, dead workers, byte identity."""

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from emo_model.data.shards import Item, Reject, Result, Step, run_step
from emo_model.data.store import DataRoot, atomic, sweep
from emo_model.data.workers import Workers, for_a_step
from emo_model.errors import UserError


def _items(root: DataRoot, shard: str) -> list[Item]:
    return [Item(f"v{number}", inputs=f"bytes {number}", payload=number) for number in range(6)]


def _row(item: Item) -> dict:
    times = {"start_s": 0.0, "end_s": 0.3, "is_transition": False}
    return {"video_id": item.key, "shot": 0, "start_frame": 0, "end_frame": 9, **times}


def _work(root: DataRoot, shard: str, item: Item) -> Result:
    with (root.path / "log").open("a") as log:
        log.write(item.key + "\n")
    if item.key == "v3":
        return Result(rejects=(Reject("video", item.key, "no_face"),))
    return Result({"shots": [_row(item)]})


def _slow_work(root: DataRoot, shard: str, item: Item) -> Result:
    result = _work(root, shard, item)
    time.sleep(0.4)
    return result


def _raising_work(root: DataRoot, shard: str, item: Item) -> Result:
    if item.key == "v2":
        raise ValueError("a codec nobody has heard of")
    return _work(root, shard, item)


def _dying_work(root: DataRoot, shard: str, item: Item) -> Result:
    if item.key == "v4":
        os.kill(os.getpid(), signal.SIGKILL)
    return _work(root, shard, item)


@for_a_step
def _model() -> list[str]:
    return []


def _remembering_work(root: DataRoot, shard: str, item: Item) -> Result:
    _model().append(item.key)
    time.sleep(0.3)  # long enough for both processes to have their share
    with (root.path / "log").open("a") as log:
        log.write(f"{os.getpid()} {_step_of(shard)} {len(_model())}\n")
    return Result({"shots": [_row(item)]})


def _step_of(shard: str) -> str:
    return "one" if shard == "s0000" else "two"


def _full_disk_work(root: DataRoot, shard: str, item: Item) -> Result:
    if item.key == "v0":
        raise OSError(errno.ENOSPC, "No space left on device")
    time.sleep(60)
    return Result()


SLOW_RUN = (
    "import sys; from pathlib import Path; from tests.model.data import test_shards as t\n"
    "t.run_step(t.replace(t.STEP, work=t._slow_work), t.DataRoot(Path(sys.argv[1])), 's0000')"
)
STEP = Step("shot_cuts", 1, ("shots",), (), "for the test", _items, _work)


@pytest.fixture
def root(tmp_path) -> DataRoot:
    return DataRoot(tmp_path).create()


def _bytes(root: DataRoot) -> dict[str, bytes]:
    return {str(path.relative_to(root.path)): path.read_bytes() for path in root.path.rglob("*.parquet")}


def test_rows_and_rejects_are_written_and_a_second_run_redoes_nothing(root):
    first = run_step(STEP, root, "s0000")
    assert (first.rows, first.rejects, first.done) == ({"shots": 5}, {"no_face": 1}, 6)
    before = _bytes(root)
    second = run_step(STEP, root, "s0000")
    assert (second.done, second.kept, second.data_version) == (0, 6, first.data_version)
    assert _bytes(root) == before


def test_a_new_step_version_redoes_all_and_equal_rows_keep_the_data_version(root):
    first = run_step(STEP, root, "s0000")
    second = run_step(replace(STEP, version=2), root, "s0000")
    assert second.done == 6
    assert second.data_version == first.data_version


def test_a_changed_input_redoes_only_its_video(root):
    run_step(STEP, root, "s0000")
    changed = [*_items(root, "s0000")[:-1], Item("v5", inputs="other bytes")]
    again = run_step(replace(STEP, items=lambda *_: changed), root, "s0000")
    assert (again.done, again.kept) == (1, 5)


def test_a_video_taken_out_takes_its_rows_along(root):
    run_step(STEP, root, "s0000")
    fewer = run_step(replace(STEP, items=lambda *args: _items(*args)[:2]), root, "s0000")
    assert fewer.rows == {"shots": 2}
    assert run_step(STEP, root, "s0000").done == 4


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unexpected_error_is_a_reject_not_a_failed_shard(root, workers):
    report = run_step(replace(STEP, work=_raising_work), root, "s0000", workers=workers)
    assert report.rejects == {"no_face": 1, "step_failed": 1}
    details = [row["detail"] for row in root.read("rejected").to_pylist() if row["reason"] == "step_failed"]
    assert details == ["ValueError: a codec nobody has heard of"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_rejects_its_video_and_loses_no_other(root, workers):
    report = run_step(replace(STEP, work=_dying_work), root, "s0000", workers=workers)
    assert report.rows == {"shots": 4}
    assert report.rejects == {"no_face": 1, "step_failed": 1}


def test_one_set_of_processes_serves_all_steps_and_forgets_the_models_of_the_last(root):
    with Workers(2) as workers:
        reports = [
            run_step(replace(STEP, name=name, work=_remembering_work), root, f"s{number:04d}", workers=workers)
            for number, name in enumerate(("one", "two", "two"))
        ]
    assert [report.done for report in reports] == [6, 6, 6]
    seen = [line.split() for line in (root.path / "log").read_text().splitlines()]
    assert len({process for process, *_ in seen}) <= 2
    for process, step, _ in seen:  # two shards of step "two" share what was loaded, "one" leaves nothing to it
        counts = [int(count) for who, what, count in seen if (who, what) == (process, step)]
        assert counts == list(range(1, len(counts) + 1))


def test_a_death_costs_its_video_and_the_next_step_finds_workers_again(root):
    with Workers(2) as workers:
        first = run_step(replace(STEP, work=_dying_work), root, "s0000", workers=workers)
        second = run_step(STEP, root, "s0001", workers=workers)
        for process in multiprocessing.active_children():  # as the kernel does, out of memory, between two steps
            process.kill()
        third = run_step(STEP, root, "s0002", workers=workers)
    assert first.rejects == {"no_face": 1, "step_failed": 1}
    assert second.rows == third.rows == {"shots": 5}
    assert not multiprocessing.active_children()


def test_an_error_of_the_disk_ends_the_step_at_once_with_no_worker_left_busy(root):
    with Workers(2) as workers:
        started = time.monotonic()
        with pytest.raises(UserError, match="s0000: cannot read or write below"):
            run_step(replace(STEP, work=_full_disk_work), root, "s0000", workers=workers)
        assert time.monotonic() - started < 20  # the other videos would take a minute each
        assert run_step(STEP, root, "s0000", workers=workers).rows == {"shots": 5}


def test_processes_end_with_a_program_that_never_closed_them(root):
    code = (
        "import sys; from pathlib import Path; from tests.model.data import test_shards as t\n"
        "w = t.Workers(2); t.run_step(t.STEP, t.DataRoot(Path(sys.argv[1])), 's0000', workers=w)\n"
        "print(*[p.pid for p in t.multiprocessing.active_children()])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root.path)], capture_output=True, text=True, timeout=60)
    assert len(done.stdout.split()) == 2 and done.returncode == 0, done.stderr
    assert not [pid for pid in done.stdout.split() if Path("/proc", pid).exists()]


def test_a_video_whose_step_failed_is_tried_again_by_the_next_run(root):
    run_step(replace(STEP, work=_raising_work), root, "s0000")
    report = run_step(STEP, root, "s0000")
    assert (report.done, report.rejects) == (1, {"no_face": 1})


def test_killed_in_the_middle_a_rerun_does_only_the_rest_and_gives_the_same_bytes(root, tmp_path_factory):
    whole = DataRoot(tmp_path_factory.mktemp("whole")).create()
    run_step(STEP, whole, "s0000")
    process = subprocess.Popen([sys.executable, "-c", SLOW_RUN, str(root.path)])
    while not (root.path / "log").exists() or len((root.path / "log").read_text().split()) < 3:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    process.kill()
    process.wait()
    report = run_step(STEP, root, "s0000")
    assert 3 <= report.done <= 4  # two were whole, the third was under way
    assert _bytes(root) == _bytes(whole)


def test_a_reason_outside_the_closed_list_is_refused():
    with pytest.raises(ValueError, match="reason must be one of"):
        Reject("video", "v", "because")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_random_kills_change_no_byte(root, tmp_path_factory, seed):
    whole = DataRoot(tmp_path_factory.mktemp("whole")).create()
    run_step(STEP, whole, "s0000")
    moments = random.Random(seed)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", SLOW_RUN, str(root.path)])
        time.sleep(moments.uniform(0.7, 3.5))  # from before the first item to after the last
        process.kill()
        process.wait()
    run_step(STEP, root, "s0000")
    assert _bytes(root) == _bytes(whole)


def test_what_a_killed_process_left_half_written_is_swept_and_nothing_else(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with atomic(tmp_path / "film.mp4") as temporary:
        temporary.touch()
        left = [temporary.name.replace(f"{os.getpid()}", f"{gone.pid}")]
        left += [left[0].replace("film", "catalog").replace(".mp4", ".duckdb.wal")]
        old = [f".film.another-machine-{gone.pid}.mp4"]
        kept = [temporary.name, f".film.another-machine-{os.getpid()}.mp4", ".lock", "a.1"]
        for name in (*left, *old, *kept):
            (tmp_path / name).touch()
        os.utime(tmp_path / old[0], (0, 0))
        sweep(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == set(kept)
