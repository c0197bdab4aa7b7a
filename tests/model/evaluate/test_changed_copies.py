"""Two people talking, and copies of them changed in one thing: each metric moves the right way, or says what it lacks.

The clips are HDTF's WDA_AlexandriaOcasioCortez_000 and WDA_KatieHill_000 (from OpenTalker/SadTalker's examples) in the
folder that EMO_DEVELOPMENT_VIDEOS names; without it, two rendered heads with a recorded voice.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from emo_model import samples, weights
from emo_model.data import media
from emo_model.evaluate import (
    ALL,
    CONTROLS,
    COPY,
    GROUND_TRUTH,
    HALVES,
    SHUFFLED,
    Evaluation,
    Protocol,
    VideoPair,
    evaluate_methods,
)
from emo_model.evaluate.extractors import FAMILIES
from emo_model.evaluate.methods import sentences

HDTF = ("WDA_AlexandriaOcasioCortez_000", "WDA_KatieHill_000")
NEEDED = ("face_landmarker", "efficientnet_lite0", "dlib_face", "i3d")
LATE = 5  # frames at 25 fps


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> video of one person talking, 25 fps with sound."""
    development = Path(os.environ.get("EMO_DEVELOPMENT_VIDEOS", "."))
    if all((development / f"{name}.mp4").exists() for name in HDTF):
        return {name: development / f"{name}.mp4" for name in HDTF}
    media_folder = samples.default_folder()
    portraits = {name: media_folder / "portraits" / file for name, file in (("a", "astronaut.png"), ("b", "obama.jpg"))}
    voices = [media_folder / "voices" / name for name in ("obama_speech.wav", "silero_test.wav")]
    if not all(path.exists() for path in (*portraits.values(), *voices)):
        pytest.skip("run: emo samples get")
    if missing := [name for name in ("face_landmarker", "face_mesh") if not weights.have(name)]:
        pytest.skip(f"run: emo weights get {' '.join(missing)}")
    from emo_model.talking_set import render_set

    folder = tmp_path_factory.mktemp("rendered")
    rendered = render_set(folder, people=portraits, voices=voices, videos=1, seconds=5.0, fps=(25,))
    return {video.identity: video.path for video in rendered}


Change = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def blurred(frames: np.ndarray, sound: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    return np.stack([cv2.GaussianBlur(frame, (0, 0), frames.shape[1] / 128) for frame in frames]), sound


def frozen(frames: np.ndarray, sound: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(frames[:1], len(frames), 0), sound


def late_sound(frames: np.ndarray, sound: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    silence = np.zeros(LATE * media.AUDIO_RATE // 25, sound.dtype)
    return frames, np.concatenate([silence, sound])[: len(sound)]


def another_person(frames: np.ndarray, sound: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return other[: len(frames)], sound


def written_again(frames: np.ndarray, sound: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return frames, sound


def methods_of(people: dict[str, Path], folder: Path, *changes: Change) -> dict[str, list[VideoPair]]:
    """A method a change, as somebody would hand it in; and the very files, as `itself`."""
    films = {name: np.stack([picture for _, picture in media.frames(path)]) for name, path in people.items()}
    shortest = min(len(frames) for frames in films.values())
    methods = {"itself": [VideoPair(name, name, path, path) for name, path in people.items()]}
    for change in changes:
        for name, path in people.items():
            frames = films[name][:shortest]
            (other,) = (film for who, film in films.items() if who != name)
            sound = media.audio(path, 0.0, len(frames) / 25)
            pictures, heard = change(frames, sound, other)
            out = folder / change.__name__ / f"{name}.mp4"
            media.write_video(out, pictures, 25, (frames.shape[2], frames.shape[1]), heard)
            methods.setdefault(change.__name__, []).append(VideoPair(name, name, path, out))
    return methods


def evaluate(
    methods: dict[str, list[VideoPair]], metrics: Sequence[str], controls: Sequence[str] = CONTROLS, **more: object
) -> Evaluation:
    clips = [pair.clip_id for pair in next(iter(methods.values()))]
    protocol = Protocol.freeze("two people", clips, metrics=metrics, fps=25.0, bootstrap=4, **more)
    return evaluate_methods(methods, protocol, root="/", metrics=metrics, controls=controls)


def values(evaluation: Evaluation) -> Callable[[str, str], float | None]:
    """(method, metric without its stand-in) -> its number."""
    known = {(row.method, row.metric.partition("[")[0]): row.value for row in evaluation.rows if row.value is not None}
    return lambda method, metric: known.get((method, metric))


def test_mouth_sync_finds_the_five_frames(people: dict[str, Path], tmp_path: Path) -> None:
    if not weights.have("face_landmarker"):
        pytest.skip("run: emo weights get face_landmarker")
    methods = methods_of(people, tmp_path, late_sound)
    del methods["itself"]
    found = evaluate(methods, ("mouth_sync",), (GROUND_TRUTH,))
    number = values(found)
    shift = number("late_sound", "mouth_lag") - number(GROUND_TRUTH, "mouth_lag")
    assert shift == pytest.approx(-1000 * LATE / 25, abs=20)  # the mouth is early
    assert any("late_sound: its sound is 200 ms late" in line for line in sentences(found.findings))


@pytest.mark.long
def test_every_metric_whose_weights_are_here_moves_the_right_way(people: dict[str, Path], tmp_path: Path) -> None:
    if missing := [name for name in NEEDED if not weights.have(name)]:
        pytest.skip(f"run: emo weights get {' '.join(missing)}")
    methods = methods_of(people, tmp_path, written_again, blurred, frozen, late_sound, another_person)
    found = evaluate(methods, ALL)
    number = values(found)
    assert number("itself", "mouth_lag") == number(GROUND_TRUTH, "mouth_lag")
    assert number(SHUFFLED, "mouth_correlation") < number(GROUND_TRUTH, "mouth_correlation")
    assert number("late_sound", "ssim") > 0.9 > number("frozen", "ssim")
    for distance in ("fid", "fvd", "e_fid", "e_fid_centred", "p_fid"):
        floor = number(HALVES, distance)
        assert number("itself", distance) == pytest.approx(0, abs=1e-6) and floor > 0
        assert number("written_again", distance) < floor
    assert number("blurred", "fid") > number(HALVES, "fid") and number("blurred", "ssim") < number(
        "written_again", "ssim"
    )
    for distance in ("fvd", "e_fid"):
        assert number("frozen", distance) > number(HALVES, distance)
    truth = number(GROUND_TRUTH, "f_sim")
    assert number("itself", "f_sim") == truth and number("another_person", "f_sim") < truth - 5
    assert number("another_person", "f_sim_gap") > 5 * number("written_again", "f_sim_gap")
    assert number("frozen", "f_sim") > truth  # higher than real video: nearest is best, not highest
    assert number(COPY, "head_velocity") == 0 and number("frozen", "head_velocity") < 0.1
    missing = {row.metric: row.reason for row in found.rows if row.value is None and row.metric in FAMILIES}
    wanted = {name for name in ALL if FAMILIES[name].extractors[0].unavailable}
    assert all("emo weights get" in missing[name] for name in wanted if name in FAMILIES[name].outputs)
