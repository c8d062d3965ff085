"""Load the open splits of a source."""

import warnings
from pathlib import Path

import pandas as pd

from ferlib.data.cache import _from_cache, _read_kept, _read_table
from ferlib.data.dataset import FaceDataset, count_faces
from ferlib.emotions import Classes


def load(source: str | Path = "sample", *, size: int = 48, classes: Classes = None) -> FaceDataset:
    """Load every open split of a source; `PrivateTest` is read only by `ferlib.protocol.open_sealed`.

    source: `"sample"` (faces drawn by `ferlib.sample`), `"fer2013"` (looked up in `FERLIB_DATA`, then `data/`), or a
        path: the challenge's CSV, also .gz or .xz, a tree of class folders, FER+'s folders, a .zip or .tgz of these, or
        a .npz.
    size: side of the faces in pixels. Images become grayscale (0.299 R + 0.587 G + 0.114 B), square (the middle of
        them) and size x size (area-averaged down, cubic up); data/README.md has the layouts and the rules in full.
    classes: what the labels stand for. None: FER2013's seven emotions by name or alias; numbers only where the source
        shows that they are FER2013's. A list of names; a mapping from folder names or numbers to names, as
        `{"1": "surprise", "2": "fear"}`; `"rafdb"`, `"affectnet"`, `"affectnet7"` (without contempt) or `"fer2013"` for
        their published numbers; `"folders"` for each folder's own name; a function from an image's relative path to its
        class, or None to leave it out.

    Returns a `FaceDataset` whose `classes` are the names. Raises `FileNotFoundError` for what is not there,
    `ValueError` naming the first row or file that is not as it should be, or a label that `classes` does not explain.
    Warns of what a copy of FER2013 lacks.

    >>> faces = load("sample")
    >>> len(faces.subset("Training")), faces.classes[3]
    (2800, 'happy')
    """
    dataset = _load(source, size=size, sealed=False, classes=classes)
    for note in dataset.notes:
        warnings.warn(f"{dataset.name}: {note}", stacklevel=2)
    return dataset


def all_counts(source: str | Path = "sample", *, classes: Classes = None) -> pd.DataFrame:
    """Images by split (all three, sealed `PrivateTest` too) and class (columns), without a look at any image.

    Raises as `load` does; what is not in the cache yet is decoded into it first.
    """

    def count(folder: Path, name: str) -> pd.DataFrame:
        table, meta = _read_table(folder)
        return count_faces(table, meta["classes"])

    return _from_cache(source, 48, count, classes)


def _load(source: str | Path, *, size: int, sealed: bool, classes: Classes = None) -> FaceDataset:
    """`load`, with the sealed split included if `sealed`: for `ferlib.protocol` alone."""
    return _from_cache(source, size, lambda folder, name: _read_kept(folder, name, sealed), classes)
