"""SyncNet, its distances and its face detector against syncnet-python, MFCC against python_speech_features."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emo_model.errors import UserError
from emo_model.evaluate import s3fd, sync
from emo_model.evaluate.boxes import suppressed
from emo_model.evaluate.syncnet import load_syncnet
from tests.model.evaluate import official_files
from tests.oracles import agree, oracle

PACKAGE = ("syncnet_python",)  # its __init__ wants scenedetect below 0.7
FRAMES = 12


@pytest.fixture(scope="module")
def syncnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official_files.syncnet(tmp_path_factory.mktemp("syncnet") / "syncnet_v2.model")


@pytest.fixture(scope="module")
def reference(syncnet_file: Path) -> torch.nn.Module:
    network = oracle("syncnet_python.SyncNetModel", bare=PACKAGE).S()
    state, own = torch.load(syncnet_file, weights_only=True), network.state_dict()
    for name, value in state.items():
        own[name].copy_(value)  # as the reference loads it
    return network.eval()


def speech(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    t = np.arange(round(seconds * 16_000)) / 16_000
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * t)
    return (9000 * envelope * np.sin(2 * np.pi * 180 * t) + 500 * rng.standard_normal(len(t))).astype(np.int16)


def test_the_towers_are_syncnets(syncnet_file: Path, reference: torch.nn.Module) -> None:
    frames = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 3, FRAMES, 224, 224))).float()
    sounds = torch.from_numpy(sync.mfcc_windows(sync.mfcc(speech(1.0)), 8)).float()
    network = load_syncnet(syncnet_file)
    with torch.inference_mode():
        windows = torch.cat([frames[:, :, i : i + 5] for i in range(FRAMES - 4)])
        agree("SyncNet, lips", network.lips(frames), reference.forward_lip(windows), 1e-4, relative=True)
        agree("SyncNet, voice", network.voice(sounds), reference.forward_aud(sounds), 1e-4, relative=True)


def embeddings(windows: int, lead: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(windows)
    truth = rng.standard_normal((windows + 40, 1024)).astype(np.float32)
    return truth[20 : 20 + windows], truth[20 + lead : 20 + lead + windows] + np.float32(0.3)


@pytest.mark.parametrize(("windows", "lead"), [(20, 0), (120, -3), (120, 9)])
def test_the_table_and_lse_are_calc_pdists(windows: int, lead: int) -> None:
    """LSE as SyncNetInstance.evaluate forms it of its calc_pdist."""
    module = oracle("syncnet_python.SyncNetInstance", bare=PACKAGE)
    lips, voice = embeddings(windows, lead)
    table = torch.stack(module.calc_pdist(torch.from_numpy(lips), torch.from_numpy(voice), vshift=15))
    agree(f"SyncNet, distances, {windows} windows", sync.distances(lips, voice), table, 1e-4)
    curve = table.mean(0)
    expected = curve.median() - curve.min(), curve.min(), 15 - curve.argmin()
    agree(f"LSE-C, LSE-D, offset, {windows} windows", sync.lse(sync.distances(lips, voice)), expected, 1e-4)


def test_the_whole_instance_is_ours(
    syncnet_file: Path, reference: torch.nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SyncNetInstance.evaluate on a folder of frames and a sound file; PNG inside .jpg names: no codec between us."""
    import cv2
    from scipy.io import wavfile

    rng, sound = np.random.default_rng(3), speech(1.0)
    crops = rng.integers(0, 256, (25, 224, 224, 3)).astype(np.uint8)
    for i, crop in enumerate(crops):
        (tmp_path / f"{i:06d}.jpg").write_bytes(cv2.imencode(".png", crop[..., ::-1])[1].tobytes())
    wavfile.write(tmp_path / "audio.wav", 16_000, sound)
    module = oracle("syncnet_python.SyncNetInstance", bare=PACKAGE)
    instance = module.SyncNetInstance(reference, device="cpu")
    options = SimpleNamespace(tmp_dir=str(tmp_path), batch_size=20, vshift=15)
    with torch.inference_mode():
        offset, confidence, distance = instance.evaluate(options)
    capsys.readouterr()
    ours = sync.lse(sync.score_crops(load_syncnet(syncnet_file), crops, sound))
    agree("SyncNet, whole pipeline after the crop", ours, (confidence, distance, offset), 1e-4)


def test_crops_are_the_pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its _crop on frames in files, caught before they go through XVID."""
    import cv2

    stubs = ("scenedetect.video_manager", "ffmpeg")
    module = oracle("syncnet_python.syncnet_pipeline", bare=PACKAGE, stubs=stubs)
    rng = np.random.default_rng(6)
    frames = rng.integers(0, 256, (15, 120, 160, 3)).astype(np.uint8)
    corners = np.array([30.0, 20.0, 90.0, 95.0]) + rng.normal(0, 3, (15, 4))
    corners[:, 2] += np.linspace(0, 60, 15)  # grows out of the frame
    files = []
    for i, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{i}.png"), frame[..., ::-1])
        files.append(str(tmp_path / f"{i}.png"))
    written: list[np.ndarray] = []
    writer = SimpleNamespace(write=lambda crop: written.append(crop.copy()), release=lambda: None)
    monkeypatch.setattr(module.cv2, "VideoWriter", lambda *a: writer)
    pipeline = object.__new__(module.SyncNetPipeline)
    pipeline.cfg = SimpleNamespace(frame_rate=25, crop_scale=0.4, ffmpeg_bin="/nowhere/ffmpeg")
    with pytest.raises(RuntimeError, match="FFmpeg not found"):  # after the frames
        pipeline._crop({"frame": range(15), "bbox": corners}, files, tmp_path / "a.wav", tmp_path / "crop")
    agree("SyncNet, crops", sync.face_crops(frames, corners), np.stack(written)[..., ::-1], 0)


def test_mfcc_is_python_speech_features() -> None:
    import python_speech_features

    sound = speech(2.3)
    agree("MFCC", sync.mfcc(sound), python_speech_features.mfcc(sound, 16_000), 0)


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> tuple[s3fd.S3FD, torch.nn.Module, Path]:
    """Ours and theirs with the weights of one file."""
    file = official_files.s3fd(tmp_path_factory.mktemp("s3fd") / "sfd_face.pth")
    theirs = oracle("syncnet_python.detectors.s3fd", bare=PACKAGE).S3FDNet(device="cpu").eval()
    theirs.load_state_dict(torch.load(file))
    return s3fd.load_s3fd(file), theirs, file


def test_faces_are_s3fds(detectors: tuple[s3fd.S3FD, torch.nn.Module, Path]) -> None:
    ours, theirs, _ = detectors
    frame = np.random.default_rng(5).integers(0, 256, (360, 480, 3)).astype(np.uint8)
    module = oracle("syncnet_python.detectors.s3fd", bare=PACKAGE)
    expected = module.S3FD(theirs, device="cpu").detect_faces(frame, conf_th=0.9, scales=[0.25])
    boxes, scores = s3fd.detect(ours, frame)
    assert len(expected) >= 3
    agree("S3FD, boxes", boxes, expected[:, :4], 1e-3)
    agree("S3FD, confidences", scores, expected[:, 4], 1e-5)


def test_a_file_that_is_not_s3fd_is_refused(detectors: tuple[s3fd.S3FD, torch.nn.Module, Path], tmp_path: Path) -> None:
    state = torch.load(detectors[2])
    state["extras.0.weight"] = state["extras.0.weight"][:4]
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(
        UserError, match=r"is not S3FD: extras\.0\.weight is \(4, 1024, 1, 1\), wanted \(256, 1024, 1, 1\)"
    ):
        s3fd.load_s3fd(tmp_path / "bad.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match="could not be read as weights"):
        s3fd.load_s3fd(tmp_path / "text.pth")


def test_suppression_keeps_the_best_of_what_overlaps() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 0, 30, 10], [0, 0, 10, 9]], float)
    assert suppressed(boxes, np.array([0.8, 0.9, 0.5, 0.95]), 0.3).tolist() == [3, 2]
    assert suppressed(np.zeros((0, 4)), np.zeros(0), 0.3).tolist() == []


def test_lost_faces_are_bridged_up_to_the_gap() -> None:
    boxes = np.full((9, 4), np.nan)
    boxes[1], boxes[4], boxes[8] = 0, 3, 7
    filled = s3fd.bridged(boxes, gap=2)
    assert filled[1:5, 0].tolist() == [0, 1, 2, 3] and np.isnan(filled[[0, 5, 6, 7]]).all()
