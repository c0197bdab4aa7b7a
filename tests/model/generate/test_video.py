"""A portrait and a voice become a video as long as the voice; the same seed gives the same frames."""

import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from emo_model import diffusion, samples
from emo_model.cli import main
from emo_model.config import TINY
from emo_model.data.store import DataRoot, write_json
from emo_model.errors import UserError
from emo_model.generate import Settings, generate, generate_manifest, sampler
from emo_model.generate.picture import read_picture
from emo_model.generate.portrait import Portrait, locate_face, parse_region, prepare
from emo_model.generate.sound import encoder_for, read_sound
from emo_model.generate.video import Model
from emo_model.networks.emo import seeded
from emo_model.train import checkpoint
from tests.model.clips_on_disk import make_root
from tests.model.generate.small import (
    ENCODER,
    NETWORK,
    QUICK,
    RATE,
    frames_of,
    read_model,
    stirred,
    write_samples,
    write_voice,
)
from tests.model.generate.test_portrait import see


def make(model: Model, portrait: Portrait, voice: Path, out: Path, settings: Settings = QUICK) -> np.ndarray:
    generate(model, portrait, voice, out, settings=settings)
    return frames_of(out)


# ---- the file ----


def test_the_video_is_as_long_as_the_voice_and_carries_it(model, portrait, voice, tmp_path):
    report = generate(model, portrait, voice, tmp_path / "out.mp4", settings=QUICK)
    assert report.frames == 26 and report.clips == 3  # 0.85 s are 25.5 frames; 12 + 12 + 2
    with av.open(tmp_path / "out.mp4") as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.frames, video.average_rate, video.width) == (26, 30, 16)
        assert (sound.rate, sound.channels) == (RATE, 2)
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)[0]
    original = np.concatenate(list(read_sound(voice).blocks()), axis=1)[0]
    assert 0 <= heard.size - original.size <= 1024  # AAC comes in frames of 1024
    assert np.corrcoef(heard[: original.size], original)[0, 1] > 0.99  # and starts where the original does


def test_the_file_says_that_it_is_synthetic_and_how_it_was_made(model, portrait, voice, tmp_path):
    generate(model, portrait, voice, tmp_path / "out.mp4", settings=QUICK)
    with av.open(tmp_path / "out.mp4") as container:
        said, made = container.metadata["comment"].split(". ", 1)
    assert said.startswith("Synthetic")
    made = json.loads(made)
    assert (made["checkpoint"], made["seed"], made["steps"], made["guidance"]) == ("step-1", 0, 2, 2.0)
    assert made["speed"] == 1.0 and made["checkpoint_sha256"] == model.sha256  # the median of the default buckets


def test_an_existing_file_is_kept_unless_told_otherwise(model, portrait, voice, tmp_path):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"mine")
    with pytest.raises(UserError, match="is there already"):
        generate(model, portrait, voice, out, settings=QUICK)
    assert out.read_bytes() == b"mine"
    generate(model, portrait, voice, out, settings=QUICK, overwrite=True)
    assert len(frames_of(out)) == 26


def test_a_killed_or_failed_generation_leaves_no_file(model, portrait, voice, tmp_path, monkeypatch):
    monkeypatch.setattr(model.emo, "decode_latents", lambda latents: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate(model, portrait, voice, tmp_path / "out.mp4", settings=QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4.partial", "voice.wav"]


def test_size_scales_the_file(model, portrait, voice, tmp_path):
    generate(model, portrait, voice, tmp_path / "out.mp4", settings=QUICK, size=32)
    assert frames_of(tmp_path / "out.mp4").shape[1:] == (32, 32, 3)


# ---- the frames ----


def test_the_same_seed_gives_the_same_video_and_another_one_does_not(model, portrait, voice, tmp_path):
    first = make(model, portrait, voice, tmp_path / "a.mp4")
    torch.rand(5)  # whatever ran before
    assert (first == make(model, portrait, voice, tmp_path / "b.mp4")).all()
    assert (first != make(model, portrait, voice, tmp_path / "c.mp4", Settings(steps=2, guidance=2.0, seed=1))).any()


def test_noise_is_shared_by_all_clips_of_a_video_and_by_no_other():
    emo = seeded(NETWORK.model_copy(update={"image_size": 128}), 0)
    drawn = {
        (seed, number): sampler.noise(emo, seed, number, 0.5)[0].flatten(1) for seed in (0, 1) for number in (0, 7)
    }
    frames = torch.cat([drawn[0, 0][:2], drawn[0, 7][:2], drawn[1, 0][:2]])
    expected = torch.block_diag(0.5 * torch.eye(4) + 0.5, 0.5 * torch.eye(2) + 0.5)
    torch.testing.assert_close(torch.cov(frames), expected, rtol=0, atol=0.06)


def test_a_checkpoint_is_sampled_with_noise_as_it_learned_from(portrait, voice, tmp_path):
    """Two checkpoints of the same weights and schedule; one of them learned from frames that share noise."""
    scheduler = diffusion.schedule(diffusion.RECIPES["clean"])
    made = []
    for name, numbers in (("own", {}), ("shared", {"train": {"noise": "clean"}})):
        checkpoint.save(tmp_path / name, stirred(), scheduler, {"stage": "speed", **numbers})
        model = read_model(tmp_path / name)
        made.append((model.sha256, make(model, portrait, voice, tmp_path / f"{name}.mp4")))
    (one, own), (other, shared) = made
    assert one != other and (own != shared).any()


@pytest.mark.parametrize(
    "change",
    [{"speed": 3.0}, {"guidance": 1.0}, {"steps": 3}, {"speed": None}],
    ids=["speed", "guidance", "steps", "unknown"],
)
def test_every_setting_shows_in_the_frames(model, portrait, change):
    plain = animate(model, portrait)
    assert not torch.allclose(plain, animate(model, portrait, **change), atol=1e-4)


def animate(model: Model, portrait: Portrait, frames: int = 24, mask=None, audio=None, **change) -> torch.Tensor:
    options = {"speed": 1.0, "steps": 2, "guidance": 2.0, "seed": 0} | change
    audio = torch.ones(frames, 2, 8) if audio is None else audio
    mask = portrait.mask if mask is None else mask
    clips = sampler.animate(
        model.emo, model.scheduler, portrait.reference, mask, audio, options.pop("speed"), **options
    )
    return torch.cat(list(clips))


def test_portrait_region_and_sound_show_in_the_frames(model, portrait):
    plain = animate(model, portrait)
    other = Portrait(-portrait.reference, portrait.mask)
    assert not torch.allclose(plain, animate(model, other), atol=1e-4)
    assert not torch.allclose(plain, animate(model, portrait, mask=torch.ones(1, 16, 16)), atol=1e-4)
    assert not torch.allclose(plain, animate(model, portrait, audio=torch.zeros(24, 2, 8)), atol=1e-4)


def test_a_clip_goes_on_from_the_last_frames_of_the_one_before(model, portrait, monkeypatch):
    """With other motion frames the second clip changes, and the first, which has none, does not."""
    seen, encode = [], model.emo.encode_motion

    def watch(motion):
        seen.append(motion)
        return encode(motion)

    monkeypatch.setattr(model.emo, "encode_motion", watch)
    plain = animate(model, portrait)
    assert len(seen) == 1  # the first clip has zero maps
    assert torch.allclose(seen[0][0], model.emo.encode_pixels(plain[12 - NETWORK.motion_frames : 12]))
    monkeypatch.setattr(model.emo, "encode_motion", lambda motion: encode(-motion))
    other = animate(model, portrait)
    assert torch.equal(plain[:12], other[:12]) and not torch.allclose(plain[12:], other[12:], atol=1e-4)


def test_sound_ahead_of_a_clip_is_heard_over_its_edge(model, portrait):
    """Frame 11 hears frames 9..13: a change in frame 13 reaches the first clip, one in frame 14 does not."""
    plain, near, far = (torch.ones(24, 2, 8) for _ in range(3))
    near[13, :, ::2], far[14, :, ::2] = 5, 5
    first = animate(model, portrait, audio=plain)[:12]
    assert torch.equal(first, animate(model, portrait, audio=far)[:12])
    assert not torch.equal(first, animate(model, portrait, audio=near)[:12])


def test_guidance_moves_along_what_the_conditions_change(model, portrait):
    """The prediction at scale s is linear in s, and scale 1 is the conditional one."""
    features = model.emo.encode_frames(model.emo.encode_pixels(portrait.reference[None]))
    z, t, audio, pace = sampler.noise(model.emo, 0, 0), torch.tensor([500]), torch.ones(1, 16, 2, 8), torch.ones(1, 16)
    with torch.no_grad():
        one, two, three = (
            sampler.guided(model.emo, features, audio, pace, portrait.mask[None], scale)(z, t)
            for scale in (1.0, 2.0, 3.0)
        )
    assert torch.allclose(three - two, two - one, atol=1e-4) and not torch.allclose(two, one, atol=1e-4)


# ---- portrait and region ----


PICTURE = np.zeros((100, 200, 3), np.uint8)
FACE = np.array([80.0, 30, 120, 70], np.float32)


def test_the_region_follows_what_is_asked(monkeypatch):
    monkeypatch.setattr("emo_model.generate.portrait.Landmarker", see(FACE))
    areas = {region: float(prepare(PICTURE, 72, region).mask.sum()) for region in (1.0, "auto", 1.5, "free")}
    assert areas[1.0] == 40 * 40 and areas[1.0] < areas["auto"] < areas[1.5] < areas["free"] == 72 * 72
    wide = prepare(PICTURE, 72, (64.0, 30.0, 136.0, 70.0)).mask  # side to side of the crop, as high as the face
    assert wide[0].any(0).all() and wide[0].any(1).sum() == 40


def test_a_painted_mask_is_cut_as_the_portrait_is(tmp_path, monkeypatch):
    monkeypatch.setattr("emo_model.generate.portrait.Landmarker", see(FACE))
    white = np.zeros((100, 200), np.uint8)
    white[:, :100] = 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    mask = prepare(PICTURE, 72, tmp_path / "mask.png").mask[0]
    assert mask[:, :36].all() and not mask[:, 36:].any()


def test_no_face_is_an_error_that_says_how_to_say_where_it_is(monkeypatch):
    monkeypatch.setattr("emo_model.generate.portrait.Landmarker", see())
    with pytest.raises(UserError, match=r"no face was found.*--face-region"):
        prepare(PICTURE, 64, "auto")
    assert prepare(PICTURE, 64, (80.0, 30.0, 120.0, 70.0)).mask.any()


def test_region_boxes_are_scaled_with_the_crop():
    mask = locate_face((100, 100), 32, (10, 10, 64), (0.0, 0.0, 1.0, 1.0), (10.0, 10.0, 42.0, 74.0))
    assert mask[0, :, :16].all() and not mask[0, :, 16:].any()


@pytest.mark.parametrize(
    ("text", "region"), [("auto", "auto"), ("free", "free"), ("1.5", 1.5), ("1,2,3,4.5", (1.0, 2.0, 3.0, 4.5))]
)
def test_regions_as_typed(text, region):
    assert parse_region(text) == region


@pytest.mark.parametrize("text", ["", "wide", "-1", "1,2,3", "3,2,1,4", "no-such.png"])
def test_a_region_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="face region"):
        parse_region(text)


# ---- bad input ----


def one_line(model, portrait, audio, out, **rest) -> str:
    with pytest.raises(UserError) as error:
        generate(model, portrait, audio, out, settings=QUICK, **rest)
    assert "\n" not in str(error.value) and not out.exists()
    return str(error.value)


def test_bad_inputs_are_one_line_each(model, portrait, voice, tmp_path):
    out, text, silent = tmp_path / "out.mp4", tmp_path / "text.wav", tmp_path / "empty.wav"
    text.write_text("no sound")
    write_voice(silent, 0)
    assert "no sound file" in one_line(model, portrait, tmp_path / "no.wav", out)
    assert "cannot be read" in one_line(model, portrait, text, out)
    assert "holds no sound" in one_line(model, portrait, silent, out)
    assert "no picture" in one_line(model, tmp_path / "no.png", voice, out)
    assert "cannot be read as a picture" in one_line(model, text, voice, out)
    assert "no checkpoint at" in one_line(tmp_path, portrait, voice, out)
    assert "is no mp4" in one_line(model, portrait, voice, tmp_path / "out.avi")
    assert "even number" in one_line(model, portrait, voice, out, size=33)


def test_a_video_without_sound_is_no_voice(model, portrait, tmp_path):
    root = make_root(tmp_path, {"mute": 20})
    assert "has no sound" in one_line(model, portrait, root.media("1_clips", "s0000", "mute.mp4"), tmp_path / "out.mp4")


def test_bad_settings_are_refused_before_anything_is_read():
    for wrong in ({"speed": -1.0}, {"speed": "fast"}, {"steps": 0}):
        with pytest.raises(UserError, match="emo generate"):
            Settings(**wrong)


def test_a_checkpoint_hears_with_its_own_encoder_or_not_at_all(monkeypatch):
    """Also where this machine's default is another one by now; other sizes than it learned from are refused."""
    asked = []
    monkeypatch.setattr("emo_model.generate.sound.load_encoder", lambda name: asked.append(name) or ENCODER)
    assert encoder_for(NETWORK) is ENCODER and asked == ["whisper_tiny_encoder"]
    with pytest.raises(UserError, match=r"4 layers of 384, loudness gives 2 of 8; run: emo weights"):
        encoder_for(TINY.network)


# ---- a test set ----


def test_a_manifest_is_generated_once_a_checkpoint_and_settings(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "load", classmethod(lambda cls, folder: model))
    root = make_root(tmp_path, {"a": 30, "b": 20}, sounds=write_voice)
    manifest, out = root.folder("5_manifest") / "train.parquet", root.folder("7_generated") / "ours"
    lines = []
    made = generate_manifest(model.folder, manifest, root, out, settings=QUICK, max_seconds=0.8, progress=lines.append)
    assert [(clip.clip_id, clip.frames) for clip in made] == [("a", 24), ("b", 20)]  # cut at 0.8 s; as long as the clip
    assert made[0].truth == "1_clips/media/s0000/a.mp4" and len(frames_of(root.path / made[0].path)) == 24
    assert len(lines) == 2

    monkeypatch.setattr("emo_model.generate.manifest.generate", None)  # nothing may be made again
    again = generate_manifest(model.folder, manifest, root, out, settings=QUICK, max_seconds=0.8, limit=1)
    assert again == made[:1]
    with pytest.raises(TypeError):  # other settings: made anew
        generate_manifest(model.folder, manifest, root, out, settings=Settings(steps=3), max_seconds=0.8)


def test_a_test_set_takes_no_region_that_fits_one_face_only(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "load", classmethod(lambda cls, folder: model))
    root = make_root(tmp_path, {"a": 20}, sounds=write_voice)
    with pytest.raises(UserError, match="auto, free or a factor"):
        generate_manifest(
            model.folder,
            root.folder("5_manifest") / "train.parquet",
            root,
            tmp_path / "out",
            settings=Settings(face_region=(1.0, 2.0, 3.0, 4.0)),
        )


# ---- with the real landmarker and encoder ----


@pytest.mark.weights
def test_a_real_portrait_is_cropped_around_its_face_as_training_crops_are():
    picture = next(s.path for s in samples.fetch(samples.default_folder()) if s.path.name == "astronaut.png")
    mask = prepare(read_picture(picture)[0], 64).mask[0]
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    assert mask[32, 32] and abs(len(rows) - 64 * 1.2 / 1.8) < 2  # region over crop, of the face's longer side
    assert abs(rows.float().mean() - 31.5) < 1 and abs(columns.float().mean() - 31.5) < 1


# ---- commands ----


def command(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["generate", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def given(model, voice, tmp_path, monkeypatch) -> dict[str, Path]:
    """Options that make a video."""
    monkeypatch.setattr("emo_model.generate.video.encoder_for", lambda config: ENCODER)
    monkeypatch.setattr("emo_model.generate.portrait.Landmarker", see(FACE))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (100, 200, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    return {"portrait": tmp_path / "a.png", "audio": voice, "out": tmp_path / "out.mp4", "checkpoint": model.folder}


def options(given: dict[str, Path], **other: object) -> list[str]:
    return [f"--{name}={value}" for name, value in {**given, "steps": 1, "guidance": 1, **other}.items()]


def test_the_command_makes_a_video_and_says_how_far_it_is(given):
    code, said, along = command(*options(given))
    assert code == 0 and said.startswith(f"{given['out']}: 26 frames in 3 clips")
    assert along.splitlines()[0] == "0/26 frames" and along.splitlines()[-1].startswith("26/26 frames")


def test_paths_with_odd_characters_are_paths(given, tmp_path):
    """A colon is no protocol, a percent sign no pattern, and nothing is handed to a shell."""
    odd = tmp_path / "a: 100 %03d; $(rm)\t'ü\"\n[1]"
    odd.mkdir()
    moved = {
        "portrait": given["portrait"].rename(odd / "http:%d.png"), "audio": given["audio"].rename(odd / "file:-.wav"),
        "out": odd / "concat:x|%d.mp4",
    }  # fmt: skip
    assert command(*options({**given, **moved}))[0] == 0
    assert len(frames_of(moved["out"])) == 26
    code, _, along = command(*options({**given, **moved}))
    assert code == 2 and along.count("\n") == 1 and "is there already" in along


def test_without_a_checkpoint_the_newest_finished_speed_run_is_taken(given, model, tmp_path, monkeypatch):
    monkeypatch.setenv("EMO_DATA", str(tmp_path / "data"))
    rest = {name: value for name, value in given.items() if name != "checkpoint"}
    assert "run: emo prepare" in command(*options(rest))[2]
    root = DataRoot(tmp_path / "data").create()
    code, _, along = command(*options(rest))
    assert code == 2 and "no finished run of stage speed" in along and along.count("\n") == 1
    for age, (name, finished) in enumerate({"new": True, "unfinished": False, "old": True}.items()):
        run = root.folder("6_checkpoints") / "speed" / name
        shutil.copytree(model.folder, run / "checkpoints" / f"step-{name}")
        write_json(run / "summary.json", {"checkpoint": f"checkpoints/step-{name}", "loss_end": finished and 0.1})
        os.utime(run / "summary.json", (1e9 - age, 1e9 - age))
    assert command(*options(rest))[0] == 0
    with av.open(given["out"]) as container:
        assert '"checkpoint": "step-new"' in container.metadata["comment"]


def test_a_run_folder_stands_for_its_last_checkpoint(given, model, tmp_path):
    shutil.copytree(model.folder, tmp_path / "run/checkpoints/step-9")
    write_json(tmp_path / "run/run.json", {})
    assert "has not finished" in command(*options(given, checkpoint=tmp_path / "run"))[2]
    write_json(tmp_path / "run/summary.json", {"checkpoint": "checkpoints/step-9", "loss_end": 0.1})
    assert command(*options(given, checkpoint=tmp_path / "run"))[0] == 0


def test_a_checkpoint_of_another_kind_is_refused(given, model, tmp_path, monkeypatch):
    shutil.copytree(model.folder, tmp_path / "still")
    write_json(tmp_path / "still/provenance.json", {"stage": "image"})
    assert "stage image, which makes no videos" in command(*options(given, checkpoint=tmp_path / "still"))[2]
    shutil.copytree(model.folder, tmp_path / "other")
    index = json.loads((tmp_path / "other/model_index.json").read_text())
    index["config"] |= TINY.network.model_dump(mode="json")  # another preset's sizes over these weights
    write_json(tmp_path / "other/model_index.json", index)
    assert "are not those of its configuration" in command(*options(given, checkpoint=tmp_path / "other"))[2]


BAD = [
    ({"speed": "fast"}, "head speed 'fast'"), ({"speed": "nan"}, "head speed nan"), ({"speed": "-1"}, "head speed -1"),
    ({"speed": "9"}, "learned 0 to 3 degrees a frame"), ({"face-region": "1,2"}, "no face region"),
    ({"face-region": "inf"}, "no face region"), ({"face-region": "900,0,950,50"}, "outside the portrait of 200x100"),
    ({"guidance": "lots"}, "guidance 'lots'"), ({"sampler": "euler"}, "no sampler 'euler'"),
    ({"steps": "0"}, "1 to 1000"),
    ({"portrait": "no.png"}, "no picture"), ({"audio": "no.wav"}, "no sound file"), ({"out": "out.avi"}, "is no mp4"),
    ({"checkpoint": "nowhere"}, "no checkpoint at nowhere"), ({"size": "33"}, "even number"),
    ({"out": f"{'x' * 220}.mp4"}, "too long"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "said"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_is_one_line_exit_code_2_and_no_file(given, tmp_path, wrong, said):
    before = sorted(tmp_path.iterdir())
    code, out, along = command(*options(given, **wrong))
    assert (code, out, along.count("\n")) == (2, "", 1) and along.startswith("emo: ") and said in along
    assert sorted(tmp_path.iterdir()) == before


def test_a_voice_that_is_silent_or_a_place_that_is_no_folder_is_refused(given, tmp_path):
    write_samples(tmp_path / "silence.wav", np.zeros((8000, 1)), 8000)
    assert "silent from beginning to end" in command(*options(given, audio=tmp_path / "silence.wav"))[2]
    (tmp_path / "dir.mp4").mkdir()
    assert "is a folder" in command(*options(given, out=tmp_path / "dir.mp4"))[2]
    code, _, along = command(*options(given, out=given["portrait"] / "out.mp4"))
    assert code == 2 and along.count("\n") == 1 and "is no folder to write to" in along


def test_nothing_is_overwritten_unless_told(given):
    given["out"].write_bytes(b"mine")
    code, _, along = command(*options(given))
    assert code == 2 and "is there already" in along and given["out"].read_bytes() == b"mine"
    assert command(*options(given), "--overwrite", "--mark")[0] == 0
    assert len(frames_of(given["out"])) == 26


def test_training_without_a_data_root_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("EMO_DATA", str(tmp_path / "nothing"))
    result = CliRunner().invoke(main, ["train", "image", str(tmp_path / "run")])
    assert result.exit_code == 2 and "run: emo prepare" in result.stderr and not (tmp_path / "run").exists()
