"""Manifests: which clips a purpose may use, as its policy (policies/*.toml) judges the stored scores.

    train_stage1.parquet          clips of training people, silent ones too (VFHQ)
    train_stage2.parquet          and with sound, features and a whole training window
    held_out_stage1/2.parquet     clips of test people that satisfy the same needs: for validation
    eval.parquet                  clips of test people that the protocol asks for

A clip that a policy leaves out has its row in `rejected` under the policy's name. A manifest's data version is the hash
of its rows, which name every file and label by its content.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emo_model.data.policy import Policy
from emo_model.data.records import MANIFEST, REJECTED
from emo_model.data.sound_shift import AGREED_OFFSETS, OFFSET_LEFT, SHIFT_FRAMES
from emo_model.data.sources import require_each_video_once
from emo_model.data.store import DataRoot, rows_sha256, text_sha256, write_parquet, write_rows
from emo_model.errors import UserError


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
    require_each_video_once(root)
    verdicts = judge(root, policy)
    rejected = [_reject(row, policy) for row in verdicts.filter(_left_out(verdicts)).to_pylist()]
    write_rows(root.part("rejected", "all", policy.manifest), REJECTED, rejected)
    held_out = None
    if policy.split == "train":
        held_out = _write(root, policy.held_out(), judge(root, policy.held_out()))
    return _write(root, policy, verdicts, held_out)


def _write(
    root: DataRoot, policy: Policy, verdicts: pa.Table, held_out: ManifestReport | None = None
) -> ManifestReport:
    left_out = _left_out(verdicts)
    kept = verdicts.filter(pc.invert(left_out)).select(MANIFEST.schema.names).cast(MANIFEST.schema)
    path = manifest_path(root, policy.manifest)
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


def has_rows(manifest: Path) -> bool:
    """Whether the manifest is there and holds a clip."""
    return manifest.is_file() and pq.ParquetFile(manifest).metadata.num_rows > 0


def judge(root: DataRoot, policy: Policy) -> pa.Table:
    """Every clip with the manifest's columns and `reason`, `detail`, `score`, `threshold`: null where it is kept.

    UserError where a rule is no SQL over the columns of clips.
    """
    rules = policy.rules
    verdict = {
        "reason": _case((rule.test, f"'{rule.reason}'") for rule in rules),
        "detail": _case((rule.test, _quoted(rule.score)) for rule in rules),
        "score": _case((rule.test, f"CAST({rule.score or 'NULL'} AS DOUBLE)") for rule in rules),
        "threshold": _case((rule.test, _number(rule.threshold)) for rule in rules),
    }
    judged = "SELECT *, " + ", ".join(f"{sql} AS {name}" for name, sql in verdict.items()) + " FROM candidates"
    columns = ", ".join([*MANIFEST.schema.names, _BUT_ONE if policy.one_of_each_recording else ", ".join(verdict)])
    with duckdb.connect() as connection:
        for name in ("clip_rows", "crops", "clip_audio", "audio", "videos", "rejected"):
            connection.register(name, root.read(name))
        for name in ("identities", "splits", "near_duplicates"):
            connection.register(name, root.read_single(name))
        connection.execute(_CANDIDATES, {"protocol": policy.protocol})
        try:
            query = f"SELECT {columns} FROM (SELECT *, {_BEST} FROM ({judged})) ORDER BY clip_id"
            return connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            line = str(error).splitlines()[0]
            raise UserError(
                f"policy {policy.name}: {line}; columns: emo_model/data/policy.py; mend it, run: emo manifest"
            ) from error


def _case(branches: Iterable[tuple[str, str]]) -> str:
    return "CASE " + " ".join(f"WHEN {test} THEN {value}" for test, value in branches) + " END"


def _quoted(text: str | None) -> str:
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


def _number(value: float | None) -> str:
    return f"CAST({'NULL' if value is None else repr(value)} AS DOUBLE)"


# Of clips that show one recording and pass every rule, the best one: it need not be the best of all.
_BEST = """first_value(clip_id) OVER (
    PARTITION BY reason IS NULL, coalesce(near_duplicate_of, clip_id)
    ORDER BY near_duplicate_of IS NOT NULL, min_face_px DESC, clip_id) AS best"""
_BUT_ONE = """
    CASE WHEN reason IS NULL AND best <> clip_id THEN 'near_duplicate' ELSE reason END AS reason,
    CASE WHEN reason IS NULL AND best <> clip_id THEN best ELSE detail END AS detail, score, threshold"""
_CANDIDATES = f"""
    CREATE TEMP TABLE candidates AS
    SELECT c.*, i.identity_id, s.split, v.source, v.licence, v.uri, k.size, k.union_box, a.path AS sound_path,
        {SHIFT_FRAMES} AS sound_shift_frames, {OFFSET_LEFT} AS av_offset_left_frames, d.near_duplicate_of,
        f.path AS audio_path, f.encoder AS audio_encoder, f.sha256 AS audio_sha256, x.id IS NOT NULL AS sound_cut_short,
        CAST($protocol AS VARCHAR) AS protocol
    FROM clip_rows c JOIN identities i USING (clip_id) JOIN splits s USING (identity_id) JOIN crops k USING (clip_id)
    JOIN (SELECT * FROM videos WHERE status = 'ok') v ON v.video_id = c.video_id
    LEFT JOIN ({AGREED_OFFSETS}) o ON o.video_id = c.video_id
    LEFT JOIN near_duplicates d ON d.clip_id = c.clip_id
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
        "step": f"manifest {policy.manifest}",
        "policy": policy.name,
        "reason": row["reason"],
        "score": row["score"],
        "threshold": row["threshold"],
        "detail": row["detail"],
        "input_sha256": text_sha256(policy.model_dump_json(), row["crop_sha256"]),
        "step_version": 1,
    }
