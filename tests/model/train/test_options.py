"""Numbers a run changes, its noise recipe, 8-bit moments, compiled blocks: chosen by name, refused by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from emo_model import diffusion
from emo_model.cli import main
from emo_model.data.manifests import manifest_path
from emo_model.data.records import MANIFEST
from emo_model.data.store import DataRoot, write_rows
from emo_model.errors import UserError
from emo_model.networks.emo import EMO, seeded
from emo_model.train import compiling, loop, optimizer
from emo_model.train.config import PAPER_TRAIN, TINY_TRAIN, RunSpec, StageTraining, TrainConfig
from emo_model.train.loop import train
from tests.model.networks.small import SMALL
from tests.model.train.moving_faces import MovingFaces
from tests.model.train.test_loop import CONFIG, final, losses, run, spec, whole_and_resumed

STAGES = loop.stages.STAGES


def learn(folder: Path, stage: str = "image", start: Path | None = None, **changed) -> Path:
    """Two steps with other numbers than CONFIG's."""
    given = spec(folder, stage, steps=2, start=start, changed=changed)
    return train(given, network=SMALL, config=CONFIG, dataset=MovingFaces(STAGES[stage], SMALL))


def provenance(folder: Path) -> dict:
    return json.loads((folder / "provenance.json").read_text())["train"]


# ---- numbers ----


def test_a_run_changes_any_number_of_its_stage_or_of_training_and_the_checkpoint_says_so(tmp_path):
    made = provenance(learn(tmp_path, accumulate="2", ema_decay="0.5", checkpoint_every=1, recolour="true"))
    assert (made["image"]["accumulate"], made["image"]["recolour"], made["video"]["accumulate"]) == (2, True, 1)
    assert (made["ema_decay"], made["checkpoint_every"]) == (0.5, 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ema": 0.9}, "no number 'ema': wanted one of accumulate, batch_size, beta2, .*ema_decay"),
        ({"ema_decay": "much"}, "ema_decay of training: .*valid number.*got 'much'"),
        ({"ema_decay": 1.0}, "ema_decay of training: .*less than 1"),
        ({"checkpoint_every": 0}, "checkpoint_every of training: .*greater than or equal to 1"),
        ({"mixed_precision": "fp16"}, "mixed_precision of training: .*'no' or 'bf16'"),
        ({"noise": "blue"}, "noise of training: .*'sd15', 'velocity', 'clean' or 'modern', got 'blue'"),
        ({"image": "3"}, "no number 'image'"),
    ],
)
def test_a_number_that_is_none_is_refused_by_name_before_anything_is_written(tmp_path, given, said):
    with pytest.raises(UserError, match=said):
        learn(tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_stages_numbers_and_trainings_share_no_name():
    """Else `--set NAME` would not say which."""
    assert not set(StageTraining.model_fields) & set(TrainConfig.model_fields)


@pytest.mark.parametrize("preset", [TINY_TRAIN, PAPER_TRAIN])
def test_the_presets_hold_their_own_rules(preset):
    assert TrainConfig.model_validate(preset.model_dump()) == preset
    assert preset.with_changes("video", {}) == preset


def test_the_command_hands_on_what_is_set(tmp_path, monkeypatch):
    seen: list[RunSpec] = []
    monkeypatch.setenv("EMO_DATA", str(tmp_path / "data"))
    root = DataRoot(tmp_path / "data").create()
    write_rows(manifest_path(root, "train_stage1"), MANIFEST, [])
    monkeypatch.setattr("emo_model.train.loop.train", lambda given, report: seen.append(given))
    call = ["train", "image", str(tmp_path / "run"), "--noise", "modern", "--set", "ema_decay=0.999"]
    done = CliRunner().invoke(main, [*call, "--set", "loader_workers=3"])
    assert done.exit_code == 0, done.output
    numbers = seen[0].config(TINY_TRAIN)
    assert (numbers.noise, numbers.ema_decay, numbers.loader_workers) == ("modern", 0.999, 3)
    assert RunSpec.model_validate_json(seen[0].model_dump_json()) == seen[0]
    wrong = CliRunner().invoke(main, [*call, "--set", "accumulate"])
    assert wrong.exit_code == 2 and "'accumulate': NAME=VALUE is wanted" in wrong.output


# ---- noise (peers.md: another scheduler in training than in sampling) ----


@pytest.fixture(scope="module")
def modern(tmp_path_factory) -> Path:
    """A first stage trained with another recipe than CONFIG's."""
    return learn(tmp_path_factory.mktemp("modern"), noise="modern")


def test_every_stage_keeps_the_recipe_of_the_first(tmp_path, modern):
    video = learn(tmp_path / "video", "video", modern)
    assert diffusion.load_recipe(modern) == diffusion.load_recipe(video) == "modern" != CONFIG.noise
    assert diffusion.load_schedule(video).config == diffusion.load_schedule(modern).config
    speed = learn(tmp_path / "speed", "speed", video, noise="modern")  # asking for the same is no contradiction
    assert provenance(speed)["noise"] == "modern"


def test_training_follows_the_weights_and_offset_of_the_checkpoints_recipe_not_the_presets(tmp_path, modern):
    """The same run with the preset set to modern gives the same losses; with velocity's loss they would differ."""
    followed = learn(tmp_path / "follows", "video", modern)
    given = spec(tmp_path / "is", "video", steps=2, start=modern)
    same = CONFIG.model_copy(update={"noise": "modern"})
    train(given, network=SMALL, config=same, dataset=MovingFaces(STAGES["video"], SMALL))
    assert losses(tmp_path / "follows") == losses(tmp_path / "is")
    assert diffusion.load_recipe(followed) == "modern"


def test_another_recipe_than_the_start_checkpoints_is_refused(tmp_path, modern):
    with pytest.raises(UserError, match="trained with the noise recipe modern, and velocity is asked for"):
        learn(tmp_path, "video", modern, noise="velocity")


def test_another_recipe_in_a_run_that_goes_on_is_refused(tmp_path):
    learn(tmp_path, noise="modern")
    with pytest.raises(UserError, match="noise recipe modern, and sd15 is asked for"):
        learn(tmp_path, noise="sd15")


def test_a_checkpoint_whose_scheduler_was_changed_is_refused(tmp_path, modern):
    import shutil

    changed = shutil.copytree(modern, tmp_path / "changed")
    diffusion.schedule(diffusion.RECIPES["sd15"]).save_pretrained(changed / "scheduler")
    with pytest.raises(UserError, match="not the schedule of the noise recipe modern.*it fits sd15"):
        learn(tmp_path / "run", "video", changed)


# ---- 8-bit moments ----


def test_without_bitsandbytes_8_bits_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(UserError, match=r"bitsandbytes.*run: pip install 'open-emo\[adamw8bit\]'"):
        learn(tmp_path, optimizer="adamw_8bit")


def test_8_bit_moments_take_a_quarter_and_resume_bit_for_bit(tmp_path):
    pytest.importorskip("bitsandbytes", reason="the extra adamw8bit is not installed")
    config = CONFIG.model_copy(update={"optimizer": "adamw_8bit"})

    whole, _ = whole_and_resumed(tmp_path, config=config)
    states = load_file(whole / "training/optimizer.safetensors")
    assert {t.dtype for t in states.values()} == {torch.uint8, torch.float32, torch.int64}
    large = {name.rsplit(":", 1)[0] for name, tensor in states.items() if tensor.dtype == torch.uint8}
    numbers = sum(seeded(SMALL, 0).get_parameter(name).numel() for name in large)
    taken = sum(t.nbytes for name, t in states.items() if name.rsplit(":", 1)[0] in large and ":qmap" not in name)
    assert large and taken / (8 * numbers) < 0.26  # of two float32 moments
    with pytest.raises(UserError, match="begun with optimizer adamw_8bit, and adamw cannot read its states"):
        run(tmp_path / "cut", 6, config=CONFIG)


def test_8_bit_moments_learn_as_float32_ones_do(tmp_path):
    pytest.importorskip("bitsandbytes", reason="the extra adamw8bit is not installed")
    run(tmp_path / "eight", 4, config=CONFIG.model_copy(update={"optimizer": "adamw_8bit"}))
    run(tmp_path / "full", 4)
    assert losses(tmp_path / "eight") == pytest.approx(losses(tmp_path / "full"), rel=0.02)
    assert losses(tmp_path / "eight") != losses(tmp_path / "full")


# ---- Muon ----


def test_muon_takes_matrices_and_convolutions_adamw_the_rest_and_a_run_resumes_bit_for_bit(tmp_path):
    config = CONFIG.model_copy(update={"optimizer": "muon"})
    whole, _ = whole_and_resumed(tmp_path, config=config)
    slots: dict[str, set[str]] = {}
    for full in load_file(whole / "training/optimizer.safetensors"):
        name, slot = full.rsplit(":", 1)
        slots.setdefault(name, set()).add(slot)
    matrices = {name for name, p in seeded(SMALL, 0).named_parameters() if name in slots and p.ndim > 1}
    assert matrices and matrices == {name for name, found in slots.items() if found == {"momentum_buffer"}}
    assert all(slots[name] == {"exp_avg", "exp_avg_sq", "step"} for name in slots.keys() - matrices)
    with pytest.raises(UserError, match="begun with optimizer muon, and adamw cannot read its states"):
        run(tmp_path / "cut", 6, config=CONFIG)


def test_muon_takes_no_run_that_adamw_began(tmp_path):
    run(tmp_path, 2)
    with pytest.raises(UserError, match="begun with optimizer adamw, and muon cannot read its states"):
        run(tmp_path, 4, config=CONFIG.model_copy(update={"optimizer": "muon"}))


def test_a_step_of_muon_is_as_large_as_adamws():
    """The root mean square of a matrix's update, of which the rate is 0.2 as it is about AdamW's."""
    matrix = torch.nn.Parameter(torch.zeros(64, 32))
    muon = optimizer.build(
        [{"params": [matrix]}], 1e-2, CONFIG.model_copy(update={"optimizer": "muon", "weight_decay": 0.0})
    )
    matrix.grad = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    muon.step()
    assert matrix.square().mean().sqrt().item() == pytest.approx(0.2 * 1e-2, rel=0.25)
    muon.zero_grad()
    assert matrix.grad is None


def test_muon_steps_as_torchs_own_does():
    """Which takes matrices alone, and its steps in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((64, 32), (64, 32), (8, 96))]
    filters = torch.nn.Parameter(torch.randn(8, 4, 3, 3, generator=generator))
    theirs = [torch.nn.Parameter(p.detach().flatten(1).clone()) for p in (*ours, filters)]
    before = [p.detach().clone() for p in theirs]
    muon = optimizer.Matrices([{"params": [*ours, filters]}], 1e-2, weight_decay=0.1)
    torchs = torch.optim.Muon(theirs, 1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for own, other in zip((*ours, filters), theirs, strict=True):
            own.grad = torch.randn(own.shape, generator=generator)
            other.grad = own.grad.flatten(1).clone()
        muon.step()
        torchs.step()
    for own, other, start in zip((*ours, filters), theirs, before, strict=True):
        assert (own.flatten(1) - other).norm() < 0.02 * (other - start).norm()


def test_states_with_an_int_and_a_shared_table_come_back_as_they_were(tmp_path):
    """bitsandbytes' layout, without it: safetensors refuse shared memory, and its kernels want an int."""
    parameter, table = torch.nn.Parameter(torch.zeros(4)), torch.arange(256.0)
    kept = {"step": 7, "state1": torch.arange(4, dtype=torch.uint8), "qmap1": table, "qmap2": table}
    saved = {slot: optimizer.saved(slot, value) for slot, value in kept.items()}
    assert saved["qmap1"].data_ptr() != saved["qmap2"].data_ptr()
    back = {slot: optimizer.restored(slot, value, parameter) for slot, value in saved.items()}
    assert back["step"] == 7 and isinstance(back["step"], int) and back["state1"].dtype == torch.uint8
    assert torch.equal(back["qmap1"], table)


# ---- compiled blocks ----


@pytest.fixture
def traced(monkeypatch):
    """Dynamo without a code generator: what is captured and what is not, in seconds."""
    compile_repeated = compiling.compile_repeated
    monkeypatch.setattr(loop, "compile_repeated", lambda emo, mode: compile_repeated(emo, mode, backend="eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield torch._dynamo.utils.counters
    torch._dynamo.reset()


def test_compiled_blocks_give_the_same_losses_names_and_resume(tmp_path, traced, monkeypatch):
    config = CONFIG.model_copy(update={"compile": "default", "gradient_checkpointing": "full"})

    run(tmp_path / "plain", 4)
    _, resumed = whole_and_resumed(tmp_path, config=config)
    assert traced["stats"]["unique_graphs"] > 5 and not traced["graph_break"]
    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
    assert EMO.from_pretrained(resumed).state_dict().keys() == seeded(SMALL, 0).state_dict().keys()


def test_compiled_blocks_cannot_be_checkpointed_by_operation(tmp_path):
    config = CONFIG.model_copy(update={"compile": "default", "gradient_checkpointing": "selective"})
    with pytest.raises(UserError, match="run: emo train .*gradient_checkpointing=full"):
        run(tmp_path / "run", 1, config=config)


@pytest.mark.parametrize("given, named", [(True, "full"), (False, "no"), ("true", "full"), ("selective", "selective")])
def test_checkpoints_of_before_there_were_two_ways_still_read(given, named):
    numbers = TINY_TRAIN.model_dump() | {"gradient_checkpointing": given}
    assert TrainConfig.model_validate(numbers).gradient_checkpointing == named


def test_hooks_reach_a_compiled_network(traced):
    """ReferenceNet's maps and the Temporal Modules go through hooks: compiled or not, they must take part."""
    from tests.model.networks.small import inputs, small

    plain, compiled, given = small(awake=True), small(awake=True), inputs()
    loop.compile_repeated(compiled, "default")
    found = []
    for emo in (plain, compiled):
        with torch.no_grad():
            features = emo.encode_frames(given["reference"], given["motion"])
            found.append(emo(given["noisy"], given["t"], features, *(given[n] for n in ("audio", "speed", "mask"))))
    torch.testing.assert_close(found[0], found[1])
    assert traced["stats"]["unique_graphs"] > 5


def test_without_a_compiler_the_error_says_so(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"C\+\+ compiler.*run: emo train --set compile=no"):
        compiling.compile_repeated(torch.nn.Linear(1, 1), "default")


@pytest.mark.long
def test_generated_code_gives_the_same_losses(tmp_path):
    """inductor, which takes minutes for the many sizes of blocks."""
    import shutil

    if not shutil.which("g++"):
        pytest.skip("no g++: inductor cannot generate code here")
    code = (
        "import sys; from tests.model.train.test_loop import CONFIG, run; "
        "run(sys.argv[1], 3, config=CONFIG.model_copy(update={'compile': sys.argv[2]}))"
    )
    for name in ("no", "default"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name), name], cwd=Path(__file__).parents[3], timeout=1500
        )
        assert done.returncode == 0
    assert losses(tmp_path / "default") == pytest.approx(losses(tmp_path / "no"), rel=1e-4)
    assert final(tmp_path / "default").is_dir()
