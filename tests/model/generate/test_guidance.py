"""Guidance: a scale for each condition, nested as InstructPix2Pix's, all branches in one batch."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace

import pytest
import torch

from emo_model.errors import UserError
from emo_model.generate import sampler
from emo_model.generate.guidance import CONDITIONS, Branch, Guidance, combined
from emo_model.networks.emo import FrameFeatures
from tests.model.generate.small import NETWORK

T = torch.tensor([500])


def nested(e: Callable[[set[str]], torch.Tensor], g: Guidance) -> torch.Tensor:
    """The formula as it is written: e(what is known), what is not guided known everywhere, the others one by one."""
    scales = asdict(g)
    known = {name for name, scale in scales.items() if scale == 1}
    total = e(known)
    for name in ("motion", "reference", "audio", "speed"):
        if scales[name] not in (0, 1):
            total = total + scales[name] * (e(known | {name}) - e(known))
            known = known | {name}
    return total


def drawn(known: Iterable[str]) -> torch.Tensor:
    """A prediction of its own for whatever is known."""
    seed = sum(2**k for k, name in enumerate(CONDITIONS) if name in known)
    return torch.randn(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    "scales",
    [(1, 1, 1), (3.5, 3.5, 3.5), (2, 3.5, 1), (1, 4, 4), (1, 1, 2), (2, 0, 3), (3, 2, 0), (0, 0, 0), (2, 0, 0),
     (3.5, 3.5, 3.5, 1.6), (1, 2, 2, 1.6), (1, 1, 1, 0), (2, 2, 2, 2), (1, 2, 1, 3)],
)  # fmt: skip
def test_the_branches_that_are_asked_for_make_the_whole_formula(scales):
    guidance = Guidance(*scales)
    branches = guidance.branches()
    found = combined(torch.stack([drawn(branch.known) for branch in branches]), branches)
    torch.testing.assert_close(found, nested(drawn, guidance))


def test_no_more_is_asked_for_than_the_scales_need():
    assert Guidance.of(1.0).branches() == [Branch(CONDITIONS, 1.0)]  # the paper read literally
    assert Guidance.of(3.5).branches() == [Branch(("motion",), 1.0), Branch(CONDITIONS, 3.5)]
    known = lambda *scales: [" ".join(branch.known) for branch in Guidance(*scales).branches()]  # noqa: E731
    assert known(2, 3.5, 1) == ["motion speed", "motion speed reference", "motion speed reference audio"]
    assert known(1, 3, 0) == ["motion reference", "motion reference audio"]
    assert known(1, 2, 2, 1.6) == ["reference", "reference motion", "reference motion audio speed"]


@pytest.mark.parametrize(
    ("text", "guidance"),
    [("3.5", Guidance()), ("1", Guidance(1, 1, 1)), ("reference=2,audio=3.5,speed=1", Guidance(2, 3.5, 1)),
     ("audio=4", Guidance(1, 4, 1)), ("motion=1.5,audio=2", Guidance(1, 2, 1, 1.5))],
)  # fmt: skip
def test_guidance_as_typed(text, guidance):
    assert Guidance.parse(text) == guidance


@pytest.mark.parametrize("text", ["", "much", "-1", "nan", "inf", "voice=2", "audio=", "audio=1,", "audio=2 speed=1"])
def test_guidance_that_is_none_is_refused_in_a_line_that_shows_one(text):
    with pytest.raises(UserError, match="run: emo generate --guidance 3.5") as error:
        Guidance.parse(text)
    assert "\n" not in str(error.value)


def test_all_branches_are_one_call_and_each_knows_what_it_should(model, portrait):
    """The rows of the one batch are the predictions that separate calls give with conditions left out."""
    emo, audio = model.emo, torch.randn(NETWORK.frames + 4, 2, 8, generator=torch.Generator().manual_seed(0))
    features = emo.encode_frames(emo.encode_pixels(portrait.reference[None]))
    features = replace(features, motion={name: torch.randn_like(each) for name, each in features.motion.items()})
    zeros = replace(features, motion={name: torch.zeros_like(each) for name, each in features.motion.items()})
    z, asked, forward = sampler.noise(emo, 0, 0), [], emo.backbone.forward

    def watch(*given):
        asked.append(forward(*given))
        return asked[-1]

    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(emo.backbone, "forward", watch)
        paces, masks, scales = torch.full((1, len(audio)), 0.7), portrait.mask[None], Guidance(2, 3.5, 0, 1.5)
        found = sampler.guided(emo, features, audio[None], paces, masks, scales)(z, T)
        every = sampler.guided(emo, features, audio[None], paces, masks, 1.0)(z, T)
        patch.undo()
        apart = [
            emo(z, T, zeros.without_reference(), mask=masks),
            emo(z, T, features.without_reference(), mask=masks),
            emo(z, T, features, mask=masks),
            emo(z, T, features, audio[None], mask=masks),
        ]
        all_known = emo(z, T, features, audio[None], paces, masks)
    assert len(asked) == 2 and asked[0].shape == (4, *z.shape[1:])
    torch.testing.assert_close(asked[0], torch.cat(apart), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(every, all_known)
    torch.testing.assert_close(found, nested(lambda names: apart[len(names)], scales), atol=1e-3, rtol=1e-3)


def test_clips_in_one_batch_are_the_clips_alone(model, portrait):
    emo, audio = model.emo, torch.randn(2, NETWORK.frames + 4, 2, 8, generator=torch.Generator().manual_seed(0))
    paces, masks = torch.tensor([[0.4], [0.9]]).expand(-1, NETWORK.frames + 4), portrait.mask.expand(2, -1, -1, -1)
    pictures = emo.encode_pixels(torch.stack([portrait.reference, portrait.reference.flip(2)]))
    z, scales = torch.cat([sampler.noise(emo, 0, 0), sampler.noise(emo, 1, 0)]), Guidance(2, 3.5, 3, 1.5)
    with torch.no_grad():
        both = emo.encode_frames(pictures, pictures[:, None].expand(-1, NETWORK.motion_frames, -1, -1, -1))
        found = sampler.guided(emo, both, audio, paces, masks, scales)(z, T.expand(2))
        for k in range(2):
            own = slice(k, k + 1)
            one = FrameFeatures(*({n: m[own] for n, m in maps.items()} for maps in (both.reference, both.motion)))
            alone = sampler.guided(emo, one, audio[own], paces[own], masks[own], scales)(z[own], T)
            torch.testing.assert_close(found[own], alone, atol=1e-3, rtol=1e-3)


def test_a_condition_of_scale_0_is_as_if_it_were_not_there(model, portrait):
    def film(guidance: Guidance, voice: torch.Tensor) -> torch.Tensor:
        given = model.emo, model.scheduler, portrait.reference, portrait.mask, voice, 0.7
        return torch.cat(list(sampler.animate(*given, steps=2, guidance=guidance, seed=0)))

    one, other = torch.ones(12, 2, 8), torch.randn(12, 2, 8, generator=torch.Generator().manual_seed(0))
    deaf, hears = Guidance(2, 0, 0), Guidance(2, 1, 0)
    assert torch.equal(film(deaf, one), film(deaf, other))
    assert not torch.allclose(film(hears, one), film(hears, other), atol=1e-4)
