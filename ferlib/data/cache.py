"""Decoded faces kept in a folder (`FERLIB_CACHE`, else `~/.cache/ferlib`), so that a source is decoded once."""

import contextlib
import errno
import hashlib
import inspect
import json
import os
import re
import shutil
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pandas as pd

from ferlib import __version__, sample
from ferlib.data import layouts
from ferlib.data.dataset import FaceDataset, count_faces
from ferlib.data.sources import find
from ferlib.data.votes import VOTES
from ferlib.emotions import EMOTIONS, FER2013_COUNTS, Classes, ClassMap, class_map
from ferlib.sample import faces

Kept = TypeVar("Kept")


FORMAT = 5  # of the cache's files; another number makes them anew


# ---- finding the source and keeping what was read -------------------------------------------------------------------


def cache_folder() -> Path:
    """Where decoded data is kept: `FERLIB_CACHE`, else `~/.cache/ferlib`."""
    return Path(os.environ.get("FERLIB_CACHE") or Path.home() / ".cache" / "ferlib")


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
    key = inspect.getsource(faces) + inspect.getsource(sample.drawn) if drawn else _fingerprint(path)
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
    counts = count_faces(table, meta["classes"]).sum()
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
    notes, counts = [], count_faces(table, classes)
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
