"""The dataset card: what is in this data root, for people who did not prepare it. Read from the catalog."""

from dataclasses import dataclass
from pathlib import Path

from emo_model.data.availability import CARD, CARD_HEADER, GONE, GONE_HEADER
from emo_model.data.catalog import query
from emo_model.data.records import REASONS
from emo_model.data.scores import SCORES
from emo_model.data.store import DataRoot, text_sha256, write_text

SHEETS = 20  # links of each kind
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
        ("How people were told apart", _PEOPLE, ("method", "people", "clips")),
        ("Scores", _SCORES, _SCORES_HEADER),
    )
    parts = ["# Dataset card", _INTRODUCTION]
    parts += [f"## {title}\n{_table(root, sql, header)}" for title, sql, header in sections]
    if query(root, "FROM availability LIMIT 1")[1]:
        parts.append(f"## What of the lists is to be had\n{_table(root, CARD, CARD_HEADER)}")
        parts.append(f"Gone, by reason:\n\n{_table(root, GONE, GONE_HEADER)}")
    parts += [f"## Left out, by reason\n{_rejects(root)}", _sheets(root)]
    parts += [f"## {title}\n{_histogram(root, *rest)}" for title, *rest in _HISTOGRAMS]
    parts += [_LIMITS]
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
_PEOPLE = "SELECT method, count(DISTINCT identity_id), count(*) FROM identities GROUP BY 1 ORDER BY 1"
_SCORES_HEADER = (
    "score", "clips with it", "10 %", "median", "90 %", "line", "found by it", "precision", "recall", "counted on",
)  # fmt: skip
_QUANTILES = ", ".join(
    f"(SELECT round(quantile_cont(TRY_CAST({{name}} AS DOUBLE), {share}), 3) FROM clips)" for share in (0.1, 0.5, 0.9)
)
_SCORES = (
    " UNION ALL ".join(
        f"SELECT name, (SELECT count({score.name}) FROM clips), {_QUANTILES.format(name=score.name)}, finds, "
        f"(SELECT count(*) FROM clips WHERE {score.finds or 'NULL'}), precision, recall, labelled FROM scores "
        f"WHERE name = '{score.name}'"
        for score in SCORES
    )
    + " ORDER BY 1"
)

# title; SQL of (lower edge of the bin, count); what is counted
_HISTOGRAMS = (
    (
        "Head speed",
        """SELECT least(floor(from_deg / 0.25), 12) * 0.25 AS edge, sum(frames)::BIGINT FROM speed_histogram
        GROUP BY 1 HAVING sum(frames) > 0 ORDER BY 1""",
        "Frames by speed (sigma 1), degrees a frame at 30 fps; the last bin is open",
    ),
    (
        "Clip lengths",
        "SELECT floor(num_frames / 30) AS edge, count(*) FROM clips GROUP BY 1 ORDER BY 1",
        "Clips by length, seconds",
    ),
)

_LIMITS = """## Limits
Whom the collection does not name is told by face (`unknown:VIDEO_ID`, by the first video that shows them); a clip
without an embedding counts as its video's one person, who may then stand in both splits.
Languages are not known: no model for them is here. Pose comes from
MediaPipe with an assumed 63 degree vertical field of view; its noise alone measures 0.3 to 0.5 degrees a frame."""


def _table(root: DataRoot, sql: str, header: tuple[str, ...]) -> str:
    _, rows = query(root, sql)
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(
        lines + ["| " + " | ".join("" if value is None else str(value) for value in row) + " |" for row in rows]
    )


def _rejects(root: DataRoot) -> str:
    _, rows = query(root, _REJECTS)
    if not rows:
        return "Nothing."
    lines = ["| reason | meaning | what | left out by | count |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| {r} | {REASONS[r]} | {kind} | {by} | {n} |" for r, kind, by, n in rows])


def _histogram(root: DataRoot, sql: str, what: str) -> str:
    _, rows = query(root, sql)
    if not rows:
        return "Nothing to count."
    most = max(count for _, count in rows)
    lines = [f"{edge:6.2f}  {'#' * max(1, round(BAR * count / most)):{BAR}} {count}" for edge, count in rows]
    return f"{what}:\n\n```\n" + "\n".join(lines) + "\n```"


def _sheets(root: DataRoot) -> str:
    """Links to the pictures that are there, from where the card lies."""
    places = (("clips", "1_clips"), ("left out, examples by reason", "rejected"))
    lines = []
    for title, folder in places:
        found = sorted((root.folder(folder) / "sheets").glob("*.jpg"))
        links = [f"[{path.stem.removeprefix('shard=')}](../{root.relative(path)})" for path in found[:SHEETS]]
        more = f" and {len(found) - SHEETS} more in {folder}/sheets" if len(found) > SHEETS else ""
        lines += [f"- {title}: {', '.join(links)}{more}"] if links else []
    return "## Pictures\n" + ("\n".join(lines) or "None yet.")
