"""Load the faces of a source, and keep them decoded in a cache folder, so that a source is decoded once.

A source has two files in the cache: `...-open.npz`, and `...-sealed.npz` with its PrivateTest, which `load` never
opens.
"""

import hashlib
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ferlib import __version__
from ferlib.data.dataset import FaceDataset, count_faces
from ferlib.data.layouts import read_layout
from ferlib.data.sources import Source, find, has_fer2013_counts, outer_folders, tables_beside, walk
from ferlib.emotions import EMOTIONS, FER2013_COUNTS, Classes, class_map
from ferlib.sample import drawn
from ferlib.utils import cache_folder, require, write_whole

FORMAT = 9  # of the cache's files, which are made anew when it changes


def load(source: str | Path = "sample", *, size: int = 48, classes: Classes = None) -> FaceDataset:
    """Load the open splits of a source: all but the sealed PrivateTest.

    Your own faces lie in class folders inside split folders, or in class folders alone (all Training then, which
    `ferlib.protocol.split` parts):

        faces/train/happy/1.png
        faces/train/sad/2.jpg
        faces/val/happy/3.png

    `train` is Training, `val` (or `valid`, `validation`) PublicTest, and `test` PrivateTest, which stays sealed until
    `ferlib.protocol.open_sealed`. The repository's data/README.md has all layouts.

    Args:
        source: `"sample"` (faces that `ferlib.sample` draws), `"fer2013"` (looked for in `FERLIB_DATA`, then `data/`),
            or a path: the challenge's CSV (also .gz, .xz), a tree of class folders, a .npz, or a .zip or .tgz of
            these.
        size: side of the faces in pixels, 48 unless told. Images become gray (0.299 R + 0.587 G + 0.114 B), square (the
            middle of them) and size x size (averaged down, cubic up).
        classes: what the labels stand for. None: FER2013's seven emotions, by name or alias; numbers only in the
            challenge's CSV. A list of names. A mapping from folder names or numbers to names, such as
            `{"1": "surprise", "2": "fear"}`. `"rafdb"`, `"affectnet"`, `"affectnet7"` (without contempt), `"fer2013"`:
            their published numbers. `"folders"`: each folder's own name. A function from an image's relative path to
            its class, or to None to leave it out.

    Returns:
        The faces; `classes` has the names. What was left out or assumed is warned of, and kept in `notes`.

    Raises:
        FileNotFoundError: the source is not there.
        ValueError: names the first row or file that is not as it should be, or a label that `classes` does not explain.

    >>> faces = load("sample")
    >>> len(faces.subset("Training")), faces.classes[3]
    (2800, 'happy')

    Save faces of your own as PNG in class folders, and load them:

    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp(), "mine")
    >>> for gray, name in enumerate(("train/open/1.png", "train/shut/2.png", "val/open/3.png", "val/shut/4.png")):
    ...     (folder / name).parent.mkdir(parents=True, exist_ok=True)
    ...     Image.fromarray(np.full((60, 60), gray, np.uint8)).save(folder / name)
    >>> mine = load(folder, classes="folders")
    >>> mine.classes, len(mine.subset("Training")), mine.images.shape
    (('open', 'shut'), 2, (4, 48, 48))
    """
    dataset = _load(source, size, classes, ("open",))
    for note in dataset.notes:
        warnings.warn(f"{dataset.name}: {note}", stacklevel=2)
    return dataset


def load_with_sealed(source: str | Path, *, size: int = 48, classes: Classes = None) -> FaceDataset:
    """Load all splits, PrivateTest last: for `ferlib.protocol`, which writes each opening down.

    Args:
        source: see `load`.
        size: see `load`.
        classes: see `load`.
    """
    return _load(source, size, classes, ("open", "sealed"))


def all_counts(source: str | Path = "sample", *, classes: Classes = None) -> pd.DataFrame:
    """Count the images of each split, the sealed PrivateTest too, and each class.

    Args:
        source: see `load`.
        classes: see `load`.

    Returns:
        A table with a row per split and a column per class.

    >>> all_counts("sample").sum(axis=1).tolist()
    [2800, 2000, 2000]
    """
    whole = load_with_sealed(source, classes=classes)
    return count_faces(whole.table, whole.classes)


def _load(source: str | Path, size: int, classes: Classes, parts: tuple[str, ...]) -> FaceDataset:
    """Return parts of a source, "open" and "sealed", from the cache; where it lacks them, decode the source first."""
    require(1 <= size <= 1024, f"size is {size}; give the side of an image in pixels, 1 to 1024")
    path = None if source == "sample" else find(source)
    if path is None and (classes is not None or size != 48):
        raise ValueError("the faces of sample are 48 px and of the seven emotions; leave size= and classes= out")
    name = "sample" if path is None else path.resolve().name
    version = drawn.VERSION if path is None else fingerprint(path)
    key = f"{__version__} {FORMAT} {version} {size} {classes!r}"
    digest = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:16]
    entry = cache_folder() / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)[:40]}-{digest}"
    faces = None if callable(classes) else _read_cache(entry, name, parts)  # a function may have changed
    if faces is None:
        whole = FaceDataset(*drawn.dataset(), name) if path is None else _read_source(path, size, classes)
        sealed = (whole.table["split"] == "PrivateTest").to_numpy()
        made = {"sealed": whole.subset(sealed), "open": whole.subset(~sealed)}
        if not callable(classes):
            _write_cache(entry, made)
        faces = [made[part] for part in parts]
    faces = [part for part in faces if len(part)] or faces[:1]
    images = np.concatenate([part.images for part in faces])
    table = pd.concat([part.table for part in faces], ignore_index=True)
    return FaceDataset(images, table, name, faces[0].notes, classes=faces[0].classes)


def fingerprint(path: Path) -> str:
    """Return a text that changes with the place and the names of a source's files, or what the disk says of them."""
    real = path.resolve()
    files = [real / name for name in walk(real)] if path.is_dir() else [real]
    stats = [(str(file), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
             for file, stat in ((file, file.stat()) for file in files)]  # fmt: skip
    return repr((outer_folders(path), stats, [] if path.is_dir() else tables_beside(path)))


def _read_source(path: Path, size: int, classes: Classes) -> FaceDataset:
    """Read a source, and check that it has each class that `classes=` names."""
    source = Source(path, size, class_map(classes), outer_folders(path))
    faces = read_layout(source)
    counts = count_faces(faces.table, faces.classes).sum()
    missing = ", ".join(counts.index[counts == 0])
    if missing and source.known.asked and not source.known.lenient and source.known.by_file is None:
        present = ", ".join(counts.index[counts > 0])
        raise ValueError(f"no image has the class {missing}, which classes= names; it has {present}: leave it out")
    notes = tuple(dict.fromkeys([*source.notes, *_describe(faces)]))
    return FaceDataset(faces.images, faces.table, notes=notes, classes=faces.classes)


def _describe(faces: FaceDataset) -> list[str]:
    """Return notes on crops, on splits that are not the official ones, and on what a copy of FER2013 lacks."""
    notes, table, counts = [], faces.table, count_faces(faces.table, faces.classes)
    official = table["official"].all()
    if "cropped" in table and table["cropped"].any():
        notes.append(f"{table['cropped'].sum():,} images were not square: the largest centred square was taken of each")
    if not official and (table["split"] != "Training").any() and faces.classes == EMOTIONS:
        notes.append("its splits are not FER2013's official ones: scores on them compare with no published figure")
    if not official and counts.loc["PrivateTest"].any() and not counts.loc["PublicTest"].any():
        notes.append("it has no validation split, and its test stays sealed: ferlib.protocol.split parts Training")
    for split, due in FER2013_COUNTS.items():
        found = counts.loc[split]
        wrong = [f"{name} {n} of {want}" for (name, n), want in zip(found.items(), due, strict=False) if n != want]
        if wrong and official and faces.classes == EMOTIONS:
            notes.append(f"{split}: {found.sum():,} of FER2013's {sum(due):,} images ({', '.join(wrong)})")
        elif found.any() and not found.all():
            notes.append(f"{split}: no image of {', '.join(found.index[found == 0])}")
    return notes + _describe_twins(faces)


def _describe_twins(faces: FaceDataset) -> list[str]:
    """Return a note that counts equal faces, if there are any.

    None for FER2013, of whose faces 4% are again in their class. What the splits of a table share is for the audit.
    """
    rows = faces.table[["split", "label"]].assign(face=[hashlib.md5(image).digest() for image in faces.images])
    known = faces.table["official"].all() or has_fer2013_counts(faces.table)
    if known and rows.duplicated().mean() < 0.1:
        return []
    groups, files = rows.groupby("face"), "path" in faces.table
    counts = {
        "again in their class": rows.duplicated().sum(),
        "in two classes": (groups["label"].transform("nunique") > 1).sum(),
        "in two splits": files and (groups["split"].transform("nunique") > 1).sum(),
    }
    found = ", ".join(f"{count:,} {where}" for where, count in counts.items() if count)
    return [f"some faces are equal: {found}; ferlib audit counts them"] if found else []


def _read_cache(entry: Path, name: str, parts: tuple[str, ...]) -> list[FaceDataset] | None:
    """Return parts of a source from the cache; None if one is missing or damaged."""
    faces = []
    try:
        for part in parts:
            with open(f"{entry}-{part}.npz", "rb") as file:
                columns = dict(np.load(file, allow_pickle=False))
            images, notes, classes = (columns.pop(key) for key in ("images", "notes", "classes"))
            table = pd.DataFrame(columns)
            faces.append(FaceDataset(images, table, name, tuple(notes.tolist()), classes=tuple(classes.tolist())))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # a damaged file fails in many ways
        warnings.warn(f"the cache {entry} is damaged ({error}); {name} is read again", stacklevel=2)
        return None
    return faces


def _write_cache(entry: Path, parts: dict[str, FaceDataset]) -> None:
    """Keep the parts of a source; warn if the cache cannot be written."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        for part, faces in parts.items():
            write_whole(f"{entry}-{part}.npz", partial(_write_part, faces))
    except OSError as error:
        warnings.warn(f"the cache cannot be written ({error}); set FERLIB_CACHE to a folder with room", stacklevel=2)


def _write_part(faces: FaceDataset, path: Path) -> None:
    table: dict[str, Any] = {str(name): column.to_numpy() for name, column in faces.table.items()}
    table = {name: values.astype(str) if values.dtype == object else values for name, values in table.items()}
    with open(path, "wb") as file:
        np.savez(file, images=faces.images, notes=np.array(faces.notes, str), classes=np.array(faces.classes), **table)
