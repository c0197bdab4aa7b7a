"""Step raw_videos: every source's bytes on this machine, and what they hash to.

Local files are hashed where they lie. URLs are downloaded by yt-dlp, as a library, into 0_raw/media/SHARD/. The same
bytes from two sources are one video: the source registered first keeps it, whatever the shard. To see that without
waiting for other shards, earlier sources of exactly the same size are hashed too.
"""

import random
import shutil
from pathlib import Path
from typing import Any

from emo_model.data.removal import REASON, Removed
from emo_model.data.shards import Item, Reject, Result, Step
from emo_model.data.sources import MEDIA, collections, local_path, registered
from emo_model.data.store import DataRoot, file_sha256, text_sha256

RETRIES, PAUSE_S = 5, 1.0
COOKIES = "cookies.txt"


def items(root: DataRoot, shard: str) -> list[Item]:
    """One item a source: its place and state on disk, and the earlier sources that might be the same file."""
    known, sources = collections(root), registered(root)
    places = {source["source_id"]: local_path(root, source, known) for source in sources}
    states = {name: _state(path) for name, path in places.items()}
    before, removed = root.read("fetched", shard).to_pylist(), Removed.of(root)
    known_videos = {row["source_id"]: row["video_id"] for row in before}
    failed = {row["source_id"]: row["input_sha256"] for row in before if row["reason"] == "download_failed"}
    cookies = root.folder("0_raw") / COOKIES
    if cookies.is_file():  # with new ones, what was refused is asked for anew
        login = str(_state(cookies))
        failed |= {row["source_id"]: login for row in before if row["reason"] == "unavailable"}
    by_size: dict[int, list[str]] = {}
    work = []
    for source in sources:
        name = source["source_id"]
        size = states[name][0]
        earlier = tuple(by_size.get(size, ())) if size else ()
        by_size.setdefault(size, []).append(name)
        if source["shard"] == shard:
            url = source["uri"] if known[source["source"]].kind == "urls" else None
            if removed.has(source, known_videos.get(name)):
                work.append(Item(name, text_sha256(REASON), {"removed": known_videos.get(name)}))
                continue
            again = failed.get(name, "")  # other inputs than the last time: a failed download is tried anew
            inputs = text_sha256(url or states[name], again, *((other, states[other]) for other in earlier))
            twins = [(other, str(places[other])) for other in earlier]
            work.append(Item(name, inputs, {"path": str(places[name]), "url": url, "twins": twins}))
    return work


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
    path = Path(item.payload["path"])
    if item.payload["url"]:
        fetched = download(item.payload["url"], root.folder("0_raw") / MEDIA / shard, item.key)
        if isinstance(fetched, Reject):
            return _rejected(fetched)
        path = fetched
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


def download(url: str, folder: Path, name: str) -> Path | Reject:
    """Download a video to folder/name.EXT, or return the file already there; a Reject says why there is none.

    Best picture and sound where an ffmpeg program can join them, else the best file that has both. Sites that want a
    login see the cookies of 0_raw/cookies.txt (Netscape's format, as browsers' add-ons export it).
    """
    import yt_dlp

    present = min(folder.glob(f"{name}.*"), default=None)
    if present is not None:
        return present
    temporary, cookies = folder / f".{name}", folder.parents[1] / COOKIES
    temporary.mkdir(parents=True, exist_ok=True)
    if cookies.is_file():
        shutil.copyfile(cookies, temporary / COOKIES)  # yt-dlp writes its own back: not into the user's file
    options = {
        "cookiefile": str(temporary / COOKIES) if cookies.is_file() else None,
        "format": "bv*+ba/b" if shutil.which("ffmpeg") else "b/bv*",
        "outtmpl": {"default": f"{name}.%(ext)s"},
        "paths": {"home": str(folder), "temp": str(temporary)},  # half a file never has the final name
        "retries": RETRIES,
        "fragment_retries": RETRIES,
        "retry_sleep_functions": {"http": _pause, "fragment": _pause},
        "noplaylist": True,
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "updatetime": False,
        "cachedir": False,
    }
    try:
        with yt_dlp.YoutubeDL(options) as loader:
            loader.extract_info(url, download=True)
    except yt_dlp.utils.DownloadError as error:
        return Reject("source", name, _why(error), detail=str(error).removeprefix("ERROR: ")[:500])
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    found = min(folder.glob(f"{name}.*"), default=None)
    return found or Reject("source", name, "download_failed", detail=f"{url}: nothing was written")


def _pause(attempt: int) -> float:
    """Seconds before the next attempt: longer each time, and not the same for two that were refused at once."""
    return PAUSE_S * 2**attempt * random.uniform(0.5, 1.5)


def _why(error: Exception) -> str:
    """Whether the site refused (and will again), or the way there failed."""
    from yt_dlp.networking.exceptions import HTTPError
    from yt_dlp.utils import ExtractorError

    raised = getattr(error, "exc_info", None)
    cause = raised[1] if raised else None
    inner = getattr(cause, "cause", None) or cause
    if isinstance(inner, HTTPError):
        return "unavailable" if inner.status in (401, 403, 404, 410, 451) else "download_failed"
    return "unavailable" if isinstance(cause, ExtractorError) and cause.expected else "download_failed"


STEP = Step(
    name="raw_videos",
    version=1,
    tables=("fetched",),
    after=(),
    description="Every source's bytes on this machine and their sha256; duplicates and failed downloads left out.",
    items=items,
    work=work,
)
