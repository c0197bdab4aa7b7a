"""The head speed that is asked for: a number, the median, none, or a curve; never one that was not learned."""

from pathlib import Path

import pytest
import torch

from emo_model.errors import UserError
from emo_model.generate import Settings, generate, sampler
from emo_model.generate.speed_curve import SpeedCurve, parse_speed, read_curve, speed_within
from emo_model.networks.config import SpeedBuckets
from tests.model.generate.small import NETWORK

BUCKETS = SpeedBuckets(centres=(0.2, 0.7, 1.5), radii=(0.5, 0.6, 0.8))


def curve(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "speed, of a song.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_curve_is_straight_between_its_points_and_holds_beyond(tmp_path):
    found = parse_speed(str(curve(tmp_path, "\ufeffseconds, degrees a frame\n1, 0.4\n\n3,1.2\n")))
    assert [found(t) for t in (0, 1, 2, 3, 9)] == pytest.approx([0.4, 0.4, 0.8, 1.2, 1.2])


def test_speeds_as_typed():
    assert (parse_speed("0.7"), parse_speed("median"), parse_speed("none")) == (0.7, "median", None)
    with pytest.raises(UserError, match="head speed 'fast'.*--speed 0.7"):
        parse_speed("fast")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least one line"),
        ("seconds,speed\n", "at least one line"),
        ("0,0.5\n2,fast\n", "line 2 .*'2,fast'"),
        ("0,0.5,1\n0,1,2\n", "line 2"),
        ("0,0.5\n1,nan\n", "line 2"),
        ("1,0.5\n1,0.6\n", "seconds that rise"),
        ("2,0.5\n1,0.6\n", "seconds that rise"),
    ],
)
def test_a_curve_that_is_none_is_refused_in_one_line_that_names_the_place(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as error:
        read_curve(curve(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_picture_is_no_curve(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as a speed curve|line 1"):
        read_curve(tmp_path / "a.csv")


@pytest.mark.parametrize("asked", [0.1, 1.6, SpeedCurve((0.0, 1.0), (0.7, 2.0))])
def test_a_speed_that_was_not_learned_is_refused_with_the_range(asked):
    with pytest.raises(UserError, match=r"learned 0.2 to 1.5 degrees a frame; run: emo generate --speed (0.2|1.5)"):
        speed_within(asked, BUCKETS)


def test_what_was_learned_is_passed_on():
    rising = SpeedCurve((0.0, 1.0), (0.2, 1.5))
    assert [speed_within(asked, BUCKETS) for asked in (None, "median", 0.2, 1.5, rising)] == [
        None, 0.7, 0.2, 1.5, rising,
    ]  # fmt: skip


def test_each_clip_is_told_the_curve_at_its_middle(model, portrait, monkeypatch):
    told, guided = [], sampler.guided

    def watch(emo, features, audio, speed, mask, guidance):
        told.append(float(speed[0, 0]))
        return guided(emo, features, audio, speed, mask, guidance)

    monkeypatch.setattr(sampler, "guided", watch)
    audio = torch.ones(3 * NETWORK.frames, 2, 8)
    pace = SpeedCurve((0.0, 1.2), (0.0, 1.2))  # degrees a frame equal seconds
    list(
        sampler.animate(
            model.emo, model.scheduler, portrait.reference, portrait.mask, audio, pace, steps=1, guidance=1.0, seed=0
        )
    )
    assert told == pytest.approx([0.2, 0.6, 1.0])


def test_a_video_at_a_speed_out_of_range_is_refused_before_anything_is_made(model, portrait, voice, tmp_path):
    with pytest.raises(UserError, match="learned 0 to 3 degrees"):
        generate(model, portrait, voice, tmp_path / "out.mp4", settings=Settings(speed=3.5))
    assert [path.name for path in tmp_path.iterdir()] == ["voice.wav"]
