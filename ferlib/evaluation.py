"""Predict once, then compute metrics with intervals, comparisons and calibration from the `Predictions`."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import optimize, special, stats
from sklearn.metrics import precision_recall_fscore_support

from ferlib.data import loader
from ferlib.data.dataset import check_picks
from ferlib.emotions import EMOTIONS, check_classes, match_classes
from ferlib.models.face_model import check_outputs, device_of, evaluating, unwrap, warn_of_probabilities
from ferlib.models.feed import feed, without_targets
from ferlib.utils import require

METRICS = ("accuracy", "balanced_accuracy", "macro_f1")
Views = Sequence[Callable[[torch.Tensor], torch.Tensor] | None]  # of a batch; None is the batch as it is


@dataclass(frozen=True, eq=False)
class Predictions:
    """The logits of a model for n faces, with the labels, in the dataset's order.

    Attributes:
        logits: float32 (n, k). Where views of a face were averaged: the logarithms of the mean probabilities.
        labels: class indices, int64 (n,).
        classes: the k class names.

    >>> predictions = Predictions(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 0]), ("open", "shut"))
    >>> predictions.correct.tolist()
    [True, False]
    """

    logits: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] = EMOTIONS

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", check_classes(self.classes))
        k = len(self.classes)
        if self.logits.shape != (*self.labels.shape, k) or not np.isin(self.labels, range(k)).all():
            raise ValueError(f"logits {self.logits.shape} do not fit labels {self.labels.shape} from 0 to {k - 1}")
        if diverged := (~np.isfinite(self.logits)).any(1).sum():
            zeros = np.isneginf(self.logits).sum() == (~np.isfinite(self.logits)).sum()
            cause = "logarithms of 0? give np.log(p.clip(1e-12))" if zeros else "diverged training?"
            raise ValueError(f"the logits of {diverged} faces are not finite: {cause}")
        shares = (self.logits >= 0).all() and np.allclose(self.logits.sum(1), 1, atol=1e-3)
        if shares and not np.isin(self.logits, (0, 1)).all():
            warnings.warn(
                "the logits look like probabilities, and a softmax follows; give np.log(p.clip(1e-12))", stacklevel=3
            )

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each face, (n,) int64."""
        return self.logits.argmax(1)

    @property
    def probabilities(self) -> np.ndarray:
        """The softmax of the logits, (n, k)."""
        return special.softmax(self.logits, axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Whether each prediction equals its label, (n,) bool."""
        return self.predicted == self.labels

    def confusion(self) -> np.ndarray:
        """Return the confusion matrix (k, k): rows are true classes, columns predicted ones."""
        k = len(self.classes)
        return np.bincount(k * self.labels + self.predicted, minlength=k**2).reshape(k, k)

    def with_classes(self, classes: Sequence[str]) -> "Predictions":
        """Return the same predictions with the classes in another order.

        Args:
            classes: the same names in the order wanted.

        Raises:
            ValueError: `classes` holds other names.
        """
        places = match_classes(tuple(classes), self.classes, "these predictions")
        if places is None:
            return self
        return Predictions(self.logits[:, np.argsort(places)], places[self.labels], tuple(classes))

    def subset(self, mask: np.ndarray) -> "Predictions":
        """Return the predictions of some faces.

        Args:
            mask: boolean (n,), or positions.

        Raises:
            ValueError: numbers 0 and 1 stand where a mask is meant.
        """
        check_picks(np.asarray(mask), len(self.labels))
        return Predictions(self.logits[mask], self.labels[mask], self.classes)


def flip(batch: torch.Tensor) -> torch.Tensor:
    """Return the mirror image of a batch (n, channels, h, w)."""
    return batch.flip(3)


def shift(batch: torch.Tensor, *, dx: int, dy: int, mirrored: bool = False) -> torch.Tensor:
    """Shift a batch and repeat its border.

    Args:
        batch: (n, channels, h, w).
        dx: pixels to the right, for a face of 48 px.
        dy: pixels down, for a face of 48 px.
        mirrored: whether to mirror the face first.
    """
    sides = zip(batch.shape[2:], (dy, dx), strict=True)
    y, x = ((torch.arange(side) - round(step * side / 48)).clamp(0, side - 1) for side, step in sides)
    return (flip(batch) if mirrored else batch)[:, :, y[:, None], x]


_SHIFTS = [partial(shift, dx=x, dy=y, mirrored=m) for m in (False, True) for x in (0, -2, 2) for y in (0, -2, 2)]
VIEWS: dict[str, Views] = {"single_view": (None,), "flip_averaged": (None, flip), "shift_flip_averaged": _SHIFTS}
"""Views of a face whose probabilities `predict` averages: the face; with its mirror image; both at nine places."""


def predict(
    model: torch.nn.Module, dataset: Any, *, views: Views = (None,), batch_size: int = 128, workers: int = 0
) -> Predictions:
    """Predict the class probabilities of each face, averaged over views.

    The model runs on its own device in evaluation mode. Each layer then gets its own mode back.

    Args:
        model: a `FaceModel`, or any `torch.nn.Module` that gives logits (n, k).
        dataset: a `FaceDataset`, or any map-style dataset of (tensor, label). Its own transform is used; the
            FaceModel's `input_spec` prepares uint8 faces. Labels are matched to the model's classes by name.
        views: functions from a prepared batch to another one; None is the face as it is. `(None, flip)` adds the mirror
            image. See `VIEWS`.
        batch_size: faces at a time.
        workers: loader processes, for a dataset with a slow transform.

    Returns:
        The predictions, in the dataset's order.

    Raises:
        ValueError: model and data do not fit.

    >>> from ferlib import data, models
    >>> predict(models.load_model("drawn"), data.load("sample").subset("PublicTest")).logits.shape
    (2000, 7)
    """
    source = feed(model, without_targets(dataset))
    classes = source.classes or tuple(map(str, range(check_outputs(unwrap(model), source.shape, None))))
    warn_of_probabilities(unwrap(model), source.shape)
    logits = np.empty((len(dataset), len(classes)), np.float32)  # one array: many small ones would fragment the memory
    labels = np.empty(len(dataset), np.int64)
    batches, start = loader(source.dataset, batch_size, workers=workers, generator=torch.Generator()), 0
    # The fork keeps the random numbers that training would draw.
    with evaluating(model), torch.inference_mode(), torch.random.fork_rng(devices=[]):
        for images, targets in batches:
            part = slice(start, start + len(images))
            logits[part] = _view_logits(model, source.transform(images.to(device_of(model))), views).cpu().numpy()
            labels[part] = targets.argmax(1) if targets.ndim == 2 else targets
            start = part.stop
    assert start == len(dataset), f"{start} of {len(dataset)} faces were predicted"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the logits look like")  # the network was looked at above
        return Predictions(logits, labels, classes)


def _view_logits(model: torch.nn.Module, batch: torch.Tensor, views: Views) -> torch.Tensor:
    """Return a batch's logits (n, k): those of one view, or the logarithms of the views' mean probabilities."""
    logits = torch.stack([model(batch if view is None else view(batch)).float() for view in views])
    if logits.shape[1] != len(batch):
        raise ValueError(f"a view gives logits {tuple(logits.shape[1:])} for {len(batch)} faces; keep every face")
    return logits[0] if len(views) == 1 else logits.log_softmax(2).logsumexp(0) - np.log(len(views))


def metrics_of(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Compute accuracy, balanced accuracy and macro-F1 from confusion matrices.

    Balanced accuracy leaves out a class without examples. Macro-F1 leaves out a class that is neither present nor
    predicted.

    Args:
        confusion: counts (..., k, k).

    Returns:
        Each metric by name, as fractions (...).
    """
    hits, true, predicted = np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1), confusion.sum(-2)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, which nanmean leaves out
        recall, f1 = hits / true, 2 * hits / (true + predicted)
    accuracy = hits.sum(-1) / confusion.sum((-2, -1))
    return {"accuracy": accuracy, "balanced_accuracy": np.nanmean(recall, -1), "macro_f1": np.nanmean(f1, -1)}


def bootstrap(counts: np.ndarray, resamples: int = 2000, seed: int = 0) -> np.ndarray:
    """Resample counts with replacement (Efron's bootstrap).

    To draw n faces again is to draw n (true, predicted) pairs again, and their counts are multinomial.

    Args:
        counts: a confusion matrix (k, k), or counts of any other shape.
        resamples: how many test sets to draw.
        seed: of the random numbers.

    Returns:
        The counts of each test set, (resamples, *counts.shape).

    Raises:
        ValueError: all counts are 0.
    """
    n = int(counts.sum())
    require(n, "there are no predictions to redraw")
    return np.random.default_rng(seed).multinomial(n, counts.ravel() / n, resamples).reshape(resamples, *counts.shape)


def percentile_interval(values: Any, level: float = 0.95) -> np.ndarray:
    """Compute the bootstrap percentile interval of resampled values.

    Args:
        values: one value a resample, (resamples, ...).
        level: the coverage of the interval, between 0 and 1.

    Returns:
        The lower and the upper bound, (2, ...).
    """
    return np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)


def _interval_table(resampled: dict[str, Any], value: dict[str, Any], level: float) -> pd.DataFrame:
    """Return a row (value, low, high) for each metric."""
    rows = {name: (float(value[name]), *percentile_interval(resampled[name], level)) for name in METRICS}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])


def summarise(predictions: Predictions, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Compute the metrics of predictions with bootstrap intervals.

    Args:
        predictions: of one face or more.
        level: the coverage of the intervals.
        resamples: how many test sets to draw.
        seed: of the random numbers.

    Returns:
        Rows accuracy, balanced_accuracy and macro_f1; columns value, low and high (fractions).

    Raises:
        ValueError: there are no predictions.

    >>> predictions = Predictions(np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 0]), ("open", "shut"))
    >>> float(summarise(predictions).loc["accuracy", "value"])
    0.75
    """
    confusion = predictions.confusion()
    return _interval_table(metrics_of(bootstrap(confusion, resamples, seed)), metrics_of(confusion), level)


def seed_interval(values: np.ndarray, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> list[float]:
    """Compute a bootstrap interval of a mean over seeds and faces.

    Seeds and faces are both drawn again with replacement, so the interval covers other seeds and other faces. With
    three seeds it holds the truth in about 94% of simulated tests where seeds differ less than the choice of faces
    does, but in only 76% where seeds are all that differs; with ten seeds in 92%.

    Args:
        values: (seeds, faces), a row for each seed's network; all rows are about the same faces.
        level: the coverage of the interval.
        resamples: how many times to draw again.
        seed: of the random numbers.

    Returns:
        The lower and the upper bound, [low, high].

    Raises:
        ValueError: `values` has another shape.
    """
    if values.ndim != 2 or not values.size:
        raise ValueError(f"values must be (seeds, faces), at least one of each; {values.shape} was given")
    rng, (seeds, faces) = np.random.default_rng(seed), values.shape
    draws = (values[rng.integers(0, seeds, seeds)][:, rng.integers(0, faces, faces)] for _ in range(resamples))
    return percentile_interval([draw.mean() for draw in draws], level).tolist()


class Comparison(NamedTuple):
    """The result of `compare`."""

    difference: pd.DataFrame  # b minus a, in the form of `summarise`
    right: pd.DataFrame  # faces (count) that a (rows) and b (columns) got wrong or right
    p_value: float  # of McNemar's exact test that both models are right equally often


def compare(a: Predictions, b: Predictions, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Comparison:
    """Compare two models on the same faces, with paired intervals and McNemar's test.

    Each resample keeps both answers to a face together, so faces that are hard for both models widen no interval. The
    test uses the faces that only one model got right (Q. McNemar, Psychometrika 12, 1947).

    Args:
        a: predictions of the first model.
        b: predictions of the second one, for the same faces in the same order.
        level: the coverage of the intervals.
        resamples: how many test sets to draw.
        seed: of the random numbers.

    Returns:
        The difference b minus a, the table of right and wrong answers, and the p value.

    Raises:
        ValueError: the labels differ, or the classes do.
    """
    b = b.with_classes(a.classes)
    if not np.array_equal(a.labels, b.labels):
        raise ValueError("the two do not hold the same labels in the same order; predict both for the same faces")

    def gain(counts: np.ndarray) -> dict[str, np.ndarray]:
        of_a, of_b = metrics_of(counts.sum(-1)), metrics_of(counts.sum(-2))
        return {name: of_b[name] - of_a[name] for name in METRICS}

    joint = np.zeros((len(a.classes),) * 3, int)
    np.add.at(joint, (a.labels, a.predicted, b.predicted), 1)
    difference = _interval_table(gain(bootstrap(joint, resamples, seed)), gain(joint), level)
    right = np.bincount(2 * a.correct + b.correct, minlength=4).reshape(2, 2)
    p_value = stats.binomtest(right[0, 1], max(1, right[0, 1] + right[1, 0])).pvalue
    return Comparison(difference, pd.DataFrame(right, ["a wrong", "a right"], ["b wrong", "b right"]), float(p_value))


def calibration(predictions: Predictions, *, bins: int = 15) -> pd.DataFrame:
    """Compute the accuracy in each confidence bin, for a reliability diagram.

    Confidence is the probability of the predicted class.

    Args:
        predictions: of one face or more.
        bins: how many equal intervals of confidence.

    Returns:
        A row a bin: low (not in it), high (in it), n (faces), their mean confidence and accuracy (fractions, NaN
        without faces). `attrs["ece"]` is the expected calibration error.
    """
    confidence, edges = predictions.probabilities.max(1), np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges, confidence) - 1
    n = np.bincount(place, minlength=bins)
    means = [np.bincount(place, each, bins) / np.where(n, n, np.nan) for each in (confidence, predictions.correct)]
    table = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": n, "confidence": means[0], "accuracy": means[1]})
    table.attrs["ece"] = float(np.nansum(n * abs(means[1] - means[0])) / n.sum())
    return table


def ece(predictions: Predictions, *, bins: int = 15) -> float:
    """Compute the expected calibration error, a fraction.

    It is the difference between accuracy and confidence in each bin, averaged over the faces (C. Guo et al., On
    calibration of modern neural networks, 2017, arXiv 1706.04599). It is never 0 in practice: on 3,589 faces a
    perfectly calibrated model gets 0.01 to 0.03 by chance.

    Args:
        predictions: of one face or more.
        bins: how many equal intervals of confidence.
    """
    return calibration(predictions, bins=bins).attrs["ece"]


def fit_temperature(predictions: Predictions) -> float:
    """Fit the temperature T whose softmax(logits / T) makes the labels most likely.

    Above 1 the model was overconfident. No predicted class changes. Where views were averaged, T divides the logarithms
    of the mean probabilities (C. Guo et al., 2017, arXiv 1706.04599).

    Args:
        predictions: of one face or more.

    Returns:
        T, from 0.05 to 20.

    Raises:
        ValueError: there are no predictions.
    """
    logits, faces = predictions.logits.astype(float), np.arange(len(predictions.labels))
    require(len(faces), "there are no predictions to fit a temperature to")

    def loss(log_t: float) -> float:
        return -float(special.log_softmax(logits * np.exp(-log_t), axis=1)[faces, predictions.labels].mean())

    return float(np.exp(optimize.minimize_scalar(loss, bounds=np.log([0.05, 20]), method="bounded").x))


def cross_calibrate(predictions: Predictions, *, folds: int = 5, seed: int = 0) -> Predictions:
    """Divide each fold's logits by the temperature fitted on the other folds.

    No face influences its own temperature, so the `ece` of the result is honest.

    Args:
        predictions: of any number of faces; a single face stays as it is.
        folds: how many parts, 2 or more, each with the classes in proportion.
        seed: of the random numbers that build the folds.
    """
    order = np.random.default_rng(seed).permutation(len(predictions.labels))
    order = order[np.argsort(predictions.labels[order], kind="stable")]  # sorted by class, then every folds-th face
    logits = predictions.logits.astype(float)  # float32 could round two logits of a face to one number
    for fold in range(min(folds, len(order)) if len(order) > 1 else 0):
        part = np.s_[fold::folds]
        logits[order[part]] /= fit_temperature(predictions.subset(np.delete(order, part)))
    return Predictions(logits, predictions.labels, predictions.classes)


def select_columns(table: Any, names: Sequence[str], source: str) -> pd.DataFrame:
    """Return columns of a table.

    Args:
        table: what a function was given.
        names: the columns that it needs.
        source: what gives such a table, for the message.

    Raises:
        ValueError: it is no table, or lacks a column.
    """
    missing = [name for name in names if name not in getattr(table, "columns", ())]
    require(not missing, f"a {type(table).__name__} without {', '.join(missing)} was given; give what {source} gives")
    return table[[*names]]


def report(predictions: Predictions) -> pd.DataFrame:
    """Compute precision, recall, F1 and support of each class.

    Args:
        predictions: of any number of faces.

    Returns:
        A row a class; columns precision, recall, f1 (fractions) and support (faces).

    >>> predictions = Predictions(np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 0]), ("open", "shut"))
    >>> float(report(predictions).loc["shut", "precision"])
    0.5
    """
    k = range(len(predictions.classes))
    scores = precision_recall_fscore_support(predictions.labels, predictions.predicted, labels=k, zero_division=0)
    return pd.DataFrame(zip(*scores, strict=True), predictions.classes, ["precision", "recall", "f1", "support"])


def as_json(predictions: Predictions) -> dict[str, Any]:
    """Collect all metrics of predictions in plain types, for a JSON file."""
    results: dict[str, Any] = {"n": len(predictions.labels), "correct": int(predictions.correct.sum())}
    results |= zip(METRICS, summarise(predictions).to_dict("records"), strict=True)
    results |= {"ece": ece(predictions), "calibrated_ece": ece(cross_calibrate(predictions))}
    results |= {"temperature": fit_temperature(predictions), "classes": list(predictions.classes)}
    results |= {"per_class": report(predictions).to_dict("index"), "confusion": predictions.confusion().tolist()}
    return results
