"""Ask any map-style dataset for its labels and classes."""

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from ferlib.emotions import check_classes


def labels_of(dataset: Dataset) -> np.ndarray | None:
    """Return the labels of any map-style dataset, without touching its images.

    Args:
        dataset: its `labels` or `targets` are read, through torch's `Subset` and `ConcatDataset`.

    Returns:
        Labels (n,) int64. None if the dataset does not tell, or a `target_transform` changes them.
    """
    if isinstance(dataset, Subset):
        labels = labels_of(dataset.dataset)
        return None if labels is None else labels[np.asarray(dataset.indices, np.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [part for part in map(labels_of, dataset.datasets) if part is not None]
        return np.concatenate(parts) if len(parts) == len(dataset.datasets) else None
    if getattr(dataset, "target_transform", None) is not None:
        return None
    values = getattr(dataset, "labels", getattr(dataset, "targets", None))
    if not isinstance(values, list | tuple | np.ndarray | torch.Tensor) or len(values) != len(dataset):  # type: ignore[arg-type]
        return None
    labels = np.asarray(values)
    return labels.astype(np.int64) if labels.ndim == 1 and labels.dtype.kind in "iu" else None


def classes_of(dataset: Dataset) -> tuple[str, ...] | None:
    """Return the class names of any map-style dataset, through torch's `Subset` and `ConcatDataset`.

    Args:
        dataset: its `classes` are read.

    Returns:
        The names in the order of the labels. None if the dataset does not tell, or a `target_transform` changes them.

    Raises:
        ValueError: the parts of a `ConcatDataset` have other classes, or the same in another order.
    """
    if isinstance(dataset, Subset):
        return classes_of(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        parts = {classes_of(part) for part in dataset.datasets}
        if len(parts) > 1:
            raise ValueError(f"the parts of a ConcatDataset have other classes ({parts}); use faces.with_classes(...)")
        return parts.pop()
    names = getattr(dataset, "classes", None)
    if not isinstance(names, list | tuple) or getattr(dataset, "target_transform", None) is not None:
        return None
    return check_classes(names) if all(isinstance(name, str) for name in names) else None
