"""Audit a dataset for leaks, split it without any, and keep the test split sealed until it is opened on purpose.

The seal is a convention: the images lie on your own disk. But no call returns a real `PrivateTest` by accident, and
each call that does writes a line to a ledger. (Anyone can draw the drawn faces: `ferlib.sample.dataset` returns all
splits.)
"""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from ferlib.data import FaceDataset, loading
from ferlib.emotions import SPLITS, Classes

LEDGER = "sealed_test_ledger.jsonl"


def image_hashes(images: np.ndarray) -> np.ndarray:
    """Hash images, so that equal hashes mean equal pixels (BLAKE2b, 128 bits).

    Args:
        images: uint8 (n, h, w).

    Returns:
        Texts of 32 hex digits, (n,).

    >>> hashes = image_hashes(np.zeros((2, 48, 48), np.uint8))
    >>> bool(hashes[0] == hashes[1])
    True
    """
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images], dtype="U32")


@dataclass(frozen=True, eq=False)
class Audit:
    """The result of `audit`.

    Attributes:
        name: of the dataset.
        table: a row for each image of every split: row, split, hash, blank; no pixels and no labels.
        conflicts: groups of identical images whose labels differ.
        size: side of the images in pixels when they were compared.
    """

    name: str
    table: pd.DataFrame
    conflicts: int
    size: int = 48

    @property
    def splits(self) -> list[str]:
        """The splits that the dataset has, in their order."""
        return [split for split in SPLITS if (self.table["split"] == split).any()]

    def has_twin(self, split: str, others: Sequence[str]) -> np.ndarray:
        """Find the images of a split that other splits hold too.

        Args:
            split: the split to look at.
            others: a list of the splits to search.

        Returns:
            Bool (n,), one for each image of `split`: whether the same pixels are in one of the others.

        Raises:
            ValueError: there is no such split.
        """
        if unknown := sorted({split, *others} - {*SPLITS}):
            raise ValueError(f"{', '.join(unknown)}: no such split; allowed are {', '.join(SPLITS)}, others as a list")
        hashes = self.table["hash"]
        return hashes[self.table["split"] == split].isin(hashes[self.table["split"].isin(others)]).to_numpy()

    def clean(self, split: str) -> np.ndarray:
        """Find the images of a split without a twin in any split before it: bool (n,)."""
        return ~self.has_twin(split, SPLITS[: SPLITS.index(split)])

    def figures(self) -> pd.Series:
        """Return the counts that a report should give, each under what it counts."""
        counts = {f"images in {split}": (self.table["split"] == split).sum() for split in self.splits}
        counts |= {"images in all": len(self.table), "distinct images": self.table["hash"].nunique()}
        counts["images with an identical twin anywhere"] = self.table["hash"].duplicated(keep=False).sum()
        for place, split in enumerate(self.splits[1:], 1):
            for others in dict.fromkeys([(self.splits[0],), tuple(self.splits[:place])]):
                counts[f"{split} images with a twin in {' or '.join(others)}"] = self.has_twin(split, others).sum()
            counts[f"clean {split} images"] = self.clean(split).sum()
        if len(self.splits) > 1 and "Training" in self.splits:
            counts["Training images with a twin in a test split"] = self.has_twin("Training", SPLITS[1:]).sum()
        counts["groups of identical images with different labels"] = self.conflicts
        return pd.Series(counts | {"blank images": self.table["blank"].sum()}, name=self.name, dtype=int)

    def __str__(self) -> str:
        return f"{self.name}\n{self.figures().map('{:,}'.format).to_string()}"


def audit(source: str | Path = "sample", *, size: int = 48, classes: Classes = None) -> Audit:
    """Find identical images within and across all splits, conflicting labels, and blank images.

    The sealed split is read too, but only counts and hashes leave this function.

    Args:
        source: as for `data.load`.
        size: as for `data.load`; give the size of the faces that the audit is for.
        classes: as for `data.load`.

    >>> int(audit("sample").figures()["clean PrivateTest images"])
    1840
    """
    data = loading.load_with_sealed(source, size=size, classes=classes)
    table = data.table[["row", "split"]].assign(hash=image_hashes(data.images), blank=np.ptp(data.images, (1, 2)) == 0)
    conflicts = int((data.table["label"].groupby(table["hash"]).nunique() > 1).sum())
    return Audit(data.name, table, conflicts, size)


def drop_leaked(dataset: FaceDataset, audited: Audit) -> FaceDataset:
    """Drop the Training images that have a twin in a test split, the sealed one included.

    Args:
        dataset: the faces.
        audited: the audit of the same data.

    Raises:
        ValueError: faces and audit have two sizes, so that no pixels could be equal.
    """
    side = dataset.images.shape[1]
    if side != audited.size:
        raise ValueError(f"the faces have {side} px, the audit {audited.size}; give audit(source, size={side})")
    leaked = np.isin(image_hashes(dataset.images), audited.table.loc[audited.table["split"] != "Training", "hash"])
    return dataset.subset(~(leaked & (dataset.table["split"] == "Training").to_numpy()))


def split(dataset: FaceDataset, *, share: float = 0.1, seed: int = 0) -> tuple[FaceDataset, FaceDataset]:
    """Split a dataset in two, with the classes in proportion and without leaks.

    Identical images stay in one part, and so do faces of one `identity` where the table has that column.

    Args:
        dataset: the faces.
        share: the second part's share of the faces, 0.01 to 0.5; it is met approximately.
        seed: of the random numbers; the same seed gives the same parts.

    Returns:
        The larger and the smaller part.

    Raises:
        ValueError: `share` is out of range, or there are too few faces.
    """
    if not 0.01 <= share <= 0.5:
        raise ValueError(f"share is {share}; it is the second part's share of the dataset, 0.01 to 0.5")
    part = Fraction(share).limit_denominator(max(10, round(1 / share)))  # 0.4 is two folds of five
    if max(np.bincount(dataset.labels), default=0) < part.denominator:
        raise ValueError(f"cannot split {len(dataset)} faces with share={share}; give {part.denominator} of each class")
    folds = StratifiedGroupKFold(n_splits=part.denominator, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # a rare emotion may be in one part only
        tests = [test for _, test in folds.split(dataset.images, dataset.labels, _groups(dataset))]
    # Random folds, not the first ones: these always hold the largest group.
    picked = np.random.default_rng(seed).permutation(len(tests))[: part.numerator]
    second = np.isin(np.arange(len(dataset)), np.concatenate([tests[k] for k in picked]))
    return dataset.subset(~second), dataset.subset(second)


def take(dataset: FaceDataset, n: int) -> FaceDataset:
    """Take n faces, the same ones each time, with the classes in proportion and the order kept.

    Args:
        dataset: the faces.
        n: how many to take; each class needs one face taken and one left. The only face of a class is taken.

    Raises:
        ValueError: so many faces cannot be taken.
    """
    least, most = len(dataset.classes), len(dataset) - len(dataset.classes)
    if not least <= n <= most:
        raise ValueError(f"cannot take {n:,} of {len(dataset):,} faces; take {least} to {most:,} of them")
    alone = np.bincount(dataset.labels)[dataset.labels] == 1
    rest, more = np.flatnonzero(~alone), n - alone.sum()
    picks, _ = train_test_split(rest, train_size=more, stratify=dataset.labels[rest], random_state=0)
    return dataset.subset(np.sort([*np.flatnonzero(alone), *picks]))


def _groups(dataset: FaceDataset) -> np.ndarray:
    """Return a group number for each face, (n,): equal for faces linked by a chain of twins and shared identities."""
    table = dataset.table.assign(hash=image_hashes(dataset.images))
    keys = [table[name].to_numpy() for name in ("hash", "identity") if name in table]
    groups, before = pd.Series(range(len(table))), pd.Series(dtype=int)
    while not groups.equals(before):
        before = groups
        for key in keys:
            groups = groups.groupby(key).transform("min")
    return groups.to_numpy()


def open_sealed(
    source: str | Path, reason: str, model_hash: str, *, ledger: str | Path = LEDGER, size: int = 48,
    classes: Classes = None,
) -> FaceDataset:  # fmt: skip
    """Open the sealed `PrivateTest` and write time, data, model and reason to the ledger.

    Open it once, when everything has been chosen on other data.

    Args:
        source: as for `data.load`.
        reason: why it is opened, such as "the final figure".
        model_hash: of the one model to judge: `ferlib.models.model_hash(model)`.
        ledger: the file to write to; the line is written before the faces are returned.
        size: as for `data.load`.
        classes: as for `data.load`.

    Returns:
        The faces of `PrivateTest`.

    Raises:
        ValueError: there is no reason, no hash or no `PrivateTest`.
        OSError: the ledger cannot be written; the test stays closed.
    """
    if not reason.strip() or not model_hash.strip():
        raise ValueError("opening the sealed test takes a reason and the hash of the model: models.model_hash(model)")
    test = loading.load_with_sealed(source, size=size, classes=classes)
    if not (test.table["split"] == "PrivateTest").any():
        raise ValueError(f"{test.name} has no PrivateTest images to open")
    if Path(ledger).exists():
        warnings.warn(f"the sealed test was opened before: {ledger} says when and why", stacklevel=2)
    now = pd.Timestamp.now("UTC").isoformat(timespec="seconds")
    entry = {"time": now, "data": test.name, "model": model_hash, "reason": reason.strip()}
    with open(ledger, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    return test.subset("PrivateTest")
