"""What benchmarks/memory.py counts on shapes is what a process takes."""

import json
import os
import subprocess
import sys

import pytest
import torch
from memory import CARDS, GB, ROOM, Held, Need, held_by_a_step

from emo_model.networks import gradient_checkpointing
from emo_model.train.config import PAPER_TRAIN
from emo_model.train.stages import IMAGE, VIDEO
from tests.benchmarks.conftest import FOLDER
from tests.model.networks.small import SMALL

PLAIN = PAPER_TRAIN.model_copy(update={"gradient_checkpointing": "no"})

# In a process of its own: its resident memory at worst, over forward and backward pass, beyond what was there before.
MEASURE = """
import gc, json, sys, torch
sys.path.insert(0, sys.argv[1])
from _workbench import MIDDLE_NETWORK, OURS, PRESETS, Peak, batch_of, loss_of, ready
from memory import held_by_a_step
from emo_model.train.stages import STAGES
sizes = {"image_size": 256, "channels": (32, 32, 64, 64), "norm_groups": 8, "layers_per_block": 1}
sizes["vae_channels"] = (8, 8, 8, 8)
network, here, stage = MIDDLE_NETWORK.model_copy(update=sizes), torch.device("cpu"), STAGES["video"]
config = PRESETS["MIDDLE"][1].model_copy(update={"gradient_checkpointing": sys.argv[2]})
emo = ready(network, stage, config, here, OURS)
loss = loss_of(emo, config, stage, batch_of(network, stage, 1, here, True))
loss().backward()  # what the first call alone makes: kernels, thread pools
emo.zero_grad(set_to_none=True)
gc.collect()
peak = Peak(here)
peak.reset()
before = peak.now()
loss().backward()
print(json.dumps([peak.highest() - before, held_by_a_step(network, config, stage, 1, True, gpu=False).highest()]))
"""


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux keeps VmHWM; here it cannot be reset"
)
@pytest.mark.long  # twenty seconds of a quiet core
@pytest.mark.parametrize("how", ["full", "selective", "no"])
def test_the_peak_counted_on_shapes_is_a_processs_resident_peak(how):
    # Every block of 64 kB goes back to the system when it is freed: else the heap's gaps are measured too.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(FOLDER), how],
        env=environment, cwd=FOLDER.parent, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    measured, counted = json.loads(done.stdout.splitlines()[-1])
    assert counted == pytest.approx(measured, rel=0.1), f"{measured / 1e6:.0f} and {counted / 1e6:.0f} MB"


def test_storages_are_counted_once_and_until_they_are_gone():
    before = torch.ones(1000)
    with Held() as held:
        kept = before * 2  # 4 kB
        view = kept[:10].reshape(2, 5)  # none
        passing = before + kept  # 4 kB
        del passing
        before.mul_(2)  # none: made outside
        last = before + 1  # 4 kB
    assert (held.other, held.highest()) == (8000, 8000)
    del kept
    assert held.other == 8000  # the view holds it
    del view, last
    assert held.other == 0


def held(moments: list[tuple[int, int]]) -> Held:
    made = Held()
    made.moments = moments
    return made


def stage_of(trained: int, frozen: int, moments: list[tuple[int, int]], a_clip: list[int]) -> Need:
    """A need whose moments on two clips are given, and what each clip adds to them."""
    two, three = Held(), Held()
    two.moments = moments
    three.moments = [(g, other + more) for (g, other), more in zip(moments, a_clip, strict=True)]
    return Need(trained, frozen, 10**6, two, three)


def test_gradients_are_shared_and_activations_are_not():
    need = stage_of(0, 0, [(0, 70), (80, 10)], [0, 0])
    assert (need.step(1, 2), need.step(8, 2)) == (90, 70)


def test_a_moment_that_grows_by_the_clip_overtakes_one_of_gradients():
    """The worst moment of few clips is the end of the backward pass, that of many its start."""
    need = stage_of(0, 0, [(0, 20), (80, 10)], [10, 0])
    assert [need.step(1, size) for size in (1, 2, 9, 10, 11)] == [90, 90, 90, 100, 110]


def test_what_a_stage_needs_is_the_sum_of_its_parts():
    """10 million trained parameters, 100 million frozen, 1 GB of activations a clip: worked out by hand."""
    million = 10**6
    need = stage_of(10 * million, 100 * million, [(40 * million, 2 * 10**9)], [10**9])
    weights = 40 * million + 200 * million
    assert need.total("AdamW", 1, 3) == weights + (80 + 40 + 40) * million + 3 * 10**9
    assert need.total("AdamW", 4, 1) == weights + (80 + 40 + 40) * million / 4 + 10**9
    shared = (40 + 160) * million / 4 + 4 * million  # what learns; the frozen stay whole on every GPU
    assert need.total("AdamW", 4, 1, share_weights=True) == shared + 200 * million + 10**9
    assert need.total("8-bit AdamW", 1, 1) < need.total("AdamW", 1, 1)
    for card in CARDS:
        clips = need.clips(card, "AdamW", 1)
        assert need.total("AdamW", 1, clips) <= ROOM * card * GB < need.total("AdamW", 1, clips + 1)


def test_a_stage_too_large_for_a_card_fits_no_clip():
    assert stage_of(10**10, 0, [(0, 10**9)], [10**9]).clips(80, "AdamW", 1) == 0


@pytest.mark.long
def test_a_step_counted_on_two_clips_and_on_three_tells_one_on_five():
    two, three, five = (held_by_a_step(SMALL, PLAIN, IMAGE, size, False) for size in (2, 3, 5))
    assert Need(0, 0, 0, two, three).step(1, 5) == five.highest()


def test_a_gpus_norms_take_more_than_the_cpus():
    two = [held_by_a_step(SMALL, PLAIN, IMAGE, 2, False, gpu).highest() for gpu in (True, False)]
    assert two[0] > two[1]


@pytest.mark.long
def test_selective_checkpointing_holds_more_than_full_and_less_than_none(monkeypatch):
    monkeypatch.setattr(gradient_checkpointing, "DEAR", 40)  # SMALL is narrow
    ways = [PLAIN.model_copy(update={"gradient_checkpointing": way}) for way in ("full", "selective", "no")]
    full, selective, none = (held_by_a_step(SMALL, config, VIDEO, 2, False).highest() for config in ways)
    assert full < selective < none


@pytest.mark.long
def test_checkpointed_temporal_modules_hold_less():
    config = PLAIN.model_copy(update={"gradient_checkpointing": "full"})
    two = [held_by_a_step(SMALL, config, VIDEO, 2, False, temporal=how).highest() for how in (True, False)]
    assert two[0] < two[1]
