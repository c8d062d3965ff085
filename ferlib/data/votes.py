"""FER+'s table of votes: what ten people each saw in the faces of FER2013."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ferlib.emotions import emotion_index

VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "nf")


def read_votes(path: Path) -> pd.DataFrame:
    """FER+'s table: columns VOTES, `image` ("" for no face) and `split` ("" in a `label.csv`, which has no header).

    Raises `FileNotFoundError`, and `ValueError` for any other file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; FER+'s fer2013new.csv is at github.com/microsoft/FERPlus")
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            rows = _vote_rows(iter(lambda: file.readline(2**16), ""))  # a longer line is no row, and not held whole
        except (ValueError, csv.Error) as error:
            raise ValueError(
                f"{path.name} is no table of FER+ votes: {error!s:.200}; fetch fer2013new.csv again"
            ) from error
    votes = pd.DataFrame([row[2:] for row in rows], columns=VOTES, dtype=np.int64)
    return votes.assign(image=[row[1] for row in rows], split=[row[0] for row in rows])


def _vote_rows(file: Iterable[str]) -> list[tuple[Any, ...]]:
    """Split, image and ten votes of each row."""
    made: list[tuple[Any, ...]] = []
    headed = False
    for row in filter(None, csv.reader(file)):
        if not made and not headed and row[-1].strip().lower() == "nf":
            head, headed = [name.strip().lower() for name in row], True
            if head[2:] != list(VOTES):
                raise ValueError(f"its columns are {', '.join(head)[:90]}")
            continue
        votes = row[-10:]
        if not (len(row) == 12 if headed else 11 <= len(row) <= 12) or not all(
            re.fullmatch(" *[0-9]{1,3} *", n) for n in votes
        ):
            raise ValueError(f"row {len(made) + 1 + headed} has no name and ten votes: {', '.join(row)[:90]}")
        made.append((row[0] if headed else "", row[1 if headed else 0], *map(int, votes)))
    if not made:
        raise ValueError("it has no rows")
    return made


def seven_votes(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the ten VOTES (n, 10) those for EMOTIONS (n, 7), and whether one has some and none of the other three more."""
    seven = votes[:, np.argsort([emotion_index(name) for name in VOTES[:7]])]
    return seven, (seven.max(1) > 0) & (seven.max(1) >= votes[:, 7:].max(1))
