"""Augmented training batches a second: a common torchvision pipeline at 224 px against ferlib's two paths.

python benchmarks/augmentation.py --data fer2013.csv --rounds 3 --seconds 10     (about eight minutes)

(a) is a student recipe's input: torchvision transforms on PIL images held in memory (no file is decoded, which favours
it), resized to 224 px, two workers. Against it, `light` and `strong` (Albumentations, two workers, then EvalTransform)
and BatchAugment (one process, no worker). All deliver shuffled batches of 128 normalised float32 images; each augments
in its own way. At 48 px ferlib also gains by drawing fewer pixels: the 224 px rows, and (a) at 48 px, tell how much.

A measurement includes the start of the workers. It lasts about --seconds, by the rate that a warm-up of 2,560 images
shows, but takes 5,120 images at least and 51,200 at most. The lines of the table take turns, round by round.
"""

import argparse
import os
import platform
import statistics
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

from ferlib import data, sample
from ferlib.transforms import BatchAugment, EvalTransform, InputSpec, light, strong

BATCH, SMALL, LARGE = 128, InputSpec(48), InputSpec(224, mean=(0.485,), std=(0.229,))


@dataclass
class PilFaces(Dataset):
    images: list[Image.Image]
    transform: T.Compose

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), 0


def pil(images: np.ndarray, size: int) -> tuple[DataLoader, Any]:
    recipe = T.Compose([
        T.Grayscale(), T.Resize(size), T.RandomHorizontalFlip(), T.RandomRotation(10),
        T.RandomAffine(degrees=0, translate=(0.05, 0.05), scale=(0.95, 1.05)), T.RandomAdjustSharpness(1.5, p=0.3),
        T.RandomAutocontrast(p=0.3), T.ToTensor(), T.Normalize([0.485], [0.229]),
    ])  # fmt: skip
    faces = PilFaces([Image.fromarray(image) for image in images], recipe)
    return DataLoader(faces, BATCH, shuffle=True, drop_last=True, num_workers=2), lambda batch: batch


def ferlib_path(images: np.ndarray, after: Any, per_image: Any = None) -> tuple[DataLoader, Any]:
    table = pd.DataFrame({"label": np.zeros(len(images), np.int64), "split": "Training"})
    faces = data.FaceDataset(images, table, "faces", transform=per_image)
    return data.loader(faces, BATCH, shuffle=True, workers=2 if per_image else 0), after


LINES: list[tuple[str, int, int, int, Any]] = [  # name, side, threads (0: torch's own), target, (loader, what follows)
    ("(a) torchvision on PIL, 2 workers", 224, 0, 0, lambda x: pil(x, 224)),
    ("(a) at 48 px, 2 workers", 48, 0, 0, lambda x: pil(x, 48)),
    ("light, 2 workers", 48, 0, 3, lambda x: ferlib_path(x, EvalTransform(SMALL), light())),
    ("light, 2 workers", 224, 0, 0, lambda x: ferlib_path(x, EvalTransform(LARGE), light())),
    ("strong, 2 workers", 48, 0, 3, lambda x: ferlib_path(x, EvalTransform(SMALL), strong())),
    ("strong, 2 workers", 224, 0, 0, lambda x: ferlib_path(x, EvalTransform(LARGE), strong())),
    ("BatchAugment, no worker", 48, 0, 20, lambda x: ferlib_path(x, BatchAugment(SMALL))),
    ("BatchAugment, no worker, 1 thread", 48, 1, 20, lambda x: ferlib_path(x, BatchAugment(SMALL))),
    ("BatchAugment, no worker", 224, 0, 0, lambda x: ferlib_path(x, BatchAugment(LARGE))),
]


def rate(make: Any, images: np.ndarray, size: int) -> float:
    """Images a second, from the start of the workers to the last batch."""
    loader, after = make(images)
    start = time.perf_counter()
    for batch, _ in loader:
        ready = after(batch)
    seconds = time.perf_counter() - start
    assert ready.shape == (BATCH, 1, size, size) and ready.dtype == torch.float32
    return len(images) / seconds


def spread(values: list[float], digits: int = 0) -> str:
    return f"{statistics.median(values):,.{digits}f} | {min(values):,.{digits}f}–{max(values):,.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fer2013", help="whatever ferlib.data.load takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    try:
        faces = data.load(args.data).subset("Training")
        images, origin = faces.images, f"{len(faces):,} Training images of {faces.name}"
    except FileNotFoundError:
        if args.data != "fer2013":
            raise
        images, origin = sample.draw(2800)[0], "FER2013 was not found: 2,800 drawn faces, again and again"
    own_threads = torch.get_num_threads()
    counts, rates = [20 * BATCH] * len(LINES), [[0.0] * 0 for _ in LINES]
    for turn in range(args.rounds + 1):  # the first turn warms up, and tells how many images to take
        for i, (_, size, threads, _, make) in enumerate(LINES):
            torch.set_num_threads(threads or own_threads)
            torch.manual_seed(turn)
            rates[i].append(rate(make, images[np.arange(counts[i]) % len(images)], size))
            if turn == 0:
                counts[i] = BATCH * int(min(400, max(40, rates[i].pop() * args.seconds / BATCH)))
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = next((line.split(": ")[1] for line in cpuinfo.splitlines() if "model name" in line), platform.machine())
    packages = ("torch", "torchvision", "numpy", "albumentations", "opencv-contrib-python", "pillow")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"{cpu}, {os.cpu_count()} cores, {own_threads} torch threads; Python {platform.python_version()}, {versions}")
    print(f"{origin}; {args.rounds} rounds; ratios are to (a) at 224 px, round by round\n")
    print("| Pipeline | px | images | images/s, median | min–max | ratio | min–max | target |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    for (name, size, _, target, _), count, speeds in zip(LINES, counts, rates, strict=True):
        ratios = [ours / theirs for ours, theirs in zip(speeds, rates[0], strict=True)]
        met = "met" if statistics.median(ratios) >= target else "MISSED"
        print(f"| {name} | {size} | {count:,} | {spread(speeds)} | {spread(ratios, 1)} |", end=" ")
        print(f"at least {target}x: {met} |" if target else "|")


if __name__ == "__main__":
    main()
