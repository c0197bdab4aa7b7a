"""What happened to a source, a video or a clip, and why: the answer to "where has my video gone?"."""

from typing import Any

from emo_model.data.catalog import query
from emo_model.data.records import REASONS
from emo_model.data.scores import SCORES
from emo_model.data.store import DataRoot
from emo_model.errors import UserError

CLIPS = 12  # of a video that are listed


def why(root: DataRoot, name: str) -> str:
    """What is known about an id (or its beginning, or a part of a file's name), in lines a person can read.

    UserError where nothing in the catalog is called so.
    """
    clips = _rows(root, "SELECT * FROM clips WHERE starts_with(clip_id, $name) ORDER BY clip_id", name)
    videos = _rows(root, _VIDEOS, name)
    rejects = _rows(root, _REJECTS, name)
    if not (clips or videos or rejects):
        raise UserError(f"nothing is called {name!r} in the catalog; run: emo catalog, or: emo query 'FROM videos'")
    lines = [line for video in videos for line in _video(root, video)]
    shown = {line for video in videos for line in _rejects_of(root, video)}
    lines += [line for clip in clips for line in _clip(root, clip)]
    lines += [line for line in map(_reject, rejects) if line not in shown]
    return "\n".join(lines)


_VIDEOS = """
    SELECT * FROM videos WHERE starts_with(source_id, $name) OR starts_with(video_id, $name) OR contains(uri, $name)
        OR video_id IN (SELECT video_id FROM clips WHERE starts_with(clip_id, $name))
    ORDER BY source, uri"""
_REJECTS = "SELECT * FROM rejected WHERE starts_with(id, $name) ORDER BY kind, id, step"
_OF_VIDEO = """
    SELECT * FROM rejected WHERE id = $source OR starts_with(id, $name)
        OR id IN (SELECT clip_id FROM clips WHERE video_id = $name)
    ORDER BY kind, id, step"""


def _rows(root: DataRoot, sql: str, name: str, **more: str) -> list[dict[str, Any]]:
    names, rows = query(root, sql, {"name": name, **more})
    return [dict(zip(names, row, strict=True)) for row in rows]


def _video(root: DataRoot, video: dict[str, Any]) -> list[str]:
    lines = [
        f"source {video['source_id']}: {video['uri']} ({video['source']}, licence {video['licence']}), "
        f"{video['status']}"
    ]
    if video["status"] != "ok":
        return [*lines, *_rejects_of(root, video)]
    sound = f"sound at {video['audio_rate']} Hz" if video["has_audio"] else "no sound"
    picture = f"{video['width']}x{video['height']}, {video['fps']:.2f} fps, {video['duration_s']:.1f} s"
    lines.append(f"  video {video['video_id']}: {picture}, {sound}")
    clips = _rows(root, "SELECT * FROM clips WHERE video_id = $name ORDER BY start_s", video["video_id"])
    lines.append(f"  {len(clips)} clips, {sum(clip['num_frames'] for clip in clips) / 30:.1f} s in all")
    lines += [f"    {c['clip_id']}: {c['start_s']:.2f} to {c['end_s']:.2f} s" for c in clips[:CLIPS]]
    lines += [f"    and {len(clips) - CLIPS} more: emo query 'FROM clips'"] if len(clips) > CLIPS else []
    return lines + _rejects_of(root, video)


def _rejects_of(root: DataRoot, video: dict[str, Any]) -> list[str]:
    """Of a source that was refused, its own; of a good one, those of its shots and clips."""
    source = video["source_id"]
    if video["status"] != "ok":
        return [_reject(row) for row in _rows(root, "SELECT * FROM rejected WHERE id = $name ORDER BY step", source)]
    return [_reject(row) for row in _rows(root, _OF_VIDEO, video["video_id"], source=source)]


def _clip(root: DataRoot, clip: dict[str, Any]) -> list[str]:
    speed = "unknown" if clip["mean_speed"] is None else f"{clip['mean_speed']:.2f} degrees a frame"
    return [
        f"clip {clip['clip_id']}: {clip['start_s']:.2f} to {clip['end_s']:.2f} s, {clip['num_frames']} frames",
        f"  person {clip['identity_id']} ({clip['split']}), {'with' if clip['has_audio'] else 'without'} sound, "
        f"head speed {speed}",
        f"  {clip['path']}",
        *_scores(root, clip),
    ]


def _scores(root: DataRoot, clip: dict[str, Any]) -> list[str]:
    """What scores found in a clip, and which could not look. Whether that leaves it out is a policy's to say."""
    finders = [score for score in SCORES if score.finds]
    columns = ", ".join(f"coalesce({score.finds}, false)" for score in finders)
    _, [marks] = query(root, f"SELECT {columns} FROM clips WHERE clip_id = $clip", {"clip": clip["clip_id"]})
    found = [score for score, marked in zip(finders, marks, strict=True) if marked]
    lines = [f"  scored as: {score.about} ({score.finds}; here {_value(clip[score.name])})" for score in found]
    if clip["no_model"]:
        lines.append(f"  not scored: {', '.join(clip['no_model'])}: no_model; run: emo weights list")
    return lines


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _reject(row: dict[str, Any]) -> str:
    by = f"policy {row['policy']}" if row["policy"] else row["step"]
    score = "" if row["score"] is None else f" ({row['score']:.3g}, wanted {row['threshold']:.3g})"
    detail = f": {row['detail']}" if row["detail"] else ""
    return f"  left out by {by}: {row['kind']} {row['id']}: {row['reason']}, {REASONS[row['reason']]}{score}{detail}"
