"""The whole network: how it starts, that every condition reaches the output, that features are paired by name."""

import pytest
import torch
import torch.nn.functional as F
from diffusers import MotionAdapter
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from emo_model import diffusion
from emo_model.networks.emo import EMO
from emo_model.networks.reference_net import ReferenceNet
from emo_model.networks.unet import places, transformer_blocks, watching
from emo_model.networks.weights import from_animatediff
from emo_model.train.config import TINY_TRAIN
from emo_model.train.loop import freeze
from emo_model.train.objective import Objective, fixed_draw
from emo_model.train.stages import STAGES
from tests.model.networks.identities import Identities, adapter_state
from tests.model.networks.small import SMALL, inputs, small
from tests.model.train.moving_faces import MovingFaces


def predict(emo: EMO, given: dict, features=None, **changed) -> torch.Tensor:
    features = features or emo.encode_frames(given["reference"], given["motion"])
    conditions = {name: given[name] for name in ("audio", "speed", "mask")} | changed
    with torch.no_grad():
        return emo(given["noisy"], given["t"], features, **conditions)


def test_at_step_0_it_is_the_stock_unet_and_with_animatediffs_weights_diffusers_motion_model():
    """What reads text skipped in both; no motion frames for the second. At PAPER's size: test_paper_size.py."""
    found = Identities.of(SMALL, SMALL.frames, batch=2)
    torch.testing.assert_close(found.still, found.stable_diffusion, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.moving, found.animatediff, rtol=1e-4, atol=1e-5)
    assert (found.moving - found.still).abs().max() > 0.01  # the modules do take part


@pytest.mark.parametrize("wrong", ["fewer", "more"])
def test_a_motion_file_that_does_not_fit_is_refused_instead_of_leaving_random_layers(wrong):
    layers = {"fewer": (SMALL.channels[:1], 1), "more": (SMALL.channels, 2)}[wrong]
    adapter = MotionAdapter(*layers, motion_num_attention_heads=2, motion_norm_num_groups=4)
    with pytest.raises(ValueError, match="Temporal Modules"):
        from_animatediff(small(), adapter_state(adapter))


def test_each_condition_changes_the_output_once_its_branch_is_not_zero():
    emo, given = small(awake=True), inputs()
    full = predict(emo, given)
    features = emo.encode_frames(given["reference"], given["motion"])
    other = inputs(seed=1)
    changed = {
        "reference": predict(emo, given, emo.encode_frames(other["reference"], given["motion"])),
        "motion": predict(emo, given, emo.encode_frames(given["reference"], other["motion"])),
        "audio": predict(emo, given, features, audio=other["audio"]),
        "speed": predict(emo, given, features, speed=other["speed"]),
        "mask": predict(emo, given, features, mask=1 - given["mask"]),
    }
    for name, output in changed.items():
        assert (output - full).abs().max() > 1e-3, name


def test_a_new_network_ignores_every_new_branch():
    emo, given, other = small(), inputs(), inputs(seed=1)
    features = emo.encode_frames(other["reference"], other["motion"])
    still = predict(emo, given, features, audio=other["audio"], speed=other["speed"], mask=other["mask"])
    assert torch.equal(still, predict(emo, given))


def test_silence_and_unknown_speed_are_the_same_as_none():
    emo, given = small(awake=True), inputs()
    absent = predict(emo, given, audio=None, speed=None)
    empty = predict(
        emo, given, audio=torch.zeros_like(given["audio"]), speed=torch.full_like(given["speed"], torch.nan)
    )
    torch.testing.assert_close(absent, empty, rtol=0, atol=1e-6)
    partly = given["speed"].clone()
    partly[:, 0] = torch.nan  # the face was lost in one frame
    assert predict(emo, given, speed=partly).isfinite().all()


def test_a_frames_voice_reaches_its_neighbours_only_through_the_window_and_the_temporal_modules():
    emo, given = small(awake=True), inputs()
    features = emo.encode_reference(given["reference"])  # a still image: no Temporal Modules
    later = given["audio"].clone()
    later[:, -1] *= -1.0  # the neighbour after the last frame
    difference = (predict(emo, given, features) - predict(emo, given, features, audio=later)).abs().amax((0, 2, 3, 4))
    assert difference[-1] > 1e-4
    assert difference[:-1].max() == 0


def test_reference_maps_are_paired_by_the_blocks_name_not_by_the_order_modules_are_listed():
    emo, given = small(awake=True), inputs()
    names = list(transformer_blocks(emo.backbone.unet))
    ran = []
    edits = {name: lambda *_, name=name: ran.append(name) for name in names}
    with watching(emo.backbone.unet, edits):
        features = emo.encode_frames(given["reference"], given["motion"])
        right = predict(emo, given, features)
    assert ran != names  # listed down, up, mid; run down, mid, up: pairing by order would be wrong
    assert len({features.reference[name].shape[-1] for name in names}) == 1  # and nothing would have complained
    swapped = dict(zip(names, (features.reference[name] for name in ran), strict=True))
    if all(swapped[n].shape == features.reference[n].shape for n in names):
        assert not torch.allclose(predict(emo, given, type(features)(swapped, features.motion)), right)
    read = {}
    spies = {
        f"{n}.attn2.attention": lambda _given, _out, n=n: None for n in names
    }  # names exist in the Backbone under the same block
    for name in spies:
        emo.backbone.unet.get_submodule(name)
    handles = [
        block.attn2.attention.register_forward_pre_hook(
            lambda _m, _a, kwargs, n=n: read.update({n: kwargs["encoder_hidden_states"]}), with_kwargs=True
        )
        for n, block in transformer_blocks(emo.backbone.unet).items()
    ]
    predict(emo, given, features)
    for handle in handles:
        handle.remove()
    assert all(read[name] is features.reference[name] for name in names)


def test_reference_maps_are_the_normed_inputs_of_self_attention_and_motion_maps_the_hidden_states():
    net, given = ReferenceNet(SMALL).eval(), inputs()
    seen_attention, seen_places = {}, {}
    for name, block in transformer_blocks(net.unet).items():
        block.norm1.register_forward_hook(lambda _m, _a, out, n=name: seen_attention.update({n: out}))
    for name in places(net.unet):
        net.unet.get_submodule(name).register_forward_hook(
            lambda _m, _a, out, n=name: seen_places.update({n: out[0] if isinstance(out, tuple) else out})
        )
    maps = net(given["reference"])
    assert maps.attention.keys() == seen_attention.keys() and maps.places.keys() == seen_places.keys()
    assert all(torch.equal(maps.attention[n], seen_attention[n]) for n in seen_attention)
    assert all(torch.equal(maps.places[n], seen_places[n]) for n in seen_places)


def test_temporal_modules_stand_at_every_resolution_in_the_middle_and_in_blocks_without_attention():
    unet = small().backbone.unet
    assert set(places(unet)) == {
        "down_blocks.0.attentions.0", "down_blocks.1.resnets.0", "mid_block.attentions.0",
        "up_blocks.0.resnets.0", "up_blocks.0.resnets.1", "up_blocks.1.attentions.0", "up_blocks.1.attentions.1",
    }  # fmt: skip


def test_features_are_values_and_no_call_leaves_anything_in_the_modules():
    emo, given, other = small(awake=True), inputs(), inputs(seed=1)
    features = emo.encode_frames(given["reference"], given["motion"])
    before = predict(emo, given, features)
    emo.encode_frames(other["reference"], other["motion"])  # a stale bank would now hold another person
    predict(emo, other)
    assert torch.equal(predict(emo, given, features), before)
    assert not any(module._forward_hooks for module in emo.modules())


def test_training_and_eval_mode_compute_the_same():
    emo, given = small(awake=True), inputs()
    assert torch.equal(predict(emo.train(), given), predict(emo.eval(), given))


def test_the_first_clip_reads_n_zero_maps():
    emo, given = small(awake=True), inputs()
    first = emo.encode_frames(given["reference"])
    dropped = emo.encode_frames(given["reference"], given["motion"]).keep(torch.ones(2), torch.zeros(2))
    assert all(torch.equal(first.motion[p], dropped.motion[p]) for p in first.motion)
    assert {m.shape[1] for m in first.motion.values()} == {SMALL.motion_frames}
    assert torch.equal(predict(emo, given, first), predict(emo, given, dropped))


def test_a_dropped_clip_does_not_touch_its_neighbour_in_the_batch():
    emo, given = small(awake=True), inputs()
    features = emo.encode_frames(given["reference"], given["motion"])
    kept = features.keep(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]))
    full, partly = predict(emo, given, features), predict(emo, given, kept)
    torch.testing.assert_close(partly[0], full[0], rtol=1e-4, atol=1e-5)
    assert (partly[1] - full[1]).abs().max() > 1e-3


def test_latents_come_back_from_pixels_and_flat_colours_from_latents():
    emo = small()
    latents = 0.1 * inputs()["reference"]  # small enough that no pixel is clipped
    torch.testing.assert_close(emo.encode_pixels(emo.decode_latents(latents)), latents, rtol=1e-4, atol=1e-5)
    flat = torch.tensor([0.7, -0.2, 0.1])[None, :, None, None].expand(2, 3, SMALL.image_size, SMALL.image_size)
    torch.testing.assert_close(emo.decode_latents(emo.encode_pixels(flat)), flat, rtol=1e-4, atol=1e-5)


def test_wrong_audio_features_are_named():
    with pytest.raises(ValueError, match="2 layers x 8"):
        predict(small(), inputs(), audio=torch.zeros(2, 5, 4, 8))


def permuted(given: dict, order: list[int], *names: str) -> dict:
    return given | {name: given[name][:, order] for name in names}


def test_without_temporal_modules_permuted_frames_come_out_permuted():
    """A still image's network knows no order; each frame has its own voice window, so that is left out."""
    emo, given, order = small(awake=True), inputs(), [2, 0, 1]
    features = emo.encode_reference(given["reference"])
    plain = predict(emo, given, features, audio=None)
    found = predict(emo, permuted(given, order, "noisy"), features, audio=None)
    torch.testing.assert_close(found, plain[:, order], rtol=1e-4, atol=1e-5)
    assert (found - plain).abs().max() > 0.1


@pytest.mark.parametrize("what", ["noisy", "motion"])
def test_with_temporal_modules_the_order_of_frames_and_of_motion_frames_counts_by_their_positions_alone(what):
    given = inputs()
    order = {"noisy": [2, 0, 1], "motion": [1, 0]}[what]
    for positions in (True, False):
        emo = small(awake=True)
        if not positions:
            for name, buffer in emo.temporal_modules.named_buffers():
                assert name.endswith("pos_embed.pe")
                buffer.zero_()
        plain = predict(emo, given, audio=None, speed=None)
        found = predict(emo, permuted(given, order, what), audio=None, speed=None)
        expected = plain[:, order] if what == "noisy" else plain
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5) != positions


def test_speed_is_read_at_the_positions_of_the_clips_own_frames():
    """The order of speeds counts, and frame f of a clip stands at position n + f, behind n motion frames."""
    emo, given = small(awake=True), inputs()
    backwards = given["speed"].flip(1)
    assert (predict(emo, given) - predict(emo, given, speed=backwards)).abs().max() > 1e-3
    features = emo.speed_layers.features(torch.ones(1, SMALL.frames + 2 * SMALL.nearby), SMALL.motion_frames)
    before = emo.speed_layers.features(torch.ones(1, SMALL.frames + 2 * SMALL.nearby), SMALL.motion_frames - 1)
    torch.testing.assert_close(features[:, :-1], before[:, 1:])
    assert (features[:, 0] - features[:, 1]).abs().max() > 0.1


@pytest.mark.parametrize("dropped", ["reference", "motion", "audio", "speed", "mask"])
def test_a_dropped_condition_is_not_read(dropped):
    """Two inputs that differ in it alone give the same bits once it is dropped, and did not before."""
    emo, given, other = small(awake=True), inputs(), inputs(seed=1)
    changed = given | {dropped: other[dropped]}

    def output(case: dict, drop: bool) -> torch.Tensor:
        flags = {name: torch.full((2,), float(not (drop and name == dropped))) for name in ("reference", "motion")}
        features = emo.encode_frames(case["reference"], case["motion"]).keep(**flags)
        absent = {dropped: None} if drop and dropped in ("audio", "speed", "mask") else {}
        conditions = {name: case[name] for name in ("audio", "speed", "mask")}
        return predict(emo, case, features, **(conditions | absent))

    assert torch.equal(output(given, drop=True), output(changed, drop=True))
    assert not torch.allclose(output(given, drop=False), output(changed, drop=False), atol=1e-3)


def test_without_a_mask_nothing_is_added_to_the_noisy_latent():
    emo, given = small(awake=True), inputs()
    free = predict(emo, given, mask=None)
    with torch.no_grad():
        for parameter in emo.face_locator.out.parameters():
            parameter.zero_()
    assert torch.equal(free, predict(emo, given))


def test_a_reference_left_out_is_to_the_bit_a_reference_of_zero_maps():
    """What guidance subtracts is then cheaper, and the same."""
    emo, given = small(awake=True), inputs()
    features = emo.encode_frames(given["reference"], given["motion"])
    zero = features.keep(torch.zeros(2))
    assert zero.reference.keys() == features.reference.keys()
    assert torch.equal(predict(emo, given, features.without_reference()), predict(emo, given, zero))
    assert not torch.allclose(predict(emo, given, features), predict(emo, given, zero), atol=1e-3)


def test_every_attention_runs_through_scaled_dot_product_attention(monkeypatch):
    """Reference-, audio-, self-, temporal and speed attention alike, by diffusers' own processor."""
    emo, given, calls = small(awake=True), inputs(), []
    attentions = [module for module in emo.modules() if isinstance(module, Attention)]
    assert {type(module.processor) for module in attentions} == {AttnProcessor2_0}
    attend = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or attend(*a, **k))
    predict(emo, given, emo.encode_frames(given["reference"]))
    assert len(calls) == len(attentions)


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize("recomputing", [False, True])
def test_gradient_flows_exactly_where_the_stage_says(stage, recomputing):
    """Every parameter of the stage's parts gets one, no other does: but for what is behind ReferenceNet's last map that
    is read. A still image reads no map of the places, so that is its last self-attention's input."""
    emo = small(awake=True).train()
    trained = freeze(emo, stage)
    if recomputing:
        emo.enable_gradient_checkpointing()
    batch = MovingFaces(stage, SMALL).batch(0, 2)
    objective = Objective(emo, diffusion.schedule(diffusion.RECIPES["sd15"]), stage, TINY_TRAIN)
    objective(batch, fixed_draw(objective.latent_shape(batch), TINY_TRAIN, seed=0)).mean().backward()
    reached = {name for name, p in emo.named_parameters() if p.grad is not None and p.grad.any()}
    tail = "reference_net.unet.up_blocks.1.attentions.1."
    unread = {name for name in trained if name.startswith(tail) and name.removeprefix(tail).split(".")[0] == "proj_out"}
    unread |= {f"{tail}transformer_blocks.0.{n}" for n, _ in last_block(emo).named_parameters() if "norm1" not in n}
    assert reached == set(trained) - (unread if stage.name == "image" else set())


def last_block(emo: EMO) -> torch.nn.Module:
    return emo.reference_net.unet.up_blocks[1].attentions[1].transformer_blocks[0]
