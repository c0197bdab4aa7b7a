"""Manifests: which clips a purpose may use, by a small policy over the stored scores.

    train_stage1.parquet          clips of training people, silent ones too (VFHQ)
    train_stage2.parquet          and with sound, features and a whole training window
    held_out_stage1/2.parquet     clips of test people that satisfy the same needs: for validation
    eval.parquet                  clips of test people that the protocol asks for

Thresholds live here and nowhere before: another threshold re-runs no video work. A clip that a policy leaves out
has its row in `rejected` under the policy's name. A manifest's data version is the hash of its rows, which name
every file and label by its content.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from emo_model.data.records import MANIFEST, REJECTED
from emo_model.data.store import DataRoot, rows_sha256, text_sha256, write_parquet, write_rows

WINDOW = 16  # frames of a stage-2 sample: n = 4 motion frames and f = 12 (section 4.1)


class Policy(BaseModel):
    """What a purpose asks of a clip. None: not asked. A score that is unknown (null) is never held against a clip."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # of the manifest's file, and in `rejected`
    split: Literal["train", "test"]
    needs_sound: bool
    min_frames: int
    min_face_px: float | None = None  # source pixels
    min_blur: float | None = None  # variance of the Laplacian
    max_camera_motion: float | None = None  # crop pixels a frame
    max_text_area: float | None = None
    max_hands_fraction: float | None = None
    min_sync_confidence: float | None = None
    max_av_offset: float | None = None  # frames at 25 fps, either way
    protocol: str | None = None

    def rules(self) -> list[tuple[str, str, str, float | None]]:
        """(SQL, true of a clip to leave out; reason; SQL of the score; threshold). The first that holds counts."""
        other = "held_out" if self.split == "train" else "train_only"
        rules: list[tuple[str, str, str, float | None]] = [(f"split <> '{self.split}'", other, "NULL", None)]
        if self.needs_sound:
            rules.append(("sound_cut_short", "audio_too_short", "NULL", None))
            rules.append(("NOT has_audio OR audio_path IS NULL", "no_audio", "NULL", None))
        rules.append((f"num_frames < {self.min_frames}", "fewer_frames_than_window", "num_frames", self.min_frames))
        for score, sign, threshold, reason in (
            ("min_face_px", "<", self.min_face_px, "low_quality"),
            ("blur", "<", self.min_blur, "low_quality"),
            ("camera_motion", ">", self.max_camera_motion, "low_quality"),
            ("text_area", ">", self.max_text_area, "low_quality"),
            ("hands_fraction", ">", self.max_hands_fraction, "low_quality"),
            ("sync_confidence", "<", self.min_sync_confidence, "out_of_sync"),
            ("abs(av_offset_frames)", ">", self.max_av_offset, "out_of_sync"),
        ):
            if threshold is not None:
                rules.append((f"coalesce({score} {sign} {threshold}, false)", reason, score, threshold))
        return rules

    def held_out(self) -> "Policy":
        """The same needs, asked of test people's clips: for validation."""
        return self.model_copy(update={"name": self.name.replace("train", "held_out"), "split": "test"})


TRAIN_STAGE1 = Policy(name="train_stage1", split="train", needs_sound=False, min_frames=2)  # a frame and a reference
TRAIN_STAGE2 = Policy(name="train_stage2", split="train", needs_sound=True, min_frames=WINDOW)
EVAL = Policy(name="eval", split="test", needs_sound=True, min_frames=WINDOW, protocol="held-out people")
POLICIES = {policy.name: policy for policy in (TRAIN_STAGE1, TRAIN_STAGE2, EVAL)}


@dataclass(frozen=True)
class ManifestReport:
    """What a manifest holds and what it leaves out."""

    path: Path
    clips: int
    hours: float
    people: int
    rejects: dict[str, int]
    data_version: str
    held_out: "ManifestReport | None" = None


def build_manifest(root: DataRoot, policy: Policy) -> ManifestReport:
    """Write one purpose's manifest and its rejects; for a training purpose its held-out manifest as well."""
    verdicts = judge(root, policy)
    rejected = [_reject(row, policy) for row in verdicts.filter(_left_out(verdicts)).to_pylist()]
    write_rows(root.part("rejected", "all", policy.name), REJECTED, rejected)
    held_out = None
    if policy.split == "train":
        held_out = _write(root, policy.held_out(), judge(root, policy.held_out()))
    return _write(root, policy, verdicts, held_out)


def _write(
    root: DataRoot, policy: Policy, verdicts: pa.Table, held_out: ManifestReport | None = None
) -> ManifestReport:
    left_out = _left_out(verdicts)
    kept = verdicts.filter(pc.invert(left_out)).select(MANIFEST.schema.names).cast(MANIFEST.schema)
    path = manifest_path(root, policy.name)
    write_parquet(path, kept)
    return ManifestReport(
        path=path,
        clips=kept.num_rows,
        hours=sum(kept["num_frames"].to_pylist()) / 30 / 3600,
        people=len(set(kept["identity_id"].to_pylist())),
        rejects=dict(sorted(Counter(verdicts.filter(left_out)["reason"].to_pylist()).items())),
        data_version=rows_sha256(kept),
        held_out=held_out,
    )


def manifest_path(root: DataRoot, name: str) -> Path:
    """5_manifest/NAME.parquet, for example of `train_stage2` or `held_out_stage2`."""
    return root.folder("5_manifest") / f"{name}.parquet"


def judge(root: DataRoot, policy: Policy) -> pa.Table:
    """Every clip with the manifest's columns and `reason`, `score`, `threshold`: null where the policy keeps it."""
    rules = policy.rules()
    reason = _case((test, f"'{reason}'") for test, reason, _, _ in rules)
    score = _case((test, f"CAST({score} AS DOUBLE)") for test, _, score, _ in rules)
    threshold = _case((test, f"CAST({threshold or 'NULL'} AS DOUBLE)") for test, _, _, threshold in rules)
    columns = ", ".join(MANIFEST.schema.names)
    with duckdb.connect() as connection:
        for name in ("clip_rows", "crops", "clip_audio", "audio", "videos", "rejected"):
            connection.register(name, root.read(name))
        for name in ("identities", "splits"):
            connection.register(name, root.read_single(name))
        connection.execute(_CANDIDATES, {"protocol": policy.protocol})
        query = f"SELECT {columns}, {reason} AS reason, {score} AS score, {threshold} AS threshold"
        return connection.sql(f"{query} FROM candidates ORDER BY clip_id").to_arrow_table()


def _case(branches: Iterable[tuple[str, str]]) -> str:
    return "CASE " + " ".join(f"WHEN {test} THEN {value}" for test, value in branches) + " END"


_CANDIDATES = """
    CREATE TEMP TABLE candidates AS
    SELECT c.*, i.identity_id, s.split, v.source, v.licence, k.size, k.union_box, a.path AS sound_path,
        f.path AS audio_path, f.encoder AS audio_encoder, f.sha256 AS audio_sha256, x.id IS NOT NULL AS sound_cut_short,
        CAST($protocol AS VARCHAR) AS protocol
    FROM clip_rows c JOIN identities i USING (clip_id) JOIN splits s USING (identity_id) JOIN crops k USING (clip_id)
    JOIN (SELECT * FROM videos WHERE status = 'ok') v ON v.video_id = c.video_id
    LEFT JOIN clip_audio a ON a.clip_id = c.clip_id LEFT JOIN audio f ON f.clip_id = c.clip_id
    LEFT JOIN (SELECT id FROM rejected WHERE step = 'clip_audio' AND reason = 'audio_too_short') x
        ON x.id = c.clip_id"""


def _left_out(verdicts: pa.Table) -> pa.ChunkedArray:
    return pc.is_valid(verdicts["reason"])


def _reject(row: dict[str, Any], policy: Policy) -> dict[str, Any]:
    return {
        "kind": "clip",
        "id": row["clip_id"],
        "shard": row["shard"],
        "step": f"manifest {policy.name}",
        "policy": policy.name,
        "reason": row["reason"],
        "score": row["score"],
        "threshold": row["threshold"],
        "detail": None,
        "input_sha256": text_sha256(policy.model_dump_json(), row["crop_sha256"]),
        "step_version": 1,
    }
