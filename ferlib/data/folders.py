"""Read faces from image files in folders: a folder a class, or FER+'s folders with their votes."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.data.ferplus import VOTES, read_votes, seven_votes
from ferlib.data.pixels import read_image
from ferlib.data.sources import (
    SPLIT_FOLDERS,
    VOTE_TABLES,
    Source,
    index_labels,
    split_key,
    split_of,
    vote_tables_beside,
)
from ferlib.emotions import EMOTIONS, SPLITS

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm"}
FERPLUS_FOLDERS = dict(zip(("fer2013train", "fer2013valid", "fer2013test"), SPLITS, strict=True))


def read_folder(root: Path, files: list[str], source: Source) -> FaceDataset:
    """Read a tree of class folders; an official file name, else a folder, tells the split.

    Args:
        root: the folder.
        files: relative paths of all files in it.
        source: tells what the labels mean, and takes notes.

    Raises:
        ValueError: names the first file or folder that is not as it should be.
    """
    images = [path for path in files if Path(path).suffix.lower() in IMAGE_SUFFIXES]
    others = [path for path in files if Path(path).suffix.lower() not in IMAGE_SUFFIXES]
    others = [path for path in others if Path(path).name not in ("label.csv", *VOTE_TABLES)]
    rows = [row for path in images if (row := _describe(path, source)) is not None]
    if not rows:
        wanted = ", ".join(source.known.classes or EMOTIONS)
        raise ValueError(f"{source.path.name} holds no image in class folders such as train/happy/ ({wanted})")
    if len(rows) < len(images):
        source.notes.append(f"left out {len(images) - len(rows):,} images for which the function in classes= gave None")
    if others:
        source.notes.append(f"left out {len(others):,} files that are no images, such as {', '.join(others[:5])}")
    table = _sort(pd.DataFrame(rows, columns=["split", "class", "official", "path"]))
    labels = table.pop("class")
    if (labels == "").all():
        if source.known.classes != EMOTIONS:
            raise ValueError(
                f"{source.path.name} is labelled by FER+'s votes for the seven emotions; leave out classes="
            )
        table = _label_by_votes(root, files, table, source)
        classes: tuple[str, ...] = EMOTIONS
    elif (labels == "").any():
        raise ValueError(f"{source.path.name} holds both FER+'s folders and class folders; load one of them")
    else:
        classes = index_labels(table, labels, table["path"].tolist(), source)
    faces = [read_image(root / path, path, source.size) for path in table["path"]]
    table["cropped"] = [cropped for _, cropped in faces]
    return FaceDataset(np.stack([face for face, _ in faces]), table, classes=classes)


def _describe(path: str, source: Source) -> tuple[str, str, bool, str] | None:
    """Return an image's split ("" unknown), class ("" by FER+'s votes), whether the split is official, and path.

    None if the function in `classes=` leaves the image out.
    """
    folders = (*source.folders, *path.split("/")[:-1])
    above, label = folders[:-1], folders[-1]
    if label.lower() in FERPLUS_FOLDERS:
        return FERPLUS_FOLDERS[label.lower()], "", True, path
    if source.known.by_file is not None:
        answer: object = source.known.by_file(path)
        if answer is None:
            return None
        if not isinstance(answer, str) or not answer.strip():
            raise ValueError(f"the function in classes= gave {answer!r:.80} for {path}; it must give a name, or None")
        above, label = folders, answer
    elif split_key(label) in SPLIT_FOLDERS:
        raise ValueError(
            f"{path} lies in no class folder, but directly in {label}; put a folder for each class into it"
        )
    official = re.match(r"(Training|PublicTest|PrivateTest)_", path.rpartition("/")[2])
    split = official[1] if official else split_of(above, path)
    return split, label, official is not None, path


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


def _label_by_votes(root: Path, files: list[str], table: pd.DataFrame, source: Source) -> pd.DataFrame:
    """Label FER+'s images by the class with most votes, and leave out those of none of the seven emotions."""
    own = [root / file for file in files if Path(file).name == "label.csv"]
    shared = [root / file for file in files if Path(file).name in VOTE_TABLES] + vote_tables_beside(source.path)
    tables = own or shared[:1]
    if not tables:
        raise ValueError(f"{source.path.name} lacks FER+'s votes; put fer2013new.csv into it or beside it")
    # Four names stand in FER+'s table twice; who writes its images in its order keeps the last.
    votes = pd.concat([read_votes(path) for path in tables]).drop_duplicates("image", keep="last").set_index("image")
    names = table["path"].map(lambda path: Path(path).name)
    unknown = table["path"][~names.isin(votes.index)]
    if len(unknown):
        raise ValueError(f"{unknown.iloc[0]} has no row in {tables[0].name}; fetch fer2013new.csv again")
    table = table.join(votes[list(VOTES)].loc[names].reset_index(drop=True))
    seven, valid = seven_votes(table[list(VOTES)].to_numpy())
    source.notes.append(f"FER+: {(~valid).sum():,} images left out, with most votes for none of the seven emotions")
    return table.assign(label=seven.argmax(1))[valid].reset_index(drop=True)
