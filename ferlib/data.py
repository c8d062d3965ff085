"""Any FER layout on disk -> every image decoded once into one uint8 array, a table beside it, and loaders.

The whole of FER2013 is 83 MB as bytes, so it is held in memory: no image file is opened while a model trains. What was
read is kept in a cache folder (`FERLIB_CACHE`, else `~/.cache/ferlib`), images of the sealed `PrivateTest` in a file of
their own that `load` never reads; `ferlib.protocol.open_sealed` does.
"""

import contextlib
import hashlib
import inspect
import json
import os
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from ferlib import __version__, faces, layouts, sample
from ferlib.emotions import EMOTIONS, FER2013_COUNTS, SPLITS

FORMAT = 2  # of the cache's files; another number makes them anew
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
        splits = [split for split in SPLITS if (self.table["split"] == split).any()]
        counts = pd.crosstab(self.table["split"], self.table["label"])
        return counts.reindex(index=splits, columns=range(len(EMOTIONS)), fill_value=0).set_axis(EMOTIONS, axis=1)

    def subset(self, which: str | Sequence[int] | np.ndarray | pd.Series) -> "FaceDataset":
        """The rows of one split (by name), of a boolean mask (n,), or at positions; without a copy where rows adjoin.

        Raises `ValueError` for a split that this dataset does not have, or a mask of another length.
        """
        if isinstance(which, str):
            present = [split for split in SPLITS if (self.table["split"] == split).any()]
            if which not in present:
                raise ValueError(
                    f"{self.name} has no split {which!r} open; it has {', '.join(present)}. {_why_no(which)}"
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


def _why_no(split: str) -> str:
    if split == "PrivateTest":
        return (
            "PrivateTest stays sealed: see ferlib.protocol.open_sealed, or `ferlib evaluate --open-sealed-test REASON`."
        )
    return "To carve one out of Training: ferlib.protocol.split, or `ferlib train --val-share 0.1`."


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


def loader(
    dataset: FaceDataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    workers: int = 0,
    weights: Sequence[float] | None = None,
) -> DataLoader:
    """Batches (images, labels) of a dataset; without a transform they are cut whole from the array.

    Images are uint8 (batch, 1, size, size) without a transform, labels int64 (batch,), or float32 (batch, 7) where the
    dataset has targets and draws no label from them. A shuffled loader drops the last, smaller batch. Seed torch before
    each epoch: the order, and each worker's random numbers, follow from it. With `weights` (n,), a shuffled loader
    draws faces with replacement, as often as they weigh, by the numbers of `loader.sampler.generator`.
    """
    drawn = weights and WeightedRandomSampler(weights, len(dataset), generator=torch.Generator())
    return DataLoader(
        _Batches(dataset), batch_size, shuffle=shuffle and not drawn, sampler=drawn, drop_last=shuffle,
        num_workers=workers, collate_fn=_as_is, pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


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
        path = Path(source).expanduser()
        if not path.exists():
            raise FileNotFoundError(
                f"{path} does not exist; give 'sample', 'fer2013', or the path of a CSV, folder or archive"
            )
        return path
    named = os.environ.get("FERLIB_DATA")
    folders = [Path(named)] if named else [Path("data"), Path(__file__).parent.parent / "data"]
    for folder in folders:
        if folder.is_file() or (folder / "train").is_dir():
            return folder
        for name in FER2013_NAMES:
            if (folder / name).exists():
                return folder / name
    looked = ", ".join(dict.fromkeys(str(folder) for folder in folders))
    raise FileNotFoundError(
        f"fer2013 was not found in {looked}; fetch it (ferlib data fetch fer2013), put fer2013.csv into data/, or set "
        "FERLIB_DATA to where it is"
    )


def _load(source: str | Path, *, size: int, sealed: bool) -> FaceDataset:
    """`load`, with the sealed split included if `sealed`: for `ferlib.protocol` alone."""
    if not 1 <= size <= 1024:
        raise ValueError(f"size is {size}; it is the side of an image in pixels, 1 to 1024")
    if str(source) == "sample":
        if size != 48:
            raise ValueError(
                f"size {size} was asked of sample, whose faces are 48 px; ferlib.sample.draw draws any size"
            )
        name, key = "sample", inspect.getsource(faces) + inspect.getsource(sample)  # drawn anew when either changes
    else:
        path = find(source)
        name, key = path.resolve().name, _fingerprint(path)
    key = hashlib.sha256(f"{__version__} {FORMAT} {size} {key}".encode()).hexdigest()[:16]
    kept = cache_folder() / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)[:40]}-{key}"
    dataset = _read_kept(kept, name, sealed)
    if dataset is not None:
        return dataset
    damaged = kept.exists()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=kept.parent, prefix="making-", ignore_cleanup_errors=True)
    except OSError as error:
        warnings.warn(f"the cache {kept.parent} is not writable ({error}); reading without it", stacklevel=3)
        scratch = tempfile.TemporaryDirectory(prefix="ferlib-", ignore_cleanup_errors=True)
    with scratch as folder:
        made = Path(folder) / "made"
        made.mkdir()
        with tempfile.TemporaryDirectory(dir=folder) as unpacked:
            notes: list[str] = []
            drawn = str(source) == "sample"
            chunks = iter([sample.dataset()]) if drawn else layouts.read(path, size, Path(unpacked), notes)
            _write_kept(made, name, chunks, notes)
        dataset = _read_kept(made, name, sealed)
        if made.parent.parent == kept.parent:
            if damaged:
                shutil.rmtree(kept, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process was first: what it made is the same
                made.rename(kept)
    assert dataset is not None, "a cache that was just written must be readable"
    return dataset


def _fingerprint(path: Path) -> str:
    """A text that changes when the file, any file of the folder, or what is read beside it, does."""
    files = [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file())
    digest = hashlib.sha256(str(path.resolve()).encode())
    for file in files + layouts.beside(path):
        stat = file.stat()
        digest.update(f"{file}{stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _write_kept(folder: Path, name: str, chunks: Iterator[layouts.Chunk], notes: list[str]) -> None:
    """Write what a reader yields: `open.u8` and `sealed.u8` hold the images, `table.npz` and `meta.json` the rest."""
    tables, shape = [], (0, 0)
    with open(folder / "open.u8", "wb") as opened, open(folder / "sealed.u8", "wb") as closed:
        for images, table in chunks:
            sealed = (table["split"] == "PrivateTest").to_numpy()
            opened.write(images[~sealed].tobytes())
            closed.write(images[sealed].tobytes())
            tables.append(table)
            shape = images.shape[1:]
    if not tables:
        raise ValueError(f"{name} holds no image")
    whole = pd.concat(tables, ignore_index=True)
    whole.insert(0, "row", range(len(whole)))
    columns: dict[str, Any] = {str(name): column.to_numpy() for name, column in whole.items()}
    columns = {name: values.astype(str) if values.dtype == object else values for name, values in columns.items()}
    np.savez(folder / "table.npz", **columns)  # exact, typed and without pickle, which a CSV and a DataFrame are not
    meta = {"shape": shape, "sealed": int((whole["split"] == "PrivateTest").sum()), "rows": len(whole)}
    meta["notes"] = notes + _notes(name, whole)
    (folder / "meta.json").write_text(json.dumps(meta))


def _read_kept(folder: Path, name: str, sealed: bool) -> FaceDataset | None:
    """The dataset kept in a cache folder, or None when it is absent or not whole (it is then made again)."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        with np.load(folder / "table.npz", allow_pickle=False) as columns:
            table = pd.DataFrame(dict(columns))
        images = [np.fromfile(folder / "open.u8", np.uint8).reshape(-1, *meta["shape"])]
        if sealed:
            images.append(np.fromfile(folder / "sealed.u8", np.uint8).reshape(-1, *meta["shape"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        warnings.warn(f"the cache {folder} is damaged ({error}); reading {name} again", stacklevel=4)
        return None
    hidden = table["split"] == "PrivateTest"
    table = pd.concat([table[~hidden], table[hidden]] if sealed else [table[~hidden]], ignore_index=True)
    if len(table) != sum(map(len, images)) or meta["rows"] != len(hidden):
        warnings.warn(f"the cache {folder} is not whole; reading {name} again", stacklevel=4)
        return None
    return FaceDataset(np.concatenate(images) if sealed else images[0], table, name, tuple(meta["notes"]))


def _notes(name: str, table: pd.DataFrame) -> list[str]:
    """Crops, splits and labels that are not the official ones, and images and classes that are missing."""
    if name == "sample":
        return []
    notes = []
    splits = table["split"].value_counts().reindex(SPLITS, fill_value=0)
    own, voted = not table["official"].any(), layouts.VOTES[-1] in table
    if "cropped" in table and table["cropped"].any():
        notes.append(f"{table['cropped'].sum():,} images were not square: the largest centred square was taken of each")
    if voted:
        notes.append("its labels are FER+'s, not FER2013's: scores on them compare with figures on FER+ alone")
    elif not own and not table["official"].all():
        notes.append(
            f"{(~table['official']).sum():,} images carry no official file name; their folder tells their split"
        )
    elif own and splits["Training"] < len(table):
        sizes = ", ".join(f"{split} {count:,}" for split, count in splits.items() if count)
        notes.append(
            f"its splits ({sizes}) are not FER2013's official ones (28,709, 3,589, 3,589): scores on them compare with "
            "no published figure"
        )
        if not splits["PublicTest"]:
            notes.append(
                "its test folder carries no official file names, so which images are PublicTest cannot be told: all of "
                "it stays sealed as PrivateTest; to choose between models, carve a validation split out of Training"
            )
    for split, want in FER2013_COUNTS.items():
        counts = np.bincount(table.loc[table["split"] == split, "label"], minlength=len(EMOTIONS))
        off = [f"{name} {n} of {due}" for name, n, due in zip(EMOTIONS, counts, want, strict=True) if n != due]
        said = []
        if off and not own and not voted:
            listed = f" ({', '.join(off)})" if counts.any() else ""
            said.append(f"{counts.sum():,} of FER2013's {sum(want):,} images{listed}")
        if counts.any() and not counts.all():
            said.append(f"no image of {', '.join(np.array(EMOTIONS)[counts == 0])}")
        notes += [f"{split}: {'; '.join(said)}"] * bool(said)
    return notes
