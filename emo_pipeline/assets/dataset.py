"""Group dataset: from clips to who is in training, what a stage may use, and the catalog.

Here: shells around emo_model.data.splits, manifests, catalog, card, and the fan-in over all shards. These assets have
no partitions: each reads whatever the shards hold when it runs, and clip_catalog says which shards are missing.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from emo_pipeline import look
from emo_pipeline.assets.shards import OWNER
from emo_pipeline.checks import MANIFESTS_SHARE_NOBODY, NO_IDENTITY_IN_TWO_SPLITS, SHOWN
from emo_pipeline.failures import one_line
from emo_pipeline.partitions import SHARDS, SHARDS_NAME
from emo_pipeline.resources import Data
from emo_pipeline.versions import POLICY_HASH

if TYPE_CHECKING:
    from emo_model.data.manifests import ManifestReport
    from emo_model.data.policy import Policy

# eager() and on_cron() wait for ever on one failed shard; this form does not (a test holds it).
_TWO_AT_NIGHT: dg.AutomationCondition = dg.AutomationCondition.cron_tick_passed("0 2 * * *")
_IDLE: dg.AutomationCondition = ~dg.AutomationCondition.in_progress()
NIGHTLY = (_TWO_AT_NIGHT.since_last_handled() & _IDLE).with_label("nightly_even_if_shards_failed")

EVERY_SHARD = dg.AssetCheckSpec(
    "every_shard_is_there", asset="clip_catalog", description="no registered shard failed or is missing (a warning)"
)


class EvalConfig(dg.Config):
    """Which test set."""

    policy: str | None = Field(
        default=None, description="eval (all held-out people) or hdtf_test, from now on; empty: as it was chosen last."
    )


@dg.asset(deps=["clip_rows"], group_name="dataset", kinds={"parquet"}, owners=[OWNER], code_version="1")
@one_line
def near_duplicates(data: Data) -> dg.MaterializeResult:
    """Clips of different videos that show one recording: found by fingerprints of sound and face."""
    from emo_model.data.near_duplicates import build_near_duplicates

    report = build_near_duplicates(data.root)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.data_version),
        metadata={
            "clips that share a recording": report.clips,
            "of them a better one is there": report.left_out,
            "path": dg.MetadataValue.path(str(data.root.single("near_duplicates"))),
        },
    )


@dg.asset(
    deps=["clip_rows", "face_embeddings", "near_duplicates"], group_name="dataset", kinds={"parquet"}, owners=[OWNER],
    code_version="2",
    check_specs=[NO_IDENTITY_IN_TWO_SPLITS.spec("identity_splits")],
)  # fmt: skip
@one_line
def identity_splits(data: Data) -> dg.MaterializeResult:
    """Who is in training and who in test: 90/10 by hours, no person in both (section 4.2)."""
    from emo_model.data.splits import build_splits

    report = build_splits(data.root)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.data_version),
        metadata={
            "hours": {name: round(value, 4) for name, value in report.hours.items()},
            "people": report.people,
            "people not named by their collection": report.unknown_people,
            "clips whose face was not looked at yet": report.unseen_clips,
            "moved from test to train": list(report.moved),
            "names and faces disagree": list(report.conflicts[:SHOWN]),
            "path": dg.MetadataValue.path(str(data.root.single("splits"))),
        },
        check_results=[NO_IDENTITY_IN_TWO_SPLITS.result("identity_splits", data.root)],
    )


@dg.asset(
    deps=["identity_splits", "head_speed"], group_name="dataset", kinds={"json"}, owners=[OWNER], code_version="1"
)
@one_line
def speed_buckets(data: Data) -> dg.MaterializeResult:
    """Centres and radii of the head-speed buckets, degrees a frame at 30 fps, from training people's frames."""
    from emo_model.data.splits import build_speed_buckets

    report = build_speed_buckets(data.root)
    pairs = zip(report.buckets.centres, report.buckets.radii, strict=True)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.data_version),
        metadata={
            "buckets": dg.MetadataValue.table([dg.TableRecord({"centre": c, "radius": r}) for c, r in pairs]),
            "source": report.source,
            "training frames": report.frames,
        },
    )


@dg.asset(deps=["identity_splits"], group_name="dataset", kinds={"parquet"}, owners=[OWNER], code_version="2")
@one_line
def train_manifest_stage1(data: Data) -> dg.MaterializeResult:
    """Clips of training people for the image stage; silent ones (VFHQ) too."""
    return _manifest(data, "train_stage1")


@dg.asset(deps=["identity_splits"], group_name="dataset", kinds={"parquet"}, owners=[OWNER], code_version="2")
@one_line
def train_manifest_stage2(data: Data) -> dg.MaterializeResult:
    """Clips of training people for the video and speed stages: with sound, at least 16 frames."""
    return _manifest(data, "train_stage2")


@dg.asset(
    deps=["identity_splits", "train_manifest_stage1", "train_manifest_stage2"],
    group_name="dataset", kinds={"parquet"}, owners=[OWNER], code_version="2",
    check_specs=[MANIFESTS_SHARE_NOBODY.spec("eval_manifest")],
)  # fmt: skip
@one_line
def eval_manifest(config: EvalConfig, data: Data) -> dg.MaterializeResult:
    """Clips of test people to generate and measure on: with sound, at least 16 frames."""
    from emo_model.data.policy import choose_test_set

    if config.policy:
        choose_test_set(data.root, config.policy)
    result = _manifest(data, "eval")
    guard = MANIFESTS_SHARE_NOBODY.result("eval_manifest", data.root, ("train_stage1", "train_stage2", "eval"))
    return dg.MaterializeResult(data_version=result.data_version, metadata=result.metadata, check_results=[guard])


def _manifest(data: Data, name: str) -> dg.MaterializeResult:
    from emo_model.data.manifests import build_manifest
    from emo_model.data.policy import policy

    asked = policy(data.root, name)
    report = build_manifest(data.root, asked)
    seen = {**_seen(report, asked), POLICY_HASH: asked.sha256}
    return dg.MaterializeResult(data_version=_version(report), metadata=seen)


def _version(report: "ManifestReport") -> dg.DataVersion:
    """Of the manifest itself: held-out clips serve validation and change no training."""
    return dg.DataVersion(report.data_version)


def _seen(report: "ManifestReport", policy: "Policy") -> dict[str, Any]:
    held_out = {"held-out clips": report.held_out.clips} if report.held_out else {}
    return {
        "dagster/row_count": report.clips,
        "hours": round(report.hours, 4),
        "people": report.people,
        "rejects by reason": look.rejects(report.rejects),
        "policy": policy.model_dump(mode="json", exclude_none=True),
        "path": dg.MetadataValue.path(str(report.path)),
        **held_out,
    }


@dg.asset(
    deps=["clip_rows", "train_manifest_stage1", "train_manifest_stage2", "eval_manifest", "speed_buckets"],
    group_name="dataset", kinds={"duckdb"}, owners=[OWNER], code_version="2",
    pool="catalog_writer", automation_condition=NIGHTLY,
    check_specs=[EVERY_SHARD],
)  # fmt: skip
@one_line
def clip_catalog(context: dg.AssetExecutionContext, data: Data) -> dg.MaterializeResult:
    """catalog.duckdb: every table, a comment on every column. Built aside and swapped in; readers never block."""
    from emo_model.data.catalog import build_catalog, query

    report = build_catalog(data.root)
    missing = missing_shards(context.instance)
    _, reasons = query(data.root, "SELECT reason FROM rejected")
    _, hours = query(data.root, "SELECT split, round(sum(num_frames) / 30 / 3600, 4) FROM clips GROUP BY 1 ORDER BY 1")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.data_version),
        metadata={
            "rows": report.rows,
            "hours by split": {str(split): value for split, value in hours},
            "rejects by reason": look.rejects(Counter(reason for (reason,) in reasons)),
            "missing or failed shards": missing,
            "seconds": round(report.seconds, 2),
            "path": dg.MetadataValue.path(str(report.path)),
            "open it": f'emo query "SHOW TABLES"   or   duckdb -readonly {report.path}',
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="every_shard_is_there", passed=not missing, severity=dg.AssetCheckSeverity.WARN,
                metadata={"missing": missing},
            )
        ],
    )  # fmt: skip


def missing_shards(instance: dg.DagsterInstance) -> list[str]:
    """Registered shards whose clip rows or faces were never made, or whose last attempt failed."""
    registered = instance.get_dynamic_partitions(SHARDS_NAME)
    missing: set[str] = set()
    for asset in (dg.AssetKey("clip_rows"), dg.AssetKey("face_embeddings")):
        states = instance.get_status_by_partition(asset, registered, SHARDS) or {}
        failed = {key for key, state in states.items() if state is not None and state.name == "FAILED"}
        missing |= failed | (set(registered) - set(instance.get_materialized_partitions(asset)))
    return sorted(missing)


@dg.asset(deps=["clip_catalog"], group_name="dataset", kinds={"markdown"}, owners=[OWNER], code_version="2")
@one_line
def dataset_card(data: Data) -> dg.MaterializeResult:
    """What is in the data root, for people who did not prepare it: hours, licences, rejects, head speeds, limits."""
    from emo_model.data.card import write_card

    report = write_card(data.root)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.data_version),
        metadata={"card": dg.MetadataValue.md(report.text), "path": dg.MetadataValue.path(str(report.path))},
    )
