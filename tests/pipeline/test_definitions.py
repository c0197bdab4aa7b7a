"""What Dagster loads: the graph, its order, what every asset says of itself, and how fast it is there."""

import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

HOME = Path(__file__).resolve().parents[2]

PAPERS = ("fid", "syncnet", "f_sim", "fvd", "e_fid")
METRICS = (*PAPERS, "p_fid", "motion", "blink", "mouth_sync", "beat", "pictures", "seams")

# group -> asset -> what it hangs off. A change here is a change of the design's graph.
GRAPH = {
    "ingest": {"source_registry": "", "raw_videos": "source_registry", "video_probe": "raw_videos"},
    "clips": {"shot_cuts": "video_probe", "face_tracks": "shot_cuts video_probe", "face_clips": "face_tracks"},
    "labels": {
        "head_pose": "face_tracks",
        "head_speed": "head_pose",
        "clip_audio": "face_tracks",
        "audio_features": "clip_audio",
        "sync_scores": "clip_audio face_clips head_speed",
        "sound_scores": "clip_audio",
        "quality_scores": "face_clips",
        "face_embeddings": "face_clips head_speed",
        "clip_rows": "audio_features clip_audio face_clips head_speed quality_scores sound_scores sync_scores",
    },
    "dataset": {
        "near_duplicates": "clip_rows",
        "identity_splits": "clip_rows face_embeddings near_duplicates",
        "speed_buckets": "head_speed identity_splits",
        "train_manifest_stage1": "identity_splits",
        "train_manifest_stage2": "identity_splits",
        "eval_manifest": "identity_splits train_manifest_stage1 train_manifest_stage2",
        "clip_catalog": "clip_rows eval_manifest speed_buckets train_manifest_stage1 train_manifest_stage2",
        "dataset_card": "clip_catalog",
    },
    "training": {
        "base_weights": "",
        "image_checkpoint": "base_weights train_manifest_stage1",
        "video_checkpoint": "image_checkpoint train_manifest_stage2",
        "speed_checkpoint": "speed_buckets train_manifest_stage2 video_checkpoint",
    },
    "evaluation": {
        "generated_videos": "eval_manifest speed_checkpoint",
        "video_features": "generated_videos",
        **dict.fromkeys(METRICS, "video_features"),
        "speed_ablation": "eval_manifest speed_checkpoint",
        "face_region_ablation": "eval_manifest speed_checkpoint",
        "comparison_table": " ".join(sorted(METRICS)),
        "evaluation_report": "comparison_table",
        "champion_model": "evaluation_report",
    },
}
CHECKS = {
    **{asset: {"row_schema"} for asset in GRAPH["labels"]},
    "raw_videos": {"row_schema"},
    "video_probe": {"row_schema"},
    "shot_cuts": {"row_schema", "cuts_cover_video"},
    "face_tracks": {"row_schema", "boxes_inside_frames"},
    "face_clips": {"row_schema"},
    "clip_audio": {"row_schema", "audio_as_long_as_video"},
    "identity_splits": {"no_identity_in_two_splits"},
    "eval_manifest": {"manifests_share_nobody"},
    "clip_catalog": {"every_shard_is_there"},
    **{f"{stage}_checkpoint": {"loss_finite", "frozen_parameters_unchanged"} for stage in ("image", "video", "speed")},
    "champion_model": {"champion_beaten"},
}
SHARDED = {*GRAPH["ingest"], *GRAPH["clips"], *GRAPH["labels"]} - {"source_registry"}


def test_every_metric_has_an_asset_and_the_papers_come_first() -> None:
    from emo_model.evaluate import ALL
    from emo_model.evaluate.table import MAIN
    from emo_pipeline.assets import evaluation

    assert set(evaluation.METRICS) == set(ALL) and tuple(evaluation.METRICS)[: len(MAIN)] == MAIN


def test_everything_loads_and_every_job_resolves(defs: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(defs)


def test_the_graph_is_the_designs(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    found: dict[str, dict[str, str]] = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        parents = " ".join(sorted(parent.to_user_string() for parent in node.parent_keys))
        found.setdefault(node.group_name or "", {})[key.to_user_string()] = parents
    assert found == GRAPH


def test_shard_assets_are_partitioned_and_no_others(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).is_partitioned} == SHARDED


def test_every_check_is_there_and_blocks_save_the_one_that_only_warns(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    found: dict[str, set[str]] = {}
    for key in graph.asset_check_keys:
        found.setdefault(key.asset_key.to_user_string(), set()).add(key.name)
    assert found == CHECKS
    free = {key.name for key in graph.asset_check_keys if not graph.get(key).blocking}
    assert free == {"every_shard_is_there"}


@pytest.mark.parametrize("asset", sorted({name for group in GRAPH.values() for name in group}))
def test_every_asset_says_what_it_is(defs: dg.Definitions, asset: str) -> None:
    node = defs.resolve_asset_graph().get(dg.AssetKey(asset))
    assert node.code_version and node.kinds and node.owners
    assert node.description and len(node.description) > 30


def test_materialize_in_the_ui_runs_in_one_process_too(defs: dg.Definitions) -> None:
    """The UI's button uses the implicit job, which a job's own executor does not reach."""
    assert defs.resolve_implicit_global_asset_job_def().executor_def is dg.in_process_executor


def test_nothing_starts_by_itself(defs: dg.Definitions) -> None:
    repository = defs.get_repository_def()
    assert {s.default_status for s in repository.schedule_defs} == {dg.DefaultScheduleStatus.STOPPED}
    assert {s.default_status for s in repository.sensor_defs} == {dg.DefaultSensorStatus.STOPPED}


def test_workspace_and_pyproject_name_the_same_location_and_module() -> None:
    """`dagster dev` ignores workspace.yaml beside a [tool.dg] block unless told: both must say the same."""
    written = yaml.safe_load((HOME / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert written["location_name"] == project["code_location_name"] == "emo_pipeline"
    assert written["module_name"] == project["code_location_target_module"] == "emo_pipeline.definitions"


@pytest.mark.parametrize("command", [["definitions", "validate", "-w", "workspace.yaml"], ["definitions", "validate"]])
def test_both_ways_of_loading_work(command: list[str], tmp_path: Path) -> None:
    """From the workspace file, and from [tool.dg]; with the shipped dagster.yaml as the instance's settings."""
    (tmp_path / "dagster.yaml").write_text((HOME / "dagster_home" / "dagster.yaml").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "dagster", *command], cwd=HOME, capture_output=True, text=True,
        env={"DAGSTER_HOME": str(tmp_path), "EMO_DATA": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Validation successful for code location emo_pipeline" in said, said


def test_dagsters_settings_free_the_slots_of_dead_runs(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text((HOME / "dagster_home" / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_monitoring_enabled and not instance.telemetry_enabled
        assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"] == 60
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1
