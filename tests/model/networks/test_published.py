"""Base weights in every layout they are published in: the same network out of each, and no tensor lost in silence."""

import re
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from emo_model.errors import UserError
from emo_model.networks.config import EMOConfig
from emo_model.networks.emo import EMO, seeded
from emo_model.networks.published import animatediff, stable_diffusion
from emo_model.networks.weights import from_animatediff, from_base_weights, from_stable_diffusion
from tests.model.networks.small import SMALL

State = dict[str, torch.Tensor]

CONFIG = EMOConfig.model_validate(
    SMALL.model_dump()
    | {"latent": "autoencoder_kl", "latent_channels": 4, "latent_factor": 2, "vae_channels": (8, 16)}
    | {"channels": (16, 32, 32), "attention": (True, True, False), "layers_per_block": 2}
)


@pytest.fixture(scope="module")
def source() -> tuple[UNet2DConditionModel, AutoencoderKL]:
    """Stock models of SD's kind with random weights; the UNet reads text 12 wide."""
    torch.manual_seed(0)
    return UNet2DConditionModel(**{**CONFIG.unet(), "cross_attention_dim": 12}), seeded(CONFIG, 1).latents.vae


# ---- the layouts, written ----


def as_ldm_unet(state: State) -> State:
    """diffusers' names -> those of the original repository (CompVis/latent-diffusion, openaimodel.py)."""
    layers = CONFIG.layers_per_block + 1
    inner = {
        "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
        "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
    }  # fmt: skip
    fixed = {
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    }  # fmt: skip

    def resnet(rest: str) -> str:
        name, kind = rest.rsplit(".", 1)
        return f"{inner[name]}.{kind}"

    def renamed(name: str) -> str:
        module, kind = name.rsplit(".", 1)
        if module in fixed:
            return f"{fixed[module]}.{kind}"
        if found := re.fullmatch(r"down_blocks\.(\d)\.(resnets|attentions|downsamplers)\.(\d)\.(.*)", name):
            block, what, at, rest = int(found[1]), found[2], int(found[3]), found[4]
            if what == "downsamplers":
                return f"input_blocks.{block * layers + layers}.0.op.{kind}"
            number = 1 + block * layers + at
            return f"input_blocks.{number}.{'0.' + resnet(rest) if what == 'resnets' else '1.' + rest}"
        if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
            return (
                f"middle_block.{2 * int(found[2])}.{resnet(found[3])}"
                if found[1] == "resnets"
                else f"middle_block.1.{found[3]}"
            )
        found = re.fullmatch(r"up_blocks\.(\d)\.(resnets|attentions|upsamplers)\.(\d)\.(.*)", name)
        assert found, name
        block, what, at, rest = int(found[1]), found[2], int(found[3]), found[4]
        if what == "upsamplers":
            place = 2 if tuple(reversed(CONFIG.attention))[block] else 1
            return f"output_blocks.{block * layers + layers - 1}.{place}.{rest}"
        return f"output_blocks.{block * layers + at}.{'0.' + resnet(rest) if what == 'resnets' else '1.' + rest}"

    return {f"model.diffusion_model.{renamed(name)}": tensor for name, tensor in state.items()}


def as_ldm_vae(state: State) -> State:
    """diffusers' names -> those of CompVis/taming's autoencoder; its attention is made of 1x1 convolutions."""
    count = len(CONFIG.vae_channels)
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    out: State = {}
    for name, tensor in state.items():
        new = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2", name)
        new = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample", new)
        new = re.sub(r"decoder\.up_blocks\.(\d)\.", lambda found: f"decoder.up.{count - 1 - int(found[1])}.", new)
        new = re.sub(r"(decoder\.up\.\d)\.resnets\.(\d)", r"\1.block.\2", new).replace(".upsamplers.0.", ".upsample.")
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", new)
        if ".mid_block.attentions.0." in new:
            for theirs, ours in attention.items():
                new = new.replace(f"mid_block.attentions.0.{theirs}.", f"mid.attn_1.{ours}.")
            tensor = tensor[..., None, None] if tensor.ndim == 2 else tensor
        new = new.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        out[f"first_stage_model.{new}"] = tensor.contiguous()
    return out


def as_animatediff(state: State, positions: int) -> State:
    """diffusers' names -> guoyww/AnimateDiff's, with its position tables."""
    out: State = {}
    for name, tensor in state.items():
        if "pos_embed" in name:
            continue
        new = re.sub(r"(motion_modules\.\d)\.", r"\1.temporal_transformer.", name)
        for ours, theirs in (
            ("attn1", "attention_blocks.0"), ("attn2", "attention_blocks.1"), ("norm1", "norms.0"),
            ("norm2", "norms.1"), ("norm3", "ff_norm"),
        ):  # fmt: skip
            new = new.replace(f".{ours}.", f".{theirs}.")
        out[new] = tensor
        if new.endswith(".to_q.weight"):
            out[new.replace("to_q.weight", "pos_encoder.pe")] = torch.zeros(1, positions, tensor.shape[0])
    return out


def adapter(middle: bool = True) -> MotionAdapter:
    torch.manual_seed(2)
    made = MotionAdapter(
        CONFIG.channels, 2, motion_num_attention_heads=2, motion_norm_num_groups=4, use_motion_mid_block=middle
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.2)
    return made


# ---- read back ----


def parts(emo: EMO, *names: str) -> State:
    return {k: v for k, v in emo.state_dict().items() if k.startswith(names)}


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_stable_diffusion_is_the_same_network_from_a_folder_and_from_a_single_file(tmp_path: Path, source) -> None:
    unet, vae = source
    unet.save_pretrained(tmp_path / "folder" / "unet")
    vae.save_pretrained(tmp_path / "folder" / "vae")
    original = as_ldm_unet(unet.state_dict()) | as_ldm_vae(vae.state_dict())
    save_file(original | {"cond_stage_model.x": torch.zeros(1)}, tmp_path / "v1-5.safetensors")
    networks = []
    for path in (tmp_path / "folder", tmp_path / "v1-5.safetensors"):
        emo = seeded(CONFIG, 7)
        report = from_stable_diffusion(emo, *stable_diffusion(path, CONFIG))
        assert [loaded.part for loaded in report] == ["backbone", "reference_net", "latents"]
        assert "text cross-attentions" in report[0].line()
        networks.append(parts(emo, "backbone", "reference_net", "latents"))
    assert same(*networks)
    assert torch.equal(networks[0]["latents.vae.decoder.conv_in.weight"], vae.decoder.conv_in.weight)
    for name in ("mid_block.resnets.1.conv2.weight", "up_blocks.2.attentions.2.proj_in.weight"):
        assert torch.equal(networks[0][f"backbone.unet.{name}"], unet.state_dict()[name])


def test_the_vae_of_stable_diffusions_own_folder_has_its_attentions_old_names(tmp_path: Path, source) -> None:
    unet, vae = source
    unet.save_pretrained(tmp_path / "unet")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = dict(vae.state_dict())
    for new, name in old.items():
        state = {k.replace(f".{new}.", f".{name}."): v.contiguous() for k, v in state.items()}
    assert state.keys() != vae.state_dict().keys()
    (tmp_path / "vae").mkdir()
    save_file(state, tmp_path / "vae" / "diffusion_pytorch_model.safetensors")
    assert same(stable_diffusion(tmp_path, CONFIG)[1], vae.state_dict())


@pytest.mark.parametrize("positions, middle", [(24, False), (32, True), (32, False)], ids=["v1", "v2", "v3"])
@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_animatediffs_files_are_the_same_modules_as_its_adapter(tmp_path, positions, middle, suffix) -> None:
    made, file = adapter(middle), tmp_path / f"mm.{suffix}"
    made.save_pretrained(tmp_path / "adapter")
    original = as_animatediff(made.state_dict(), positions)
    if suffix == "ckpt":
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in original.items()}}, file)
    else:
        save_file({name: tensor.contiguous() for name, tensor in original.items()}, file)
    networks = []
    for path in (tmp_path / "adapter", file):
        emo = seeded(CONFIG, 7)
        (report,) = from_animatediff(emo, animatediff(path))
        assert ("middle" in report.line()) == (not middle)
        networks.append(parts(emo, "temporal_modules"))
    assert same(*networks)
    middle_out = networks[0]["temporal_modules.modules_by_place.mid_block-attentions-0.proj_out.weight"]
    assert bool(middle_out.any()) == middle  # without one, ours starts as no change


@pytest.mark.parametrize("spoil", ["one missing", "one too many", "one of another shape"])
@pytest.mark.parametrize("what", ["unet", "vae", "motion"])
def test_a_file_that_does_not_fit_to_the_last_tensor_is_refused(tmp_path, source, what, spoil) -> None:
    unet, vae = source
    states = {"unet": unet.state_dict(), "vae": vae.state_dict(), "motion": animatediff_state(tmp_path)}
    state = dict(states[what])
    name = sorted(name for name in state if name.endswith("weight") and "attn2" not in name)[3]
    if spoil == "one missing":
        del state[name]
    elif spoil == "one too many":
        state["another.weight"] = torch.zeros(1)
    else:
        state[name] = state[name][:1].repeat(3, *[1] * (state[name].ndim - 1))
    states[what] = state
    with pytest.raises(ValueError, match="missing|too many"):
        emo = seeded(CONFIG, 7)
        from_stable_diffusion(emo, states["unet"], states["vae"])
        from_animatediff(emo, states["motion"])


def animatediff_state(tmp_path: Path) -> State:
    adapter().save_pretrained(tmp_path / "adapter")
    return animatediff(tmp_path / "adapter")


def test_files_that_are_none_are_one_line_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.safetensors").write_text("no tensors")
    (tmp_path / "code.ckpt").write_bytes(b"\x80\x04cos\nsystem\n.")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    for path in (tmp_path / "empty", *sorted(tmp_path.glob("*.*"))):
        for read in (animatediff, lambda file: stable_diffusion(file, CONFIG)):
            with pytest.raises(UserError, match="run: emo weights list") as caught:
                read(path)
            assert "\n" not in str(caught.value)


def test_base_weights_come_from_the_registrys_files_and_a_wrong_one_is_named(tmp_path, source, monkeypatch) -> None:
    unet, vae = source
    monkeypatch.setenv("EMO_WEIGHTS", str(tmp_path))
    folder = tmp_path / "stable-diffusion-v1-5"
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    motion = tmp_path / "animatediff-motion-adapter-v1-5-2"
    adapter().save_pretrained(motion)
    assert {loaded.part for loaded in from_base_weights(seeded(CONFIG, 7))} == {
        "backbone", "reference_net", "latents", "temporal_modules",
    }  # fmt: skip
    file = motion / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    state.pop(next(iter(state)))
    save_file(state, file)
    with pytest.raises(UserError, match="animatediff-motion-adapter.*does not fit.*1 tensors missing"):
        from_base_weights(seeded(CONFIG, 7))
