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
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from ferlib import __version__, faces, layouts, sample
from ferlib.emotions import EMOTIONS, FER2013_COUNTS, SPLITS
from ferlib.votes import VOTES

Kept = TypeVar("Kept")
FORMAT = 4  # of the cache's files; another number makes them anew
FER2013_NAMES = (  # under which FER2013 is looked for, in this order
    *(f"fer2013{end}" for end in (".csv", ".csv.gz", ".csv.xz", "", *layouts.ARCHIVES, "-folders.zip")),
    "icml_face_data.csv",
)


@dataclass(frozen=True, eq=False)
class FaceDataset(Dataset):
    """Faces in memory: `images` (n, size, size) uint8 and a `table` of n rows with at least `label`, `split` and `row`.

    `row` counts from 0 in the order of the source, over all splits. `transform`, if any, maps one (size, size) uint8
    array to what `dataset[i]` hands out in its place; `notes` say what is missing or odd about the source. `targets`,
    if any, (n, 7) float32, are soft labels: shares of the emotions, handed out in place of labels; with `draw` a label
    is drawn from them instead, anew each time a face is taken (`ferlib.ferplus` makes both).
    """

    images: np.ndarray
    table: pd.DataFrame
    name: str
    notes: tuple[str, ...] = ()
    transform: Callable[[np.ndarray], torch.Tensor] | None = None
    targets: np.ndarray | None = None
    draw: bool = False

    def __post_init__(self) -> None:
        if len(self.images) != len(self.table):
            raise ValueError(
                f"{len(self.images)} images but {len(self.table)} rows in the table: give one row an image"
            )
        if self.draw and self.targets is None:
            raise ValueError("draw=True draws labels from targets, and there are none: give targets (n, 7)")
        if (given := self.targets) is not None:
            fits = given.shape == (len(self), len(EMOTIONS)) and given.dtype == np.float32 and (given >= 0).all()
            if not (fits and np.allclose(given.sum(1), 1, atol=1e-4)):
                due = f"float32 ({len(self)}, {len(EMOTIONS)}), shares that sum to 1 in each row"
                raise ValueError(f"targets is {given.dtype} {given.shape}; due is {due}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int | torch.Tensor]:
        """One face, a uint8 tensor (1, size, size) unless `transform` makes something else of it, and its label.

        With `targets` the label is their float32 tensor (7,), with `draw` an int drawn from it by torch's generator.
        """
        label = self._said([index])[0]
        return self._face(index), int(label) if label.ndim == 0 else label

    def _face(self, index: int) -> torch.Tensor:
        image = self.images[index]
        return torch.from_numpy(image.copy())[None] if self.transform is None else self.transform(image)

    def _said(self, indices: list[int]) -> torch.Tensor:
        """What a loader says of the faces at positions: int64 labels (b,), or float32 targets (b, 7)."""
        if self.targets is None:
            return torch.from_numpy(self.labels[indices])
        targets = torch.from_numpy(self.targets[indices])
        return torch.multinomial(targets, 1)[:, 0] if self.draw else targets

    @cached_property
    def labels(self) -> np.ndarray:
        """The class of each image, (n,) int64 in the order of `EMOTIONS`."""
        return np.array(self.table["label"], dtype=np.int64)

    def counts(self) -> pd.DataFrame:
        """Images by split (rows) and emotion (columns)."""
        counts = _counts(self.table)
        return counts[counts.any(axis=1)]

    def subset(self, which: str | Sequence[int] | np.ndarray | pd.Series) -> "FaceDataset":
        """The rows of one split (by name), of a boolean mask (n,), or at positions; without a copy where rows adjoin.

        Raises `ValueError` for a split that this dataset does not have, or a mask of another length.
        """
        if isinstance(which, str):
            present = self.counts().index
            if which not in present:
                why = ("PrivateTest stays sealed: see ferlib.protocol.open_sealed, or `ferlib evaluate "
                       "--open-sealed-test REASON`." if which == "PrivateTest" else "To carve one out of Training: "
                       "ferlib.protocol.split, or `ferlib train --val-share 0.1`.")  # fmt: skip
                raise ValueError(f"{self.name} has no split {which!r} open; it has {', '.join(present)}. {why}")
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


def _counts(table: pd.DataFrame) -> pd.DataFrame:
    counts = pd.crosstab(table["split"], table["label"])
    return counts.reindex(index=SPLITS, columns=range(len(EMOTIONS)), fill_value=0).set_axis(EMOTIONS, axis=1)


def load(source: str | Path = "sample", *, size: int = 48) -> FaceDataset:
    """Load every open split of a source; `PrivateTest` is read only by `ferlib.protocol.open_sealed`.

    `source` is `"sample"` (faces drawn by `ferlib.sample`), `"fer2013"` (looked up in `FERLIB_DATA`, then `data/`), or
    a path: the challenge's CSV, also .gz or .xz, a tree of class folders, FER+'s folders, a .zip or .tgz of these, or a
    .npz. Images become grayscale (0.299 R + 0.587 G + 0.114 B), square (the middle of them) and size x size px
    (area-averaged down, cubic up); data/README.md has the layouts and the rules in full.

    Raises `FileNotFoundError` for what is not there, `ValueError` naming the first row or file that is not as it should
    be. Warns of what a copy of FER2013 lacks.
    """
    dataset = _load(source, size=size, sealed=False)
    for note in dataset.notes:
        warnings.warn(f"{dataset.name}: {note}", stacklevel=2)
    return dataset


def all_counts(source: str | Path = "sample") -> pd.DataFrame:
    """Images by split (all three, sealed `PrivateTest` too) and emotion (columns), without a look at any image.

    Raises as `load` does; what is not in the cache yet is decoded into it first.
    """
    return _from_cache(source, 48, lambda folder, name: _counts(_read_table(folder)[0]))


def loader(
    dataset: FaceDataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    workers: int = 0,
    weights: Sequence[float] | np.ndarray | torch.Tensor | None = None,
) -> DataLoader:
    """Batches (images, labels) of a dataset; without a transform they are cut whole from the array.

    Images are uint8 (batch, 1, size, size) without a transform, labels int64 (batch,), or float32 (batch, 7) where the
    dataset has targets and draws no label from them. A shuffled loader drops the last, smaller batch. Seed torch before
    each epoch: the order, and each worker's random numbers, follow from it. With `weights` (n,), a shuffled loader
    draws faces with replacement, as often as they weigh, by the numbers of `loader.sampler.generator`: torch's seed at
    this call starts them, and `manual_seed` starts them again. Raises `ValueError` for weights that do not fit.
    """
    drawn = None
    if weights is not None:
        if len(weights) != len(dataset) or not shuffle:
            given = f"{len(weights)} weights and shuffle={shuffle} were given for {len(dataset)} faces"
            raise ValueError(f"{given}; give one weight a face, and shuffle=True")
        generator = torch.Generator().manual_seed(torch.initial_seed())
        drawn = WeightedRandomSampler(torch.as_tensor(weights).tolist(), len(dataset), generator=generator)
    return DataLoader(
        _Batches(dataset), batch_size, shuffle=shuffle and drawn is None, sampler=drawn, drop_last=shuffle,
        num_workers=workers, collate_fn=_as_is, pin_memory=torch.cuda.is_available(), worker_init_fn=_undisturbed,
    )  # fmt: skip


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
            images = torch.stack([self.dataset._face(i) for i in indices])
        return images, self.dataset._said(indices)


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


def _load(source: str | Path, *, size: int, sealed: bool) -> FaceDataset:
    """`load`, with the sealed split included if `sealed`: for `ferlib.protocol` alone."""
    return _from_cache(source, size, lambda folder, name: _read_kept(folder, name, sealed))


def _from_cache(source: str | Path, size: int, take: Callable[[Path, str], Kept]) -> Kept:
    """What `take` makes of the cache folder of a source and its name; decoded first where it is absent or damaged."""
    if not 1 <= size <= 1024:
        raise ValueError(f"size is {size}; it is the side of an image in pixels, 1 to 1024")
    drawn = str(source) == "sample"
    if drawn and size != 48:
        raise ValueError(f"size {size} was asked of sample, whose faces are 48 px; ferlib.sample.draw draws any size")
    path = Path("sample") if drawn else find(source)
    name = path.name if drawn else path.resolve().name
    key = inspect.getsource(faces) + inspect.getsource(sample) if drawn else _fingerprint(path)
    key = hashlib.sha256(f"{__version__} {FORMAT} {cv2.__version__} {size} {key}".encode()).hexdigest()[:16]
    kept = cache_folder() / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)[:40]}-{key}"
    try:
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
                chunks = iter([sample.dataset()]) if drawn else layouts.read(path, size, Path(unpacked), notes)
                _write_kept(made, name, chunks, notes)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                full = f"no room for the cache in {Path(folder).parent} ({error.strerror})"
                raise OSError(f"{full}: make some, or set FERLIB_CACHE to a folder on another disk") from error
        taken = take(made, name)
        if made.parent.parent == kept.parent:
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


def _write_kept(folder: Path, name: str, chunks: Iterator[layouts.Chunk], notes: list[str]) -> None:
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
    meta = {"shape": shape, "rows": len(whole), "notes": notes + _notes(name, whole), "checks": checks}
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
    return FaceDataset(images, table, name, tuple(meta["notes"]))


def _notes(name: str, table: pd.DataFrame) -> list[str]:
    """Crops, splits and labels that are not the official ones, and images and classes that are missing."""
    if name == "sample":
        return []
    notes, counts = [], _counts(table)
    sizes = ", ".join(f"{split} {count:,}" for split, count in counts.sum(axis=1).items() if count)
    own, voted = not table["official"].any(), VOTES[-1] in table
    if "cropped" in table and table["cropped"].any():
        notes.append(f"{table['cropped'].sum():,} images were not square: the largest centred square was taken of each")
    if voted:
        notes.append("its labels are FER+'s, not FER2013's: scores on them compare with figures on FER+ alone")
    elif not own and not table["official"].all():
        unofficial = (~table["official"]).sum()
        notes.append(f"{unofficial:,} images carry no official file name; their folder tells their split")
    elif own and (table["split"] != "Training").any():
        notes.append(f"its splits ({sizes}) are not FER2013's official ones (28,709, 3,589, 3,589): scores on them "
                     "compare with no published figure")  # fmt: skip
        if not counts.loc["PublicTest"].any():
            notes.append("its test folder carries no official file names, so which images are PublicTest cannot be "
                         "told: all of it stays sealed as PrivateTest; to choose between models, carve a validation "
                         "split out of Training")  # fmt: skip
    for split, want in FER2013_COUNTS.items():
        found = counts.loc[split]
        off = [f"{name} {n} of {due}" for (name, n), due in zip(found.items(), want, strict=True) if n != due]
        said = []
        if off and not own and not voted:
            listed = f" ({', '.join(off)})" if found.any() else ""
            said.append(f"{found.sum():,} of FER2013's {sum(want):,} images{listed}")
        if found.any() and not found.all():
            said.append(f"no image of {', '.join(found.index[found == 0])}")
        notes += [f"{split}: {'; '.join(said)}"] * bool(said)
    return notes
