"""Alignment, SCRFD, ArcFace and Deep3D: against insightface and torchvision, or against answers that are known."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from torch import nn

from emo_model.errors import UserError
from emo_model.evaluate import arcface, deep3d
from tests.model.evaluate import official_files
from tests.oracles import agree, oracle

INSIGHTFACE = ("insightface", "insightface.utils", "insightface.model_zoo")  # their __init__ want onnxruntime


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def five_points(seed: int) -> np.ndarray:
    """A face somewhere in a picture: the template turned, scaled, moved, and off by a few pixels."""
    rng = np.random.default_rng(seed)
    angle, scale = rng.uniform(-0.6, 0.6), rng.uniform(0.7, 2.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (arcface.TEMPLATE @ (scale * turn).T + rng.uniform(20, 60, 2) + rng.normal(0, 2, (5, 2))).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_alignment_is_insightfaces(seed: int) -> None:
    theirs = oracle("insightface.utils.face_align", bare=INSIGHTFACE)
    points, frame = five_points(seed), picture(240, 320)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skimage deprecates what insightface calls
        matrix, chip = theirs.estimate_norm(points), theirs.norm_crop(frame, points)
    agree("five-point alignment, matrix, insightface", arcface.similarity_transform(points), matrix, 1e-4)
    agree("five-point alignment, chip, insightface", arcface.face_chip(frame, points), chip, 1)


def test_a_similarity_is_found_exactly_and_a_mirror_is_not_one() -> None:
    exact = arcface.TEMPLATE @ np.array([[0.0, 2.0], [-2.0, 0.0]]) + [7, -3]
    matrix = arcface.similarity_transform(exact)
    np.testing.assert_allclose(exact @ matrix[:, :2].T + matrix[:, 2], arcface.TEMPLATE, atol=1e-9)
    assert np.linalg.det(arcface.similarity_transform(arcface.TEMPLATE * [-1, 1])[:, :2]) > 0
    with pytest.raises(ValueError, match="one place"):
        arcface.similarity_transform(np.ones((5, 2)))


def test_arcface_reads_onnx_and_sees_rgb_in_its_range(tmp_path: Path) -> None:
    network = official_files.arcface(file := tmp_path / "glintr100.onnx")
    chips = np.stack([picture(112, 112, seed) for seed in range(3)])
    with torch.inference_mode():
        expected = network((torch.from_numpy(chips).movedim(-1, 1).float() - 127.5) / 127.5)
    agree("ArcFace, ONNX against torch", arcface.ArcFace(file)(chips), expected, 1e-4, relative=True)


def test_another_onnx_network_is_refused(tmp_path: Path) -> None:
    wide = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 128))
    file = official_files.onnx(wide, 112, tmp_path / "other.onnx", ["y"])
    with pytest.raises(UserError, match=r"is not ArcFace: wanted \(1, 512\) for one face, got \(1, 128\)"):
        arcface.ArcFace(file)
    with pytest.raises(UserError, match="is not SCRFD with five points"):
        arcface.SCRFD(file)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(UserError, match="could not be read as an ONNX network"):
        arcface.ArcFace(tmp_path / "text.onnx")


@pytest.mark.parametrize("size", [(512, 512), (360, 640), (700, 500)])
def test_faces_and_points_are_scrfds(tmp_path: Path, size: tuple[int, int]) -> None:
    network = official_files.scrfd(file := tmp_path / "scrfd_10g_bnkps.onnx")
    module = oracle("insightface.model_zoo.scrfd", bare=INSIGHTFACE, stubs=("onnx", "onnxruntime"))
    theirs = object.__new__(module.SCRFD)
    theirs.use_kps, theirs.batched, theirs.nms_thresh, theirs.fmc = True, False, 0.4, 3
    theirs._feat_stride_fpn, theirs._num_anchors, theirs.center_cache = [8, 16, 32], 2, {}

    class Session:
        """onnxruntime's, by torch."""

        @staticmethod
        def run(_: object, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            with torch.inference_mode():
                return [out.numpy() for out in network(torch.from_numpy(inputs["input.1"]))]

    theirs.output_names, theirs.input_name = [], "input.1"
    theirs.input_mean, theirs.input_std, theirs.input_dtype = 127.5, 128.0, np.float32
    theirs._session_for_input_size = lambda size: Session()
    frame = picture(*size, seed=4)
    expected, points = theirs.detect(np.ascontiguousarray(frame[..., ::-1]), input_size=(640, 640), det_thresh=0.5)
    boxes, scores, ours = arcface.SCRFD(file).detect(frame)
    assert len(expected) >= 3
    agree(f"SCRFD, boxes, insightface, {size}", boxes, expected[:, :4], 1e-3)
    agree(f"SCRFD, confidences, insightface, {size}", scores, expected[:, 4], 1e-5)
    agree(f"SCRFD, points, insightface, {size}", ours, points, 1e-3)


@pytest.fixture(scope="module")
def deep3d_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official_files.deep3d(tmp_path_factory.mktemp("deep3d") / "epoch_20.pth")


def test_the_backbone_is_torchvisions_resnet50_and_the_heads_lie_in_order(deep3d_file: Path) -> None:
    state = torch.load(deep3d_file)["net_recon"]
    theirs = oracle("torchvision.models").resnet50(weights=None)
    theirs.fc = nn.Identity()
    theirs.load_state_dict({k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")})
    ours, x = deep3d.load_deep3d(deep3d_file), torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        features = theirs.eval()(x)
        agree("Deep3D, backbone, torchvision", ours.backbone(x).flatten(1), features, 1e-5, relative=True)
        coefficients = ours(x)
    assert coefficients.shape == (2, 257)
    for part, head, name in ((deep3d.EXPRESSION, 1, "expression"), (deep3d.ANGLES, 3, "angles")):
        weight, bias = state[f"final_layers.{head}.weight"][..., 0, 0], state[f"final_layers.{head}.bias"]
        agree(f"Deep3D, {name}", coefficients[:, part], features @ weight.T + bias, 1e-5, relative=True)
    assert (deep3d.TRANSLATION.start, deep3d.TRANSLATION.stop) == (254, 257)


def test_another_checkpoint_is_refused(tmp_path: Path, deep3d_file: Path) -> None:
    torch.save({"opt_00": {}}, tmp_path / "epoch_20.pth")
    with pytest.raises(UserError, match="holds no net_recon, only: opt_00"):
        deep3d.load_deep3d(tmp_path / "epoch_20.pth")


def test_the_mean_landmarks_are_read_from_matlabs_file(tmp_path: Path) -> None:
    file = official_files.deep3d_landmarks(tmp_path / "similarity_Lm3D_all.mat")
    expected = [[-0.35, 0.4, 0.15], [0.35, 0.4, 0.15], [0, 0, 0.6], [-0.25, -0.4, 0.2], [0.25, -0.4, 0.2]]
    np.testing.assert_allclose(deep3d.load_mean_landmarks(file), expected)
    scipy.io.savemat(file, {"lm": np.zeros((5, 3))})
    with pytest.raises(UserError, match=r"wanted lm \(68, 3\), got lm \(5, 3\)"):
        deep3d.load_mean_landmarks(file)
    file.write_text("no matrix")
    with pytest.raises(UserError, match="not a MATLAB file"):
        deep3d.load_mean_landmarks(file)


def test_a_known_camera_is_found_and_its_picture_cut() -> None:
    """Landmarks put on the frame by a camera of scale 60 about (150, 90): the face lands in the middle of the picture,
    102 pixels a unit.
    """
    mean = deep3d.five_of_68(official_files.mean_landmarks())
    up = 60 * mean[:, :2] + [150, 119 - 90]  # y up in a frame of 120 rows
    (x, y), scale = deep3d.fit_scale(up, mean)
    np.testing.assert_allclose([x, y, scale], [150, 29, 60], atol=1e-9)
    frame = np.zeros((120, 320, 3), np.uint8)
    frame[88:93, 148:153] = 255  # where the camera looks
    chip = deep3d.align(frame, np.c_[up[:, 0], 119 - up[:, 1]], mean)
    rows, columns = np.nonzero(chip[..., 0] > 128)
    assert chip.shape == (224, 224, 3)
    np.testing.assert_allclose([rows.mean(), columns.mean()], [112, 112], atol=2)
    assert np.ptp(columns) + 1 == pytest.approx(5 * 102 / 60, abs=1.5)
