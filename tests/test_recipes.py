"""Recipes: by name, each builds what it says and trains."""

import dataclasses

import pytest

from ferlib import recipes, sample
from ferlib.data import FaceDataset
from ferlib.models import count_parameters, model_hash
from ferlib.training import fit

TABLE = {  # name: parameters, optimizer, schedule, batch size, kept epoch
    "cpu": (4_342_567, "adamw", "onecycle", 64, "last"),
    "plain_cnn": (683_527, "adam", "constant", 64, "best"),
}


def test_the_table_of_this_test_is_complete():
    assert set(TABLE) == set(recipes.RECIPES)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipes_build_what_the_table_says(name: str):
    recipe = recipes.get_recipe(name)
    model, augment = recipe.build()
    config = recipe.config
    found = (count_parameters(model)[0], config.optimizer, config.schedule, config.batch_size, config.keep)
    assert found == TABLE[name]
    assert augment is not None and augment.flip == 0.5
    assert model_hash(model) == model_hash(recipe.build()[0]), "the seed settles the first weights"


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_twenty_steps_lower_the_loss(name: str):
    recipe = recipes.get_recipe(name)
    images, table = sample.draw(64, seed=9, balance="equal")
    faces = FaceDataset(images, table.assign(row=range(64)), "tiny")
    config = dataclasses.replace(
        recipe.config, epochs=10, batch_size=32, precision="fp32", schedule="constant", ema=None
    )
    model, _ = recipe.build()
    history = fit(model, faces, faces, config, progress=False).history
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] - 0.1


def test_unknown_recipe_names_those_there_are():
    with pytest.raises(ValueError, match=r"no recipe is called 'magic'; allowed are cpu, plain_cnn"):
        recipes.get_recipe("magic")
