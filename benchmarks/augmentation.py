"""Augmentation through Albumentations and through BatchAugment: what each brings, and how fast each is.

    python benchmarks/augmentation.py accuracy                                     # about fifteen minutes
    python benchmarks/augmentation.py speed --data fer2013.csv --rounds 3 --seconds 10     # about six

`accuracy` trains a FerNet on 700 drawn faces, 28 epochs, three seeds, five ways: without augmentation, with
`BatchAugment`, with the same changes through Albumentations (`like_batch_augment`), with `light` and with `strong`. It
predicts the 2,000 PublicTest faces. Gains carry a 95% interval over seeds and faces, of which three seeds give a rough
one.

`speed` counts augmented training batches a second: a common torchvision pipeline at 224 px against ferlib's two paths.
(a) is a student recipe's input: torchvision transforms on PIL images held in memory (no file is decoded, which favours
it), resized to 224 px, two workers. Against it, `light` and `strong` (Albumentations, two workers, then EvalTransform)
and BatchAugment (one process, no worker). All deliver shuffled batches of 128 normalised float32 images; each augments
in its own way. At 48 px ferlib also gains by drawing fewer pixels: the 224 px rows, and (a) at 48 px, tell how much.

A measurement includes the start of the workers and takes as many images as a warm-up's rate gives in --seconds, from
5,120 to 51,200. The lines take turns, round by round; "1 thread" is torch's in the main process.
"""

import argparse
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, default_collate
from torchvision import transforms as T

from ferlib import data, evaluation, models, protocol, sample, training, transforms
from ferlib.training import TrainConfig
from ferlib.transforms import BatchAugment, EvalTransform, InputSpec

BATCH = 128
LINES = [  # name, kind of pipeline, side in pixels, torch threads of this process (0: torch's choice), target
    ("(a) torchvision on PIL, 2 workers", "torchvision", 224, 0, 0),
    ("(a) at 48 px, 2 workers", "torchvision", 48, 0, 0),
    ("light, 2 workers", "light", 48, 0, 3),
    ("light, 2 workers, 1 thread", "light", 48, 1, 3),
    ("light, 2 workers", "light", 224, 0, 0),
    ("strong, 2 workers", "strong", 48, 0, 3),
    ("strong, 2 workers, 1 thread", "strong", 48, 1, 3),
    ("strong, 2 workers", "strong", 224, 0, 0),
    ("BatchAugment, no worker", None, 48, 0, 20),
    ("BatchAugment, no worker, 1 thread", None, 48, 1, 20),
    ("BatchAugment, no worker", None, 224, 0, 0),
]


def pil_loader(images: np.ndarray, size: int, workers: int) -> DataLoader:
    recipe = T.Compose([
        T.Grayscale(), T.Resize(size), T.RandomHorizontalFlip(), T.RandomRotation(10),
        T.RandomAffine(degrees=0, translate=(0.05, 0.05), scale=(0.95, 1.05)),
        T.RandomAdjustSharpness(1.5, p=0.3), T.RandomAutocontrast(p=0.3), T.ToTensor(), T.Normalize([0.485], [0.229]),
    ])  # fmt: skip
    held: Any = [Image.fromarray(image) for image in images]
    return DataLoader(held, BATCH, shuffle=True, drop_last=True, num_workers=workers,
                      collate_fn=lambda faces: default_collate([(recipe(face), 0) for face in faces]))  # fmt: skip


def rate(kind: Any, images: np.ndarray, size: int, workers: int | None = None) -> float:
    """Images a second, from the start of the workers to the last batch; the images are in memory before.

    By default two workers where images are augmented one by one, none for whole batches.
    """
    workers = (2 if kind else 0) if workers is None else workers
    if kind == "torchvision":
        loader, after = pil_loader(images, size, workers), lambda batch: batch
    else:
        table = pd.DataFrame({"label": np.zeros(len(images), np.int64), "split": "Training"})
        faces = data.FaceDataset(images, table, "faces", transform=kind and getattr(transforms, kind)(size))
        loader = data.loader(faces, BATCH, shuffle=True, workers=workers)
        after = (EvalTransform if kind else BatchAugment)(InputSpec(size, mean=(0.485,), std=(0.229,)))
    start = time.perf_counter()
    for batch, _ in loader:
        ready = after(batch)
    speed = len(images) / (time.perf_counter() - start)
    assert ready.shape == (BATCH, 1, size, size) and ready.dtype == torch.float32
    return speed


def accuracy(args: argparse.Namespace) -> None:
    faces = data.load("sample")
    few, test = protocol.take(faces.subset("Training"), args.faces), faces.subset("PublicTest")
    same = BatchAugment(InputSpec())
    ways: dict[str, tuple[Any, Any]] = {  # name: the whole batch's augmentation, the data set's own transform
        "none": (None, None),
        "BatchAugment": (same, None),
        "the same through Albumentations": (None, transforms.like_batch_augment(same)),
        "light": (None, transforms.light()),
        "strong": (None, transforms.strong()),
    }
    hits: dict[str, np.ndarray] = {}
    for name, (augment, pipeline) in ways.items():
        rows = []
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            network = models.build_model("fernet", widths=(32, 48, 96, 144), drop_rate=0.1)
            config = TrainConfig(epochs=args.epochs, batch_size=32, seed=seed)
            train_set = few.with_transform(pipeline)
            trained = training.fit(network, train_set, test, config, train_transform=augment, progress=False)
            rows.append(evaluation.predict(trained.model, test).correct)
        hits[name] = 100.0 * np.array(rows)
    print(f"{len(few)} drawn faces, {args.epochs} epochs, {args.seeds} seeds; {len(test):,} PublicTest faces\n")
    print("| augmentation | accuracy | gain over none | gain over BatchAugment |\n|---|---|---|---|")
    for name, right in hits.items():
        gains = [right - hits[base] for base in ("none", "BatchAugment")]
        cells = [f"{gain.mean():+.1f} [{low:+.1f}, {high:+.1f}]" for gain in gains
                 for low, high in [evaluation.seed_interval(gain)]]  # fmt: skip
        print(f"| {name} | {right.mean():.1f} +- {right.mean(1).std(ddof=1):.1f} | {' | '.join(cells)} |")


def speed(args: argparse.Namespace) -> None:
    try:
        images, origin = data.load(args.data).subset("Training").images, f"Training of {Path(args.data).name}"
    except FileNotFoundError:
        images, origin = sample.draw(2800)[0], f"{Path(args.data).name} was not found: 2,800 drawn faces"
    own_threads, counts = torch.get_num_threads(), [20 * BATCH] * len(LINES)
    rates: list[list[float]] = [[] for _ in LINES]
    for turn in range(args.rounds + 1):  # the first turn warms up, and tells how many images to take
        for i, (_, kind, size, threads, _) in enumerate(LINES):
            torch.set_num_threads(threads or own_threads)
            torch.manual_seed(turn)
            rates[i].append(rate(kind, images[np.arange(counts[i]) % len(images)], size))
            if turn == 0:
                counts[i] = BATCH * int(min(400, max(40, rates[i].pop() * args.seconds / BATCH)))
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = next((line.split(": ")[1] for line in cpuinfo.splitlines() if "model name" in line), platform.machine())
    packages = ("torch", "torchvision", "numpy", "albumentations", "opencv-contrib-python", "pillow")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"{cpu}, {os.cpu_count()} cores, {own_threads} torch threads; Python {platform.python_version()}, {versions}")
    print(f"{origin}; {args.rounds} rounds; medians; ratios are to the first line, by round\n")
    print("| Pipeline | px | images | images/s | min–max | ratio | min–max | target |\n|---|" + 6 * "---:|" + "---|")
    for (name, _, size, _, target), count, mine in zip(LINES, counts, rates, strict=True):
        times = np.divide(mine, rates[0])
        spread = f"{np.median(mine):,.0f} | {min(mine):,.0f}–{max(mine):,.0f} | {np.median(times):.1f} | "
        met = f"at least {target}x: {'met' if np.median(times) >= target else 'MISSED'}" if target else ""
        print(f"| {name} | {size} | {count:,} | {spread}{min(times):.1f}–{max(times):.1f} | {met} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("accuracy")
    part.add_argument("--faces", type=int, default=700)
    part.add_argument("--epochs", type=int, default=28)
    part.add_argument("--seeds", type=int, default=3)
    part.set_defaults(run=accuracy)
    part = parts.add_parser("speed")
    part.add_argument("--data", default="fer2013", help="whatever ferlib.data.load takes")
    part.add_argument("--rounds", type=int, default=3)
    part.add_argument("--seconds", type=float, default=10)
    part.set_defaults(run=speed)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
