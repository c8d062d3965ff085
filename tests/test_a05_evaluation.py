"""The solutions of assignment 5 against scikit-learn, SciPy, ferlib and plain loops, on random data."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import confusion_matrix, f1_score, log_loss

import assignments
from ferlib import evaluation


@pytest.fixture(scope="module")
def solved() -> dict[str, Any]:
    """The solutions by name; the last cell, which asks ferlib for data, takes it for a grader's run and rests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBGRADER_EXECUTION", "autograde")
        return assignments.find(["a05"])[0].solved()


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def some_predictions(seed: int, n: int = 400, scale: float = 2.0) -> evaluation.Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, n)
    logits = scale * (rng.normal(0, 1, (n, 7)) + np.eye(7)[labels])
    return evaluation.Predictions(logits.astype(np.float32), labels)


@pytest.mark.parametrize("seed", range(5))
def test_confusion_and_macro_f1_are_scikit_learns(solved: dict[str, Any], seed: int):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 9))
    present = rng.permutation(classes)[: rng.integers(1, classes + 1)]
    labels, predicted = rng.choice(present, 30), rng.choice(present, 30)
    matrix = solved["confusion"](labels, predicted, classes)
    np.testing.assert_array_equal(matrix, confusion_matrix(labels, predicted, labels=range(classes)))
    there = np.union1d(labels, predicted)
    expected = f1_score(labels, predicted, labels=there, average="macro", zero_division=0)
    assert solved["macro_f1"](matrix) == pytest.approx(expected)


def test_confusion_and_macro_f1_are_ferlibs(solved: dict[str, Any]):
    for seed in range(4):
        some = some_predictions(seed, n=12)
        matrix = solved["confusion"](some.labels, some.predicted, 7)
        np.testing.assert_array_equal(matrix, some.confusion())
        assert solved["macro_f1"](matrix) == pytest.approx(evaluation.metrics_of(matrix)["macro_f1"])


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_paired_interval_redraws_faces_with_both_answers(solved: dict[str, Any], level: float):
    rng = np.random.default_rng(int(100 * level))
    n, resamples = 37, 101
    a, b = rng.random((2, n)) < [[0.6], [0.7]]
    draws = rng.integers(0, n, (resamples, n))
    gains = sorted(sum(int(b[i]) - int(a[i]) for i in row) / n for row in draws)

    def quantile(share: float) -> float:
        place = share * (resamples - 1)
        below = int(place)
        return gains[below] + (place - below) * (gains[min(below + 1, resamples - 1)] - gains[below])

    expected = quantile((1 - level) / 2), quantile((1 + level) / 2)
    assert solved["paired_interval"](a, b, draws, level) == pytest.approx(expected)


def test_paired_interval_is_that_of_compare(solved: dict[str, Any]):
    a = some_predictions(1, n=1500)
    noise = np.random.default_rng(2).normal(0, 1, a.logits.shape).astype(np.float32)
    b = evaluation.Predictions(a.logits + noise, a.labels)
    draws = np.random.default_rng(3).integers(0, 1500, (2000, 1500))
    low, high = solved["paired_interval"](a.correct, b.correct, draws, 0.95)
    expected = evaluation.compare(a, b).difference.loc["accuracy", ["low", "high"]].to_numpy(float)
    np.testing.assert_allclose([low, high], expected, atol=0.004)  # of two sets of redrawn tests


@pytest.mark.parametrize("bins", [1, 4, 10, 15])
def test_ece_is_ferlibs_and_that_of_plain_loops(solved: dict[str, Any], bins: int):
    for seed in range(4):
        some = some_predictions(seed, scale=0.5 + seed)
        sure = some.probabilities.max(1).astype(float)
        found = solved["ece"](sure, some.correct, bins)
        assert found == pytest.approx(evaluation.ece(some, bins=bins), abs=1e-6)
        total = 0.0
        for k in range(bins):
            inside = [i for i, p in enumerate(sure) if k / bins < p <= (k + 1) / bins]
            if inside:
                total += abs(sum(sure[i] for i in inside) - sum(some.correct[i] for i in inside))
        assert found == pytest.approx(total / len(sure), abs=1e-6)


def test_ece_keeps_certain_answers(solved: dict[str, Any]):
    sure, right = np.array([1.0, 1.0, 0.5]), np.array([True, False, True])
    assert solved["ece"](sure, right, 2) == pytest.approx((2 * 0.5 + 0.5) / 3)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_temperature_is_ferlibs_and_scipys(solved: dict[str, Any], scale: float):
    some = some_predictions(7, n=900, scale=scale)
    splits = np.random.default_rng(0).choice(["Training", "PublicTest", "PrivateTest"], 900)
    asked = some.subset(splits == "PublicTest")
    logits, grid = some.logits.astype(float), np.exp(np.linspace(np.log(0.06), np.log(15), 800))
    found = solved["fit_temperature"](logits, some.labels, splits, grid)
    assert found in grid
    assert found == pytest.approx(evaluation.fit_temperature(asked), rel=0.005)
    given = asked.logits.astype(float)
    least = minimize_scalar(lambda t: log_loss(asked.labels, softmax(given / t)), bounds=(0.06, 15), method="bounded")
    assert found == pytest.approx(least.x, rel=0.01)
    assert solved["fit_temperature"](logits + 2000, some.labels, splits, grid) == found


def test_temperature_asks_publictest_alone(solved: dict[str, Any]):
    some = some_predictions(11, n=600)
    splits = np.repeat(["PublicTest", "Training", "PrivateTest"], 200)
    logits, grid = some.logits.astype(float), [0.25, 0.5, 1.0, 1.5, 2.0, 3.0]
    found = solved["fit_temperature"](logits, some.labels, splits, grid)
    spoiled = some.labels.copy()
    spoiled[200:] = 0
    assert solved["fit_temperature"](logits, spoiled, splits, grid) == found
    losses = [log_loss(some.labels[:200], softmax(logits[:200] / t)) for t in grid]
    assert found == grid[int(np.argmin(losses))]


def test_the_written_part_has_a_rubric():
    one = assignments.find(["a05"])[0]
    written = [cell for cell in one.read().cells if cell.cell_type == "markdown" and assignments.grade_id(cell)]
    ids = {assignments.grade_id(cell) for cell in written if cell.metadata["nbgrader"]["grade"]}
    assert ids == {"claim", "gap", "request"}
    assert all(f"({name})" in one.key.RUBRIC for name in ids)
