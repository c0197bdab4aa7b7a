"""Which network each metric's features come from, and the one place that decides what a number may be called.

A metric bears its reference name (fid, fvd, f_sim, e_fid, syncnet) only when its reference weights made it.
With any other network the name says so: `fid[efficientnet-lite0]`. Every EvaluationRow passes through
`check_name`.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from emo_model import weights
from emo_model.errors import UserError


@dataclass(frozen=True)
class Extractor:
    """One network a metric can use. `weights`: names in emo_model.weights; none for a rule on pixels."""

    name: str
    weights: tuple[str, ...]
    is_reference: bool = False

    @property
    def unavailable(self) -> str | None:
        """Why it cannot run here, with the command that mends it; None if it can."""
        missing = [name for name in self.weights if not weights.have(name)]
        return f"no weights: emo weights get {' '.join(missing)}" if missing else None

    @property
    def sha256(self) -> str:
        """Hash over its weight files, in order: what a protocol pins."""
        return "+".join(_file_sha256(weights.path(name)) for name in self.weights)


@cache
def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Family:
    """One metric: the numbers it gives, and the networks it can use, the reference first."""

    name: str
    outputs: tuple[str, ...]  # names of its numbers when made with the reference
    extractors: tuple[Extractor, ...]
    meaning: str
    is_distance: bool = False  # to the ground truth, whose own value is then 0 by definition
    sample: str = "frame"  # what n counts
    hears: bool = False  # listens to the sound: another sound is another number
    optional: bool = False  # measured only where it is asked for by name


_LANDMARKER = Extractor("face-landmarker", ("face_landmarker",), is_reference=True)  # ours by definition
_PIXELS = Extractor("pixels", (), is_reference=True)
_INCEPTION = Extractor("inception-2015-12-05", ("inception",), is_reference=True)
_DEEP3D = Extractor("deep3d", ("deep3d", "deep3d_landmarks", "face_landmarker"), is_reference=True)
_FVD = "Fréchet distance of 16-frame windows' features; lower is better"

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "fid",
            ("fid", "kid"),
            (_INCEPTION, Extractor("efficientnet-lite0", ("efficientnet_lite0",))),
            "Fréchet distance of single frames' features, and their kernel distance; lower is better",
            is_distance=True,
        ),
        Family(
            "syncnet",
            ("syncnet", "lse_d", "av_offset", "syncnet_valid", "lse_d_valid"),
            (
                Extractor("syncnet_v2", ("syncnet", "sfd"), is_reference=True),
                Extractor("mediapipe-crop", ("syncnet", "face_landmarker")),
            ),
            "LSE-C, confidence that lips and voice belong together; higher is better up to the ground truth",
            sample="window",
            hears=True,
        ),
        Family(
            "f_sim",
            ("f_sim", "f_sim_gap", "f_sim_w1", "identity_drift"),
            (
                Extractor("arcface", ("arcface", "scrfd"), is_reference=True),
                Extractor("arcface-mediapipe", ("arcface", "face_landmarker")),
                Extractor("dlib-resnet", ("dlib_face", "face_landmarker")),
            ),
            "100 x cosine of face features to the reference image, and its slope a minute; best is nearest the truth's",
        ),
        Family(
            "fvd",
            ("fvd",),
            (Extractor("i3d-kinetics-400", ("i3d",), is_reference=True),),
            _FVD,
            is_distance=True,
            sample="window",
        ),
        Family(
            "e_fid",
            ("e_fid", "e_fid_centred"),
            (_DEEP3D, Extractor("blendshapes", ("face_landmarker",))),
            "Fréchet distance of expression coefficients, raw and less each clip's mean; lower is better",
            is_distance=True,
        ),
        Family(
            "p_fid",
            ("p_fid",),
            (_DEEP3D, Extractor("landmarker-pose", ("face_landmarker",))),
            "Fréchet distance of head poses, three angles and translation; lower is better",
            is_distance=True,
        ),
        Family(
            "motion",
            ("head_velocity", "velocity_variance", "vmv"),
            (_LANDMARKER,),
            "head rotation, degrees a frame at 30 fps: mean, variance in a clip, variance of clip means",
        ),
        Family("blink", ("blink_rate",), (_LANDMARKER,), "blinks a minute; best is nearest the ground truth's"),
        Family(
            "mouth_sync",
            ("mouth_correlation", "mouth_lag"),
            (_LANDMARKER,),
            "mouth opening against loudness in speech: best correlation, its lag in ms (above 0: mouth late)",
            sample="clip",
            hears=True,
        ),
        Family(
            "beat",
            ("beat_align",),
            (_LANDMARKER,),
            "how near the head's rests lie to the sound's onsets, 0 to 1; best is nearest the ground truth's",
            sample="clip",
            hears=True,
        ),
        Family(
            "pictures",
            ("psnr", "ssim"),
            (_PIXELS,),
            "decibels and structural similarity to the real frame, for a method that retells its own clip",
        ),
        Family(
            "seams",
            ("seam_ratio",),
            (_PIXELS,),
            "step between frames at every 12th against the others; 1 is no seam",
        ),
        Family(
            "lpips",
            ("lpips",),
            (Extractor("lpips-alexnet", ("lpips",), is_reference=True),),
            "perceptual distance to the real frame; lower is better",
            optional=True,
        ),
        Family(
            "clean_fid",
            ("clean_fid", "clean_kid"),
            (_INCEPTION,),
            "FID and KID through clean-fid's resize; lower is better",
            is_distance=True,
            optional=True,
        ),
        Family(
            "fvd_styleganv",
            ("fvd_styleganv",),
            (Extractor("i3d_torchscript", ("i3d_torchscript",), is_reference=True),),
            f"StyleGAN-V's convention: {_FVD}",
            is_distance=True,
            sample="window",
            optional=True,
        ),
        Family(
            "fvd_videogpt",
            ("fvd_videogpt",),
            (Extractor("i3d_pretrained_400", ("i3d_pretrained_400",), is_reference=True),),
            f"VideoGPT's convention: {_FVD}",
            is_distance=True,
            sample="window",
            optional=True,
        ),
    )
}
ALL = tuple(name for name, family in FAMILIES.items() if not family.optional)


def family_of(metric: str) -> Family:
    """The family by its name; UserError listing the known ones."""
    if metric not in FAMILIES:
        raise UserError(f"unknown metric {metric!r}; known: {', '.join(FAMILIES)}")
    return FAMILIES[metric]


def choose(family: Family) -> Extractor | None:
    """The first network that can run here, the reference before stand-ins."""
    return next((e for e in family.extractors if e.unavailable is None), None)


def metric_name(output: str, extractor: Extractor) -> str:
    """`fid`, or `fid[efficientnet-lite0]` where the network is a stand-in."""
    return output if extractor.is_reference else f"{output}[{extractor.name}]"


def check_name(metric: str, extractor: str) -> None:
    """Raise ValueError unless `metric` is what a number made by `extractor` must be called."""
    output = metric.partition("[")[0]
    family = next((f for f in FAMILIES.values() if output in f.outputs), None)
    known = {e.name: e for e in family.extractors} if family else {}
    if extractor not in known:
        raise ValueError(f"metric {metric!r} has no extractor {extractor!r}; known: {', '.join(known) or 'none'}")
    if metric != (wanted := metric_name(output, known[extractor])):
        raise ValueError(f"a number made with {extractor} must be called {wanted!r}, not {metric!r}")
