"""Any model and any data set, checked against each other before the first batch: what `fit` and `predict` are fed."""

import hashlib
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset

from ferlib.data import FaceDataset, classes_of, labels_of
from ferlib.emotions import match_classes
from ferlib.models import FaceModel
from ferlib.models.face_model import check_outputs, unwrap
from ferlib.transforms import EvalTransform, InputSpec, is_albumentations, normalization_of, seed_pipeline

BatchTransform = Callable[[torch.Tensor], torch.Tensor]
PROBES = 8  # samples looked at before training, spread over the data set
SCANNED = 5_000  # samples of a data set without a list of its labels that `fit` looks at before training


@dataclass(frozen=True, eq=False)
class Feed:
    """A data set as a network is fed with it.

    dataset: a `FaceDataset`, or a map-style dataset of (tensor, label), its labels in the model's order.
    transform: maps a batch to what the network takes.
    shape: of a face that the network gets, (channels, h, w).
    classes: the names of the classes; None where neither model nor data has names.
    raw: whether batches are uint8, and so prepared by `transform`.
    soft: whether labels are shares of the classes.
    spec: what the network is fed, where that is known.
    values: mean and sd of some faces as the data set gives them.
    """

    dataset: Dataset
    transform: BatchTransform
    shape: tuple[int, int, int]
    classes: tuple[str, ...] | None
    raw: bool
    soft: bool
    spec: InputSpec | None
    values: tuple[float, float]


def as_is(batch: torch.Tensor) -> torch.Tensor:
    """The batch transform of faces that their dataset has prepared already."""
    return batch


def feed(
    model: nn.Module, dataset: Any, role: str = "dataset", *, transform: BatchTransform | None = None,
    spec: InputSpec | None = None, classes: Sequence[str] | None = None,
) -> Feed:  # fmt: skip
    """Check a model and a data set against each other.

    model: a `FaceModel`, or any network.
    dataset: a `FaceDataset`, or any map-style dataset of (tensor, label).
    role: what messages call the data set.
    transform: a batch transform for uint8 faces; by default the model's own preparation.
    spec: what a bare network is fed, where that is known from elsewhere.
    classes: the order of the labels, for a network without names of its own.

    Raises `ValueError` in one sentence: what was given, what is allowed, and the next step.
    """
    network = unwrap(model)
    of_transform = getattr(transform, "spec", None)
    spec = model.input_spec if isinstance(model, FaceModel) else spec or of_transform
    if None not in (of_transform, spec) and of_transform != spec:
        raise ValueError(f"train_transform prepares faces by {of_transform}, the model takes {spec}; give it the "
                         "model's: BatchAugment(model.input_spec)")  # fmt: skip
    if is_albumentations(transform) or type(transform).__module__.startswith("torchvision.transforms"):
        raise ValueError(f"train_transform is {type(transform).__name__}, which works on one face; give it to the data "
                         "set: train_set.with_transform(...)")  # fmt: skip
    _check_kind(dataset, role)
    image, soft, values = _probe(dataset, role)
    names = classes_of(dataset)
    order = model.classes if isinstance(model, FaceModel) else classes
    if order is not None and names is not None:
        dataset, names = _in_order(dataset, tuple(order), names, role)
    names = names if order is None else tuple(order)
    raw = image.dtype == torch.uint8
    if raw:
        if transform is None and spec is None:
            raise ValueError(
                f"{role} gives uint8 faces, which a bare network does not know how to normalise; end its transform "
                "with A.Normalize((0.5,), (0.5,)) and ToTensorV2(), or wrap the network: "
                "FaceModel(network, InputSpec(48), classes)"
            )
        if spec is not None and len(image) not in (1, spec.channels):
            raise ValueError(f"{role} gives faces of {len(image)} channels, the model takes {spec.channels}; "
                             "give gray faces, or a model built with in_chans=3")  # fmt: skip
        transform = transform or EvalTransform(spec)  # type: ignore[arg-type]
        shape = (spec.channels, spec.size, spec.size) if spec is not None else _shape_after(transform, image, role)
    else:
        if transform is not None:
            raise ValueError(f"train_transform prepares uint8 faces, and {role}'s own transform gives {image.dtype}; "
                             "keep one of the two")  # fmt: skip
        transform, shape = as_is, (image.shape[0], image.shape[1], image.shape[2])
        if spec is not None:
            check_spec(dataset, shape, spec, role)
            check_values(dataset, values, spec, role)
    outputs = check_outputs(network, shape, names)
    labels = None if soft else labels_of(dataset)
    if labels is not None and len(labels) and not (labels.min() >= 0 and labels.max() < outputs):
        raise ValueError(f"{role} has labels {labels.min()} to {labels.max()}, the network {outputs} outputs; labels "
                         f"are 0 to {outputs - 1}: map them, or give the network more outputs")  # fmt: skip
    if not isinstance(dataset, FaceDataset):
        dataset = _Checked(dataset, role, tuple(image.shape), image.dtype, outputs, soft)
    return Feed(dataset, transform, shape, names, raw, soft, spec, values)


def _check_kind(dataset: Any, role: str) -> None:
    if isinstance(dataset, DataLoader):
        raise ValueError(f"{role} is a DataLoader; give its data set, loader.dataset: batch_size and workers are "
                         "settings of their own")  # fmt: skip
    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        kind = type(dataset).__name__
        raise ValueError(f"{role} is {kind}; give a FaceDataset, or a Dataset with __len__ and __getitem__ that gives "
                         "(tensor, label)")  # fmt: skip
    if not len(dataset):
        raise ValueError(f"{role} is empty; give it a face or more")


def _probe(dataset: Any, role: str) -> tuple[torch.Tensor, bool, tuple[float, float]]:
    """The first face as the dataset gives it, whether its label is soft, and mean and sd of some faces."""
    labels = None if isinstance(dataset, FaceDataset) else labels_of(dataset)
    first, soft = _sample(_take(dataset, 0), role, 0)[0], False
    again = _sample(_take(dataset, 0), role, 0)[0]
    if first.shape == again.shape and not torch.equal(first, again):
        warnings.warn(f"{role} draws random numbers that no seed reaches, so that reruns differ and workers may repeat "
                      "each other; give an A.Compose itself to FaceDataset.with_transform", stacklevel=4)  # fmt: skip
    some = []
    for index in dict.fromkeys(np.linspace(0, len(dataset) - 1, PROBES).astype(int).tolist()):
        image, label = _sample(_take(dataset, index), role, index)
        soft = soft or not isinstance(label, int)
        _same_kind(image, tuple(first.shape), first.dtype, role, index)
        if labels is not None and isinstance(label, int) and label != labels[index]:
            raise ValueError(f"{role}[{index}] has the label {label}, and its targets say {labels[index]}; make both "
                             "the same, or take the targets away")  # fmt: skip
        some.append(image.float())
    values = torch.stack(some)
    return first, soft, (values.mean().item(), values.std().item())


def check_samples(dataset: Any) -> None:
    """Look at each sample of a data set that does not list its labels, or at `SCANNED` of them, before training.

    dataset: a `Feed`'s. Raises `ValueError` for a sample that is not as the others, or a label outside the classes.
    """
    if isinstance(dataset, FaceDataset) or labels_of(dataset) is not None:
        return
    for index in np.linspace(0, len(dataset) - 1, min(len(dataset), SCANNED)).astype(int).tolist():
        _take(dataset, index)


def _take(dataset: Any, index: int) -> Any:
    """One sample; it draws the same numbers each time, and none that training would have drawn."""
    numpy_state, state = np.random.get_state(), random.getstate()  # noqa: NPY002 (of a stranger's transform)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(index)  # and not the GPUs', which are not put back
            np.random.seed(index)  # noqa: NPY002
            random.seed(index)
            reseed(dataset)
            return dataset[index]
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(state)


def reseed(dataset: Any) -> None:
    """Seed the Albumentations pipelines that a stranger's data set holds from torch's generator, as ours are."""
    if isinstance(dataset, FaceDataset):
        return
    for value in [*vars(dataset).values()] if hasattr(dataset, "__dict__") else ():
        if is_albumentations(value):
            seed_pipeline(value)
        elif isinstance(value, Dataset):
            reseed(value)
    for part in getattr(dataset, "datasets", ()):
        reseed(part)


def _sample(sample: Any, role: str, index: int) -> tuple[torch.Tensor, int | torch.Tensor]:
    """A sample as (tensor (channels, h, w), label); `ValueError` for any other."""
    if not (isinstance(sample, tuple | list) and len(sample) == 2):
        raise ValueError(f"{role}[{index}] gives {type(sample).__name__}; (tensor, label) is due")
    image, label = sample
    if not isinstance(image, torch.Tensor) or image.ndim != 3:
        given = f"a tensor {tuple(image.shape)}" if isinstance(image, torch.Tensor) else type(image).__name__
        raise ValueError(f"{role}[{index}] gives {given} as its face; a tensor (channels, h, w) is due: end the "
                         "transform with ToTensorV2() (Albumentations) or v2.ToImage() (torchvision)")  # fmt: skip
    if image.dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"{role}[{index}] gives {image.dtype}; uint8 of 0 to 255, or float32, is due")
    if isinstance(label, torch.Tensor) and label.ndim == 1 and label.is_floating_point():
        if not ((label >= 0).all() and abs(float(label.sum()) - 1) < 1e-3):
            raise ValueError(f"{role}[{index}] has soft labels that sum to {float(label.sum()):.3g}; shares sum to 1")
        return image, label
    if isinstance(label, torch.Tensor | np.generic) and np.ndim(label) == 0 and not np.iscomplexobj(label):
        label = label.item()
    if isinstance(label, bool) or not isinstance(label, int):
        raise ValueError(f"{role}[{index}] has the label {label!r:.80}; a class index is due, such as 0")
    return image, label


def _same_kind(image: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype, role: str, index: int) -> None:
    if tuple(image.shape) != shape or image.dtype != dtype:
        raise ValueError(f"{role} gives tensors of several kinds: {dtype} {shape} and, at {index}, {image.dtype} "
                         f"{tuple(image.shape)}; put a Resize of one size into its transform")  # fmt: skip


def _in_order(dataset: Any, order: tuple[str, ...], names: tuple[str, ...], role: str) -> tuple[Any, tuple[str, ...]]:
    """The data set with its labels in the order of the model's classes, matched by name."""
    places = match_classes(order, names, role)
    if places is None:
        return dataset, names
    if isinstance(dataset, FaceDataset):
        return dataset.with_classes(order), order
    return _Reordered(dataset, places), order


def check_spec(dataset: Any, shape: tuple[int, ...], spec: InputSpec, role: str) -> None:
    """Hold a data set's own preparation against what the model says that it is fed."""
    wanted = (spec.channels, spec.size, spec.size)
    if shape != wanted:
        raise ValueError(
            f"{role}'s transform gives faces {shape}, the model's input_spec says {wanted}; make the "
            f"transform's Resize {spec.size}, or build the model with size={shape[1]}, in_chans={shape[0]}"
        )
    known = normalizations(dataset)
    pipelines = [one for one in in_all(dataset, "transform") if hasattr(one, "transforms")]
    if pipelines and not known and spec.mean != (0.0,) * spec.channels:
        raise ValueError(f"{role}'s transform has no Normalize, and the model takes faces normalised by mean "
                         f"{spec.mean} and sd {spec.std}; add it")  # fmt: skip
    for mean, std in known:
        mean, std = mean[: spec.channels], std[: spec.channels]
        if not (np.allclose(mean, spec.mean, atol=1e-3) and np.allclose(std, spec.std, atol=1e-3)):
            raise ValueError(f"{role}'s transform normalises by mean {mean} and sd {std}, the model's input_spec says "
                             f"{spec.mean} and {spec.std}; give both the same, or leave it to the model: no Normalize "
                             "and no ToTensorV2")  # fmt: skip


def check_values(dataset: Any, values: tuple[float, float], spec: InputSpec, role: str) -> None:
    """Hold the mean and sd of prepared faces against what the spec makes of the same faces.

    Of a stranger's data set the faces before their preparation are not known: FER2013's mean and sd stand for them. The
    bounds are wide, as augmentation moves both; what they tell is a missing, double or unscaled Normalize.
    """
    inside = dataset
    while isinstance(inside, Subset):
        inside = inside.dataset
    gray = inside.images[:: max(1, len(inside) // 64)] / 255 if isinstance(inside, FaceDataset) else None
    mean, std = (0.5077, 0.2550) if gray is None else (float(gray.mean()), float(gray.std()))
    due, spread = (mean - spec.mean[0]) / spec.std[0], max(std / spec.std[0], 1e-6)
    share = 0.75 if gray is not None else 1.5
    if not (abs(values[0] - due) <= share * spread and 0.4 <= values[1] / spread <= 2.5) and std > 0.02:
        raise ValueError(
            f"{role}'s faces have mean {values[0]:.2f} and sd {values[1]:.2f}, and the model's input_spec (mean "
            f"{spec.mean}, sd {spec.std}) makes {due:.2f} and {spread:.2f} of them; scale to 0-1, then Normalize by "
            "these once, or leave it to the model: with_transform without Normalize and ToTensorV2"
        )


def in_all(dataset: Any, name: str) -> list[Any]:
    """Return an attribute of a data set and of those inside it (`Subset`, `ConcatDataset`), where it is not None."""
    mine = getattr(dataset, name, None)
    inner = [*getattr(dataset, "datasets", ()), *([dataset.dataset] if hasattr(dataset, "dataset") else [])]
    return ([] if mine is None else [mine]) + [value for part in inner for value in in_all(part, name)]


def normalizations(dataset: Any) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return mean and sd of each `Normalize` in a data set's transforms, through `Subset` and `ConcatDataset`."""
    return [found for each in in_all(dataset, "transform") if (found := normalization_of(each)) is not None]


def _shape_after(transform: BatchTransform, image: torch.Tensor, role: str) -> tuple[int, int, int]:
    with torch.random.fork_rng(devices=[]):
        batch = transform(torch.stack([image, image]))
    if not isinstance(batch, torch.Tensor) or batch.ndim != 4:
        raise ValueError(f"the batch transform gives {type(batch).__name__} for {role}; float (n, channels, h, w) is "
                         "due")  # fmt: skip
    return tuple(batch.shape[1:])  # type: ignore[return-value]


class _Reordered(Dataset):
    """A stranger's data set with its class indices in another order."""

    def __init__(self, dataset: Any, places: np.ndarray):
        self.dataset, self.places = dataset, places
        labels = labels_of(dataset)
        self.labels = None if labels is None else places[labels]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self.dataset[index]
        if isinstance(label, torch.Tensor) and label.ndim == 1:
            moved = torch.empty_like(label)
            moved[torch.from_numpy(self.places)] = label
            return image, moved
        return image, int(self.places[int(label)])


class _Checked(Dataset):
    """A stranger's data set, each sample of which is checked when it is taken."""

    def __init__(
        self, dataset: Any, role: str, shape: tuple[int, ...], dtype: torch.dtype, outputs: int, soft: bool
    ):  # fmt: skip
        self.dataset, self.role, self.shape, self.dtype = dataset, role, shape, dtype
        self.outputs, self.soft = outputs, soft
        self.labels = labels_of(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int | torch.Tensor]:
        reseed(self.dataset)
        image, label = _sample(self.dataset[index], self.role, index)
        if isinstance(label, torch.Tensor) != self.soft:
            raise ValueError(
                f"{self.role}[{index}] has the label {label!r:.80}; give hard labels or soft ones, not both"
            )
        _same_kind(image, self.shape, self.dtype, self.role, index)
        given = len(label) if isinstance(label, torch.Tensor) else label
        fits = given == self.outputs if isinstance(label, torch.Tensor) else 0 <= label < self.outputs
        if not fits:
            raise ValueError(f"{self.role}[{index}] has the label {label!r:.80}, and the network {self.outputs} outputs"
                             f"; labels are 0 to {self.outputs - 1}")  # fmt: skip
        return image, label


def describe_data(dataset: Any) -> str:
    """A text that differs when the data does, for a resumed run: all pixels and labels of faces in memory.

    Of a stranger's data set: its length, labels, and the paths and sizes in `samples`, where it has them.
    """
    digest = hashlib.blake2b(digest_size=16)
    _describe(dataset, digest.update)
    return digest.hexdigest()


def _describe(dataset: Any, update: Callable[[bytes], None]) -> None:
    if isinstance(dataset, FaceDataset):
        for start in range(0, len(dataset), 4096):  # in parts, as the faces may lie on disk (`numpy.memmap`)
            update(dataset.images[start : start + 4096].tobytes())
        update(dataset.labels.tobytes() if dataset.targets is None else dataset.targets.tobytes())
        return
    for part in (*getattr(dataset, "datasets", ()), getattr(dataset, "dataset", None)):
        if isinstance(part, Dataset):
            _describe(part, update)
    picked = dataset.indices if isinstance(dataset, Subset) else getattr(dataset, "places", ())
    update(np.asarray(picked, np.int64).tobytes() if isinstance(dataset, Subset | _Reordered) else b"")
    labels = labels_of(dataset)
    update(f"{len(dataset)}".encode() + (b"" if labels is None else labels.tobytes()))
    samples = getattr(dataset, "samples", ())
    for sample in samples if isinstance(samples, list) else ():  # as torchvision's folders keep them: (path, label)
        path = sample[0] if isinstance(sample, tuple) else sample
        update(str(path).rpartition("/")[2].encode(errors="surrogateescape"))


def without_targets(dataset: Any) -> Any:
    """Faces with their hard labels, through torch's `Subset` and `ConcatDataset`; any other data set as it is."""
    if isinstance(dataset, Subset):
        return Subset(without_targets(dataset.dataset), dataset.indices)
    if isinstance(dataset, ConcatDataset):
        return ConcatDataset([without_targets(part) for part in dataset.datasets])
    return replace(dataset, targets=None, draw=False) if isinstance(dataset, FaceDataset) else dataset
