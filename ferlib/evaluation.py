"""Logits -> numbers, each with its uncertainty. Predict once, ask often: everything here works on `Predictions`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import precision_recall_fscore_support
from torch import nn

from ferlib.emotions import EMOTIONS

METRICS = ("accuracy", "balanced_accuracy", "macro_f1")


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's `logits` (n, 7) float32 for n faces and their `labels` (n,) int64, in the dataset's order.

    Where views of a face were averaged, `logits` are the logarithms of the mean probabilities.
    """

    logits: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.labels.ndim != 1 or self.logits.shape != (len(self.labels), len(EMOTIONS)):
            raise ValueError(
                f"logits {self.logits.shape} do not fit labels {self.labels.shape} and {len(EMOTIONS)} classes"
            )
        if not np.isin(self.labels, range(len(EMOTIONS))).all():
            raise ValueError(f"labels must be 0 to {len(EMOTIONS) - 1}: {np.unique(self.labels)}")
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
        """Softmax of the logits, (n, 7)."""
        shifted = np.exp(self.logits - self.logits.max(1, keepdims=True))
        return shifted / shifted.sum(1, keepdims=True)

    @property
    def correct(self) -> np.ndarray:
        """Whether each face was named right, (n,) bool."""
        return self.predicted == self.labels

    def confusion(self) -> np.ndarray:
        """Counts (7, 7): rows are true classes, columns predicted ones."""
        classes = len(EMOTIONS)
        return np.bincount(classes * self.labels + self.predicted, minlength=classes**2).reshape(classes, classes)

    def subset(self, mask: np.ndarray) -> "Predictions":
        """The predictions of some of the faces, by a boolean mask (n,) or positions."""
        return Predictions(self.logits[mask], self.labels[mask])

    def save(self, path: str | Path) -> None:
        """Keep the numbers in a .npz file: half-precision logits, one byte a label."""
        with open(path, "wb") as file:
            np.savez_compressed(file, logits=self.logits.astype(np.float16), labels=self.labels.astype(np.uint8))

    @classmethod
    def load(cls, path: str | Path) -> "Predictions":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as kept:
            return cls(kept["logits"].astype(np.float32), kept["labels"].astype(np.int64))


def flip(batch: torch.Tensor) -> torch.Tensor:
    """The mirror image of a batch (n, c, h, w)."""
    return batch.flip(3)


@torch.inference_mode()
def predict(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    transform: Callable[[torch.Tensor], torch.Tensor],
    *,
    views: Sequence[Callable[[torch.Tensor], torch.Tensor] | None] = (None,),
    batch_size: int = 256,
) -> Predictions:
    """Run a model once over uint8 faces (n, h, w), averaging its probabilities over `views` of each face.

    `transform` is the batch transform that fits the model: `EvalTransform(input_spec(model))`. A view maps the
    transformed batch, None is the face as it is: `views=(None, flip)` averages a face and its mirror image. The model
    runs where its parameters are, in evaluation mode, and each of its layers is left in the mode that it was in.
    """
    if not views:
        raise ValueError("views is empty; (None,) is the face as it is, (None, flip) averages it with its mirror image")
    device = next(model.parameters()).device
    modes = {module: module.training for module in model.modules()}
    model.eval()
    logits = []
    try:
        for start in range(0, len(images), batch_size):
            part = np.ascontiguousarray(images[start : start + batch_size])
            batch = transform(torch.tensor(part)[:, None].to(device))
            seen = [model(batch if view is None else view(batch)).float() for view in views]
            mean = torch.stack([one.log_softmax(1) for one in seen]).logsumexp(0) - np.log(len(views))
            logits.append((seen[0] if len(views) == 1 else mean).cpu().numpy())
    finally:
        for module, mode in modes.items():
            module.training = mode
    gathered = np.concatenate(logits) if logits else np.empty((0, len(EMOTIONS)), np.float32)
    if len(gathered) != len(images):
        raise RuntimeError(f"{len(gathered)} of {len(images)} faces were evaluated")
    return Predictions(gathered, np.asarray(labels, np.int64))


def metrics_of(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, balanced accuracy and macro-F1 of confusion matrices (..., 7, 7), as fractions (...).

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
    """Confusion matrices (resamples, 7, 7) of test sets redrawn with replacement (Efron's bootstrap).

    To redraw n faces is to redraw n (true, predicted) pairs, whose counts are multinomial: so no face is touched.
    """
    n = int(confusion.sum())
    if n == 0:
        raise ValueError("there are no predictions to redraw")
    drawn = np.random.default_rng(seed).multinomial(n, confusion.ravel() / n, size=resamples)
    return drawn.reshape(resamples, *confusion.shape)


def summarise(predictions: Predictions, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Accuracy, balanced accuracy and macro-F1 (rows): value and bootstrap percentile interval low, high; fractions."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it is the interval's coverage, between 0 and 1")
    confusion = predictions.confusion()
    drawn = metrics_of(bootstrap(confusion, resamples=resamples, seed=seed))
    value = metrics_of(confusion)
    tails = [(1 - level) / 2, (1 + level) / 2]
    rows = [(float(value[name]), *np.quantile(drawn[name], tails)) for name in METRICS]
    return pd.DataFrame(rows, index=list(METRICS), columns=["value", "low", "high"])


def report(predictions: Predictions) -> pd.DataFrame:
    """Precision, recall, F1 (fractions) and support (faces) of each emotion."""
    columns = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=range(len(EMOTIONS)), zero_division=0
    )
    return pd.DataFrame(dict(zip(("precision", "recall", "f1", "support"), columns, strict=True)), index=list(EMOTIONS))


def as_json(predictions: Predictions) -> dict[str, Any]:
    """The figures of `summarise`, `report` and `confusion` in plain types, for a JSON file."""
    return {
        "n": len(predictions.labels),
        "correct": int(predictions.correct.sum()),
        **{str(name): figures for name, figures in summarise(predictions).to_dict("index").items()},
        "per_class": report(predictions).to_dict("index"),
        "confusion": predictions.confusion().tolist(),
        "classes": list(EMOTIONS),
    }
