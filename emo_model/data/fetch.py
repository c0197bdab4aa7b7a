"""Step raw_videos: every source's bytes on this machine, and what they hash to.

Local files are hashed where they lie. URLs are downloaded (downloads.py), folders of pictures packed (pictures.py),
into 0_raw/media/SHARD/. The same bytes from two sources are one video: the source registered first keeps it, whatever
the shard. To see that without waiting for other shards, earlier sources of exactly the same size are hashed too.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emo_model.data.downloads import COOKIES, Downloads, download
from emo_model.data.media import MediaError
from emo_model.data.pictures import SUFFIX, pack
from emo_model.data.removal import REASON, Removed
from emo_model.data.shards import Item, Reject, Result, Step
from emo_model.data.sources import MEDIA, collections, local_paths, original, registered, registry
from emo_model.data.store import DataRoot, file_sha256, text_sha256


def items(root: DataRoot, shard: str) -> list[Item]:
    """One item a source: its place and state on disk, and the earlier sources that might be the same file.

    Of other shards' sources only those are looked at whose size, as registered or fetched, is that of one of ours.
    """
    known, ours = collections(root), registered(root, shard)
    places = local_paths(root, ours, known)
    states = {name: _state(path) for name, path in places.items()}
    before_ours = _earlier_of_size(root, {size for size, _ in states.values() if size}, ours)
    places |= (others := local_paths(root, before_ours, known))
    states |= {name: _state(path) for name, path in others.items()}
    before, removed = root.read("fetched", shard).to_pylist(), Removed.of(root)
    known_videos = {row["source_id"]: row["video_id"] for row in before}
    fetched = {row["source_id"]: row["input_sha256"] for row in before if row["status"] == "ok"}
    failed = {row["source_id"]: row["input_sha256"] for row in before if row["reason"] == "download_failed"}
    cookies = root.folder("0_raw") / COOKIES
    if cookies.is_file():  # with new ones, what was refused is asked for anew
        login = str(_state(cookies))
        failed |= {row["source_id"]: login for row in before if row["reason"] == "unavailable"}
    by_size: dict[int, list[str]] = {}
    work = []
    for source in before_ours + ours:
        name = source["source_id"]
        size = states[name][0]
        earlier = tuple(by_size.get(size, ())) if size else ()
        by_size.setdefault(size, []).append(name)
        if source["shard"] == shard:
            collection = known[source["source"]]
            if removed.has(source, known_videos.get(name)):
                work.append(Item(name, text_sha256(REASON), {"removed": known_videos.get(name)}))
                continue
            url = source["uri"] if collection.kind == "urls" else None
            pictures = None
            asked: object = url or states[name]
            if source["uri"].endswith("/"):  # what it is packed from counts, not the packed file
                pictures = (str(original(root, source, collection)), source["fps"])
                asked = (*pictures[1:], _state(Path(pictures[0])))
            again = failed.get(name, "")  # other inputs than the last time: a failed download is tried anew
            if (url or pictures) and not size:  # so is what was there once, and is gone from 0_raw/media
                again = again or fetched.get(name, "")
            inputs = text_sha256(asked, again, *((other, states[other]) for other in earlier))
            twins = [(other, str(places[other])) for other in earlier]
            payload = {"path": str(places[name]), "url": url, "pictures": pictures, "twins": twins}
            work.append(Item(name, inputs, payload))
    return work


def _earlier_of_size(root: DataRoot, sizes: set[int], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sources registered before ours, in other shards, of one of these sizes when registered or last fetched."""
    if not ours:
        return []
    fetched = set[str]()
    for path in root.parts("fetched"):
        by_size = _fetched_sizes(path, path.stat().st_mtime_ns)
        fetched |= {name for size in sizes & by_size.keys() for name in by_size[size]}
    rows = registry(root)
    alike = pc.or_(
        pc.is_in(rows["bytes"], pa.array(sizes, pa.int64())),
        pc.is_in(rows["source_id"], pa.array(fetched, pa.string())),
    )
    return rows.filter(pc.and_(pc.less(rows["number"], ours[0]["number"]), alike)).to_pylist()


@lru_cache(maxsize=4096)
def _fetched_sizes(path: Path, _changed: int) -> dict[int, list[str]]:
    """Bytes -> sources of a shard. Kept as long as the file is unchanged: every shard asks about all others."""
    found: dict[int, list[str]] = {}
    for row in pq.ParquetFile(path).read(columns=["source_id", "bytes"]).to_pylist():
        found.setdefault(row["bytes"] or 0, []).append(row["source_id"])
    return found


def _state(path: Path | None) -> tuple[int, int]:
    """(bytes, time of change) of a file; (0, 0) where there is none. A changed file is hashed anew."""
    try:
        status = path.stat() if path else None
    except OSError:
        status = None
    return (status.st_size, status.st_mtime_ns) if status else (0, 0)


def work(root: DataRoot, shard: str, item: Item) -> Result:
    """Fetch if needed, hash, compare with earlier sources of the same size."""
    if "removed" in item.payload:  # its bytes stay known: that is how they are refused next time
        return _rejected(Reject("source", item.key, REASON), item.payload["removed"])
    path, media = Path(item.payload["path"]), root.folder("0_raw") / MEDIA / shard
    if item.payload["url"]:
        fetched = download(item.payload["url"], media, item.key, Downloads.of(root))
        if isinstance(fetched, Reject):
            return _rejected(fetched)
        path = fetched
    if item.payload["pictures"]:
        folder, fps = item.payload["pictures"]
        try:
            path = pack(Path(folder), media / f"{item.key}{SUFFIX}", fps)
        except MediaError as error:
            return _rejected(Reject("source", item.key, error.reason, detail=error.detail[:500]))
    try:
        if not path.is_file():
            return _rejected(Reject("source", item.key, "missing_file", detail=path.name))
        size = path.stat().st_size
        if size == 0:
            return _rejected(Reject("source", item.key, "empty_file", score=0, threshold=1, detail=path.name))
        sha256 = file_sha256(path)
    except OSError as error:  # the user's file, not our disk
        return _rejected(Reject("source", item.key, "unreadable", detail=f"{path.name}: {error.strerror}"))
    if sha256 in Removed.of(root).videos:  # the same bytes again, from somewhere else
        return _rejected(Reject("source", item.key, REASON), sha256, size)
    for twin, place in item.payload["twins"]:
        if _same(Path(place), size, sha256):
            return _rejected(Reject("source", item.key, "duplicate_of", detail=twin), sha256, size)
    return Result({"fetched": [_row(item.key, sha256, size)]})


def _same(path: Path, size: int, sha256: str) -> bool:
    try:
        return path.stat().st_size == size and file_sha256(path) == sha256
    except OSError:
        return False  # the earlier file is gone or closed to us: this one takes its place


def _row(source_id: str, sha256: str | None, size: int | None, reason: str | None = None) -> dict[str, Any]:
    status = "rejected" if reason else "ok"
    return {"source_id": source_id, "video_id": sha256, "bytes": size, "status": status, "reason": reason}


def _rejected(reject: Reject, sha256: str | None = None, size: int | None = None) -> Result:
    return Result({"fetched": [_row(reject.id, sha256, size, reject.reason)]}, (reject,))


STEP = Step(
    name="raw_videos",
    version=2,
    tables=("fetched",),
    after=(),
    description="Every source's bytes on this machine and their sha256; duplicates and failed downloads left out.",
    items=items,
    work=work,
)
