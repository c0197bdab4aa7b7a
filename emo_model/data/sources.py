"""The registry of sources: which raw files and URLs there are, and in which shard each is worked on.

    0_raw/collections.json    {name: {path, licence, kind, identity}}: folders elsewhere, kept where they are
    0_raw/**                  files dropped in: collection "drop"
    0_raw/NAME.urls.txt       one URL a line: collection NAME
    0_raw/sources.parquet     what `register` made of it; rows are only ever added, a shard closes when full

A source is named by its collection and its path in it (a URL by site and id), so a moved data root or a re-mounted
folder changes nothing.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from emo_model.data import hdtf
from emo_model.data.records import SOURCES
from emo_model.data.store import DataRoot, one_at_a_time, text_sha256, write_json, write_rows
from emo_model.errors import UserError

SHARD_SOURCES = 200
SHARD_BYTES = 2 * 10**9
DROP = "drop"
MEDIA = "media"  # folder in 0_raw where downloads lie
UNKNOWN_LICENCE = "unknown"
HDTF_LICENCE = "videos: their sites'; lists: CC BY 4.0 (HDTF)"
FOLLOWING = ("licence", "identity_hint", "ranges", "split_hint")  # columns of a source that follow its collection

# What people keep beside videos. Everything else is taken, and refused with a reason if it is no video.
_TEXTS = ".txt .md .json .jsonl .csv .tsv .yaml .yml .xml .html .pdf .srt .vtt .py .ipynb .lock .db"
_ARRAYS = ".parquet .npy .npz .mat .pkl .pt .safetensors .zip .tar .gz"
_OTHER_MEDIA = ".png .jpg .jpeg .webp .gif .bmp .wav .mp3 .flac .m4a .aac .ogg .opus"
_HALF_WRITTEN = ".part .tmp .crdownload .ytdl .download"
NOT_VIDEO = frozenset(f"{_TEXTS} {_ARRAYS} {_OTHER_MEDIA} {_HALF_WRITTEN}".split())


class Collection(BaseModel):
    """Where sources come from, under which licence, and how a file names its person."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = ""  # absolute folder; empty: 0_raw itself
    licence: str = UNKNOWN_LICENCE
    kind: Literal["folder", "urls"] = "folder"
    identity: Literal["none", "hdtf", "folder"] = "none"  # HDTF's file names; the sub-folder's name
    annotations: str = ""  # folder of HDTF's lists: which seconds of its videos are used, and whose they are


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
    identity: Literal["none", "hdtf", "folder"] = "none",
    annotations: Path | None = None,
) -> RegistryReport:
    """Make a folder of videos a collection, and register what is in it. The folder is only ever read.

    annotations: HDTF's lists, for whole videos called NAME.EXT or SUBSET_NAME.EXT.
    """
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"wanted a folder of videos; {folder} is none; run: emo prepare FOLDER")
    name, known = name or folder.name, collections(root)
    if name in known and Path(known[name].path) != folder:
        taken = known[name].path or "0_raw itself"
        raise UserError(f"collection {name!r} is already {taken}; run: emo prepare {folder} --name OTHER_NAME")
    lists = _lists_folder(annotations) if annotations else ""
    known[name] = Collection(path=str(folder), licence=licence, identity=identity, annotations=lists)
    _save(root, known)
    return register(root)


@one_at_a_time
def add_hdtf(root: DataRoot, annotations: Path, name: str = "hdtf") -> RegistryReport:
    """Make every video of HDTF's lists a source to download, and register it."""
    known = collections(root)
    known[name] = Collection(kind="urls", licence=HDTF_LICENCE, identity="hdtf", annotations=_lists_folder(annotations))
    _save(root, known)
    return register(root)


def _lists_folder(folder: Path) -> str:
    folder = folder.expanduser().absolute()
    hdtf.read(folder)  # said now, not in the middle of a night's run
    return str(folder)


def _save(root: DataRoot, known: dict[str, Collection]) -> None:
    write_json(root.folder("0_raw") / "collections.json", {key: value.model_dump() for key, value in known.items()})


@one_at_a_time
def register(root: DataRoot) -> RegistryReport:
    """Add every new source to the registry; known ones keep their shard for ever, also when their file is gone.

    Licence, person and annotations follow the collection as it is now: a correction reaches the sources that are known.
    """
    known = registered(root)
    rows, place = list(known), {row["source_id"]: at for at, row in enumerate(known)}
    skipped: list[tuple[str, str]] = []
    for row in _scan(root, skipped):
        at = place.setdefault(row["source_id"], len(rows))
        if at < len(rows):
            rows[at] = rows[at] | {name: row[name] for name in FOLLOWING}
        else:
            rows.append({**row, "number": len(rows), "shard": _shard_for(rows, row["bytes"] or 0)})
    write_rows(root.single(SOURCES), SOURCES, rows)
    return RegistryReport(
        total=len(rows),
        new=len(rows) - len(known),
        shards=tuple(sorted({row["shard"] for row in rows})),
        by_collection=dict(sorted(Counter(row["source"] for row in rows).items())),
        skipped=tuple(skipped),
    )


def registered(root: DataRoot, shard: str | None = None) -> list[dict[str, Any]]:
    """Rows of the registry in the order of registration, of one shard or of all."""
    import pyarrow.parquet as pq

    path = root.single(SOURCES)
    rows = pq.ParquetFile(path).read().to_pylist() if path.exists() else []
    return [row for row in rows if shard in (None, row["shard"])]


def local_path(root: DataRoot, source: dict[str, Any], known: dict[str, Collection] | None = None) -> Path | None:
    """Where a source's bytes are on this machine; None for a URL not downloaded. `source`: a row of sources or videos.

    The file may be gone: callers look. `known` spares reading collections.json again.
    """
    collection = (known or collections(root)).get(source["source"])
    if collection is None:
        return None
    if collection.kind == "urls":
        name = f"{source['source_id']}.*"
        return min((root.folder("0_raw") / MEDIA / source["shard"]).glob(name), default=None)
    return Path(collection.path or root.folder("0_raw")) / source["uri"]


def video_path(root: DataRoot, shard: str, video_id: str) -> Path:
    """The file of a video that passed the probe. UserError if its collection or the file itself is gone."""
    from emo_model.data.rows_of import rows_of

    rows = [row for row in rows_of(root, "videos", shard, "video_id", [video_id]).to_pylist() if row["status"] == "ok"]
    path = local_path(root, rows[0]) if rows else None
    if path is None or not path.is_file():
        raise UserError(f"video {video_id[:12]} ({path}) is gone; bring it back, or run: emo prepare (to leave it out)")
    return path


def ranges_of(root: DataRoot, shard: str) -> dict[str, list[hdtf.Range]]:
    """video_id -> the annotated stretches that are used of it; videos that are used whole are not there."""
    listed = {row["source_id"]: row["ranges"] for row in registered(root, shard) if row["ranges"]}
    videos = root.read("videos", shard, ["video_id", "source_id", "status"]).to_pylist() if listed else []
    return {
        row["video_id"]: [hdtf.Range(**stretch) for stretch in listed[row["source_id"]]]
        for row in videos
        if row["status"] == "ok" and row["source_id"] in listed
    }


def identity_hint(rule: str, uri: str) -> str | None:
    """The person a file name stands for, by its collection's rule.

    hdtf: `WDA_KatieHill_000.mp4` -> KatieHill; numbers tell one person's videos apart. `RD_Radio31_000.mp4` -> Radio:
    nobody knows which hosts are the same, so that all of them stay on one side.
    """
    path = PurePosixPath(uri)
    if rule == "folder":
        return path.parts[0] if len(path.parts) > 1 else None
    if rule == "hdtf":
        match = re.fullmatch(r"(?:RD|WDA|WRA)_(.*?\D\d*)(?:_\d+)?", path.stem)
        return hdtf.person(match[1]) if match else None
    return None


# ---- scanning ----


def _scan(root: DataRoot, skipped: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Every source that is there now, collections and paths in order: a new root always registers alike."""
    for name, collection in sorted(collections(root).items()):
        if collection.kind == "urls":
            yield from _scan_urls(root, name, collection)
        else:
            yield from _scan_folder(root, name, collection, skipped)


def _scan_folder(
    root: DataRoot, name: str, collection: Collection, skipped: list[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    top, listed = Path(collection.path or root.folder("0_raw")), _Annotations(collection)
    for path in _files(top, without=() if collection.path else (MEDIA,), skipped=skipped):
        uri = path.relative_to(top).as_posix()
        status = _status(path)
        if isinstance(status, str):
            skipped.append((ascii(uri), status))
            continue
        if not uri.isprintable():  # also names that are no UTF-8: no table could hold them
            skipped.append((repr(uri), "the name holds characters that cannot be shown; rename the file"))
            continue
        yield {
            "source_id": text_sha256(f"{name}:{uri}")[:16],
            "source": name,
            "uri": uri,
            "licence": collection.licence,
            **_NOT_LISTED,
            "identity_hint": identity_hint(collection.identity, uri),
            "bytes": status.st_size,
            **listed.of_file(path.stem),
        }


def _files(top: Path, without: tuple[str, ...], skipped: list[tuple[str, str]]) -> Iterator[Path]:
    """What may be a video by its name, in sorted order; hidden names, notes and half-written ones are passed over."""

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
    return status if stat.S_ISREG(status.st_mode) else "neither a file nor a folder"


def _url_lists(root: DataRoot) -> dict[str, Path]:
    return {path.name.removesuffix(".urls.txt"): path for path in sorted(root.folder("0_raw").glob("*.urls.txt"))}


def _scan_urls(root: DataRoot, name: str, collection: Collection) -> Iterator[dict[str, Any]]:
    seen = set()
    for url, listed in _addresses(root, name, collection):
        source_id = text_sha256(_site_and_id(url))[:16]
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


def _addresses(root: DataRoot, name: str, collection: Collection) -> Iterator[tuple[str, dict[str, Any]]]:
    """URLs and what is known of them: from HDTF's lists, or a line each in 0_raw/NAME.urls.txt."""
    if collection.annotations:
        listed = _Annotations(collection)
        yield from ((video.url, listed.of_video(video)) for video in listed.lists.videos)
    elif name in (found := _url_lists(root)):
        lines = (line.strip() for line in found[name].read_text(encoding="utf-8-sig").splitlines())
        yield from ((url, _NOT_LISTED) for url in lines if url and not url.startswith("#"))


_NOT_LISTED: dict[str, Any] = {"identity_hint": None, "ranges": None, "split_hint": None}


class _Annotations:
    """What HDTF's lists, if the collection has them, say of its videos; columns of `sources`."""

    def __init__(self, collection: Collection) -> None:
        self.lists = hdtf.read(Path(collection.annotations)) if collection.annotations else hdtf.Lists((), ())
        self._split, self._videos = hdtf.split(self.lists), self.lists.by_name()

    def of_video(self, video: hdtf.Video) -> dict[str, Any]:
        """Person, ranges and split of a listed video."""
        ranges = [asdict(stretch) for stretch in video.ranges]
        return {"identity_hint": video.person, "ranges": ranges, "split_hint": self._split.side(video.person)}

    def of_file(self, stem: str) -> dict[str, Any]:
        """Of a file SUBSET_NAME or NAME. Others are used whole; a clip SUBSET_NAME_00k has its person's side."""
        names = [stem, *(f"{subset}_{stem}" for subset in hdtf.SUBSETS)]
        video = next((self._videos[name] for name in names if name in self._videos), None)
        if video is not None:
            return self.of_video(video)
        who = identity_hint("hdtf", stem) if self._videos else None
        return {"split_hint": self._split.side(who)} if who else {}


def _site_and_id(url: str) -> str:
    """`youtube:ID` and the like, so that two spellings of one address are one source; else the URL itself."""
    from yt_dlp.extractor import gen_extractor_classes

    for site in gen_extractor_classes():
        if site.IE_NAME != "generic" and site.suitable(url):
            return f"{site.IE_NAME}:{site.get_temp_id(url)}" if site.get_temp_id(url) else url
    return url


def _shard_for(rows: list[dict[str, Any]], size: int) -> str:
    """The last shard while it has room, else the next one. A single huge file fills a shard of its own."""
    if not rows:
        return "s0000"
    last = rows[-1]["shard"]
    inside = [row["bytes"] or 0 for row in rows if row["shard"] == last]
    if len(inside) < SHARD_SOURCES and sum(inside) + size <= SHARD_BYTES:
        return last
    return f"s{int(last[1:]) + 1:04d}"
