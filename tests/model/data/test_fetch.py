"""Steps raw_videos and video_probe: hashes, duplicates across shards, downloads, reasons."""

import http.server
import os
import shutil

import pytest

from emo_model.data import downloads, fetch, pipeline, probe, sources
from emo_model.data.shards import run_step
from emo_model.data.sources import add_folder, register, registered, video_path
from emo_model.data.store import DataRoot, file_sha256
from emo_model.data.workers import Workers
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


def test_other_shards_are_looked_at_only_where_a_size_is_the_same(root, raw, monkeypatch):
    """50,000 sources in 250 shards: looking at all of them for each shard would be 12.5 million files."""
    monkeypatch.setattr(sources, "SHARD_SOURCES", 5)
    for number in range(20):
        (raw / f"{number:02d}.mp4").write_bytes(bytes(100 + number))
    shutil.copy(raw / "03.mp4", raw / "99.mp4")
    add_folder(root, raw)
    looked = []
    state = fetch._state
    monkeypatch.setattr(fetch, "_state", lambda path: looked.append(path.name) or state(path))
    assert len(fetch.items(root, "s0003")) == 5 and len(looked) == 5
    looked.clear()
    (last,) = fetch.items(root, "s0004")
    assert sorted(looked) == ["03.mp4", "99.mp4"] and [name for name, _ in last.payload["twins"]] == [
        registered(root)[3]["source_id"]
    ]


def test_an_earlier_file_that_has_become_the_same_is_seen_once_it_was_fetched_anew(root, raw, monkeypatch):
    monkeypatch.setattr(sources, "SHARD_SOURCES", 1)
    film(raw / "a.mp4", numbered(5))
    film(raw / "b.mp4", numbered(9))
    add_folder(root, raw)
    for shard in ("s0000", "s0001"):
        _run(root, shard)
    shutil.copy(raw / "b.mp4", raw / "a.mp4")
    for shard in ("s0000", "s0001"):
        _run(root, shard)
    assert _outcomes(root) == {"a.mp4": None, "b.mp4": "duplicate_of"}


def test_adding_sources_never_does_old_ones_again(root, raw, site, monkeypatch):
    monkeypatch.setattr(sources, "SHARD_SOURCES", 2)
    folder, address = site
    for number in range(3):
        film(raw / f"{number}.mp4", numbered(5 + number))
    add_folder(root, raw)
    for shard in ("s0000", "s0001"):
        _run(root, shard)
    film(raw / "00.mp4", numbered(20))
    film(folder / "talk.mp4", numbered(30))
    (root.folder("0_raw") / "web.urls.txt").write_text(f"{address}/talk.mp4\n")
    assert register(root).shards == ("s0000", "s0001", "s0002")
    done = {shard: [report.done for report in _run(root, shard)] for shard in ("s0000", "s0001", "s0002")}
    assert done == {"s0000": [0, 0], "s0001": [1, 1], "s0002": [1, 1]}


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


def test_one_video_that_two_shards_fetched_unseen_by_each_other_is_settled(root, raw, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SHARD_SOURCES", 1)
    monkeypatch.setattr(pipeline, "SHARD_STEPS", (fetch.STEP, probe.STEP))
    monkeypatch.setattr(pipeline, "write_sheets", lambda root, shard: None)
    film(raw / "a.mp4", numbered(30))
    (raw / "b.mp4").write_bytes((raw / "a.mp4").read_bytes())
    add_folder(root, raw)
    (raw / "a.mp4").rename(tmp_path / "a.mp4")  # s0001 cannot see it yet
    pipeline.prepare_shard(root, "s0001", Workers(0))
    (tmp_path / "a.mp4").rename(raw / "a.mp4")
    pipeline.prepare_shard(root, "s0000", Workers(0))
    assert sources.finished_twice(root) == ["s0001"]
    pipeline.settle_doubles(root, Workers(0))
    assert sources.finished_twice(root) == []
    assert _outcomes(root) == {"a.mp4": None, "b.mp4": "duplicate_of"}
