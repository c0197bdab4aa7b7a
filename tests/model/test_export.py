"""A checkpoint out: as one folder for this project, and as parts that plain diffusers loads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from safetensors.torch import load_file

from emo_model import diffusion
from emo_model.cli import main
from emo_model.networks.emo import EMO
from emo_model.networks.unet import transformer_blocks, watching
from emo_model.networks.weights import TEXT
from emo_model.train import checkpoint
from tests.model.networks.small import SMALL, inputs, small
from tests.model.train.test_loop import run

# With a VAE and two levels of attention, as PAPER has them.
LATENT = SMALL.model_copy(
    update={"latent": "autoencoder_kl", "latent_factor": 2, "vae_channels": (8, 8), "latent_channels": 4}
)


def saved(folder: Path, config=SMALL) -> tuple[EMO, Path]:
    """A network whose every branch does something, as a checkpoint."""
    torch.manual_seed(0)
    emo = small(awake=True) if config is SMALL else EMO(config).eval()
    recipe = diffusion.RECIPES["velocity"]
    return emo, checkpoint.save(folder / "step-1", emo, diffusion.schedule(recipe), {"train": {"noise": "velocity"}})


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[EMO, Path]:
    folder = tmp_path_factory.mktemp("export")
    emo, made = saved(folder)
    done = CliRunner().invoke(main, ["export", str(made), str(folder / "parts")])
    assert done.exit_code == 0, done.output
    return emo, folder / "parts"


def loaded(kind, folder: Path):
    """As a user of diffusers would; a tensor missing or too many is an error."""
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


def test_the_motion_adapter_loads_and_does_what_the_temporal_modules_do(exported):
    emo, folder = exported
    adapter = loaded(MotionAdapter, folder / "motion_adapter")
    generator, seen = torch.Generator().manual_seed(0), 0
    for place, ours in emo.temporal_modules.modules_by_place.items():
        block, _, layer = place.replace("-", ".").rsplit(".", 2)
        theirs = adapter.get_submodule(f"{block}.motion_modules.{layer}")
        hidden = torch.randn(5, ours.in_channels, 4, 4, generator=generator)
        with torch.no_grad():
            assert torch.equal(ours(hidden, num_frames=5), theirs(hidden, num_frames=5))
        seen += 1
    assert seen == sum(1 for name, _ in adapter.named_modules() if name.rsplit(".", 1)[0].endswith("motion_modules"))


def test_the_unet_is_the_backbone_without_reference_attention_whatever_the_text(exported):
    emo, folder = exported
    unet = loaded(UNet2DConditionModel, folder / "unet")
    given, text = inputs(), torch.randn(2, 5, unet.config.cross_attention_dim)
    nothing = {name: (lambda _given, out: torch.zeros_like(out)) for name in _reference_attentions(emo)}
    features = emo.encode_reference(given["reference"])
    with torch.no_grad(), watching(emo.backbone.unet, nothing):
        ours = emo(given["noisy"][:, :1], given["t"], features)[:, 0]
    with torch.no_grad():
        theirs = unet(given["noisy"][:, 0], given["t"], encoder_hidden_states=text).sample
    torch.testing.assert_close(theirs, ours)
    with torch.no_grad():  # and it is not so with the reference
        assert (emo(given["noisy"][:, :1], given["t"], features)[:, 0] - theirs).abs().max() > 0.01


def test_diffusers_joins_unet_and_adapter_to_its_motion_model(exported):
    emo, folder = exported
    unet, adapter = loaded(UNet2DConditionModel, folder / "unet"), loaded(MotionAdapter, folder / "motion_adapter")
    joined, given = UNetMotionModel.from_unet2d(unet, adapter).eval(), inputs()
    noisy = given["noisy"].transpose(1, 2)
    text = torch.randn(
        2 * SMALL.frames, 1, unet.config.cross_attention_dim
    )  # a frame, as diffusers' pipeline repeats it
    nothing = {name: (lambda _given, out: torch.zeros_like(out)) for name in _reference_attentions(emo)}
    seen = emo.encode_frames(given["reference"], given["reference"][:, None])
    features = type(seen)(seen.reference, {place: maps[:, :0] for place, maps in seen.motion.items()})
    with torch.no_grad(), watching(emo.backbone.unet, nothing):
        ours = emo(given["noisy"], given["t"], features)
    with torch.no_grad():
        theirs = joined(noisy, given["t"], encoder_hidden_states=text).sample.transpose(1, 2)
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-3)


def _reference_attentions(emo: EMO) -> list[str]:
    return [f"{name}.attn2" for name in transformer_blocks(emo.backbone.unet)]


def test_the_reference_unet_sees_what_reference_net_sees_and_says_nothing(exported):
    emo, folder = exported
    unet, reference, seen = loaded(UNet2DConditionModel, folder / "reference_unet"), inputs()["reference"], {}
    edits = {
        f"{name}.attn1": lambda given, _out, name=name: seen.update({name: given}) for name in transformer_blocks(unet)
    }
    with torch.no_grad(), watching(unet, edits):
        text = torch.zeros(2, 1, unet.config.cross_attention_dim)
        said = unet(reference, torch.zeros(2, dtype=torch.long), encoder_hidden_states=text).sample
    with torch.no_grad():
        ours = emo.encode_reference(reference).reference
    assert seen.keys() == ours.keys() and all(torch.equal(seen[name], ours[name]) for name in ours)
    assert not said.any()


def test_every_tensor_of_the_network_is_in_the_export_once(exported):
    emo, folder = exported
    numbers = absent = 0
    for path in folder.rglob("*.safetensors"):
        tensors = load_file(path)
        numbers += sum(tensor.numel() for tensor in tensors.values())
        if path.parent.name.endswith("unet"):
            absent += sum(t.numel() for name, t in tensors.items() if TEXT.search(name) or not t.any())
    assert numbers - absent == sum(tensor.numel() for tensor in emo.state_dict().values())
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".safetensors", ".json", ".md"}
    attention = load_file(folder / "emo/reference_attention.safetensors")
    assert all(torch.equal(tensor, emo.backbone.unet.state_dict()[name]) for name, tensor in attention.items())
    assert DDIMScheduler.from_pretrained(folder / "scheduler").config.prediction_type == "v_prediction"


def test_the_vae_is_diffusers_own(tmp_path):
    from emo_model.export import export

    emo, made = saved(tmp_path, LATENT)
    export(made, tmp_path / "parts")
    vae = loaded(AutoencoderKL, tmp_path / "parts/vae")
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
        torch.testing.assert_close(latents, emo.encode_pixels(pixels))


def test_nothing_is_overwritten_and_a_failed_export_leaves_nothing(exported, tmp_path, monkeypatch):
    _, folder = exported
    _, made = saved(tmp_path)
    again = CliRunner().invoke(main, ["export", str(made), str(folder)])
    assert again.exit_code == 2 and "is there already" in again.output
    none = CliRunner().invoke(main, ["export", str(tmp_path), str(tmp_path / "new")])
    assert none.exit_code == 2 and "no checkpoint at" in none.output

    def full(*_args):
        raise OSError(28, "No space left on device", "motion_adapter")

    monkeypatch.setattr("emo_model.export.motion_adapter", full)
    failed = CliRunner().invoke(main, ["export", str(made), str(tmp_path / "new")])
    assert failed.exit_code == 2 and "No space left" in failed.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-1"]


def test_the_final_checkpoint_of_a_run_opens_in_a_clean_process_elsewhere(tmp_path):
    """The folder is all there is: no data root, no preset, no working directory."""
    final = run(tmp_path / "run", 1)
    moved = final.rename(tmp_path / "moved")
    code = (
        "import sys; from emo_model.networks.emo import EMO; emo = EMO.from_pretrained(sys.argv[1]); "
        "print(emo.config.image_size, emo.training)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(moved)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout == f"{SMALL.image_size} False\n", done.stderr
