"""Augmented training batches a second: a common torchvision pipeline at 224 px against ferlib's two paths.

python benchmarks/augmentation.py --data fer2013.csv --rounds 3 --seconds 10     (about eight minutes)

(a) is a student recipe's input: torchvision transforms on PIL images held in memory (no file is decoded, which favours
it), resized to 224 px, two workers. Against it, `light` and `strong` (Albumentations, two workers, then EvalTransform)
and BatchAugment (one process, no worker). All deliver shuffled batches of 128 normalised float32 images; each augments
in its own way. At 48 px ferlib also gains by drawing fewer pixels: the 224 px rows, and (a) at 48 px, tell how much.

A measurement includes the start of the workers and lasts about --seconds, by the rate that a warm-up of 2,560 images
shows, but never less than 5,120 images nor more than 51,200. The lines of the table take turns, round by round.
"""

import argparse
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms as T

from ferlib import data, sample
from ferlib.transforms import BatchAugment, EvalTransform, InputSpec, light, strong

BATCH = 128
Run = Callable[[np.ndarray], Iterable[torch.Tensor]]  # images (n, 48, 48) uint8 -> batches


class PilFaces(torch.utils.data.Dataset):
    def __init__(self, images: np.ndarray, size: int):
        self.images = [Image.fromarray(image) for image in images]
        self.transform = T.Compose([
            T.Grayscale(), T.Resize(size), T.RandomHorizontalFlip(), T.RandomRotation(10),
            T.RandomAffine(degrees=0, translate=(0.05, 0.05), scale=(0.95, 1.05)),
            T.RandomAdjustSharpness(1.5, p=0.3), T.RandomAutocontrast(p=0.3),
            T.ToTensor(), T.Normalize([0.485], [0.229]),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), 0


def pil(size: int) -> Run:
    def run(images: np.ndarray) -> Iterable[torch.Tensor]:
        faces = DataLoader(PilFaces(images, size), BATCH, shuffle=True, drop_last=True, num_workers=2)
        return (batch for batch, _ in faces)

    return run


def albumented(make: Callable[[], Callable[[np.ndarray], torch.Tensor]], spec: InputSpec) -> Run:
    def run(images: np.ndarray) -> Iterable[torch.Tensor]:
        faces = data.FaceDataset(images, TABLE.iloc[: len(images)], "faces", transform=make())
        return (EvalTransform(spec)(batch) for batch, _ in data.loader(faces, BATCH, shuffle=True, workers=2))

    return run


def batched(spec: InputSpec, threads: int) -> Run:
    def run(images: np.ndarray) -> Iterable[torch.Tensor]:
        torch.set_num_threads(threads)
        faces, augment = data.FaceDataset(images, TABLE.iloc[: len(images)], "faces"), BatchAugment(spec)
        return (augment(batch) for batch, _ in data.loader(faces, BATCH, shuffle=True))

    return run
