"""Figures against scikit-learn, SciPy, brute force and simulation; prediction against a plain loop in torch."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special, stats
from sklearn import metrics
from torch import nn

from ferlib import evaluation, sample
from ferlib.emotions import EMOTIONS
from ferlib.evaluation import METRICS, Predictions, as_json, bootstrap, flip, metrics_of, predict, report, summarise
from ferlib.models import build_model, input_spec
from ferlib.transforms import EvalTransform, InputSpec


def made(n: int, seed: int = 0, right: float = 0.6, classes: int = 7) -> Predictions:
    """Predictions of n faces, about `right` of them true, labels among the first `classes`, uneven."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    logits = rng.normal(size=(n, 7)).astype(np.float32)
    winners = np.where(rng.random(n) < right, labels, rng.integers(0, 7, n))
    logits[np.arange(n), winners] += 5
    return Predictions(logits, labels.astype(np.int64))


def sure_of(labels: list[int], predicted: list[int]) -> Predictions:
    return Predictions(np.eye(7, dtype=np.float32)[predicted], np.array(labels, np.int64))


def by_sklearn(predictions: Predictions) -> list[float]:
    y, found = predictions.labels, predictions.predicted
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true|A single label was found")
        return [
            metrics.accuracy_score(y, found),
            metrics.balanced_accuracy_score(y, found),
            metrics.f1_score(y, found, average="macro"),
        ]


# ---- figures


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n", "classes"), [(500, 7), (500, 5), (40, 7), (3, 7), (1, 7)])
def test_metrics_are_scikit_learns_even_where_classes_are_absent(n: int, classes: int, seed: int):
    predictions = made(n, seed, classes=classes)
    np.testing.assert_allclose([metrics_of(predictions.confusion())[name] for name in METRICS], by_sklearn(predictions))


def test_absent_classes_are_left_out_as_documented():
    # angry: 2 of 3, one taken for happy; disgust: 1 of 1; happy: predicted, never true; the others: neither.
    found = metrics_of(sure_of([0, 0, 0, 1], [0, 0, 3, 1]).confusion())
    assert found["accuracy"] == 3 / 4
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["macro_f1"] == pytest.approx((4 / 5 + 1 + 0) / 3)


def test_a_stack_of_matrices_gives_what_each_gives_alone():
    stack = np.stack([[made(60, seed + 3 * i).confusion() for seed in range(3)] for i in range(2)])
    together = metrics_of(stack)
    for i, j in np.ndindex(2, 3):
        alone = metrics_of(stack[i, j])
        assert {name: together[name][i, j] for name in METRICS} == alone


def test_rows_of_the_confusion_are_true_classes_and_columns_predicted_ones():
    want = np.zeros((7, 7), int)
    want[2, 5], want[5, 5], want[6, 0] = 2, 1, 1  # fear taken for surprise twice, and so on
    np.testing.assert_array_equal(sure_of([2, 5, 2, 6], [5, 5, 5, 0]).confusion(), want)
    predictions = made(300)
    np.testing.assert_array_equal(
        predictions.confusion(), metrics.confusion_matrix(predictions.labels, predictions.predicted)
    )


def test_the_report_is_scikit_learns():
    predictions = made(400, classes=6)  # no neutral face is there
    want = metrics.classification_report(
        predictions.labels,
        predictions.predicted,
        labels=range(7),
        target_names=EMOTIONS,
        output_dict=True,
        zero_division=0,
    )
    table = report(predictions)
    assert table.index.tolist() == list(EMOTIONS) and table.columns.tolist() == ["precision", "recall", "f1", "support"]
    for name in EMOTIONS:
        ours = want[name]
        assert table.loc[name].tolist() == [ours["precision"], ours["recall"], ours["f1-score"], ours["support"]]
    assert table.loc["neutral", ["recall", "f1", "support"]].tolist() == [0, 0, 0]


def test_a_report_by_hand():
    table = report(sure_of([0, 0, 0, 3, 3], [0, 0, 3, 3, 3]))
    assert table.loc["angry"].tolist() == pytest.approx([1, 2 / 3, 4 / 5, 3])
    assert table.loc["happy"].tolist() == pytest.approx([2 / 3, 1, 4 / 5, 2])
    assert table.loc["fear"].tolist() == [0, 0, 0, 0]


# ---- uncertainty


def test_the_bootstrap_of_counts_is_the_bootstrap_of_faces():
    predictions = made(250, seed=4)
    summary = summarise(predictions, resamples=20_000)
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 250, (20_000, 250))  # the faces of each redrawn test
    pairs = (7 * predictions.labels + predictions.predicted)[drawn] + 49 * np.arange(20_000)[:, None]
    counts = np.bincount(pairs.ravel(), minlength=49 * 20_000).reshape(-1, 7, 7)
    direct = {  # straight from each redrawn test, not by `metrics_of`
        "accuracy": predictions.correct[drawn].mean(1),
        "balanced_accuracy": [np.mean([m[k, k] / m[k].sum() for k in range(7) if m[k].any()]) for m in counts],
        "macro_f1": [
            np.mean([2 * m[k, k] / (m[k].sum() + m[:, k].sum()) for k in range(7) if m[k].any() or m[:, k].any()])
            for m in counts[:5000]
        ],
    }
    for name in METRICS:
        low, high = np.quantile(direct[name], [0.025, 0.975])
        sd = np.std(direct[name])
        # A quantile's Monte Carlo error is sqrt(0.025 * 0.975 / 20,000) / (0.058 / sd) = 0.02 sd, twice that for 5,000.
        assert abs(summary.loc[name, "low"] - low) < 0.12 * sd
        assert abs(summary.loc[name, "high"] - high) < 0.12 * sd


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.99])
def test_the_interval_of_accuracy_is_the_normal_one_on_a_test_of_3589(level: float):
    predictions = made(3589, right=0.65)
    value, low, high = summarise(predictions, level=level, resamples=20_000).loc["accuracy"]
    sd = np.sqrt(value * (1 - value) / 3589)
    reach = stats.norm.ppf((1 + level) / 2) * sd
    assert value == predictions.correct.mean()
    assert [low, high] == pytest.approx([value - reach, value + reach], abs=0.08 * sd)


def test_an_interval_of_95_percent_holds_the_truth_in_95_percent_of_tests():
    rng = np.random.default_rng(0)
    truth = np.diag(rng.uniform(0.5, 1, 7)) + rng.uniform(0, 0.1, (7, 7))
    truth /= truth.sum()
    want = metrics_of(truth)
    held = dict.fromkeys(METRICS, 0)
    for _ in range(200):
        pairs = rng.choice(49, 1000, p=truth.ravel())
        summary = summarise(sure_of(pairs // 7, pairs % 7), resamples=500)
        for name in METRICS:
            held[name] += summary.loc[name, "low"] <= want[name] <= summary.loc[name, "high"]
    assert all(0.90 <= count / 200 <= 0.98 for count in held.values()), held


def test_redrawn_tests_have_the_same_size_and_repeat_by_seed():
    confusion = made(300).confusion()
    drawn = bootstrap(confusion, resamples=400, seed=3)
    assert drawn.shape == (400, 7, 7) and (drawn.sum((1, 2)) == 300).all()
    np.testing.assert_array_equal(drawn, bootstrap(confusion, resamples=400, seed=3))
    assert not np.array_equal(drawn, bootstrap(confusion, resamples=400, seed=4))
    assert not drawn[:, confusion == 0].any(), "what never happened is never drawn"
    np.testing.assert_allclose(drawn.mean(0), confusion, atol=4 * np.sqrt(confusion.max() / 400))


def test_a_perfect_test_has_no_width():
    summary = summarise(sure_of([0, 1, 2, 3], [0, 1, 2, 3]))
    assert summary.to_numpy().tolist() == [[1, 1, 1]] * 3
    assert summary.index.tolist() == list(METRICS) and summary.columns.tolist() == ["value", "low", "high"]


@pytest.mark.parametrize("level", [0, 1, -0.5, 95, float("nan")])
def test_a_level_that_is_no_coverage_is_refused(level: float):
    with pytest.raises(ValueError, match=r"level is .*; it is the interval's coverage, between 0 and 1"):
        summarise(made(10), level=level)


def test_no_predictions_have_no_figures():
    nothing = made(10).subset(np.zeros(10, bool))
    for figures in (summarise, as_json, lambda some: bootstrap(some.confusion())):
        with pytest.raises(ValueError, match="there are no predictions to redraw"):
            figures(nothing)


# ---- predictions


def test_probabilities_are_the_softmax_of_the_logits():
    logits = np.random.default_rng(0).normal(0, 3, (50, 7)).astype(np.float32)
    logits[0] = [1000, 999, -1000, 0, 0, 0, 0]  # too large to exponentiate as it stands
    found = Predictions(logits, np.zeros(50, np.int64)).probabilities
    np.testing.assert_allclose(found, special.softmax(logits.astype(float), 1), rtol=2e-6, atol=1e-12)
    np.testing.assert_allclose(found, torch.from_numpy(logits).softmax(1), rtol=2e-6, atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


def test_predicted_and_correct_by_hand():
    logits = np.array([[0, 3, 1, 0, 0, 0, 0], [-1, -2, -3, -4, -5, -6, -0.5], [2, 0, 0, 2, 0, 0, 0]], np.float32)
    predictions = Predictions(logits, np.array([1, 0, 0]))
    assert predictions.predicted.tolist() == [1, 6, 0], "the first of equals wins"
    assert predictions.correct.tolist() == [True, False, True]


@pytest.mark.parametrize("which", [np.array([True, False, True, False, True]), np.array([4, 0])])
def test_a_subset_keeps_logits_with_their_labels(which: np.ndarray):
    predictions = made(5)
    some = predictions.subset(which)
    np.testing.assert_array_equal(some.logits, predictions.logits[which])
    np.testing.assert_array_equal(some.labels, predictions.labels[which])


@pytest.mark.parametrize("n", [0, 1, 3589])
def test_what_is_saved_is_read_back_to_half_precision(tmp_path: Path, n: int):
    predictions = made(n)
    predictions.save(tmp_path / "a.npz")
    back = Predictions.load(tmp_path / "a.npz")
    assert back.logits.dtype == np.float32 and back.labels.dtype == np.int64
    np.testing.assert_array_equal(back.logits, predictions.logits.astype(np.float16))
    np.testing.assert_array_equal(back.labels, predictions.labels)
    np.testing.assert_array_equal(back.confusion(), predictions.confusion())


def test_a_file_of_predictions_cannot_hold_code(tmp_path: Path):
    np.savez(tmp_path / "bad.npz", logits=np.array([{"a": 1}], dtype=object), labels=np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        Predictions.load(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((3, 7)), np.zeros(4, int), r"logits \(3, 7\) do not fit labels \(4,\) and 7 classes"),
        (np.zeros((3, 6)), np.zeros(3, int), r"logits \(3, 6\) do not fit labels \(3,\) and 7 classes"),
        (np.zeros(7), np.zeros(7, int), r"logits \(7,\) do not fit labels \(7,\) and 7 classes"),
        (np.zeros((3, 7, 1)), np.zeros(3, int), r"logits \(3, 7, 1\) do not fit"),
        (np.zeros((3, 7)), np.zeros((3, 1), int), r"do not fit labels \(3, 1\)"),
        (np.zeros((3, 7)), np.array([0, 7, 1]), r"labels must be 0 to 6: \[0 1 7\]"),
        (np.zeros((3, 7)), np.array([0, -1, 1]), r"labels must be 0 to 6: \[-1 +0 +1\]"),
        (np.full((3, 7), np.nan), np.zeros(3, int), "the logits of 3 faces are not finite: diverged training"),
        (np.array([[0.0] * 6 + [np.inf], [0.0] * 7]), np.zeros(2, int), "the logits of 1 faces are not finite"),
    ],
)
def test_predictions_that_cannot_be_are_refused(logits: np.ndarray, labels: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        Predictions(logits.astype(np.float32), labels)


def test_the_json_holds_what_the_tables_do_in_plain_types():
    predictions = made(200)
    figures = as_json(predictions)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures, "plain types, and nothing lost"
    assert figures["n"] == 200 and figures["correct"] == predictions.correct.sum() == np.trace(figures["confusion"])
    assert figures["classes"] == list(EMOTIONS) and figures["confusion"] == predictions.confusion().tolist()
    assert {name: figures[name] for name in METRICS} == summarise(predictions).to_dict("index")
    assert figures["per_class"] == report(predictions).to_dict("index")
    assert figures["accuracy"]["value"] == figures["correct"] / figures["n"]
    assert sum(figures["per_class"][name]["support"] for name in EMOTIONS) == 200


# ---- predicting

SPEC = InputSpec()


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return sample.draw(23, seed=2)[0]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.arange(23) % 7


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 7))


@pytest.mark.parametrize("batch_size", [1, 5, 23, 256])
def test_prediction_is_a_plain_loop_in_the_order_of_the_faces(faces: np.ndarray, labels: np.ndarray, batch_size: int):
    model = linear()
    found = predict(model, faces, labels, EvalTransform(SPEC), batch_size=batch_size)
    weight, bias = (parameter.detach().double().numpy() for parameter in model.parameters())
    for i, face in enumerate(faces):
        want = weight @ ((face / 255 - SPEC.mean[0]) / SPEC.std[0]).ravel() + bias
        np.testing.assert_allclose(found.logits[i], want, atol=1e-4)
    assert found.logits.dtype == np.float32 and found.labels.dtype == np.int64
    assert found.labels.tolist() == labels.tolist()


def test_no_faces_give_no_predictions(faces: np.ndarray, labels: np.ndarray):
    found = predict(linear(), faces[:0], labels[:0], EvalTransform(SPEC))
    assert found.logits.shape == (0, 7) and found.labels.tolist() == []
    assert found.confusion().tolist() == np.zeros((7, 7), int).tolist()


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_judged_in_evaluation_mode_and_left_as_it_was(
    faces: np.ndarray, labels: np.ndarray, training: bool
):
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48 * 48, 7)).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again = (predict(model, faces, labels, EvalTransform(SPEC), batch_size=size).logits for size in (23, 23))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(
        predict(model, faces, labels, EvalTransform(SPEC), batch_size=4).logits, first, atol=1e-5
    )
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "statistics included"
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_layer_frozen_in_evaluation_mode_stays_frozen_even_after_an_error(faces: np.ndarray, labels: np.ndarray):
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(48 * 48, 7)).train()
    model[0].eval()
    predict(model, faces, labels, EvalTransform(SPEC))
    assert [module.training for module in model.modules()] == [True, False, True, True]
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        predict(model, faces, labels, EvalTransform(InputSpec(size=24)))
    assert [module.training for module in model.modules()] == [True, False, True, True]


def test_probabilities_of_views_are_averaged_not_logits(faces: np.ndarray, labels: np.ndarray):
    model, transform = linear(), EvalTransform(SPEC)
    with torch.no_grad():
        model[1].weight *= 20  # far from where the two averages agree
        batch = transform(torch.from_numpy(faces)[:, None])
        plain, mirrored = (model(view).double().softmax(1).numpy() for view in (batch, batch.flip(-1)))
    found = predict(model, faces, labels, transform, views=(None, flip), batch_size=10)
    np.testing.assert_allclose(found.probabilities, (plain + mirrored) / 2, atol=1e-5)
    np.testing.assert_allclose(np.exp(found.logits.astype(float)), (plain + mirrored) / 2, atol=1e-5)
    assert (found.predicted == (plain + mirrored).argmax(1)).all()
    geometric = np.sqrt(plain * mirrored) / np.sqrt(plain * mirrored).sum(1, keepdims=True)
    assert np.abs(found.probabilities - geometric).max() > 0.05, "the case tells the two apart"


def test_one_view_gives_the_models_own_logits_and_the_same_view_twice_the_same_probabilities(
    faces: np.ndarray, labels: np.ndarray
):
    model, transform = linear(), EvalTransform(SPEC)
    one = predict(model, faces, labels, transform)
    with torch.no_grad():
        np.testing.assert_array_equal(one.logits, model(transform(torch.from_numpy(faces)[:, None])).numpy())
    twice = predict(model, faces, labels, transform, views=(None, None))
    np.testing.assert_allclose(twice.probabilities, one.probabilities, atol=1e-6)


def test_a_face_and_its_mirror_image_are_named_alike_when_both_are_seen(faces: np.ndarray, labels: np.ndarray):
    torch.manual_seed(1)
    model = build_model("fernet", widths=(8, 8, 8, 8))
    transform = EvalTransform(input_spec(model))
    mirrored = np.ascontiguousarray(faces[:, :, ::-1])
    straight, turned = (predict(model, some, labels, transform, views=(None, flip)) for some in (faces, mirrored))
    np.testing.assert_allclose(straight.logits, turned.logits, atol=1e-5)
    alone = [predict(model, some, labels, transform).logits for some in (faces, mirrored)]
    assert np.abs(alone[0] - alone[1]).max() > 1e-3, "which a single view does not give"


def test_flip_mirrors_left_and_right():
    batch = torch.arange(12.0).view(1, 2, 2, 3)
    assert evaluation.flip(batch).tolist() == [[[[2, 1, 0], [5, 4, 3]], [[8, 7, 6], [11, 10, 9]]]]


@pytest.mark.parametrize(("images", "labels_"), [(5, 6), (6, 5)])
def test_images_and_labels_must_be_as_many(faces: np.ndarray, images: int, labels_: int):
    with pytest.raises(ValueError, match=rf"logits \({images}, 7\) do not fit labels \({labels_},\)"):
        predict(linear(), faces[:images], np.zeros(labels_, int), EvalTransform(SPEC))


def test_a_model_that_gives_nan_is_told_so(faces: np.ndarray, labels: np.ndarray):
    model = linear()
    with torch.no_grad():
        model[1].bias[3] = float("nan")
    with pytest.raises(ValueError, match="the logits of 23 faces are not finite: diverged training"):
        predict(model, faces, labels, EvalTransform(SPEC))
    with pytest.raises(ValueError, match="the logits of 23 faces are not finite: diverged training"):
        predict(model, faces, labels, EvalTransform(SPEC), views=(None, flip))


def test_another_number_of_classes_is_refused(faces: np.ndarray, labels: np.ndarray):
    model = build_model("fernet", num_classes=8, widths=(2, 2, 2, 2))
    with pytest.raises(ValueError, match=r"logits \(23, 8\) do not fit labels \(23,\) and 7 classes"):
        predict(model, faces, labels, EvalTransform(input_spec(model)))
