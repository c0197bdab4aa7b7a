"""The whole network: how it starts, that every condition reaches the output, that features are paired by name."""

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from einops import rearrange

from emo_model.networks.config import PAPER_NETWORK
from emo_model.networks.emo import EMO, count
from emo_model.networks.reference_net import ReferenceNet
from emo_model.networks.unet import places, transformer_blocks, watching
from emo_model.networks.weights import from_animatediff, from_stable_diffusion
from tests.model.networks.small import PARTS, SMALL, inputs, small


def predict(emo: EMO, given: dict, features=None, **changed) -> torch.Tensor:
    features = features or emo.encode_frames(given["reference"], given["motion"])
    conditions = {name: given[name] for name in ("audio", "speed", "mask")} | changed
    with torch.no_grad():
        return emo(given["noisy"], given["t"], features, **conditions)


def without_text(unet: torch.nn.Module) -> torch.nn.Module:
    for name, block in transformer_blocks(unet).items():
        if "motion_modules" not in name:
            block.attn2, block.norm2 = None, None
    return unet


def frame_by_frame(unet: UNet2DConditionModel, given: dict) -> torch.Tensor:
    frames = given["noisy"].shape[1]
    folded = rearrange(given["noisy"], "b f c h w -> (b f) c h w")
    with torch.no_grad():
        out = unet(folded, given["t"].repeat_interleave(frames), encoder_hidden_states=None).sample
    return rearrange(out, "(b f) c h w -> b f c h w", f=frames)


def motion_state(adapter: MotionAdapter) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in adapter.state_dict().items() if not name.endswith("pos_embed.pe")}


def test_at_step_0_it_is_the_stock_unet_with_its_text_cross_attention_skipped():
    torch.manual_seed(0)
    stock = UNet2DConditionModel(**SMALL.unet())
    emo, given = small(), inputs()
    from_stable_diffusion(emo, stock.state_dict())
    expected = frame_by_frame(without_text(stock).eval(), given)
    torch.testing.assert_close(predict(emo, given), expected, rtol=1e-4, atol=1e-5)


def test_with_animatediffs_weights_and_no_motion_frames_it_is_diffusers_motion_model():
    torch.manual_seed(0)
    stock = UNet2DConditionModel(**SMALL.unet())
    adapter = MotionAdapter(SMALL.channels, 1, motion_num_attention_heads=2, motion_norm_num_groups=4)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(std=0.2)
    # diffusers wants as many motion layers everywhere; its own extra up layer is part of the adapter
    motion_model = without_text(UNetMotionModel.from_unet2d(stock, adapter)).eval()
    emo, given = small(), inputs()
    from_stable_diffusion(emo, stock.state_dict())
    from_animatediff(emo, motion_state(adapter))
    given["motion"] = given["motion"][:, :0]
    seen = emo.encode_frames(given["reference"], given["reference"][:, None])
    features = type(seen)(seen.reference, {place: maps[:, :0] for place, maps in seen.motion.items()})
    with torch.no_grad():
        noisy = rearrange(given["noisy"], "b f c h w -> b c f h w")
        expected = motion_model(noisy, given["t"], encoder_hidden_states=torch.zeros(2, 1, 8)).sample
    expected = rearrange(expected, "b c f h w -> b f c h w")
    found = predict(emo, given, features)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert (found - frame_by_frame(without_text(stock), given)).abs().max() > 0.01  # the modules do take part


@pytest.mark.parametrize("wrong", ["fewer", "more"])
def test_a_motion_file_that_does_not_fit_is_refused_instead_of_leaving_random_layers(wrong):
    layers = {"fewer": (SMALL.channels[:1], 1), "more": (SMALL.channels, 2)}[wrong]
    adapter = MotionAdapter(*layers, motion_num_attention_heads=2, motion_norm_num_groups=4)
    with pytest.raises(ValueError, match="Temporal Modules"):
        from_animatediff(small(), motion_state(adapter))


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


def test_the_papers_sizes_construct_without_memory():
    with torch.device("meta"):
        emo = EMO(PAPER_NETWORK)
    millions = {part: round(count(getattr(emo, part)) / 1e6) for part in PARTS}
    # Two SD 1.5 UNets (860M with 100M of text attention), AnimateDiff's 453M
    assert millions == {
        "reference_net": 816, "backbone": 865, "face_locator": 0, "audio_layers": 80, "temporal_modules": 453,
        "speed_layers": 51,
    }  # fmt: skip
    assert len(transformer_blocks(emo.backbone.unet)) == 16
    assert len(places(emo.backbone.unet)) == 21
    assert len(emo.temporal_modules.modules_by_place) == len(emo.speed_layers.attentions) == 21
