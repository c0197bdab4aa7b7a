"""Taking somebody out for good: a person, a source or a video.

    0_raw/removed.json    {"people": [identity_id], "sources": [source_id], "videos": [video_id]}

A person is everybody who shows that person's face (identities.py): another name, and videos that name nobody.
raw_videos refuses what stands there (removed_by_request), also where the same bytes, or a file that names the person,
come again from somewhere else (who returns unnamed is not known); so all their rows go, out of every manifest. The
files made of them are deleted. Raw files stay where they are: they are not ours. What learned from them cannot forget,
and is named, and so are other videos of the same recording.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from emo_model.data.store import DataRoot, write_json
from emo_model.errors import UserError

REASON = "removed_by_request"
SHORTEST = 8  # letters of an id's beginning that are enough


class Removed(BaseModel):
    """Who and what is out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    people: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    videos: frozenset[str] = frozenset()

    @classmethod
    def of(cls, root: DataRoot) -> "Removed":
        """What this data root remembers; nothing at first."""
        path = _path(root)
        return cls.model_validate_json(path.read_bytes()) if path.exists() else cls()

    def has(self, source: dict[str, Any], video_id: str | None) -> bool:
        """Whether a source (a row of `sources`), whose bytes are known as video_id, is out."""
        return source["identity_hint"] in self.people or source["source_id"] in self.sources or video_id in self.videos


@dataclass(frozen=True)
class Removal:
    """What `remove` did, and what it could not undo."""

    who: str
    videos: tuple[str, ...]
    files: int  # deleted
    raw: tuple[Path, ...]  # files and URLs' downloads that stay
    runs: tuple[str, ...]  # training runs that learned from them, or went on from one that did
    generated: tuple[str, ...]  # videos and sheets generated from one of their clips, or begun
    twins: tuple[str, ...]  # video_ids of near-duplicates, which are not removed
    shards: tuple[str, ...]  # whose rows have to be made anew


def remove(root: DataRoot, name: str) -> Removal:
    """Take a person (identity_id), source or video (id, its beginning, or the file's name) out of the data root.

    A person's videos go whole, with what they show of others.
    UserError where nothing is called so. Rows and catalog follow with the next `prepare` (the command does both).
    """
    from emo_model.data.sources import local_path, registered

    names, of_person = same_person(root, name)
    sources = _called(root, {name, *names}, of_person)
    ask = "emo query 'SELECT source_id, source, uri, identity_hint FROM videos'"
    if not sources:
        raise UserError(f"nobody and nothing is called {name!r}; run: {ask}")
    if sum(row["uri"] == name for row in sources) > 1:
        raise UserError(f"several sources are called {name!r}; name one by its source_id; run: {ask}")
    out, known = Removed.of(root), _videos(root)
    videos = {known[row["source_id"]] for row in sources if row["source_id"] in known}
    people = set(names) | ({name} if any(row["identity_hint"] == name for row in sources) else set())
    new = Removed(
        people=out.people | people,
        sources=out.sources | {row["source_id"] for row in sources},
        videos=out.videos | videos,
    )
    write_json(_path(root), {key: sorted(values) for key, values in new.model_dump().items()})
    same = [row for row in registered(root) if known.get(row["source_id"]) in videos or row in sources]
    places = (local_path(root, row) for row in same)
    for row in same:  # contact sheets show many people: they are drawn anew without this one
        for folder in ("1_clips", "rejected"):
            (root.folder(folder) / "sheets" / f"shard={row['shard']}.jpg").unlink(missing_ok=True)
        (root.folder("1_clips") / "sheets" / f"shard={row['shard']}.inputs").unlink(missing_ok=True)
    return Removal(
        who=name,
        videos=tuple(sorted(videos)),
        files=sum(_delete(path) for path in _made_of(root, videos)),
        raw=tuple(sorted({path for path in places if path and path.exists()})),
        runs=tuple(_runs(root, videos)),
        generated=tuple(sorted(root.relative(path) for path in (*_generated(root, videos), *shown(root, videos)))),
        twins=tuple(_twins(root, videos)),
        shards=tuple(sorted({row["shard"] for row in same})),
    )


def _twins(root: DataRoot, videos: set[str]) -> list[str]:
    """Other videos that share a recording with one of these."""
    of = {
        row["clip_id"]: row["video_id"] for row in root.read("clip_rows", columns=["clip_id", "video_id"]).to_pylist()
    }
    pairs = [(row["recording"], of.get(row["clip_id"])) for row in root.read_single("near_duplicates").to_pylist()]
    shared = {recording for recording, video in pairs if video in videos}
    return sorted({video for recording, video in pairs if recording in shared and video} - videos)


def _path(root: DataRoot) -> Path:
    return root.folder("0_raw") / "removed.json"


def same_person(root: DataRoot, name: str) -> tuple[set[str], set[str]]:
    """(identities, video_ids) of everybody who shows the main face of an identity; empty where nobody is called so."""
    rows = root.read_single("identities").to_pylist()
    faces = Counter(row["face_id"] for row in rows if row["identity_id"] == name and row["face_id"])
    main = min(faces, key=lambda face: (-faces[face], face), default=None)
    mine = [row for row in rows if row["identity_id"] == name or (main and row["face_id"] == main)]
    names = {row["identity_id"] for row in mine}
    return names, {row["video_id"] for row in rows if row["identity_id"] in names}


def _called(root: DataRoot, names: set[str], videos: set[str]) -> list[dict[str, Any]]:
    from emo_model.data.sources import registered

    known = _videos(root)
    starts = [name.removeprefix("unknown:") for name in names]

    def is_meant(row: dict[str, Any]) -> bool:
        ids = (row["source_id"], known.get(row["source_id"], ""))
        begins = any(len(start) >= SHORTEST and id.startswith(start) for start in starts for id in ids)
        return begins or ids[1] in videos or row["identity_hint"] in names or row["uri"] in names

    return [row for row in registered(root) if is_meant(row)]


def _videos(root: DataRoot) -> dict[str, str]:
    """source_id -> video_id, where the bytes are known."""
    rows = root.read("fetched", columns=["source_id", "video_id"]).to_pylist()
    return {row["source_id"]: row["video_id"] for row in rows if row["video_id"]}


def _made_of(root: DataRoot, videos: set[str]) -> Iterator[Path]:
    """Crops, sounds, features, previews and copies, decoded or cut anew, of the videos' clips."""
    crops = root.read("crops", columns=["video_id", "sha256"]).to_pylist()
    copies = {row["sha256"][:32] for row in crops if row["video_id"] in videos}
    for folder in ("1_clips", "2_faces", "3_motion", "4_audio", "8_evaluation/truth"):
        for path in (root.path / folder).rglob("*"):
            if path.is_file() and (path.stem in copies or _is_clip_of(path, videos)):
                yield path
    # What metrics saw of faces lies there by content, under nobody's name: everybody's is looked at again.
    yield from (root.path / "8_evaluation/features").glob("*")


def _generated(root: DataRoot, videos: set[str]) -> Iterator[Path]:
    """Videos of ours and of other methods, contact sheets, and the folders of what was stopped midway."""
    kinds = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".png", ".partial")
    for folder in ("7_generated", "methods"):
        for path in (root.path / folder).rglob("*"):
            if path.suffix in kinds and _is_clip_of(path, videos):
                yield path


def shown(root: DataRoot, videos: set[str]) -> Iterator[Path]:
    """What shows clips of the videos and may be handed out: films and sheets of reports, pages of studies."""
    for path in root.folder("8_evaluation").rglob("report/media/*"):
        if _is_clip_of(path, videos):
            yield path
    for key in root.path.glob("study/**/key.json"):
        clips = json.loads(key.read_text(encoding="utf-8"))["clips"].values()
        if any(_is_clip_of(Path(clip), videos) for clip in clips):
            yield key.with_name("page")


def _is_clip_of(path: Path, videos: set[str]) -> bool:
    video, _, start = path.stem.partition("_")
    return bool(start) and any(known.startswith(video) for known in videos) and len(video) == 12


def _delete(path: Path) -> int:
    path.unlink(missing_ok=True)
    return 1


def _runs(root: DataRoot, videos: set[str]) -> Iterator[str]:
    """Training runs that learned from the videos, or went on from one that did."""
    from emo_model.train.learned import learned_from

    for record in sorted(root.folder("6_checkpoints").glob("*/*/run.json")):
        if videos & learned_from(record.parent, "video_id"):
            yield root.relative(record.parent)
