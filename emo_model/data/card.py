"""The dataset card: what is in this data root, for people who did not prepare it. Read from the catalog."""

from dataclasses import dataclass
from pathlib import Path

from emo_model.data.catalog import query
from emo_model.data.records import REASONS
from emo_model.data.store import DataRoot, text_sha256, write_text

BAR = 40  # characters of the longest bar of the histogram


@dataclass(frozen=True)
class CardReport:
    """Where the card lies, and its text."""

    path: Path
    text: str
    data_version: str


def write_card(root: DataRoot) -> CardReport:
    """Write 5_manifest/dataset_card.md from the catalog."""
    text = card(root)
    path = root.folder("5_manifest") / "dataset_card.md"
    write_text(path, text)
    return CardReport(path, text, text_sha256(text))


def card(root: DataRoot) -> str:
    """The card as markdown."""
    sections = (
        ("Hours", _HOURS, ("split", "people", "clips", "hours")),
        ("Sources and licences", _SOURCES, ("source", "licence", "videos", "used", "clips", "hours")),
        ("Frame rates of the videos", _FPS, ("frames a second", "videos")),
        ("Sound", _SOUND, ("sound", "clips", "hours")),
        ("Manifests", _MANIFESTS, ("manifest", "clips", "hours")),
    )
    parts = ["# Dataset card", _INTRODUCTION]
    parts += [f"## {title}\n{_table(root, sql, header)}" for title, sql, header in sections]
    parts += [f"## Left out, by reason\n{_rejects(root)}", f"## Head speed\n{_histogram(root)}", _LIMITS]
    return "\n\n".join(parts) + "\n"


_INTRODUCTION = """Clips of 3 to 12 s at 30 fps, each one continuous shot of one person, cut from the sources below.
Every clip is cropped to a square around the face, with head pose and head speed a frame and, where there is sound,
16 kHz audio and its features."""

_HOURS = """
    SELECT coalesce(split, 'no split yet'), count(DISTINCT identity_id), count(*),
        round(sum(num_frames) / 30 / 3600, 4) FROM clips GROUP BY 1 ORDER BY 1"""
_SOURCES = """
    SELECT v.source, v.licence, count(*), count(*) FILTER (v.status = 'ok'), sum(coalesce(n, 0)),
        round(sum(coalesce(h, 0)), 4)
    FROM videos v LEFT JOIN (SELECT video_id, count(*) AS n, sum(num_frames) / 30 / 3600 AS h FROM clips GROUP BY 1) c
        ON c.video_id = v.video_id AND v.status = 'ok'
    GROUP BY 1, 2 ORDER BY 1, 2"""
_FPS = "SELECT round(fps, 2), count(*) FROM videos WHERE status = 'ok' GROUP BY 1 ORDER BY 1"
_SOUND = """
    SELECT CASE WHEN has_audio THEN 'with sound' ELSE 'without' END, count(*),
        round(sum(num_frames) / 30 / 3600, 4) FROM clips GROUP BY 1 ORDER BY 1"""
_MANIFESTS = " UNION ALL ".join(
    f"SELECT '{name}', count(*), round(coalesce(sum(num_frames), 0) / 30 / 3600, 4) FROM {name}"
    for name in ("train_stage1", "train_stage2", "held_out_stage1", "held_out_stage2", "eval")
)
_REJECTS = """
    SELECT reason, kind, coalesce(policy, 'unusable in itself'), count(*) FROM rejected
    GROUP BY ALL ORDER BY 4 DESC, 1, 2, 3"""
_SPEEDS = """
    SELECT least(floor(speed_deg / 0.25), 12)::INT AS bin, count(*) FROM frames
    WHERE speed_deg IS NOT NULL GROUP BY 1 ORDER BY 1"""

_LIMITS = """## Limits
Whom the collection does not name is told by face (`unknown:VIDEO_ID`, by the first video that shows them); a clip
without an embedding counts as its video's one person, who may then stand in both splits.
Text and hands in the picture are not measured (null). Pose comes from
MediaPipe with an assumed 63 degree vertical field of view; its noise alone measures 0.3 to 0.5 degrees a frame."""


def _table(root: DataRoot, sql: str, header: tuple[str, ...]) -> str:
    _, rows = query(root, sql)
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(value) for value in row) + " |" for row in rows])


def _rejects(root: DataRoot) -> str:
    _, rows = query(root, _REJECTS)
    if not rows:
        return "Nothing."
    lines = ["| reason | meaning | what | left out by | count |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| {r} | {REASONS[r]} | {kind} | {by} | {n} |" for r, kind, by, n in rows])


def _histogram(root: DataRoot) -> str:
    _, rows = query(root, _SPEEDS)
    if not rows:
        return "No frame has a known speed."
    most = max(count for _, count in rows)
    lines = [
        f"{bin * 0.25:5.2f}{'+' if bin == 12 else ' '} {'#' * max(1, round(BAR * count / most)):{BAR}} {count}"
        for bin, count in rows
    ]
    return "Frames by speed (sigma 1), degrees a frame at 30 fps:\n\n```\n" + "\n".join(lines) + "\n```"
