"""weekly_retrain: it runs when the training data changed, and otherwise says why it does not; the nightly catalog."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest

from emo_model.data.policy import make_own, policy
from emo_model.data.store import DataRoot
from emo_pipeline import schedules
from emo_pipeline.schedules import RETRAINED, nightly_evaluation, retrain_config, weekly_retrain
from emo_pipeline.versions import POLICY_HASH
from tests.pipeline.conftest import report
from tests.pipeline.test_checks import SUMMARY

RUN = "00000000-0000-0000-0000-000000000001"
MONDAY = datetime(2026, 11, 23, 4, tzinfo=UTC)
ONE, TWO = "train_manifest_stage1", "train_manifest_stage2"


def night(defs: dg.Definitions, instance: dg.DagsterInstance) -> tuple[list[dict], str]:
    """(run configuration of every run that nightly_evaluation asks for, reason for none)."""
    with dg.build_schedule_context(
        instance, scheduled_execution_time=MONDAY, repository_def=defs.get_repository_def()
    ) as context:
        found = nightly_evaluation.evaluate_tick(context)
    return [request.run_config for request in found.run_requests or []], found.skip_message or ""


def test_the_newest_checkpoint_is_evaluated_at_night_once(defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
    assert night(defs, instance) == ([], "no checkpoint yet: launch train_all first")
    report(instance, "speed_checkpoint")
    assert night(defs, instance)[0] == [{"ops": {}}]
    report(instance, "champion_model")
    assert night(defs, instance) == ([], "the newest checkpoint has been evaluated")
    report(instance, "speed_checkpoint", "2")
    run = instance.create_run_for_job(defs.resolve_job_def("evaluate"), status=dg.DagsterRunStatus.STARTED)
    assert f"evaluate is under way (run {run.run_id[:8]})" in night(defs, instance)[1]


def tick(defs: dg.Definitions, instance: dg.DagsterInstance) -> tuple[int, str]:
    """(runs asked for, reason for none). Every run asked for stops by itself where its manifests come out unchanged."""
    repository = defs.get_repository_def()
    with dg.build_schedule_context(
        instance,
        resources={"data": defs.resources["data"]},
        scheduled_execution_time=MONDAY,
        repository_def=repository,
    ) as context:
        found = weekly_retrain.evaluate_tick(context)
    configs = [request.run_config["ops"]["image_checkpoint"]["config"] for request in found.run_requests or []]
    assert configs in ([], [{"only_if_changed": True}])
    return len(found.run_requests or []), found.skip_message or ""


def trained(instance: dg.DagsterInstance, one: str = "a", two: str = "b") -> None:
    """A dataset built and a training that read these manifests."""
    report(instance, "clip_rows", partition="s0000")
    report(instance, ONE, one)
    report(instance, TWO, two)
    report(instance, "image_checkpoint", **{ONE: one})
    report(instance, "video_checkpoint", **{TWO: two})
    report(instance, "speed_checkpoint", **{TWO: two})
    report(instance, "champion_model")


def test_a_model_whose_evaluation_failed_is_not_forgotten(defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
    trained(instance)
    report(instance, "speed_checkpoint", **{TWO: "b"})
    assert tick(defs, instance) == (1, "")


def finished_run(root: DataRoot, stage: str, run: str) -> None:
    """The run folder of a finished training, as far as its checks read it."""
    run_dir = root.folder("6_checkpoints") / stage / run
    (run_dir / "checkpoints" / "step-0000001").mkdir(parents=True)
    (run_dir / "progress.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    (run_dir / "summary.json").write_text(json.dumps(SUMMARY | {"checkpoint": "checkpoints/step-0000001"}))


def test_the_first_tick_trains(defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
    assert tick(defs, instance) == (1, "")


def test_a_changed_policy_trains_although_nothing_was_built_by_it_yet(
    defs: dg.Definitions, instance: dg.DagsterInstance, root: DataRoot
) -> None:
    asked = {name: policy(root, name.replace("_manifest", "")).sha256 for name in (ONE, TWO)}
    trained(instance)
    for name, version in ((ONE, "a"), (TWO, "b")):
        instance.report_runless_asset_event(
            dg.AssetMaterialization(name, metadata={POLICY_HASH: asked[name]}, tags={"dagster/data_version": version})
        )
    assert tick(defs, instance)[0] == 0
    own = make_own(root, "train_stage2")
    own.write_text(own.read_text().replace("below = 16", "below = 60"))
    assert tick(defs, instance)[0] == 1


def test_unchanged_manifests_are_skipped_with_the_reason(defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
    trained(instance)
    runs, why = tick(defs, instance)
    assert runs == 0 and "unchanged since the last training" in why


@pytest.mark.parametrize("changed", [ONE, TWO])
def test_a_changed_manifest_trains(defs: dg.Definitions, instance: dg.DagsterInstance, changed: str) -> None:
    trained(instance)
    report(instance, changed, "other")
    assert tick(defs, instance)[0] == 1


def test_new_shards_train_although_the_manifests_were_not_built_since(
    defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    trained(instance)
    report(instance, "clip_rows", partition="s0001")
    assert tick(defs, instance)[0] == 1


def test_a_training_that_never_finished_does_not_count(defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
    trained(instance)
    report(instance, "image_checkpoint", **{ONE: "a"})  # a later run that stopped after its first stage
    assert tick(defs, instance)[0] == 1


@pytest.mark.parametrize("job", ["retrain", "train_all"])
def test_a_second_tick_during_a_training_is_skipped(
    defs: dg.Definitions, instance: dg.DagsterInstance, job: str
) -> None:
    run = instance.create_run_for_job(defs.resolve_job_def(job), status=dg.DagsterRunStatus.STARTED)
    runs, why = tick(defs, instance)
    assert runs == 0 and f"{job} is under way (run {run.run_id[:8]})" in why


def test_the_requested_run_is_valid_and_stops_where_nothing_changed(
    defs: dg.Definitions, instance: dg.DagsterInstance, root: DataRoot
) -> None:
    """The dataset is built inside the run; with last time's manifests the stages are skipped and the run is green."""
    trained(instance)
    finished_run(root, "image", RUN)
    only = [
        dg.AssetKey(name) for name in ("image_checkpoint", "video_checkpoint", "speed_checkpoint", "generated_videos")
    ]
    result = defs.resolve_job_def("retrain").execute_in_process(
        retrain_config(instance), instance, asset_selection=only, run_id=RUN
    )
    skipped = {event.step_key for event in result.all_events if event.event_type_value == "STEP_SKIPPED"}
    assert result.success and skipped == {"video_checkpoint", "speed_checkpoint", "generated_videos"}


def test_retraining_keeps_what_was_chosen_in_the_launchpad(defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
    """Were it always the defaults, a weekly run would put a TINY model where a PAPER model was trained."""
    chosen = {"ops": {"base_weights": {"config": {"preset": "TINY", "seed": 7}}}}
    job = defs.resolve_job_def("train_all")
    assert job.execute_in_process(chosen, instance, asset_selection=[dg.AssetKey("base_weights")]).success
    assert retrain_config(instance)["ops"] == {
        "base_weights": {"config": {"preset": "TINY", "seed": 7}},
        "image_checkpoint": {"config": {"only_if_changed": True}},
    }


def test_retraining_runs_where_the_last_training_ran(
    defs: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it the default, a model trained on a cluster would be trained again on the machine of the scheduler."""
    chosen = {"trainer": {"config": {"engine": "slurm", "slurm_options": "--nodes=2"}}}
    job = defs.resolve_job_def("retrain")
    run = instance.create_run_for_job(job, run_config={"resources": chosen})
    monkeypatch.setattr(schedules, "latest", lambda instance, asset: SimpleNamespace(run_id=run.run_id))
    assert retrain_config(instance)["resources"] == chosen
    assert dg.validate_run_config(job, retrain_config(instance))


def test_guidance_chosen_as_a_number_is_still_taken(
    defs: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of before guidance could differ by condition have a number, which no run could be launched with again."""
    job = defs.resolve_job_def("retrain")
    chosen = {name: {"config": {"clips": 2, "guidance": 1.0}} for name in ("generated_videos", "speed_ablation")}
    chosen["speed_ablation"]["config"]["checkpoint"] = "6_checkpoints/speed/an-old-one"
    monkeypatch.setattr(schedules, "latest", lambda instance, asset: SimpleNamespace(run_id=RUN))
    monkeypatch.setattr(instance, "get_run_by_id", lambda run_id: SimpleNamespace(run_config={"ops": chosen}))
    config = retrain_config(instance)
    for name in chosen:  # a checkpoint that was named is not kept: what runs by itself is for the newest
        assert config["ops"][name]["config"] == {"clips": 2, "guidance": "1.0"}
    assert dg.validate_run_config(job, config)


def test_every_asset_of_retrain_with_a_launchpad_keeps_its_choices(defs: dg.Definitions) -> None:
    nodes = defs.resolve_job_def("retrain").all_node_defs
    asked = {node.name for node in nodes if set(getattr(node.config_field.config_type, "fields", {}))}
    assert asked == set(RETRAINED)


def test_one_failed_shard_does_not_keep_the_catalog_from_being_built(
    defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    """eager() and on_cron() wait for ever for a shard that never comes."""
    instance.add_dynamic_partitions("source_shards", ["s0000", "s0001", "s0002"])
    report(instance, "clip_rows", partition="s0000")
    before = datetime(2026, 11, 22, 23, tzinfo=UTC)
    selection = dg.AssetSelection.assets("clip_catalog")
    first = dg.evaluate_automation_conditions(defs, instance, selection, evaluation_time=before)
    assert first.total_requested == 0
    night = dg.evaluate_automation_conditions(
        defs, instance, selection, evaluation_time=before + timedelta(hours=4), cursor=first.cursor
    )
    assert night.total_requested == 1
