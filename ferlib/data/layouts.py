"""Tell the layout of a source, and read it into one dataset."""

import re
import tarfile
import tempfile
import zipfile
from pathlib import Path

from ferlib.data.dataset import FaceDataset
from ferlib.data.folders import IMAGE_SUFFIXES, read_folder
from ferlib.data.sources import ARCHIVES, VOTE_TABLES, Source, outer_folders, stem, walk
from ferlib.data.tables import read_csv, read_npz

TABLE = re.compile(r"\.(csv|csv\.gz|csv\.xz|npz)$", re.I)
PIXEL_TABLES = ("fer2013", "icml_face_data", "train")  # a folder with several CSVs is read from the first of these


def read_layout(source: Source) -> FaceDataset:
    """Read all splits of a source, in whatever layout; `source.notes` say what was left out or assumed.

    Raises:
        ValueError: names the first row or file that is not as it should be.
    """
    source.folders = outer_folders(source.path)
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
        ValueError: the archive is broken, or an entry would be written outside of the folder.
    """
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                _refuse_outside(archive.namelist())
                archive.extractall(folder)
        else:
            with tarfile.open(path) as tar:
                _refuse_outside(tar.getnames())
                tar.extractall(folder, filter="data")
    except Exception as error:  # a broken archive fails in many ways
        raise ValueError(f"{path.name} cannot be unpacked: {error}; fetch it again, or unpack it by hand") from error


def _refuse_outside(names: list[str]) -> None:
    for name in names:
        if re.match(r"[/\\]|[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
            raise ValueError(f"its entry {name!r} would lie outside of its folder")


def _read(path: Path, source: Source) -> FaceDataset:
    """Read a file, or a folder with a table or images in it."""
    if path.is_dir():
        files = walk(path)
        table = _choose_table(files, source)
        if table is None:
            return read_folder(path, files, source)
        source.folders += tuple(stem(part) for part in table.split("/"))
        path = path / table
    if not TABLE.search(path.name):
        raise ValueError(f"{path.name} is no layout that ferlib reads; give a .csv, .npz, .zip, .tgz or a folder")
    if not source.known.classes:
        raise ValueError(f"{path.name} has no class folders that classes= could name; give a list or a mapping")
    return read_npz(path, source) if path.suffix.lower() == ".npz" else read_csv(path, source)


def _choose_table(files: list[str], source: Source) -> str | None:
    """Return the table that a folder is read from, with a note of what lies beside it; None if there is none."""
    tables = [file for file in files if TABLE.search(file)]
    images = [file for file in files if Path(file).suffix.lower() in IMAGE_SUFFIXES]
    names = PIXEL_TABLES[:2] if images else PIXEL_TABLES  # beside images, train.csv is a list of them
    ranked = [file for name in names for file in tables if stem(Path(file).name).lower() == name]
    chosen = ranked[0] if ranked else tables[0] if len(files) == 1 and tables else None
    others = [file for file in (*tables, *images) if file != chosen and Path(file).name not in VOTE_TABLES]
    if chosen and others:
        source.notes.append(f"read from {chosen} alone; beside it were left out {', '.join(others[:5])}")
    return chosen
