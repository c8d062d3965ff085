"""Read faces from image files in folders, a folder a class."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.data.pixels import read_image
from ferlib.data.sources import Source, digest, index_labels, split_of
from ferlib.data.words import IMAGES, IN_NAME, SPLIT_WORDS, split_in
from ferlib.emotions import EMOTIONS, SPLITS, canonical, class_map

# Files that copies of FER2013, and `ferlib.data.export`, number: it has equal faces, and its counts stay exact.
NUMBERED = re.compile(r"(?:(?:training|publictest|privatetest)_\d+|im\d+|fer\d{7}|\d{5})\.\w+")


def read_folder(root: Path, files: list[str], source: Source) -> FaceDataset:
    """Read a tree of class folders.

    Args:
        root: the folder.
        files: relative paths of all files in it.
        source: tells what the labels mean, and takes notes.

    Raises:
        ValueError: names the first file or folder that is not as it should be.
    """
    images = [path for path in files if path.lower().endswith(IMAGES)]
    others = [path for path in files if not path.lower().endswith(IMAGES)]
    places = [place for path in images if (place := _place(path, source)) is not None]
    if not places:
        endings = ", ".join(sorted({Path(path).suffix.lower() or "none" for path in files})) or "there is no file"
        none = f"{source.path.name} holds no image in class folders such as train/happy/ (endings: {endings})"
        raise ValueError(f"{none}; it takes {', '.join(source.known.classes or EMOTIONS)}")
    table = pd.DataFrame(places, columns=["path", "label", "above", "inside", "folder_split"])
    source.note(sorted({*images} - {*table["path"]}), "left out {} images for which the function in classes= gave None")
    source.note(others, "left out {} files that are no images")
    _add_splits(table, source)
    table = _sort(table)
    classes = index_labels(table, table["label"], table["path"].tolist(), source)
    table = _drop_copies(root, table, source)
    _note_places(table, classes, source)
    faces = _read_faces(root, table["path"].tolist(), source.size)
    table = table[["split", "label", "official", "path"]].assign(cropped=[cropped for _, cropped in faces])
    return FaceDataset(np.stack([face for face, _ in faces]), table, classes=classes)


def _read_faces(root: Path, paths: list[str], size: int) -> list[tuple[np.ndarray, bool]]:
    """Read all images; the error names up to ten of those that cannot be read."""
    faces, errors = [], {}
    for path in paths:
        try:
            faces.append(read_image(root / path, path, size))
        except ValueError as error:
            errors[path] = str(error)
    if len(errors) > 1:
        more = f" and {len(errors) - 10} more" if len(errors) > 10 else ""
        names = ", ".join([*errors][:10]) + more
        raise ValueError(f"{len(errors)} images cannot be read: {names}; remove them or save them as 8-bit PNG")
    if errors:
        raise ValueError(*errors.values())
    return faces


def _place(path: str, source: Source) -> tuple[str, str, str, bool, str] | None:
    """Return what an image's path tells; None if the function in `classes=` leaves the image out.

    Args:
        path: of the image, relative to the source.
        source: tells what the names of classes are.

    Returns:
        The path; the name of its class folder, or what the function in `classes=` gave; the folders above its class
        folder; whether it lies in a folder inside of its class folder; the split that a folder names, "" if none.
    """
    folders, known = path.replace("\\", "/").split("/")[:-1], source.known
    if known.by_file is not None:
        answer: object = known.by_file(path)
        if answer is None:
            return None
        if not isinstance(answer, str) or not answer.strip():
            raise ValueError(f"the function in classes= gave {answer!r:.80} for {path}; it must give a name, or None")
        keys = [canonical(folder) for folder in folders]
        at = keys.index(canonical(answer)) if canonical(answer) in keys else -1
        return path, answer, "/".join(folders[:at]), False, split_of(folders, path)
    find = (known if known.classes else class_map()).find
    folders = folders or [source.folders[-1]]  # a class folder was given
    at = _class_folder(path, folders, find, by_name=bool(known.classes))
    above, below = folders[:at], folders[at + 1 :]
    return path, folders[at], "/".join(above), bool(below), split_of(above + below, path)


def _class_folder(path: str, folders: list[str], find: Callable[[str], int | None], by_name: bool) -> int:
    """Return the position of an image's class folder: the one whose name is a class, else the innermost.

    Args:
        path: the image, for the error.
        folders: its folders, outermost first.
        find: the class of a name.
        by_name: whether the classes' names are known; else each innermost folder is a class.

    Raises:
        ValueError: two folders name different classes, or the innermost one is a split's.
    """
    last, hits = len(folders) - 1, [at for at, folder in enumerate(folders) if find(folder) is not None]
    rivals = hits if by_name or not hits else sorted({*hits, last})
    if len({find(folders[at]) for at in rivals}) > 1:
        names = " and ".join(folders[at] for at in rivals)
        raise ValueError(f"{path} lies in the folders {names}, and both may be its class; move it, or rename one")
    if not hits and split_of(folders[-1:], path):
        place = f"{path} lies in no class folder, but directly in {folders[-1]}"
        raise ValueError(f"{place}; make one for each class, or give a function of the path: classes=")
    return hits[-1] if hits else last


def _add_splits(table: pd.DataFrame, source: Source) -> None:
    """Add `split` ("" for none) and `official`; where folders and file names disagree, the folders count."""
    paths, folder = table["path"], table["folder_split"]
    name = paths.str.extract(IN_NAME)[0].str.lower().map(SPLIT_WORDS).fillna("")
    official = paths.str.contains(r"(?:^|/)(?:Training|PublicTest|PrivateTest)_\d[^/]*$")
    several = paths.map(lambda path: len({*map(split_in, path.split("/")[:-1])} - {"", "?"}) > 1)
    source.note(paths[several], "{} images lie in folders of two splits, the innermost counts")
    if (folder == "").all():  # then the names around the source may tell it
        around = [word for word in source.folders if split_in(word) != "?" or not official.all()]
        folder = folder.replace("", split_of(around, source.path.name))
    # Copies of FER2013 may have both tests in one folder.
    merged = official & (folder == "PrivateTest") & (name == "PublicTest") & bool(official.all())
    clash = (folder != "") & (name != "") & (folder != name) & ~merged
    source.note(paths[clash], "{} images are named for another split than their folder's, which counts")
    alone = (folder == "") & (name != "") & ~official
    told = bool(alone.all()) and name.nunique() > 1
    verdict = "count, as all tell one" if told else "do not count"
    seen = paths[alone & (told or name != "Training")]
    source.note(seen, f"{{}} images lie in no split's folder: their names {verdict}")
    by_name = ((folder == "") & (official | told)) | (merged & (not clash.any()))
    table["split"] = name.where(by_name, folder)
    table["official"] = official & (not clash.any())


def _sort(table: pd.DataFrame) -> pd.DataFrame:
    """Sort images by split and by the numbers in their paths; raise `ValueError` if some have a split, others none."""
    unknown = table["split"] == ""
    if unknown.any() and not unknown.all():
        lost, other = table["path"][unknown].iloc[0], table["path"][~unknown].iloc[0]
        raise ValueError(f"{lost} lies in no folder of a split, unlike {other}; move it, or rename its folder")
    table["split"] = table["split"].replace("", "Training")
    numbers = table["path"].map(lambda path: tuple(int(number) for number in re.findall(r"\d+", path)))
    keys = list(zip(table["split"].map(SPLITS.index), numbers, table["path"], strict=True))
    return table.iloc[sorted(range(len(table)), key=keys.__getitem__)].reset_index(drop=True)


def _drop_copies(root: Path, table: pd.DataFrame, source: Source) -> pd.DataFrame:
    """Drop equal files of one split and class: a folder that is there twice, `1 (1).png`, `Copy of 1.png`, a link."""
    names = table["path"].map(lambda path: Path(path).name.lower())
    keys = table[["split", "label"]].assign(content=[digest(root / path) for path in table["path"]], name=names)
    keys = keys.loc[sorted(table.index, key=lambda row: (table["path"][row].count("/"), len(table["path"][row])))]
    same_file, same_content = keys.duplicated(), keys.drop(columns="name").duplicated()
    other_face = [NUMBERED.fullmatch(name) is not None for name in keys["name"]]
    copies = (same_file | (same_content & ~np.array(other_face))).sort_index()
    source.note(table["path"][copies], "left out {} images that are copies of others")
    return table[~copies].reset_index(drop=True)


def _note_places(table: pd.DataFrame, classes: tuple[str, ...], source: Source) -> None:
    """Note what else paths tell: folders inside of class folders, class folders in several places, names of files."""
    paths = table["path"]
    source.note(paths[table["inside"]], "{} images lie in folders inside of their class folder, which counts")
    for split, above in table.groupby("split")["above"]:
        if above.nunique() > 1:
            source.note(above.drop_duplicates().replace("", "."), f"class folders of {{}} folders are all {split}")
    if source.known.by_file is None:
        emotions = any(canonical(name) in EMOTIONS or name.isdigit() for name in classes)
        names = dict.fromkeys(EMOTIONS if emotions else (), -1)
        names |= {canonical(name): index for index, name in enumerate(classes)}
        words = paths.map(lambda path: re.findall(r"[^\W\d_]{3,}", Path(path).stem))
        told = words.map(lambda parts: {names[canonical(word)] for word in parts if canonical(word) in names})
        odd = [bool(own) and label not in own for own, label in zip(told, table["label"], strict=True)]
        source.note(paths[odd], "{} images are named for another class than their folder's, which counts")
