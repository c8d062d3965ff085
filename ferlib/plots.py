"""Figures for the course: faces, counts, training histories, confusion matrices, scores, probabilities, calibration.

Nothing here measures anything; each function draws what it is given. `plot_x(data, ax=None)` draws into `ax`, or into a
new figure, and returns the Axes; `x_grid(...)` makes and returns a Figure (in a notebook, end its line with a semicolon
or it shows twice). All raise `ValueError` for wrong shapes, missing columns, and percent where fractions are wanted.
"""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ferlib.emotions import EMOTIONS, canonical, class_colors
from ferlib.evaluation import Predictions

Pictures = Sequence[np.ndarray] | np.ndarray
Texts = Sequence[object] | None
SUMMARIES = {"accuracy", "micro avg", "macro avg", "weighted avg", "macro", "micro", "total", "all"}  # are no classes
DARK, MIDDLE, LIGHT = "#332288", "#44AA99", "#DDCC77"  # of Paul Tol's "muted" scheme; they differ in gray print, too


def _need(condition: object, wanted: str, given: object) -> None:
    if not condition:
        raise ValueError(f"{wanted}; given {given}")


def _axes(ax: Axes | None, size: tuple[float, float], names: Sequence[str] = (), **labels: str) -> Axes:
    """The caller's Axes, or those of a new figure of this many inches, with labels; `names` run down the y axis."""
    ax = plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax
    ax.spines[["top", "right"]].set_visible(False)
    if names:
        ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    ax.set(**labels)
    return ax


def _table(data: pd.DataFrame, columns: Sequence[str], rows: Sequence[str] = (), fractions: int = 0) -> pd.DataFrame:
    """Columns and rows as floats, by name and never by place; infinite is NaN; the first few columns are fractions."""
    _need(isinstance(data, pd.DataFrame) and len(data), "a DataFrame with rows is needed", f"{data!r:.60}")
    _need({*columns} <= {*data.columns}, f"the columns {[*columns]} are needed", [*data.columns])
    _need({*rows} <= {*data.index}, f"the rows {[*rows]} are needed", [*data.index])
    table = (data.loc[[*rows]] if rows else data)[[*columns]].astype(float).replace([np.inf, -np.inf], np.nan)
    far = table.iloc[:, :fractions].stack().loc[lambda values: (values - 0.5).abs() > 0.500001]
    _need(far.empty, f"{[*columns[:fractions]]} must be fractions, 0 to 1", far.tolist()[:5])
    return table


def _wrap(texts: Texts, count: int, name: str, inches: float, points: float = 7.5) -> list[str]:
    """`count` texts broken into lines of this width, a letter being about 0.6 of the font size; empty ones for None."""
    given = [""] * count if texts is None else [texts] if isinstance(texts, str) else [str(text) for text in texts]
    _need(len(given) == count, f"{name} must be a list of {count} texts, one each", f"{len(given)}: {given!r:.60}")
    letters = max(4, int(72 * inches / (0.6 * points)))
    return ["\n".join(textwrap.fill(line, letters) for line in text.splitlines()) for text in given]


def face_grid(images: Pictures, titles: Texts = None, *, columns: int | None = None, size: float = 1.0,
              title: str | None = None, colors: Sequence[str] | None = None) -> Figure:  # fmt: skip
    """Faces side by side, every pixel as it is: no smoothing and no stretched contrast (0 is black, 255 is white).

    `images`: uint8, (n, h, w) gray or (n, h, w, 3) RGB, or a list of such pictures of differing sizes. `titles`: n
    texts above the faces; long ones are broken into lines. `colors`: n colours of frames and titles, allowed only
    with `titles`, as colour must not be the only sign. `size` of a face: inches; `columns`: default what fits 9 inches.

    >>> figure = face_grid(np.zeros((10, 48, 48), np.uint8), ["black"] * 10, columns=5, title="Ten black pictures")
    """
    pictures, cell, count = [np.asarray(image) for image in images], size + 0.15, len(images)
    _need(count, "at least one picture is needed", "none")
    for place, image in enumerate(pictures):
        fits = image.dtype == np.uint8 and image.size > 0 and (image.ndim == 2 or image.shape[2:] == (3,))
        wanted = "pictures must be uint8, 0 to 255, (h, w) or (h, w, 3), a single one in a list"
        _need(fits, wanted, f"{image.dtype} of shape {image.shape} as picture {place}")
    fits = colors is None or (titles is not None and len(colors) == count)
    _need(fits, f"colors must be {count}, one for each picture, and come with titles", colors)
    columns = min(count, max(1, int(9 / cell))) if columns is None else columns
    _need(columns >= 1 and size > 0, "columns and size must be positive", (columns, size))
    texts, heading = _wrap(titles, count, "titles", cell), _wrap([title or ""], 1, "title", columns * cell, 11)[0]
    top = 0.06 + 0.13 * max(text.count("\n") + bool(text) for text in texts)  # inches, as all lengths here
    rows, width, step = -(-count // columns), columns * cell, top + size + 0.06
    height = rows * step + 0.08 + 0.2 * (heading.count("\n") + bool(heading))
    figure = plt.figure(figsize=(width, height))
    figure.suptitle(heading, fontsize=11, y=1 - 0.05 / height)
    for place, image in enumerate(pictures):
        x, y = place % columns * cell + 0.075, (rows - place // columns) * step - top - size
        ax = figure.add_axes((x / width, y / height, size / width, size / height), anchor="N", xticks=[], yticks=[])
        ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ink = "black" if colors is None else colors[place]
        ax.set_title(texts[place], fontsize=7.5, pad=3, parse_math=False, color=ink)
        ax.spines[:].set(color=ink, linewidth=0.5 if colors is None else 2)
    return figure


def augmentation_grid(originals: Pictures, augmented: Sequence[Pictures] | np.ndarray, titles: Texts = None, *,
                      headers: Texts = None, title: str = "Originals and augmentations") -> Figure:  # fmt: skip
    """One row a face: the original in a thick frame, and to its right the k pictures made from it.

    `originals`: n pictures and `augmented`: n times k, as (n, k, h, w) or lists, each as `face_grid` wants them; sizes
    may differ. `titles`: n texts, above the originals; `headers`: k, above the others.
    """
    found = [len(row) for row in augmented]
    fits = len(found) == len(originals) > 0 and len({*found}) == 1 and found[0] > 0
    _need(fits, "augmented must hold, for each original, k > 0 pictures", f"{len(originals)} and rows of {found}")
    columns, pictures = (
        1 + found[0],
        [picture for pair in zip(originals, augmented, strict=True) for picture in (pair[0], *pair[1])],
    )
    others = [f"version {k}" for k in range(1, columns)] if headers is None else _wrap(headers, found[0], "headers", 9)
    names = ["original"] * len(found) if titles is None else _wrap(titles, len(found), "titles", 9)
    texts = [text for name in names for text in (name, *others)]
    figure = face_grid(pictures, texts, columns=columns, size=min(1.0, 9 / columns - 0.15), title=title)
    for ax in figure.axes[::columns]:
        ax.spines[:].set(linewidth=2)
    return figure


def plot_counts(counts: pd.DataFrame, *, ax: Axes | None = None, share: bool = False) -> Axes:
    """Faces per class, one bar a split, with the numbers on the bars.

    `counts`: one row a split, the classes as columns; `share=True`: percent of the split, a dash if none. Columns that
    are the seven emotions, in any order, are shown in the order of `EMOTIONS`.
    """
    columns = [name for name in getattr(counts, "columns", EMOTIONS) if name not in SUMMARIES]
    names = EMOTIONS if {*EMOTIONS} == {*columns} or not columns else tuple(columns)
    table, unit = _table(counts, names), "share of the split (%)" if share else "faces (count)"
    _need((table >= 0).all(axis=None), "counts must be finite and not negative", table.to_numpy().tolist())
    ax = _axes(ax, (7.5, 5.5), [*map(str, names)], title="Faces per class", xlabel=unit, ylabel="class")
    for place, (split, row) in enumerate(table.iterrows()):
        total, step = row.sum(), 0.84 / len(table)
        color, hatch = (DARK, LIGHT, MIDDLE)[place % 3], ("", "////", "....", "xx", "--", "++")[place % 6]
        y, shown = np.arange(len(row)) + (place + 0.5) * step - 0.42, row * (100 / max(total, 1) if share else 1)
        bars = ax.barh(y, shown, step, color=color, hatch=hatch, edgecolor="black", linewidth=0.5)
        bars.set_label(f"{split} ({total:,.0f} faces)")
        texts = [("–" if total == 0 else f"{value:.1f}%") if share else f"{value:,.0f}" for value in shown]
        ax.bar_label(bars, texts, padding=3, fontsize=7.5)
    ax.set_xlim(0, 1.12 * max(1, ax.dataLim.x1))
    ax.xaxis.set(major_locator=MaxNLocator(integer=True, steps=[1, 2, 5, 10]), major_formatter="{x:,.0f}")
    ax.legend(fontsize=8)
    return ax


def _curve(ax: Axes, table: pd.DataFrame, name: str, text: str, va: str = "center") -> None:
    """One column over the epochs, its name and last value (formatted by `text`) at its end, and the room for both."""
    color, line = ("#666666", "s--") if name.startswith("train") else (DARK, "o-")
    ax.plot(table["epoch"], table[name], line, color=color, markersize=4)
    seen, (first, last) = table.dropna(subset=[name])[["epoch", name]].to_numpy(), table["epoch"].agg(["min", "max"])
    label = f"{name.split('_')[0]} {text.format(seen[-1, 1]) if len(seen) else 'has no values'}"
    spot, unit = (seen[-1], "data") if len(seen) else ((0.4, 0.5), "axes fraction")
    ax.annotate(label, spot, (6, 0), xycoords=unit, textcoords="offset points", va=va, fontsize=8, color=color)
    part, span = min(0.6, 65 * ax.figure.dpi / 72 / ax.bbox.width), max(last - first, 1)  # 65 points for the label
    ax.set_xlim(first - (0.05 if last > first else 0.3) * span, last + span * part / (1 - part))
    ticks = MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]).tick_values(first, last)
    ax.set_xticks([tick for tick in ticks if first <= tick <= last])
    ax.margins(y=0.1)


def plot_history(history: pd.DataFrame, *, metric: str = "accuracy", ax: Axes | None = None) -> Axes:
    """Training (dashed) and validation (solid) curve over the epochs; a star marks the best validation epoch.

    `history`: one row an epoch; columns epoch, train_accuracy and val_accuracy (fractions, shown in percent), or, for
    `metric="loss"`, train_loss and val_loss (nats). Best is the highest accuracy, the lowest loss. NaN leaves a gap.

    >>> ax = plot_history(pd.DataFrame({"epoch": [1, 2], "train_accuracy": [0.4, 0.7], "val_accuracy": [0.5, 0.6]}))
    """
    _need(metric in ("accuracy", "loss"), "metric must be 'accuracy' or 'loss'", repr(metric))
    rate, train, val = metric == "accuracy", f"train_{metric}", f"val_{metric}"
    table = _table(history, [train, val, "epoch"], fractions=2 * rate).reset_index(drop=True)
    table[[train, val]] *= 100 if rate else 1
    ax = _axes(ax, (6.5, 4.2), xlabel="epoch", ylabel="accuracy (%)" if rate else "loss (nats)")
    text, ends, title = "{:.1f}%" if rate else "{:.3f}", table.ffill().iloc[-1].fillna(0), metric.capitalize()
    _curve(ax, table, train, text, "bottom" if ends[train] > ends[val] else "top")
    _curve(ax, table, val, text, "top" if ends[train] > ends[val] else "bottom")
    if table[val].notna().any():
        x, y = table.loc[table[val].idxmax() if rate else table[val].idxmin(), ["epoch", val]]
        ax.plot(x, y, "*", markersize=14, color=DARK, markerfacecolor=LIGHT)
        title += f"\n(star: best val, {text.format(y)} in epoch {x:.0f})"
    ax.set_title(title, fontsize=10)
    return ax


def plot_lr_finder(found: pd.DataFrame, suggested: float | None = None, *, ax: Axes | None = None) -> Axes:
    """Loss against learning rate, each batch (dots) and smoothed (line); a dashed line at the rate `suggested`.

    `found`: columns lr, loss, smoothed, as `ferlib.training.lr_finder.find_lr` gives them.

    >>> ax = plot_lr_finder(pd.DataFrame({"lr": [1e-4, 1e-3], "loss": [2.0, 1.8], "smoothed": [2.0, 1.9]}), 1e-3)
    """
    table = _table(found, ["lr", "loss", "smoothed"])
    ax = _axes(ax, (6.5, 4.2), xlabel="learning rate (log scale)", ylabel="loss (nats)")
    ax.set_xscale("log")
    top = 1.5 * table["smoothed"].iloc[0]  # beyond it the loss is lost, and its height says nothing
    shown = table.where(table <= 0.97 * top)
    ax.plot(table["lr"], shown["loss"], ".", color=LIGHT, markeredgecolor=DARK, label="one batch")
    ax.plot(table["lr"], shown["smoothed"], color=DARK, label="smoothed")
    if suggested is not None:
        ax.axvline(suggested, linestyle="--", color=DARK, label=f"suggested: {suggested:.2g}")
    ax.set_ylim(0, top)
    ax.set_title("Learning-rate finder", fontsize=10)
    ax.legend()
    return ax


def history_grid(history: pd.DataFrame) -> Figure:
    """Loss, accuracy and learning rate side by side; `history` as in `plot_history`, with a column lr besides."""
    figure, (first, second, third) = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
    plot_history(history, metric="loss", ax=first)
    plot_history(history, metric="accuracy", ax=second)
    _axes(third, (3, 3), xlabel="epoch", ylabel="learning rate")
    third.set_title("Learning rate", fontsize=10)
    _curve(third, _table(history, ["epoch", "lr"]), "lr", "{:.2g}")
    third.yaxis.set_major_formatter("{x:g}")
    return figure


def plot_confusion(
    found: Predictions | ArrayLike, *, normalize: str | None = "true", ax: Axes | None = None,
    classes: Sequence[str] | None = None,
) -> Axes:  # fmt: skip
    """Confusion matrix of counts: rows true, columns predicted.

    `found`: what `evaluation.predict` gives, or counts (k, k). `classes`: the k names; by default those of `found`, and
    the seven emotions for a matrix. `normalize="true"` shows the percent of each row above the count, dashes in a row
    without faces; None only counts.

    >>> ax = plot_confusion(np.eye(7, dtype=int) * 40 + 3)
    """
    predicted = found if isinstance(found, Predictions) else None
    if classes is None:
        classes = EMOTIONS if predicted is None else predicted.classes
    counts = np.asarray(found if predicted is None else predicted.confusion(), dtype=float)
    size = len(classes)
    _need(normalize in ("true", None), "normalize must be 'true' or None", repr(normalize))
    _need(counts.shape == (size, size), f"matrix must have the shape {(size, size)}, true by predicted", counts.shape)
    whole = np.isfinite(counts) & (counts >= 0) & (counts == counts.round())
    _need(whole.all(), "matrix must hold counts, whole and not negative", counts[~whole][:5])
    totals, unit = counts.sum(axis=1, keepdims=True), "share of the true class (%)" if normalize else "faces (count)"
    shown, top = (100 * counts / np.maximum(totals, 1), 100) if normalize else (counts, max(1, counts.max()))
    ax = _axes(ax, (7, 6), [*classes], title="Confusion matrix", xlabel="predicted class", ylabel="true class")
    image = ax.imshow(shown, cmap=sns.color_palette("mako_r", as_cmap=True), vmin=0, vmax=top)
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label=unit, format="{x:,.0f}")
    ax.set_xticks(range(size), classes, rotation=45, ha="right", rotation_mode="anchor")
    for (row, column), value in np.ndenumerate(shown):
        ink = "white" if image.to_rgba(np.array([value]))[0, :3] @ (0.21, 0.72, 0.07) < 0.5 else "black"
        number, share = f"{counts[row, column]:,.0f}", f"{value:.0f}%" if totals[row, 0] else "–"
        for text, points, va in ((share, 9, "bottom"), (number, 7, "top")) if normalize else ((number, 8, "center"),):
            ax.text(column, row, text, fontsize=points, ha="center", va=va, color=ink)
    return ax


def plot_report(report: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Precision, recall and F1 of each class, a marker and a number each, with the class's support.

    `report`: classes as rows, as `evaluation.report` gives it; columns precision, recall, f1 (fractions or NaN) and
    support. Rows of averages are left out.
    """
    rows = [row for row in getattr(report, "index", EMOTIONS) if row not in SUMMARIES]
    rows = [*EMOTIONS] if {*EMOTIONS} == {*rows} or not rows else rows
    table = _table(report, ["precision", "recall", "f1", "support"], rows, fractions=3)
    names = [f"{name}\n{support:,.0f} faces" for name, support in table["support"].items()]
    ax = _axes(ax, (7, 5.2), names, title="Scores per class", xlabel="score (%)", ylabel="class and its support")
    for name, marker, color, shift in zip(
        ("precision", "recall", "f1"), ">so", (LIGHT, MIDDLE, DARK), (-0.25, 0, 0.25), strict=True
    ):
        x, y = 100 * table[name], np.arange(len(table)) + shift
        ax.plot(x, y, marker, color=color, markeredgecolor="black", label=name)
        for value, height in zip(x, y, strict=True):
            text = f"no {name}" if np.isnan(value) else f"{value:.1f}%"
            ax.text(np.nan_to_num(value) + 1.5, height, text, va="center", fontsize=7.5)
    ax.hlines(np.arange(len(table) - 1) + 0.5, -2, 112, color="#CCCCCC", linewidth=0.6)
    ax.set(xlim=(-2, 112), xticks=range(0, 101, 20))
    ax.legend(fontsize=8)
    return ax


def plot_intervals(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Values and their intervals, one row a name; `table` has the columns value, low and high (fractions, no NaN)."""
    rows = 100 * _table(table, ["value", "low", "high"])
    _need(rows.notna().all(axis=None) and (rows["low"] <= rows["high"]).all(), "low <= high needed", rows.to_numpy())
    labels = {"title": "Values and their intervals", "xlabel": "value (%)", "ylabel": rows.index.name or "quantity"}
    ax = _axes(ax, (6.5, 1 + 0.5 * len(rows)), [*map(str, rows.index)], **labels)
    for place, (value, low, high) in enumerate(rows.to_numpy()):
        ax.plot([low, high], [place, place], "|-", color=DARK, markersize=9)
        ax.plot(value, place, "o", color=DARK)
        text = f"{value:.1f}% [{low:.1f}, {high:.1f}]"
        ax.annotate(text, (value, place), (0, 6), textcoords="offset points", ha="center", va="bottom", fontsize=8)
    ax.set_ylim(len(rows) - 0.5, -0.8)
    ax.margins(x=0.25)
    least, most = min(0, rows["low"].min()), max(100, rows["high"].max())  # room for the words, but no tick of 110%
    ax.set_xticks([tick for tick in ax.get_xticks() if least <= tick <= most and ax.get_xlim()[0] <= tick])
    return ax


def plot_probabilities(
    probabilities: ArrayLike, *, ax: Axes | None = None, true: object = None, classes: Sequence[str] = EMOTIONS
) -> Axes:
    """A bar for each class; the predicted and, where given, the true one are named.

    `probabilities`: k fractions that add up to 1; `true`: a class's name or index; `classes`: the k names.
    """
    values, count = np.asarray(probabilities, dtype=float), len(classes)
    names, truth = [*map(canonical, classes)], true
    if isinstance(true, str):
        truth = names.index(canonical(true)) if canonical(true) in names else -1
    known = truth is None or (isinstance(truth, int | np.integer) and 0 <= truth < count)
    _need(known, f"true must be one of {', '.join(classes)}, or its index", repr(true))
    truth = None if truth is None else int(truth)  # type: ignore[call-overload]
    fits = values.shape == (count,) and (values >= 0).all() and abs(values.sum() - 1) < 0.01
    _need(fits, f"probabilities must have the shape ({count},) and add up to 1", f"{values.shape}: {values}")
    ax = _axes(ax, (5.5, 3.2), classes, title="Predicted probabilities", xlabel="probability (%)", ylabel="class")
    bars = ax.barh(range(count), 100 * values, color=class_colors(classes), ec="black", lw=0.5)
    best = int(values.argmax())
    marks = [", predicted" * (k == best) + ", true" * (k == truth) for k in range(len(values))]
    ax.bar_label(bars, [f"{value:.1%}{mark}" for value, mark in zip(values, marks, strict=True)], padding=3, fontsize=8)
    ax.set(xlim=(0, 140), xticks=range(0, 101, 20))
    return ax


def plot_reliability(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Accuracy over confidence, a bar a bin with its count of faces on top; stems show how far the two are apart.

    `table`: one row a bin; columns low, high, confidence, accuracy (fractions, the last two NaN in an empty bin) and n,
    as `evaluation.calibration` gives it. The title tells the expected calibration error in its `attrs`, if there.
    """
    every = _table(table, ["low", "high", "confidence", "accuracy", "n"], fractions=4)
    rows = every[every["n"] > 0]
    _need(len(rows) and rows.notna().all(axis=None), "bins with faces need all their numbers", every.to_numpy())
    low, high, confidence, accuracy = (100 * rows[name] for name in ("low", "high", "confidence", "accuracy"))
    ax = _axes(ax, (5.6, 5.2), xlabel="confidence: probability of the predicted class (%)", ylabel="accuracy (%)")
    ax.bar(low, accuracy, high - low, align="edge", color=LIGHT, edgecolor="black", linewidth=0.5, label="accuracy")
    ax.plot([0, 100], [0, 100], "--", color="#666666", label="perfect calibration")
    ax.vlines(confidence, np.minimum(confidence, accuracy), np.maximum(confidence, accuracy), color=DARK, linewidth=2)
    ax.plot(confidence, accuracy, "o", color=DARK, clip_on=False, label="gap, at the mean confidence")
    for middle, n in zip((low + high) / 2, rows["n"], strict=True):
        ax.text(middle, 103, f"{n:,.0f}", rotation=90, ha="center", va="bottom", fontsize=7)
    told = f": expected calibration error {table.attrs['ece']:.1%}" if "ece" in table.attrs else ""
    ax.set_title(f"Reliability{told}", fontsize=10)
    ax.set(xlim=(0, 100), ylim=(0, 118), xticks=range(0, 101, 20))
    ax.set_yticks([*range(0, 101, 20), 108], [*map(str, range(0, 101, 20)), "faces"])
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, 0.87))
    return ax


# ---- explanations (`ferlib.explain`)
def filters_grid(filters: np.ndarray, *, title: str = "Filters of the first layer") -> Figure:
    """Filters (n, k, k), a square a weight: mid gray is 0, black and white the strongest of all, below and above 0.

    >>> figure = filters_grid(np.linspace(-1, 1, 32).reshape(2, 4, 4))
    """
    weights = _maps(filters, "filters")
    shown = np.round(127.5 + 127.5 * weights / (np.abs(weights).max() or 1)).astype(np.uint8)
    return face_grid(shown, [f"filter {k}" for k in range(len(shown))], size=0.8, title=title)


def activations_grid(maps: np.ndarray, *, title: str = "Activation maps of one face") -> Figure:
    """A layer's maps (channels, h, w) of one face in gray, on one scale: the title tells what black and white mean.

    The highest 1% are white, too, so that one bright spot does not darken all the rest.
    """
    values = _maps(maps, "maps")
    low, high = values.min(), np.quantile(values, 0.99)
    shown = np.round(255 * ((values - low) / (high - low or 1)).clip(0, 1)).astype(np.uint8)
    told = f"{title}\nblack {low:.2g}, white {high:.2g} and above"
    return face_grid(shown, [f"{k}" for k in range(len(shown))], size=0.8, title=told)


def _maps(maps: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(maps, dtype=float)
    fits = values.ndim == 3 and values.size and np.isfinite(values).all()
    _need(fits, f"{name} must be finite numbers (n, h, w), of one face or layer", values.shape)
    return values


def explanation_grid(images: Pictures, overlays: Mapping[str, Pictures], titles: Texts = None, *,
                     boxes: pd.DataFrame | None = None, title: str = "What the model looks at") -> Figure:  # fmt: skip
    """One row a face: the picture, and to its right each method's map over it.

    `overlays`: by the method's name, n RGB pictures as `explain.overlay` makes them; `titles`: n texts above the faces.
    `boxes`: a row a face with the columns brows_x0, brows_y0, brows_x1, brows_y1 in pixels of the picture, and so for
    eyes and mouth, as `sample.draw` gives them; their frames are dotted, dashed and solid.
    """
    _need(len(overlays), "overlays must hold a method's pictures by its name", "none")
    for name, made in overlays.items():
        _need(len(made) == len(images), f"{name!r} must hold {len(images)} pictures, one a face", len(made))
    columns, names = 1 + len(overlays), _wrap(titles, len(images), "titles", 9)
    told = f"{title}\nyellow: most, violet: least"
    told += "" if boxes is None else "\nframes: brows dotted, eyes dashed, mouth solid"
    pictures = [picture for row in zip(images, *overlays.values(), strict=True) for picture in row]
    texts = [text for name in names for text in (name, *overlays)]
    figure = face_grid(pictures, texts, columns=columns, size=min(1.4, 9 / columns - 0.15), title=told)
    if boxes is None:
        return figure
    styles, outline = {"brows": ":", "eyes": "--", "mouth": "-"}, [withStroke(linewidth=2, foreground="black")]
    edges = _table(boxes, [f"{part}_{edge}" for part in styles for edge in ("x0", "y0", "x1", "y1")])
    _need(len(edges) == len(images), f"boxes must have {len(images)} rows, one a face", len(edges))
    for place, ax in enumerate(figure.axes):
        x0, y0, x1, y1 = edges.iloc[place // columns].to_numpy().reshape(3, 4).T - 0.5  # pixels' middles
        for k, style in enumerate(styles.values()):
            frame = ([x0[k], x1[k], x1[k], x0[k], x0[k]], [y0[k], y0[k], y1[k], y1[k], y0[k]])
            ax.plot(*frame, style, color="white", linewidth=1, path_effects=outline)
    return figure
