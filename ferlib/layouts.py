"""What FER data looks like on disk: each reader turns one layout into chunks of images, labels and split names.

Nothing is skipped in silence: the first row or file that is not as it should be is named in a `ValueError`.
"""

import gzip
import io
import lzma
import re
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from ferlib.emotions import EMOTIONS, SPLITS, emotion_index

SPLIT_FOLDERS = {
    "train": "Training", "training": "Training", "fer2013train": "Training",
    "valid": "PublicTest", "val": "PublicTest", "validation": "PublicTest", "dev": "PublicTest",
    "publictest": "PublicTest", "fer2013valid": "PublicTest",
    "test": "PrivateTest", "testing": "PrivateTest", "privatetest": "PrivateTest", "fer2013test": "PrivateTest",
}  # fmt: skip
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm"}
ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tar")
CHUNK = 256  # images read, checked and written at a time: about 0.6 MB, which stays in the processor's cache

Chunk = tuple[np.ndarray, pd.DataFrame]


def read(path: Path, size: int, unpacked: Path) -> Iterator[Chunk]:
    """Yield (images (m, size, size) uint8, table of m rows: label, split, ...) from whatever layout the path has.

    Archives are unpacked into the folder `unpacked` first. Raises `ValueError` naming the first row or file at fault.
    """
    if path.is_dir():
        tables = [file for file in sorted(path.glob("*.csv*")) if file.name.startswith(("fer2013", "icml"))]
        return _read_csv(tables[0], size) if tables else _read_folder(path, size)
    if path.name.lower().endswith(ARCHIVES):
        _unpack(path, unpacked)
        inner = list(unpacked.iterdir())
        return read(inner[0] if len(inner) == 1 and inner[0].is_dir() else unpacked, size, unpacked)
    if ".csv" in path.suffixes:
        return _read_csv(path, size)
    raise ValueError(
        f"{path.name} is no layout that ferlib reads; give a .csv (also .gz, .xz), a folder, a .zip or a .tgz"
    )


def _read_csv(path: Path, size: int) -> Iterator[Chunk]:
    """The challenge's CSV: columns emotion (0-6), pixels (48*48 numbers of 0-255 and blanks) and Usage (the split)."""
    if size != 48:
        raise ValueError(
            f"size {size} was asked of {path.name}, whose images are 48 px; resize in the transform instead"
        )
    openers: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
    try:
        with io.BufferedReader(openers.get(path.suffix, io.FileIO)(path, "rb"), 1 << 20) as file:
            columns = [field.strip().strip(b'"').lower() for field in file.readline().split(b",")]
            if not {b"emotion", b"pixels", b"usage"} <= set(columns):
                found = b", ".join(columns).decode(errors="replace")[:80]
                raise ValueError(
                    f"{path.name} must have the columns emotion, pixels, Usage; its first line is {found!r}"
                )
            where = [columns.index(name) for name in (b"emotion", b"pixels", b"usage")]
            rows: list[tuple[bytes, bytes, bytes]] = []
            first = 2  # the line of rows[0], as an editor counts them
            for number, line in enumerate(file, start=2):
                fields = line.strip().replace(b'"', b"").split(b",")
                if len(fields) != len(columns):
                    raise ValueError(f"{path.name}, line {number}: {len(fields)} fields where {len(columns)} are due")
                rows.append((fields[where[0]], fields[where[1]], fields[where[2]]))
                if len(rows) == CHUNK:
                    yield _csv_chunk(rows, path.name, first, size)
                    rows, first = [], number + 1
            if rows:
                yield _csv_chunk(rows, path.name, first, size)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{path.name} is broken or cut short: {error}; fetch it again") from error


def _csv_chunk(rows: list[tuple[bytes, bytes, bytes]], name: str, first: int, size: int) -> Chunk:
    labels, splits, images = [], [], []
    known = {split.encode(): split for split in SPLITS}
    for number, (label, pixels, usage) in enumerate(rows, start=first):
        if label.strip() not in (b"0", b"1", b"2", b"3", b"4", b"5", b"6"):
            raise ValueError(f"{name}, line {number}: emotion is {_shown(label)}; allowed are 0 to 6")
        if usage.strip() not in known:
            raise ValueError(f"{name}, line {number}: Usage is {_shown(usage)}; allowed are {', '.join(SPLITS)}")
        labels.append(int(label))
        splits.append(known[usage.strip()])
        images.append(pixels.strip())
    table = pd.DataFrame({"label": labels, "split": splits})
    values = _parse_pixels(images, size * size)
    if values is not None:
        return values.reshape(-1, size, size), table
    return np.stack([_parse_row(text, name, first + i, size) for i, text in enumerate(images)]), table


def _parse_pixels(images: list[bytes], count: int) -> np.ndarray | None:
    """All numbers of well-formed texts of `count` pixels each, uint8; None if anything is odd, for `_parse_row` to see.

    The bytes in front of each blank are its number's ones, tens and hundreds: no loop over numbers is needed.
    """
    text = np.frombuffer(b" ".join(images) + b" ", np.uint8)
    digit = text - np.uint8(48)  # a blank, which is 32, wraps round to 240
    ends = np.flatnonzero(digit == 240)
    last = np.cumsum([len(image) + 1 for image in images]) - 1  # the blank behind each image
    if len(ends) != count * len(images) or (ends[count - 1 :: count] != last).any():
        return None
    ones, tens, hundreds = (digit[ends - place] for place in (1, 2, 3))
    has_tens = tens <= 9
    has_hundreds = has_tens & (hundreds <= 9)
    digits = len(ends) + has_tens.sum() + has_hundreds.sum()  # all there are, if no number has a fourth
    if (digit > 9).sum() != len(ends) or (ones > 9).any() or digits != len(text) - len(ends):
        return None
    values = ones + np.where(has_tens, tens, 0) * np.uint16(10) + np.where(has_hundreds, hundreds, 0) * np.uint16(100)
    return None if values.max() > 255 else values.astype(np.uint8)


def _parse_row(text: bytes, name: str, line: int, size: int) -> np.ndarray:
    """One row's pixels (size, size) uint8, read with care; raises `ValueError` saying what is wrong with it."""
    words = text.split()
    for word in words:
        if not word.isdigit() or len(word) > 9 or int(word) > 255:
            raise ValueError(f"{name}, line {line}: pixel {_shown(word)} is no whole number of 0 to 255")
    if len(words) != size * size:
        raise ValueError(f"{name}, line {line}: {len(words)} pixels where {size * size} are due")
    return np.array(words, dtype=np.uint8).reshape(size, size)


def _shown(text: bytes) -> str:
    return repr(text[:20].decode(errors="replace"))


def _read_folder(root: Path, size: int) -> Iterator[Chunk]:
    """A tree of class folders; the split is in the file's name (`PublicTest_123.jpg`), else in a folder's (`train`)."""
    places, strangers = [], []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if (
            path.is_dir()
            or parts[-1] in ("Thumbs.db", "desktop.ini")
            or any(part.startswith((".", "__")) for part in parts)
        ):
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES:
            places.append((*_place(path, (root.resolve().name, *parts)), "/".join(parts)))
        else:
            strangers.append("/".join(parts))
    if strangers and places:
        warnings.warn(f"{root.name}: left out what is no image: {', '.join(strangers[:5])}"
                      + (f" and {len(strangers) - 5} more" if len(strangers) > 5 else ""), stacklevel=2)  # fmt: skip
    if not places:
        raise ValueError(f"{root.name} holds no image in class folders such as train/happy/ ({', '.join(EMOTIONS)})")
    known = [place for place in places if place[0]]
    unknown = [place for place in places if not place[0]]
    if known and unknown:
        raise ValueError(f"{root.name}/{unknown[0][3]} lies in no folder of a split, unlike {known[0][3]}; known are "
                         f"{', '.join(SPLIT_FOLDERS)}")  # fmt: skip
    places = known or [("Training", *place[1:]) for place in unknown]
    places.sort(key=lambda place: (SPLITS.index(place[0]), [int(n) for n in re.findall(r"\d+", place[3])], place[3]))
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(places), CHUNK):
            part = places[start : start + CHUNK]
            images = list(pool.map(lambda place: _read_image(root / place[3], size), part))
            yield np.stack(images), pd.DataFrame(part, columns=["split", "label", "official", "path"])


def _place(path: Path, parts: tuple[str, ...]) -> tuple[str, int, bool]:
    """Split ("" if nothing tells it), label and whether the split is official, by an image's name and folders."""
    try:
        label = emotion_index(parts[-2])
    except ValueError as error:
        raise ValueError(f"{path.parent.name}/{path.name} lies in no class folder: {error}") from error
    named = re.match(r"(Training|PublicTest|PrivateTest)_", path.name)
    if named:
        return named[1], label, True
    splits = [SPLIT_FOLDERS[part.lower()] for part in parts[:-2] if part.lower() in SPLIT_FOLDERS]
    return (splits[-1] if splits else ""), label, False


def _read_image(path: Path, size: int) -> np.ndarray:
    """One image file as (size, size) uint8 gray; raises `ValueError` naming the file when it cannot be read."""
    raw = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(raw, cv2.IMREAD_ANYCOLOR) if len(raw) else None  # 8 bits, gray or blue-green-red
    if image is None:
        raise ValueError(f"{path.parent.name}/{path.name} cannot be read as an image; remove it or fetch it again")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if image.shape[0] != image.shape[1]:
        high, wide = image.shape
        raise ValueError(f"{path.parent.name}/{path.name} is {wide}x{high} px; faces must be square: crop it first")
    if image.shape[0] == size:
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC)


def _unpack(path: Path, folder: Path) -> None:
    """Unpack a .zip or .tgz into a folder; raises `ValueError` for one that is broken or reaches outside."""
    try:
        if zipfile.is_zipfile(path) or path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                _refuse_escapes(names, path.name)
                archive.extractall(folder)
        else:
            if not hasattr(tarfile, "data_filter"):
                raise ValueError(
                    f"this Python cannot unpack {path.name} safely: take 3.10.12, 3.11.4 or newer, or unpack it"
                )
            with tarfile.open(path) as tar:
                _refuse_escapes([member.name for member in tar], path.name)
                try:
                    tar.extractall(folder, filter="data")
                except tarfile.FilterError as error:
                    raise ValueError(f"{path.name} was refused: {error}") from error
    except (RuntimeError, NotImplementedError) as error:  # a zip with a password, or packed in another way
        raise ValueError(f"{path.name} cannot be unpacked: {error}") from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise ValueError(f"{path.name} is broken or cut short: {error}; fetch it again") from error


def _refuse_escapes(names: list[str], archive: str) -> None:
    for name in names:
        if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or re.match(r"[A-Za-z]:", name):
            raise ValueError(f"{archive} was refused: its entry {name[:80]!r} would be written outside of its folder")
