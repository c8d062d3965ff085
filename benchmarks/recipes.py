"""All recipes on an equal budget of images seen, side by side: parameters, images a second, PublicTest accuracy.

    python benchmarks/recipes.py --data data/fer2013.csv --images 28672 --size 96

Each trains for one short epoch on the same faces (classes in proportion), its schedule run to its end; recipes made for
more than `--size` px are run at that size. Images a second are those of training, augmentation included. Accuracy is
flip-averaged over all of PublicTest, with a 95% bootstrap interval. Where ImageNet weights are out of reach, the recipe
starts from random ones, all of it learning, and the table says so. One epoch is too few for any of them: the table
compares costs and first steps, not what the recipes reach.
"""

import argparse
import os
import platform
import warnings
from importlib.metadata import version
from pathlib import Path

import torch

from ferlib import data, evaluation, models, protocol, recipes
from ferlib.training import fit


def run(recipe: recipes.Recipe, train_set: data.FaceDataset, test_set: data.FaceDataset) -> str:
    start = recipe.model.get("weights") or "random"
    try:
        model, augment, per_image = recipe.build()
    except FileNotFoundError:
        start = f"random ({start} not run: out of reach)"
        recipe = recipes.altered(recipe, weights="none")
        model, augment, per_image = recipe.build()
    spec, (total, trainable) = model.input_spec, models.count_parameters(model)
    few = test_set.subset(range(64))
    train_set = train_set.with_transform(per_image)
    result = fit(model, train_set, few, recipe.config, train_transform=augment, progress=False)
    speed = result.history["images_seen"].iloc[-1] / result.history["seconds"].sum()
    found = evaluation.predict(result.model, test_set, views=(None, evaluation.flip))
    accuracy = evaluation.summarise(found).loc["accuracy"] * 100
    figure = f"{accuracy['value']:.1f} [{accuracy['low']:.1f}, {accuracy['high']:.1f}]"
    share = f" ({trainable / 1e6:.1f} M learn)" if trainable < total else ""
    cells = (
        recipe.name, f"{total / 1e6:.1f} M{share}", f"{spec.size} px x {spec.channels}", start, result.precision,
        f"{speed:,.0f}", figure,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fer2013", help="whatever ferlib.data.load takes")
    parser.add_argument("--images", type=int, default=28_672, help="images seen by each recipe")
    parser.add_argument("--size", type=int, default=96, help="side in pixels of the recipes made for more")
    parser.add_argument("--recipes", nargs="*", default=list(recipes.RECIPES))
    args = parser.parse_args()
    dataset = data.load(args.data)
    train_set, test_set = dataset.subset("Training"), dataset.subset("PublicTest")
    if args.images < len(train_set):
        train_set = protocol.take(train_set, args.images)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "albumentations"))
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads"
    print(f"{threads}; Python {platform.python_version()}, {packages}")
    budget = f"{len(train_set):,} Training faces seen once by each"
    print(f"{Path(args.data).name}: {budget}; {len(test_set):,} of PublicTest\n")
    print("| recipe | parameters | input | start | precision | images/s | PublicTest % |")
    print("|---|---:|---|---|---|---:|---|")
    warnings.filterwarnings("ignore", message=".* has a learning rate but is frozen")
    for name in args.recipes:
        recipe = recipes.altered(recipes.get_recipe(name), epochs=1, distill=0.0)  # there is no teacher yet
        if recipe.model.get("size", 48) > args.size:
            recipe = recipes.altered(recipe, size=args.size)
        print(run(recipe, train_set, test_set), flush=True)


if __name__ == "__main__":
    main()
