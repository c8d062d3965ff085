"""Faces in memory as a torch `Dataset`, and loaders of whole batches."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, WeightedRandomSampler

from ferlib.data import layouts
from ferlib.emotions import EMOTIONS, SPLITS, check_classes, match_classes
from ferlib.transforms import apply_transform, check_transform


@dataclass(frozen=True, eq=False)
class FaceDataset(Dataset):
    """Faces in memory, a map-style torch `Dataset` of (tensor, label).

    images: uint8 (n, h, w).
    table: n rows with the column `label` (class index); `split` ("Training") and `row` (0 to n - 1, in the order of the
        source over all splits) are added where they are missing.
    name: what messages call it.
    notes: what is missing or odd about the source.
    transform: what each face goes through when it is taken, None for none. An Albumentations pipeline (`A.Compose`)
        gets the array, torchvision's transforms a PIL image, any other module a uint8 tensor (1, h, w), any other
        callable the array (h, w). An Albumentations pipeline is seeded from torch's generator for each face, so that
        workers do not repeat each other and reruns are equal.
    targets: soft labels, float32 (n, k), shares of the classes that are handed out in place of labels (`ferplus`).
    draw: draw a label from `targets` each time a face is taken.
    classes: the names of the classes, in the order of the indices.

    Raises `ValueError` for lengths that differ, labels outside of the classes, or two classes of one name.
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
        if len(self.images) != len(self.table):
            raise ValueError(
                f"{len(self.images)} images but {len(self.table)} rows in the table: give one row an image"
            )
        if "label" not in self.table:
            raise ValueError(f"the table has the columns {', '.join(map(str, self.table))}; a column label is needed")
        missing: dict[str, Any] = {"split": "Training", "row": np.arange(len(self.table))}
        missing = {column: value for column, value in missing.items() if column not in self.table}
        object.__setattr__(self, "table", self.table.assign(**missing) if missing else self.table)
        object.__setattr__(self, "classes", check_classes(self.classes))
        labels = self.table["label"].to_numpy()
        if len(labels) and labels.dtype.kind not in "iu":
            raise ValueError(f"labels are {labels.dtype}, such as {labels[0]!r:.40}; give class indices, whole numbers")
        if unknown := sorted({*map(str, self.table["split"])} - {*SPLITS}):
            raise ValueError(f"the table has the split {unknown[0]!r}; allowed are {', '.join(SPLITS)}")
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.classes)):
            raise ValueError(
                f"labels are {labels.min()} to {labels.max()}, and there are {len(self.classes)} classes "
                f"({', '.join(self.classes)}); give classes with a name for each label"
            )
        check_transform(self.transform)
        if self.draw and self.targets is None:
            raise ValueError("draw=True draws labels from targets, and there are none: give targets (n, classes)")
        if (given := self.targets) is not None:
            shape = (len(self), len(self.classes))
            fits = given.shape == shape and given.dtype == np.float32 and (given >= 0).all()
            if not (fits and np.allclose(given.sum(1), 1, atol=1e-4)):
                due = f"float32 {shape}, shares that sum to 1 in each row"
                raise ValueError(f"targets is {given.dtype} {given.shape}; due is {due}")

    @classmethod
    def from_arrays(
        cls, images: np.ndarray, labels: Sequence[int] | np.ndarray, classes: Sequence[str] = EMOTIONS, **facts: Any
    ) -> "FaceDataset":
        """Make a dataset of arrays, all of it `Training`.

        images: uint8 (n, h, w). labels: class indices (n,). facts: other fields of the dataset.

        >>> faces = FaceDataset.from_arrays(np.zeros((2, 48, 48), np.uint8), [0, 1], classes=("open", "shut"))
        >>> len(faces), faces.classes
        (2, ('open', 'shut'))
        """
        return cls(
            images, pd.DataFrame({"label": np.asarray(labels, np.int64)}), classes=check_classes(classes), **facts
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int | torch.Tensor]:
        """Return one face, a tensor (channels, h, w), and its label.

        The face is uint8 (1, h, w) unless `transform` makes something else of it. With `targets` the label is their
        float32 tensor (k,), with `draw` an int drawn from it by torch's generator.
        """
        label = self.labels_at([index])[0]
        return self.face(index), int(label) if label.ndim == 0 else label

    def face(self, index: int) -> torch.Tensor:
        """Return one face through the transform: a tensor (channels, h, w), uint8 or float32."""
        return apply_transform(self.transform, self.images[index])

    def labels_at(self, indices: list[int]) -> torch.Tensor:
        """Return what a loader says of the faces at positions: int64 labels (b,), or float32 targets (b, k)."""
        if self.targets is None:
            return torch.from_numpy(self.labels[indices])
        targets = torch.from_numpy(self.targets[indices])
        return torch.multinomial(targets, 1)[:, 0] if self.draw else targets

    @cached_property
    def labels(self) -> np.ndarray:
        """The class index of each image, (n,) int64."""
        return np.array(self.table["label"], dtype=np.int64)

    def counts(self) -> pd.DataFrame:
        """Images by split (rows) and class (columns)."""
        counts = count_faces(self.table, self.classes)
        return counts[counts.any(axis=1)]

    def with_transform(self, transform: Callable[..., Any] | None) -> "FaceDataset":
        """Return the same faces with another transform; see the class.

        Raises `ValueError` for what is no transform, naming what is.

        >>> faces = FaceDataset.from_arrays(np.full((2, 48, 48), 255, np.uint8), [0, 1])
        >>> faces.with_transform(lambda image: image[:24, :24] / np.float32(255))[0][0].shape
        torch.Size([1, 24, 24])
        """
        return replace(self, transform=transform)

    def with_classes(self, classes: Sequence[str]) -> "FaceDataset":
        """Return the same faces with their classes in another order, matched by name.

        Raises `ValueError` for other names.
        """
        places = match_classes(tuple(classes), self.classes, self.name)
        if places is None:
            return replace(self, classes=tuple(classes))
        targets = self.targets
        if targets is not None:
            moved = np.empty_like(targets)
            moved[:, places] = targets
            targets = moved
        table = self.table.assign(label=places[self.labels])
        return replace(self, table=table, targets=targets, classes=tuple(classes))

    def subset(self, which: str | Sequence[int] | np.ndarray | pd.Series) -> "FaceDataset":
        """The rows of one split, of a boolean mask (n,), or at positions; without a copy where rows adjoin.

        A split goes by its name, or by what folders call it: `"train"`, `"val"`.

        Raises `ValueError` for a split that this dataset does not have, or a mask of another length.
        """
        if isinstance(which, str):
            which = layouts.SPLIT_FOLDERS.get(which.lower(), which)  # "train" is Training, "val" PublicTest
            present = self.counts().index
            if which not in present:
                why = ("PrivateTest stays sealed: see ferlib.protocol.open_sealed, or `ferlib evaluate "
                       "--open-sealed-test REASON`." if which == "PrivateTest" else "To carve one out of Training: "
                       "ferlib.protocol.split, or `ferlib train --val-share 0.1`.")  # fmt: skip
                raise ValueError(
                    f"{self.name} has no split {which!r} open; it has {', '.join(present) or 'none'}. {why}"
                )
            which = (self.table["split"] == which).to_numpy()
        picks = np.asarray(which) if len(which) else np.empty(0, np.int64)
        if picks.dtype == bool and len(picks) != len(self):
            raise ValueError(f"a mask of {len(picks)} was given for a dataset of {len(self)} images")
        picks = np.arange(len(self))[picks]
        adjoining = len(picks) > 0 and bool((np.diff(picks) == 1).all())
        images = self.images[picks[0] : picks[-1] + 1] if adjoining else self.images[picks]
        targets = None if self.targets is None else self.targets[picks]
        return replace(self, images=images, table=self.table.iloc[picks].reset_index(drop=True), targets=targets)

    def __repr__(self) -> str:
        lines = [f"{self.name}: {len(self):,} faces of {self.images.shape[1]}x{self.images.shape[2]} px"]
        lines += [f"  {split}: {int(total):,}" for split, total in self.counts().sum(axis=1).items()]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def count_faces(table: pd.DataFrame, classes: Sequence[str] = EMOTIONS) -> pd.DataFrame:
    """Return images by split (rows, all three) and class (columns)."""
    counts = pd.crosstab(table["split"], table["label"])
    return counts.reindex(index=SPLITS, columns=range(len(classes)), fill_value=0).set_axis(list(classes), axis=1)


def loader(
    dataset: Dataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    workers: int = 0,
    weights: Sequence[float] | np.ndarray | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> DataLoader:
    """Batches (images, labels) of a `FaceDataset`, or of any map-style dataset of (tensor, label).

    Faces without a transform are cut whole from the array: uint8 (batch, 1, size, size). Labels are int64 (batch,), or
    float32 (batch, k) where the dataset has targets and draws no label from them. A shuffled loader drops the last,
    smaller batch. Seed torch before each epoch: the order, and each worker's random numbers, follow from it, or from
    `generator`. With `weights` (n,), a shuffled loader draws faces with replacement, as often as they weigh, by the
    numbers of `loader.sampler.generator`: torch's seed at this call starts them, and `manual_seed` starts them again.
    Raises `ValueError` for weights that do not fit.
    """
    drawn, count = None, len(dataset)  # type: ignore[arg-type]
    if weights is not None:
        if len(weights) != count or not shuffle:
            given = f"{len(weights)} weights and shuffle={shuffle} were given for {count} faces"
            raise ValueError(f"{given}; give one weight a face, and shuffle=True")
        drawing = torch.Generator().manual_seed(torch.initial_seed())
        drawn = WeightedRandomSampler(torch.as_tensor(weights).tolist(), count, generator=drawing)
    faces = isinstance(dataset, FaceDataset)
    return DataLoader(
        _Batches(dataset) if isinstance(dataset, FaceDataset) else dataset, batch_size,
        shuffle=shuffle and drawn is None, sampler=drawn, drop_last=shuffle, num_workers=workers,
        collate_fn=_as_is if faces else None, pin_memory=torch.cuda.is_available(), worker_init_fn=_undisturbed,
        generator=generator,
    )  # fmt: skip


def labels_of(dataset: Dataset) -> np.ndarray | None:
    """Return the labels (n,) int64 of any map-style dataset without touching its images; None where it does not say.

    Read from `labels` or `targets`, through torch's `Subset` and `ConcatDataset`; not where a `target_transform`
    changes them.
    """
    if getattr(dataset, "target_transform", None) is not None:
        return None
    if isinstance(dataset, Subset):
        labels = labels_of(dataset.dataset)
        return None if labels is None else labels[np.asarray(dataset.indices, np.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [labels_of(part) for part in dataset.datasets]
        return None if any(part is None for part in parts) else np.concatenate([p for p in parts if p is not None])
    for name in ("labels", "targets"):
        found = getattr(dataset, name, None)
        if isinstance(found, list | tuple | np.ndarray | torch.Tensor):
            try:
                labels = np.asarray(found)
            except ValueError:  # of several lengths
                continue
            if labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels) == len(dataset):  # type: ignore[arg-type]
                return labels.astype(np.int64)
    return None


def classes_of(dataset: Dataset) -> tuple[str, ...] | None:
    """Return the class names of any map-style dataset, through `Subset` and `ConcatDataset`; None if it has none.

    Raises `ValueError` where the parts of a `ConcatDataset` have other classes, or the same in another order.
    """
    if isinstance(dataset, Subset):
        return classes_of(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        parts = {classes_of(part) for part in dataset.datasets}
        if len(parts) > 1:
            told = "; ".join(", ".join(part or ("unknown",)) for part in parts)
            raise ValueError(f"the parts of a ConcatDataset have other classes ({told}); give them one order first: "
                             "faces.with_classes(classes)")  # fmt: skip
        return parts.pop()
    found = getattr(dataset, "classes", None)
    if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
        return None
    return check_classes(found) if getattr(dataset, "target_transform", None) is None else None


def _undisturbed(_: int) -> None:
    """A worker leaves Ctrl-C, which reaches all processes of a terminal or notebook, to the one that it works for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Batches(Dataset):
    """Hands a loader whole batches, through the method that torch's fetcher asks for first."""

    def __init__(self, dataset: FaceDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        if self.dataset.transform is None:
            images = torch.from_numpy(self.dataset.images[indices])[:, None]
        else:
            images = torch.stack([self.dataset.face(i) for i in indices])
        return images, self.dataset.labels_at(indices)


def _as_is(batch: Any) -> Any:
    return batch
