"""Step video_probe: what each fetched file is, and which are no usable videos (media.probe does the looking).

A source that was rejected before keeps a row too, with its reason, so that `videos` lists every source once. A file
that ends before the media it declares is rejected whole: nobody knows what else is wrong with it.
"""

from dataclasses import asdict
from typing import Any

from emo_model.data.media import MediaError, probe
from emo_model.data.shards import Item, Reject, Result, Step
from emo_model.data.sources import collections, local_paths, registered
from emo_model.data.store import DataRoot, text_sha256


def items(root: DataRoot, shard: str) -> list[Item]:
    """One item a source. Its inputs are the bytes and what the registry says, not where the file lies."""
    known = collections(root)
    fetched = {row["source_id"]: row for row in root.read("fetched", shard).to_pylist()}
    ours = registered(root, shard)
    places = local_paths(root, ours, known)
    work = []
    for source in ours:
        row = fetched.get(source["source_id"])
        if row is not None:
            described = {name: source[name] for name in ("source_id", "source", "uri", "licence", "identity_hint")}
            outcome = {name: row[name] for name in ("video_id", "status", "reason")}
            inputs = text_sha256(*described.values(), *outcome.values())
            payload = {"row": {**described, **outcome}, "path": places[source["source_id"]]}
            work.append(Item(source["source_id"], inputs, payload))
    return work


def work(root: DataRoot, shard: str, item: Item) -> Result:
    """The source's row in `videos`."""
    row: dict[str, Any] = {**item.payload["row"], "sha256": item.payload["row"]["video_id"]}
    if row["status"] == "rejected":
        return Result({"videos": [row]})
    try:
        return Result({"videos": [{**row, **asdict(probe(item.payload["path"]))}]})
    except MediaError as error:
        reject = Reject("source", item.key, error.reason, error.score, error.threshold, error.detail[:500])
        return Result({"videos": [{**row, "status": "rejected", "reason": error.reason}]}, (reject,))


STEP = Step(
    name="video_probe",
    version=2,
    tables=("videos",),
    after=("raw_videos",),
    description="Container, codec, size, frame rate, start times, rotation and sound of every video.",
    items=items,
    work=work,
)
