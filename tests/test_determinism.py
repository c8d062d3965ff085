"""Same seed, same machine, same result: each recipe twice, with loader workers and without, and in another process."""

import dataclasses
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
from accelerate.utils import set_seed

from ferlib import recipes, sample
from ferlib.data import FaceDataset
from ferlib.models import build_model, model_hash
from ferlib.training import fit

LONG = int(os.environ.get("FERLIB_TORTURE", "0"))
TINY = {
    "fernet": {"widths": (8, 8, 8, 8), "depths": (1, 1, 1)},
    "resnet18": {"channels": (8, 8, 16, 16)},
    "efficientnet_b0": {"name": "test_efficientnet"},  # of the same kind, with a block a stage
}


def tiny(name: str, workers: int, seed: int = 0) -> recipes.Recipe:
    """A recipe as it is, but for two epochs of two steps, a narrow network without weights, and 32 px in
    place of 224."""
    recipe = recipes.get_recipe(name)
    recipe = recipes.altered(recipe, weights="none", epochs=2, batch_size=8, workers=workers, seed=seed)
    narrow = TINY.get(recipe.model["name"].split(".")[0], {})
    size = {"size": 32, "small_stem": False} if recipe.model.get("size", 48) > 48 else {}
    return dataclasses.replace(recipe, model=recipe.model | narrow | size)


def result_of(name: str, workers: int, seed: int = 0) -> str:
    """The whole history, without times, and the hash of the weights, as one text."""
    recipe = tiny(name, workers, seed)
    images, table = sample.draw(24, seed=2, balance="equal")
    faces = FaceDataset(images, table.assign(row=range(24)), "tiny")
    model, augment, per_image = recipe.build()
    train_set = faces.subset(range(16)).with_transform(per_image)
    teacher = None
    if recipe.config.distill:
        torch.manual_seed(1)
        teacher = build_model("fernet", **TINY["fernet"])
    set_seed(int.from_bytes(os.urandom(4), "little"))  # whatever ran before must not matter
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="conv1 has a learning rate but is frozen")
        told = {"train_transform": augment, "teacher": teacher, "progress": False}
        result = fit(model, train_set, faces.subset(range(16, 24)), recipe.config, **told)
    rows = result.history.drop(columns="seconds").to_dict("records")
    assert len(rows) == 2 and pd.DataFrame(rows).notna().all(axis=None)
    return f"{name} {rows!r} {model_hash(result.model)}"


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_gives_the_same_result_twice_with_workers_and_without(name: str):
    alone, helped = result_of(name, 0), result_of(name, 2)
    if recipes.get_recipe(name).pipeline is None:
        assert helped == alone, "workers change nothing where nothing is drawn in them"
    else:  # each worker draws its own faces' numbers
        assert alone == result_of(name, 0) and helped == result_of(name, 2)


def test_another_seed_gives_another_result():
    assert result_of("fast", 0) != result_of("fast", 0, seed=1)


@pytest.mark.skipif(not LONG, reason="a long one: make torture")
def test_a_recipe_gives_the_same_result_in_another_process():
    done = subprocess.run(
        [sys.executable, __file__], env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [result_of(name, workers) for name in recipes.RECIPES for workers in (0, 2)]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    for name in recipes.RECIPES:
        for workers in (0, 2):
            print(result_of(name, workers))
