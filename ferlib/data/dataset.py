"""Faces in memory as a torch `Dataset`, and loaders of whole batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler, get_worker_info

from ferlib.data.words import SPLIT_WORDS
from ferlib.emotions import EMOTIONS, SPLITS, check_classes, match_classes
from ferlib.transforms import apply_transform, check_transform
from ferlib.utils import require


@dataclass(frozen=True, eq=False)
class FaceDataset(Dataset):
    """Hold faces in memory: a map-style torch `Dataset` of (tensor, label).

    Args:
        images: uint8 (n, h, w).
        table: n rows with the column `label` (class index). `split` ("Training") and `row` (0 to n - 1, the order in
            the source) are added if they are missing.
        name: what messages call the dataset.
        notes: what is missing or odd about the source.
        transform: what each face goes through when it is taken, None for nothing. An Albumentations pipeline
            (`A.Compose`) gets the array, torchvision's transforms a PIL image, another module a uint8 tensor (1, h, w),
            another function the array (h, w). An Albumentations pipeline is seeded from torch's generator for each
            face, so that workers do not repeat each other and reruns are equal.
        targets: soft labels, float32 (n, k): the share of each class. They are given out instead of the labels.
        draw: draw a label from `targets` each time a face is taken.
        classes: the names of the classes, in the order of the indices.

    Raises:
        ValueError: the images are not uint8 (n, h, w), lengths differ, labels are outside of the classes, targets are
            no shares, or two classes have one name.
    """

    images: np.ndarray
    table: pd.DataFrame
    name: str = "faces"
    notes: tuple[str, ...] = ()
    transform: Callable[..., Any] | None = None
    targets: np.ndarray | None = None
    draw: bool = False
    classes: tuple[str, ...] = EMOTIONS

    def __post_init__(self) -> None:
        dtype, shape = getattr(self.images, "dtype", type(self.images).__name__), np.shape(self.images)
        if dtype != np.uint8 or len(shape) != 3:
            cure = "if they are 0 to 1: (255 * images).round().astype(np.uint8)"
            raise ValueError(f"images are {dtype} {shape}; due is gray uint8 (n, h, w), 0 to 255; {cure}")
        if len(self.images) != len(self.table):
            raise ValueError(f"{len(self.images)} images but {len(self.table)} rows in the table; give a row per image")
        defaults: dict[str, Any] = {"split": "Training", "row": np.arange(len(self.table))}
        missing = {column: value for column, value in defaults.items() if column not in self.table}
        object.__setattr__(self, "table", self.table.assign(**missing) if missing else self.table)
        object.__setattr__(self, "classes", check_classes(self.classes))
        if unknown := sorted({*map(str, self.table["split"])} - {*SPLITS}):
            raise ValueError(f"the table has the split {unknown[0]!r:.40}; allowed are {', '.join(SPLITS)}")
        require("label" in self.table, f"the table has the columns {', '.join(map(str, self.table))}; label is missing")
        labels = self.table["label"].to_numpy()
        if len(labels):
            kind = f"labels are {labels.dtype}, such as {labels[0]!r:.40}"
            require(labels.dtype.kind in "iu", f"{kind}; give class indices, whole numbers")
            low, high, named = labels.min(), labels.max(), f"{len(self.classes)} classes ({', '.join(self.classes)})"
            require(low >= 0 and high < len(self.classes), f"labels are {low} to {high}, and there are {named}; "
                    "give classes a name for each label")  # fmt: skip
        check_transform(self.transform)
        due = (len(self), len(self.classes))
        if self.targets is not None and self.targets.shape != due:
            raise ValueError(f"targets is {self.targets.shape}; due is {due}, the shares of the classes of each face")
        if self.targets is not None:
            right = (self.targets >= 0).all(1) & (abs(self.targets.sum(1) - 1) < 1e-3)  # NaN is not
            row = int(right.argmin()) if len(right) else 0
            require(right.all(), f"targets[{row}] is no row of shares; they are at least 0 and sum to 1")

    @classmethod
    def from_arrays(
        cls, images: np.ndarray, labels: Sequence[int] | np.ndarray, classes: Sequence[str] = EMOTIONS, **fields: Any
    ) -> "FaceDataset":
        """Make a dataset from arrays, all of it Training.

        Args:
            images: uint8 (n, h, w).
            labels: class indices (n,).
            classes: the names of the classes, the seven emotions unless told. An `ImageFolder` counts its labels in
                another order: give its `classes`.
            **fields: other fields of the dataset.

        >>> faces = FaceDataset.from_arrays(np.zeros((2, 48, 48), np.uint8), [0, 1], classes=("open", "shut"))
        >>> len(faces), faces.classes
        (2, ('open', 'shut'))
        """
        indices = np.asarray(labels)
        require(indices.ndim == 1, f"labels are {indices.shape}; give class indices, one whole number for each image")
        return cls(images, pd.DataFrame({"label": indices}), classes=check_classes(classes), **fields)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int | torch.Tensor]:
        """Return one face, a tensor (channels, h, w), and its label.

        The face is uint8 (1, h, w) unless `transform` changes it. The label is an int, or with `targets` their float32
        tensor (k,), unless `draw` draws an int from them.
        """
        label = self.labels_at([index])[0]
        return apply_transform(self.transform, self.images[index]), int(label) if label.ndim == 0 else label

    def labels_at(self, indices: list[int]) -> torch.Tensor:
        """Return the labels of some faces, as a loader does: int64 (b,), or float32 targets (b, k)."""
        if self.targets is None:
            return torch.from_numpy(self.labels[indices])
        targets = torch.from_numpy(self.targets[indices])
        return torch.multinomial(targets, 1)[:, 0] if self.draw else targets

    @cached_property
    def labels(self) -> np.ndarray:
        """The class index of each image, (n,) int64, read-only.

        To change labels, make a new dataset: `dataclasses.replace(faces, table=faces.table.assign(label=...))`. For
        a tensor, copy them: `torch.tensor(faces.labels)`.
        """
        labels = np.array(self.table["label"], dtype=np.int64)
        labels.setflags(write=False)
        return labels

    def counts(self) -> pd.DataFrame:
        """Count the images of each split (rows) and class (columns).

        >>> faces = FaceDataset.from_arrays(np.zeros((3, 48, 48), np.uint8), [0, 1, 1], ("open", "shut"))
        >>> faces.counts().loc["Training"].to_dict()
        {'open': 1, 'shut': 2}
        """
        counts = count_faces(self.table, self.classes)
        return counts[counts.any(axis=1)]

    def with_transform(self, transform: Callable[..., Any] | None) -> "FaceDataset":
        """Return the same faces with another transform.

        With `A.Normalize` and `ToTensorV2` at its end, a network gets the faces as they are. Without them it gets
        uint8 faces, which `fit` and `predict` normalise as the FaceModel's `input_spec` says.

        Args:
            transform: see the class; None for nothing.

        Raises:
            ValueError: it is no transform; the message names what is.

        >>> import albumentations as A
        >>> from albumentations.pytorch import ToTensorV2
        >>> faces = FaceDataset.from_arrays(np.full((2, 48, 48), 255, np.uint8), [0, 1])
        >>> faces.with_transform(A.Compose([A.HorizontalFlip(), A.Normalize((0.5,), (0.5,)), ToTensorV2()]))[0][0].max()
        tensor(1.)
        """
        return replace(self, transform=transform)

    def with_classes(self, classes: Sequence[str]) -> "FaceDataset":
        """Return the same faces with their classes in another order, matched by name.

        Args:
            classes: the same names in another order.

        Raises:
            ValueError: the names are others.

        >>> faces = FaceDataset.from_arrays(np.zeros((2, 48, 48), np.uint8), [0, 1], ("open", "shut"))
        >>> faces.with_classes(("shut", "open")).labels.tolist()
        [1, 0]
        """
        places = match_classes(tuple(classes), self.classes, self.name)
        if places is None:
            return replace(self, classes=tuple(classes))
        targets = None if self.targets is None else self.targets[:, np.argsort(places)]
        table = self.table.assign(label=places[self.labels])
        return replace(self, table=table, targets=targets, classes=tuple(classes))

    def subset(self, which: str | Sequence[int] | np.ndarray | pd.Series) -> "FaceDataset":
        """Return some of the faces.

        Args:
            which: a split (`"Training"`, or `"train"`, `"val"` as folders call it), a boolean mask (n,), or positions.

        Raises:
            ValueError: the dataset does not have this split, the mask has another length or order, or numbers 0 and 1
                stand where a mask is meant.

        >>> faces = FaceDataset.from_arrays(np.zeros((3, 48, 48), np.uint8), [0, 1, 1])
        >>> len(faces.subset("train")), len(faces.subset(faces.labels == 1)), len(faces.subset([0]))
        (3, 2, 1)
        """
        if isinstance(which, str):
            split = SPLIT_WORDS.get(which.lower(), which)
            which = (self.table["split"] == split).to_numpy()
            present = ", ".join(self.table["split"].unique()) or "none"
            require(which.any(), f"{self.name} has no split {split!r} open; it has {present}. PrivateTest stays "
                    "sealed: see ferlib.protocol.open_sealed; ferlib.protocol.split parts Training")  # fmt: skip
        picks = np.asarray(which) if len(which) else np.empty(0, np.int64)
        fits = picks.dtype != bool or len(picks) == len(self)
        require(fits, f"a mask of {len(picks)} was given for a dataset of {len(self)} images")
        if isinstance(which, pd.Series) and picks.dtype == bool and not which.index.equals(self.table.index):
            raise ValueError("the mask's index is not the table's, in its order; give a mask made from faces.table")
        check_picks(picks, len(self))
        images, table = self.images[picks], self.table.iloc[picks].reset_index(drop=True)
        return replace(self, images=images, table=table, targets=None if self.targets is None else self.targets[picks])

    def __repr__(self) -> str:
        lines = [f"{self.name}: {len(self):,} faces of {self.images.shape[1]}x{self.images.shape[2]} px"]
        lines += [f"  {split}: {int(total):,}" for split, total in self.counts().sum(axis=1).items()]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def check_picks(picks: np.ndarray, count: int) -> None:
    """Check that positions are no mask of numbers.

    Args:
        picks: a mask or positions.
        count: number of the faces to pick from.

    Raises:
        ValueError: numbers 0 and 1, one for each face, are given.
    """
    numbers = picks.dtype.kind in "iu" and len(picks) == count > 2 and set(picks.tolist()) <= {0, 1}
    require(not numbers, "numbers 0 and 1, one for each image, are a mask; give it as bool: mask.astype(bool)")


def count_faces(table: pd.DataFrame, classes: Sequence[str] = EMOTIONS) -> pd.DataFrame:
    """Count the rows of a table by split (rows, all three) and class (columns).

    Args:
        table: has the columns `split` and `label`.
        classes: the names of the classes.
    """
    counts = pd.crosstab(table["split"], table["label"])
    return counts.reindex(index=SPLITS, columns=range(len(classes)), fill_value=0).set_axis(list(classes), axis=1)


def loader(
    dataset: Dataset, batch_size: int, *, shuffle: bool = False, workers: int = 0,
    weights: Sequence[float] | np.ndarray | torch.Tensor | None = None, generator: torch.Generator | None = None,
) -> DataLoader:  # fmt: skip
    """Load batches (images, labels) of a dataset.

    Seed torch before each epoch: the order, and each worker's random numbers, follow from it, or from `generator`.

    Args:
        dataset: a `FaceDataset`, or any map-style dataset of (tensor, label).
        batch_size: faces per batch.
        shuffle: shuffle the faces, and drop the last, smaller batch.
        workers: processes that prepare batches; 0 prepares them here.
        weights: draw faces with replacement, with these weights (n,); needs `shuffle`. The draws follow
            `loader.sampler.generator`, which starts at torch's seed.
        generator: torch's generator of the order, in place of torch's own.

    Returns:
        A `DataLoader`. Faces without a transform are uint8 (batch, 1, size, size). Labels are int64 (batch,), or
        float32 (batch, k) if the dataset has targets and draws no label from them.

    Raises:
        ValueError: the weights do not fit.

    >>> faces = FaceDataset.from_arrays(np.zeros((6, 48, 48), np.uint8), [0, 1, 2, 3, 4, 5])
    >>> [images.shape[0] for images, labels in loader(faces, 4)]
    [4, 2]
    """
    sampler, count = None, len(dataset)  # type: ignore[arg-type]
    if weights is not None:
        given = f"{len(weights)} weights for {count} faces, shuffle={shuffle}"
        require(len(weights) == count and shuffle, f"{given}; give {count} and shuffle=True")
        draws = torch.Generator().manual_seed(torch.initial_seed())
        sampler = WeightedRandomSampler(torch.as_tensor(weights).tolist(), count, generator=draws)
    whole = _Batches(dataset) if gives_stored_faces(dataset) else None
    return DataLoader(
        dataset if whole is None else whole, batch_size, sampler=sampler, shuffle=shuffle and sampler is None,
        drop_last=shuffle, num_workers=workers, generator=generator, collate_fn=None if whole is None else _collate,
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


def gives_stored_faces(dataset: object) -> TypeGuard[FaceDataset]:
    """Return whether this is a `FaceDataset` that takes faces as ferlib does; a subclass may do more."""
    return isinstance(dataset, FaceDataset) and type(dataset).__getitem__ is FaceDataset.__getitem__


def _collate(batch: Any) -> tuple[torch.Tensor, ...]:
    """Return a batch; a worker puts it into shared memory here, as torch's own does, so that full memory raises."""
    return tuple(part.share_memory_() for part in batch) if get_worker_info() else tuple(batch)


class _Batches(Dataset):
    """Give a loader whole batches, through the method that torch's fetcher prefers."""

    def __init__(self, dataset: FaceDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        if self.dataset.transform is None:
            images = torch.from_numpy(self.dataset.images[indices])[:, None]
        else:
            images = torch.stack([apply_transform(self.dataset.transform, self.dataset.images[i]) for i in indices])
        return images, self.dataset.labels_at(indices)
