"""Through the real webserver and daemon, as from the UI: a shard, the dataset, training, evaluation, then the schedule.

Every request is one the UI sends; runs are queued, launched as processes and monitored by the daemon.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HOME = Path(__file__).resolve().parents[2]
STAGES = ("image", "video", "speed")
STEPS = 3
TRAINING = {f"{stage}_checkpoint": {"config": {"steps": STEPS, "batch_size": 1}} for stage in STAGES}
SHORT = {"config": {"clips": 2, "seconds": 0.8, "steps": 2, "guidance": "1"}}
EVALUATION = {name: SHORT for name in ("generated_videos", "speed_ablation", "face_region_ablation")}
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } } }"""
RUNS = "{ runsOrError { ... on Runs { results { runId status jobName tags { key value } } } } }"
TICKS = """query($on: ScheduleSelector!) { scheduleOrError(scheduleSelector: $on) {
    ... on Schedule { scheduleState { ticks { status skipReason runIds } } } } }"""
START = """mutation($on: ScheduleSelector!) { startSchedule(scheduleSelector: $on) {
    __typename ... on PythonError { message } } }"""
ASSETS = "{ assetNodes { assetKey { path } assetMaterializations(limit: 1) { runId } } }"
TERMINATE = """mutation($run: String!) { terminateRun(runId: $run) {
    __typename ... on PythonError { message } ... on TerminateRunFailure { message } } }"""
AGAIN = """mutation($run: String!) {
    launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: FROM_FAILURE}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
PLACE = {"repositoryLocationName": "tests.pipeline.every_minute", "repositoryName": "__repository__"}


class Server:
    """A running `dagster dev`."""

    def __init__(self, port: int, data: Path) -> None:
        self.url, self.data = f"http://127.0.0.1:{port}/graphql", data

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]

    def launch(self, job: str, ops: dict[str, Any] | None = None, partition: str | None = None) -> None:
        """Launch a job and wait until it has succeeded."""
        self.succeeds(self.launched(job, ops, partition))

    def launched(self, job: str, ops: dict[str, Any] | None = None, partition: str | None = None) -> str:
        """Launch a job; the run's id."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        params = {
            "selector": {**PLACE, "pipelineName": job},
            "runConfigData": {"ops": ops or {}},
            "executionMetadata": {"tags": tags},
        }
        launched = self.ask(LAUNCH, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def runs(self) -> dict[str, dict[str, Any]]:
        return {run["runId"]: run for run in self.ask(RUNS)["runsOrError"]["results"]}

    def succeeds(self, run_id: str) -> None:
        assert self.ends(run_id) == "SUCCESS", self.runs()[run_id]

    def ends(self, run_id: str) -> str:
        """Wait for a run; its last status."""
        wait(lambda: self.runs()[run_id]["status"] in ("SUCCESS", "FAILURE", "CANCELED"), 600)
        return self.runs()[run_id]["status"]

    def ticks(self) -> list[dict[str, Any]]:
        """The schedule's finished ticks, the newest first."""
        on = {**PLACE, "scheduleName": "weekly_retrain"}
        ticks = self.ask(TICKS, on=on)["scheduleOrError"]["scheduleState"]["ticks"]
        return [tick for tick in ticks if tick["status"] != "STARTED"]

    def made_by(self) -> dict[str, str]:
        """Asset -> the run of its newest materialization."""
        return {
            node["assetKey"]["path"][0]: node["assetMaterializations"][0]["runId"]
            for node in self.ask(ASSETS)["assetNodes"]
            if node["assetMaterializations"]
        }


def wait(until: Callable[[], Any], seconds: float) -> Any:
    """What `until` gives as soon as it is true; an AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := until():
            return found
        time.sleep(2)
    raise AssertionError(f"nothing came within {seconds} s")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rendered people, one folder each; the last is kept back."""
    from emo_model import samples
    from emo_model.talking_set import render_set

    here = Path(os.environ.get("EMO_SAMPLES", "data/samples"))
    people = {name: path for name, path in samples.people(here).items() if name != "carphone"}
    if not all(path.exists() for path in people.values()):
        pytest.skip("no sample media; run: make setup")
    folder = tmp_path_factory.mktemp("media")
    render_set(folder, people=people, voices=[here / "voices/silero_test.wav"], videos=1, seconds=3.4)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Iterator[Server]:
    """`dagster dev` with its daemon, on an instance and a data root of its own."""
    home, data = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("data")
    shutil.copy(HOME / "dagster_home" / "dagster.yaml", home)
    shutil.copytree(media / "astronaut", data / "0_raw" / "astronaut")
    shutil.copytree(media / "ben", data / "0_raw" / "ben")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"DAGSTER_HOME": str(home), "EMO_DATA": str(data)}
    module = ["-m", "tests.pipeline.every_minute", "--port", str(port), "--host", "127.0.0.1"]
    with (home / "dev.log").open("w") as log:
        dev = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", *module], cwd=HOME, env=environment, stdout=log, stderr=log
        )
        found = Server(port, data)
        try:
            wait(lambda: _answers(found), 180)
            yield found
        finally:
            dev.send_signal(2)
            try:
                dev.wait(60)
            except subprocess.TimeoutExpired:
                dev.kill()


def _answers(server: Server) -> bool:
    try:
        return bool(server.ask("{ version }"))
    except OSError:
        return False


@pytest.mark.long
def test_a_shard_then_training_then_evaluation_from_the_ui(server: Server) -> None:
    server.launch("register_sources")
    server.launch("ingest_shard", partition="s0000")
    server.launch("build_dataset")
    server.launch("train_all", TRAINING)
    server.launch("evaluate", EVALUATION)
    made = server.made_by()
    assert {f"{stage}_checkpoint" for stage in STAGES} | {"clip_rows", "comparison_table", "champion_model"} <= set(
        made
    )


@pytest.mark.long
def test_a_training_cancelled_in_the_ui_and_run_again_goes_on_where_it_was(server: Server) -> None:
    """After the test above: a second training, cancelled in mid-stage, then "Re-execute from failure"."""
    from emo_pipeline.tracking import Tracking

    steps = 120
    image = {"image_checkpoint": {"config": {"steps": steps, "batch_size": 1}}}
    first = server.launched("train_all", TRAINING | image)
    folder = server.data / "6_checkpoints" / "image" / first
    progress = folder / "progress.jsonl"
    wait(lambda: progress.exists() and len(progress.read_text().splitlines()) >= 10, 240)
    assert server.ask(TERMINATE, run=first)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    assert server.ends(first) == "CANCELED"
    before = progress.read_text()
    (saved,) = (folder / "checkpoints").glob("step-*")
    assert int(saved.name.removeprefix("step-")) == len(before.splitlines()) < steps

    again = server.ask(AGAIN, run=first)["launchRunReexecution"]
    assert again["__typename"] == "LaunchRunSuccess", again
    server.succeeds(again["run"]["runId"])
    assert progress.read_text().startswith(before)  # with its seconds: no step was made twice
    tracked = Tracking(folder=str(server.data)).run("image_checkpoint", first)
    found = tracked.client.search_runs([tracked.experiment_id], f"tags.`dagster.root_run_id` = '{first}'")
    assert sorted(run.data.tags["dagster.asset"] for run in found) == sorted(f"{stage}_checkpoint" for stage in STAGES)
    steps_logged = [point.step for point in tracked.client.get_metric_history(tracked.run_id, "loss")]
    assert steps_logged == list(range(1, steps + 1))


@pytest.mark.long
def test_the_schedule_retrains_when_a_new_person_came_and_only_then(server: Server, media: Path) -> None:
    """After the test above, whose model is evaluated first: one that is not would be a reason to run. Then nothing is
    new, and a tick says so. Then a third person arrives."""
    server.launch("evaluate", EVALUATION)
    before = server.made_by()
    on = {**PLACE, "scheduleName": "weekly_retrain"}
    assert server.ask(START, on=on)["startSchedule"]["__typename"] == "ScheduleStateResult"
    first = wait(server.ticks, 150)[-1]
    assert first["status"] == "SKIPPED" and "unchanged since the last training" in first["skipReason"]
    shutil.copytree(media / "actress", server.data / "0_raw" / "actress")
    server.launch("register_sources")
    server.launch("ingest_shard", partition="s0000")
    (run_id,) = wait(lambda: next((tick["runIds"] for tick in server.ticks() if tick["runIds"]), None), 150)
    server.succeeds(run_id)
    after = server.made_by()
    for asset in (*(f"{stage}_checkpoint" for stage in STAGES), "generated_videos", "champion_model"):
        assert after[asset] == run_id != before[asset], asset
    folder = server.data / "6_checkpoints" / "video" / run_id
    assert json.loads((folder / "summary.json").read_text())["steps"] == STEPS  # what the launchpad had chosen
    wait(lambda: any(t["status"] == "SKIPPED" for t in server.ticks()[:1]), 150)  # and then rests again
