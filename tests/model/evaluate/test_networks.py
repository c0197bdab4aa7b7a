"""The ports: sizes always; with the real weights, where present, the original code's own numbers."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from emo_model.errors import UserError
from emo_model.evaluate import fvd
from emo_model.evaluate.efficientnet_lite import EfficientNetLite0, load_efficientnet_lite0
from emo_model.evaluate.fid import prepare_inception, prepare_lite0
from emo_model.evaluate.i3d import I3D, load_i3d, same_padding
from emo_model.evaluate.inception import Inception
from emo_model.evaluate.syncnet import SyncNet, load_syncnet

GOLDEN = np.load(Path(__file__).with_name("golden_networks.npz"))  # made by golden_networks.py from the original code


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def wave(*shape: int) -> torch.Tensor:
    """A fixed smooth input in [-1, 1], equal on every machine."""
    grid = np.meshgrid(*(np.linspace(0, 1 + i, n) for i, n in enumerate(shape)), indexing="ij")
    return torch.from_numpy(np.sin(7 * sum((i + 1) * g for i, g in enumerate(grid)))).float()


def test_sizes_are_those_of_the_published_weights() -> None:
    assert (parameters(Inception()), len(Inception().state_dict())) == (23_850_960, 566)
    assert (parameters(SyncNet()), len(SyncNet().state_dict())) == (13_631_616, 102)
    assert (parameters(I3D()), len(EfficientNetLite0().state_dict())) == (12_697_264, 296)


def test_same_padding_is_tensorflows() -> None:
    assert same_padding((16, 224), (7, 3), (2, 2)) == [0, 1, 2, 3]  # last axis first; the odd one behind
    assert same_padding((5,), (3,), (1,)) == [1, 1]


def test_i3d_gives_the_original_logits(need_weights: Callable[[str], Path]) -> None:
    network = load_i3d(need_weights("i3d"))
    video = wave(1, 3, 16, 224, 224)
    with torch.inference_mode():
        logits = network(video).numpy()
    np.testing.assert_allclose(logits, GOLDEN["i3d"], atol=2e-4)


def test_efficientnet_gives_the_original_logits(need_weights: Callable[[str], Path]) -> None:
    network = load_efficientnet_lite0(need_weights("efficientnet_lite0"))
    with torch.inference_mode():
        logits = network.logits(wave(1, 3, 224, 224)).numpy()
        assert network(wave(1, 3, 224, 224)).shape == (1, 1280)
    np.testing.assert_allclose(logits, GOLDEN["efficientnet_lite0"], atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 3, 8, 224, 224), (1, 3, 16, 112, 112), (3, 16, 224, 224)])
def test_i3d_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="I3D wants"):
        I3D()(torch.zeros(shape))


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran while weights were read",)


def test_a_weights_file_that_runs_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "i3d.ckpt"
    file.write_bytes(pickle.dumps({"params": _Evil(), "batch_stats": {}}))
    with pytest.raises(UserError, match="numpy arrays only"):
        load_i3d(file)
    assert capsys.readouterr().out == ""


def test_syncnets_dense_pass_equals_window_by_window() -> None:
    torch.manual_seed(0)
    network, frames = SyncNet().eval(), torch.rand(1, 3, 7, 224, 224) * 255
    with torch.inference_mode():
        dense = network.lips(frames)
        windows = torch.cat([network.lips(frames[:, :, i : i + 5]) for i in range(3)])
    torch.testing.assert_close(dense, windows, atol=1e-4, rtol=1e-4)


def test_syncnet_weights_without_batch_counters_load_and_others_are_refused(tmp_path: Path) -> None:
    state = {k: v for k, v in SyncNet().state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "good.model")
    loaded = load_syncnet(tmp_path / "good.model").state_dict()
    assert torch.equal(loaded["netfclip.3.weight"], state["netfclip.3.weight"])
    state.pop("netcnnlip.0.weight")
    torch.save(state, tmp_path / "bad.model")
    with pytest.raises(UserError, match=r"not SyncNet: missing netcnnlip\.0\.weight"):
        load_syncnet(tmp_path / "bad.model")


def near(x: torch.Tensor, value: float) -> bool:
    return bool((x - value).abs().max() < 1e-4)


def test_each_network_sees_its_own_range_at_its_own_size() -> None:
    black_white = torch.tensor([0.0, 255.0])[:, None, None, None].expand(2, 3, 96, 96)
    for prepare, size, low, high in ((prepare_inception, 299, -1, 1), (prepare_lite0, 224, -127 / 128, 1)):
        x = prepare(black_white)
        assert x.shape == (2, 3, size, size)
        assert near(x[0], low) and near(x[1], high)
    video = fvd.prepare(
        np.repeat(np.array([0, 255], np.uint8), 8)[:, None, None, None] * np.ones((96, 96, 3), np.uint8)
    )
    assert video.shape == (1, 3, 16, 224, 224)
    assert near(video[0, :, :8], -1) and near(video[0, :, 8:], 1)


def test_windows_are_whole_and_do_not_overlap() -> None:
    windows = fvd.cut_windows(np.arange(50))
    assert windows[:, 0].tolist() == [0, 16, 32] and windows.shape == (3, 16)
    assert len(fvd.cut_windows(np.arange(15))) == 0
