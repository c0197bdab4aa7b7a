"""The registry of sources: which raw files and URLs there are, and in which shard each is worked on.

    0_raw/collections.json    {name: {path, licence, kind, identity}}: folders elsewhere, kept where they are
    0_raw/**                  files dropped in: collection "drop"
    0_raw/NAME.urls.txt       one URL a line: collection NAME; channels and play lists stand for their videos
    0_raw/sources.parquet     what `register` made of it; rows are only ever added, a shard closes when full

A source is named by its collection and its path in it (a URL by site and id), so a moved data root or a re-mounted
folder changes nothing. The path of a folder of pictures, which is one video, ends with a slash.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from emo_model.data import annotations as annotated
from emo_model.data import hdtf, vfhq
from emo_model.data.annotations import Lists, Range, Video
from emo_model.data.downloads import Downloads, Listings, is_list
from emo_model.data.pictures import is_picture
from emo_model.data.records import SOURCES
from emo_model.data.store import DataRoot, one_at_a_time, text_sha256, write_json, write_rows
from emo_model.errors import UserError

SHARD_SOURCES = 200
SHARD_BYTES = 2 * 10**9
DROP = "drop"
MEDIA = "media"  # folder in 0_raw where downloads lie
UNKNOWN_LICENCE = "unknown"
FOLLOWING = ("licence", "identity_hint", "ranges", "split_hint", "fps")  # columns that follow a source's collection
Identity = Literal["none", "hdtf", "celebv-hq", "vfhq", "folder"]
IDENTITIES = get_args(Identity)

# What people keep beside videos. Everything else is taken, and refused with a reason if it is no video.
_TEXTS = ".txt .md .json .jsonl .csv .tsv .yaml .yml .xml .html .pdf .srt .vtt .py .ipynb .lock .db"
_ARRAYS = ".parquet .npy .npz .mat .pkl .pt .safetensors .zip .tar .gz"
_OTHER_MEDIA = ".png .jpg .jpeg .webp .gif .bmp .wav .mp3 .flac .m4a .aac .ogg .opus"
_HALF_WRITTEN = ".part .tmp .crdownload .ytdl .download"
_VIDEO_FILES = (".mp4", ".webm", ".mkv", ".mov")
NOT_VIDEO = frozenset(f"{_TEXTS} {_ARRAYS} {_OTHER_MEDIA} {_HALF_WRITTEN}".split())


class Collection(BaseModel):
    """Where sources come from, under which licence, and how a file names its person."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = ""  # absolute folder; empty: 0_raw itself
    licence: str = UNKNOWN_LICENCE
    kind: Literal["folder", "urls"] = "folder"
    identity: Identity = "none"  # a data set's file names; the sub-folder's name
    annotations: str = ""  # a data set's lists: which seconds of its videos are used, and whose they are


@dataclass(frozen=True)
class RegistryReport:
    """What `register` found. `skipped` lists (name, why)."""

    total: int
    new: int
    shards: tuple[str, ...]
    by_collection: dict[str, int]
    skipped: tuple[tuple[str, str], ...]


def collections(root: DataRoot) -> dict[str, Collection]:
    """The collections by name; "drop" and the URL lists need no entry. UserError where the file is not understood."""
    path = root.folder("0_raw") / "collections.json"
    found: dict[str, Collection] = {}
    if path.exists():
        try:
            found = TypeAdapter(dict[str, Collection]).validate_json(path.read_bytes())
        except ValidationError as error:
            raise UserError(f"{path}: {error.errors()[0]['msg']} at {error.errors()[0]['loc']}; mend it") from error
    found.setdefault(DROP, Collection())
    for name in _url_lists(root):
        found.setdefault(name, Collection(kind="urls"))
    return found


@one_at_a_time
def add_folder(
    root: DataRoot,
    folder: Path,
    name: str | None = None,
    licence: str = UNKNOWN_LICENCE,
    identity: Identity = "none",
    annotations: Path | None = None,
) -> RegistryReport:
    """Make a folder of videos a collection, and register what is in it. The folder is only ever read.

    annotations: a data set's lists (annotations.read), for its whole videos or its single clips, by their files' names.
    """
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"wanted a folder of videos; {folder} is none; run: emo prepare FOLDER")
    name, known = name or folder.name, collections(root)
    if name in known and Path(known[name].path) != folder:
        taken = known[name].path or "0_raw itself"
        raise UserError(f"collection {name!r} is already {taken}; run: emo prepare {folder} --name OTHER_NAME")
    place, lists = _lists(annotations) if annotations else ("", None)
    if lists:
        identity = lists.format if identity == "none" else identity  # type: ignore[assignment]
        licence = lists.licence if licence == UNKNOWN_LICENCE else licence
    known[name] = Collection(path=str(folder), licence=licence, identity=identity, annotations=place)
    _save(root, known)
    return register(root)


@one_at_a_time
def add_lists(root: DataRoot, annotations: Path, name: str | None = None) -> RegistryReport:
    """Make every video of a data set's lists (annotations.read) a source to download, and register it."""
    known, (place, lists) = collections(root), _lists(annotations)
    known[name or lists.format] = Collection(
        kind="urls",
        licence=lists.licence,
        identity=lists.format,  # type: ignore[arg-type]
        annotations=place,
    )
    _save(root, known)
    return register(root)


def _lists(path: Path) -> tuple[str, Lists]:
    path = path.expanduser().absolute()
    return str(path), annotated.read(path)  # what is wrong is said now, not in the middle of a night's run


def _save(root: DataRoot, known: dict[str, Collection]) -> None:
    write_json(root.folder("0_raw") / "collections.json", {key: value.model_dump() for key, value in known.items()})


@one_at_a_time
def register(root: DataRoot) -> RegistryReport:
    """Add every new source to the registry; known ones keep their shard for ever, also when their file is gone.

    Licence, person and annotations follow the collection as it is now: a correction reaches the sources that are known.
    A video that two collections name belongs to the one that was registered first.
    """
    known = registered(root)
    rows, place = list(known), {row["source_id"]: at for at, row in enumerate(known)}
    skipped: list[tuple[str, str]] = []
    shards, elsewhere = Shards(known), Counter[tuple[str, str]]()
    for row in _scan(root, {row["uri"]: row["source_id"] for row in known}, skipped):
        at = place.setdefault(row["source_id"], len(rows))
        if at < len(rows) and rows[at]["source"] != row["source"]:
            elsewhere[row["source"], rows[at]["source"]] += 1
        elif at < len(rows):
            rows[at] = rows[at] | {name: row[name] for name in FOLLOWING}
        else:
            rows.append({**row, "number": len(rows), "shard": shards.take(row["bytes"] or 0)})
    write_rows(root.single(SOURCES), SOURCES, rows)
    skipped += [
        (ours, f"{n} of its videos are in {first} already, as which they stay")
        for (ours, first), n in elsewhere.items()
    ]
    return RegistryReport(
        total=len(rows),
        new=len(rows) - len(known),
        shards=tuple(sorted({row["shard"] for row in rows})),
        by_collection=dict(sorted(Counter(row["source"] for row in rows).items())),
        skipped=tuple(skipped),
    )


class Shards:
    """Deals sources to shards: the last one while it has room, else the next. A huge file has a shard of its own."""

    def __init__(self, rows: Iterable[dict[str, Any]] = ()) -> None:
        self._last, self._count, self._bytes = -1, SHARD_SOURCES, 0
        for row in rows:
            self._add(int(row["shard"][1:]), row["bytes"] or 0)

    def take(self, size: int) -> str:
        """The shard of a further source of so many bytes (0: unknown)."""
        full = self._count >= SHARD_SOURCES or self._bytes + size > SHARD_BYTES
        self._add(self._last + full, size)
        return f"s{self._last:04d}"

    def _add(self, shard: int, size: int) -> None:
        if shard != self._last:
            self._last, self._count, self._bytes = shard, 0, 0
        self._count, self._bytes = self._count + 1, self._bytes + size


def registered(root: DataRoot, shard: str | None = None) -> list[dict[str, Any]]:
    """Rows of the registry in the order of registration, of one shard or of all."""
    rows = registry(root)
    return (rows if shard is None else rows.filter(pc.equal(rows["shard"], shard))).to_pylist()


def registry(root: DataRoot) -> pa.Table:
    """The registry itself, in the order of registration."""
    path = root.single(SOURCES)
    if not path.exists():
        return SOURCES.schema.empty_table()
    status = path.stat()
    return _read(path, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=1)
def _read(path: Path, _changed: int, _file: int) -> pa.Table:
    """Kept as long as the file is unchanged: every step of every shard asks."""
    return pq.ParquetFile(path).read()


def local_path(root: DataRoot, source: dict[str, Any], known: dict[str, Collection] | None = None) -> Path | None:
    """Where a source's bytes are on this machine; None for a URL not downloaded. `source`: a row of sources or videos.

    The file may be gone: callers look. `known` spares reading collections.json again.
    """
    return local_paths(root, [source], known)[source["source_id"]]


def local_paths(
    root: DataRoot, rows: Iterable[dict[str, Any]], known: dict[str, Collection] | None = None
) -> dict[str, Path | None]:
    """source_id -> `local_path`, with one look into each shard's folder of downloads."""
    known, fetched = known or collections(root), dict[str, dict[str, Path]]()
    found: dict[str, Path | None] = {}
    for row in rows:
        collection, shard = known.get(row["source"]), row["shard"]
        if collection is None:
            found[row["source_id"]] = None
        elif collection.kind == "urls" or row["uri"].endswith("/"):
            if shard not in fetched:
                files = sorted((root.folder("0_raw") / MEDIA / shard).glob("[!.]*.*"), reverse=True)
                fetched[shard] = {path.name.partition(".")[0]: path for path in files}
            found[row["source_id"]] = fetched[shard].get(row["source_id"])
        else:
            found[row["source_id"]] = original(root, row, collection)
    return found


def original(root: DataRoot, source: dict[str, Any], collection: Collection) -> Path:
    """The user's own file, or folder of pictures."""
    return Path(collection.path or root.folder("0_raw")) / source["uri"]


def finished_twice(root: DataRoot) -> list[str]:
    """Shards that hold a video which an earlier shard holds too: both were fetched at the same time, unseen by each
    other. Their next run finds the copy (duplicate_of)."""
    videos = root.read("videos", columns=["video_id", "shard", "status"]).sort_by("shard").to_pylist()
    first: dict[str, str] = {}
    good = (row for row in videos if row["status"] == "ok")
    later = {row["shard"] for row in good if first.setdefault(row["video_id"], row["shard"]) != row["shard"]}
    return sorted(later)


def require_each_video_once(root: DataRoot) -> None:
    """UserError naming the command where one video stands in two shards: its clips would count twice."""
    if shards := finished_twice(root):
        raise UserError(f"one video stands in two shards; run: emo prepare --shard {shards[0]}, then this again")


def video_path(root: DataRoot, shard: str, video_id: str) -> Path:
    """The file of a video that passed the probe. UserError if its collection or the file itself is gone."""
    from emo_model.data.rows_of import rows_of

    rows = [row for row in rows_of(root, "videos", shard, "video_id", [video_id]).to_pylist() if row["status"] == "ok"]
    path = local_path(root, rows[0]) if rows else None
    if path is None or not path.is_file():
        raise UserError(f"video {video_id[:12]} ({path}) is gone; bring it back, or run: emo prepare (to leave it out)")
    return path


def ranges_of(root: DataRoot, shard: str) -> dict[str, list[Range]]:
    """video_id -> the annotated stretches that are used of it; videos that are used whole are not there."""
    listed = {row["source_id"]: row["ranges"] for row in registered(root, shard) if row["ranges"]}
    videos = root.read("videos", shard, ["video_id", "source_id", "status"]).to_pylist() if listed else []
    return {
        row["video_id"]: [Range(**stretch) for stretch in listed[row["source_id"]]]
        for row in videos
        if row["status"] == "ok" and row["source_id"] in listed
    }


def identity_hint(rule: str, uri: str) -> str | None:
    """The person a file name stands for, by its collection's rule.

    folder: the first sub-folder. A data set's name: as its files are called, `WDA_KatieHill_000.mp4` -> KatieHill
    (hdtf.py, celebv_hq.py, vfhq.py).
    """
    path = PurePosixPath(uri)
    if rule == "folder":
        return path.parts[0] if len(path.parts) > 1 else None
    return None if rule == "none" else annotated.person_of_file(rule, path.stem)


# ---- scanning ----


def _scan(root: DataRoot, ids: Mapping[str, str], skipped: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Every source that is there now, collections and paths in order: a new root always registers alike.

    ids: uri -> source_id of known ones, which spares asking hundreds of sites' patterns for each URL.
    """
    for name, collection in sorted(collections(root).items()):
        if collection.kind == "urls":
            yield from _scan_urls(root, name, collection, ids, skipped)
        else:
            yield from _scan_folder(root, name, collection, skipped)


def _scan_folder(
    root: DataRoot, name: str, collection: Collection, skipped: list[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    top, listed = Path(collection.path or root.folder("0_raw")), _Annotations(collection)
    for path in _files(top, without=() if collection.path else (MEDIA,), skipped=skipped):
        uri = path.relative_to(top).as_posix()
        status = _status(path)
        fps = None
        if isinstance(status, str):
            skipped.append((ascii(uri), status))
            continue
        if not uri.isprintable():  # also names that are no UTF-8: no table could hold them
            skipped.append((repr(uri), "the name holds characters that cannot be shown; rename the file"))
            continue
        if pictures := stat.S_ISDIR(status.st_mode):
            uri, fps = f"{uri}/", listed.lists.fps.get(path.name)
            if fps is None:
                skipped.append((uri, "pictures, and no list says how many a second; run: emo prepare FOLDER --lists …"))
                continue
        yield {
            "source_id": text_sha256(f"{name}:{uri}")[:16],
            "source": name,
            "uri": uri,
            "licence": collection.licence,
            **_NOT_LISTED,
            "identity_hint": identity_hint(collection.identity, uri),
            "bytes": None if pictures else status.st_size,
            "fps": fps,
            **({} if pictures else listed.of_file(path.stem)),
        }


def scan_folder(
    folder: Path, skipped: list[tuple[str, str]], without: tuple[str, ...] = ()
) -> Iterator[tuple[Path, int]]:
    """(file, bytes) of everything in a folder, but for the sub-folders `without`, that would be registered; `skipped`
    gets (name, why)."""
    for path in _files(folder, without=without, skipped=skipped):
        status = _status(path)
        if isinstance(status, str):
            skipped.append((ascii(path.name), status))
        else:
            whole = path.is_file()
            yield path, status.st_size if whole else sum(file.stat().st_size for file in path.iterdir())


def _files(top: Path, without: tuple[str, ...], skipped: list[tuple[str, str]]) -> Iterator[Path]:
    """What may be a video by its name, in sorted order; hidden names, notes and half-written ones are passed over.

    Folders of pictures are videos where they are called as VFHQ's are.
    """

    def closed(error: OSError) -> None:
        skipped.append((ascii(os.path.relpath(error.filename, top)), f"a folder that cannot be read: {error.strerror}"))

    for folder, subfolders, names in os.walk(top, onerror=closed):
        here = Path(folder)
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and not (here == top and name in without)
        )
        for name in subfolders:
            if (here / name).is_symlink():  # it may lead back here
                uri = (here / name).relative_to(top).as_posix()
                skipped.append((ascii(uri), "a link to a folder is not followed; add the folder it leads to"))
        if vfhq.is_clip(here.name) and any(map(is_picture, names)):
            yield here
        for name in sorted(names):
            path = here / name
            if not name.startswith((".", "~")) and path.suffix.lower() not in NOT_VIDEO:
                yield path


def _status(path: Path) -> os.stat_result | str:
    """A file's status, following links, or why it is none."""
    try:
        status = path.stat()
    except OSError as error:
        return f"it cannot be opened: {error.strerror}"
    return status if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) else "neither a file nor a folder"


def _url_lists(root: DataRoot) -> dict[str, Path]:
    return {path.name.removesuffix(".urls.txt"): path for path in sorted(root.folder("0_raw").glob("*.urls.txt"))}


def _scan_urls(
    root: DataRoot, name: str, collection: Collection, ids: Mapping[str, str], skipped: list[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    seen = set()
    for url, listed in _addresses(root, name, collection, skipped):
        source_id = ids.get(url) or text_sha256(_site_and_id(url))[:16]
        if source_id not in seen:  # HDTF lists one video under two names: the first has it
            seen.add(source_id)
            yield {
                "source_id": source_id,
                "source": name,
                "uri": url,
                "licence": collection.licence,
                "bytes": None,
                **listed,
            }


def _addresses(
    root: DataRoot, name: str, collection: Collection, skipped: list[tuple[str, str]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """URLs and what is known of them: from a data set's lists, or a line each in 0_raw/NAME.urls.txt."""
    if collection.annotations:
        listed = _Annotations(collection)
        yield from ((video.url, listed.of_video(video)) for video in listed.lists.videos)
    elif name in (found := _url_lists(root)):
        listings = Listings(root.folder("0_raw"), Downloads.of(root))
        for line in found[name].read_text(encoding="utf-8-sig").splitlines():
            url = line.strip()
            if url and not url.startswith("#"):
                videos = listings.videos(url, skipped) if is_list(url) else [url]
                yield from ((video, _NOT_LISTED) for video in videos)


_NOT_LISTED: dict[str, Any] = {"identity_hint": None, "ranges": None, "split_hint": None, "fps": None}


class _Annotations:
    """What a data set's lists, if the collection has them, say of its videos; columns of `sources`."""

    def __init__(self, collection: Collection) -> None:
        empty = Lists("none", UNKNOWN_LICENCE, (), ())
        self.lists = annotated.read(Path(collection.annotations)) if collection.annotations else empty
        self._videos = self.lists.by_name()

    def of_video(self, video: Video) -> dict[str, Any]:
        """Person, ranges and split of a listed video."""
        ranges = [asdict(stretch) for stretch in video.ranges]
        side = self.lists.side(video.person)
        return {**_NOT_LISTED, "identity_hint": video.person, "ranges": ranges, "split_hint": side}

    def of_file(self, stem: str) -> dict[str, Any]:
        """Of a file called as a whole video is (HDTF's: NAME or SUBSET_NAME). Others are used whole; a single clip, as
        SUBSET_NAME_00k, has its person's side."""
        names = [stem, *(f"{subset}_{stem}" for subset in hdtf.SUBSETS)]
        video = next((self._videos[name] for name in names if name in self._videos), None)
        if video is not None:
            return self.of_video(video)
        who = identity_hint(self.lists.format, stem) if self._videos else None
        return {"identity_hint": who, "split_hint": self.lists.side(who)} if who else {}


def _site_and_id(url: str) -> str:
    """`youtube:ID` and the like, so that two spellings of one address are one source; else the URL itself."""
    if url.lower().endswith(_VIDEO_FILES):
        return url  # asking 1,700 sites' patterns takes 20 ms
    from yt_dlp.extractor import gen_extractor_classes

    for site in gen_extractor_classes():
        if site.IE_NAME != "generic" and site.suitable(url):
            return f"{site.IE_NAME}:{site.get_temp_id(url)}" if site.get_temp_id(url) else url
    return url
