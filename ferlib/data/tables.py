"""Read faces from one file: the challenge's CSV, or NumPy's .npz."""

from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.data.pixels import square, to_gray
from ferlib.data.sources import Source, index_labels, split_named, split_of
from ferlib.emotions import ORDERS, SPLITS

CHUNK = 512  # rows of a CSV that are read at a time


def read_csv(path: Path, source: Source) -> FaceDataset:
    """Read the challenge's CSV: emotion, pixels (48*48 numbers of 0 to 255) and Usage, in any order.

    Its columns show that it has FER2013's layout, so that its labels 0 to 6 need no `classes=`.

    Args:
        path: the CSV, or one packed as .gz or .xz.
        source: tells what the labels mean, and takes notes.

    Raises:
        ValueError: names the first line that is not as it should be.
    """
    if source.size != 48:
        raise ValueError(f"size is {source.size}, and the images of {path.name} are 48 px; resize in the transform")
    try:
        images, rows = _read_rows(path)
    except Exception as error:  # a file that is broken, or packed and broken, fails in many ways
        raise ValueError(f"{path.name}, {error}".strip()) from error
    lines = [f"line {row + 1}" for row in rows.index]
    labels = rows["emotion"].reset_index(drop=True)
    if "usage" in rows:
        splits = [split_named(usage, f"{path.name}, {line}") for usage, line in zip(rows["usage"], lines, strict=True)]
    else:
        splits = [split_of(source.folders, path.name) or "Training"] * len(rows)
        if path.name.lower() != "test.csv" and path.with_name("test.csv").is_file():
            source.notes.append("test.csv beside it was left out; if it has labels, load it by its own name")
    if not source.known.asked:
        labels = labels.replace(ORDERS["fer2013"])
    table = pd.DataFrame({"split": splits, "official": True})
    return FaceDataset(images, table, classes=index_labels(table, labels, lines, source))


def _read_rows(path: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the images of a CSV, and its other columns as stripped texts."""
    columns: list[str] = []
    images, parts = [], []
    with pd.read_csv(path, header=None, dtype=str, keep_default_na=False, chunksize=CHUNK) as chunks:
        for chunk in chunks:
            if not columns:
                columns = _check_columns(chunk.iloc[0])
                chunk = chunk[1:]
            if len(chunk):
                chunk = chunk.set_axis(columns, axis=1).fillna("")
                images.append(parse_pixels(chunk.pop("pixels").tolist(), chunk.index[0] + 1))
                parts.append(chunk.apply(lambda texts: texts.str.strip()))
    if not images:
        raise ValueError("line 2: it holds no image")
    return np.concatenate(images), pd.concat(parts)


def _check_columns(head: Iterable[str]) -> list[str]:
    """Return a CSV's column names, with `split` as `usage`; raise `ValueError` for other columns than FER2013's."""
    names = [name.strip().lower() for name in head]
    if "usage" not in names:
        names = ["usage" if name == "split" else name for name in names]
    needed = {"emotion", "pixels", "usage"} if len(names) > 2 else {"emotion", "pixels"}
    if not needed <= set(names) or len(set(names)) < len(names):
        raise ValueError(f"line 1: the columns are {', '.join(names)!r:.80}; due are emotion,pixels,Usage, with commas")
    return names


def parse_pixels(rows: list[str], first_line: int) -> np.ndarray:
    """Read rows of 48*48 pixels, written as numbers of 0 to 255 with blanks between them.

    Args:
        rows: a text for each image.
        first_line: line of the first row in its file, for the error.

    Returns:
        Images (n, 48, 48) uint8.

    Raises:
        ValueError: names the line of the first row that is not as it should be.
    """
    text = " -1 ".join(rows) + " -1"  # -1 ends each row, so that a row cannot take pixels from the next
    try:
        values = np.fromstring(text, np.int64, sep=" ")
    except (ValueError, DeprecationWarning):  # of what is no number; older NumPy stops there in silence
        values = np.empty(0, np.int64)
    table = np.resize(values, (len(rows), 2305))
    if len(values) != table.size or table[:, :-1].min() < 0 or table.max() > 255:
        _refuse_pixels(rows, first_line)
    return table[:, :-1].astype(np.uint8).reshape(-1, 48, 48)


def _refuse_pixels(rows: list[str], first_line: int) -> NoReturn:
    """Raise `ValueError` for the first row of pixels that is not as it should be."""
    for line, row in enumerate(rows, start=first_line):
        words = row.split()
        for word in words:
            if not word.isdigit() or int(word) > 255:
                raise ValueError(f"line {line}: pixel {word!r:.40} is no whole number of 0 to 255")
        if len(words) != 2304:
            raise ValueError(f"line {line}: {len(words)} pixels where 2304 are due")
    raise ValueError(f"line {first_line} and below: pixels must be plain digits with blanks between them")


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
    if not {"images", "labels"} <= set(arrays) <= {"images", "labels", "splits", "split"}:
        raise ValueError(f"{path.name} has the arrays {', '.join(arrays)}; due are images, labels and maybe splits")
    images, labels = arrays["images"], arrays["labels"].astype(str)
    if images.dtype != np.uint8 or 0 in images.shape or images.ndim < 3 or images.shape[3:] not in ((), (3,)):
        raise ValueError(f"{path.name}: images is {images.dtype} {images.shape}; due is uint8 (n, h, w) or RGB")
    default = np.full(len(images), split_of(source.folders, path.name) or "Training")
    splits = arrays.get("splits", arrays.get("split", default)).astype(str)
    if not labels.shape == splits.shape == images.shape[:1]:
        raise ValueError(f"{path.name}: labels {labels.shape} and splits {splits.shape} must be ({len(images)},)")
    places = [f"image {number}" for number in range(len(images))]
    official = np.isin(splits, SPLITS) & bool({"split", "splits"} & set(arrays))
    table = pd.DataFrame({"official": official, "cropped": images.shape[1] != images.shape[2]})
    table["split"] = [split_named(split, f"{path.name}, {i}") for split, i in zip(splits.tolist(), places, strict=True)]
    classes = index_labels(table, pd.Series(labels), places, source)
    return FaceDataset(np.stack([square(to_gray(image), source.size) for image in images]), table, classes=classes)
