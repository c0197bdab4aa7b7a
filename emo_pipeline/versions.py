"""What Dagster remembers of data versions: what the manifests hold, what was trained on, whether shards came since.

Here: look-ups in the event log. Not here: any decision about them (schedules, demo).
"""

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import (
    BaseAssetGraph,
)  # what Definitions.resolve_asset_graph gives

DATA_VERSION = "dagster/data_version"
INPUT_VERSION = "dagster/input_data_version"
MANIFESTS = {
    "train_manifest_stage1": "image_checkpoint",
    "train_manifest_stage2": "speed_checkpoint",
}  # -> who reads it


POLICY_HASH = "policy sha256"  # metadata of a manifest: what was asked of its clips


def policies_at_build(instance: dg.DagsterInstance) -> dict[str, str | None]:
    """Hash of the policy each training manifest was last built by; None where it was never built."""
    found = {}
    for name in MANIFESTS:
        entry = latest(instance, name)
        seen = entry.asset_materialization.metadata.get(POLICY_HASH) if entry and entry.asset_materialization else None
        found[name] = None if seen is None else str(seen.value)
    return found


def latest(instance: dg.DagsterInstance, asset: str) -> dg.EventLogEntry | None:
    """The newest materialization of an asset, of any partition."""
    return instance.get_latest_materialization_event(dg.AssetKey(asset))


def _tags(entry: dg.EventLogEntry | None) -> dict[str, str]:
    return dict(entry.asset_materialization.tags or {}) if entry and entry.asset_materialization else {}


def data_version(instance: dg.DagsterInstance, asset: str) -> str | None:
    """Data version of an asset's newest materialization; None where there is none."""
    return _tags(latest(instance, asset)).get(DATA_VERSION)


def manifest_versions(instance: dg.DagsterInstance) -> dict[str, str | None]:
    """Data version of each training manifest as last built."""
    return {name: data_version(instance, name) for name in MANIFESTS}


def trained_versions(instance: dg.DagsterInstance) -> dict[str, str | None] | None:
    """Data versions of the manifests the last finished training read; None where no training finished."""
    image, speed = latest(instance, "image_checkpoint"), latest(instance, "speed_checkpoint")
    if image is None or speed is None or speed.timestamp < image.timestamp:
        return None
    return {name: _tags(latest(instance, reader)).get(f"{INPUT_VERSION}/{name}") for name, reader in MANIFESTS.items()}


def judged(instance: dg.DagsterInstance) -> bool:
    """Whether the newest model has met the champion: its evaluation may have failed after the training."""
    model, gate = latest(instance, "speed_checkpoint"), latest(instance, "champion_model")
    return model is None or (gate is not None and gate.timestamp > model.timestamp)


def shards_since_build(instance: dg.DagsterInstance) -> bool:
    """Whether a shard's clip rows were made after the manifests were last built."""
    rows, built = latest(instance, "clip_rows"), [latest(instance, name) for name in MANIFESTS]
    return rows is not None and any(entry is None or rows.timestamp > entry.timestamp for entry in built)


def up_to_date(instance: dg.DagsterInstance, graph: BaseAssetGraph, key: dg.AssetKey) -> bool:
    """Whether an asset was made by today's code from today's versions of the inputs it hangs off.

    For assets without partitions; inputs with partitions are not looked at (their fan-in has a version of its own).
    """
    tags = _tags(instance.get_latest_materialization_event(key))
    node = graph.get(key)
    inputs = [parent for parent in node.parent_keys if not graph.get(parent).is_partitioned]
    return tags.get("dagster/code_version") == node.code_version and all(
        tags.get(f"{INPUT_VERSION}/{parent.to_user_string()}")
        == _tags(instance.get_latest_materialization_event(parent)).get(DATA_VERSION)
        for parent in inputs
    )
