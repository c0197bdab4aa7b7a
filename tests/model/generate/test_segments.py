"""A generation that was killed goes on where it was, and ends with the bytes of one that was left alone."""

import multiprocessing
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emo_model.errors import UserError, disk_errors_told
from emo_model.generate import generate
from emo_model.generate.segments import CLIPS_A_FILM, kept_beside
from tests.model.generate.small import QUICK, read_model, small_portrait, write_voice

LONG_S = 9.3  # 24 clips: two films and a beginning


def make(model, portrait, voice, out: Path, **rest) -> bytes:
    generate(model, portrait, voice, out, **{"settings": QUICK, **rest})
    return out.read_bytes()


@pytest.fixture(scope="module")
def long_voice(tmp_path_factory) -> Path:
    return write_voice(tmp_path_factory.mktemp("voice") / "long.wav", LONG_S)


@pytest.fixture(scope="module")
def undisturbed(model, long_voice) -> bytes:
    return make(model, small_portrait(), long_voice, long_voice.with_name("whole.mp4"))


def stop_after(model, clips: int, monkeypatch) -> None:
    """Break in the middle of the clip behind so many."""
    decode, done = model.emo.decode_latents, []

    def breaks(latents):
        if len(done) == clips:
            raise KeyboardInterrupt
        done.append(1)
        return decode(latents)

    monkeypatch.setattr(model.emo, "decode_latents", breaks)


@pytest.mark.parametrize("clips", [0, 1, CLIPS_A_FILM - 1, CLIPS_A_FILM, CLIPS_A_FILM + 1, 23])
def test_whatever_was_finished_is_kept_and_the_file_is_the_same(
    model, portrait, long_voice, undisturbed, tmp_path, monkeypatch, clips
):
    out, seen = tmp_path / "out.mp4", []
    stop_after(model, clips, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        make(model, portrait, long_voice, out)
    assert not out.exists()
    monkeypatch.undo()
    assert make(model, portrait, long_voice, out, progress=lambda done, _: seen.append(done)) == undisturbed
    assert seen[0] == clips * 12 and seen[-1] == 279 and len(seen) == 24 - clips + 1
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_two_breaks_are_no_worse_than_one(model, portrait, long_voice, undisturbed, tmp_path, monkeypatch):
    for clips in (4, 11):
        stop_after(model, clips, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            make(model, portrait, long_voice, tmp_path / "out.mp4")
        monkeypatch.undo()
    assert make(model, portrait, long_voice, tmp_path / "out.mp4") == undisturbed


def test_other_settings_begin_anew_and_say_what_differs(model, portrait, long_voice, tmp_path, monkeypatch):
    other, told = replace(QUICK, seed=3), []
    plain = make(model, portrait, long_voice, tmp_path / "plain.mp4", settings=other)
    stop_after(model, 12, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        make(model, portrait, long_voice, tmp_path / "out.mp4")
    monkeypatch.undo()
    assert make(model, portrait, long_voice, tmp_path / "out.mp4", settings=other, tell=told.append) == plain
    assert len(told) == 1 and "other seed: beginning anew" in told[0]


@pytest.mark.parametrize(
    "what", ["portrait", "voice", *(pytest.param(what, marks=pytest.mark.long) for what in ("mark", "size"))]
)
def test_nothing_of_another_portrait_voice_or_look_is_kept(model, portrait, long_voice, tmp_path, monkeypatch, what):
    stop_after(model, 1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        make(model, portrait, long_voice, tmp_path / "out.mp4")
    monkeypatch.undo()
    given, told = {"mark": {"mark": True}, "size": {"size": 32}}.get(what, {}), []
    face = replace(portrait, reference=-portrait.reference) if what == "portrait" else portrait
    voice = write_voice(tmp_path / "other.wav", 1.0) if what == "voice" else long_voice
    make(model, face, voice, tmp_path / "out.mp4", tell=told.append, **given)
    assert len(told) == 1 and ("sound" if what == "voice" else what) in told[0]


def test_a_user_may_begin_anew(model, portrait, long_voice, undisturbed, tmp_path, monkeypatch):
    stop_after(model, 3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        make(model, portrait, long_voice, tmp_path / "out.mp4")
    monkeypatch.undo()
    seen = []
    film = make(
        model, portrait, long_voice, tmp_path / "out.mp4", resume=False, progress=lambda done, _: seen.append(done)
    )
    assert seen[0] == 0 and film == undisturbed


def test_two_commands_for_one_file_do_not_meet(tmp_path):
    out = tmp_path / "out.mp4"
    with (
        kept_beside(out, {"seed": 1}, True, print),
        pytest.raises(UserError, match="is being made by another command"),
        kept_beside(out, {"seed": 1}, True, print),
    ):
        pass


def test_a_clip_is_read_back_to_the_bit(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (12, 4, 4, 3), dtype=np.uint8)
    last = torch.randn(4, 3, 4, 4).bfloat16()
    with kept_beside(tmp_path / "out.mp4", {}, True, print) as kept:
        kept.keep(3, frames, last)
        assert (kept.frames(3) == frames).all() and kept.last(3).dtype == last.dtype and kept.last(3).equal(last)
        kept.let_go(below=3)
        assert kept.has(3)
        kept.let_go(below=4)
        assert not kept.has(3)


# ---- kill -9 ----


def run(folder: Path, voice: Path, out: Path) -> None:
    """What the killed process does."""
    torch.set_num_threads(1)
    generate(read_model(folder), small_portrait(), voice, out, settings=QUICK)


@pytest.mark.parametrize("clips", [[12], pytest.param([0, 3, 9, 10, 19, 23], marks=pytest.mark.long)])
def test_after_kill_9_the_same_command_ends_with_the_same_bytes(
    model, portrait, long_voice, undisturbed, tmp_path, clips
):
    """Wherever the process happens to be: while a clip is sampled, kept, encoded, or let go."""
    out, kept = tmp_path / "out.mp4", tmp_path / "out.mp4.partial"
    context, rng = multiprocessing.get_context("spawn"), np.random.default_rng(0)
    for clip in clips:
        process = context.Process(target=run, args=(model.folder, long_voice, out))
        process.start()
        while process.is_alive() and not list(kept.glob(f"clip-{clip:07d}*")):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL and not out.exists()
    assert make(model, portrait, long_voice, out) == undisturbed and not kept.exists()


# ---- full disk ----


def test_a_full_disk_is_one_line_and_loses_nothing(model, portrait, long_voice, undisturbed, mount):
    """Wherever it fills: while a clip is kept, a film is written, or the video is joined."""
    size, lines = 40, []
    disk = mount("disk", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs")
    while True:
        try:
            with disk_errors_told():
                assert make(model, portrait, long_voice, disk / "out.mp4") == undisturbed
            break
        except UserError as error:
            lines.append(str(error))
        size = round(1.25 * size)
        mount("disk", "-t", "tmpfs", "-o", f"remount,size={size}k", "tmpfs")
    assert len(lines) > 3 and all("No space left" in line and "\n" not in line for line in lines)
    assert [path.name for path in disk.iterdir()] == ["out.mp4"]
