"""Recolouring: one change a clip, the same for all its pictures, and a function of the generator alone."""

import torch

from emo_model.train.augment import recoloured


def _batch() -> dict:
    torch.manual_seed(0)
    still = torch.rand(3, 1, 3, 8, 8) * 2 - 1
    mask = torch.zeros(3, 1, 8, 8)
    mask[..., :2] = 1
    return {
        "pixels": still.repeat(1, 5, 1, 1, 1),
        "motion": still.repeat(1, 2, 1, 1, 1),
        "reference": still[:, 0],
        "mask": mask,
    }


def test_all_pictures_of_a_clip_change_alike_and_clips_differ():
    changed = recoloured(_batch(), torch.Generator().manual_seed(1))
    for frame in range(5):
        assert torch.equal(changed["pixels"][:, frame], changed["reference"])
    assert torch.equal(changed["motion"][:, 1], changed["reference"])
    assert not torch.equal(changed["reference"], _batch()["reference"])
    assert changed["reference"].abs().max() <= 1


def test_the_face_region_is_mirrored_with_its_picture():
    given, generator = _batch(), torch.Generator().manual_seed(3)
    left = given["pixels"].clone()
    left[..., 2:] = 0.0
    changed = recoloured(given | {"pixels": left}, generator)
    marked = (changed["pixels"][:, 0, 0].std(dim=1) > 0).float()  # columns that still hold picture
    assert set(changed["mask"][:, 0, 0, 0].tolist()) == {0.0, 1.0}, "the seed mirrors some clips and not others"
    assert torch.equal(marked, changed["mask"][:, 0, 0])


def test_the_same_generator_gives_the_same_batch():
    one, two = (recoloured(_batch(), torch.Generator().manual_seed(7)) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
