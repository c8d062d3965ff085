"""Settings, optimizers and their groups, schedules against torch, class weights, the choice of precision."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from ferlib.data import FaceDataset
from ferlib.models import FaceModel, build_model, freeze
from ferlib.models.networks import PlainCNN
from ferlib.training import TrainConfig
from ferlib.training.optim import (
    balance_weights,
    build_optimizer,
    choose_precision,
    class_weights,
    lr_factor,
    supports,
)
from ferlib.transforms import InputSpec

TINY = {"widths": (8, 8, 8, 8), "depths": (1, 1, 1)}


def small(**changes) -> TrainConfig:
    return dataclasses.replace(TrainConfig(epochs=3, batch_size=16, precision="fp32", lr=0.01), **changes)


@pytest.mark.parametrize(
    ("schedule", "step", "factor"),
    [
        ("linear", 0, 1 / 16), ("linear", 14, 15 / 16), ("linear", 15, 1.0), ("linear", 100, 0.0),
        ("linear", 57.5, 0.5), ("cosine", 15, 1.0), ("cosine", 57.5, 0.5), ("cosine", 100, 0.0),
        ("cosine", 36.25, (1 + math.cos(math.pi / 4)) / 2), ("constant", 0, 1.0), ("plateau", 99, 1.0),
    ],
)  # fmt: skip
def test_learning_rate_rises_then_falls_as_documented(schedule: str, step: float, factor: float):
    assert lr_factor(step, 100, TrainConfig(schedule=schedule, warmup=0.15)) == pytest.approx(factor)


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.3), (37, 0.25), (400, 0.15)])
def test_onecycle_is_torchs(steps: int, warmup: float):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=steps, pct_start=warmup)
    config = TrainConfig(schedule="onecycle", warmup=warmup)
    for step in range(steps):
        assert lr_factor(step, steps, config) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        if step + 1 < steps:
            theirs.step()


def test_vectors_are_not_decayed_and_optimizers_are_the_ones_named():
    model = build_model("fernet", **TINY)
    for name, kind in (("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)):
        optimizer = build_optimizer(model, small(optimizer=name, weight_decay=0.05))
        assert type(optimizer) is kind
        for group in optimizer.param_groups:
            kinds = {parameter.ndim > 1 for parameter in group["params"]}
            assert kinds == {group["weight_decay"] > 0}
    assert optimizer.param_groups[0]["nesterov"] is True


def test_frozen_parameters_stay_out_of_the_optimizer():
    model = build_model("fernet", **TINY)
    model.network.stem.requires_grad_(False)
    count = sum(len(group["params"]) for group in build_optimizer(model, small()).param_groups)
    assert count == len(list(model.parameters())) - 2


def test_parts_have_their_own_rates_and_the_longest_name_wins():
    model = build_model("fernet", **TINY)
    config = small(lr_scales=(("stages", 0.5), ("stages.2", 0.1)), weight_decay=0.05)
    groups = build_optimizer(model, config).param_groups
    found = {(group["name"], group["weight_decay"]): (group["lr"], len(group["params"])) for group in groups}
    assert found == {
        ("stages", 0.05): (0.005, 4), ("stages", 0.0): (0.005, 8), ("stages.2", 0.05): (0.001, 2),
        ("stages.2", 0.0): (0.001, 4), ("rest", 0.05): (0.01, 2), ("rest", 0.0): (0.01, 2),
    }  # fmt: skip


def test_a_part_that_is_not_there_and_one_that_is_frozen_are_told():
    model = build_model("fernet", **TINY)
    with pytest.raises(ValueError, match="lr_scales names 'stage', which the model does not have"):
        build_optimizer(model, small(lr_scales=(("stage", 0.5),)))
    freeze(model, ["head"])
    with pytest.warns(UserWarning, match="stem has a learning rate but is frozen: its weights will not change"):
        optimizer = build_optimizer(model, small(lr_scales=(("stem", 0.1),)))
    assert [group["name"] for group in optimizer.param_groups] == ["stem", "stem", "rest", "rest"]


def test_a_warmup_of_one_step_and_a_whole_named_part_by_part_are_fine():
    assert lr_factor(0, 10, TrainConfig(schedule="onecycle", warmup=0.1)) == 1.0
    model = build_model("fernet", **TINY)
    groups = build_optimizer(
        model, small(lr_scales=(("head", 0.5), ("head.weight", 0.1), ("head.bias", 0.2)))
    ).param_groups
    assert [group["name"] for group in groups] == ["rest", "rest", "head.weight", "head.bias"]
    with pytest.raises(ValueError, match="no parameter is trainable; train a part"):
        build_optimizer(model.requires_grad_(False), small())


def test_class_weights_even_the_classes_out():
    labels = [0] * 6 + [3] * 3 + [5]
    table = pd.DataFrame({"label": labels, "split": "Training", "row": range(10)})
    faces = FaceDataset(np.zeros((10, 4, 4), np.uint8), table, "few")
    weights = class_weights(faces)
    assert weights.tolist() == pytest.approx([10 / 18, 0, 0, 10 / 9, 0, 10 / 3, 0])
    assert sum(weights[label].item() for label in labels) == pytest.approx(10)
    own = FaceDataset.from_arrays(np.zeros((6, 4, 4), np.uint8), [1, 1, 1, 1, 0, 0], classes=("open", "shut"))
    assert class_weights(own).tolist() == pytest.approx([6 / 4, 6 / 8])
    assert class_weights(Subset(faces, [0, 1, 6, 9])).tolist() == pytest.approx([4 / 6, 0, 0, 4 / 3, 0, 4 / 3, 0])
    assert class_weights(ConcatDataset([faces, faces])).tolist() == pytest.approx(weights.tolist())
    soft = np.full((10, 7), 1 / 7, np.float32)
    assert class_weights(dataclasses.replace(faces, targets=soft)).tolist() == weights.tolist()


class Bare(Dataset):
    """No labels, no classes: each sample has to be taken."""

    labelled = (0, 0, 2, 0)

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.zeros(1, 4, 4), self.labelled[index]


def test_balance_is_of_the_classes_in_the_loss_or_of_the_faces_in_the_drawing():
    faces = FaceDataset.from_arrays(np.zeros((4, 4, 4), np.uint8), [0, 0, 2, 0])
    for dataset, count in ((faces, 7), (Subset(faces, range(4)), 7), (Bare(), 5)):
        assert balance_weights(dataset, small(), count) == (None, None)
        weights, drawing = balance_weights(dataset, small(balance="loss"), count)
        assert weights.dtype == torch.float32 and drawing is None
        assert weights.tolist() == pytest.approx([2 / 3, 0, 2] + [0] * (count - 3)), "one a class of the network"
        weights, drawing = balance_weights(dataset, small(balance="sampling"), count)
        assert weights is None and drawing == pytest.approx([2 / 3, 2 / 3, 2, 2 / 3])


def test_a_bare_network_and_one_with_a_spec_are_optimised_alike():
    bare, model = PlainCNN(), build_model("plain_cnn")
    for network in (bare, FaceModel(bare, InputSpec(48)), model):
        config = small(lr_scales=(("features", 0.1),), weight_decay=0.05)
        groups = build_optimizer(network, config).param_groups
        assert {(group["name"], group["lr"]) for group in groups} == {("features", 0.001), ("rest", 0.01)}
        mine = {id(parameter) for parameter in network.parameters()}
        assert {id(parameter) for group in groups for parameter in group["params"]} == mine
        with pytest.raises(ValueError, match="lr_scales names 'network.features', which the model does not have"):
            build_optimizer(network, small(lr_scales=(("network.features", 0.1),)))


def test_settings_are_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        TrainConfig(3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "muon"}, "optimizer is 'muon'; allowed are adamw, adam, sgd"),
        ({"schedule": "step"}, "schedule is 'step'; allowed are linear, onecycle, cosine, plateau, constant"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"keep": "all"}, "keep is 'all'; allowed are last, best"),
        ({"epochs": 0}, "epochs is 0; it must be a whole number of at least 1"),
        ({"lr": -1.0}, "lr is -1.0; it must be a number of at least 0"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0; it must be a number from 0 up to 1, without 1"),
        ({"ema": 1.5}, "ema is 1.5"),
        ({"seed": -1}, "seed is -1; it must be a whole number of at least 0"),
        ({"patience": 0}, "patience is 0; it must be a whole number of at least 1"),
        ({"clip_norm": 0}, "clip_norm is 0; it must be a number above 0"),
        ({"balance": "both"}, "balance is 'both'; allowed are none, loss, sampling"),
        ({"distill": 1.0}, "distill is 1.0; it must be a number from 0 up to"),
        ({"distill_temperature": 0}, "distill_temperature is 0; it must be a number above 0"),
        ({"epochs": 2.5}, "epochs is 2.5; it must be a whole number"),
        ({"mixup": -1}, "mixup is -1; it must be a number of at least 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lr": "1e-3"}, "lr is '1e-3'; it must be a number"),
        ({"batch_size": None}, "batch_size is None; it must be a whole number"),
        ({"progressive": (36, 24)}, r"progressive is \(36, 24\); it must be a size in px and a share of the epochs"),
        ({"progressive": (36, None)}, r"progressive is \(36, None\); it must be a size"),
        ({"progressive": 36}, "progressive is 36; it must be a size in px and a share"),
        ({"progressive": (0.5, 36)}, r"progressive is \(0.5, 36\); it must be a size"),
    ],
)
def test_bad_settings_are_explained(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_numpys_numbers_become_pythons():
    """`torch.load` refuses NumPy's numbers in a state file, so that a run with them could never be resumed."""
    config = small(
        lr=np.float64(0.01), epochs=np.int64(2), lr_scales=[["head", np.float32(0.5)]], progressive=[36, 0.5]
    )
    assert config == small(lr=0.01, epochs=2, lr_scales=(("head", 0.5),), progressive=(36, 0.5))
    assert [type(value) for value in (config.lr, config.epochs, config.lr_scales[0][1])] == [float, int, float]
    spec = InputSpec(np.int64(64), channels=np.int64(1))
    assert (type(spec.size), type(spec.channels)) == (int, int)


def test_precision_is_chosen_by_rule(monkeypatch: pytest.MonkeyPatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    dense, depthwise = build_model("fernet", **TINY), build_model("mobilenetv3_small_100")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert choose_precision(dense, cpu) == "bf16"
    assert choose_precision(depthwise, cpu) == "fp32"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    assert choose_precision(dense, cpu) == "fp32"
    for native in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, native=native: native)
        assert choose_precision(dense, cuda) == ("bf16" if native else "fp16")
        assert supports(cuda, "bf16") is native and supports(cuda, "fp16") and supports(cuda, "fp32")
    assert choose_precision(dense, torch.device("mps")) == "fp32"
    for device, able in (("cpu", ["fp32", "bf16"]), ("mps", ["fp32"])):
        assert [name for name in ("fp32", "bf16", "fp16") if supports(torch.device(device), name)] == able
