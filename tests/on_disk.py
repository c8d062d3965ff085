"""Writes drawn faces to disk in the layouts that FER data comes in, for the tests to read back."""

import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from ferlib.emotions import EMOTIONS

FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")


def write_csv(
    path: Path, images: np.ndarray, labels: Sequence[int], splits: Sequence[str], head: str = "emotion,pixels,Usage"
) -> Path:
    """`head` is the first line: any of emotion, pixels, usage and split, in any order; others are left empty."""
    rows = [head]
    for image, label, split in zip(images, labels, splits, strict=True):
        fields = {"emotion": str(label), "pixels": " ".join(map(str, image.ravel())), "usage": split, "split": split}
        rows.append(",".join(fields.get(name.strip().lower(), "") for name in head.split(",")))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path


def write_folders(
    root: Path, images: np.ndarray, labels: Sequence[int], names: Sequence[str], classes: Sequence[str] = EMOTIONS
) -> Path:
    """`names` are paths with `{}` for the class, such as `train/{}/Training_1.png`; all but a .jpg are exact."""
    for image, label, name in zip(images, labels, names, strict=True):
        path = root / name.format(classes[label])
        path.parent.mkdir(parents=True, exist_ok=True)
        lossless = {".webp": [cv2.IMWRITE_WEBP_QUALITY, 101]}.get(path.suffix, [])
        path.write_bytes(cv2.imencode(path.suffix, image, lossless)[1].tobytes())
    return root


def agreed(label: int) -> list[int]:
    """Ten votes, all for one emotion, in the order of FER+'s columns."""
    votes = [0] * 10
    votes[{0: 4, 1: 5, 2: 6, 3: 1, 4: 3, 5: 2, 6: 0}[label]] = 10
    return votes


def write_votes(path: Path, votes: Sequence[Sequence[int]], splits: Sequence[str], names: Sequence[str] = ()) -> Path:
    """FER+'s fer2013new.csv, a row for each row of the challenge's CSV."""
    names = names or [f"fer{i:07}.png" for i in range(len(votes))]
    rows = [f"{split},{name},{','.join(map(str, row))}" for split, name, row in zip(splits, names, votes, strict=True)]
    path.write_text("\n".join([f"Usage,Image name,{','.join(FERPLUS)}", *rows]) + "\n")
    return path


def write_npz(path: Path, arrays: Mapping[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: np.asarray(values) for name, values in arrays.items()})
    return path


def zip_folder(root: Path, archive: Path, top: Path | None = None) -> Path:
    """A folder packed as .zip or .tgz; a zip's names are relative to `top`, the folder's parent unless given."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(path for path in root.rglob("*") if path.is_file()):
                file.write(path, path.relative_to(top or root.parent))
    else:
        with tarfile.open(archive, "w:gz") as file:
            file.add(root, root.name)
    return archive
