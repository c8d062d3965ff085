"""The solutions of assignment 2 against torch, ferlib and brute force, on random data."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

import assignments
from ferlib.emotions import EMOTIONS

SPLITS = np.array(["Training", "PublicTest", "PrivateTest"])


@pytest.fixture(scope="module")
def solved() -> dict[str, Any]:
    """The solutions by name."""
    return assignments.find(["a02"])[0].solved()


@pytest.mark.parametrize("seed", range(5))
def test_remap_labels_keeps_names(solved: dict[str, Any], seed: int):
    rng = np.random.default_rng(seed)
    old = rng.permutation(EMOTIONS).tolist()
    labels = rng.integers(0, 7, 40)
    names = np.array(old)[labels]
    ours = solved["remap_labels"](labels, old, list(EMOTIONS))
    np.testing.assert_array_equal(ours, [EMOTIONS.index(name) for name in names])
    np.testing.assert_array_equal(solved["remap_labels"](ours, list(EMOTIONS), old), labels)


@pytest.mark.parametrize("channels", [1, 3])
def test_channel_stats_are_torchs(solved: dict[str, Any], channels: int):
    rng = np.random.default_rng(channels)
    batches = []
    for n in (5, 1, 8, 3):
        images = rng.integers(0, 256, (n, 6, 4, channels), dtype=np.uint8)
        batches.append((images, rng.choice(SPLITS, n, p=[0.6, 0.2, 0.2])))
    mean, sd = solved["channel_stats"](batches)
    chosen = [torch.tensor(image) for images, splits in batches for image in images[splits == "Training"]]
    assert 5 < len(chosen) < 17
    pixels = torch.stack(chosen).permute(3, 0, 1, 2).flatten(1).double() / 255
    np.testing.assert_allclose(mean, pixels.mean(1), rtol=1e-9)
    np.testing.assert_allclose(sd, pixels.std(1, correction=0), rtol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_straddling_identities_are_those_of_all_pairs_of_images(solved: dict[str, Any], seed: int):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    identities, splits = rng.integers(-1, 15, n), rng.choice(SPLITS[: rng.integers(1, 4)], n)
    pairs = combinations(range(n), 2)
    both = {int(identities[a]) for a, b in pairs if identities[a] == identities[b] and splits[a] != splits[b]}
    assert solved["straddling_identities"](identities, splits) == sorted(both - {-1})


@pytest.mark.parametrize(("high", "wide", "channels"), [(9, 5, ()), (4, 11, (3,)), (16, 16, ())])
def test_hflip_boxes_mirrors_the_picture_and_a_mask_of_each_box(solved: dict[str, Any], high: int, wide: int, channels):
    rng = np.random.default_rng(high)
    image = rng.integers(0, 256, (high, wide, *channels), dtype=np.uint8)
    quarters = [
        (*np.sort(rng.choice(4 * wide + 1, 2, False)), *np.sort(rng.choice(4 * high + 1, 2, False))) for _ in range(9)
    ]  # x0, x1, y0, y1 in quarters of a pixel
    boxes = np.array(quarters)[:, [0, 2, 1, 3]] / 4
    mirrored, moved = solved["hflip_boxes"](image, boxes)
    np.testing.assert_array_equal(mirrored, torch.tensor(image).flip(1))
    for (x0, x1, y0, y1), box in zip(quarters, moved, strict=True):
        mask = torch.zeros(4 * high, 4 * wide)
        mask[y0:y1, x0:x1] = 1
        rows, columns = mask.flip(1).nonzero().T
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(box, [int(edge) / 4 for edge in edges])


def test_hflip_boxes_hold_what_they_held(solved: dict[str, Any]):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)
    boxes = np.array([[0, 0, 9, 12], [2, 3, 5, 9], [8, 11, 9, 12], [0, 1, 1, 4]])
    mirrored, moved = solved["hflip_boxes"](image, boxes)
    for (x0, y0, x1, y1), (left, top, right, bottom) in zip(boxes, moved, strict=True):
        np.testing.assert_array_equal(mirrored[top:bottom, left:right], image[y0:y1, x0:x1][:, ::-1])
    assert solved["hflip_boxes"](image, np.zeros((0, 4)))[1].shape == (0, 4)
