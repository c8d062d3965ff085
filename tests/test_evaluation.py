"""Figures against scikit-learn, SciPy, brute force and simulation; prediction against a plain loop in torch."""

import dataclasses
import json
import warnings

import albumentations as A
import numpy as np
import pytest
import torch
from albumentations.pytorch import ToTensorV2
from scipy import special, stats
from sklearn import metrics
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset
from torchvision.transforms import v2

from ferlib import evaluation, sample
from ferlib.data import FaceDataset
from ferlib.emotions import EMOTIONS
from ferlib.evaluation import (
    METRICS,
    VIEWS,
    Predictions,
    as_json,
    bootstrap,
    calibration,
    compare,
    cross_calibrate,
    ece,
    fit_temperature,
    flip,
    metrics_of,
    predict,
    report,
    shift,
    summarise,
)
from ferlib.models import FaceModel, build_model
from ferlib.transforms import EvalTransform, InputSpec, light


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


def of_two(labels: np.ndarray, predicted: np.ndarray) -> Predictions:
    return Predictions(np.eye(2, dtype=np.float32)[predicted.astype(int)], labels, TWO)


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


def test_a_level_in_percent_is_refused():
    for figures in (summarise, lambda some, level: compare(some, some, level=level)):
        with pytest.raises(ValueError, match="range"):
            figures(made(10), level=95)


def test_no_predictions_have_no_figures():
    nothing = made(10).subset(np.zeros(10, bool))
    for figures in (summarise, as_json, lambda some: bootstrap(some.confusion())):
        with pytest.raises(ValueError, match="there are no predictions to redraw"):
            figures(nothing)


# ---- two models


def pair(n: int, seed: int, agree: float) -> tuple[Predictions, Predictions]:
    """Two models on the same faces; the second repeats the first on a share `agree` of them."""
    a, rng = made(n, seed, right=0.7), np.random.default_rng(seed + 1000)
    logits = rng.normal(size=(n, 7)).astype(np.float32)
    logits[np.arange(n), np.where(rng.random(n) < 0.6, a.labels, rng.integers(0, 7, n))] += 5
    return a, Predictions(np.where(rng.random(n)[:, None] < agree, a.logits, logits), a.labels)


def test_a_comparison_by_hand():
    labels = [0] * 6 + [3] * 14
    a = sure_of(labels, [0] * 6 + [3] * 10 + [0] * 4)  # 16 right
    b = sure_of(labels, [3] * 2 + [0] * 4 + [3] * 7 + [0] * 3 + [3] * 2 + [0] * 2)  # 13 right
    found = compare(a, b)
    assert found.right.to_numpy().tolist() == [[2, 2], [5, 11]]
    assert found.right.index.tolist() == ["a wrong", "a right"]
    assert found.right.columns.tolist() == ["b wrong", "b right"]
    assert found.p_value == pytest.approx(2 * (1 + 7 + 21) / 2**7), "7 coins, as far from even as 2 heads or farther"
    assert found.p_value == pytest.approx(stats.binomtest(2, 7).pvalue)
    assert found.difference.index.tolist() == list(METRICS)
    assert found.difference.columns.tolist() == ["value", "low", "high"]
    want = np.subtract(by_sklearn(b), by_sklearn(a))
    np.testing.assert_allclose(found.difference["value"], want)
    assert found.difference.loc["accuracy", "value"] == pytest.approx(-3 / 20)


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (0, 1), (5, 5), (3, 19), (40, 20)])
def test_mcnemars_p_is_the_sum_of_the_binomial_tails(lost: int, won: int):
    labels = [1] * (lost + won + 30)
    a = sure_of(labels, [1] * lost + [2] * won + [1] * 20 + [4] * 10)
    b = sure_of(labels, [2] * lost + [1] * won + [1] * 20 + [5] * 10)
    chances = stats.binom.pmf(np.arange(lost + won + 1), lost + won, 0.5)
    found = compare(a, b, resamples=10)
    assert found.right.to_numpy().tolist() == [[10, won], [lost, 20]]
    assert found.p_value == pytest.approx(chances[chances <= chances[won] * 1.000001].sum())


def test_a_paired_interval_is_that_of_redrawn_faces():
    a, b = pair(300, seed=5, agree=0.5)
    rng = np.random.default_rng(2)
    drawn = rng.integers(0, 300, (4000, 300))
    gains = {"accuracy": (b.correct[drawn].astype(float) - a.correct[drawn]).mean(1)}
    macro_f1 = [
        [metrics.f1_score(a.labels[i], each.predicted[i], average="macro") for each in (a, b)] for i in drawn[:400]
    ]
    gains["macro_f1"] = np.diff(macro_f1)[:, 0]
    found = compare(a, b, resamples=20_000).difference
    for name, slack in (("accuracy", 0.2), ("macro_f1", 0.45)):  # four Monte Carlo errors of a quantile
        low, high = np.quantile(gains[name], [0.025, 0.975])
        assert abs(found.loc[name, "low"] - low) < slack * gains[name].std()
        assert abs(found.loc[name, "high"] - high) < slack * gains[name].std()


def test_pairing_narrows_the_interval_of_models_that_agree_and_swapping_them_turns_the_sign():
    a, b = pair(1500, seed=3, agree=0.9)
    one, other = compare(a, b), compare(b, a)
    width = {name: (row["high"] - row["low"]) for name, row in one.difference.iterrows()}
    alone = [summarise(each) for each in (a, b)]
    for name in METRICS:
        apart = np.hypot(*(table.loc[name, "high"] - table.loc[name, "low"] for table in alone))
        assert width[name] < 0.6 * apart
    np.testing.assert_allclose(one.difference["value"], -other.difference["value"])
    # The bounds swap places too, up to the luck of redrawing: about 5% of their distance.
    np.testing.assert_allclose(one.difference["low"], -other.difference["high"], atol=0.1 * max(width.values()))
    assert one.right.to_numpy().tolist() == other.right.to_numpy().T.tolist() and one.p_value == other.p_value


def test_a_paired_interval_of_95_percent_holds_the_truth_in_95_percent_of_tests():
    rng = np.random.default_rng(0)
    chances, labels = np.array([0.55, 0.1, 0.05, 0.3]), np.ones(600, int)  # both, only a, only b, neither: b - a = -5%
    held, significant = 0, 0
    for _ in range(200):
        kinds = rng.choice(4, 600, p=chances)
        a, b = (of_two(labels, np.isin(kinds, right)) for right in ([0, 1], [0, 2]))
        found = compare(a, b, resamples=500)
        held += found.difference.loc["accuracy", "low"] <= -0.05 <= found.difference.loc["accuracy", "high"]
        a, b = (of_two(labels, rng.random(600) < 0.7) for _ in range(2))
        significant += compare(a, b, resamples=2).p_value < 0.05
    assert 180 <= held <= 197 and significant <= 16, (held, significant)


def test_a_model_is_no_better_than_itself():
    found = compare(made(80), made(80))
    assert found.difference.to_numpy().tolist() == [[0, 0, 0]] * 3 and found.p_value == 1


def test_only_answers_for_the_same_faces_are_compared():
    a = made(60)
    other = Predictions(a.logits[::-1], a.labels[::-1])
    for b in (other, a.subset(np.arange(59)), a.subset(np.r_[1, 0, 2:60])):
        with pytest.raises(ValueError, match="do not hold the same labels in the same order"):
            compare(a, b)
    with pytest.raises(ValueError, match="there are no predictions to redraw"):
        compare(a.subset(np.zeros(60, bool)), a.subset(np.zeros(60, bool)))


# ---- calibration


def of_confidence(confidence: list[float], right: list[bool]) -> Predictions:
    """Faces of emotion 2 named right or wrong with these probabilities, the rest shared by the five other classes."""
    p = np.repeat((1 - np.array(confidence, float))[:, None] / 6, 7, 1)
    p[np.arange(len(p)), np.where(right, 2, 4)] = confidence
    return Predictions(np.log(np.maximum(p, 1e-40)).astype(np.float32), np.full(len(p), 2))


def drawn_from(temperature: float, n: int, seed: int = 0) -> Predictions:
    """A model whose confidence is true at this temperature: labels are drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, 7))
    labels = (special.softmax(logits, 1).cumsum(1) > rng.random((n, 1))).argmax(1)
    return Predictions((temperature * logits).astype(np.float32), labels)


def test_the_reliability_table_and_its_error_by_hand():
    found = of_confidence(
        [0.3, 0.34, 0.55, 0.71, 0.79, 0.74, 1.0, 1.0], [True, False, True, True, True, False, True, False]
    )
    table = calibration(found, bins=5)
    assert table.columns.tolist() == ["low", "high", "n", "confidence", "accuracy"]
    np.testing.assert_allclose(table["low"], [0, 0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(table["high"], [0.2, 0.4, 0.6, 0.8, 1])
    assert table["n"].tolist() == [0, 2, 1, 3, 2]
    np.testing.assert_allclose(table["confidence"], [np.nan, 0.32, 0.55, 2.24 / 3, 1], rtol=1e-6)
    np.testing.assert_allclose(table["accuracy"], [np.nan, 0.5, 1, 2 / 3, 0.5])
    want = (2 * 0.18 + 1 * 0.45 + 3 * (2.24 / 3 - 2 / 3) + 2 * 0.5) / 8
    assert ece(found, bins=5) == table.attrs["ece"] == pytest.approx(want)
    assert ece(found, bins=1) == pytest.approx(abs(5.43 / 8 - 5 / 8), abs=1e-6)


def test_a_bin_holds_its_upper_edge_and_not_its_lower_one():
    quarter = np.log(np.array([[2, 2, 1, 1, 1, 1, 0.0]]) / 8 + 1e-30)
    half = np.log(np.array([[4, 1, 1, 1, 1, 0, 0.0]]) / 8 + 1e-30)
    one = np.array([[200, 0, 0, 0, 0, 0, 0.0]])
    found = Predictions(np.concatenate([quarter, half, one]).astype(np.float32), np.zeros(3, int))
    np.testing.assert_array_equal(found.probabilities.max(1), [0.25, 0.5, 1])
    assert calibration(found, bins=4)["n"].tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("bins", [1, 2, 10, 15, 100])
def test_the_error_is_a_plain_loops(bins: int):
    found = made(700, seed=9)
    confidence, total = found.probabilities.max(1).astype(float), 0.0
    for k in range(bins):
        here = (confidence > k / bins) & (confidence <= (k + 1) / bins)
        if here.any():
            total += here.mean() * abs(found.correct[here].mean() - confidence[here].mean())
    assert ece(found, bins=bins) == pytest.approx(total)
    assert calibration(found, bins=bins)["n"].sum() == 700


def test_what_is_as_sure_as_right_has_no_error_but_chance():
    assert ece(drawn_from(1, 100_000)) < 0.006
    by_chance = [ece(drawn_from(1, 3589, seed)) for seed in range(20)]
    low, high = np.quantile(by_chance, [0.1, 0.9])
    assert 0.01 < low < high < 0.03, "as the docstring says"
    assert ece(of_confidence([1.0] * 5, [True] * 5)) == pytest.approx(0, abs=1e-6)
    assert ece(of_confidence([1.0] * 5, [False] * 5)) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(4))
def test_the_temperature_is_the_best_of_a_grid(seed: int):
    found = made(300, seed) if seed else drawn_from(2, 300)
    grid = np.geomspace(0.05, 20, 6000)
    rows = np.arange(300)
    loss = [-special.log_softmax(found.logits / t, 1)[rows, found.labels].mean() for t in grid]
    assert fit_temperature(found) == pytest.approx(grid[np.argmin(loss)], rel=0.002)


@pytest.mark.parametrize("true", [0.4, 1, 2.5])
def test_the_temperature_that_a_model_was_made_with_is_found(true: float):
    found = drawn_from(true, 50_000)
    assert fit_temperature(found) == pytest.approx(true, rel=0.03)
    assert ece(cross_calibrate(found)) < 0.01


def test_a_temperature_stays_within_its_bounds():
    assert fit_temperature(sure_of([0, 1, 2], [0, 1, 2])) == pytest.approx(0.05, rel=1e-3), "the surer the better"
    assert fit_temperature(sure_of([0, 1, 2], [1, 2, 0])) == pytest.approx(20, rel=1e-3), "better not to say"
    with pytest.raises(ValueError, match="no predictions to fit a temperature to"):
        fit_temperature(made(3).subset(np.zeros(3, bool)))


def test_logits_times_three_lose_their_excess_and_no_prediction_changes():
    found = drawn_from(3, 3000)
    calm = cross_calibrate(found)
    assert ece(found) > 0.1 and ece(calm) < 0.03
    np.testing.assert_array_equal(calm.predicted, found.predicted)
    np.testing.assert_array_equal(calm.labels, found.labels)
    np.testing.assert_allclose(found.logits / calm.logits, 3, rtol=0.1)
    near = np.zeros((40, 7), np.float32)
    near[:, 5] = np.nextafter(np.float32(1), np.float32(2))  # ahead of class 2 by the least that float32 can tell
    near[:, 2] = 1
    tight = Predictions(near, np.arange(40) % 7)
    assert (tight.predicted == 5).all() and (cross_calibrate(tight).predicted == 5).all()


def temperatures(found: Predictions, **options: int) -> np.ndarray:
    """What each face's logits were divided by, (n,)."""
    return np.median(found.logits / cross_calibrate(found, **options).logits, 1).round(10)


def test_a_face_has_no_say_in_its_own_temperature():
    found = drawn_from(1, 100)
    before = temperatures(found)
    folds = [np.flatnonzero(before == value) for value in np.unique(before)]
    assert sorted(map(len, folds)) == [20] * 5, "each face is held out once, with a temperature for each fold"
    for held in folds:
        rest = np.setdiff1d(np.arange(100), held)
        assert before[held[0]] == pytest.approx(fit_temperature(found.subset(rest)), rel=1e-6)
        spoiled = found.logits.copy()
        spoiled[held] = np.roll(spoiled[held], 3, axis=1) * 9  # sure and wrong
        after = temperatures(Predictions(spoiled, found.labels))
        np.testing.assert_array_equal(after[held], before[held])
        assert (after[rest] > 1.5 * before[rest]).all(), "the other folds' temperatures do hear of it"


def test_folds_hold_the_classes_in_proportion_and_repeat_by_seed():
    found = made(203)
    divided = temperatures(found)
    for label in range(7):
        of_class = [((divided == value) & (found.labels == label)).sum() for value in np.unique(divided)]
        assert max(of_class) - min(of_class) <= 1
    np.testing.assert_array_equal(cross_calibrate(found).logits, cross_calibrate(found, seed=0).logits)
    assert (cross_calibrate(found, seed=1).logits != cross_calibrate(found).logits).any()
    assert len(np.unique(temperatures(found, folds=3))) == 3


def test_few_faces_are_left_out_one_by_one_and_a_single_one_stays():
    three = made(3, seed=2)
    calm = cross_calibrate(three)
    for face in range(3):
        others = three.subset(np.delete(np.arange(3), face))
        np.testing.assert_allclose(calm.logits[face], three.logits[face] / fit_temperature(others), rtol=1e-6)
    one = made(1)
    np.testing.assert_array_equal(cross_calibrate(one).logits, one.logits)
    assert as_json(one)["calibrated_ece"] == pytest.approx(ece(one), abs=1e-6)
    with pytest.raises(ValueError, match="no predictions to fit a temperature to"):
        cross_calibrate(made(10), folds=1)


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
    with pytest.raises(ValueError, match="numbers 0 and 1, one for each image, are a mask"):
        predictions.subset(np.array([1, 0, 1, 0, 1]))


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((3, 7)), np.zeros(4, int), r"logits \(3, 7\) do not fit labels \(4,\) from 0 to 6"),
        (np.zeros((3, 6)), np.zeros(3, int), r"logits \(3, 6\) do not fit labels \(3,\) from 0 to 6"),
        (np.zeros(7), np.zeros(7, int), r"logits \(7,\) do not fit labels \(7,\) from 0 to 6"),
        (np.zeros((3, 7, 1)), np.zeros(3, int), r"logits \(3, 7, 1\) do not fit"),
        (np.zeros((3, 7)), np.zeros((3, 1), int), r"do not fit labels \(3, 1\)"),
        (np.zeros((3, 7)), np.array([0, 7, 1]), "from 0 to 6"),
        (np.zeros((3, 7)), np.array([0, -1, 1]), "from 0 to 6"),
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
    assert figures["ece"] == ece(predictions) and figures["temperature"] == fit_temperature(predictions)
    assert figures["calibrated_ece"] == ece(cross_calibrate(predictions)) != figures["ece"]
    assert figures["accuracy"]["value"] == figures["correct"] / figures["n"]
    assert sum(figures["per_class"][name]["support"] for name in EMOTIONS) == 200


# ---- predicting

SPEC = InputSpec()
NORMALIZE = A.Normalize(SPEC.mean, SPEC.std)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return sample.draw(23, seed=2)[0]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.arange(23) % 7


@pytest.fixture(scope="module")
def dataset(faces: np.ndarray, labels: np.ndarray) -> FaceDataset:
    return FaceDataset.from_arrays(faces, labels)


def linear(seed: int = 0, classes: tuple[str, ...] = EMOTIONS) -> FaceModel:
    torch.manual_seed(seed)
    return FaceModel(nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, len(classes))), SPEC, classes)


@pytest.mark.parametrize("batch_size", [1, 5, 23, 256])
def test_prediction_is_a_plain_loop_in_the_order_of_the_faces(
    dataset: FaceDataset, faces: np.ndarray, labels: np.ndarray, batch_size: int
):
    model = linear()
    found = predict(model, dataset, batch_size=batch_size)
    weight, bias = (parameter.detach().double().numpy() for parameter in model.parameters())
    for i, face in enumerate(faces):
        want = weight @ ((face / 255 - SPEC.mean[0]) / SPEC.std[0]).ravel() + bias
        np.testing.assert_allclose(found.logits[i], want, atol=1e-4)
    assert found.logits.dtype == np.float32 and found.labels.dtype == np.int64
    assert found.labels.tolist() == labels.tolist() and found.classes == EMOTIONS


def test_no_faces_are_refused(dataset: FaceDataset):
    for nothing in (dataset.subset([]), Subset(dataset, [])):
        with pytest.raises(ValueError, match="dataset is empty; give it a face or more"):
            predict(linear(), nothing)
    found = Predictions(np.empty((0, 7), np.float32), np.empty(0, np.int64))
    assert found.confusion().tolist() == np.zeros((7, 7), int).tolist()


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_judged_in_evaluation_mode_and_left_as_it_was(dataset: FaceDataset, training: bool):
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48 * 48, 7))
    model = FaceModel(network, SPEC).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again = (predict(model, dataset, batch_size=size).logits for size in (23, 23))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(predict(model, dataset, batch_size=4).logits, first, atol=1e-5)
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "statistics included"
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_layer_frozen_in_evaluation_mode_stays_frozen_even_after_an_error(dataset: FaceDataset):
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(48 * 48, 7)).train()
    network[0].eval()
    modes = [True, False, True, True]
    predict(FaceModel(network, SPEC), dataset)
    assert [module.training for module in network.modules()] == modes
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        predict(FaceModel(network, SPEC), dataset, views=(None, lambda batch: batch[..., :24]))
    assert [module.training for module in network.modules()] == modes
    with pytest.raises(
        ValueError, match=r"Sequential cannot take faces of shape \(1, 24, 24\) .* cannot be multiplied"
    ):
        FaceModel(network, InputSpec(size=24))
    with pytest.raises(
        ValueError, match=r"Sequential cannot take faces of shape \(1, 24, 24\) .* cannot be multiplied"
    ):
        predict(network, dataset.with_transform(A.Compose([A.Resize(24, 24), NORMALIZE, ToTensorV2()])))
    assert [module.training for module in network.modules()] == modes


def test_probabilities_of_views_are_averaged_not_logits(dataset: FaceDataset, faces: np.ndarray):
    model, transform = linear(), EvalTransform(SPEC)
    with torch.no_grad():
        model.network[1].weight *= 20  # far from where the two averages agree
        batch = transform(torch.from_numpy(faces)[:, None])
        plain, mirrored = (model(view).double().softmax(1).numpy() for view in (batch, batch.flip(-1)))
    found = predict(model, dataset, views=(None, flip), batch_size=10)
    np.testing.assert_allclose(found.probabilities, (plain + mirrored) / 2, atol=1e-5)
    np.testing.assert_allclose(np.exp(found.logits.astype(float)), (plain + mirrored) / 2, atol=1e-5)
    assert (found.predicted == (plain + mirrored).argmax(1)).all()
    geometric = np.sqrt(plain * mirrored) / np.sqrt(plain * mirrored).sum(1, keepdims=True)
    assert np.abs(found.probabilities - geometric).max() > 0.05, "the case tells the two apart"


def test_one_view_gives_the_models_own_logits_and_the_same_view_twice_the_same_probabilities(
    dataset: FaceDataset, faces: np.ndarray
):
    model, transform = linear(), EvalTransform(SPEC)
    one = predict(model, dataset)
    with torch.no_grad():
        np.testing.assert_array_equal(one.logits, model(transform(torch.from_numpy(faces)[:, None])).numpy())
    twice = predict(model, dataset, views=(None, None))
    np.testing.assert_allclose(twice.probabilities, one.probabilities, atol=1e-6)


def test_a_face_and_its_mirror_image_are_named_alike_when_both_are_seen(dataset: FaceDataset, faces: np.ndarray):
    torch.manual_seed(1)
    model = build_model("fernet", widths=(8, 8, 8, 8))
    mirrored = FaceDataset.from_arrays(np.ascontiguousarray(faces[:, :, ::-1]), dataset.labels)
    straight, turned = (predict(model, some, views=(None, flip)) for some in (dataset, mirrored))
    np.testing.assert_allclose(straight.logits, turned.logits, atol=1e-5)
    alone = [predict(model, some).logits for some in (dataset, mirrored)]
    assert np.abs(alone[0] - alone[1]).max() > 1e-3, "which a single view does not give"


def test_flip_mirrors_left_and_right():
    batch = torch.arange(12.0).view(1, 2, 2, 3)
    assert evaluation.flip(batch).tolist() == [[[[2, 1, 0], [5, 4, 3]], [[8, 7, 6], [11, 10, 9]]]]


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (-2, 0), (0, 2), (0, -2), (2, -2), (0, 0)])
@pytest.mark.parametrize("size", [24, 48, 96])
def test_a_shift_moves_right_and_down_and_repeats_the_border(dx: int, dy: int, size: int):
    batch = torch.rand(2, 3, size, size)
    x, y = dx * size // 48, dy * size // 48
    for mirrored in (False, True):
        seen = batch.numpy()[..., :: -1 if mirrored else 1]
        padded = np.pad(seen, ((0, 0), (0, 0), (8, 8), (8, 8)), mode="edge")
        want = padded[:, :, 8 - y : 8 - y + size, 8 - x : 8 - x + size]
        np.testing.assert_array_equal(shift(batch, dx=dx, dy=dy, mirrored=mirrored), want)


def test_the_views_have_names_and_the_last_are_18_different_ones():
    batch = torch.rand(1, 1, 48, 48)
    seen = [[batch if view is None else view(batch) for view in views] for views in VIEWS.values()]
    assert list(VIEWS) == ["single_view", "flip_averaged", "shift_flip_averaged"]
    assert [len(pictures) for pictures in seen] == [1, 2, 18]
    assert len({picture.numpy().tobytes() for picture in seen[2]}) == 18
    for pictures in seen[1:]:
        assert torch.equal(pictures[0], batch)
        both = {picture.numpy().tobytes() for picture in pictures}
        assert both == {flip(picture).contiguous().numpy().tobytes() for picture in pictures}, "no side is favoured"


def test_eighteen_views_are_averaged_as_probabilities(dataset: FaceDataset, faces: np.ndarray):
    model, transform = linear(), EvalTransform(SPEC)
    with torch.no_grad():
        batch = np.pad(
            transform(torch.from_numpy(faces)[:, None]).numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge"
        )
        cuts = [batch[:, :, y : y + 48, x : x + 48] for y in (0, 2, 4) for x in (0, 2, 4)]
        every = [torch.from_numpy(np.ascontiguousarray(cut[..., ::side])) for cut in cuts for side in (1, -1)]
        want = np.mean([model(view).softmax(1).numpy() for view in every], 0)
    found = predict(model, dataset, views=VIEWS["shift_flip_averaged"], batch_size=10)
    np.testing.assert_allclose(found.probabilities, want, atol=1e-5)


@pytest.mark.parametrize(("images", "labels_"), [(5, 6), (6, 5)])
def test_images_and_labels_must_be_as_many(faces: np.ndarray, images: int, labels_: int):
    with pytest.raises(ValueError, match=rf"{images} images but {labels_} rows in the table"):
        predict(linear(), FaceDataset.from_arrays(faces[:images], np.zeros(labels_, int)))


def test_a_model_that_gives_nan_is_told_so(dataset: FaceDataset):
    model = linear()
    with torch.no_grad():
        model.network[1].bias[3] = float("nan")
    with pytest.raises(ValueError, match="the logits of 23 faces are not finite: diverged training"):
        predict(model, dataset)
    with pytest.raises(ValueError, match="the logits of 23 faces are not finite: diverged training"):
        predict(model, dataset, views=(None, flip))


def test_other_classes_than_the_models_are_refused(dataset: FaceDataset):
    model = build_model("fernet", classes=EIGHT, widths=(2, 2, 2, 2))
    refused = (
        f"^the model's classes are {', '.join(EIGHT)}, those of dataset are {', '.join(EMOTIONS)}; give both the same"
    )
    for some in (dataset, Subset(dataset, range(5))):
        with pytest.raises(ValueError, match=refused):
            predict(model, some)
    bare = r"^FerNet gives 8 outputs, and there are 7 classes \(angry, .*, neutral\); give its last layer 7 o"
    with pytest.raises(ValueError, match=bare):
        predict(model.network, dataset.with_transform(A.Compose([NORMALIZE, ToTensorV2()])))


def test_a_view_that_loses_faces_is_refused(dataset: FaceDataset):
    with pytest.raises(ValueError, match=r"logits \(1, 7\) for 23 faces; keep every face"):
        predict(linear(), dataset, views=(lambda batch: batch[:1],))
    with pytest.raises(RuntimeError, match=r"\[23, 7\] .* \[1, 7\]"):
        predict(linear(), dataset, views=(None, lambda batch: batch[:1]))


def ready(image: np.ndarray) -> torch.Tensor:
    """What `EvalTransform(SPEC)` makes of a face, as a dataset's own transform."""
    return EvalTransform(SPEC)(torch.from_numpy(image.copy())[None, None])[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_faces_that_their_dataset_prepares_are_predicted_as_they_are(dataset: FaceDataset, workers: int):
    model, want = linear(), predict(linear(), dataset)
    by_hand = predict(model, dataset.with_transform(ready), batch_size=5, workers=workers)
    by_pipeline = predict(
        model, dataset.with_transform(A.Compose([NORMALIZE, ToTensorV2()])), batch_size=5, workers=workers
    )
    still_bytes = predict(model, dataset.with_transform(A.Compose([A.HorizontalFlip(p=1)])), workers=workers)
    for found in (by_hand, by_pipeline):
        np.testing.assert_allclose(found.logits, want.logits, atol=1e-5)
        assert found.labels.tolist() == want.labels.tolist() and found.classes == EMOTIONS
    np.testing.assert_allclose(still_bytes.logits, predict(model, dataset, views=(flip,)).logits, atol=1e-5)


def test_workers_change_no_prediction(dataset: FaceDataset):
    for some in (dataset, dataset.with_transform(ready), Subset(dataset.with_transform(ready), [3, 1, 2])):
        alone, helped = (predict(linear(), some, batch_size=2, workers=workers) for workers in (0, 2))
        np.testing.assert_array_equal(alone.logits, helped.logits)
        np.testing.assert_array_equal(alone.labels, helped.labels)


STEADY = {
    "none": None,
    "function": ready,
    "torchvision": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(SPEC.mean, SPEC.std)]),
    "albumentations": A.Compose([NORMALIZE, ToTensorV2()]),
}
RANDOM = {"torchvision": v2.Compose([v2.RandomHorizontalFlip(), v2.ToImage()]), "albumentations": light()}


@pytest.mark.parametrize(
    ("transform", "workers"),
    [
        *(pytest.param(each, workers, id=f"{name}-{workers}") for name, each in STEADY.items() for workers in (0, 2)),
        *(pytest.param(each, 2, id=f"random {name}-2") for name, each in RANDOM.items()),
    ],
)
def test_predicting_draws_no_number_from_torchs_global_generator(dataset: FaceDataset, transform, workers: int):
    some, model = dataset.with_transform(transform), linear()
    torch.manual_seed(11)
    want = torch.rand(4)
    torch.manual_seed(11)
    predict(model, some, views=(None, flip), batch_size=4, workers=workers)
    assert torch.equal(torch.rand(4), want)


@pytest.mark.parametrize("views", VIEWS)
def test_views_of_a_bare_module_are_those_of_a_face_model(dataset: FaceDataset, views: str):
    model, some = linear(), dataset.with_transform(ready)
    want = predict(model, dataset, views=VIEWS[views])
    found = predict(model.network, some, views=VIEWS[views], batch_size=6)
    np.testing.assert_allclose(found.logits, want.logits, atol=1e-5)
    assert found.classes == EMOTIONS, "the dataset's"
    with pytest.raises(ValueError, match=r"dataset gives uint8 faces, which a bare network does not know how to norm"):
        predict(model.network, dataset, views=VIEWS[views])


def test_a_bare_module_and_data_without_names_number_the_classes(dataset: FaceDataset):
    class Pairs(Dataset):
        def __len__(self) -> int:
            return 9

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return ready(dataset.images[index]), index % 7

    found = predict(linear().network, Pairs(), batch_size=4)
    assert found.classes == tuple("0123456") and found.labels.tolist() == [*range(7), 0, 1]
    np.testing.assert_allclose(found.logits, predict(linear(), dataset.subset(range(9))).logits, atol=1e-5)


def test_labels_are_matched_to_the_models_classes_by_name(dataset: FaceDataset):
    model, turned = linear(), tuple(reversed(EMOTIONS))
    want, other = predict(model, dataset), dataset.with_classes(turned)
    assert other.labels.tolist() == (6 - dataset.labels).tolist()
    for some in (other, Subset(other, range(23)), ConcatDataset([other])):
        found = predict(model, some)
        np.testing.assert_array_equal(found.logits, want.logits)
        np.testing.assert_array_equal(found.labels, want.labels)
        assert found.classes == EMOTIONS
    own = predict(model.network, other.with_transform(ready))
    assert own.classes == turned and own.labels.tolist() == other.labels.tolist()


def test_soft_labels_count_as_the_datasets_hard_ones(dataset: FaceDataset):
    targets = np.full((23, 7), 1 / 7, np.float32)
    for draw in (False, True):
        soft = dataclasses.replace(dataset, targets=targets, draw=draw)
        assert predict(linear(), soft).labels.tolist() == dataset.labels.tolist()


# ---- classes of one's own

EIGHT = ("angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")
TWO = ("open eyes", "shut eyes")


def among(names: tuple[str, ...], n: int, seed: int = 0) -> Predictions:
    """Predictions of n faces of these classes, most of them true."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(names), n)
    logits = rng.normal(size=(n, len(names))).astype(np.float32)
    logits[np.arange(n), np.where(rng.random(n) < 0.6, labels, rng.integers(0, len(names), n))] += 3
    return Predictions(logits, labels, names)


@pytest.mark.parametrize("names", [TWO, EIGHT])
def test_figures_of_other_classes_are_scikit_learns(names: tuple[str, ...]):
    found, k = among(names, 300), len(names)
    matrix = metrics.confusion_matrix(found.labels, found.predicted, labels=range(k))
    assert found.confusion().shape == (k, k) and np.array_equal(found.confusion(), matrix)
    assert 0 < found.correct.mean() < 1
    np.testing.assert_allclose([metrics_of(matrix)[name] for name in METRICS], by_sklearn(found))
    table, want = report(found), metrics.classification_report(
        found.labels, found.predicted, labels=range(k), target_names=names, output_dict=True, zero_division=0
    )  # fmt: skip
    assert table.index.tolist() == list(names)
    for name in names:
        assert table.loc[name].tolist() == [want[name][one] for one in ("precision", "recall", "f1-score", "support")]
    np.testing.assert_allclose(found.probabilities, special.softmax(found.logits.astype(float), 1), rtol=2e-6)
    summary, figures = summarise(found, resamples=200), as_json(found)
    np.testing.assert_allclose(summary["value"], by_sklearn(found))
    assert (summary["low"] < summary["value"]).all() and (summary["value"] < summary["high"]).all()
    assert figures["classes"] == list(names) and figures["confusion"] == matrix.tolist()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert found.subset(np.arange(10)).classes == cross_calibrate(found).classes == names


@pytest.mark.parametrize("names", [TWO, EIGHT])
def test_two_models_of_other_classes_are_compared(names: tuple[str, ...]):
    a = among(names, 300)
    logits = a.logits.copy()
    logits[:40] = np.roll(logits[:40], 1, axis=1)
    b = Predictions(logits, a.labels, names)
    found = compare(a, b, resamples=300)
    np.testing.assert_allclose(found.difference["value"], np.subtract(by_sklearn(b), by_sklearn(a)))
    both = np.array([[(a.correct == i) & (b.correct == j) for j in (False, True)] for i in (False, True)]).sum(2)
    assert found.right.to_numpy().tolist() == both.tolist()


def test_models_of_other_classes_are_not_compared():
    a = among(EIGHT, 20)
    swapped = (*EIGHT[1::-1], *EIGHT[2:])  # the same in another order is matched by name
    b = Predictions(a.logits[:, [1, 0, *range(2, 8)]], np.array([1, 0, *range(2, 8)])[a.labels], swapped)
    assert compare(a, b, resamples=10).right.to_numpy().trace() == 20 == b.with_classes(EIGHT).labels.size
    np.testing.assert_array_equal(b.with_classes(EIGHT).logits, a.logits)
    with pytest.raises(
        ValueError, match="the model's classes are open eyes, shut eyes, those of these .* are shut, open"
    ):
        compare(among(TWO, 20), Predictions(among(TWO, 20).logits, among(TWO, 20).labels, ("shut", "open")))


@pytest.mark.parametrize(
    ("logits", "labels", "classes", "message"),
    [
        (np.zeros((3, 7)), [0, 1, 2], EIGHT, r"logits \(3, 7\) do not fit labels \(3,\) from 0 to 7"),
        (np.zeros((3, 2)), [0, 1, 2], TWO, "from 0 to 1"),
        (
            np.zeros((3, 2)),
            [0, 1, 1],
            ("joy", "happy"),
            "two classes have one name, 'joy' and 'happy'; give each its own",
        ),
        (np.zeros((3, 1)), [0, 0, 0], ("happy",), "give two names or more"),
        (np.zeros((3, 5)), [0, 0, 0], "happy", "classes are 'happy'; give two names or more"),
    ],
)
def test_predictions_and_classes_that_do_not_fit_are_refused(logits: np.ndarray, labels: list, classes, message: str):
    with pytest.raises(ValueError, match=message):
        Predictions(logits.astype(np.float32), np.array(labels), classes)


def test_predictions_of_a_model_of_other_classes_carry_its_names(faces: np.ndarray):
    for names in (TWO, EIGHT):
        some = FaceDataset.from_arrays(faces, np.arange(23) % len(names), classes=names)
        found = predict(linear(classes=names), some, views=(None, flip))
        assert found.classes == names and found.logits.shape == (23, len(names))
        assert found.labels.tolist() == some.labels.tolist()


# ---- seeds


def test_an_interval_over_seeds_redraws_both_seeds_and_faces():
    assert evaluation.seed_interval(np.full((3, 50), 0.25)) == [0.25, 0.25]
    alike, apart = np.tile([0.0, 1.0], (3, 50)), np.repeat([[0.0], [0.5], [1.0]], 100, axis=1)
    low, high = evaluation.seed_interval(alike)  # only the faces differ: as for one network on 100 faces
    assert low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015) and high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)
    low, high = evaluation.seed_interval(apart)  # only the seeds differ: all three the least once in 27 redraws
    assert (low, high) == (0.0, 1.0)
    assert evaluation.seed_interval(apart, level=0.5) == pytest.approx([1 / 3, 2 / 3])


@pytest.mark.parametrize(("seeds", "seed_sd", "least", "most"), [(3, 0.0, 0.9, 0.98), (3, 0.2, 0.68, 0.84),
                                                                 (10, 0.2, 0.87, 0.97)])  # fmt: skip
def test_an_interval_over_seeds_holds_the_truth_as_often_as_its_docstring_says(
    seeds: int, seed_sd: float, least: float, most: float
):
    """150 tests of 200 faces; the true gain is 0.1, and each network's own gain differs from it by `seed_sd`."""
    rng, held = np.random.default_rng(0), 0
    for test in range(150):
        values = (rng.random(200) < 0.4) - 0.3 + seed_sd * rng.standard_normal((seeds, 1))
        low, high = evaluation.seed_interval(values, resamples=300, seed=test)
        held += low <= 0.1 <= high
    assert least <= held / 150 <= most


@pytest.mark.parametrize("values", [np.zeros(5), np.zeros((0, 5)), np.zeros((2, 3, 4))])
def test_an_interval_over_seeds_wants_seeds_and_faces(values: np.ndarray):
    with pytest.raises(ValueError, match=r"\(seeds, faces\)"):
        evaluation.seed_interval(values)
