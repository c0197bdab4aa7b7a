"""PAPER's network is Stable Diffusion 1.5 and AnimateDiff to the last tensor: names, shapes, counts, and the numbers.

On the meta device, so without memory. The whole network in real tensors is `long`, wants 18 GB of free memory and takes
some minutes on two cores: python -m pytest -m long tests/model/networks/test_paper_size.py
"""

import re
from pathlib import Path

import psutil  # comes with accelerate
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import nn

from emo_model.networks.config import PAPER_NETWORK, EMOConfig
from emo_model.networks.emo import EMO, PARTS, count
from emo_model.networks.unet import places, transformer_blocks
from emo_model.networks.weights import TEXT
from emo_model.train.stages import STAGES
from tests.model.networks.identities import Identities

PARAMETERS = {
    "reference_net": 815_521_280,
    "backbone": 865_132_484,
    "face_locator": 466_112,
    "audio_layers": 80_452_672,
    "temporal_modules": 453_209_280,
    "speed_layers": 50_927_808,
    "vae": 83_653_863,
}

Shapes = dict[str, tuple[int, ...]]


@pytest.fixture(scope="module")
def emo() -> EMO:
    with init_empty_weights():
        return EMO(PAPER_NETWORK)


@pytest.fixture(scope="module")
def stable_diffusion() -> UNet2DConditionModel:
    """diffusers' defaults are SD 1.x's sizes, but for the text's width."""
    with init_empty_weights():
        return UNet2DConditionModel(sample_size=64, cross_attention_dim=768)


def shapes(module: nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def without_text(given: Shapes) -> Shapes:
    return {name: shape for name, shape in given.items() if not TEXT.search(name)}


def test_parameters_by_part_are_those_that_the_papers_table_here_states(emo):
    counted = {part: count(getattr(emo, part)) for part in PARTS} | {"vae": count(emo.latents)}
    assert counted == PARAMETERS
    table = (Path(__file__).parents[3] / "emo_model" / "PAPER.md").read_text()
    for part, number in counted.items():
        assert f"| `{part}` | {number:,} |" in table
    trained = (f"{sum(counted[part] for part in stage.trains):,}" for stage in STAGES.values())
    assert "Stage 1 trains {} of them, stage 2 {}, stage 3 {}.".format(*trained) in table


def test_both_unets_are_stable_diffusions_without_what_reads_text(emo, stable_diffusion):
    expected = without_text(shapes(stable_diffusion))
    assert count(stable_diffusion) == 859_520_964
    assert without_text(shapes(emo.backbone.unet)) == expected
    tail = ("conv_norm_out.", "conv_out.")  # they would make an image of the last map
    assert shapes(emo.reference_net.unet) == {n: s for n, s in expected.items() if not n.startswith(tail)}


def test_both_unets_compute_as_stable_diffusions_does(emo, stable_diffusion):
    """Activation, norms, heads, padding, time embedding: what names and shapes do not show."""
    for unet in (emo.backbone.unet, emo.reference_net.unet):
        stock = {name: value for name, value in stable_diffusion.config.items() if not name.startswith("_")}
        other = {name for name, value in stock.items() if unet.config[name] != value}
        assert other == {"cross_attention_dim"}
        attentions = [block.attn1 for block in transformer_blocks(unet).values()]
        theirs = [block.attn1 for block in transformer_blocks(stable_diffusion).values()]
        assert [(a.heads, a.scale) for a in attentions] == [(a.heads, a.scale) for a in theirs]


def test_every_attention_is_diffusers_scaled_dot_product_attention(emo):
    attentions = [module for module in emo.modules() if isinstance(module, Attention)]
    assert len(attentions) == 2 * 16 + 2 * 16 + 3 * 21 + 2  # UNets' self; reference and audio; temporal, speed; VAE
    assert {type(module.processor) for module in attentions} == {AttnProcessor2_0}


def test_a_reference_attention_stands_in_every_text_attentions_place_and_nowhere_else(emo, stable_diffusion):
    ours = {re.sub(r"\.(attention|norm)\..*", "", n) for n in shapes(emo.backbone.unet) if TEXT.search(n)}
    theirs = {n[: TEXT.search(n).end() - 1] for n in shapes(stable_diffusion) if ".attn2." in n}
    assert ours == theirs and len(ours) == 16


def test_temporal_modules_are_animatediffs(emo):
    """Of diffusers' MotionAdapter (v2: with a module in the middle) and of its UNetMotionModel, at SD's sizes."""
    ours = {
        re.sub(r"^(.*)-(?:attentions|resnets)-(\d+)\.", r"\1.motion_modules.\2.", name).replace("-", ".", 1): shape
        for name, shape in shapes(emo.temporal_modules.modules_by_place).items()
    }
    with init_empty_weights():
        adapter, model = MotionAdapter(), UNetMotionModel()
    assert ours == shapes(adapter)
    assert ours == {name: shape for name, shape in shapes(model).items() if "motion_modules" in name}
    assert len(places(emo.backbone.unet)) == len(emo.speed_layers.attentions) == 21


SMALL_OF_PAPERS_SHAPE = EMOConfig.model_validate(
    PAPER_NETWORK.model_dump()
    | {"image_size": 64, "vae_channels": (8, 8, 8, 8), "channels": (16, 16, 32, 32), "heads": 2, "norm_groups": 4}
    | {"temporal_heads": 2, "audio_layers": 2, "audio_width": 8, "audio_hidden": 8, "audio_tokens": 2}
    | {"audio_token_width": 8, "speed_width": 8, "locator_channels": (4, 4, 4, 4)}
)


def test_step_0_is_stable_diffusion_and_animatediff_in_a_network_of_papers_shape():
    check(Identities.of(SMALL_OF_PAPERS_SHAPE, frames=3))


@pytest.mark.long
def test_step_0_is_stable_diffusion_and_animatediff_at_full_size():
    free = psutil.virtual_memory().available
    if free < 18e9:
        pytest.skip(f"wants 18 GB of free memory for two copies of the networks; {free / 1e9:.0f} GB are free")
    check(Identities.of(PAPER_NETWORK, frames=2))
    print(f"peak memory {peak() / 1e9:.1f} GB")


def check(found: Identities) -> None:
    for ours, theirs in ((found.still, found.stable_diffusion), (found.moving, found.animatediff)):
        assert ours.isfinite().all() and theirs.std() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * theirs.std().item())
    assert (found.moving - found.still).abs().max() > 0.01 * found.still.std()  # the modules do take part


def peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
