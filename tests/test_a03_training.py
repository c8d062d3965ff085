"""The solutions of assignment 3 against torch, gradients worked out by hand and brute force, on random data."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import assignments


@pytest.fixture(scope="module")
def solved() -> dict[str, Any]:
    """The solutions by name."""
    return assignments.find(["a03"])[0].solved()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.35, 1.0])
@pytest.mark.parametrize("sd", [1.0, 30.0, 1000.0])
def test_cross_entropy_is_torchs(solved: dict[str, Any], smoothing: float, sd: float):
    rng = np.random.default_rng(int(sd))
    for n, classes in ((1, 2), (6, 7), (7, 7), (40, 3)):
        logits, labels = rng.normal(0, sd, (n, classes)), rng.integers(0, classes, n)
        before = logits.copy()
        theirs = F.cross_entropy(torch.tensor(logits), torch.tensor(labels), label_smoothing=smoothing).item()
        ours = solved["cross_entropy"](logits, labels, smoothing)
        assert type(ours) is float
        assert ours == pytest.approx(theirs, rel=1e-9)
        np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_train_step_follows_the_gradient_worked_out_by_hand(solved: dict[str, Any], momentum: float):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5, 3))
    model = torch.nn.Linear(3, 5, bias=False, dtype=torch.float64)
    model.weight.data = torch.tensor(weight)
    model.weight.grad = torch.full((5, 3), 7.0, dtype=torch.float64)
    model.eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=momentum)
    pace = np.zeros_like(weight)
    for n in (4, 1, 9):
        x, y = rng.normal(size=(n, 3)), rng.integers(0, 5, n)
        odds = np.exp(x @ weight.T)
        p = odds / odds.sum(1, keepdims=True)
        loss = solved["train_step"](model, torch.tensor(x), torch.tensor(y), optimizer)
        assert type(loss) is float
        assert loss == pytest.approx(-np.log(p[np.arange(n), y]).mean())
        pace = momentum * pace + (p - np.eye(5)[y]).T @ x / n
        weight = weight - 0.3 * pace
        np.testing.assert_allclose(model.weight.detach(), weight)
        assert model.training


def test_train_step_calls_the_model_once_and_in_training_mode(solved: dict[str, Any]):
    torch.manual_seed(0)
    parts = [torch.nn.Flatten(), torch.nn.BatchNorm1d(12), torch.nn.Dropout(0.5), torch.nn.Linear(12, 7)]
    model = torch.nn.Sequential(*parts).eval()
    modes = []
    model.register_forward_hook(lambda module, given, found: modes.append(module.training))
    twin = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.BatchNorm1d(12), torch.nn.Dropout(0.5), torch.nn.Linear(12, 7)
    )
    twin.load_state_dict(model.state_dict())
    batch, labels = torch.randn(6, 1, 3, 4), torch.randint(0, 7, (6,))
    torch.manual_seed(1)  # the same dropout in both
    loss = solved["train_step"](model, batch, labels, torch.optim.Adam(model.parameters(), lr=0.01))
    torch.manual_seed(1)
    theirs = F.cross_entropy(twin(batch), labels)
    theirs.backward()
    torch.optim.Adam(twin.parameters(), lr=0.01).step()
    assert modes == [True]
    assert loss == pytest.approx(theirs.item())
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor)


@pytest.mark.parametrize("seed", range(5))
def test_epoch_accuracy_is_that_of_all_faces_in_one_batch(solved: dict[str, Any], seed: int):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(10, 90))
    logits, labels = rng.normal(size=(n, 7)).astype(np.float32), rng.integers(0, 7, n)
    logits[np.arange(n), labels] += 1.5
    cuts = np.sort(rng.choice(np.arange(1, n), 4, replace=False))
    parts = zip(np.split(logits, cuts), np.split(labels, cuts), strict=True)
    found = solved["epoch_accuracy"]([(torch.tensor(z), torch.tensor(y)) for z, y in parts])
    right = [max(range(7), key=row.__getitem__) == label for row, label in zip(logits.tolist(), labels, strict=True)]
    assert 0.2 < found < 1
    assert found == pytest.approx(sum(right) / n)


def by_definition(losses: list[float], patience: int) -> tuple[int | None, int]:
    """Early stopping, read off the whole history at each epoch."""

    def is_new_best(epoch: int) -> bool:
        earlier = [loss for loss in losses[: epoch - 1] if not math.isnan(loss)]
        loss = losses[epoch - 1]
        return not math.isnan(loss) and all(loss < other for other in earlier)

    good = [is_new_best(epoch) for epoch in range(1, len(losses) + 1)]
    ends = [stop for stop in range(patience, len(losses) + 1) if not any(good[stop - patience : stop])]
    stop = ends[0] if ends else len(losses)
    known = losses[:stop]
    numbers = [loss for loss in known if not math.isnan(loss)]
    return (known.index(min(numbers)) + 1 if numbers else None), stop


@pytest.mark.parametrize("patience", [1, 2, 3, 5])
def test_early_stop_is_its_definition(solved: dict[str, Any], patience: int):
    rng = np.random.default_rng(patience)
    ends = set()
    for _ in range(400):
        n = int(rng.integers(1, 14))
        losses = (rng.integers(0, 9, n) / 4 - np.arange(n) / 8 * rng.integers(0, 2)).tolist()  # with equals
        losses = [math.nan if rng.random() < 0.2 else loss for loss in losses]
        best, stop = solved["early_stop"](losses, patience)
        assert (best, stop) == by_definition(losses, patience), losses
        ends.add((best is None, stop == n))
    assert len(ends) > 2
