"""Tell the layout of a source, and read it into one dataset."""

import re
import tarfile
import tempfile
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from posixpath import normpath

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.data.folders import read_folder
from ferlib.data.sources import Source, digest, split_of, walk
from ferlib.data.tables import kinds, read_csv, read_head, read_npz
from ferlib.data.words import ARCHIVES, IMAGES, TABLES, without_endings


def read_layout(source: Source) -> FaceDataset:
    """Read all splits of a source, in whatever layout; `source.notes` say what was left out or assumed.

    Raises:
        ValueError: names the first row or file that is not as it should be.
    """
    if source.path.is_dir() or not source.path.name.lower().endswith(ARCHIVES):
        return _read(source.path, source)
    with tempfile.TemporaryDirectory() as folder:
        unpack(source.path, Path(folder))
        return _read(Path(folder), source)


def unpack(path: Path, folder: Path) -> None:
    """Unpack a .zip, .tar or .tgz into a folder.

    Args:
        path: the archive.
        folder: where its files go.

    Raises:
        ValueError: the archive is broken, or an entry would be written outside of the folder or over another one.
    """
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():  # some Windows programs write backslashes
                    entry.filename = entry.filename.replace("\\", "/")
                _check_names([entry.filename for entry in archive.infolist() if not entry.is_dir()])
                archive.extractall(folder, archive.infolist())
        else:
            with tarfile.open(path) as tar:
                for member in tar.getmembers():
                    member.name = member.name.replace("\\", "/")
                _check_names([member.name for member in tar.getmembers() if not member.isdir()])
                tar.extractall(folder, filter="data")
    except Exception as error:  # a broken archive fails in many ways
        raise ValueError(f"{path.name} cannot be unpacked: {error}; fetch it again, or unpack it by hand") from error


def _check_names(names: list[str]) -> None:
    """Raise `ValueError` for a file that would lie outside of the folder, or over another one."""
    for name in names:
        if re.match(r"/|[A-Za-z]:", name) or ".." in name.split("/"):
            raise ValueError(f"its entry {name!r} would lie outside of its folder")
    if twice := [name for name, count in Counter(map(normpath, names)).items() if count > 1]:
        raise ValueError(f"it has several files {twice[0]!r}")


def _read(path: Path, source: Source) -> FaceDataset:
    """Read a file, or a folder with tables or images in it."""
    if not path.is_dir():
        return _read_table(path, source)
    # A pipe or device would be waited for without end; a broken link is told when it is read.
    files = [file for file in walk(path) if (path / file).is_file() or not (path / file).exists()]
    tables = _choose_tables(path, files, source)
    if not tables:
        return read_folder(path, files, source)
    others = [file for file in files if file not in tables]
    source.note(others, f"left out {{}} files beside {', '.join(tables)}")
    parts = []
    for table in tables:
        around = (*source.folders, *(without_endings(part) for part in table.split("/")))
        parts.append(_read_table(path / table, replace(source, folders=around)))
    images = np.concatenate([part.images for part in parts])
    rows = pd.concat([part.table for part in parts], ignore_index=True)
    return FaceDataset(images, rows.drop(columns="row"), classes=parts[0].classes)


def _read_table(path: Path, source: Source) -> FaceDataset:
    """Read a CSV or .npz."""
    if not path.name.lower().endswith(TABLES):
        raise ValueError(f"{path.name} is no layout that ferlib reads; give a .csv, .npz, .zip, .tgz or a folder")
    if not source.known.classes:
        raise ValueError(f"{path.name} has no class folders that classes= could name; give a list or a mapping")
    return read_npz(path, source) if path.suffix.lower() == ".npz" else read_csv(path, source)


def _choose_tables(root: Path, files: list[str], source: Source) -> list[str]:
    """Return the tables that a folder is read from: none where it has images, several if each names its split.

    Raises:
        ValueError: there are several, and their names do not tell their splits.
    """
    tables = [file for file in files if file.lower().endswith(TABLES)]
    for name in ("fer2013", "icml_face_data"):  # a folder with one of these is read from it alone, from the first
        for file in tables:
            if without_endings(Path(file).name).lower() == name:
                return [file]
    if any(file.lower().endswith(IMAGES) for file in files):
        return []
    faces = {digest(root / file): file for file in reversed(tables) if _has_faces(root / file)}
    splits = [split_of([without_endings(part) for part in file.split("/")], file) for file in faces.values()]
    if len(faces) > 1 and ("" in splits or len({*splits}) < len(splits)):
        names = ", ".join(sorted(faces.values()))
        raise ValueError(f"{source.path.name} has several tables ({names}); give one, or name them train, val and test")
    return sorted(faces.values(), reverse=True) or tables[:1]


def _has_faces(path: Path) -> bool:
    """Return whether a table has labels and pixels; one that cannot be read has none, and is named as left out."""
    try:
        return path.suffix.lower() == ".npz" or bool(kinds(read_head(path)))
    except Exception:
        return False
