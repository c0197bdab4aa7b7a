"""`emo generate` as a user runs it: a checkpoint of TINY's sizes, the real landmarker and the real encoder."""

import wave

import av
import numpy as np
import pytest
from click.testing import CliRunner

from emo_model import diffusion, samples
from emo_model.cli import main
from emo_model.config import TINY
from emo_model.data import media
from emo_model.generate.picture import read_picture
from emo_model.generate.portrait import prepare
from emo_model.generate.synthetic import said
from emo_model.train import checkpoint
from tests.model.generate.small import stirred


@pytest.mark.weights
def test_a_face_moves_in_the_whole_portrait_whatever_its_path_holds(tmp_path):
    """Spaces, umlauts, quotes in every path; pasted back, all but the crop is the portrait as it was."""
    odd = tmp_path / "Müllers \"beste\" 'Aufnahmen' – 50 %"
    odd.mkdir()
    checkpoint.save(
        odd / "Modell ä", stirred(TINY.network), diffusion.schedule(diffusion.RECIPES["sd15"]), {"stage": "speed"}
    )
    found = {sample.path.name: sample.path for sample in samples.fetch(samples.default_folder())}
    portrait, voice = odd / "Porträt = 'eins'.png", odd / 'Stimme: "zwei".wav'
    portrait.write_bytes(found["astronaut.png"].read_bytes())
    with wave.open(str(found["silero_test.wav"])) as long, wave.open(str(voice), "wb") as short:
        short.setparams(long.getparams())
        short.writeframes(long.readframes(long.getframerate() // 2))
    out = odd / 'Köpfe & "Töne".mp4'
    paths = {"portrait": portrait, "audio": voice, "out": out, "checkpoint": odd / "Modell ä"}
    options = [*(f"--{name}={path}" for name, path in paths.items()), "--steps=2", "--paste-back"]
    done = CliRunner().invoke(main, ["generate", *options, "--guidance=reference=1,audio=2,speed=1"])
    assert done.exit_code == 0 and done.stdout.startswith(f"{out}: 15 frames"), done.output
    picture = read_picture(portrait)[0]
    frames = np.stack([frame for _, frame in media.frames(out)]).astype(int)
    assert frames.shape == (15, *(side // 2 * 2 for side in picture.shape[:2]), 3)
    changed = np.abs(frames - picture[: frames.shape[1], : frames.shape[2]]).mean(axis=(0, 3))
    x, y, side = prepare(picture, 64).square
    inside = np.zeros(changed.shape, bool)
    inside[max(y, 0) : y + side, max(x, 0) : x + side] = True
    assert changed[inside].mean() > 15 and changed[~inside].mean() < 3  # the crop, and nothing else but H.264
    with av.open(str(out)) as container:
        assert float(container.streams.audio[0].duration * container.streams.audio[0].time_base) == pytest.approx(
            0.5, abs=0.07
        )
    assert '"audio": 2.0' in said(out) and not list(odd.glob("*.partial"))
