"""One training step, ours against the common approach at equal sizes. Bars: 1.5 times as fast, 0.7 of the memory.

    python benchmarks/peer_step.py                    stage 2 at MIDDLE, two minutes on two cores
    python benchmarks/peer_step.py PAPER --stage video --only ours stock
    python benchmarks/peer_step.py --only ours stock moore hallo

The peer is written here after what Moore-AnimateAnyone, hallo, AniPortrait and V-Express do, on our modules, so that
widths, frames, pixels, batch, trained parts, conditions, loss, optimizer, autocast to bf16 and SDPA are the same. What
differs:

- reference: the portrait's tokens are repeated for every frame and concatenated to the keys and values of each
  self-attention (no projections of their own), where ours has a reference-attention whose keys and values are made once
  a clip. The peers' text or picture cross-attention of a few tokens is left out, in the peer's favour.
- latents: the VAE encodes all frames, the portrait and the motion frames inside the step; ours reads them, made
  beforehand. The line `encode` is ours with the VAE in the step, `cached` the peer without it: what remains is the
  network's.
- ReferenceNet runs in the step on portrait and motion frames in both: in training every step sees another clip.
- weights. `stock` and `moore`: VAE in bf16, ReferenceNet too unless it is trained, the Backbone in float32 although
  frozen in stages 2 and 3, as Moore-AnimateAnyone's train_stage_2.py. `hallo`: everything in bf16, trained weights and
  AdamW's moments included, as hallo's train_stage2.py: less memory than float32 master weights, and updates below a
  256th of a weight are lost. Ours: frozen weights bf16, trained ones float32.
- checkpointing. Ours: the preset's, "selective". `stock`: diffusers' own, which leaves the temporal modules out (as its
  UNetMotionModel); `moore`, `hallo`: each temporal module checkpointed, as these do in their own blocks.

Every way runs in a process of its own, one after the other. Memory is the peak over the steps beyond what the imports
took. A way that would not fit by the count of memory.py is not run; its memory is then that count, and says so.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace

import torch
from _workbench import (
    GB,
    OURS,
    PRESETS,
    Peak,
    Precision,
    available,
    batch_of,
    device_here,
    loss_of,
    operations,
    ready,
    seconds,
    shapes_only,
    step_of,
    where,
)
from einops import repeat
from memory import held_by_a_step
from torch import Tensor, nn

from emo_model.networks.conditions import Conditions
from emo_model.networks.config import EMOConfig, SpeedBuckets
from emo_model.networks.emo import EMO, FrameFeatures
from emo_model.networks.unet import transformer_blocks
from emo_model.train.config import TrainConfig
from emo_model.train.loop import freeze
from emo_model.train.stages import STAGES, Stage

BAR_TIME, BAR_MEMORY = 1.5, 0.7


class Peer(EMO):
    """EMO's parts with the reference read by the self-attentions."""

    def __init__(self, config: EMOConfig, buckets: SpeedBuckets | None = None) -> None:
        super().__init__(config, buckets)
        self.bank: dict[str, Tensor] = {}
        for name, block in transformer_blocks(self.backbone.unet).items():
            block.attn2 = Hearing(name)
            block.attn1.register_forward_pre_hook(self._concatenate(name), with_kwargs=True)

    def forward(self, noisy_latent: Tensor, t: Tensor, features: FrameFeatures, *conditions, **named) -> Tensor:
        """As EMO; the bank stays until the next call, for the backward pass computes the blocks again."""
        self.bank = features.reference
        return super().forward(noisy_latent, t, features, *conditions, **named)

    def _concatenate(self, name: str):
        def hook(_attention: nn.Module, given: tuple, named: dict) -> tuple[tuple, dict]:
            hidden = given[0]
            bank = self.bank[name].to(hidden)
            bank = repeat(bank, "b l c -> (b f) l c", f=hidden.shape[0] // bank.shape[0])
            return given, named | {"encoder_hidden_states": torch.cat([hidden, bank], dim=1)}

        return hook


class Hearing(nn.Module):
    """Audio-attention alone, where EMO has reference-attention and audio-attention."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(
        self, hidden: Tensor, encoder_hidden_states: Conditions, attention_mask: Tensor | None = None
    ) -> Tensor:
        """What the block adds to hidden (B F, h w, C)."""
        heard = encoder_hidden_states.audio
        return hidden.new_zeros(()) if heard is None else heard(self.name, hidden)


@dataclass(frozen=True)
class Way:
    """How a step is done."""

    kind: type[EMO]
    cached: bool  # latents
    precision: Precision = OURS
    temporal: bool = True  # are temporal modules checkpointed?


STOCK = Way(Peer, cached=False, precision=Precision(float32=("backbone",)), temporal=False)
WAYS = {
    "ours": Way(EMO, cached=True),
    "encode": Way(EMO, cached=False),
    "stock": STOCK,
    "cached": replace(STOCK, cached=True),
    "moore": replace(STOCK, temporal=True),
    "hallo": replace(STOCK, precision=Precision(trained=torch.bfloat16), temporal=True),
}


def main() -> None:
    """Print a line a way, and the ratios of ours to each."""
    chosen = arguments()
    if chosen.way:
        print(json.dumps(measured(chosen)))
        return
    found = {}
    for name in chosen.only:
        found[name] = row = in_a_process(name)
        time = f"{row['seconds']:8.3f} s a step" if row["seconds"] else f"{'not run':>8}         "
        counted = f", {row['operations'] / 1e12:.2f} TFLOP" if chosen.operations else ""
        print(f"{name:7}{time}{counted}, {row['bytes'] / GB:6.2f} GB{row['how']} on {row['where']}", flush=True)
    ours = found["ours"]
    for name, row in found.items():
        if name == "ours":
            continue
        faster = f"{row['seconds'] / ours['seconds']:.2f} times as fast" if row["seconds"] else "time not known"
        if chosen.operations:
            faster += f", {row['operations'] / ours['operations']:.2f} times fewer operations"
        print(
            f"ours against {name:7}: {faster} (bar against a peer: {BAR_TIME}), "
            f"{ours['bytes'] / row['bytes']:.2f} of its memory (bar: {BAR_MEMORY})",
            flush=True,
        )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("preset", nargs="?", default="MIDDLE", choices=PRESETS)
    parser.add_argument("--stage", default="video", choices=STAGES)
    parser.add_argument("--only", nargs="+", default=["ours", "encode", "stock", "cached"], choices=WAYS)
    parser.add_argument("--steps", type=int, default=2, help="timed steps after one")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--operations", action="store_true", help="count floating-point operations, too")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # in this process, as JSON
    chosen = parser.parse_args()
    if not chosen.way and "ours" not in chosen.only:
        parser.error("--only wants ours among the ways: ratios are to it")
    return chosen


def in_a_process(name: str) -> dict:
    """What `measured` found there."""
    command = [sys.executable, __file__, *sys.argv[1:], "--way", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured(chosen: argparse.Namespace) -> dict:
    """Seconds a step and peak bytes of one way; seconds 0 where it does not fit and was not run."""
    network, config = PRESETS[chosen.preset]
    way, stage, device = WAYS[chosen.way], STAGES[chosen.stage], device_here()
    row: dict = {"where": where(device)}
    if chosen.operations:
        row["operations"] = counted_operations(network, config, stage, chosen.batch_size, way)
    counted = counted_bytes(network, config, stage, chosen.batch_size, way)
    if counted > 0.9 * available():
        return row | {"seconds": 0, "bytes": counted, "how": " (counted, more than is free)"}
    peak = Peak(device)
    before = peak.now()
    emo = ready(network, stage, config, device, way.precision, way.kind, temporal=way.temporal)
    batch = batch_of(network, stage, chosen.batch_size, device, way.cached)
    step = step_of(emo, config, stage, batch)
    peak.reset()
    timed = statistics.median(seconds(step, device, 1, chosen.steps))
    return row | {"seconds": timed, "bytes": peak.highest() - before, "how": f" ({counted / GB:.2f} counted)"}


def counted_bytes(network: EMOConfig, config: TrainConfig, stage: Stage, size: int, way: Way) -> float:
    """Weights, AdamW's moments and the worst moment of a step, without running it."""
    gpu, how = torch.cuda.is_available(), {"kind": way.kind, "temporal": way.temporal}
    held = held_by_a_step(network, config, stage, size, way.cached, gpu, way.precision, **how)
    weights, moments = weights_and_moments(network, config, stage, way)
    return weights + moments + held.highest()


def counted_operations(network: EMOConfig, config: TrainConfig, stage: Stage, size: int, way: Way) -> int:
    """Of forward and backward pass, recomputation included."""
    here = torch.device("cpu")
    with shapes_only():
        emo = ready(network, stage, config, here, way.precision, way.kind, values=False, temporal=way.temporal)
        loss = loss_of(emo, config, stage, batch_of(network, stage, size, here, way.cached))
        return operations(lambda: loss().backward())


def weights_and_moments(network: EMOConfig, config: TrainConfig, stage: Stage, way: Way) -> tuple[int, int]:
    """Bytes of all weights, and of AdamW's two moments of the trained ones."""
    with shapes_only():
        emo = ready(network, stage, config, torch.device("cpu"), way.precision, way.kind, values=False)
        sizes = {name: p.numel() * p.element_size() for name, p in emo.named_parameters()}
        return sum(sizes.values()), 2 * sum(sizes[name] for name in freeze(emo, stage))


if __name__ == "__main__":
    main()
