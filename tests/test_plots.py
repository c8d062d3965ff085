"""What the figures say: the tests read texts, bars, lines and pixels back from the drawn artists."""

import warnings
from itertools import pairwise

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from ferlib import plots
from ferlib.emotions import COLORS, EMOTIONS, SPLITS, class_colors
from ferlib.evaluation import Predictions, report

RNG = np.random.default_rng(0)
FACES = RNG.integers(0, 256, (5, 12, 12), dtype=np.uint8)
AUGMENTED = np.stack([FACES[:, :, ::-1], 255 - FACES], axis=1)
COUNTS = pd.DataFrame([[35887, 5, 41, 72, 48, 32, 50], [0] * 7, [1] * 7], index=SPLITS, columns=EMOTIONS)
HISTORY = pd.DataFrame({
    "epoch": [1, 2, 3, 4], "lr": [1e-3, 5e-4, 1e-4, 1e-5],
    "train_loss": [1.8, 1.2, 0.8, 0.5], "val_loss": [1.7, 1.3, 1.4, 1.5],
    "train_accuracy": [0.3, 0.5, 0.7, 0.9], "val_accuracy": [0.35, 0.5, 0.62, 0.6],
})  # fmt: skip
MATRIX = np.diag([9, 0, 5, 35887, 3, 2, 1])
MATRIX[0, 1] = 3
SCORES = {"precision": [0.5, 0] + [0.6] * 5, "recall": [0.25] * 7, "f1": [0.333] * 7, "support": [491] * 7}
REPORT = pd.DataFrame(SCORES, index=EMOTIONS)
INTERVALS = pd.DataFrame([[0.669, 0.654, 0.684], [-0.01, -0.03, 0.01]], ["CNN", "gain"], ["value", "low", "high"])
PROBABILITIES = [0.05, 0.01, 0.1, 0.6, 0.14, 0.05, 0.05]
RELIABILITY = pd.DataFrame(
    [
        [0, 0.25, 0, np.nan, np.nan],
        [0.25, 0.5, 10, 0.4, 0.5],
        [0.5, 0.75, 0, np.nan, np.nan],
        [0.75, 1, 3030, 0.9, 0.8],
    ],
    columns=["low", "high", "n", "confidence", "accuracy"],
)
RELIABILITY.attrs["ece"] = 0.123  # not what the bins give: the figure tells what it is told

FOUND = Predictions(np.eye(7, dtype=np.float32)[[0, 1, 2, 3, 4, 5, 6, 6]], np.array([0, 1, 2, 3, 4, 5, 6, 0]))

AXES_PLOTS = [
    (plots.plot_counts, COUNTS), (plots.plot_history, HISTORY), (plots.plot_confusion, MATRIX),
    (plots.plot_report, REPORT), (plots.plot_intervals, INTERVALS), (plots.plot_probabilities, PROBABILITIES),
    (plots.plot_reliability, RELIABILITY),
]  # fmt: skip


@pytest.fixture(autouse=True)
def clean():
    """Every plot draws without a warning, leaves the global style alone, and its figure is closed again."""
    before = dict(matplotlib.rcParams)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
            for number in plt.get_fignums():
                plt.figure(number).canvas.draw()
        assert dict(matplotlib.rcParams) == before
    finally:
        plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


@pytest.mark.parametrize(("plot", "data"), AXES_PLOTS)
def test_axes_plots_draw_where_told_and_say_what_they_show(plot, data):
    _, (ours, other) = plt.subplots(1, 2)
    assert plot(data, ax=ours) is ours
    assert not other.has_data()
    ax = plot(data)
    assert ax.figure is not ours.figure and ax.figure.get_figwidth() <= 9
    assert ax.get_title() and ax.get_xlabel() and ax.get_ylabel()
    sizes = [text.get_fontsize() for text in ax.figure.findobj(Text) if text.get_text()]
    assert min(sizes) >= 7


def test_inputs_stay_as_they_were():
    for plot, data in AXES_PLOTS:
        copy = data.copy()
        plot(data)
        assert np.array_equal(np.asarray(data, dtype=float), np.asarray(copy, dtype=float), equal_nan=True)


def test_face_grid_shows_every_pixel_as_it_is():
    figure = plots.face_grid(FACES, [f"face {k}" for k in range(5)], columns=3, title="Five")
    assert isinstance(figure, Figure) and figure.get_suptitle() == "Five" and len(figure.axes) == 5
    for k, ax in enumerate(figure.axes):
        (image,) = ax.images
        assert np.array_equal(image.get_array(), FACES[k])
        assert image.get_clim() == (0, 255) and image.get_interpolation() == "nearest"
        assert image.get_cmap().name == "gray" and ax.get_title() == f"face {k}"
        assert len(ax.get_xticks()) == len(ax.get_yticks()) == 0
    assert figure.axes[0].get_position().y0 > figure.axes[3].get_position().y0
    figure.canvas.draw()
    width = figure.axes[0].get_position().width * figure.get_figwidth()
    assert width == pytest.approx(1.0, abs=0.1)


def test_face_grid_takes_one_face_colour_and_differing_sizes():
    assert len(plots.face_grid(FACES[:1]).axes) == 1
    mixed = [FACES[0], FACES[1][:5], np.dstack([FACES[2]] * 3)]
    figure = plots.face_grid(mixed, ["right", "wrong", "a $ and $ b"], colors=["C0", "C1", "C2"])
    assert [ax.images[0].get_array().shape for ax in figure.axes] == [(12, 12), (5, 12), (12, 12, 3)]
    assert figure.axes[1].title.get_color() == "C1" and figure.axes[1].get_title() == "wrong"


def test_forty_faces_with_long_titles_do_not_overlap():
    long = "true disgust, predicted surprise picture_of_a_long_name.png"
    figure = plots.face_grid([FACES[0]] * 40, [long] * 40, title="40")
    figure.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    assert figure.get_figwidth() <= 9 and "\n" in figure.axes[0].get_title()
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_augmentation_grid_puts_each_original_first():
    figure = plots.augmentation_grid(FACES, AUGMENTED, EMOTIONS[:5], headers=["mirrored", "negative"])
    assert len(figure.axes) == 15
    for row in range(5):
        first, *others = figure.axes[3 * row : 3 * row + 3]
        assert np.array_equal(first.images[0].get_array(), FACES[row]) and first.get_title() == EMOTIONS[row]
        assert all(np.array_equal(ax.images[0].get_array(), AUGMENTED[row, k]) for k, ax in enumerate(others))
        assert [ax.get_title() for ax in others] == ["mirrored", "negative"]
        assert first.spines["left"].get_linewidth() > others[0].spines["left"].get_linewidth()
    wide = plots.augmentation_grid(FACES[:1], [[FACES[0]] * 11])
    assert wide.get_figwidth() <= 9.01 and wide.axes[0].get_title() == "original"


def test_counts_are_bar_lengths_and_labels_with_a_hatch_each():
    ax = plots.plot_counts(COUNTS)
    assert ticks(ax.yaxis) == list(EMOTIONS) and len(ax.containers) == 3
    for bars, split in zip(ax.containers, SPLITS, strict=True):
        assert [bar.get_width() for bar in bars] == COUNTS.loc[split].tolist()
        assert bars.get_label() == f"{split} ({COUNTS.loc[split].sum():,} faces)"
    assert len({bars[0].get_hatch() for bars in ax.containers}) == 3
    assert texts(ax)[0] == "35,887" and texts(ax).count("0") == 7
    top, *_, bottom = (bars[k].get_y() for k in (0, 6) for bars in ax.containers)
    assert ax.transData.transform((0, top))[1] > ax.transData.transform((0, bottom))[1], "the first class is on top"


@pytest.mark.parametrize("size", [(6, 4), (7.5, 5.5)])
@pytest.mark.parametrize("high", [0, 6])
def test_the_legend_of_counts_covers_no_number(size: tuple[float, float], high: int):
    counts = COUNTS.copy()
    counts.iloc[:, high] = 40_000
    for drawn in (counts, 40_000 - counts):
        ax = plots.plot_counts(drawn, ax=plt.subplots(figsize=size, layout="constrained")[1])
        ax.figure.canvas.draw()
        legend = ax.get_legend().get_window_extent()
        others = [*ax.texts, ax.xaxis.label, *ax.get_xticklabels(), *ax.patches]
        assert not any(legend.overlaps(each.get_window_extent()) for each in others)


def test_history_draws_both_curves_and_the_best_epoch():
    ax = plots.plot_history(HISTORY)
    train, val, star = ax.lines
    assert np.allclose(train.get_ydata(), [30, 50, 70, 90]) and np.allclose(val.get_ydata(), [35, 50, 62, 60])
    assert (train.get_linestyle(), val.get_linestyle()) == ("--", "-") and train.get_marker() != val.get_marker()
    assert star.get_xdata()[0] == 3 and "62.0% in epoch 3" in ax.get_title()
    assert [text.get_text() for text in ax.get_legend().texts] == ["train_accuracy", "val_accuracy"]
    loss = plots.plot_history(HISTORY, metric="loss")
    assert "1.300 in epoch 2" in loss.get_title() and "nats" in loss.get_ylabel()


def test_history_of_one_epoch_with_gaps_or_without_validation():
    assert "epoch 1" in plots.plot_history(HISTORY[:1]).get_title()
    gaps = HISTORY.assign(val_accuracy=[0.4, np.nan, 0.5, np.nan], train_loss=[1.8, 1.2, np.inf, np.nan])
    assert "50.0% in epoch 3" in plots.plot_history(gaps).get_title()
    plots.plot_history(gaps, metric="loss")
    ax = plots.plot_history(HISTORY.assign(val_accuracy=np.nan))
    assert len(ax.lines) == 2 and ax.get_title() == "Accuracy"


def test_history_grid_has_loss_accuracy_and_learning_rate():
    figure = plots.history_grid(HISTORY)
    assert [ax.get_title().split("\n")[0] for ax in figure.axes] == ["Loss", "Accuracy", "Learning rate"]
    assert np.allclose(figure.axes[2].lines[0].get_ydata(), HISTORY["lr"]) and figure.get_figwidth() <= 9


def test_confusion_cells_show_percent_above_count():
    ax = plots.plot_confusion(MATRIX)
    cells = texts(ax)
    assert len(cells) == 49 and cells[:2] == ["75%\n9", "25%\n3"]
    assert cells[7:14] == ["–\n0"] * 7 and not any("nan" in cell for cell in cells)
    assert cells[3 * 7 + 3] == "100%\n35,887"
    assert ticks(ax.xaxis) == ticks(ax.yaxis) == list(EMOTIONS)
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("true class", "predicted class")
    shown = ax.images[0].get_array()
    assert np.allclose(shown.sum(axis=1), [100, 0, 100, 100, 100, 100, 100]) and ax.images[0].get_clim() == (0, 100)
    assert ax.figure.axes[1].get_ylabel() == "share of the true class (%)"
    assert ax.texts[0].get_color() == "white" and ax.texts[4].get_color() == "black"


def test_confusion_of_other_classes():
    ax = plots.plot_confusion([[5, 1], [2, 9]], classes=("other", "happy"))
    assert texts(ax) == ["83%\n5", "17%\n1", "18%\n2", "82%\n9"] and ticks(ax.xaxis) == ["other", "happy"]
    assert texts(plots.plot_confusion(np.zeros((7, 7)))) == ["–\n0"] * 49


def test_confusion_of_predictions_is_that_of_their_matrix_under_their_names():
    labels, answers = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 2, 0, 2, 2])
    found = Predictions(np.eye(3, dtype=np.float32)[answers], labels, ("open", "shut", "winking"))
    ax = plots.plot_confusion(found)
    assert ticks(ax.xaxis) == ticks(ax.yaxis) == ["open", "shut", "winking"]
    assert texts(ax) == ["67%\n2", "0%\n0", "33%\n1", "100%\n1", "0%\n0", "0%\n0", "0%\n0", "0%\n0", "100%\n2"]
    by_matrix = plots.plot_confusion(found.confusion(), classes=found.classes)
    assert texts(by_matrix) == texts(ax)
    np.testing.assert_array_equal(by_matrix.images[0].get_array(), ax.images[0].get_array())
    renamed = plots.plot_confusion(found, classes=("offen", "zu", "zwinkernd"))
    assert ticks(renamed.xaxis) == ["offen", "zu", "zwinkernd"] and texts(renamed) == texts(ax)
    seven = Predictions(np.eye(7, dtype=np.float32), np.arange(7))
    assert ticks(plots.plot_confusion(seven).yaxis) == list(EMOTIONS)


@pytest.mark.parametrize("k", [2, 5, 7, 8])
def test_each_cell_has_one_readable_number(k: int):
    """In black or white, whichever differs more from the cell, and within the cell."""
    ax = plots.plot_confusion(np.arange(k * k).reshape(k, k) * 37 + 1, classes=[f"class {i}" for i in range(k)])
    ax.figure.canvas.draw()
    image, side = ax.images[0], ax.get_window_extent().width / k
    for text, value in zip(ax.texts, image.get_array().ravel(), strict=True):
        light = image.to_rgba([value])[0, :3] @ (0.21, 0.72, 0.07)
        assert light > 0.4 if text.get_color() == "black" else light < 0.6
        assert text.get_window_extent().width < side and text.get_window_extent().height < side


FIVE = ("open", "happy", "shut", "winking", "covered")


def test_counts_of_five_classes_keep_their_order():
    counts = pd.DataFrame([[4, 0, 16, 10, 10], [1, 1, 0, 0, 0]], index=SPLITS[:2], columns=FIVE)
    ax = plots.plot_counts(counts)
    assert ticks(ax.yaxis) == list(FIVE) and ax.get_ylabel() == "class" and ax.get_title() == "Faces per class"
    assert [[bar.get_width() for bar in bars] for bars in ax.containers] == counts.to_numpy().tolist()
    assert texts(ax)[:5] == ["4", "0", "16", "10", "10"]
    six = plots.plot_counts(COUNTS.drop(columns="sad"))
    assert ticks(six.yaxis) == [name for name in EMOTIONS if name != "sad"], "no class is made up"
    assert ticks(plots.plot_counts(COUNTS[[*EMOTIONS[::-1]]]).yaxis) == list(EMOTIONS[::-1]), "nor moved"


def test_report_of_five_classes_keeps_their_order():
    logits = np.eye(5, dtype=np.float32)[[0, 0, 1, 2, 3, 4, 4, 0]]
    table = report(Predictions(logits, np.array([0, 0, 1, 2, 3, 4, 4, 4]), FIVE))
    ax = plots.plot_report(table)
    supports = [2, 1, 1, 1, 3]
    assert ticks(ax.yaxis) == [f"{name}\n{n} faces" for name, n in zip(FIVE, supports, strict=True)]
    for line, name in zip(ax.lines, ("precision", "recall", "f1"), strict=True):
        assert np.allclose(line.get_xdata(), 100 * table[name])
    assert len(texts(ax)) == 15 and (ax.get_title(), ax.get_ylabel()) == ("Scores per class", "class and its support")
    six = plots.plot_report(REPORT.drop(index="sad"))
    assert ticks(six.yaxis) == [f"{name}\n491 faces" for name in EMOTIONS if name != "sad"]


def test_probabilities_of_other_classes_name_the_predicted_one():
    ax = plots.plot_probabilities([0.1, 0.5, 0.1, 0.2, 0.1], classes=FIVE)
    (bars,) = ax.containers
    assert ticks(ax.yaxis) == list(FIVE) and ax.get_ylabel() == "class"
    assert texts(ax) == ["10.0%", "50.0%, predicted", "10.0%", "20.0%", "10.0%"]
    colors = [to_hex(bar.get_facecolor()).upper() for bar in bars]
    assert colors == class_colors(FIVE) and colors[1] == COLORS["happy"] and len({*colors}) == 5


def test_report_prints_support_and_three_marked_scores():
    ax = plots.plot_report(REPORT)
    assert ticks(ax.yaxis) == [f"{name}\n491 faces" for name in EMOTIONS]
    assert len({line.get_marker() for line in ax.lines}) == len(ax.lines) == 3
    assert np.allclose(ax.lines[0].get_xdata(), 100 * REPORT["precision"])
    assert texts(ax)[:2] == ["50.0%", "0.0%"] and len(texts(ax)) == 21


def test_intervals_are_labelled():
    ax = plots.plot_intervals(INTERVALS.rename_axis("model"))
    assert texts(ax) == ["66.9% [65.4, 68.4]", "-1.0% [-3.0, 1.0]"]
    assert ticks(ax.yaxis) == ["CNN", "gain"] and ax.get_ylabel() == "model"
    assert np.allclose(ax.lines[0].get_xdata(), [65.4, 68.4])


def test_probabilities_name_the_predicted_emotion():
    ax = plots.plot_probabilities(PROBABILITIES)
    (bars,) = ax.containers
    assert np.allclose([bar.get_width() for bar in bars], 100 * np.array(PROBABILITIES))
    assert [to_hex(bar.get_facecolor()).upper() for bar in bars] == [COLORS[name] for name in EMOTIONS]
    assert texts(ax)[3:5] == ["60.0%, predicted", "14.0%"] and ticks(ax.yaxis) == list(EMOTIONS)


def test_reliability_draws_bins_gaps_counts_and_the_error():
    ax = plots.plot_reliability(RELIABILITY[["accuracy", "n", "high", "low", "confidence"]])
    (bars,) = ax.containers
    assert [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in bars] == [(25, 25, 50), (75, 25, 80)]
    (diagonal,) = ax.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [100, 100]] and diagonal.get_linestyle() == "--"
    (stems,) = ax.collections
    assert [stem.tolist() for stem in stems.get_segments()] == [[[40, 40], [40, 50]], [[90, 90], [90, 80]]]
    assert texts(ax) == ["10", "3,030"] and [text.get_position()[0] for text in ax.texts] == [37.5, 87.5]
    assert ax.get_title() == "Reliability: expected calibration error 12.3%"
    assert "%" in ax.get_xlabel() and "%" in ax.get_ylabel()
    assert {text.get_text() for text in ax.get_legend().texts} == {
        "accuracy", "perfect calibration", "gap, at the mean confidence",
    }  # fmt: skip


def test_the_error_in_the_title_is_that_of_the_evaluation_and_counts_do_not_overlap_side_by_side():
    from ferlib import evaluation

    logits = RNG.normal(0, 2, (30_000, 7)).astype(np.float32)
    found = evaluation.Predictions(logits, RNG.integers(0, 7, 30_000))
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.3), layout="constrained")
    for ax in axes:
        plots.plot_reliability(evaluation.calibration(found), ax=ax)
        assert f"{evaluation.ece(found):.1%}" in ax.get_title()
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in ax.texts]
        assert len(boxes) >= 12 and not any(a.overlaps(b) for a, b in pairwise(boxes))
        assert max(box.y1 for box in boxes) < ax.title.get_window_extent().y0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.face_grid([]), "one picture or more"),
        (lambda: plots.face_grid(np.empty((0, 48, 48), np.uint8)), "one picture or more"),
        (lambda: plots.face_grid(FACES[0]), r"one picture or more, each uint8 \(h, w\) or \(h, w, 3\)"),
        (lambda: plots.face_grid(FACES / 255), "each uint8"),
        (lambda: plots.face_grid(FACES, ["one"]), "5 pictures and 1 titles; give a title to each"),
        (lambda: plots.face_grid(FACES, [""] * 5, colors=["red"] * 4), "argument 3 is shorter"),
        (lambda: plots.augmentation_grid(FACES, AUGMENTED[:2]), "argument 2 is shorter"),
        (lambda: plots.augmentation_grid(FACES, AUGMENTED, headers=["one"]), "15 pictures and 10 titles"),
        (lambda: plots.augmentation_grid(FACES, AUGMENTED, ["one"]), "15 pictures and 3 titles"),
        (lambda: plots.plot_history(HISTORY, metric="f1"), "DataFrame without train_f1, val_f1 was given"),
        (lambda: plots.plot_history(HISTORY.drop(columns="epoch")), r"without epoch was given; .* fit\(...\).history"),
        (lambda: plots.history_grid(HISTORY.drop(columns="lr")), "without lr was given"),
        (lambda: plots.plot_history(MATRIX), "a ndarray without epoch, train_accuracy, val_accuracy was given"),
        (lambda: plots.plot_history([0.1, 0.2]), "a list without epoch"),
        (lambda: plots.plot_lr_finder(HISTORY), "without loss, smoothed was given; give what training.find_lr gives"),
        (lambda: plots.plot_confusion(np.ones((6, 6))), r"a matrix \(6, 6\) and 7 classes .* give counts \(k, k\)"),
        (lambda: plots.plot_confusion(MATRIX[:2]), r"a matrix \(2, 7\) and 7 classes"),
        (lambda: plots.plot_confusion(REPORT), r"a matrix \(7, 4\) and 7 classes"),
        (lambda: plots.plot_confusion(MATRIX, classes=("a", "b")), r"a matrix \(7, 7\) and 2 classes"),
        (lambda: plots.plot_report(REPORT.drop(columns="recall")), "without recall was given; .* evaluation.report"),
        (lambda: plots.plot_report(FOUND), "a Predictions without precision, recall, f1, support was given"),
        (lambda: plots.plot_intervals(INTERVALS.drop(columns="low")), "without low was given; .* evaluation.summarise"),
        (lambda: plots.plot_intervals(REPORT), "without value, low, high was given"),
        (lambda: plots.plot_probabilities([0.5, 0.5]), r"\[0.5 0.5\] given; give one for each of 7 classes"),
        (lambda: plots.plot_probabilities([3, 1, 2, 0, 0, 0, -3]), "adding up to 1"),
        (
            lambda: plots.plot_reliability(RELIABILITY.drop(columns="n")),
            "without n was given; .* evaluation.calibration",
        ),
        (lambda: plots.plot_reliability(INTERVALS), "without n, confidence, accuracy was given"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    plt.close("all")


def test_two_confusion_matrices_stand_side_by_side_under_their_names_and_one_scale():
    figure = plots.confusion_grid({"before": MATRIX, "after": FOUND})
    before, after, scale = figure.axes
    assert figure.get_figwidth() <= 9 and scale.get_ylabel() == "share of the true class (%)"
    assert (before.get_title(), after.get_title()) == ("before", "after")
    assert texts(before) == texts(plots.plot_confusion(MATRIX)) and texts(after) == texts(plots.plot_confusion(FOUND))
    assert before.images[0].get_clim() == after.images[0].get_clim() == (0, 100)
    figure.canvas.draw()
    for ax in (before, after):
        side = ax.get_window_extent().width / 7
        sizes = [text.get_window_extent() for text in ax.texts]
        assert all(size.width < side and size.height < side for size in sizes)
        assert not any(a.overlaps(b) for a, b in pairwise(sizes[:7]))


def test_the_rate_finder_draws_its_losses_over_the_rates_and_the_suggestion():
    found = pd.DataFrame({"lr": [1e-4, 1e-3, 1e-2], "loss": [2.0, 1.5, 4.0], "smoothed": [2.0, 1.8, 2.4]})
    ax = plots.plot_lr_finder(found, 3e-4)
    dots, line, mark = ax.lines
    np.testing.assert_array_equal(dots.get_xydata(), found[["lr", "loss"]])
    np.testing.assert_array_equal(line.get_xydata(), found[["lr", "smoothed"]])
    assert list(mark.get_xdata()) == [3e-4, 3e-4] and mark.get_linestyle() == "--"
    assert ax.get_xscale() == "log" and ax.get_ylim() == (0, 3.0)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one batch", "smoothed", "suggested: 0.0003"]
    with pytest.raises(ValueError, match="without smoothed"):
        plots.plot_lr_finder(found.drop(columns="smoothed"))


def test_counts_of_one_split():
    ax = plots.plot_counts(COUNTS.iloc[:1])
    assert [[bar.get_width() for bar in bars] for bars in ax.containers] == COUNTS.iloc[:1].to_numpy().tolist()
