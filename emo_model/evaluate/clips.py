"""The test clips of a protocol: which rows of a manifest are measured, and what is real, heard and answered in each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from emo_model.data.rows_of import rows_of
from emo_model.data.store import DataRoot, text_sha256
from emo_model.errors import UserError

from .protocol import Protocol, named
from .truth import FPS, SQUARE, cut, truth_file, truth_sha256

WEB_CLIPS, WEB_SALT = 1000, "web-clips-v1:"
COLUMNS = (
    "clip_id", "video_id", "shard", "identity_id", "start_s", "num_frames", "path", "sound_path", "crop_sha256",
    "protocol",
)  # fmt: skip


@dataclass(frozen=True)
class VideoPair:
    """One test clip and one method's answer to it.

    `reference` is the image the generator was given (None: the real clip's frame 0); `sound` the driving
    voice (None: the real clip's own track), which is also heard with an answer that has no track of its own. Paths may
    be relative to the data root.
    """

    clip_id: str
    identity: str
    real: Path
    generated: Path
    reference: Any = None  # (H, W, 3) uint8 RGB, or the path of an image
    sound: Path | None = None


def read(root: DataRoot, manifest: Path | None = None, name: str = "demo", limit: int | None = None) -> list[Any]:
    """Rows of a manifest (eval's otherwise) that a named protocol measures, at most `limit`, in its order.

    HDTF-open-v1 takes of every annotated range the first clip, web-clips-v1 1,000 clips of 4 s and more in an order
    that depends on their ids alone. UserError where there are none.
    """
    from emo_model.data.manifests import manifest_path

    path = manifest or manifest_path(root, "eval")
    rows = pq.ParquetFile(path).read(columns=list(COLUMNS)).to_pylist() if path.is_file() else []
    if named(name).get("truth") == "raw":
        rows = [row | square for row, square in zip(rows, _squares(root, rows), strict=True)]
    if name == "HDTF-open-v1":
        rows = _first_of_ranges([row for row in rows if row["protocol"] == "HDTF"])
    elif name == "web-clips-v1":
        long = [row for row in rows if row["num_frames"] / FPS >= named(name)["seconds"]]
        rows = sorted(long, key=lambda row: text_sha256(WEB_SALT + row["clip_id"]))[:WEB_CLIPS]
    if not rows:
        other = "; run: emo manifest --test-set hdtf_test" if name == "HDTF-open-v1" else ""
        raise UserError(f"no clip to evaluate on ({name}): {path} is empty or missing{other}; see why with: emo why")
    return rows[:limit]


def freeze(rows: Sequence[Mapping[str, Any]], name: str = "demo", **values: Any) -> Protocol:
    """The protocol of these rows: `values` as Protocol.freeze takes them."""
    dataset = next((row["protocol"] for row in rows if row.get("protocol")), "held-out people")
    clips = [row["clip_id"] for row in rows]
    return Protocol.freeze(dataset, clips, name=name, truth_sha256=truth_sha256(rows), **values)


def prepare(root: DataRoot, rows: Sequence[Mapping[str, Any]], protocol: Protocol) -> None:
    """Cut what ground truth the protocol wants from raw files and is not there yet."""
    if protocol.truth == "raw":
        cut(root, rows, protocol)


def pair(root: DataRoot, row: Mapping[str, Any], generated: Path, protocol: Protocol) -> VideoPair:
    """A row of `read` beside a method's video."""
    real = Path(root.relative(truth_file(root, row, protocol))) if protocol.truth == "raw" else Path(row["path"])
    sound = Path(row["sound_path"]) if row["sound_path"] else None
    return VideoPair(row["clip_id"], row["identity_id"], real, generated, sound=sound)


def _squares(root: DataRoot, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each row its crop in the source, and the annotated range it lies in: the file's, where no list names one."""
    found: dict[str, dict[str, Any]] = {}
    for shard in sorted({row["shard"] for row in rows}):
        clips = [row["clip_id"] for row in rows if row["shard"] == shard]
        for crop in rows_of(root, "proposals", shard, "clip_id", clips).to_pylist():
            found[crop["clip_id"]] = {name: crop[name] for name in SQUARE} | {
                "range_id": crop["range_id"] or crop["video_id"]
            }
    if lost := [row["clip_id"] for row in rows if row["clip_id"] not in found]:
        raise UserError(f"clips {', '.join(lost[:5])} of the test set have no crop any more; run: emo manifest")
    return [found[row["clip_id"]] for row in rows]


def _first_of_ranges(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    first: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row["range_id"], row["start_s"])):
        first.setdefault(row["range_id"], row)
    return list(first.values())
