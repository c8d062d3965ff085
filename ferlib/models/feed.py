"""Check a model and a data set against each other before the first batch."""

import hashlib
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset

from ferlib.data import FaceDataset, classes_of, labels_of
from ferlib.data.dataset import gives_stored_faces
from ferlib.emotions import match_classes
from ferlib.models.face_model import FaceModel, check_outputs, unwrap
from ferlib.transforms import EvalTransform, InputSpec, is_albumentations, normalization_of, seed_pipeline
from ferlib.utils import require

BatchTransform = Callable[[torch.Tensor], torch.Tensor]
SCANNED = 5_000  # samples of a data set without a list of labels that `check_samples` looks at
PROBES = 8  # samples that `feed` looks at, spread over the data set


@dataclass(frozen=True, eq=False)
class Feed:
    """Hold a data set and how a network is fed with it.

    Attributes:
        dataset: a `FaceDataset`, or a map-style data set of (tensor, label), its labels in the model's order.
        transform: maps a batch to the network's input.
        shape: (channels, h, w) of a face that the network gets.
        classes: the class names; None where neither model nor data has names.
        raw: whether batches are uint8, so that `transform` prepares them.
        soft: whether labels are shares of the classes.
        spec: the network's input, where it is known.
        values: mean and sd of some faces, as the data set gives them.
    """

    dataset: Dataset
    transform: BatchTransform
    shape: tuple[int, ...]
    classes: tuple[str, ...] | None
    raw: bool
    soft: bool
    spec: InputSpec | None
    values: tuple[float, float]


def feed(
    model: nn.Module, dataset: Any, role: str = "dataset", *, transform: BatchTransform | None = None,
    spec: InputSpec | None = None, classes: Sequence[str] | None = None,
) -> Feed:  # fmt: skip
    """Check a model and a data set against each other.

    Args:
        model: a `FaceModel`, or any network.
        dataset: a `FaceDataset`, or any map-style data set of (tensor, label).
        role: what messages call the data set.
        transform: a batch transform for uint8 faces; by default the model's own preparation.
        spec: the input of a bare network, where it is known.
        classes: the class names of a bare network, in the order of its outputs.

    Returns:
        A `Feed`.

    Raises:
        ValueError: the two do not fit each other.
    """
    network = unwrap(model)
    if isinstance(model, FaceModel):
        spec, classes = model.input_spec, model.classes
    spec = _check_transform(transform, spec)
    map_style = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    require(map_style, f"{role} is {type(dataset).__name__}; give a Dataset with __len__ and __getitem__, "
            "such as loader.dataset")  # fmt: skip
    require(len(dataset), f"{role} is empty; give it a face or more")
    names, order = classes_of(dataset), None
    if classes is not None:
        order = None if names is None else match_classes(classes, names, role)
        names = tuple(classes)
        if order is not None and isinstance(dataset, FaceDataset):
            dataset, order = dataset.with_classes(classes), None
    checked = CheckedDataset(dataset, role, order)
    faces = _some_faces(checked)
    values = faces.float().mean().item(), faces.float().std().item()
    raw, shape = faces.dtype == torch.uint8, tuple(faces.shape[1:])
    if raw:
        transform = EvalTransform(spec) if transform is None and spec is not None else transform
        if transform is None:
            raise ValueError(f"{role} gives uint8 faces, which a bare network does not know how to normalise; add "
                             "A.Normalize and ToTensorV2, or give FaceModel(network, spec, classes)")  # fmt: skip
        if isinstance(dataset, FaceDataset) and spec is not None:
            given, stored = tuple(faces.shape[2:]), dataset.images.shape[1:]
            if given != stored and min(given) > spec.size:
                warnings.warn(f"{role}'s transform makes faces of {given[0]}x{given[1]} px, and the model's input_spec "
                              f"shrinks them to {spec.size}; build it with size={given[0]}", stacklevel=3)  # fmt: skip
        shape = tuple(transform(faces).shape[1:])
    else:
        require(transform is None, f"train_transform prepares uint8 faces, and {role}'s own transform gives floats")
        if spec is not None:
            _check_input(checked, shape, values, spec)
    checked.check_labels(check_outputs(network, shape, names))
    fed = dataset if gives_stored_faces(dataset) else checked
    return Feed(fed, transform or nn.Identity(), shape, names, raw, bool(checked.soft), spec, values)


def _check_transform(transform: Any, spec: InputSpec | None) -> InputSpec | None:
    """Return the network's input; raise `ValueError` for a batch transform of single faces or of another input."""
    pipeline = is_albumentations(transform) or type(transform).__module__.startswith("torchvision.transforms")
    require(not pipeline, "train_transform is a pipeline, which works on one face; give it to train_set.with_transform")
    own = getattr(transform, "spec", None)
    require(own is None or spec in (None, own), f"train_transform prepares faces by {own}, the model takes {spec}; "
            "give BatchAugment(model.input_spec)")  # fmt: skip
    return spec or own


class CheckedDataset(Dataset):
    """Check each sample of a data set when it is taken, and put its label into the model's order.

    Args:
        dataset: a map-style data set of (tensor, label).
        role: what messages call it.
        order: the model's index of each of its classes; None where both have one order.
    """

    def __init__(self, dataset: Any, role: str, order: np.ndarray | None):
        self.dataset, self.role, self.order = dataset, role, order
        labels = None if isinstance(dataset, FaceDataset) else labels_of(dataset)
        self.labels = labels if labels is None or order is None else order[labels]
        self.outputs = None if order is None else len(order)  # of the network
        self.soft: bool | None = None  # whether labels are shares; the first sample decides

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int | torch.Tensor]:
        seed_pipelines(self.dataset)
        image, label = _sample(self.dataset[index], f"{self.role}[{index}]")
        soft = isinstance(label, torch.Tensor)
        self.soft = soft if self.soft is None else self.soft
        require(soft == self.soft, f"{self.role} has soft and hard labels ({index} differs from the first); give one "
                "kind")  # fmt: skip
        if self.outputs is not None:
            self._check_label(label, index)
        if self.order is not None:
            label = label[np.argsort(self.order)] if self.soft else int(self.order[label])
        listed = label if self.soft or self.labels is None else self.labels[index]
        require(listed is label or listed == label, f"{self.role}[{index}] has the label {label}, and its targets say "
                f"{listed}; make both the same")  # fmt: skip
        return image, label

    def check_labels(self, outputs: int) -> None:
        """Set the number of the network's outputs; raise `ValueError` if a listed label is none of them."""
        self.outputs = outputs
        if self.labels is not None:
            for index in (int(self.labels.argmin()), int(self.labels.argmax())):
                self._check_label(int(self.labels[index]), index)

    def _check_label(self, label: Any, index: int) -> None:
        last = int(self.outputs or 0) - 1
        fits = len(label) == last + 1 if isinstance(label, torch.Tensor) else 0 <= label <= last
        require(fits, f"{self.role}[{index}] has the label {label}, and the network {last + 1} outputs; "
                f"labels are 0 to {last}")  # fmt: skip


def _sample(sample: Any, name: str) -> tuple[torch.Tensor, Any]:
    """Return a sample as (tensor (channels, h, w), class index or shares of the classes)."""
    pair: Any = sample if isinstance(sample, tuple | list) and len(sample) == 2 else (sample, None)
    image, label = pair
    kind = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, torch.Tensor) else type(image).__name__
    is_face = isinstance(image, torch.Tensor) and image.ndim == 3 and image.dtype in (torch.uint8, torch.float32)
    require(is_face, f"{name} gives {kind}; (tensor (channels, h, w) of uint8 or float32, label) is due: end the "
            "transform with ToTensorV2() or v2.ToImage()")  # fmt: skip
    if isinstance(label, torch.Tensor) and label.ndim == 1 and label.is_floating_point():
        shares = label.min() >= 0 and abs(label.sum() - 1) < 1e-3
        require(shares, f"{name} has soft labels that sum to {label.sum():.3g}; shares sum to 1")
        return image, label
    try:
        return image, operator.index(label)
    except TypeError as error:
        raise ValueError(f"{name} has the label {label!r:.80}; a class index is due, such as 0") from error


def _some_faces(dataset: CheckedDataset) -> torch.Tensor:
    """Return faces spread over a data set, (n, channels, h, w), the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        faces = [dataset[k][0] for k in np.linspace(0, len(dataset) - 1, PROBES).astype(int).tolist()]
    sizes = {(*face.shape, face.dtype) for face in faces}
    require(len(sizes) == 1, f"{dataset.role} gives tensors of several kinds: {sizes}; put a Resize of one size into "
            "its transform")  # fmt: skip
    return torch.stack(faces)


def check_samples(dataset: Any) -> None:
    """Look at the samples of a `Feed`'s data set that does not list its labels, at most `SCANNED` of them.

    Raises:
        ValueError: a sample is no face, or its label is outside of the classes.
    """
    if labels_of(dataset) is None:
        for index in np.linspace(0, len(dataset) - 1, min(len(dataset), SCANNED)).astype(int).tolist():
            dataset[index]


def parts_of(dataset: Any) -> Iterator[Any]:
    """Give a data set and those inside it."""
    yield dataset
    attributes = getattr(dataset, "__dict__", {})
    inner = [value for name, value in attributes.items() if name == "dataset" or isinstance(value, Dataset)]
    for part in (*inner, *getattr(dataset, "datasets", ())):
        yield from parts_of(part)


def in_all(dataset: Any, name: str) -> list[Any]:
    """Return an attribute of a data set and of those inside it, where it is not None.

    Args:
        dataset: any data set.
        name: the attribute's name.
    """
    return [value for part in parts_of(dataset) if (value := getattr(part, name, None)) is not None]


def normalizations(dataset: Any) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return mean and sd of each `Normalize` in a data set's transforms, and in those inside it."""
    return [known for each in in_all(dataset, "transform") if (known := normalization_of(each)) is not None]


def seed_pipelines(dataset: Any) -> None:
    """Seed a user's Albumentations pipelines from torch's generator, as a `FaceDataset` seeds its own."""
    for part in parts_of(dataset):
        for value in getattr(part, "__dict__", {}).values():
            if is_albumentations(value) and not gives_stored_faces(part):
                seed_pipeline(value)


def _check_input(dataset: CheckedDataset, shape: Sequence[int], values: tuple[float, float], spec: InputSpec) -> None:
    """Compare prepared faces, and mean and sd of some, with the model's input; raise `ValueError` if they differ."""
    role, wanted = dataset.role, (spec.channels, spec.size, spec.size)
    cure = "resize them, make them gray (Grayscale) or RGB (A.ToRGB), or give another model"
    require(shape == wanted, f"{role}'s transform gives faces {shape}, the model's input_spec says {wanted}; {cure}")
    for means, stds in normalizations(dataset):
        same = np.allclose((*means[: spec.channels], *stds[: spec.channels]), (*spec.mean, *spec.std), atol=1e-3)
        require(same, f"{role}'s transform normalises by mean {means} and sd {stds}, the model's input_spec says "
                f"{spec.mean} and {spec.std}; give both the same")  # fmt: skip
    mean, std, share = 0.5077, 0.2550, 1.5  # FER2013's, where the stored faces are unknown
    for faces in [part.images for part in parts_of(dataset) if isinstance(part, FaceDataset)][:1]:
        pixels = faces[:: max(1, len(faces) // 64)] / 255
        mean, std, share = float(pixels.mean()), float(pixels.std()), 1.0
    due, spread = (mean - spec.mean[0]) / spec.std[0], max(std / spec.std[0], 1e-6)
    # Wide, as augmentation moves both: it finds a Normalize that is missing, doubled or of another scale.
    near = abs(values[0] - due) <= share * spread and 0.4 <= values[1] / spread <= 2.5
    require(near or std <= 0.02, f"{role}'s faces have mean {values[0]:.2f} and sd {values[1]:.2f}, and the model's "
            f"input_spec makes {due:.2f} and {spread:.2f} of them; scale to 0-1, then Normalize once")  # fmt: skip


def describe_data(dataset: Any) -> str:
    """Return a text that differs when the data does, for a resumed run.

    Args:
        dataset: of a `FaceDataset`, all pixels and labels count; of another, its length, labels and picked indices.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts_of(dataset):
        names = ("images", "targets") if isinstance(part, FaceDataset) else ("indices",)
        for values in (labels_of(part), *(getattr(part, name, None) for name in names)):
            digest.update(b"none" if values is None else np.ascontiguousarray(values).data)
        digest.update(f"{len(part)}".encode())
    return digest.hexdigest()


def without_targets(dataset: Any) -> Any:
    """Return faces with hard labels, also in a `Subset` or `ConcatDataset`; any other data set as it is."""
    if isinstance(dataset, Subset):
        return Subset(without_targets(dataset.dataset), dataset.indices)
    if isinstance(dataset, ConcatDataset):
        return ConcatDataset([without_targets(part) for part in dataset.datasets])
    return replace(dataset, targets=None, draw=False) if isinstance(dataset, FaceDataset) else dataset
