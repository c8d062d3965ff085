"""Plots for the course: faces, counts, training histories, confusion matrices, scores, calibration and maps.

Each function draws what it is given and measures nothing. `plot_x(data, ax=None)` draws into `ax` or a new figure and
returns the Axes. `x_grid(...)` returns a new Figure: in a notebook, assign it, or it shows twice. A table without a
column that is needed is a `ValueError`.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from ferlib.emotions import EMOTIONS, class_colors
from ferlib.evaluation import Predictions, select_columns
from ferlib.utils import require

Pictures = Sequence[np.ndarray] | np.ndarray
Texts = Sequence[object] | None
DARK, MIDDLE, LIGHT = "#332288", "#44AA99", "#DDCC77"  # of Paul Tol's "muted" scheme; they differ in gray print too


def _axes(ax: Axes | None, size: tuple[float, float], names: Sequence[str] = (), **labels: str) -> Axes:
    """Label the caller's Axes, or those of a new figure of this many inches; `names` run down the y axis."""
    ax = plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax
    if len(names):
        ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    ax.set(**labels)
    return ax


def face_grid(images: Pictures, titles: Texts = None, *, columns: int | None = None, size: float = 1.0,
              title: str | None = None, colors: Sequence[str] | None = None) -> Figure:  # fmt: skip
    """Draw faces side by side, without smoothing and without stretched contrast (0 is black, 255 is white).

    Args:
        images: uint8, (n, h, w) gray or (n, h, w, 3) RGB, or a list of such pictures of any sizes.
        titles: n texts above the faces; long ones are broken into lines.
        columns: faces in a row; None takes as many as fit 9 inches.
        size: of a face, in inches.
        title: of the figure.
        colors: n colours of frames and titles; colour must not be the only sign, so give `titles` too.

    Raises:
        ValueError: a picture is not uint8, or the counts differ.

    >>> figure = face_grid(np.zeros((10, 48, 48), np.uint8), ["black"] * 10, columns=5, title="Ten black pictures")
    """
    pictures, width = [np.asarray(image) for image in images], size + 0.15
    uint8 = pictures and all(picture.dtype == np.uint8 and picture.ndim in (2, 3) for picture in pictures)
    require(uint8, "give one picture or more, each uint8 (h, w) or (h, w, 3)")
    names = [""] * len(pictures) if titles is None else titles
    require(len(names) == len(pictures), f"{len(pictures)} pictures and {len(names)} titles; give a title to each")
    columns = min(len(pictures), max(1, int(9 / width))) if columns is None else columns
    texts = _wrap(names, width)
    lines, rows = max(text.count("\n") + bool(text) for text in texts), -(-len(pictures) // columns)
    height = rows * (size + 0.1 + 0.13 * lines) + 0.2 * len((title or "").splitlines()) + 0.1
    figure = plt.figure(figsize=(columns * width, height), layout="constrained")
    figure.suptitle("\n".join(_wrap([title or ""], columns * width, 11)), fontsize=11)
    inks = colors or ["black"] * len(pictures)
    for place, (picture, text, ink) in enumerate(zip(pictures, texts, inks, strict=True), 1):
        ax = figure.add_subplot(rows, columns, place, xticks=[], yticks=[])
        ax.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_title(text, fontsize=7.5, pad=3, parse_math=False, color=ink)
        ax.spines[:].set(color=ink, linewidth=0.5 if colors is None else 2)
    return figure


def _wrap(texts: Sequence[object], inches: float, points: float = 7.5) -> list[str]:
    """Break texts into lines of this width; a letter is about 0.6 of the font size wide."""
    letters = max(4, int(72 * inches / (0.6 * points)))
    return ["\n".join(textwrap.fill(line, letters) for line in str(text).splitlines()) for text in texts]


def augmentation_grid(originals: Pictures, augmented: Sequence[Pictures] | np.ndarray, titles: Texts = None, *,
                      headers: Texts = None, title: str = "Originals and augmentations") -> Figure:  # fmt: skip
    """Draw each original in a thick frame, with its augmented versions to the right.

    Args:
        originals: n pictures, as `face_grid` takes them.
        augmented: k pictures for each original, (n, k, h, w) or lists.
        titles: n texts above the originals.
        headers: k texts above the versions.
        title: of the figure.
    """
    columns = 1 + len(augmented[0])
    headers = [f"version {k}" for k in range(1, columns)] if headers is None else headers
    pictures = [face for pair in zip(originals, augmented, strict=True) for face in (pair[0], *pair[1])]
    names = ["original"] * len(originals) if titles is None else titles
    texts = [text for name in names for text in (name, *headers)]
    figure = face_grid(pictures, texts, columns=columns, size=min(1.2, 9 / columns - 0.15), title=title)
    for ax in figure.axes[::columns]:
        ax.spines[:].set(linewidth=2)
    return figure


def plot_counts(counts: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Plot the faces of each class, one bar a split, with the numbers on the bars.

    Args:
        counts: a row a split, a column a class, such as `faces.counts()`.
        ax: where to draw.
    """
    table = counts.T.set_axis([f"{split} ({total:,} faces)" for split, total in counts.sum(axis=1).items()], axis=1)
    ax = table.plot.barh(ax=_axes(ax, (7.5, 5.5)), width=0.84, color=[DARK, LIGHT, MIDDLE], edgecolor="black", lw=0.5)
    for container, hatch in zip(ax.containers, ("", "////", "...."), strict=False):
        plt.setp(container, hatch=hatch)
        ax.bar_label(container, fmt="{:,.0f}", padding=3, fontsize=7.5)
    ax.set(title="Faces per class", xlabel="faces (count)", ylabel="class", ylim=ax.get_ylim()[::-1], xmargin=0.12)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=5, ncols=3, fontsize=8)  # covers no number
    return ax


def plot_history(history: pd.DataFrame, *, metric: str = "accuracy", ax: Axes | None = None) -> Axes:
    """Plot training and validation curves over the epochs, with a star at the best validation epoch.

    Args:
        history: a row an epoch; columns epoch, train_accuracy and val_accuracy (fractions), or, for the loss,
            train_loss and val_loss (nats). NaN leaves a gap.
        metric: "accuracy" (shown in percent; the highest is best) or "loss" (the lowest is best).
        ax: where to draw.

    >>> ax = plot_history(pd.DataFrame({"epoch": [1, 2], "train_accuracy": [0.4, 0.7], "val_accuracy": [0.5, 0.6]}))
    """
    names, rate = [f"train_{metric}", f"val_{metric}"], metric == "accuracy"
    table = select_columns(history, ["epoch", *names], "fit(...).history").set_index("epoch").astype(float)
    table *= 100 if rate else 1
    title, form = metric.capitalize(), "{:.1f}%" if rate else "{:.3f}"
    ax = _axes(ax, (6.5, 4.2), ylabel="accuracy (%)" if rate else "loss (nats)")
    table.plot(ax=ax, style=["s--", "o-"], color=["#666666", DARK], markersize=4, fontsize=9)
    val = table[names[1]].dropna()
    if len(val):
        epoch = val.idxmax() if rate else val.idxmin()
        ax.plot(epoch, val[epoch], "*", markersize=14, color=DARK, markerfacecolor=LIGHT)
        title += f"\n(star: best val, {form.format(val[epoch])} in epoch {epoch:.0f})"
    ax.set_title(title, fontsize=10)
    ax.locator_params(axis="x", nbins=6, integer=True)
    return ax


def plot_lr_finder(losses: pd.DataFrame, suggested: float | None = None, *, ax: Axes | None = None) -> Axes:
    """Plot the loss against the learning rate, of each batch (dots) and smoothed (line).

    Args:
        losses: columns lr, loss, smoothed, as `training.find_lr` gives them.
        suggested: a learning rate to mark with a dashed line.
        ax: where to draw.

    >>> ax = plot_lr_finder(pd.DataFrame({"lr": [1e-4, 1e-3], "loss": [2.0, 1.8], "smoothed": [2.0, 1.9]}), 1e-3)
    """
    losses = select_columns(losses, ("lr", "loss", "smoothed"), "training.find_lr")
    ax = _axes(ax, (6.5, 4.2), title="Learning-rate finder", xlabel="learning rate (log scale)", ylabel="loss (nats)")
    ax.semilogx(losses["lr"], losses["loss"], ".", color=LIGHT, markeredgecolor=DARK, label="one batch")
    ax.semilogx(losses["lr"], losses["smoothed"], color=DARK, label="smoothed")
    if suggested is not None:
        ax.axvline(suggested, linestyle="--", color=DARK, label=f"suggested: {suggested:.2g}")
    ax.set_ylim(0, 1.5 * losses["smoothed"].iloc[0])  # above that the training diverges
    ax.legend()
    return ax


def history_grid(history: pd.DataFrame) -> Figure:
    """Plot loss, accuracy and learning rate side by side, from a history with the column `lr` too."""
    rates = select_columns(history, ("epoch", "lr"), "fit(...).history")
    figure, (first, second, third) = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
    plot_history(history, metric="loss", ax=first)
    plot_history(history, metric="accuracy", ax=second)
    rates.plot(x="epoch", y="lr", style="o-", color=DARK, ax=third, legend=False, title="Learning rate", ylabel="lr")
    return figure


def plot_confusion(confusion: Any, *, ax: Axes | None = None, classes: Sequence[str] | None = None) -> Axes:
    """Plot a confusion matrix, with the percent of the true class above the count in each cell.

    Args:
        confusion: what `evaluation.predict` gives, or counts (k, k), true by predicted.
        ax: where to draw.
        classes: the k names. None takes those of the predictions; for a matrix the seven emotions in ferlib's order.

    >>> ax = plot_confusion(np.eye(7, dtype=int) * 40 + 3)
    """
    if isinstance(confusion, Predictions):
        classes, confusion = classes or confusion.classes, confusion.confusion()
    counts, names = np.asarray(confusion), classes or EMOTIONS
    require(counts.shape == (len(names), len(names)), f"a matrix {counts.shape} and {len(names)} classes were given; "
            "give counts (k, k) and classes=, or what evaluation.predict gives")  # fmt: skip
    ax = _axes(ax, (7, 6))
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(1)
    display = ConfusionMatrixDisplay(shares, display_labels=names)
    display.plot(ax=ax, cmap="Blues", xticks_rotation=45, im_kw={"vmin": 0, "vmax": 100}, text_kw={"fontsize": 8})
    for cell, text in np.ndenumerate(display.text_):
        share = f"{shares[cell]:.0f}%" if counts[cell[0]].any() else "–"
        text.set(text=f"{share}\n{counts[cell]:,.0f}", color="white" if shares[cell] > 60 else "black")
    display.im_.colorbar.set_label("share of the true class (%)")
    ax.set(title="Confusion matrix", xlabel="predicted class", ylabel="true class")
    return ax


def confusion_grid(confusions: Mapping[str, Any]) -> Figure:
    """Plot confusion matrices side by side, to compare models.

    Args:
        confusions: by the model's name, what `plot_confusion` takes.

    >>> figure = confusion_grid({"before": np.eye(7, dtype=int) * 40 + 3, "after": np.eye(7, dtype=int) * 90})
    """
    count = len(confusions)
    figure, axes = plt.subplots(1, count, figsize=(4.5 * count, 4.3), layout="constrained", squeeze=False)
    for ax, (name, confusion) in zip(axes[0], confusions.items(), strict=True):
        plot_confusion(confusion, ax=ax).set_title(name)
    for ax in axes[0, :-1]:
        ax.images[0].colorbar.remove()  # one scale for all
    return figure


def plot_report(report: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Plot precision, recall and F1 of each class, with the class's support.

    Args:
        report: a row a class, as `evaluation.report` gives it.
        ax: where to draw.
    """
    report = select_columns(report, ("precision", "recall", "f1", "support"), "evaluation.report")
    names = [f"{name}\n{support:,.0f} faces" for name, support in report["support"].items()]
    ax = _axes(ax, (7, 5.2), names, title="Scores per class", xlabel="score (%)", ylabel="class and its support")
    styles = {"precision": (">", LIGHT, -0.25), "recall": ("s", MIDDLE, 0), "f1": ("o", DARK, 0.25)}
    for name, (marker, color, shift) in styles.items():
        ax.plot(100 * report[name], np.arange(len(report)) + shift, marker, color=color, mec="black", label=name)
        for place, value in enumerate(report[name]):
            ax.text(100 * value + 1.5, place + shift, f"{value:.1%}", va="center", fontsize=7.5)
    ax.hlines(np.arange(len(report) - 1) + 0.5, -2, 112, color="#CCCCCC", linewidth=0.6)
    ax.set(xlim=(-2, 112), xticks=range(0, 101, 20))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=5, ncols=3, fontsize=8)
    return ax


def plot_intervals(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Plot values with their intervals, one row a name.

    Args:
        table: columns value, low and high (fractions), as `evaluation.summarise` gives it.
        ax: where to draw.
    """
    rows = 100 * select_columns(table, ("value", "low", "high"), "evaluation.summarise").astype(float)
    ax = _axes(ax, (6.5, 1 + 0.5 * len(rows)), [*map(str, rows.index)], title="Intervals", xlabel="value (%)")
    for place, (value, low, high) in enumerate(rows.to_numpy()):
        ax.plot([low, high], [place, place], "|-", color=DARK, markersize=9)
        ax.plot(value, place, "o", color=DARK)
        text = f"{value:.1f}% [{low:.1f}, {high:.1f}]"
        ax.annotate(text, (value, place), (0, 6), textcoords="offset points", ha="center", va="bottom", fontsize=8)
    ax.set(ylabel=rows.index.name or "quantity", ylim=(len(rows) - 0.5, -0.8), xmargin=0.25)
    return ax


def plot_probabilities(probabilities: Any, *, ax: Axes | None = None, classes: Sequence[str] = EMOTIONS) -> Axes:
    """Plot the probability of each class, and name the predicted class.

    Args:
        probabilities: k fractions that add up to 1.
        ax: where to draw.
        classes: the k names.

    Raises:
        ValueError: the probabilities do not fit the classes.
    """
    values = np.asarray(probabilities, dtype=float)
    if values.shape != (len(classes),) or abs(values.sum() - 1) > 0.01:
        raise ValueError(f"probabilities {values} given; give one for each of {len(classes)} classes, adding up to 1")
    texts = [f"{value:.1%}" for value in values]
    texts[values.argmax()] += ", predicted"
    ax = _axes(ax, (5.5, 3.2), classes, title="Predicted probabilities", xlabel="probability (%)", ylabel="class")
    bars = ax.barh(classes, 100 * values, color=class_colors(classes), edgecolor="black", linewidth=0.5)
    ax.bar_label(bars, texts, padding=3, fontsize=8)
    ax.set(xlim=(0, 140), xticks=range(0, 101, 20))
    return ax


def plot_reliability(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Plot accuracy over confidence: a bar a bin, with its faces on top and the gap as a stem.

    Args:
        table: a row a bin, as `evaluation.calibration` gives it.
        ax: where to draw.
    """
    rows = select_columns(table, ("low", "high", "n", "confidence", "accuracy"), "evaluation.calibration")
    rows = rows[rows["n"] > 0]
    low, high, confidence, accuracy = (100 * rows[name] for name in ("low", "high", "confidence", "accuracy"))
    ax = _axes(ax, (5.6, 5.2), xlabel="confidence (%), with the faces of each bin on top", ylabel="accuracy (%)")
    ax.bar(low, accuracy, high - low, align="edge", color=LIGHT, edgecolor="black", linewidth=0.5, label="accuracy")
    ax.plot([0, 100], [0, 100], "--", color="#666666", label="perfect calibration")
    ax.vlines(confidence, confidence, accuracy, color=DARK, linewidth=2, label="gap, at the mean confidence")
    for middle, n in zip((low + high) / 2, rows["n"], strict=True):
        ax.text(middle, 103, f"{n:,.0f}", rotation=90, ha="center", va="bottom", fontsize=7)
    ax.set_title(f"Reliability: expected calibration error {table.attrs['ece']:.1%}", fontsize=10)
    ax.set(xlim=(0, 100), ylim=(0, 118), xticks=range(0, 101, 20), yticks=range(0, 101, 20))
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, 0.87))
    return ax


# ---- maps of `ferlib.explain`
def filters_grid(filters: np.ndarray, *, title: str = "Filters of the first layer") -> Figure:
    """Draw filters, a square a weight: mid gray is 0; black and white are the strongest weight of all.

    Args:
        filters: float (n, k, k).
        title: of the figure.

    >>> figure = filters_grid(np.linspace(-1, 1, 32).reshape(2, 4, 4))
    """
    shown = np.round(127.5 + 127.5 * filters / (np.abs(filters).max() or 1)).astype(np.uint8)
    return face_grid(shown, [f"filter {k}" for k in range(len(shown))], size=0.8, title=title)


def activations_grid(maps: np.ndarray, *, title: str = "Activation maps of one face") -> Figure:
    """Draw the activation maps of one face in gray, on one scale that the title tells.

    The highest 1% are white too, so that one bright spot does not darken the rest.

    Args:
        maps: float (channels, h, w).
        title: of the figure.
    """
    low, high = maps.min(), np.quantile(maps, 0.99)
    shown = np.round(255 * ((maps - low) / (high - low or 1)).clip(0, 1)).astype(np.uint8)
    title += f"\nblack {low:.2g}, white {high:.2g} and above"
    return face_grid(shown, [*map(str, range(len(shown)))], size=0.8, title=title)


def explanation_grid(images: Pictures, overlays: Mapping[str, Pictures], titles: Texts = None, *,
                     boxes: pd.DataFrame | None = None, title: str = "What the model looks at") -> Figure:  # fmt: skip
    """Draw each face, with each method's map over it to the right.

    Args:
        images: n pictures, as `face_grid` takes them.
        overlays: by the method's name, n RGB pictures as `explain.overlay` makes them.
        titles: n texts above the faces.
        boxes: a row a face with the boxes of brows, eyes and mouth, as `sample.draw` gives them; their frames are
            dotted, dashed and solid.
        title: of the figure.
    """
    edges = {part: [f"{part}_{edge}" for edge in ("x0", "y0", "x1", "y1")] for part in ("brows", "eyes", "mouth")}
    frames, table = "", pd.DataFrame()
    if boxes is not None:
        frames = "\nbrows dotted, eyes dashed, mouth solid"
        # A box's edges are counted from the corner of the first pixel, a plot's from its middle.
        table = select_columns(boxes, [name for names in edges.values() for name in names], "sample.draw") - 0.5
    rows, names = [*zip(*overlays.values(), strict=True)], [""] * len(images) if titles is None else titles
    title = f"{title}\nyellow: most, violet: least{frames}"
    figure = augmentation_grid(images, rows, names, headers=[*overlays], title=title)
    for place, ax in enumerate(figure.axes[: len(table) * len(figure.axes)]):
        for columns, style in zip(edges.values(), (":", "--", "-"), strict=True):
            x0, y0, x1, y1 = table[columns].iloc[place // (1 + len(overlays))]
            ax.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], style, color="red", linewidth=1)
    return figure
