"""Guidance: a scale for each condition, nested as InstructPix2Pix's, all branches in one batch."""

import pytest
import torch

from emo_model.errors import UserError
from emo_model.generate import sampler
from emo_model.generate.guidance import Branch, Guidance, combined
from tests.model.generate.small import NETWORK

T = torch.tensor([500])


def nested(e: torch.Tensor, g: Guidance) -> torch.Tensor:
    """The formula as it is written: e (4, ...) know nothing; the portrait; and the voice; and the speed."""
    return e[0] + g.reference * (e[1] - e[0]) + g.audio * (e[2] - e[1]) + g.speed * (e[3] - e[2])


@pytest.mark.parametrize(
    "scales",
    [(1, 1, 1), (3.5, 3.5, 3.5), (2, 3.5, 1), (1, 4, 4), (1, 1, 2), (2, 0, 3), (3, 2, 0), (0, 0, 0), (2, 0, 0)],
)
def test_the_branches_that_are_asked_for_make_the_whole_formula(scales):
    guidance = Guidance(*scales)
    e = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    branches = guidance.branches()
    found = combined(e[[branch.known for branch in branches]], branches)
    torch.testing.assert_close(found, nested(e, guidance))


def test_no_more_is_asked_for_than_the_scales_need():
    assert Guidance.of(1.0).branches() == [Branch(3, 1.0)]  # the paper read literally
    assert Guidance.of(3.5).branches() == [Branch(0, 1.0), Branch(3, 3.5)]
    assert [branch.known for branch in Guidance(2, 3.5, 1).branches()] == [0, 1, 2, 3]
    assert [branch.known for branch in Guidance(1, 3, 0).branches()] == [1, 2]


@pytest.mark.parametrize(
    ("text", "guidance"),
    [("3.5", Guidance()), ("1", Guidance(1, 1, 1)), ("reference=2,audio=3.5,speed=1", Guidance(2, 3.5, 1)),
     ("audio=4", Guidance(1, 4, 1))],
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
    z, asked, forward = sampler.noise(emo, 0, 0), [], emo.forward

    def watch(*given):
        asked.append(forward(*given))
        return asked[-1]

    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(emo, "forward", watch)
        found = sampler.guided(emo, features, audio, 0.7, portrait.mask, Guidance(2, 3.5, 1))(z, T)
        patch.undo()
        paces, mask = torch.full((1, len(audio)), 0.7), portrait.mask[None]
        apart = [
            emo(z, T, features.without_reference(), mask=mask),
            emo(z, T, features, mask=mask),
            emo(z, T, features, audio[None], mask=mask),
            emo(z, T, features, audio[None], paces, mask),
        ]
    assert len(asked) == 1 and asked[0].shape == (4, *z.shape[1:])
    torch.testing.assert_close(asked[0], torch.cat(apart), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found, nested(torch.stack(apart), Guidance(2, 3.5, 1)), atol=1e-3, rtol=1e-3)


def test_a_condition_of_scale_0_is_as_if_it_were_not_there(model, portrait):
    def film(guidance: Guidance, voice: torch.Tensor) -> torch.Tensor:
        given = model.emo, model.scheduler, portrait.reference, portrait.mask, voice, 0.7
        return torch.cat(list(sampler.animate(*given, steps=2, guidance=guidance, seed=0)))

    one, other = torch.ones(12, 2, 8), torch.randn(12, 2, 8, generator=torch.Generator().manual_seed(0))
    deaf, hears = Guidance(2, 0, 0), Guidance(2, 1, 0)
    assert torch.equal(film(deaf, one), film(deaf, other))
    assert not torch.allclose(film(hears, one), film(hears, other), atol=1e-4)
