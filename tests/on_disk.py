"""Writes drawn faces to disk in the layouts that FER data comes in, for the tests to read back."""

import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ferlib.emotions import EMOTIONS


def write_csv(path: Path, images: np.ndarray, labels: Sequence[int], splits: Sequence[str]) -> Path:
    rows = [
        f"{label},{' '.join(map(str, image.ravel()))},{split}"
        for image, label, split in zip(images, labels, splits, strict=True)
    ]
    path.write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    return path


def write_folders(root: Path, images: np.ndarray, labels: Sequence[int], names: Sequence[str]) -> Path:
    """`names` are paths with `{}` for the class, such as `train/{}/Training_1.png`."""
    for image, label, name in zip(images, labels, names, strict=True):
        path = root / name.format(EMOTIONS[label])
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    return root


def zip_folder(root: Path, archive: Path) -> Path:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(root.rglob("*.png")):
                file.write(path, path.relative_to(root.parent))
    else:
        with tarfile.open(archive, "w:gz") as file:
            file.add(root, root.name)
    return archive
