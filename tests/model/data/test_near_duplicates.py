"""The same recording, made into another file; and everything that only resembles it."""

import wave
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from emo_model import samples
from emo_model.data import near_duplicates
from emo_model.data.fingerprints import FACE_EVERY, HOP, MIRROR, RATE, face_word, sound_words
from emo_model.data.near_duplicates import SAME_PICTURE, SAME_SOUND, STOP, Clip, Pair, compare, find, rows

RNG = np.random.default_rng(0)


def need(name: str) -> Path:
    path = samples.default_folder() / name
    if not path.exists():
        pytest.skip(f"wants {name}; run: emo samples get")
    return path


@pytest.fixture
def voice() -> np.ndarray:
    """(N,) samples of a minute of speech at 16 kHz."""
    with wave.open(str(need("voices/silero_test.wav"))) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def clip(
    name: str, video: str, sound: np.ndarray, face: np.ndarray | None = None, seconds: float | None = None
) -> Clip:
    words = sound_words(sound)
    return Clip(name, video, seconds or len(sound) / RATE, words, np.zeros(0, np.uint64) if face is None else face)


def test_speech_at_another_level_with_noise_and_cut_by_an_odd_amount_is_found_where_it_lies(voice: np.ndarray) -> None:
    start = 12 * RATE + 357
    copy = 0.3 * voice[start : start + 5 * RATE] + RNG.normal(0, 1e-3, 5 * RATE).astype(np.float32)
    whole, cut = clip("a", "v", voice[10 * RATE : 18 * RATE]), clip("b", "w", copy)
    [pair] = find([whole, cut])
    assert pair.offset_s == pytest.approx((start - 10 * RATE) / RATE, abs=1.5 * HOP / RATE)
    assert pair.overlap_s == pytest.approx(5, abs=0.1) and pair.sound is not None and pair.sound < 0.12


def test_other_words_of_the_same_voice_are_not_the_same(voice: np.ndarray) -> None:
    """No offset brings two different stretches of one speaker near the threshold."""
    clips = [clip(f"c{n}", f"v{n}", voice[n * 6 * RATE : (n + 1) * 6 * RATE]) for n in range(9)]
    assert find(clips) == []
    for other in clips[1:]:
        for offset in range(-4, 5):
            found = near_duplicates._distance(clips[0].sound, other.sound, offset, HOP / RATE)[0]
            assert found is None or found > SAME_SOUND + 0.1


def test_one_video_is_not_compared_with_itself(voice: np.ndarray) -> None:
    assert find([clip("a", "v", voice[: 6 * RATE]), clip("b", "v", voice[: 6 * RATE])]) == []


def test_silence_is_nobodys_recording() -> None:
    silent = np.zeros(6 * RATE, np.float32)
    assert not sound_words(silent).any() and len(sound_words(silent[:100])) == 0
    assert find([clip("a", "v", silent), clip("b", "w", silent)]) == []


def portrait() -> tuple[np.ndarray, np.ndarray]:
    return cv2.imread(str(need("portraits/astronaut.png")))[:, :, ::-1], np.array([172.0, 60.0, 276.0, 198.0])


def test_a_face_has_the_same_word_smaller_coarser_darker_and_its_mirrors_is_known() -> None:
    picture, box = portrait()
    word = face_word(picture, box)
    small = cv2.resize(picture, (300, 300), interpolation=cv2.INTER_AREA)
    coarse = cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR) // 2
    assert np.bitwise_count(word ^ face_word(coarse, box * 300 / 512)) <= 4
    x0, y0, x1, y1 = box
    turned = face_word(picture[:, ::-1], np.array([512 - x1, y0, 512 - x0, y1]))
    assert np.bitwise_count(word ^ turned ^ MIRROR) <= 8 < 16 < np.bitwise_count(word ^ turned)
    assert np.bitwise_count(word ^ face_word(picture, box + 120)) > 16
    assert face_word(picture, np.array([0.0, 0.0, 3.0, 3.0])) == 0


def film(seed: int, count: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 2**63, count).astype(np.uint64)


def blurred(words: np.ndarray, bits: int) -> np.ndarray:
    """The same with that many wrong bits in each word."""
    rng = np.random.default_rng(1)
    masks = [sum(1 << int(b) for b in rng.permutation(63)[:bits]) for _ in words]
    return words ^ np.array(masks, np.uint64)


def test_silent_footage_is_found_by_its_pictures() -> None:
    nothing = np.zeros(0, np.float32)
    whole = clip("a", "v", nothing, film(0), 10)
    cut, other = clip("b", "w", nothing, blurred(film(0)[18:48], 4), 5), clip("c", "x", nothing, film(2), 10)
    [pair] = find([whole, cut, other])
    assert (pair.a, pair.b) == ("a", "b") and pair.offset_s == pytest.approx(18 * FACE_EVERY / 30)
    assert pair.sound is None and pair.picture == pytest.approx(4 / 64)
    far = clip("b", "w", nothing, blurred(film(0)[18:48], 12), 5)
    assert SAME_PICTURE < 12 / 64 and compare(whole, far, 3.0) is None
    assert compare(whole, replace(cut, face=cut.face[:9]), 3.0) is None  # a second and a half says nothing


def test_a_word_in_very_many_clips_is_not_looked_up_and_the_pairs_stay_few() -> None:
    """A jingle in every video must cost no n * n."""
    key = (np.array([7], np.uint64), np.array([0]))
    words, video = [key] * (10 * STOP), np.arange(10 * STOP)
    assert list(near_duplicates.common(words, video)) == []
    assert len(list(near_duplicates.common(words[:3], video[:3]))) == 3


def pair(a: str, b: str, overlap_s: float = 5.0) -> Pair:
    return Pair(a, b, 1.0, overlap_s, 0.05, 0.02)


def plain(name: str, face_px: float = 100, number: int = 0, seconds: float = 5.0) -> Clip:
    return Clip(name, name, seconds, np.zeros(0), np.zeros(0), (-face_px, number))


def kept_of(clips: list[Clip], pairs: list[Pair]) -> dict[str, str | None]:
    return {row["clip_id"]: row["near_duplicate_of"] for row in rows(clips, pairs)}


def test_the_larger_face_is_kept_then_the_earlier_then_the_first_name() -> None:
    assert kept_of([plain("a", 90), plain("b", 200)], [pair("a", "b")]) == {"b": None, "a": "b"}
    assert kept_of([plain("a", number=3), plain("b", number=1)], [pair("a", "b")]) == {"b": None, "a": "b"}
    assert kept_of([plain("a"), plain("b")], [pair("a", "b")]) == {"a": None, "b": "a"}


def test_a_clip_is_left_out_for_one_that_is_kept_only() -> None:
    """b overlaps both ends; a and c do not overlap, so one of them must not go for the other's sake."""
    chain, clips = [pair("a", "b"), pair("b", "c")], [plain("a", 300), plain("b", 200), plain("c", 100)]
    assert kept_of(clips, chain) == {"a": None, "b": "a", "c": None}
    found = rows(clips, chain)
    assert {row["recording"] for row in found} == {"a"}


def test_a_little_overlap_ties_but_leaves_nothing_out() -> None:
    assert kept_of([plain("a"), plain("b")], [pair("a", "b", overlap_s=2.1)]) == {"a": None, "b": None}


def test_offset_is_the_left_out_clips_start_in_the_kept_ones_time() -> None:
    [_, row] = rows([plain("a"), plain("b", 200)], [pair("a", "b")])
    assert (row["clip_id"], row["offset_s"], row["overlap_s"]) == ("a", -1.0, 5.0)


def test_the_order_of_clips_and_pairs_is_nothing() -> None:
    clips = [plain(name, face_px=ord(name) % 3) for name in "abcdef"]
    pairs = [pair(x, y) for x, y in ("ab", "bc", "cd", "de", "ef", "ae")]
    one = sorted(rows(clips, pairs), key=lambda row: row["clip_id"])
    assert one == sorted(rows(clips[::-1], pairs[::-1]), key=lambda row: row["clip_id"])


def test_a_copy_to_the_bit_is_a_copy_with_sound_or_without(voice: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    face, sound = rng.integers(1, 2**63, 50, dtype=np.uint64), sound_words(voice)
    for heard in (np.zeros(0, "<u4"), sound):
        clips = [Clip("a", "va", 8.0, heard, face), Clip("b", "vb", 8.0, heard, face.copy())]
        (pair,) = find(clips)
        assert pair.picture == 0.0 and abs(pair.offset_s) < 0.2


def test_a_face_that_keeps_still_is_found_though_it_says_one_word_again_and_again() -> None:
    face = np.full(80, 0x1234567812345678, np.uint64)
    assert find([Clip("a", "va", 13.0, np.zeros(0, "<u4"), face), Clip("b", "vb", 13.0, np.zeros(0, "<u4"), face)])


def test_unknown_pictures_stay_unknown_in_the_mirror() -> None:
    face = np.zeros(50, np.uint64)
    turned = np.full(50, MIRROR, np.uint64)
    nothing = np.zeros(0, "<u4")
    assert compare(Clip("a", "va", 8.0, nothing, turned), Clip("b", "vb", 8.0, nothing, face), 0.0) is None


def test_one_voice_to_two_different_faces_is_no_copy(voice: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    sound = sound_words(voice)
    faces = [rng.integers(1, 2**63, 50, dtype=np.uint64) for _ in range(2)]
    clips = [Clip(name, f"v{name}", 8.0, sound, face) for name, face in zip("ab", faces, strict=True)]
    assert find(clips) == []
    assert find([clips[0], replace(clips[1], face=np.zeros(0, np.uint64))])  # nothing speaks against it
