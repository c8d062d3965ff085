"""Find a source of faces on disk, and tell its splits and classes by names; what a label means is never guessed."""

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ferlib.data.dataset import count_faces
from ferlib.data.words import ARCHIVES, SPLIT_WORDS, TABLES, split_in, without_endings
from ferlib.emotions import EMOTIONS, FER2013_COUNTS, WAYS, ClassMap, canonical
from ferlib.utils import require, user_path

FER2013_ENDS = (".csv", ".csv.gz", ".csv.xz", "", *ARCHIVES, "-folders.zip")
FER2013_NAMES = [*(f"fer2013{end}" for end in FER2013_ENDS), "icml_face_data.csv"]  # looked for in this order
# Left by systems; the last two are of the challenge's own archive.
PASSED_OVER = {
    "__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints", ".git", "README", "fer2013.bib",
}  # fmt: skip


@dataclass
class Source:
    """A source that is being read.

    Attributes:
        path: what the user named.
        size: side of the faces in pixels.
        known: what its labels stand for.
        folders: names of files and folders around the images, outermost first; they may tell the split.
        notes: what is left out or assumed; readers add to it.
    """

    path: Path
    size: int
    known: ClassMap
    folders: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def note(self, files: Collection[str], what: str) -> None:
        """Note something of files, if there are any.

        Args:
            files: their names; five of them are named.
            what: what is to be said, with {} for their number.
        """
        if len(files):
            self.notes.append(f"{what.format(f'{len(files):,}')}, such as {', '.join([*files][:5])}")


def find(source: str | Path) -> Path:
    """Return the file or folder of a source.

    Args:
        source: a path, or `"fer2013"`, which is looked for in `FERLIB_DATA` if set, else in `data/`.

    Raises:
        FileNotFoundError: it is not there; the message says where it was looked for.
    """
    if source != "fer2013":
        path = user_path(source)
        if not os.path.isfile(path) and not os.path.isdir(path):
            raise FileNotFoundError(f"{path} does not exist; give 'sample', 'fer2013', or the path of a CSV or folder")
        return path
    variable = os.environ.get("FERLIB_DATA")
    folders = [user_path(variable)] if variable else [Path("data"), Path(__file__).parents[2] / "data"]
    for folder in folders:
        if copy := find_fer2013(folder):
            return copy
    if variable and folders[0].exists():
        return folders[0]
    cure = "fetch it (ferlib data fetch fer2013), put fer2013.csv into data/, or set FERLIB_DATA to where it is"
    raise FileNotFoundError(f"fer2013 was not found in {', '.join(map(str, folders))}; {cure}")


def find_fer2013(folder: Path) -> Path | None:
    """Return the copy of FER2013 in a folder: the folder itself, or what lies there under a known name."""
    if folder.is_file() or (folder / "train").is_dir():
        return folder
    return next((folder / name for name in FER2013_NAMES if (folder / name).exists()), None)


def walk(folder: Path) -> list[str]:
    """Return the relative paths of all files in a folder, through links, without what systems leave there."""
    files, visited = [], set()
    for place, folders, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        if os.path.realpath(place) in visited:
            raise ValueError(f"{place} is a link to a folder that is read already; remove it")
        visited.add(os.path.realpath(place))
        folders[:] = [name for name in folders if name not in PASSED_OVER]
        files += [Path(place, name) for name in names if name not in PASSED_OVER and not name.startswith("._")]
    return sorted(file.relative_to(folder).as_posix() for file in files)


def _refuse_folder(error: OSError) -> None:
    raise ValueError(f"the folder {error.filename} cannot be read ({error.strerror}); give it the right to be read")


def has_fer2013_counts(table: pd.DataFrame) -> bool:
    """Tell whether a split has FER2013's number of images of each class, or all do together, by 10%."""
    counts, due = count_faces(table), pd.DataFrame(FER2013_COUNTS).T
    parts = [(counts.loc[split], due.loc[split]) for split in due.index] + [(counts.sum(), due.sum())]
    return any(np.allclose(found, want, rtol=0.1) for found, want in parts)


def digest(path: Path) -> bytes:
    """Return a hash of a file's content, which equal files share."""
    return hashlib.md5(path.read_bytes()).digest()


def tables_beside(path: Path) -> list[str]:
    """Return the names of the other tables in a table's folder."""
    return sorted(file.name for file in path.parent.iterdir() if file.name.lower().endswith(TABLES) and file != path)


def outer_folders(path: Path) -> tuple[str, ...]:
    """Return the names that tell a path's split if nothing inside does: as it was given, then with links resolved.

    Its own name; for a class folder, the name of its parent too.
    """
    names = []
    for whole in (path.absolute(), path.resolve()):
        is_class = whole.name.isdigit() or canonical(whole.name) in EMOTIONS
        names += [whole.parent.name, whole.name] if is_class else [without_endings(whole.name)]
    return tuple(names)


def split_of(folders: Iterable[str], what: str) -> str:
    """Return the split that the innermost folder names, "" if none does.

    Args:
        folders: names of folders and files, outermost first.
        what: the image or table that they are about, for the error.

    Raises:
        ValueError: a name may be a split's, and it is not clear which.
    """
    for name in reversed(tuple(folders)):
        require(split_in(name) != "?", f"{what}: {name!r:.80} sounds like a split; rename it to train, val or test")
        if split_in(name):
            return split_in(name)
    return ""


def split_named(name: str, place: str) -> str:
    """Return the split that a table names.

    Args:
        name: what the table has, such as `"Training"` or `"val"`.
        place: file and line, for the error.

    Raises:
        ValueError: it is no split.
    """
    split = split_of([name], place)
    require(split, f"{place}: split is {name!r:.40}; allowed are {', '.join(SPLIT_WORDS)}")
    return split


def index_labels(table: pd.DataFrame, labels: pd.Series, places: Sequence[str], source: Source) -> tuple[str, ...]:
    """Add the class index of each label to a table, as its column `label`.

    Args:
        table: a row per image.
        labels: the text of each image's label, such as its folder's name.
        places: where each label stands, for the error.
        source: tells what the labels mean.

    Returns:
        The classes, in the order of the indices.

    Raises:
        ValueError: nothing says what a label means.
    """
    known, unique = source.known, sorted(set(labels))
    name, classes = source.path.name, known.classes
    if not known.asked and all(label.isdigit() for label in unique):
        numbers = f"its labels are numbers ({', '.join(unique[:9])})"
        raise ValueError(f"{name}: {numbers}, and nothing shows what they stand for; {WAYS}")
    indices = {}
    if not classes:  # each label is a class of its own
        emotions = known.by_file is not None and {canonical(label) for label in unique} <= set(EMOTIONS)
        classes = EMOTIONS if emotions else tuple(unique)
        indices = {label: classes.index(canonical(label) if emotions else label) for label in unique}
    for label, place in zip(labels, places, strict=True):
        if label not in indices:
            try:
                indices[label] = known.index(label)
            except ValueError as error:
                raise ValueError(f"{name}, {place}: {error}") from error
    table["label"] = labels.map(indices).astype(np.int64)
    for index, label in enumerate(classes):
        words = sorted({word.strip().lower() for word, own in indices.items() if own == index})
        if len(words) > 1 and not set(words) <= set(known.names):
            source.notes.append(f"{' and '.join(words)} are one class, {label}")
    return classes
