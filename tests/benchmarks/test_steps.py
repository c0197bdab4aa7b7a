"""The benches' steps: what they hold, what they count, and that the peer is one."""

import pytest
import torch
from _workbench import (
    OURS,
    PRESETS,
    batch_of,
    loss_of,
    operations,
    ready,
    shapes_only,
)
from peer_step import Peer

from emo_model.networks.emo import EMO
from emo_model.networks.unet import transformer_blocks
from emo_model.train.config import TINY_TRAIN
from emo_model.train.loop import freeze, frozen_in_half
from emo_model.train.stages import IMAGE, VIDEO
from tests.model.networks.small import SMALL

HERE = torch.device("cpu")
PLAIN = TINY_TRAIN.model_copy(update={"drop": 0.0, "first_clip": 0.0})  # float32, no checkpointing


def gradients(kind: type[EMO], stage, checkpointed: str, temporal: bool = True) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    config = PLAIN.model_copy(update={"gradient_checkpointing": checkpointed})
    emo = ready(SMALL, stage, config, HERE, OURS.__class__(frozen=torch.float32), kind, temporal=temporal).train()
    loss_of(emo, config, stage, batch_of(SMALL, stage, 2, HERE, cached=True))().backward()
    return {name: p.grad for name, p in emo.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("stage", [IMAGE, VIDEO])
@pytest.mark.parametrize("kind, temporal", [(EMO, True), (Peer, True), (Peer, False)])
def test_checkpointing_changes_no_gradient(kind, temporal, stage):
    """The peer's too, which is diffusers' own: its blocks read the bank again in the backward pass."""
    whole, checkpointed = (gradients(kind, stage, how, temporal) for how in ("no", "full"))
    assert whole.keys() == checkpointed.keys() and any(name.startswith(stage.trains[0]) for name in whole)
    for name in whole:
        torch.testing.assert_close(checkpointed[name], whole[name], rtol=1e-4, atol=1e-7, msg=name)


@pytest.mark.parametrize("stage", [IMAGE, VIDEO])
def test_weights_have_the_types_that_training_gives_them(stage):
    loops = EMO(SMALL)
    freeze(loops, stage)
    frozen_in_half(loops)
    ours = ready(SMALL, stage, PLAIN, HERE, OURS)
    assert {n: p.dtype for n, p in ours.named_parameters()} == {n: p.dtype for n, p in loops.named_parameters()}
    assert {p.dtype for p in freeze(ours, stage).values()} == {torch.float32}


def test_the_peer_keeps_its_backbone_in_float32():
    from peer_step import WAYS

    emo = ready(SMALL, VIDEO, PLAIN, HERE, WAYS["stock"].precision, Peer)
    assert emo.backbone.unet.conv_in.weight.dtype == torch.float32
    assert emo.reference_net.unet.conv_in.weight.dtype == torch.bfloat16


def test_operations_counted_on_shapes_are_those_of_the_real_step():
    def counted(real: bool) -> int:
        emo = ready(SMALL, VIDEO, PLAIN, HERE, OURS.__class__(frozen=torch.float32), values=real)
        loss = loss_of(emo, PLAIN, VIDEO, batch_of(SMALL, VIDEO, 1, HERE, True))
        return operations(lambda: loss().backward())

    with shapes_only():
        found = counted(real=False)
    assert found == counted(real=True) > 0


def test_the_peers_attention_reads_its_own_tokens_and_the_portraits():
    torch.manual_seed(0)
    peer = ready(SMALL, IMAGE, PLAIN, HERE, OURS.__class__(frozen=torch.float32), Peer).eval()
    name, block = next(iter(transformer_blocks(peer.backbone.unet).items()))
    width, frames = block.dim, 3
    hidden, portrait = torch.randn(2 * frames, 5, width), torch.randn(2, 7, width)
    peer.bank = {name: portrait}
    found = block.attn1(hidden)
    for clip in range(2):
        for frame in range(frames):
            at = clip * frames + frame
            seen = torch.cat([hidden[at], portrait[clip]])[None]
            attention = block.attn1
            q, k, v = (
                layer(x).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
                for layer, x in ((attention.to_q, hidden[at][None]), (attention.to_k, seen), (attention.to_v, seen))
            )
            weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
            wanted = attention.to_out[0]((weights @ v).transpose(1, 2).flatten(2))
            torch.testing.assert_close(found[at][None], wanted, rtol=1e-4, atol=1e-5)


def test_ours_and_the_peer_train_the_same_in_the_video_stage():
    sizes = [{n: p.shape for n, p in freeze(kind(SMALL), VIDEO).items()} for kind in (EMO, Peer)]
    assert sizes[0] == sizes[1]


def test_every_preset_is_there():
    assert set(PRESETS) == {"TINY", "MIDDLE", "PAPER"}
