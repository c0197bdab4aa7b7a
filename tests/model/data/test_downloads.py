"""Downloads: nothing twice, no faster than allowed, channels as their videos, and why a site refused."""

import contextlib
import http.server
import json
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from yt_dlp.networking.exceptions import TransportError
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError

from emo_model.data import downloads, fetch
from emo_model.data.downloads import Downloads, download, is_list, refusal
from emo_model.data.shards import Reject, run_step
from emo_model.data.sources import register, registered
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from tests.model.data.films import film, numbered


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path / "data").create()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every path the server was asked for."""
    paths: list[str] = []
    send = http.server.SimpleHTTPRequestHandler.send_head

    def noted(handler: http.server.SimpleHTTPRequestHandler) -> object:
        paths.append(handler.path)
        return send(handler)

    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "send_head", noted)
    return paths


def feed(folder: Path, address: str, *names: str) -> None:
    items = "".join(f"<item><title>{name}</title><link>{address}/{name}</link></item>" for name in names)
    (folder / "feed.xml").write_text(f'<rss version="2.0"><channel><title>c</title>{items}</channel></rss>')


def lines(root: DataRoot, *urls: str) -> None:
    (root.folder("0_raw") / "web.urls.txt").write_text("\n".join(urls))


def test_what_was_downloaded_is_never_asked_for_again(root: DataRoot, site: tuple, asked: list[str]) -> None:
    """Also not when the step's rows are lost, and not through a second list that names it."""
    folder, address = site
    film(folder / "talk.mp4", numbered(30))
    lines(root, f"{address}/talk.mp4")
    register(root)
    run_step(fetch.STEP, root, "s0000")
    assert asked
    asked.clear()
    (root.folder("0_raw") / "more.urls.txt").write_text(f"{address}/talk.mp4")
    assert register(root).new == 0
    root.part("fetched", "s0000").unlink()
    run_step(fetch.STEP, root, "s0000")
    assert asked == [] and root.read("fetched").to_pylist()[0]["status"] == "ok"


def test_a_download_that_somebody_deleted_is_fetched_anew(root: DataRoot, site: tuple) -> None:
    folder, address = site
    film(folder / "talk.mp4", numbered(30))
    lines(root, f"{address}/talk.mp4")
    register(root)
    run_step(fetch.STEP, root, "s0000")
    (file,) = (root.folder("0_raw") / "media" / "s0000").glob("[!.]*")
    file.unlink()
    for _ in range(2):  # with the file back, its row is made once more
        run_step(fetch.STEP, root, "s0000")
    assert file.read_bytes() == (folder / "talk.mp4").read_bytes()
    assert run_step(fetch.STEP, root, "s0000").done == 0


def test_an_address_is_never_a_command(root: DataRoot, site: tuple, tmp_path: Path) -> None:
    folder, address = site
    name = "a;touch $(PWNED)`touch x`'\"&.mp4"
    film(folder / "plain.mp4", numbered(30)).rename(folder / name)
    before = set(Path.cwd().iterdir())
    got = download(f"{address}/{urllib.parse.quote(name)}", root.folder("0_raw") / "media" / "s0000", "id")
    assert got == root.folder("0_raw") / "media" / "s0000" / "id.mp4"
    assert set(Path.cwd().iterdir()) == before and not (tmp_path / "x").exists()


def test_a_rate_is_kept(root: DataRoot, site: tuple) -> None:
    folder, address = site
    film(folder / "a.mp4", numbered(30))
    padding = (8 + 600_000).to_bytes(4, "big") + b"free" + bytes(600_000)
    (folder / "a.mp4").write_bytes((folder / "a.mp4").read_bytes() + padding)
    media = root.folder("0_raw") / "media" / "s0000"
    download(f"{address}/a.mp4", media, "without")  # what yt-dlp loads at first is no part of it
    started = time.monotonic()
    found = download(f"{address}/a.mp4", media, "with", Downloads(rate_mb_s=0.3))
    assert found.stat().st_size / 1e6 / (time.monotonic() - started) < 0.3 / 0.8


def test_with_limits_one_after_the_other_so_that_they_hold_for_all_together(
    root: DataRoot, site: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = site
    film(folder / "a.mp4", numbered(30))
    loader, running, at_once = downloads._loader, [], []

    @contextlib.contextmanager
    def watched(*given: object) -> Iterator[object]:
        running.append(1)
        with loader(*given) as made:
            time.sleep(0.1)
            at_once.append(len(running))
            yield made
        running.pop()

    monkeypatch.setattr(downloads, "_loader", watched)
    media = root.folder("0_raw") / "media" / "s0000"
    for limits, most in ((Downloads(rate_mb_s=100), 1), (Downloads(), 3)):
        at_once.clear()
        with ThreadPoolExecutor(3) as pool:
            names = [f"{limits.rate_mb_s}{n}".replace(".", "") for n in range(3)]
            list(pool.map(lambda name, limits=limits: download(f"{address}/a.mp4", media, name, limits), names))
        assert len(at_once) == 3 and (max(at_once) == 1) is (most == 1)


def test_a_pause_is_kept_between_requests_but_not_before_the_first(
    root: DataRoot, site: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = site
    film(folder / "a.mp4", numbered(5))
    waited: list[float] = []
    monkeypatch.setattr(downloads, "time", SimpleNamespace(time=lambda: 1000.0, sleep=waited.append))
    media, limits = root.folder("0_raw") / "media" / "s0000", Downloads(pause_s=0.2)
    for name in ("a", "b", "c", "c"):  # what is there asks nobody
        assert isinstance(download(f"{address}/a.mp4", media, name, limits), Path)
    assert waited[0] == 0 and len(waited) == 3
    assert all(0.1 <= pause <= 0.3 for pause in waited[1:]) and waited[1] != waited[2]


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (ExtractorError("Private video. Sign in if you've been granted access", expected=True), "private"),
        (ExtractorError("Video unavailable. This video has been removed by the uploader", expected=True), "removed"),
        (
            ExtractorError("The uploader has not made this video available in your country", expected=True),
            "blocked here",
        ),
        (GeoRestrictedError("not from here"), "blocked here"),
        (ExtractorError("Sign in to confirm your age", expected=True), "login wanted"),
        (ExtractorError("Join this channel to get access to members-only content", expected=True), "login wanted"),
        (ExtractorError("This live event will begin in 3 days", expected=True), "refused"),
    ],
)
def test_a_refusal_says_of_what_kind_it_is(error: Exception, wanted: str) -> None:
    assert refusal(error) == ("unavailable", wanted)
    assert refusal(DownloadError("ERROR: x", (type(error), error, None))) == ("unavailable", wanted)


def test_what_failed_on_the_way_is_no_refusal() -> None:
    for error in (TransportError("connection reset"), ExtractorError("Unable to extract title")):
        assert refusal(DownloadError("ERROR: x", (type(error), error, None))) == ("download_failed", "no answer")


@pytest.mark.parametrize(("status", "detail"), [(404, "removed"), (403, "login wanted"), (451, "blocked here")])
def test_the_sites_own_words_are_kept(
    root: DataRoot, site: tuple, monkeypatch: pytest.MonkeyPatch, status: int, detail: str
) -> None:
    def refuse(handler: http.server.SimpleHTTPRequestHandler) -> None:
        handler.send_error(status, "gone by the owner's wish")

    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "send_head", refuse)
    found = download(f"{site[1]}/a.mp4", root.folder("0_raw") / "media" / "s0000", "id")
    assert isinstance(found, Reject) and found.reason == "unavailable"
    assert found.detail.startswith(f"{detail}: ") and str(status) in found.detail


def test_a_channel_stands_for_its_videos_and_new_ones_come_with_the_next_registration(
    root: DataRoot, site: tuple, asked: list[str]
) -> None:
    folder, address = site
    feed(folder, address, "a.mp4", "b.mp4")
    lines(root, f"list {address}/feed.xml", f"{address}/b.mp4")
    Downloads(list_again_h=0).save(root)
    assert register(root).new == 2
    assert not [path for path in asked if path.endswith(".mp4")]  # named, not looked at
    before = registered(root)
    feed(folder, address, "new.mp4", "a.mp4")
    assert register(root).new == 1
    assert registered(root)[:2] == before and registered(root)[2]["uri"] == f"{address}/new.mp4"


def test_a_channel_is_not_asked_again_within_the_hour(root: DataRoot, site: tuple, asked: list[str]) -> None:
    folder, address = site
    feed(folder, address, "a.mp4")
    lines(root, f"list {address}/feed.xml")
    register(root)
    asked.clear()
    feed(folder, address, "new.mp4")
    assert register(root).new == 0 and asked == []


def test_a_channel_that_does_not_answer_keeps_its_videos_and_is_reported(root: DataRoot, site: tuple) -> None:
    folder, address = site
    feed(folder, address, "a.mp4", "b.mp4")
    lines(root, f"list {address}/feed.xml", f"{address}/c.mp4")
    Downloads(list_again_h=0).save(root)
    register(root)
    before = (root.folder("0_raw") / "listings.json").read_bytes()
    (folder / "feed.xml").unlink()
    report = register(root)
    assert (report.total, report.new) == (3, 0)
    ((name, why),) = report.skipped
    assert name == f"{address}/feed.xml" and "its 2 known videos stay: removed: " in why
    assert (root.folder("0_raw") / "listings.json").read_bytes() == before


def test_a_list_among_plain_addresses_is_refused_with_the_way_out(root: DataRoot, site: tuple) -> None:
    folder, address = site
    feed(folder, address, "a.mp4", "b.mp4")
    found = download(f"{address}/feed.xml", root.folder("0_raw") / "media" / "s0000", "id")
    assert isinstance(found, Reject) and f"list {address}/feed.xml" in found.detail


@pytest.mark.parametrize(
    ("line", "many"),
    [
        ("https://www.youtube.com/@someone", True),
        ("https://www.youtube.com/playlist?list=PLzH6n4zXuckpfMu_4Ff8E7Z1behQks5ba", True),
        ("https://www.youtube.com/watch?v=BaW_jenozKc&list=PLzH6n4zXuckpfMu_4Ff8E7Z1behQks5ba", False),
        ("https://youtu.be/BaW_jenozKc", False),
        ("https://example.org/talk.mp4", False),
        ("list https://example.org/feed", True),
    ],
)
def test_a_line_is_told_by_its_address_alone(line: str, many: bool) -> None:
    assert is_list(line) is many


def test_pauses_between_attempts_grow_and_differ() -> None:
    pauses = [[downloads._pause(n) for _ in range(20)] for n in range(5)]
    assert all(len(set(tried)) == 20 for tried in pauses) and min(pauses[4]) > max(pauses[0])


def test_limits_that_make_no_sense_are_one_line(root: DataRoot) -> None:
    with pytest.raises(UserError, match="rate_mb_s: input should be greater than 0; got -1"):
        Downloads().with_(rate_mb_s=-1)
    (root.folder("0_raw") / "downloads.json").write_text(json.dumps({"rate": 1}))
    with pytest.raises(UserError, match="mend or delete it"):
        Downloads.of(root)
