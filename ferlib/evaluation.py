"""Logits -> numbers, each with its uncertainty. Predict once, ask often: everything here works on `Predictions`."""

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support
from torch import nn

from ferlib.data import loader
from ferlib.emotions import EMOTIONS, check_classes, match_classes
from ferlib.models.face_model import check_outputs, device_of, evaluating, unwrap
from ferlib.models.feed import feed, without_targets

METRICS = ("accuracy", "balanced_accuracy", "macro_f1")
View = Callable[[torch.Tensor], torch.Tensor] | None
MOST = 1 << 30  # bytes that a file of logits may take unpacked: 30 million faces


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model answers to n faces, and their labels, in the dataset's order.

    logits: float32 (n, k); where views of a face were averaged, the logarithms of the mean probabilities.
    labels: class indices, int64 (n,).
    classes: the k names.

    >>> found = Predictions(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 0]), ("open", "shut"))
    >>> found.correct.tolist()
    [True, False]
    """

    logits: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] = EMOTIONS

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", check_classes(self.classes))
        if self.labels.ndim != 1 or self.logits.shape != (len(self.labels), len(self.classes)):
            raise ValueError(
                f"logits {self.logits.shape} do not fit labels {self.labels.shape} and {len(self.classes)} classes"
            )
        if not np.isin(self.labels, range(len(self.classes))).all():
            raise ValueError(f"labels must be 0 to {len(self.classes) - 1}: {np.unique(self.labels)}")
        if not np.isfinite(self.logits).all():
            raise ValueError(
                f"the logits of {(~np.isfinite(self.logits)).any(1).sum()} faces are not finite: diverged training?"
            )

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each face, (n,) int64."""
        return self.logits.argmax(1)

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, (n, k)."""
        return softmax(self.logits, axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Whether each face was named right, (n,) bool."""
        return self.predicted == self.labels

    def confusion(self) -> np.ndarray:
        """Counts (k, k): rows are true classes, columns predicted ones."""
        classes = len(self.classes)
        return np.bincount(classes * self.labels + self.predicted, minlength=classes**2).reshape(classes, classes)

    def with_classes(self, classes: Sequence[str]) -> "Predictions":
        """The same predictions with the classes in another order, by name; `ValueError` for other names."""
        places = match_classes(tuple(classes), self.classes, "these predictions")
        if places is None:
            return self
        return Predictions(self.logits[:, np.argsort(places)], places[self.labels], tuple(classes))

    def subset(self, mask: np.ndarray) -> "Predictions":
        """The predictions of some of the faces, by a boolean mask (n,) or positions."""
        return Predictions(self.logits[mask], self.labels[mask], self.classes)

    def save(self, path: str | Path) -> None:
        """Keep the numbers in a .npz file: float32 logits, labels, and the classes' names."""
        with open(path, "wb") as file:
            np.savez_compressed(
                file, logits=self.logits.astype(np.float32), classes=np.array(self.classes),
                labels=self.labels.astype(np.min_scalar_type(len(self.classes))),
            )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> "Predictions":
        """Read what `save` wrote; raises `FileNotFoundError`, and `ValueError` for any other file."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {path}; Predictions.save writes one")
        try:
            with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
                total = sum(entry.file_size for entry in archive.infolist())
                if total > MOST or any(entry.compress_type not in (0, 8) for entry in archive.infolist()):
                    raise ValueError(f"it would unpack to {total:,} bytes, or was packed in another way")
                logits, labels = (np.load(archive.open(f"{name}.npy")) for name in ("logits", "labels"))
                named = "classes.npy" in archive.namelist()  # older files are of the seven
                classes = np.load(archive.open("classes.npy")).tolist() if named else EMOTIONS
            if logits.dtype.kind != "f" or labels.dtype.kind not in "iu":
                raise ValueError(f"logits are {logits.dtype!s:.40} and labels {labels.dtype!s:.40}")
            return cls(logits.astype(np.float32), labels.astype(np.int64), tuple(classes))
        except Exception as error:  # zipfile and NumPy trust what they read, and fail in many ways
            raise ValueError(f"{path} holds no logits of Predictions.save ({error!s:.200}); evaluate again") from error


def flip(batch: torch.Tensor) -> torch.Tensor:
    """The mirror image of a batch (n, c, h, w)."""
    return batch.flip(3)


def shifted(dx: int, dy: int, *, mirrored: bool = False) -> Callable[[torch.Tensor], torch.Tensor]:
    """A view: the face, or its mirror image, moved right by dx and down by dy pixels of 48, the border repeated."""

    def view(batch: torch.Tensor) -> torch.Tensor:
        batch = flip(batch) if mirrored else batch
        for axis, offset in ((2, dy), (3, dx)):
            size = batch.shape[axis]
            source = torch.arange(size, device=batch.device) - round(offset * size / 48)
            batch = batch.index_select(axis, source.clamp(0, size - 1))
        return batch

    return view


VIEWS: dict[str, Sequence[View]] = {  # what to average over, by the names under which results are kept
    "single_view": (None,),
    "flip_averaged": (None, flip),
    "shift_flip_averaged": [
        shifted(*offset, mirrored=m) for m in (False, True) for offset in product((0, -2, 2), repeat=2)
    ],
}


def predict(
    model: nn.Module, dataset: Any, *, views: Sequence[View] = (None,), batch_size: int = 128, workers: int = 0
) -> Predictions:
    """Run a model once over a dataset, averaging its probabilities over `views` of each face.

    model: a `FaceModel`, or any `nn.Module` that gives logits (n, k). It runs where its parameters are, in evaluation
        mode, and each of its layers is left in the mode that it was in.
    dataset: a `FaceDataset`, or any map-style dataset of (tensor, label). Its own transform is used; uint8 faces are
        prepared by the FaceModel's `input_spec`. Labels are matched to the model's classes by name.
    views: what to average over. A view maps a prepared batch, None is the face as it is: `views=(None, flip)` adds its
        mirror image; see `VIEWS`.
    batch_size: faces at a time. workers: loader processes, for datasets with a slow transform.

    Raises `ValueError` where model and data do not go together.

    >>> from ferlib import data, models
    >>> found = predict(models.load_model("drawn"), data.load("sample").subset("PublicTest"))
    >>> found.logits.shape
    (2000, 7)
    """
    if not views:
        raise ValueError("views is empty; (None,) is the face as it is, (None, flip) averages it with its mirror image")
    fed = feed(model, without_targets(dataset))
    device = device_of(model)
    classes = fed.classes or tuple(map(str, range(check_outputs(unwrap(model), fed.shape, None))))
    # One array for all: a small one a batch, kept among the layers' large ones, would cut the memory up.
    logits = np.empty((len(dataset), len(classes)), np.float32)
    labels = np.empty(len(dataset), np.int64)
    start = 0
    batches = loader(fed.dataset, batch_size, workers=workers, generator=torch.Generator())
    # To predict draws no number that training would have drawn.
    with evaluating(model), torch.inference_mode(), torch.random.fork_rng(devices=[]):
        for images, given in batches:
            batch = fed.transform(images.to(device))
            seen = [model(batch if view is None else view(batch)).float() for view in views]
            for one in seen:
                if one.shape != (len(images), len(classes)):
                    raise ValueError(f"a view gives logits {tuple(one.shape)} for {len(images)} faces of "
                                     f"{len(classes)} classes; a view keeps every face")  # fmt: skip
            mean = torch.stack([one.log_softmax(1) for one in seen]).logsumexp(0) - np.log(len(views))
            part = slice(start, start + len(images))
            logits[part] = (seen[0] if len(views) == 1 else mean).cpu().numpy()
            labels[part] = (given.argmax(1) if given.ndim == 2 else given).numpy()
            start += len(images)
    if start != len(dataset):
        raise RuntimeError(f"{start} of {len(dataset)} faces were predicted")
    return Predictions(logits, labels, classes)


def metrics_of(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, balanced accuracy and macro-F1 of confusion matrices (..., k, k), as fractions (...).

    A class without examples is left out of balanced accuracy; a class neither present nor predicted, out of macro-F1.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)
    true, guessed = confusion.sum(-1), confusion.sum(-2)
    recall = np.divide(hits, true, out=np.full(hits.shape, np.nan), where=true > 0)
    f1 = np.divide(2 * hits, true + guessed, out=np.full(hits.shape, np.nan), where=true + guessed > 0)
    return {
        "accuracy": hits.sum(-1) / confusion.sum((-2, -1)),
        "balanced_accuracy": np.nanmean(recall, -1),
        "macro_f1": np.nanmean(f1, -1),
    }


def bootstrap(confusion: np.ndarray, *, resamples: int = 2000, seed: int = 0) -> np.ndarray:
    """Confusion matrices (resamples, k, k) of test sets redrawn with replacement (Efron's bootstrap).

    To redraw n faces is to redraw n (true, predicted) pairs, whose counts are multinomial: so no face is touched.
    (And so for counts of any other shape: `compare` redraws triples, of which two are predictions.)
    """
    n = int(confusion.sum())
    if n == 0:
        raise ValueError("there are no predictions to redraw")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; one redrawn test is the least, and 2000 are usual")
    drawn = np.random.default_rng(seed).multinomial(n, confusion.ravel() / n, size=resamples)
    return drawn.reshape(resamples, *confusion.shape)


def summarise(predictions: Predictions, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Accuracy, balanced accuracy and macro-F1 (rows): value and bootstrap percentile interval low, high; fractions."""
    confusion = predictions.confusion()
    drawn = metrics_of(bootstrap(confusion, resamples=resamples, seed=seed))
    return _with_intervals(metrics_of(confusion), drawn, level)


def seed_interval(
    values: np.ndarray, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap percentile interval of the mean of `values` (seeds, faces), both redrawn with replacement.

    A row is one seed's network, such as its right answers or its gain on each face; all rows are about the same faces.
    So the interval tells what other faces and other seeds might have said; of three seeds it knows little. Raises
    `ValueError` for values of another shape.
    """
    if values.ndim != 2 or not values.size:
        raise ValueError(f"values must be (seeds, faces), at least one of each; {values.shape} was given")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it is the interval's coverage, between 0 and 1")
    rng, (seeds, faces) = np.random.default_rng(seed), values.shape
    means = []
    for _ in range(resamples):
        picked = values[rng.integers(0, seeds, seeds)]
        means.append(picked[:, rng.integers(0, faces, faces)].mean())
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _with_intervals(value: dict[str, Any], drawn: dict[str, Any], level: float) -> pd.DataFrame:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it is the interval's coverage, between 0 and 1")
    tails = [(1 - level) / 2, (1 + level) / 2]
    rows = [(float(value[name]), *np.quantile(drawn[name], tails)) for name in METRICS]
    return pd.DataFrame(rows, index=list(METRICS), columns=["value", "low", "high"])


class Comparison(NamedTuple):
    """Two models on the same faces, as `compare` finds them."""

    difference: pd.DataFrame  # b minus a, in the form of `summarise`
    right: pd.DataFrame  # faces (count) that a (rows) and b (columns) got wrong or right
    p_value: float  # of McNemar's exact test that both models are right equally often


def compare(a: Predictions, b: Predictions, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Comparison:
    """What b gains over a on the very same faces: b minus a with paired bootstrap intervals, and McNemar's exact test.

    A redrawn test brings each face with both answers, so what is hard for both cancels out of the difference. The test
    asks the faces that only one of the two got right (Q. McNemar, Psychometrika 12, 1947). Raises `ValueError` unless
    both hold the same labels in the same order; classes in another order are matched by name.
    """
    b = b.with_classes(a.classes)
    if not np.array_equal(a.labels, b.labels):
        raise ValueError("the two do not hold the same labels in the same order; predict both for the same faces")

    def gain(counts: np.ndarray) -> dict[str, np.ndarray]:
        old, new = metrics_of(counts.sum(-1)), metrics_of(counts.sum(-2))
        return {name: new[name] - old[name] for name in METRICS}

    shape = (len(a.classes),) * 3
    triples = np.ravel_multi_index((a.labels, a.predicted, b.predicted), shape)
    joint = np.bincount(triples, minlength=len(a.classes) ** 3).reshape(shape)
    drawn = gain(bootstrap(joint, resamples=resamples, seed=seed))
    right = np.bincount(2 * a.correct + b.correct, minlength=4).reshape(2, 2)
    table = pd.DataFrame(right, ["a wrong", "a right"], ["b wrong", "b right"])
    discordant = int(right[0, 1] + right[1, 0])
    p_value = float(binomtest(int(right[0, 1]), discordant).pvalue) if discordant else 1.0
    return Comparison(_with_intervals(gain(joint), drawn, level), table, p_value)


def calibration(predictions: Predictions, *, bins: int = 15) -> pd.DataFrame:
    """The reliability diagram: how often a model is right where it is so and so sure.

    A row for each of `bins` equal intervals of confidence, the probability of the predicted class: low (not in it),
    high (in it), n, mean confidence and accuracy of its faces (NaN if none). Fractions, but for the count n. The
    table's `attrs["ece"]` is the expected calibration error, as `ece` gives it.
    """
    if bins < 1 or not len(predictions.labels):
        raise ValueError(f"one bin and one face are the least; given {bins} bins, {len(predictions.labels)} faces")
    confidence, edges = predictions.probabilities.max(1), np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges, confidence) - 1
    n = np.bincount(place, minlength=bins)
    means = [np.bincount(place, each, bins) / np.where(n, n, np.nan) for each in (confidence, predictions.correct)]
    table = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": n, "confidence": means[0], "accuracy": means[1]})
    table.attrs["ece"] = float(np.nansum(n * abs(means[1] - means[0])) / n.sum())
    return table


def ece(predictions: Predictions, *, bins: int = 15) -> float:
    """Expected calibration error, a fraction: |accuracy - confidence| of each bin, averaged over the faces.

    (C. Guo et al., On calibration of modern neural networks, 2017, arXiv 1706.04599.) Never 0 in practice: on 3,589
    faces a perfectly calibrated model gets 0.01 to 0.03 by chance.
    """
    return calibration(predictions, bins=bins).attrs["ece"]


def fit_temperature(predictions: Predictions) -> float:
    """The temperature T, 0.05 to 20, whose softmax(logits / T) makes the labels likeliest (Guo et al.); 1 is as it is.

    Above 1 the model was too sure. No predicted class changes. Where views were averaged, T acts on the average, by the
    logarithms of the mean probabilities, and not on each view. Raises `ValueError` without faces.
    """
    logits, faces = predictions.logits.astype(float), np.arange(len(predictions.labels))
    if not len(faces):
        raise ValueError("there are no predictions to fit a temperature to")

    def loss(log_t: float) -> float:
        return -float(log_softmax(logits * np.exp(-log_t), axis=1)[faces, predictions.labels].mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log([0.05, 20]), method="bounded").x))


def cross_calibrate(predictions: Predictions, *, folds: int = 5, seed: int = 0) -> Predictions:
    """The predictions with each fold's logits divided by the temperature that fits the other folds.

    So no face has a say in its own temperature, and the result's `ece` is honest. The folds hold the classes in
    proportion. A face alone stays as it is. Raises `ValueError` for fewer than two folds.
    """
    if folds < 2:
        raise ValueError(f"folds is {folds}; two are the least, one to fit on and one to apply it to")
    order = np.random.default_rng(seed).permutation(len(predictions.labels))
    order = order[np.argsort(predictions.labels[order], kind="stable")]  # by class; the folds are dealt from it in turn
    logits = predictions.logits.astype(float)  # in float32 two of a face's might be rounded to the same
    for fold in range(min(folds, len(order)) if len(order) > 1 else 0):
        held = np.s_[fold::folds]
        logits[order[held]] /= fit_temperature(predictions.subset(np.delete(order, held)))
    return Predictions(logits, predictions.labels, predictions.classes)


def report(predictions: Predictions) -> pd.DataFrame:
    """Precision, recall, F1 (fractions) and support (faces) of each class."""
    columns = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=range(len(predictions.classes)), zero_division=0
    )
    return pd.DataFrame(
        dict(zip(("precision", "recall", "f1", "support"), columns, strict=True)), index=list(predictions.classes)
    )


def as_json(predictions: Predictions) -> dict[str, Any]:
    """The figures of `summarise`, `report`, `confusion` and calibration in plain types, for a JSON file."""
    return {
        "n": len(predictions.labels),
        "correct": int(predictions.correct.sum()),
        **{str(name): figures for name, figures in summarise(predictions).to_dict("index").items()},
        "ece": ece(predictions),
        "calibrated_ece": ece(cross_calibrate(predictions)),
        "temperature": fit_temperature(predictions),  # on all faces
        "per_class": report(predictions).to_dict("index"),
        "confusion": predictions.confusion().tolist(),
        "classes": list(predictions.classes),
    }
