"""How a figure earns trust: look for leaks, split without any, and keep the test sealed until it is asked for.

The seal is a convention. The images lie on your own disk, and nothing here can stop whoever means to look; but no call
hands out a real `PrivateTest` by accident, and each one that does leaves a line in a ledger. (The drawn faces can of
course be drawn by anyone: `ferlib.sample.dataset` gives all three of their splits.)
"""

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from ferlib import data
from ferlib.data import loading
from ferlib.data import FaceDataset
from ferlib.emotions import SPLITS, Classes

LEDGER = "sealed_test_ledger.jsonl"


def image_hashes(images: np.ndarray) -> np.ndarray:
    """A text of 32 hex digits for each image (n, h, w); equal texts mean equal pixels (BLAKE2b, 128 bits)."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images], dtype="U32")


@dataclass(frozen=True, eq=False)
class Audit:
    """What `audit` found. `table` has a row an image of every split: row, split, hash, blank; no pixels, no labels.

    `conflicts` counts groups of identical images whose labels differ.
    """

    name: str
    table: pd.DataFrame
    conflicts: int

    @property
    def splits(self) -> list[str]:
        """The splits that are there, in their order."""
        return [split for split in SPLITS if (self.table["split"] == split).any()]

    def has_twin(self, split: str, others: Sequence[str]) -> np.ndarray:
        """For each image of `split`, (n,) bool: whether the same pixels stand in one of the `others`."""
        unknown = sorted({split, *others} - set(SPLITS))
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: no such split; allowed are {', '.join(SPLITS)}, others as a list")
        hashes = {name: part["hash"] for name, part in self.table.groupby("split")}
        seen = set().union(*(hashes[other] for other in others if other in hashes))
        return hashes[split].isin(seen).to_numpy() if split in hashes else np.zeros(0, bool)

    def clean(self, split: str) -> np.ndarray:
        """For each image of `split`, (n,) bool: no twin in any split before it (those that a model is chosen on)."""
        return ~self.has_twin(split, SPLITS[: SPLITS.index(split)])

    def figures(self) -> pd.Series:
        """The counts that a report should give, each under a sentence that says what is counted."""
        table = self.table
        sizes = table["hash"].map(table["hash"].value_counts())
        found: dict[str, int] = {f"images in {split}": int((table["split"] == split).sum()) for split in self.splits}
        found["images in all"] = len(table)
        found["distinct images"] = int(table["hash"].nunique())
        found["images with an identical twin anywhere"] = int((sizes > 1).sum())
        for split in self.splits[1:]:
            before = self.splits[: self.splits.index(split)]
            for others in dict.fromkeys([(before[0],), tuple(before)]):
                found[f"{split} images with a twin in {' or '.join(others)}"] = int(self.has_twin(split, others).sum())
            found[f"clean {split} images"] = int(self.clean(split).sum())
        if len(self.splits) > 1 and "Training" in self.splits:
            found["Training images with a twin in a test split"] = int(self.has_twin("Training", SPLITS[1:]).sum())
        found["groups of identical images with different labels"] = self.conflicts
        found["blank images"] = int(table["blank"].sum())
        return pd.Series(found, name=self.name)

    def __str__(self) -> str:
        figures = self.figures()
        width = max(map(len, figures.index))
        return "\n".join([self.name] + [f"  {what:<{width}}  {count:>7,}" for what, count in figures.items()])


def audit(source: str | Path = "sample", *, classes: Classes = None) -> Audit:
    """Look for identical twins within and across all splits, for conflicting labels and for blank images.

    Of the sealed split too, but only counts and hashes leave this function: to audit is not to open. `classes` as for
    `data.load`.
    """
    whole = loading._load(source, size=48, sealed=True, classes=classes)
    table = whole.table[["row", "split"]].assign(hash=image_hashes(whole.images))
    table["blank"] = whole.images.min((1, 2)) == whole.images.max((1, 2))
    conflicts = int((whole.table["label"].groupby(table["hash"]).nunique() > 1).sum())
    return Audit(whole.name, table, conflicts)


def drop_leaked(dataset: FaceDataset, found: Audit) -> FaceDataset:
    """The dataset without those Training images that have a twin in a test split, the sealed one included."""
    tests = set(found.table.loc[found.table["split"] != "Training", "hash"])
    leaked = np.array([text in tests for text in image_hashes(dataset.images)])
    return dataset.subset(~(leaked & (dataset.table["split"] == "Training").to_numpy()))


def split(dataset: FaceDataset, *, share: float = 0.1, seed: int = 0) -> tuple[FaceDataset, FaceDataset]:
    """Part a dataset in two, about 1 - share and share, with the classes in proportion.

    Identical images, and faces of one identity where the table tells it, stay together on one side, so that the second
    part can judge what was learned from the first. The same seed gives the same parts.
    """
    if not 0.01 <= share <= 0.5:
        raise ValueError(f"share is {share}; it is the second part's share of the dataset, 0.01 to 0.5")
    part = Fraction(share).limit_denominator(max(10, round(1 / share)))  # 0.4 is two folds of five
    folds = StratifiedGroupKFold(n_splits=part.denominator, shuffle=True, random_state=seed)
    second = np.zeros(len(dataset), bool)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class")  # a rare emotion may lie on one side only
            every = [fold for _, fold in folds.split(dataset.images, dataset.labels, _together(dataset))]
        # Any of the folds, not the first ones: these always hold the largest group.
        for pick in np.random.default_rng(seed).permutation(len(every))[: part.numerator]:
            second[every[pick]] = True
    except ValueError as error:
        raise ValueError(
            f"{len(dataset)} faces cannot be parted at a share of {share}: each class needs {part.denominator} or more"
        ) from error
    return dataset.subset(~second), dataset.subset(second)


def take(dataset: FaceDataset, n: int) -> FaceDataset:
    """n of a dataset's faces, the same ones each time: classes in proportion, their order kept."""
    least = len(dataset.classes)  # one of each class, and as many are left on the other side
    most = len(dataset) - least
    if not least <= n <= most:
        raise ValueError(
            f"{n:,} faces were asked for; of {len(dataset):,}, {least} to {most:,} can be taken in proportion"
        )
    picks, _ = train_test_split(range(len(dataset)), train_size=n, stratify=dataset.labels, random_state=0)
    return dataset.subset(sorted(picks))


def _together(dataset: FaceDataset) -> np.ndarray:
    """A group number for each face, (n,): equal for faces linked by any chain of twins and shared identities."""
    links = [image_hashes(dataset.images)]
    if "identity" in dataset.table:
        links.append(dataset.table["identity"].to_numpy())
    faces, n = np.arange(len(dataset)), len(dataset)
    rows, columns, nodes = [], [], n
    for link in links:
        numbers = np.unique(link, return_inverse=True)[1]
        rows.append(faces)
        columns.append(numbers + nodes)
        nodes += numbers.max() + 1
    ends = (np.concatenate(rows), np.concatenate(columns))
    return connected_components(coo_array((np.ones(len(ends[0])), ends), shape=(nodes, nodes)), directed=False)[1][:n]


def open_sealed(
    source: str | Path, reason: str, model_hash: str, *, ledger: str | Path = LEDGER, classes: Classes = None
) -> FaceDataset:
    """Give the sealed `PrivateTest`, after writing time, data, model and reason to the ledger.

    Open it once, when everything has been chosen on other data. `model_hash` says which model is to be judged
    (`ferlib.models.model_hash`). Raises `ValueError` without a reason, a hash or a `PrivateTest`, and when the ledger
    cannot be written: then the test stays closed.
    """
    if not reason.strip():
        raise ValueError('opening the sealed test takes a reason, such as "the final figure"')
    if not model_hash.strip():
        raise ValueError(
            "opening the sealed test takes the hash of the one model to judge: ferlib.models.model_hash(model)"
        )
    test = loading._load(source, size=48, sealed=True, classes=classes)
    if not (test.table["split"] == "PrivateTest").any():
        raise ValueError(f"{test.name} has no PrivateTest images to open")
    opened = len(Path(ledger).read_text(encoding="utf-8").splitlines()) if Path(ledger).is_file() else 0
    if opened:
        warnings.warn(f"the sealed test was opened before: {ledger} has {opened} lines", stacklevel=2)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    line = json.dumps({"time": now, "data": test.name, "model": model_hash, "reason": reason.strip()})
    try:
        with open(ledger, "a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ValueError(
            f"the ledger {ledger} cannot be written ({error.strerror}); the sealed test stays closed"
        ) from error
    return test.subset("PrivateTest")
