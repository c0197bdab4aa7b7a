"""Videos from the web, and the lists (channels, play lists) that name them: yt-dlp as a library, no shell.

0_raw/downloads.json    how hard sites may be asked (Downloads)
0_raw/cookies.txt       logins, in Netscape's format, as browsers' add-ons export it
0_raw/listings.json     what each channel and play list held when it was last asked
0_raw/media/SHARD/      what was downloaded: a file that is there is never fetched again
"""

import contextlib
import fcntl
import json
import random
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emo_model.data.shards import Reject
from emo_model.data.store import DataRoot, write_json
from emo_model.errors import UserError

RETRIES, PAUSE_S = 5, 1.0
TIMEOUT_S = 20
DEPTH = 3  # a channel lists its tabs, a tab its videos
COOKIES = "cookies.txt"
_LIST = "list "  # in front of an address: it is one, though yt-dlp cannot know


class Downloads(BaseModel):
    """How hard sites may be asked. A rate or a pause holds for all processes together: they then take turns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate_mb_s: float | None = Field(default=None, gt=0)  # megabytes a second in total; None: as fast as it comes
    pause_s: float = Field(default=0, ge=0)  # seconds between two requests, half more or less by chance
    list_again_h: float = Field(default=1, ge=0)  # hours until a channel or play list is asked again

    @classmethod
    def of(cls, root: DataRoot) -> "Downloads":
        """This data root's limits. UserError if they are bad."""
        path = _path(root)
        try:
            return cls.model_validate_json(path.read_bytes()) if path.exists() else cls()
        except ValidationError as error:
            raise UserError(f"{path} does not hold limits of downloads: {error}; mend or delete it") from error

    def with_(self, **limits: float) -> "Downloads":
        """The same with other limits. UserError if they are bad."""
        try:
            return Downloads(**{**self.model_dump(), **limits})  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{first['loc'][0]}: {first['msg'].lower()}; got {first['input']}") from error

    def save(self, root: DataRoot) -> None:
        """Make these the data root's limits."""
        write_json(_path(root), self.model_dump())


def _path(root: DataRoot) -> Path:
    return root.folder("0_raw") / "downloads.json"


# ---- one video ----


def download(url: str, folder: Path, name: str, limits: Downloads | None = None) -> Path | Reject:
    """Download a video to folder/name.EXT, or return the file already there; a Reject says why there is none.

    folder: 0_raw/media/SHARD. Best picture and sound where an ffmpeg program can join them, else the best file that has
    both.
    """
    import yt_dlp

    present = min(folder.glob(f"{name}.*"), default=None)
    if present is not None:
        return present
    temporary, limits = folder / f".{name}", limits or Downloads()
    options = {
        "format": "bv*+ba/b" if shutil.which("ffmpeg") else "b/bv*",
        "outtmpl": {"default": f"{name}.%(ext)s"},
        "paths": {"home": str(folder), "temp": str(temporary)},  # half a file never has the final name
        "ratelimit": limits.rate_mb_s and limits.rate_mb_s * 1e6,
        "noplaylist": True,
        "updatetime": False,
    }
    try:
        with _turn(folder.parent, limits), _loader(folder.parents[1], temporary, limits, options) as loader:
            found = loader.extract_info(url, download=False, process=False)
            if found.get("_type") in ("playlist", "multi_video"):
                detail = f"a list of videos: write `{_LIST}{url}` instead, to have them all"
                return Reject("source", name, "download_failed", detail=detail)
            loader.process_ie_result(found, download=True)
    except yt_dlp.utils.YoutubeDLError as error:
        reason, kind = refusal(error)
        return Reject("source", name, reason, detail=f"{kind}: {_message(error)}")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    present = min(folder.glob(f"{name}.*"), default=None)
    return present or Reject("source", name, "download_failed", detail=f"{url}: nothing was written")


@contextlib.contextmanager
def _loader(raw: Path, temporary: Path, limits: Downloads, options: dict[str, Any]) -> Iterator[Any]:
    import yt_dlp

    temporary.mkdir(parents=True, exist_ok=True)
    cookies = raw / COOKIES
    if cookies.is_file():
        shutil.copyfile(cookies, temporary / COOKIES)  # yt-dlp writes its own back: not into the user's file
    common = {
        "cookiefile": str(temporary / COOKIES) if cookies.is_file() else None,
        "retries": RETRIES,
        "fragment_retries": RETRIES,
        "extractor_retries": RETRIES,
        "retry_sleep_functions": {"http": _pause, "fragment": _pause, "extractor": _pause},
        "sleep_interval_requests": limits.pause_s,
        "socket_timeout": TIMEOUT_S,
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "cachedir": False,
    }
    with yt_dlp.YoutubeDL(common | options) as loader:
        yield loader


@contextlib.contextmanager
def _turn(media: Path, limits: Downloads) -> Iterator[None]:
    """With limits, one request of this data root at a time, and a pause after the last one, whoever made it."""
    if limits.rate_mb_s is None and not limits.pause_s:
        yield
        return
    media.mkdir(parents=True, exist_ok=True)
    with (media / ".turn").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        pause = limits.pause_s * random.uniform(0.5, 1.5)
        time.sleep(min(max(float(file.read() or 0) + pause - time.time(), 0), pause))
        try:
            yield
        finally:
            file.truncate(0)
            file.write(repr(time.time()))


def _pause(n: int) -> float:
    """Seconds before the next attempt: longer each time, and not the same for two that were refused at once."""
    return PAUSE_S * 2**n * random.uniform(0.5, 1.5)


# ---- why there is none ----

_REFUSALS = (  # by the words of the sites' messages; the first that fits
    ("blocked here", r"countr|region|your location|\bgeo"),
    ("private", r"private"),
    ("login wanted", r"sign in|log ?in|logged|members|\bage\b"),
    ("removed", r"remov|terminat|delet|no longer|not exist|not available|unavailable|closed"),
)
_STATUS = {401: "login wanted", 403: "login wanted", 404: "removed", 410: "removed", 451: "blocked here"}


def refusal(error: Exception) -> tuple[str, str]:
    """(reason, what kind): `unavailable` where the site refused and will again, else `download_failed`."""
    from yt_dlp.networking.exceptions import HTTPError
    from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError

    cause = error.exc_info[1] if isinstance(error, DownloadError) and error.exc_info else error
    inner = getattr(cause, "cause", None) or cause
    if isinstance(inner, HTTPError):
        known = _STATUS.get(inner.status)
        return ("unavailable", known) if known else ("download_failed", f"HTTP {inner.status}")
    if isinstance(cause, GeoRestrictedError):
        return "unavailable", "blocked here"
    if isinstance(cause, ExtractorError) and cause.expected:
        words = _message(cause).lower()
        return "unavailable", next((kind for kind, pattern in _REFUSALS if re.search(pattern, words)), "refused")
    return "download_failed", "no answer"


def _message(error: Exception) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", str(error)).removeprefix("ERROR: ")[:450]


# ---- channels and play lists ----


def is_list(line: str) -> bool:
    """Whether a line of a URL list stands for many videos: a channel or play list by its address, or marked `list`.

    Only addresses are looked at: no site is asked.
    """
    if line.startswith(_LIST):
        return True
    if "watch?v=" in line:  # one video, in the company of a list
        return False
    from yt_dlp.extractor.youtube import YoutubeTabIE

    return bool(YoutubeTabIE.suitable(line))


class Listings:
    """The videos that channels and play lists name, and when each was last asked."""

    def __init__(self, raw: Path, limits: Downloads) -> None:
        self._raw, self._limits, self._file = raw, limits, raw / "listings.json"
        self._known = json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else {}

    def videos(self, line: str, skipped: list[tuple[str, str]]) -> list[str]:
        """Addresses of a list's videos. A site that does not answer adds a line to `skipped`, and what was known of it
        stays."""
        import yt_dlp

        url = line.removeprefix(_LIST).strip()
        known = self._known.get(url, {"asked": 0, "videos": []})
        if abs(time.time() - known["asked"]) >= self._limits.list_again_h * 3600:
            try:
                with _turn(self._raw / "media", self._limits):
                    found = list(dict.fromkeys(self._ask(url)))
            except yt_dlp.utils.YoutubeDLError as error:
                kept = f"its {len(known['videos'])} known videos stay"
                skipped.append((url, f"not listed, {kept}: {refusal(error)[1]}: {_message(error)}"))
            else:
                known = self._known[url] = {"asked": time.time(), "videos": found}
                write_json(self._file, self._known)
        return list(known["videos"])

    def _ask(self, url: str, depth: int = DEPTH) -> Iterator[str]:
        options = {"extract_flat": True, "skip_download": True, "extractor_retries": 1, "retries": 1}
        with _loader(self._raw, self._raw / "media" / ".listing", self._limits, options) as loader:
            found = loader.extract_info(url, download=False, process=True)
        if found.get("_type") not in ("playlist", "multi_video"):
            yield found.get("webpage_url") or url
        for entry in found.get("entries") or ():
            address = (entry or {}).get("url") or (entry or {}).get("webpage_url")
            if address and depth and is_list(address):
                yield from self._ask(address, depth - 1)
            elif address:
                yield address
