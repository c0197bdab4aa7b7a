"""Steps raw_videos and video_probe: hashes, duplicates across shards, downloads, reasons."""

import functools
import http.server
import os
import shutil
import threading

import pytest

from emo_model.data import downloads, fetch, probe, sources
from emo_model.data.shards import run_step
from emo_model.data.sources import add_folder, register, registered, video_path
from emo_model.data.store import DataRoot, file_sha256
from tests.model.data.films import film, numbered


@pytest.fixture
def root(tmp_path) -> DataRoot:
    return DataRoot(tmp_path / "data").create()


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def _run(root: DataRoot, shard: str = "s0000"):
    return [run_step(step, root, shard) for step in (fetch.STEP, probe.STEP)]


def _outcomes(root: DataRoot) -> dict[str, str | None]:
    return {row["uri"]: row["reason"] for row in root.read("videos").to_pylist()}


def test_every_source_ends_as_a_row_and_every_bad_one_as_a_reject_with_its_reason(root, raw):
    film(raw / "good.mp4", numbered(30))
    shutil.copy(raw / "good.mp4", raw / 'the "same" – noch einmal.mp4')
    (raw / "empty.mp4").touch()
    (raw / "text.mp4").write_text("a text\n" * 100)
    data = (raw / "good.mp4").read_bytes()
    (raw / "truncated.mp4").write_bytes(data[: len(data) // 2])
    (raw / "zz_gone.mp4").write_bytes(b"x")
    add_folder(root, raw)
    (raw / "zz_gone.mp4").unlink()
    _run(root)
    expected = {
        "good.mp4": None,
        'the "same" – noch einmal.mp4': "duplicate_of",
        "empty.mp4": "empty_file",
        "text.mp4": "unreadable",
        "truncated.mp4": "truncated",
        "zz_gone.mp4": "missing_file",
    }
    assert _outcomes(root) == expected
    rejects = {row["id"]: row for row in root.read("rejected").to_pylist()}
    ids = {row["uri"]: row["source_id"] for row in registered(root)}
    assert {uri: rejects[ids[uri]]["reason"] for uri in expected if expected[uri]} == {
        uri: reason for uri, reason in expected.items() if reason
    }
    assert rejects[ids['the "same" – noch einmal.mp4']]["detail"] == ids["good.mp4"]
    good = next(row for row in root.read("videos").to_pylist() if row["status"] == "ok")
    assert good["video_id"] == good["sha256"] == file_sha256(raw / "good.mp4")
    assert video_path(root, "s0000", good["video_id"]) == raw / "good.mp4"


def test_the_first_registered_keeps_a_duplicate_whichever_shard_runs_first(root, raw, monkeypatch):
    monkeypatch.setattr(sources, "SHARD_SOURCES", 1)
    film(raw / "a.mp4", numbered(5))
    shutil.copy(raw / "a.mp4", raw / "b.mp4")
    add_folder(root, raw)
    for shard in ("s0001", "s0000"):
        _run(root, shard)
    assert _outcomes(root) == {"a.mp4": None, "b.mp4": "duplicate_of"}


def test_when_the_first_is_gone_the_second_takes_its_place(root, raw):
    film(raw / "a.mp4", numbered(5))
    shutil.copy(raw / "a.mp4", raw / "b.mp4")
    add_folder(root, raw)
    _run(root)
    (raw / "a.mp4").unlink()
    _run(root)
    assert _outcomes(root) == {"a.mp4": "missing_file", "b.mp4": None}


def test_a_run_again_hashes_nothing_and_a_changed_file_alone_is_looked_at_anew(root, raw):
    for number, name in enumerate(("a.mp4", "b.mp4")):
        film(raw / name, numbered(5 + number))
    add_folder(root, raw)
    _run(root)
    assert [report.done for report in _run(root)] == [0, 0]
    film(raw / "b.mp4", numbered(20))
    os.utime(raw / "b.mp4", (0, 0))
    assert [report.done for report in _run(root)] == [1, 1]


@pytest.fixture
def site(tmp_path):
    """A web server of our own on this machine; yields its folder and address."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_url_is_downloaded_once_and_a_dead_one_is_unavailable(root, site, monkeypatch):
    monkeypatch.setattr(downloads, "RETRIES", 0)
    folder, address = site
    film(folder / "talk.mp4", numbered(30))
    urls = [f"{address}/talk.mp4", f"{address}/gone.mp4", "http://127.0.0.1:9/unreachable.mp4"]
    (root.folder("0_raw") / "web.urls.txt").write_text("\n".join(urls))
    register(root)
    _run(root)
    assert list(_outcomes(root).values()).count(None) == 1
    assert _outcomes(root)[urls[1]] == "unavailable"
    assert _outcomes(root)[urls[2]] == "download_failed"
    video = next(row for row in root.read("videos").to_pylist() if row["status"] == "ok")
    stored = video_path(root, "s0000", video["video_id"])
    assert stored.read_bytes() == (folder / "talk.mp4").read_bytes()
    assert stored.parent == root.folder("0_raw") / "media" / "s0000"
    (folder / "talk.mp4").unlink()
    _run(root)
    assert _outcomes(root)[urls[0]] is None


def test_a_failed_download_is_tried_again_by_the_next_run_and_only_that_one(root, site, monkeypatch):
    monkeypatch.setattr(downloads, "RETRIES", 0)
    folder, address = site
    film(folder / "talk.mp4", numbered(30))
    urls = [f"{address}/talk.mp4", "http://127.0.0.1:9/unreachable.mp4", f"{address}/gone.mp4"]
    (root.folder("0_raw") / "web.urls.txt").write_text("\n".join(urls))
    register(root)
    assert [_run(root)[0].done for _ in range(3)] == [3, 1, 1]


def test_a_site_that_wants_a_login_sees_the_cookies_and_their_file_stays_as_it_is(root, site, monkeypatch):
    folder, address = site
    film(folder / "talk.mp4", numbered(30))
    seen = []
    send = http.server.SimpleHTTPRequestHandler.send_head

    def only_with_cookie(handler):
        seen.append(handler.headers.get("Cookie", ""))
        return send(handler) if "key=secret" in seen[-1] else handler.send_error(403)

    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "send_head", only_with_cookie)
    (root.folder("0_raw") / "web.urls.txt").write_text(f"{address}/talk.mp4\n")
    register(root)
    _run(root)
    assert _outcomes(root) == {f"{address}/talk.mp4": "unavailable"}
    cookies = root.folder("0_raw") / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tkey\tsecret\n")
    before = cookies.read_bytes()
    _run(root)
    assert _outcomes(root) == {f"{address}/talk.mp4": None} and cookies.read_bytes() == before


def test_pauses_between_attempts_grow_and_differ():
    pauses = [[downloads._pause(attempt) for _ in range(20)] for attempt in range(5)]
    assert all(len(set(tried)) == 20 for tried in pauses) and min(pauses[4]) > max(pauses[0])
