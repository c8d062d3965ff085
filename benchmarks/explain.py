"""How much of what `ferlib.explain` draws falls on the truth: on drawn faces, whose moving parts are known.

python benchmarks/explain.py          (some fifteen minutes on one CPU core; --fast: one minute, with figures to match)

First, maps of a small FerNet on fresh, unoccluded, rightly predicted faces, against the boxes of the parts whose action
units take part: pointing game and energy, beside the edges of the picture, a map of one value (area), and 20 networks
of random weights (for the best map, where it is slow, on 100 of the faces). Then a shortcut: a bright square in the
corner of 95% of the happy faces. Of two networks trained for a few epochs on the same faces, with the squares and
without, only the first one's maps should lie on the square.
"""

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import nn

from ferlib import data, explain, sample
from ferlib.emotions import EMOTIONS
from ferlib.models import FaceModel, build_model, load_model, save_model
from ferlib.training import fit
from ferlib.training.optim import TrainConfig
from ferlib.transforms import BatchAugment, EvalTransform

HAPPY = EMOTIONS.index("happy")
METHODS: dict[str, Callable[[nn.Module, torch.Tensor, torch.Tensor], np.ndarray]] = {
    "Grad-CAM, 6x6": lambda model, batch, target: explain.grad_cam(model, batch, target),
    "HiResCAM, 6x6": lambda model, batch, target: explain.grad_cam(model, batch, target, average=False),
    "Grad-CAM, 12x12": lambda model, batch, target: explain.grad_cam(model, batch, target, "stages.0"),
    "HiResCAM, 12x12": lambda model, batch, target: explain.grad_cam(model, batch, target, "stages.0", average=False),
    "Grad-CAM, 24x24": lambda model, batch, target: explain.grad_cam(model, batch, target, "stem"),
    "HiResCAM, 24x24": lambda model, batch, target: explain.grad_cam(model, batch, target, "stem", average=False),
    "occlusion, 9 px": lambda model, batch, target: explain.occlusion(model, batch, target, 9, 3),
    "occlusion, 6 px": lambda model, batch, target: explain.occlusion(model, batch, target, 6, 3),
}


def network(seed: int) -> FaceModel:
    torch.manual_seed(seed)
    return build_model("fernet", widths=(32, 48, 96, 144), drop_rate=0.1).eval()


def drawn(n: int, **options: object) -> data.FaceDataset:
    images, table = sample.draw(n, **options)
    return data.FaceDataset(images, table.assign(split="Training", row=np.arange(n)), "drawn")


def trained(faces: data.FaceDataset, epochs: int, batch_size: int, **augment: float) -> FaceModel:
    """A network after some epochs, the same start for all; its accuracy on the sample's PublicTest is printed."""
    model = network(0)
    config = TrainConfig(epochs=epochs, batch_size=batch_size, lr=0.004 if batch_size > 64 else 0.003)
    validation = data.load("sample").subset("PublicTest")
    augmented = BatchAugment(model.input_spec, **augment)
    found = fit(model, faces, validation, config, train_transform=augmented, progress=False)
    accuracy = found.history["val_accuracy"].iloc[-1]
    print(f"trained: {epochs} epochs of {len(faces):,} faces, {accuracy:.1%} on the sample's PublicTest", flush=True)
    return found.model


def fed(model: FaceModel, images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """The faces as the model takes them, and its probabilities (n, 7)."""
    batch = EvalTransform(model.input_spec)(torch.from_numpy(images)[:, None])
    with torch.no_grad():
        return batch, torch.cat([model(part).softmax(1) for part in batch.split(100)])


def maps(name: str, model: nn.Module, batch: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    parts = zip(batch.split(100), targets.split(100), strict=True)
    return np.concatenate([METHODS[name](model, part, target) for part, target in parts])


def told(row: pd.Series, sign: str = "") -> str:
    return f"{100 * row['value']:{sign}.1f} [{100 * row['low']:{sign}.1f}, {100 * row['high']:{sign}.1f}]"


def line(name: str, *cells: str) -> None:
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def table(*headers: str) -> None:
    print(f"\n| {' | '.join(headers)} |\n|---|{'---:|' * (len(headers) - 1)}", flush=True)


def on_the_parts(model: nn.Module, faces: int, randoms: int) -> None:
    """Print the first table, and the margins as differences by face."""
    images, truth = sample.draw(faces, seed=99, occlusion="none")
    labels = torch.from_numpy(truth["label"].to_numpy(copy=True))
    batch, probabilities = fed(model, images)
    right = probabilities.argmax(1) == labels
    print(f"\n{faces} fresh faces, {right.sum()} rightly predicted; percent, 95% intervals over faces")
    images, truth, batch, labels = images[right.numpy()], truth[right.numpy()], batch[right], labels[right]
    masks = explain.region_masks(truth, images.shape[1])
    by_name = {name: explain.score_each(maps(name, model, batch, labels), masks) for name in METHODS}
    rivals = {
        "edges": explain.score_each(explain.edge_map(images), masks),
        "area": explain.score_each(np.ones(masks.shape), masks),
    }
    table("map", "pointing", "energy")
    for name, each in (by_name | rivals).items():
        found = explain.mean_intervals(each)
        line(name, told(found.loc["pointing"]), told(found.loc["energy"]))
    table(f"{randoms} networks of random weights", "pointing: mean", "highest", "energy: mean", "highest")
    by_chance = {}
    best = max(by_name, key=lambda name: by_name[name]["energy"].mean())
    for name in (name for name in METHODS if "CAM" in name or name == best):
        few = slice(None) if "CAM" in name else slice(100)  # occlusion is slow
        chance = [
            explain.score_each(maps(name, network(1 + seed), batch[few], labels[few]), masks[few])
            for seed in range(randoms)
        ]
        means = pd.DataFrame([each.mean() for each in chance])
        cells = [
            f"{100 * fact:.1f}" for key in ("pointing", "energy") for fact in (means[key].mean(), means[key].max())
        ]
        by_chance[name] = sum(chance[1:], chance[0]) / randoms
        line(name, *cells)
    table("margin in points, by face", "pointing", "energy")
    for name, each in by_name.items():
        for rival, other in (rivals | ({"random weights": by_chance[name]} if name in by_chance else {})).items():
            gain = explain.mean_intervals((each - other).dropna())
            line(f"{name} minus {rival}", told(gain.loc["pointing"], "+"), told(gain.loc["energy"], "+"))
    others = rivals | by_chance
    rival = max(others, key=lambda name: others[name]["energy"].mean())
    gain = explain.mean_intervals((by_name[best] - others[rival]).dropna()).loc["energy"]
    print(f"\nMost energy: {best}, by {told(gain, '+')} points over the best that asks no trained model ({rival})")


def on_the_mark(faces: int, epochs: int, shown: int) -> None:
    """Print the second table: the square's share of the maps of two networks, trained with it and without."""
    images, truth = sample.draw(8 * shown, seed=99, occlusion="none", mark=("happy", 1.0))
    images = images[(truth["label"] == HAPPY).to_numpy()][:shown]
    side = images.shape[1] // 8
    square, hidden = np.zeros(images.shape, bool), images.copy()
    square[:, -side:, -side:], hidden[:, -side:, -side:] = True, 128
    print(f"\nThe shortcut: {len(images)} marked happy faces; percent of the energy on the square, 95% intervals")
    found = {}
    for name, mark in (("with the mark", ("happy", 0.95)), ("without", None)):
        model = trained(drawn(faces, seed=11, mark=mark), epochs, 128, flip=0)
        (batch, before), (_, after) = fed(model, images), fed(model, hidden)
        change = f"{before[:, HAPPY].mean():.0%} -> {after[:, HAPPY].mean():.0%}"
        print(f"trained {name}: mean probability of happy, square seen -> hidden: {change}", flush=True)
        target = torch.full((len(batch),), HAPPY)
        found[name] = {
            key: explain.mean_intervals(explain.score_each(maps(key, model, batch, target), square)) for key in METHODS
        }
    table("map", "pointing, with the mark", "without", "energy, with the mark", "without", "at least 50, below 10")
    for key in METHODS:
        one, other = (found[name][key] for name in found)
        met = one.loc["energy", "value"] >= 0.5 and other.loc["energy", "value"] < 0.1
        cells = [told(each.loc[row]) for row in ("pointing", "energy") for each in (one, other)]
        line(key, *cells, "met" if met else "missed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a saved FerNet to explain in the first part, in place of one trained here")
    parser.add_argument("--save", help="a folder to keep the network of the first part in")
    parser.add_argument("--fast", action="store_true", help="few epochs, faces and networks: to see that it runs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.model:
        model = load_model(args.model)
    else:
        model = trained(data.load("sample").subset("Training"), 4 if args.fast else 30, 64)
    if args.save:
        save_model(model, args.save)
    on_the_parts(model, 40 if args.fast else 400, 2 if args.fast else 20)
    on_the_mark(600 if args.fast else 2800, 3 if args.fast else 5, 12 if args.fast else 60)


if __name__ == "__main__":
    main()
