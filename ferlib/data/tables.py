"""Read faces from one file: the challenge's CSV, or NumPy's .npz."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.data.pixels import square, to_gray
from ferlib.data.sources import Source, has_fer2013_counts, index_labels, split_named, split_of, tables_beside
from ferlib.data.words import COLUMNS, split_in, without_endings
from ferlib.emotions import ORDERS, SPLITS
from ferlib.utils import require


def read_csv(path: Path, source: Source) -> FaceDataset:
    """Read a CSV of labels, pixels (48*48 numbers of 0 to 255) and maybe splits, in any order.

    Labels are names, or numbers of 0 to 6 in FER2013's order, which `classes=` overrides. Where the columns or
    the counts are not FER2013's, a note says so.

    Args:
        path: the CSV, or one packed as .gz or .xz.
        source: tells what the labels mean, and takes notes.

    Raises:
        ValueError: names the first line that is not as it should be.
    """
    require(source.size == 48, f"size is {source.size}, and the images of {path.name} are 48 px; resize in a transform")
    try:
        head = read_head(path)
        images, rows = _read_rows(path, kinds(head))
    except Exception as error:  # a file that is broken, or packed and broken, fails in many ways
        raise ValueError(f"{path.name}, {error}".strip()) from error
    places = [f"line {row + 1}" for row in rows.index]
    labels = rows["label"].reset_index(drop=True)
    table = _add_splits(rows["split"].tolist() if "split" in rows else None, len(rows), path, places, source)
    source.note([str(name) for name in rows if name not in COLUMNS.values()], f"left out {{}} columns of {path.name}")
    own = {*head} <= {"emotion", "pixels", "usage"}  # FER2013's columns
    table["official"] &= own
    numbers = not source.known.asked and labels.isin([*ORDERS["fer2013"]]).any()
    classes = index_labels(table, labels.replace(ORDERS["fer2013"]) if numbers else labels, places, source)
    if numbers and not (own and has_fer2013_counts(table)):
        doubt = "its counts are none of FER2013's, and " if own else ""
        order = "its numbers were read in FER2013's order, 0 angry to 6 neutral; if not, give classes="
        source.notes.append(doubt + order)
    return FaceDataset(images, table, classes=classes)


def read_head(path: Path) -> list[str]:
    """Return the column names of a CSV, in lower case."""
    head = pd.read_csv(path, header=None, dtype=str, keep_default_na=False, nrows=1)
    return [name.strip().lower() for name in head.iloc[0]]


def kinds(head: Sequence[str]) -> list[str]:
    """Return what each column is, as `COLUMNS` has it: label, pixels, split or number.

    Raises:
        ValueError: a column is unknown where none tells the split, labels or pixels lack, or one kind is there twice.
    """
    found = [COLUMNS.get(name, name) for name in head]
    lost = {*found} - {*COLUMNS.values()} if "split" not in found else {}
    if not {"label", "pixels"} <= {*found} or lost or len({*found}) < len(found):
        raise ValueError(f"line 1: the columns are {', '.join(head)!r:.80}; due are emotion,pixels,Usage, with commas")
    return found


def _read_rows(path: Path, columns: list[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the images of a CSV, and its other columns as stripped texts."""
    images, parts = [], []
    with pd.read_csv(path, header=None, dtype=str, keep_default_na=False, chunksize=512) as chunks:
        for chunk in chunks:
            chunk = chunk.set_axis(columns, axis=1).fillna("").loc[1:]
            images += [parse_pixels(text, row + 1) for row, text in chunk.pop("pixels").items()]
            parts.append(chunk.apply(lambda texts: texts.str.strip()))
    require(images, "line 2: it holds no image")
    return np.stack(images), pd.concat(parts)


def parse_pixels(text: str, line: int) -> np.ndarray:
    """Read 48*48 pixels, written as numbers of 0 to 255 with blanks between them.

    Args:
        text: the pixels of one image.
        line: its line in the file, for the error.

    Returns:
        The image (48, 48) uint8.

    Raises:
        ValueError: a pixel is no such number, or their number is another.
    """
    try:
        # Older NumPy stops in silence at what is no number.
        values = np.fromstring(text + " -1", np.int64, sep=" ")[:-1]
    except (ValueError, DeprecationWarning):
        values = np.empty(0, np.int64)
    if len(values) != 2304 or values.min() < 0 or values.max() > 255:
        words = text.split()
        wrong = [word for word in words if not (word.isascii() and word.isdigit() and int(word) < 256)]
        number = f"{len(words)} pixels where 2304 are due"
        reason = f"pixel {wrong[0]!r:.40} is no whole number of 0 to 255" if wrong else number
        raise ValueError(f"line {line}: {reason}")
    return values.astype(np.uint8).reshape(48, 48)


def read_npz(path: Path, source: Source) -> FaceDataset:
    """Read the arrays images (n, h, w) or (n, h, w, 3) uint8, labels (n,) and maybe splits (n,).

    Args:
        path: the .npz.
        source: tells what the labels mean.

    Raises:
        ValueError: names the array that is not as it should be.
    """
    try:
        with open(path, "rb") as file:
            arrays = dict(np.load(file, allow_pickle=False))
    except Exception as error:  # a broken file fails in many ways
        raise ValueError(f"{path.name} cannot be read ({error}); write numbers and texts with numpy.savez") from error
    found = {COLUMNS.get(name.lower(), name): array for name, array in arrays.items()}
    if not {"pixels", "label"} <= {*found} <= {"pixels", "label", "split"} or len(found) < len(arrays):
        raise ValueError(f"{path.name} has the arrays {', '.join(arrays)}; due are images, labels and maybe splits")
    images, labels, splits = found["pixels"], found["label"].astype(str), found.get("split")
    if images.dtype != np.uint8 or 0 in images.shape or images.ndim < 3 or images.shape[3:] not in ((), (3,)):
        raise ValueError(f"{path.name}: images is {images.dtype} {images.shape}; due is uint8 (n, h, w) or RGB")
    if not labels.shape == (labels if splits is None else splits).shape == images.shape[:1]:
        shape = "" if splits is None else f" and splits {splits.shape}"
        raise ValueError(f"{path.name}: labels {labels.shape}{shape} must be ({len(images)},)")
    places = [f"image {number}" for number in range(len(images))]
    names = None if splits is None else splits.astype(str).tolist()
    table = _add_splits(names, len(images), path, places, source)
    table["official"] &= splits is not None
    table["cropped"] = images.shape[1] != images.shape[2]
    classes = index_labels(table, pd.Series(labels), places, source)
    return FaceDataset(np.stack([square(to_gray(image), source.size) for image in images]), table, classes=classes)


def _add_splits(names: list[str] | None, count: int, path: Path, places: list[str], source: Source) -> pd.DataFrame:
    """Return a table with the split of each image, and whether it is called as in FER2013.

    Args:
        names: what the file itself says of each image; None if nothing: then the file's name tells.
        count: how many images there are.
        path: the file.
        places: where each image stands, for the error.
        source: has the names of folders and files around; takes notes.
    """
    if names is None:
        if path == source.path:
            source.note(tables_beside(path), "left out {} tables beside it, to be loaded by their own names")
        split = split_of(source.folders, path.name) or "Training"
        return pd.DataFrame({"split": [split] * count, "official": split == "Training"})
    splits = [split_named(name, f"{path.name}, {place}") for name, place in zip(names, places, strict=True)]
    own = split_in(without_endings(path.name))
    odd = [place for place, split in zip(places, splits, strict=True) if own in SPLITS and split != own]
    source.note(odd, f"{{}} rows of {path.name} name another split than it, which counts")
    return pd.DataFrame({"split": splits, "official": np.isin(names, SPLITS)})
