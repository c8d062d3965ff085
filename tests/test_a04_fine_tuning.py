"""The solutions of assignment 4 against PyTorch, timm, ferlib and the definition itself, on random data."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from timm.models import adapt_input_conv
from torch import nn

import assignments
from ferlib import models
from ferlib.training.optim import TrainConfig, build_optimizer, lr_factor

MEANS, SDS = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # ImageNet's


@pytest.fixture(scope="module")
def solved() -> dict[str, Any]:
    """The solutions by name; the last cell, which trains, takes it for a grader's run and rests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBGRADER_EXECUTION", "autograde")
        return assignments.find(["a04"])[0].solved()


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("settings", [{}, {"stride": 2}, {"dilation": 2, "stride": (1, 2)}, {"padding": 1}])
def test_a_gray_layer_answers_as_the_colour_layer_did(solved: dict[str, Any], biased: bool, settings: dict[str, Any]):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, (3, 2), bias=biased, **settings)
    before = copy.deepcopy(conv.state_dict())
    gray = solved["gray_conv"](conv, MEANS, SDS, 0.5077, 0.2550)
    p = torch.rand(4, 1, 11, 9)
    colours = torch.cat([(p - mean) / sd for mean, sd in zip(MEANS, SDS, strict=True)], 1)
    answer, expected = gray((p - 0.5077) / 0.2550), conv(colours)
    inside = np.s_[..., 1:-1, 1:-1] if "padding" in settings else np.s_[...]  # the padded border cannot agree
    torch.testing.assert_close(answer[inside], expected[inside], atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in conv.state_dict().items())
    assert (gray.in_channels, gray.stride, gray.padding) == (1, conv.stride, conv.padding)


def test_a_gray_layer_is_timms_sum_where_all_channels_hold_the_same_numbers(solved: dict[str, Any]):
    torch.manual_seed(1)
    conv = nn.Conv2d(3, 8, 3)
    gray = solved["gray_conv"](conv, [0.45] * 3, [0.225] * 3, 0.45, 0.225)
    torch.testing.assert_close(gray.weight, adapt_input_conv(1, conv.weight))
    torch.testing.assert_close(gray.bias, conv.bias)


@pytest.mark.parametrize("trainable", [["head"], ["stages.1", "head"], ["stages.2.0"], []])
def test_freeze_is_ferlibs_and_stands_still(solved: dict[str, Any], trainable: list[str]):
    torch.manual_seed(2)
    model = models.build_model("fernet", drop_rate=0.0).network.eval()
    theirs = models.freeze(copy.deepcopy(model), trainable)
    solved["freeze"](model, ["stem"])
    solved["freeze"](model, trainable)
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in theirs.parameters()]
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model(torch.randn(8, 1, 48, 48))
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            moved = not torch.equal(module.running_mean, before[f"{name}.running_mean"])
            assert moved == module.weight.requires_grad, name
            assert module.training == module.weight.requires_grad, name
    assert model.training


def test_param_groups_are_those_of_build_optimizer(solved: dict[str, Any]):
    model = models.freeze(models.build_model("fernet").network, ["stages.1", "stages.2", "head"])
    groups = solved["param_groups"](model, "head", 0.001, 0.01, 0.05)
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    def by_name(several: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
        rows = [(names[id(p)], group["lr"], group["weight_decay"]) for group in several for p in group["params"]]
        return sorted(rows)

    config = TrainConfig(lr=0.001, weight_decay=0.05, lr_scales=(("head", 10.0),))
    mine, theirs = by_name(groups), by_name(build_optimizer(model, config).param_groups)
    assert [row[0] for row in mine] == [row[0] for row in theirs]
    np.testing.assert_allclose([row[1:] for row in mine], [row[1:] for row in theirs])
    assert torch.optim.SGD(groups).param_groups


@pytest.mark.parametrize(("epochs", "batches", "warmup"), [(3, 10, 8), (1, 20, 5), (5, 7, 1), (2, 50, 29)])
def test_one_cycle_is_pytorchs_and_ferlibs(solved: dict[str, Any], epochs: int, batches: int, warmup: int):
    total, peak = epochs * batches, 0.7
    rates = solved["one_cycle"](epochs, batches, warmup, peak, peak / 25, peak * 4e-6)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    rule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps=total, pct_start=(warmup + 1) / total, cycle_momentum=False
    )
    theirs = []
    for _ in range(total):
        theirs.append(rule.get_last_lr()[0])
        optimizer.step()
        if len(theirs) < total:
            rule.step()
    np.testing.assert_allclose(rates, theirs, atol=1e-12, rtol=1e-9)
    plan = TrainConfig(schedule="onecycle", warmup=(warmup + 1) / total)
    np.testing.assert_allclose(rates, [peak * lr_factor(step, total, plan) for step in range(total)], atol=1e-12)


def test_one_cycle_without_a_way_up_begins_at_the_peak(solved: dict[str, Any]):
    rates = solved["one_cycle"](2, 6, 0, 0.9, 0.1, 0.01)
    assert rates[0] == pytest.approx(0.9)
    assert rates[-1] == pytest.approx(0.01)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("most", [0.1, 3.0, 1000.0])
def test_clipping_is_pytorchs(solved: dict[str, Any], most: float):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    model[0].bias.requires_grad = False
    model(torch.randn(9, 6)).square().sum().backward()
    twin = copy.deepcopy(model)
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        theirs.grad = None if mine.grad is None else mine.grad.clone()
    norm = solved["clip_by_norm"](model.parameters(), most)
    assert norm == pytest.approx(nn.utils.clip_grad_norm_(twin.parameters(), most).item(), rel=1e-5)
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        if theirs.grad is None:
            assert mine.grad is None
        else:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)
