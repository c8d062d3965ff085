"""Any FER layout on disk -> every image decoded once into one uint8 array, a table beside it, and loaders.

The whole of FER2013 is 83 MB as bytes, so it is held in memory: no image file is opened while a model trains. What was
read is kept in a cache folder (`FERLIB_CACHE`, else `~/.cache/ferlib`), images of the sealed `PrivateTest` in a file of
their own that `load` never reads; `ferlib.protocol.open_sealed` does.
"""

import contextlib
import errno
import hashlib
import inspect
import json
import os
import re
import shutil
import signal
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, WeightedRandomSampler

from ferlib import __version__, faces, layouts, sample
from ferlib.classes import Classes, ClassMap, check_classes, class_map, match_classes
from ferlib.emotions import EMOTIONS, FER2013_COUNTS, SPLITS
from ferlib.transforms import apply_transform, check_transform
from ferlib.votes import VOTES

Kept = TypeVar("Kept")
FORMAT = 5  # of the cache's files; another number makes them anew
FER2013_NAMES = (  # under which FER2013 is looked for, in this order
    *(f"fer2013{end}" for end in (".csv", ".csv.gz", ".csv.xz", "", *layouts.ARCHIVES, "-folders.zip")),
    "icml_face_data.csv",
)


@dataclass(frozen=True, eq=False)
class FaceDataset(Dataset):
    """Faces in memory, a map-style torch `Dataset` of (tensor, label).

    images: uint8 (n, h, w).
    table: n rows with the column `label` (class index); `split` ("Training") and `row` (0 to n - 1, in the order of the
        source over all splits) are added where they are missing.
    name: what messages call it.
    notes: what is missing or odd about the source.
    transform: what each face goes through when it is taken, None for none. An Albumentations pipeline (`A.Compose`)
        gets the array, torchvision's transforms a PIL image, any other module a uint8 tensor (1, h, w), any other
        callable the array (h, w). An Albumentations pipeline is seeded from torch's generator for each face, so that
        workers do not repeat each other and reruns are equal.
    targets: soft labels, float32 (n, k), shares of the classes that are handed out in place of labels (`ferplus`).
    draw: draw a label from `targets` each time a face is taken.
    classes: the names of the classes, in the order of the indices.

    Raises `ValueError` for lengths that differ, labels outside of the classes, or two classes of one name.
    """

    images: np.ndarray
    table: pd.DataFrame
    name: str = "faces"
    notes: tuple[str, ...] = ()
    transform: Callable[..., Any] | None = None
    targets: np.ndarray | None = None
    draw: bool = False
    classes: tuple[str, ...] = EMOTIONS

    def __post_init__(self) -> None:
        if len(self.images) != len(self.table):
            raise ValueError(
                f"{len(self.images)} images but {len(self.table)} rows in the table: give one row an image"
            )
        if "label" not in self.table:
            raise ValueError(f"the table has the columns {', '.join(map(str, self.table))}; a column label is needed")
        missing: dict[str, Any] = {"split": "Training", "row": np.arange(len(self.table))}
        missing = {column: value for column, value in missing.items() if column not in self.table}
        object.__setattr__(self, "table", self.table.assign(**missing) if missing else self.table)
        object.__setattr__(self, "classes", check_classes(self.classes))
        labels = self.table["label"].to_numpy()
        if len(labels) and labels.dtype.kind not in "iu":
            raise ValueError(f"labels are {labels.dtype}, such as {labels[0]!r:.40}; give class indices, whole numbers")
        if unknown := sorted({*map(str, self.table["split"])} - {*SPLITS}):
            raise ValueError(f"the table has the split {unknown[0]!r}; allowed are {', '.join(SPLITS)}")
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.classes)):
            raise ValueError(
                f"labels are {labels.min()} to {labels.max()}, and there are {len(self.classes)} classes "
                f"({', '.join(self.classes)}); give classes with a name for each label"
            )
        check_transform(self.transform)
        if self.draw and self.targets is None:
            raise ValueError("draw=True draws labels from targets, and there are none: give targets (n, classes)")
        if (given := self.targets) is not None:
            shape = (len(self), len(self.classes))
            fits = given.shape == shape and given.dtype == np.float32 and (given >= 0).all()
            if not (fits and np.allclose(given.sum(1), 1, atol=1e-4)):
                due = f"float32 {shape}, shares that sum to 1 in each row"
                raise ValueError(f"targets is {given.dtype} {given.shape}; due is {due}")

    @classmethod
    def from_arrays(
        cls, images: np.ndarray, labels: Sequence[int] | np.ndarray, classes: Sequence[str] = EMOTIONS, **facts: Any
    ) -> "FaceDataset":
        """Make a dataset of arrays, all of it `Training`.

        images: uint8 (n, h, w). labels: class indices (n,). facts: other fields of the dataset.

        >>> faces = FaceDataset.from_arrays(np.zeros((2, 48, 48), np.uint8), [0, 1], classes=("open", "shut"))
        >>> len(faces), faces.classes
        (2, ('open', 'shut'))
        """
        return cls(
            images, pd.DataFrame({"label": np.asarray(labels, np.int64)}), classes=check_classes(classes), **facts
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int | torch.Tensor]:
        """Return one face, a tensor (channels, h, w), and its label.

        The face is uint8 (1, h, w) unless `transform` makes something else of it. With `targets` the label is their
        float32 tensor (k,), with `draw` an int drawn from it by torch's generator.
        """
        label = self.labels_at([index])[0]
        return self.face(index), int(label) if label.ndim == 0 else label

    def face(self, index: int) -> torch.Tensor:
        """Return one face through the transform: a tensor (channels, h, w), uint8 or float32."""
        return apply_transform(self.transform, self.images[index])

    def labels_at(self, indices: list[int]) -> torch.Tensor:
        """Return what a loader says of the faces at positions: int64 labels (b,), or float32 targets (b, k)."""
        if self.targets is None:
            return torch.from_numpy(self.labels[indices])
        targets = torch.from_numpy(self.targets[indices])
        return torch.multinomial(targets, 1)[:, 0] if self.draw else targets

    @cached_property
    def labels(self) -> np.ndarray:
        """The class index of each image, (n,) int64."""
        return np.array(self.table["label"], dtype=np.int64)

    def counts(self) -> pd.DataFrame:
        """Images by split (rows) and class (columns)."""
        counts = _counts(self.table, self.classes)
        return counts[counts.any(axis=1)]

    def with_transform(self, transform: Callable[..., Any] | None) -> "FaceDataset":
        """Return the same faces with another transform; see the class.

        Raises `ValueError` for what is no transform, naming what is.

        >>> faces = FaceDataset.from_arrays(np.full((2, 48, 48), 255, np.uint8), [0, 1])
        >>> faces.with_transform(lambda image: image[:24, :24] / np.float32(255))[0][0].shape
        torch.Size([1, 24, 24])
        """
        return replace(self, transform=transform)

    def with_classes(self, classes: Sequence[str]) -> "FaceDataset":
        """Return the same faces with their classes in another order, matched by name.

        Raises `ValueError` for other names.
        """
        places = match_classes(tuple(classes), self.classes, self.name)
        if places is None:
            return replace(self, classes=tuple(classes))
        targets = self.targets
        if targets is not None:
            moved = np.empty_like(targets)
            moved[:, places] = targets
            targets = moved
        table = self.table.assign(label=places[self.labels])
        return replace(self, table=table, targets=targets, classes=tuple(classes))

    def subset(self, which: str | Sequence[int] | np.ndarray | pd.Series) -> "FaceDataset":
        """The rows of one split, of a boolean mask (n,), or at positions; without a copy where rows adjoin.

        A split goes by its name, or by what folders call it: `"train"`, `"val"`.

        Raises `ValueError` for a split that this dataset does not have, or a mask of another length.
        """
        if isinstance(which, str):
            which = layouts.SPLIT_FOLDERS.get(which.lower(), which)  # "train" is Training, "val" PublicTest
            present = self.counts().index
            if which not in present:
                why = ("PrivateTest stays sealed: see ferlib.protocol.open_sealed, or `ferlib evaluate "
                       "--open-sealed-test REASON`." if which == "PrivateTest" else "To carve one out of Training: "
                       "ferlib.protocol.split, or `ferlib train --val-share 0.1`.")  # fmt: skip
                raise ValueError(
                    f"{self.name} has no split {which!r} open; it has {', '.join(present) or 'none'}. {why}"
                )
            which = (self.table["split"] == which).to_numpy()
        picks = np.asarray(which) if len(which) else np.empty(0, np.int64)
        if picks.dtype == bool and len(picks) != len(self):
            raise ValueError(f"a mask of {len(picks)} was given for a dataset of {len(self)} images")
        picks = np.arange(len(self))[picks]
        adjoining = len(picks) > 0 and bool((np.diff(picks) == 1).all())
        images = self.images[picks[0] : picks[-1] + 1] if adjoining else self.images[picks]
        targets = None if self.targets is None else self.targets[picks]
        return replace(self, images=images, table=self.table.iloc[picks].reset_index(drop=True), targets=targets)

    def __repr__(self) -> str:
        lines = [f"{self.name}: {len(self):,} faces of {self.images.shape[1]}x{self.images.shape[2]} px"]
        lines += [f"  {split}: {int(total):,}" for split, total in self.counts().sum(axis=1).items()]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def _counts(table: pd.DataFrame, classes: Sequence[str] = EMOTIONS) -> pd.DataFrame:
    counts = pd.crosstab(table["split"], table["label"])
    return counts.reindex(index=SPLITS, columns=range(len(classes)), fill_value=0).set_axis(list(classes), axis=1)


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
        return _counts(table, meta["classes"])

    return _from_cache(source, 48, count, classes)


def loader(
    dataset: Dataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    workers: int = 0,
    weights: Sequence[float] | np.ndarray | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> DataLoader:
    """Batches (images, labels) of a `FaceDataset`, or of any map-style dataset of (tensor, label).

    Faces without a transform are cut whole from the array: uint8 (batch, 1, size, size). Labels are int64 (batch,), or
    float32 (batch, k) where the dataset has targets and draws no label from them. A shuffled loader drops the last,
    smaller batch. Seed torch before each epoch: the order, and each worker's random numbers, follow from it, or from
    `generator`. With `weights` (n,), a shuffled loader draws faces with replacement, as often as they weigh, by the
    numbers of `loader.sampler.generator`: torch's seed at this call starts them, and `manual_seed` starts them again.
    Raises `ValueError` for weights that do not fit.
    """
    drawn, count = None, len(dataset)  # type: ignore[arg-type]
    if weights is not None:
        if len(weights) != count or not shuffle:
            given = f"{len(weights)} weights and shuffle={shuffle} were given for {count} faces"
            raise ValueError(f"{given}; give one weight a face, and shuffle=True")
        drawing = torch.Generator().manual_seed(torch.initial_seed())
        drawn = WeightedRandomSampler(torch.as_tensor(weights).tolist(), count, generator=drawing)
    faces = isinstance(dataset, FaceDataset)
    return DataLoader(
        _Batches(dataset) if isinstance(dataset, FaceDataset) else dataset, batch_size,
        shuffle=shuffle and drawn is None, sampler=drawn, drop_last=shuffle, num_workers=workers,
        collate_fn=_as_is if faces else None, pin_memory=torch.cuda.is_available(), worker_init_fn=_undisturbed,
        generator=generator,
    )  # fmt: skip


def labels_of(dataset: Dataset) -> np.ndarray | None:
    """Return the labels (n,) int64 of any map-style dataset without touching its images; None where it does not say.

    Read from `labels` or `targets`, through torch's `Subset` and `ConcatDataset`; not where a `target_transform`
    changes them.
    """
    if getattr(dataset, "target_transform", None) is not None:
        return None
    if isinstance(dataset, Subset):
        labels = labels_of(dataset.dataset)
        return None if labels is None else labels[np.asarray(dataset.indices, np.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [labels_of(part) for part in dataset.datasets]
        return None if any(part is None for part in parts) else np.concatenate([p for p in parts if p is not None])
    for name in ("labels", "targets"):
        found = getattr(dataset, name, None)
        if isinstance(found, list | tuple | np.ndarray | torch.Tensor):
            try:
                labels = np.asarray(found)
            except ValueError:  # of several lengths
                continue
            if labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels) == len(dataset):  # type: ignore[arg-type]
                return labels.astype(np.int64)
    return None


def classes_of(dataset: Dataset) -> tuple[str, ...] | None:
    """Return the class names of any map-style dataset, through `Subset` and `ConcatDataset`; None if it has none.

    Raises `ValueError` where the parts of a `ConcatDataset` have other classes, or the same in another order.
    """
    if isinstance(dataset, Subset):
        return classes_of(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        parts = {classes_of(part) for part in dataset.datasets}
        if len(parts) > 1:
            told = "; ".join(", ".join(part or ("unknown",)) for part in parts)
            raise ValueError(f"the parts of a ConcatDataset have other classes ({told}); give them one order first: "
                             "faces.with_classes(classes)")  # fmt: skip
        return parts.pop()
    found = getattr(dataset, "classes", None)
    if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
        return None
    return check_classes(found) if getattr(dataset, "target_transform", None) is None else None


def _undisturbed(_: int) -> None:
    """A worker leaves Ctrl-C, which reaches all processes of a terminal or notebook, to the one that it works for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Batches(Dataset):
    """Hands a loader whole batches, through the method that torch's fetcher asks for first."""

    def __init__(self, dataset: FaceDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        if self.dataset.transform is None:
            images = torch.from_numpy(self.dataset.images[indices])[:, None]
        else:
            images = torch.stack([self.dataset.face(i) for i in indices])
        return images, self.dataset.labels_at(indices)


def _as_is(batch: Any) -> Any:
    return batch


# ---- finding the source and keeping what was read -------------------------------------------------------------------


def cache_folder() -> Path:
    """Where decoded data is kept: `FERLIB_CACHE`, else `~/.cache/ferlib`."""
    return Path(os.environ.get("FERLIB_CACHE") or Path.home() / ".cache" / "ferlib")


def find(source: str | Path) -> Path:
    """The file or folder behind a source's name; raises `FileNotFoundError` saying where it was looked for."""
    if str(source) != "fer2013":
        path = Path(os.path.expanduser(source))
        allowed = "'sample', 'fer2013', or the path of a CSV, folder or archive"
        if not os.path.exists(path):  # and for a name that cannot be
            raise FileNotFoundError(f"{path} does not exist; give {allowed}")
        if not path.is_file() and not path.is_dir():
            raise ValueError(f"{path} is neither a file nor a folder; give {allowed}")
        return path
    named = os.environ.get("FERLIB_DATA")
    folders = [Path(os.path.expanduser(named))] if named else [Path("data"), Path(__file__).parent.parent / "data"]
    if named and not folders[0].exists():
        raise FileNotFoundError(f"FERLIB_DATA is set to {named}, which does not exist: mend or unset it")
    for folder in folders:
        known = [folder / name for name in FER2013_NAMES if (folder / name).exists()]
        if folder.is_file() or (folder / "train").is_dir() or (named and not known):
            return folder
        if known:
            return known[0]
    looked = ", ".join(dict.fromkeys(str(folder) for folder in folders))
    raise FileNotFoundError(f"fer2013 was not found in {looked}; fetch it (ferlib data fetch fer2013), put fer2013.csv "
                            "into data/, or set FERLIB_DATA to where it is")  # fmt: skip


def _load(source: str | Path, *, size: int, sealed: bool, classes: Classes = None) -> FaceDataset:
    """`load`, with the sealed split included if `sealed`: for `ferlib.protocol` alone."""
    return _from_cache(source, size, lambda folder, name: _read_kept(folder, name, sealed), classes)


def _from_cache(source: str | Path, size: int, take: Callable[[Path, str], Kept], classes: Classes = None) -> Kept:
    """What `take` makes of the cache folder of a source and its name; decoded first where it is absent or damaged."""
    if not 1 <= size <= 1024:
        raise ValueError(f"size is {size}; it is the side of an image in pixels, 1 to 1024")
    known = class_map(classes)
    drawn = str(source) == "sample"
    if drawn and classes is not None:
        raise ValueError(f"classes is {classes!r:.80}, and sample has its own seven; leave classes= out")
    if drawn and size != 48:
        raise ValueError(f"size {size} was asked of sample, whose faces are 48 px; ferlib.sample.draw draws any size")
    path = Path("sample") if drawn else find(source)
    name = path.name if drawn else path.resolve().name
    key = inspect.getsource(faces) + inspect.getsource(sample) if drawn else _fingerprint(path)
    key += "" if classes is None else repr((known.classes, sorted(known.names.items())))
    key = hashlib.sha256(f"{__version__} {FORMAT} {cv2.__version__} {size} {key}".encode()).hexdigest()[:16]
    kept = cache_folder() / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)[:40]}-{key}"
    try:
        damaged = False
        if known.by_file is None:  # of a function nobody can tell whether it is still the same
            return take(kept, name)
    except (FileNotFoundError, NotADirectoryError):
        damaged = kept.exists()
    except Exception as error:  # what was altered fails in many ways, and is made anew
        damaged = True
        warnings.warn(f"the cache {kept} is damaged ({error}); reading {name} again", stacklevel=4)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=kept.parent, prefix="making-", ignore_cleanup_errors=True)
    except OSError as error:
        warnings.warn(f"the cache {kept.parent} is not writable ({error}); reading without it", stacklevel=4)
        scratch = tempfile.TemporaryDirectory(prefix="ferlib-", ignore_cleanup_errors=True)
    for left in kept.parent.glob("making-*"):
        with contextlib.suppress(OSError):  # it may be removed by another process meanwhile
            if left.stat().st_mtime < time.time() - 86_400:  # of a process that was killed: none takes a day
                shutil.rmtree(left)
    with scratch as folder:
        made = Path(folder) / "made"
        made.mkdir()
        with tempfile.TemporaryDirectory(dir=folder) as unpacked:
            notes: list[str] = []
            try:
                if drawn:
                    names: tuple[str, ...] = EMOTIONS
                    chunks = iter([sample.dataset()])
                else:
                    names, chunks = layouts.read(path, size, Path(unpacked), notes, known)
                _write_kept(made, name, chunks, notes, names)
                _check_present(made, known)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                full = f"no room for the cache in {Path(folder).parent} ({error.strerror})"
                raise OSError(f"{full}: make some, or set FERLIB_CACHE to a folder on another disk") from error
        taken = take(made, name)
        if made.parent.parent == kept.parent and known.by_file is None:
            if damaged:
                shutil.rmtree(kept, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process was first: what it made is the same
                made.rename(kept)
    return taken


def _fingerprint(path: Path) -> str:
    """A text that changes when the file, any file of the folder, or what is read beside it, does."""
    digest = hashlib.sha256(f"{path.resolve()}{layouts.outer(path)}".encode(errors="surrogateescape"))
    files = layouts.walk(path) if path.is_dir() else [(path.name, path)]
    for name, file in (*files, *((file.name, file) for file in layouts.beside(path))):
        stat = file.stat()
        digest.update(f"{name}{stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _check_present(folder: Path, known: ClassMap) -> None:
    """Raise `ValueError` for a class that was asked for by name and has no image."""
    if not known.asked or known.lenient or known.by_file is not None:
        return
    table, meta = _read_table(folder)
    counts = _counts(table, meta["classes"]).sum()
    if (counts == 0).any():
        raise ValueError(
            f"no image has the class {', '.join(counts.index[counts == 0])}, which classes= names; it has "
            f"{', '.join(counts.index[counts > 0])}: leave it out of classes=, or take another order"
        )


def _write_kept(
    folder: Path, name: str, chunks: Iterator[layouts.Chunk], notes: list[str], classes: Sequence[str]
) -> None:
    """Write what a reader yields: `open.u8` and `sealed.u8` hold the images, `table.npz` and `meta.json` the rest."""
    tables, shape, checks = [], (0, 0), {"open.u8": 0, "sealed.u8": 0}
    with open(folder / "open.u8", "wb") as opened, open(folder / "sealed.u8", "wb") as closed:
        for images, table in chunks:
            sealed = (table["split"] == "PrivateTest").to_numpy()
            for file, part in ((opened, images[~sealed].tobytes()), (closed, images[sealed].tobytes())):
                file.write(part)
                kept = os.path.basename(file.name)
                checks[kept] = zlib.crc32(part, checks[kept])
            tables.append(table)
            shape = images.shape[1:]
    if not tables:
        raise ValueError(f"{name} holds no image")
    whole = pd.concat(tables, ignore_index=True)
    whole.insert(0, "row", range(len(whole)))
    columns: dict[str, Any] = {str(name): column.to_numpy() for name, column in whole.items()}
    columns = {name: values.astype(str) if values.dtype == object else values for name, values in columns.items()}
    np.savez(folder / "table.npz", **columns)  # exact, typed and without pickle, which a CSV and a DataFrame are not
    meta = {"shape": shape, "rows": len(whole), "notes": notes + _notes(name, whole, classes), "checks": checks,
            "classes": [*classes]}  # fmt: skip
    text = json.dumps(meta)
    (folder / "meta.json").write_text(f"{text}\n{zlib.crc32(text.encode())}")


def _read_table(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table of all splits and meta.json of a cache folder; raises `ValueError` where they disagree."""
    text, _, check = (folder / "meta.json").read_text().rpartition("\n")
    if check != str(zlib.crc32(text.encode())):
        raise ValueError("meta.json was altered")
    meta = json.loads(text)
    with np.load(folder / "table.npz", allow_pickle=False) as columns:
        table = pd.DataFrame(dict(columns))
    if meta["rows"] != len(table):
        raise ValueError(f"its table has {len(table)} rows where {meta['rows']} are due")
    return table, meta


def _read_kept(folder: Path, name: str, sealed: bool) -> FaceDataset:
    """The dataset kept in a cache folder; raises `ValueError` when that is not whole."""
    table, meta = _read_table(folder)
    hidden = table["split"] == "PrivateTest"
    parts = {"open.u8": table[~hidden]} | ({"sealed.u8": table[hidden]} if sealed else {})
    table = pd.concat(parts.values(), ignore_index=True)
    images, start = np.empty((len(table), *meta["shape"]), np.uint8), 0
    for file, part in parts.items():
        space = images[start : start + len(part)]
        with open(folder / file, "rb") as kept:
            if kept.readinto(space.data) != space.nbytes or kept.read(1):
                raise ValueError(f"{file} is of another length than its {len(part)} images")
        if zlib.crc32(space.data) != meta["checks"][file]:
            raise ValueError(f"{file} was altered")
        start += len(part)
    return FaceDataset(images, table, name, tuple(meta["notes"]), classes=tuple(meta["classes"]))


def _notes(name: str, table: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """Crops, splits and labels that are not the official ones, and images and classes that are missing."""
    if name == "sample":
        return []
    notes, counts = [], _counts(table, classes)
    sizes = ", ".join(f"{split} {count:,}" for split, count in counts.sum(axis=1).items() if count)
    own, voted = not table["official"].any(), VOTES[-1] in table
    if "cropped" in table and table["cropped"].any():
        notes.append(f"{table['cropped'].sum():,} images were not square: the largest centred square was taken of each")
    if voted:
        notes.append("its labels are FER+'s, not FER2013's: scores on them compare with figures on FER+ alone")
    elif not own and not table["official"].all():
        unofficial = (~table["official"]).sum()
        notes.append(f"{unofficial:,} images carry no official file name; their folder tells their split")
    elif own and (table["split"] != "Training").any() and tuple(classes) == EMOTIONS:
        notes.append(f"its splits ({sizes}) are not FER2013's official ones (28,709, 3,589, 3,589): scores on them "
                     "compare with no published figure")  # fmt: skip
    if own and not voted and counts.loc["PrivateTest"].any() and not counts.loc["PublicTest"].any():
        notes.append("its test folder carries no official file names, so which images are PublicTest cannot be "
                     "told: all of it stays sealed as PrivateTest; to choose between models, carve a validation "
                     "split out of Training")  # fmt: skip
    for split, want in FER2013_COUNTS.items():
        found = counts.loc[split]
        of_fer2013 = zip(found.items(), want, strict=True) if tuple(classes) == EMOTIONS else ()
        off = [f"{name} {n} of {due}" for (name, n), due in of_fer2013 if n != due]
        said = []
        if off and not own and not voted:
            listed = f" ({', '.join(off)})" if found.any() else ""
            said.append(f"{found.sum():,} of FER2013's {sum(want):,} images{listed}")
        if found.any() and not found.all():
            said.append(f"no image of {', '.join(found.index[found == 0])}")
        notes += [f"{split}: {'; '.join(said)}"] * bool(said)
    return notes
