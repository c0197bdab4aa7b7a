"""Recomputing in the backward pass: the same gradients in every stage, and what is kept, byte by byte and by module."""

import copy
import gc
import weakref
from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from emo_model import diffusion
from emo_model.networks import gradient_checkpointing
from emo_model.networks.emo import EMO
from emo_model.networks.unet import places
from emo_model.train.config import TINY_TRAIN
from emo_model.train.loop import freeze
from emo_model.train.objective import Objective, fixed_draw
from emo_model.train.stages import STAGES, Stage
from tests.model.networks.small import SMALL, small
from tests.model.train.moving_faces import MovingFaces

stages = pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)


def prepared(stage: Stage, mode: str | None) -> EMO:
    """A network as the loop has it in a stage, past its zero-initialised outputs."""
    emo = small(awake=True).train()
    freeze(emo, stage)
    if mode:
        emo.enable_gradient_checkpointing(mode)
    return emo


def loss_of(emo: EMO, stage: Stage) -> torch.Tensor:
    """Equation 1 on two clips, with every condition that the stage reads."""
    batch = MovingFaces(stage, SMALL).batch(0, 2)
    objective = Objective(emo, diffusion.schedule(diffusion.RECIPES["sd15"]), stage, TINY_TRAIN)
    return objective(batch, fixed_draw(objective.latent_shape(batch), TINY_TRAIN, seed=0)).mean()


class Kept:
    """A tensor that waits for the backward pass, for as long as autograd holds on to it."""

    def __init__(self, tensor: torch.Tensor, module: str) -> None:
        self.tensor, self.module = tensor, module


def kept_bytes(emo: EMO, stage: Stage) -> Counter[str]:
    """Bytes kept between the two passes beside the weights, by the innermost module that ran when they were kept."""
    names = {module: name for name, module in emo.named_modules()}
    weights = {t.untyped_storage().data_ptr() for t in (*emo.parameters(), *emo.buffers())}
    running: list[nn.Module] = []
    alive: weakref.WeakSet[Kept] = weakref.WeakSet()

    def pack(tensor: torch.Tensor) -> Kept:
        kept = Kept(tensor, next((names[m] for m in reversed(running) if m in names), ""))
        alive.add(kept)
        return kept

    handles = [
        nn.modules.module.register_module_forward_pre_hook(lambda module, _args: running.append(module)),
        nn.modules.module.register_module_forward_hook(lambda *_: running.pop() and None),
    ]
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
            loss = loss_of(emo, stage)
    finally:
        for handle in handles:
            handle.remove()
    gc.collect()
    storages = {kept.tensor.untyped_storage().data_ptr(): kept for kept in alive}
    found: Counter[str] = Counter()
    for pointer, kept in storages.items():
        if pointer not in weights:
            found[kept.module] += kept.tensor.untyped_storage().nbytes()
    loss.backward()
    return found


@stages
@pytest.mark.parametrize("way", ["full", "selective"])
def test_loss_and_gradients_are_the_same_to_the_bit(stage, way):
    losses, gradients = [], []
    for mode in (None, way):
        emo = prepared(stage, mode)
        loss = loss_of(emo, stage)
        # What is recomputed must not need the hooks of the call (networks/unet.py): they are gone by now.
        assert not any(module._forward_hooks for module in emo.modules())
        loss.backward()
        assert not any(module._forward_hooks for module in emo.modules())
        losses.append(loss.detach())
        gradients.append({name: p.grad for name, p in emo.named_parameters() if p.grad is not None})
    assert torch.equal(*losses)
    assert gradients[0].keys() == gradients[1].keys() and gradients[0]
    assert all(gradient.any() for name, gradient in gradients[0].items() if name.startswith("speed_layers.mlp"))
    for name, gradient in gradients[0].items():
        assert torch.equal(gradients[1][name], gradient), name


@pytest.mark.parametrize("stage, factor", [("image", 8), ("video", 15), ("speed", 15)])
def test_what_is_kept_falls_by_a_factor(stage, factor):
    whole, recomputed = (kept_bytes(prepared(STAGES[stage], on), STAGES[stage]).total() for on in (None, "full"))
    assert whole > factor * recomputed, (whole, recomputed)


@pytest.mark.parametrize(
    "stage, new",
    [
        ("image", ("face_locator",)),
        ("video", ("temporal_modules", "audio_layers.attentions")),
        ("speed", ("temporal_modules", "audio_layers.attentions", "speed_layers.attentions")),
    ],
)
def test_attentions_resnets_and_temporal_modules_keep_nothing_but_what_they_were_given(stage, new):
    """diffusers' own switch leaves out what runs in hooks, the blocks without attention and the Face Locator."""
    before, after = (kept_bytes(prepared(STAGES[stage], on), STAGES[stage]) for on in (None, "full"))
    resnets = ("mid_block.resnets.0", "down_blocks.1.resnets.0", "up_blocks.1.resnets.1")
    for part in (*new, *(f"backbone.unet.{name}" for name in resnets)):
        assert any(name.startswith(f"{part}.") for name in before), part
        assert not any(name.startswith(f"{part}.") for name in after), part
    assert not any(".transformer_blocks." in name for name in after)


def test_a_temporal_modules_price_is_its_two_inputs():
    """hidden (B F, C, h, w) and the motion frames' maps (B, N, C, h, w), in float32, a place."""
    stage = STAGES["video"]
    emo = prepared(stage, "full")
    cells = {
        place: SMALL.latent_size**2 if wide(place) else (SMALL.latent_size // 2) ** 2
        for place in places(emo.backbone.unet)
    }
    widths = places(emo.backbone.unet)
    wanted = sum(2 * (SMALL.frames + SMALL.motion_frames) * widths[p] * cells[p] * 4 for p in widths)
    found = sum(n for name, n in kept_bytes(emo, stage).items() if name.startswith("temporal_modules"))
    assert found == wanted


class Seen(TorchDispatchMode):
    """While this is open, how often each operation ran."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, function, _types, args=(), kwargs=None):
        self.count[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


def passes(stage: Stage, mode: str | None) -> Counter[str]:
    """Operations of a forward and a backward pass."""
    emo = prepared(stage, mode)
    with Seen() as seen:
        loss_of(emo, stage).backward()
    return seen.count


def test_selective_computes_again_what_is_cheap_and_nothing_that_is_dear(monkeypatch):
    """SMALL is narrow: dear is what its convolutions and products of a picture's attention are."""
    attention = "_scaled_dot_product_flash_attention_for_cpu"
    monkeypatch.setattr(gradient_checkpointing, "DEAR", 40)
    stage = STAGES["video"]
    once, full, selective = (passes(stage, mode) for mode in (None, "full", "selective"))
    locator = [m for m in prepared(stage, None).face_locator.modules() if isinstance(m, nn.Conv2d)]
    cheap = sum(convolution.weight[0].numel() < 40 for convolution in locator)
    assert once["convolution"] + cheap == selective["convolution"] < full["convolution"] - cheap
    assert once["native_group_norm"] < selective["native_group_norm"] == full["native_group_norm"]
    assert once[attention] < selective[attention] < full[attention]  # along 8 frames it is cheap, over 64 cells dear


@pytest.mark.parametrize(
    "shapes, wanted",
    [
        ((torch.ops.aten.mm.default, (6, 20), (20, 7)), 20),
        ((torch.ops.aten.addmm.default, (7,), (6, 20), (20, 7)), 20),
        ((torch.ops.aten.convolution.default, (1, 8, 5, 5), (4, 8, 3, 3)), 72),
        ((torch.ops.aten._scaled_dot_product_flash_attention.default, (1, 2, 30, 8), (1, 2, 9, 8), (1, 2, 9, 8)), 18),
        ((torch.ops.aten.gelu.default, (6, 20)), 0),
    ],
)
def test_work_is_multiplications_for_each_number_of_the_result(shapes, wanted):
    operation, *sizes = shapes
    assert gradient_checkpointing.work(operation, tuple(torch.empty(size) for size in sizes)) == wanted


def wide(place: str) -> bool:
    """At the latents' own resolution; SMALL has two."""
    return place.startswith(("down_blocks.0", "up_blocks.1"))


def test_a_copy_computes_with_its_own_weights():
    """`forward` is bound anew on the copy, not to the network it was copied from."""
    stage = STAGES["video"]
    emo = prepared(stage, "full")
    other = copy.deepcopy(emo)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert not torch.equal(loss_of(other, stage), loss_of(emo, stage))
    loss_of(other, stage).backward()
    assert all(p.grad is None for p in emo.parameters())
