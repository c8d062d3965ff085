"""What ImageNet's weights are worth on drawn faces, and what an epoch of Lite0 costs beside one of FerNet.

    python benchmarks/imagenet.py gain --seeds 0 1 2        # about ten minutes on two cores
    python benchmarks/imagenet.py cost                      # a minute

`gain` fine-tunes EfficientNet-Lite0 on all 2,800 drawn training faces at 64 px, four epochs, from ImageNet's and
from random weights, with everything else equal, and predicts the 2,000 faces of the drawn PublicTest. The difference
carries a 95% interval over seeds and faces, of which three seeds give a rough one.

`cost` times training steps of networks in turn, for so many seconds each, in the precision that `fit` chooses: faces a
second, as a share of the first one's, and how many epochs each has in the time of six epochs of the first.
"""

import argparse
import time

import numpy as np
import torch
from torch import nn

from ferlib import data, evaluation, models, training
from ferlib.models.networks import memory_format
from ferlib.training import TrainConfig
from ferlib.training.optim import choose_precision
from ferlib.transforms import BatchAugment

NETWORKS = {  # name: arguments of build_model, batch
    "Lite0, 96 px": ({"name": "tf_efficientnet_lite0", "size": 96, "small_stem": False}, 64),
    "half ResNet-18, 96 px": (
        {"name": "resnet18", "channels": (32, 64, 128, 256), "size": 96, "small_stem": False},
        128,
    ),
    "half ResNet-18, 64 px": (
        {"name": "resnet18", "channels": (32, 64, 128, 256), "size": 64, "small_stem": False},
        128,
    ),
    "FerNet of `long`, 48 px": ({"name": "fernet", "size": 48}, 128),
    "FerNet of `long`, 36 px": ({"name": "fernet", "size": 36}, 128),
}


def gain(args: argparse.Namespace) -> None:
    faces = data.load("sample")
    train_set, test_set = faces.subset("Training"), faces.subset("PublicTest")
    hits: dict[str | None, list[np.ndarray]] = {"imagenet": [], None: []}
    for seed in args.seeds:
        for weights, rows in hits.items():
            torch.manual_seed(seed)
            model = models.build_model(
                "tf_efficientnet_lite0", weights=weights, size=64, mean=(0.5,), std=(0.5,), small_stem=False
            )
            augment = BatchAugment(model.input_spec)
            config = TrainConfig(epochs=args.epochs, batch_size=64, lr=1e-3, seed=seed, precision="fp32")
            trained = training.fit(model, train_set, test_set, config, train_transform=augment, progress=False)
            rows.append(100.0 * evaluation.predict(trained.model, test_set).correct)
            print(f"seed {seed}, weights {weights}: {rows[-1].mean():.1f}", flush=True)
    difference = np.array(hits["imagenet"]) - np.array(hits[None])
    low, high = evaluation.seed_interval(difference)
    for weights, rows in hits.items():
        accuracies = np.mean(rows, axis=1)
        print(f"weights {weights}: {accuracies.mean():.1f} +- {accuracies.std(ddof=min(1, len(rows) - 1)):.1f}")
    print(f"difference {difference.mean():.1f} [{low:.1f}, {high:.1f}]")


def cost(args: argparse.Namespace) -> None:
    first = None
    print("| network | precision | faces a second, as a share of the first | epochs in the time of six of the first |")
    print("|---|---|---|---|")
    for name, (options, batch) in NETWORKS.items():
        network = models.build_model(**options).network
        precision = choose_precision(network, torch.device("cpu"))
        network = network.to(memory_format=memory_format(network)).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        images = torch.randn(batch, 1, options["size"], options["size"]).to(memory_format=torch.channels_last)
        labels = torch.arange(batch) % 7
        begun, steps = 0.0, -3  # three to warm up
        while steps < 1 or time.perf_counter() - begun < args.seconds:
            begun = time.perf_counter() if steps == 0 else begun
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = nn.functional.cross_entropy(network(images).float(), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
        rate = steps * batch / (time.perf_counter() - begun)
        first = first or rate
        print(f"| {name} | {precision} | {rate / first:.2f} | {6 * rate / first:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("gain", "cost"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=8)
    args = parser.parse_args()
    {"gain": gain, "cost": cost}[args.verb](args)


if __name__ == "__main__":
    main()
