"""What makes sampling quick changes no video, or is written into it: keys kept for a clip, bfloat16, torch.compile."""

from contextlib import nullcontext
from functools import partial

import av
import pytest
import torch

from emo_model.errors import UserError
from emo_model.generate import Settings, generate, sampler, video
from emo_model.generate.once import Once, projected_once
from emo_model.generate.video import Model
from emo_model.networks.reference_attention import ReferenceAttention
from emo_model.train.compiling import compile_repeated

QUICK = Settings(steps=2, guidance=2.0)


def film(model: Model, portrait, **changed) -> torch.Tensor:
    voice = torch.randn(30, 2, 8, generator=torch.Generator().manual_seed(0))
    given = model.emo, model.scheduler, portrait.reference, portrait.mask, voice, 0.7
    return torch.cat(list(sampler.animate(*given, steps=3, guidance=2.0, seed=0, **changed)))


@pytest.fixture(autouse=True)
def small_encoder(model, monkeypatch):
    monkeypatch.setattr(video, "encoder_for", lambda _config: model.encoder)


def test_portrait_and_voice_are_projected_once_a_clip_and_the_video_is_the_same(model, portrait, monkeypatch):
    asked = []
    attentions = [m.attention for m in model.emo.modules() if isinstance(m, ReferenceAttention)]
    hooks = [each.to_k.register_forward_hook(lambda *_: asked.append(1)) for each in attentions]
    kept = film(model, portrait)
    assert len(asked) == 3 * len(attentions)  # 30 frames are three clips, of three steps each
    monkeypatch.setattr(sampler, "projected_once", lambda _emo: nullcontext())
    plain = film(model, portrait)
    assert len(asked) == (3 + 3 * 3) * len(attentions) and torch.equal(kept, plain)
    for hook in hooks:
        hook.remove()


def test_nothing_is_remembered_beyond_a_clip_or_an_error(model):
    with pytest.raises(KeyboardInterrupt), projected_once(model.emo):
        assert any(isinstance(module, Once) for module in model.emo.modules())
        raise KeyboardInterrupt
    assert not any(isinstance(module, Once) for module in model.emo.modules())


def test_the_networks_may_be_held_in_bfloat16_and_the_video_says_so(model, portrait, voice, tmp_path):
    half = Model.load(model.folder, "bf16")
    one, other = film(model, portrait), film(half, portrait, precision=half.precision)
    assert other.dtype == torch.float32 and not torch.equal(one, other)
    assert (one - other).abs().mean() < 0.05 < (one - one.flip(0)).abs().mean()
    size = lambda each: sum(p.numel() * p.element_size() for p in each.emo.parameters())  # noqa: E731
    assert size(half) < 0.6 * size(model)
    generate(half, portrait, voice, tmp_path / "half.mp4", settings=QUICK)
    generate(model, portrait, voice, tmp_path / "whole.mp4", settings=QUICK)
    for name, precision in (("half.mp4", "bfloat16"), ("whole.mp4", "float32")):
        with av.open(str(tmp_path / name)) as container:
            assert f'"precision": "{precision}"' in container.metadata["comment"]


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_a_compiled_model_makes_the_same_video(model, portrait, monkeypatch, backend):
    monkeypatch.setattr(video, "compile_repeated", partial(compile_repeated, backend=backend))
    traced = Model.load(model.folder, compiled=True)
    wrapped = lambda each: [m for m in each.emo.modules() if hasattr(m.forward, "_torchdynamo_orig_callable")]  # noqa: E731
    assert traced.compiled and wrapped(traced) and not wrapped(model)
    torch.testing.assert_close(film(traced, portrait), film(model, portrait), atol=1e-3, rtol=1e-3)


def test_compiling_without_a_compiler_is_one_line(model, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match="there is none; install g.. .*, emo generate without --compile"):
        Model.load(model.folder, compiled=True)
