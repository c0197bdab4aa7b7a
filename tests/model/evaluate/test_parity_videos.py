"""I3D and FVD against cd-fvd, in each of the formats the weights are published in."""

from pathlib import Path

import numpy as np
import pytest
import torch

from emo_model.errors import UserError
from emo_model.evaluate.frechet import Gaussian, frechet_distance
from emo_model.evaluate.fvd import prepare, prepare_central
from emo_model.evaluate.i3d import load_i3d_pytorch, load_i3d_torchscript
from tests.model.evaluate import official_files
from tests.oracles import agree, oracle


@pytest.fixture(scope="module")
def pytorch_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official_files.i3d_pretrained_400(tmp_path_factory.mktemp("i3d") / "i3d_pretrained_400.pt")


def windows(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Random pictures that drift, a speed a window: (count, 16, H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    still = rng.integers(0, 256, (count, height, width, 3)).astype(np.uint8)
    return np.stack([np.stack([np.roll(x, t * i, axis=1) for t in range(16)]) for i, x in enumerate(still)])


def test_features_equal_cd_fvds(pytorch_file: Path) -> None:
    cdfvd = oracle("cdfvd.third_party.i3d.utils")
    theirs, ours = cdfvd.load_i3d_model("cpu", str(pytorch_file)), load_i3d_pytorch(pytorch_file)
    assert len(theirs.state_dict()) == 344
    videos = windows(2, 96, 128)
    with torch.inference_mode():
        expected = theirs(cdfvd.preprocess_i3d(videos))
        found = torch.cat([ours(prepare(video)) for video in videos])
    agree("I3D logits, cd-fvd", found, expected, 1e-5, relative=True)
    agree("I3D input, cd-fvd", prepare(videos[0]), cdfvd.preprocess_i3d(videos[:1]), 0)


@pytest.mark.parametrize("count", [500, 40], ids=["n>d", "n<d"])
def test_stylegan_vs_covariance_is_cd_fvds(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(count)
    real, fake = rng.standard_normal((count, 64)) * 3, rng.standard_normal((count + 9, 64)) * 2 + 1
    module, statistics = oracle("cdfvd.fvd"), []
    for features in (real, fake):
        statistics.append(oracle("cdfvd.utils.metric_utils").FeatureStats(capture_mean_cov=True))
        statistics[-1].append(features)
    instance = object.__new__(module.cdfvd)
    expected = instance.compute_fvd_from_stats(statistics[1], statistics[0])
    ours = frechet_distance(*(Gaussian.of(x.astype(np.float32), biased=True) for x in (real, fake)))
    agree(f"FVD, StyleGAN-V's statistics, cd-fvd, n={count}", ours, expected, 1e-6, relative=True)
    assert ours != pytest.approx(frechet_distance(Gaussian.of(real), Gaussian.of(fake)), rel=1e-4)


def test_videogpt_sees_the_central_square() -> None:
    wide = windows(1, 112, 200)[0]
    wide[:, :, :44], wide[:, :, 156:] = 0, 255  # 112 columns in the middle
    middle = prepare(np.ascontiguousarray(wide[:, :, 44:156]))
    seen = prepare_central(wide)
    assert seen.shape == middle.shape == (1, 3, 16, 224, 224)
    torch.testing.assert_close(seen[..., 2:-2], middle[..., 2:-2])  # at the borders it looks across
    square = windows(1, 112, 112)[0]
    assert torch.equal(prepare_central(square), prepare(square))


def test_the_torchscript_program_is_run(tmp_path: Path) -> None:
    file, x = tmp_path / "i3d_torchscript.pt", torch.rand(1, 3, 16, 224, 224) * 2 - 1
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(3, 400))
    official_files.i3d_torchscript(file, network)
    with torch.inference_mode():
        assert torch.equal(load_i3d_torchscript(file)(x), network(x))
    torch.jit.script(network).save(str(file))
    with pytest.raises(UserError, match=r"wanted forward\(x, rescale, resize, return_features\), got \(input\)"):
        load_i3d_torchscript(file)
    torch.save({}, file)
    with pytest.raises(UserError, match=r"is not i3d_torchscript\.pt"):
        load_i3d_torchscript(file)


def test_another_state_dict_is_refused(tmp_path: Path, pytorch_file: Path) -> None:
    state = torch.load(pytorch_file)
    state.pop("Mixed_4c.b1a.conv3d.weight")
    state["more"] = torch.zeros(1)
    torch.save(state, tmp_path / "bad.pt")
    with pytest.raises(UserError, match=r"not I3D: missing mixed\.Mixed_4c\.branch_1a\.conv\.weight; unexpected more"):
        load_i3d_pytorch(tmp_path / "bad.pt")
