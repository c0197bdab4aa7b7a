"""Small formulas of section 3.2, checked by hand-made values."""

import ast
import math
import re
from pathlib import Path

import pytest
import torch

from emo_model.networks import config
from emo_model.networks.config import PAPER_NETWORK, TINY_NETWORK, EMOConfig, SpeedBuckets
from emo_model.networks.nearby_frames import nearby_frames, with_edges
from emo_model.networks.speed_layers import speed_vector


def test_nearby_frames_puts_the_oldest_neighbour_first():
    x = torch.arange(12.0).reshape(1, 6, 2)  # frames 0..5, two numbers each; m = 2 leaves frames 2 and 3
    assert nearby_frames(x, 2).tolist() == [[list(range(0, 10)), list(range(2, 12))]]


def test_nearby_frames_refuses_a_clip_that_is_all_neighbours():
    with pytest.raises(ValueError, match="4 frames leave none"):
        nearby_frames(torch.zeros(1, 4, 3), 2)


def test_edges_repeat_and_are_never_zero():
    x = torch.tensor([[[1.0], [2.0]]])
    assert with_edges(x, 2).flatten().tolist() == [1, 1, 1, 2, 2, 2]


def test_speed_vector_is_tanh_of_three_times_the_distance_in_radii():
    s = speed_vector(torch.tensor([[0.5]]), torch.tensor([0.5, 1.0, 0.0]), torch.tensor([1.0, 0.5, 2.0]))
    assert s[0, 0].tolist() == pytest.approx([0.0, math.tanh(-3.0), math.tanh(0.75)])


def test_an_unknown_speed_is_the_zero_vector_and_no_known_speed_is():
    buckets = SpeedBuckets()
    centres, radii = torch.tensor(buckets.centres), torch.tensor(buckets.radii)
    assert speed_vector(torch.tensor([[torch.nan]]), centres, radii).abs().max() == 0
    known = speed_vector(torch.linspace(0, 4, 401)[None], centres, radii)
    assert known.norm(dim=-1).min() > 0.9


@pytest.mark.parametrize("centres, radii", [((0.0, 1.0), (1.0,)), ((-0.5,), (1.0,)), ((1.0,), (0.0,))])
def test_speed_buckets_that_mean_nothing_are_refused(centres, radii):
    with pytest.raises(ValueError):
        SpeedBuckets(centres=centres, radii=radii)


def test_a_network_whose_sizes_contradict_is_refused():
    with pytest.raises(ValueError, match="48 numbers, not 64"):
        EMOConfig.model_validate(TINY_NETWORK.model_dump() | {"latent_channels": 64})
    with pytest.raises(ValueError, match="positions"):
        EMOConfig.model_validate(PAPER_NETWORK.model_dump() | {"frames": 40})


def test_every_file_with_shapes_says_what_their_letters_are_and_every_box_names_its_section():
    for path in Path(config.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        if re.search(r"\((\d, )?B[ ,]", path.read_text()):
            assert "\nShapes: " in (ast.get_docstring(tree) or ""), path.name
        boxes = [
            node for node in tree.body if isinstance(node, ast.ClassDef) and "nn.Module" in map(ast.unparse, node.bases)
        ]
        for box in boxes:
            assert re.search(r"[Ss]ection 3\.\d", ast.get_docstring(box) or ""), (path.name, box.name)
