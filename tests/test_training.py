"""The loop: losses against torch, resume bit for bit, early stopping, what is kept, the learning-rate finder."""

import dataclasses
import multiprocessing
import subprocess
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import set_seed

from ferlib import sample, training
from ferlib.data import FaceDataset, loader
from ferlib.evaluation import predict
from ferlib.models import FaceModel, build_model, freeze, load_model, model_hash
from ferlib.training import TrainConfig, fit
from ferlib.training.loop import _mixup, train_one_epoch, validate
from ferlib.training.lr_finder import find_lr, suggest_lr
from ferlib.training.optim import build_optimizer, lr_factor
from ferlib.training.run import Run, _build_accelerator
from ferlib.training.trainer import check_workers
from ferlib.transforms import BatchAugment, EvalTransform, InputSpec, light

TINY = {"widths": (8, 8, 8, 8), "depths": (1, 1, 1)}


@pytest.fixture(scope="module")
def faces() -> FaceDataset:
    images, _ = sample.draw(140, seed=5)
    split = ["Training"] * 105 + ["PublicTest"] * 35
    return FaceDataset(
        images, pd.DataFrame({"label": [i % 7 for i in range(140)], "split": split, "row": range(140)}), "tiny"
    )


def small(**changes) -> TrainConfig:
    return dataclasses.replace(TrainConfig(epochs=3, batch_size=16, precision="fp32", lr=0.01), **changes)


def run(faces: FaceDataset, config: TrainConfig, **options) -> training.FitResult:
    torch.manual_seed(config.seed)
    model = build_model("fernet", classes=faces.classes, **TINY)
    train, val = faces.subset("Training"), faces.subset("PublicTest")
    return fit(
        model, train, val, config, train_transform=BatchAugment(InputSpec(), erase=0.3), progress=False, **options
    )


def history_of(result: training.FitResult) -> pd.DataFrame:
    return result.history.drop(columns="seconds")


def test_one_plain_step_is_torchs(faces: FaceDataset):
    config = small(optimizer="sgd", momentum=0.0, weight_decay=0.0, label_smoothing=0.2, clip_norm=None, lr=0.1)
    torch.manual_seed(0)
    model, twin = build_model("plain_cnn", drop_rate=0.0), build_model("plain_cnn", drop_rate=0.0)
    twin.load_state_dict(model.state_dict())
    prepare = EvalTransform(InputSpec())
    images, labels = next(iter(loader(faces, 16)))
    loss, accuracy = train_one_epoch(
        model, [(images, labels)], prepare, build_optimizer(model, config), Accelerator(), config
    )

    logits = twin(prepare(images))
    smooth = F.one_hot(labels, 7) * 0.8 + 0.2 / 7  # label smoothing, written out
    want = -(smooth * logits.log_softmax(1)).sum(1).mean()
    want.backward()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter -= 0.1 * parameter.grad
    assert loss == pytest.approx(want.item(), rel=1e-5)
    assert accuracy == (logits.argmax(1) == labels).sum().item() / 16
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_clipping_bounds_the_whole_gradient(faces: FaceDataset):
    config = small(optimizer="sgd", momentum=0.0, weight_decay=0.0, clip_norm=0.01, lr=1.0)
    torch.manual_seed(0)
    model = build_model("plain_cnn", drop_rate=0.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    batch = next(iter(loader(faces, 16)))
    train_one_epoch(model, [batch], EvalTransform(InputSpec()), build_optimizer(model, config), Accelerator(), config)
    moved = sum(((a - b) ** 2).sum() for a, b in zip(model.parameters(), before, strict=True)).sqrt()
    assert moved.item() == pytest.approx(0.01, rel=1e-3)


def test_epoch_means_weigh_every_face_alike(faces: FaceDataset):
    model = build_model("plain_cnn")
    batches = loader(faces, 100)  # batches of 100 and 40
    loss, accuracy = validate(model, Accelerator().prepare(batches), EvalTransform(InputSpec()), Accelerator())
    with torch.no_grad():
        logits = model.eval()(EvalTransform(InputSpec())(torch.from_numpy(faces.images)[:, None]))
    labels = torch.tensor(faces.labels)
    assert loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert accuracy == (logits.argmax(1) == labels).sum().item() / 140


def test_history_has_a_row_an_epoch_with_figures_that_fit(faces: FaceDataset):
    result = run(faces, small())
    history = result.history
    assert history["epoch"].tolist() == [1, 2, 3] and result.stopped == "finished" and result.precision == "fp32"
    assert history["images_seen"].tolist() == [96, 192, 288]
    assert (history["val_accuracy"] * 35 % 1).abs().max() == pytest.approx(0, abs=1e-9)
    steps = 6 * 3
    assert history["lr"].tolist() == pytest.approx([0.01 * lr_factor(step, steps, small()) for step in (0, 6, 12)])
    assert result.best_epoch == history["val_accuracy"].argmax() + 1
    assert not result.model.training


def test_training_learns_what_can_be_learned(faces: FaceDataset):
    train = faces.subset("Training")
    easy = dataclasses.replace(
        train, images=(train.labels * 36)[:, None, None].repeat(48, 1).repeat(48, 2).astype(np.uint8)
    )
    torch.manual_seed(0)
    result = fit(build_model("fernet", **TINY), easy, easy, small(epochs=25), progress=False)
    assert result.history["val_accuracy"].iloc[-1] > 0.95
    assert result.history["train_loss"].iloc[-1] < result.history["train_loss"].iloc[0] - 0.5


def interrupted_after_one_epoch(faces: FaceDataset, config: TrainConfig, out: Path, monkeypatch: pytest.MonkeyPatch):
    """A run that Ctrl-C ends in the middle of its second epoch."""
    real = Run.after_step

    def after_step(self):
        real(self)
        if self.step == 8:  # an epoch has 6 steps
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "after_step", after_step)
        part = run(faces, config, out=out)
    assert part.stopped == "interrupted" and len(part.history) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"ema": 0.9, "progressive": (32, 0.5)},
        {"schedule": "plateau", "optimizer": "sgd"},
        {"schedule": "cosine", "keep": "best", "mixup": 0.4, "cutmix": 1.0},
        {"workers": 2, "schedule": "onecycle", "balance": "sampling"},
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(faces: FaceDataset, tmp_path, monkeypatch, changes):
    config = small(**changes)
    if config.workers:
        faces = dataclasses.replace(faces, transform=light())
    whole = run(faces, config, out=tmp_path / "whole")
    interrupted_after_one_epoch(faces, config, tmp_path / "part", monkeypatch)
    resumed = run(faces, config, out=tmp_path / "part", resume=True)
    pd.testing.assert_frame_equal(history_of(whole), history_of(resumed), check_exact=True)
    assert model_hash(whole.model) == model_hash(resumed.model)
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == (
        tmp_path / "part" / "model.safetensors"
    ).read_bytes()
    written = pd.read_csv(tmp_path / "part" / "history.csv")
    pd.testing.assert_frame_equal(written.drop(columns="seconds"), history_of(resumed), check_exact=False)


def test_a_run_from_another_device_takes_this_ones_kernels(faces: FaceDataset, tmp_path, monkeypatch):
    """A run that a GPU began has no fused optimizer; on a CPU it gets one, and the other way round."""
    interrupted_after_one_epoch(faces, small(), tmp_path, monkeypatch)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    groups = state["optimizer"]["param_groups"]
    assert [group["fused"] for group in groups] == [True] * len(groups)
    for group in groups:
        group["fused"] = False
    torch.save(state, tmp_path / "state.pt")
    run(faces, small(), out=tmp_path, resume=True)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert all(group["fused"] for group in state["optimizer"]["param_groups"])


def test_balance_by_loss_is_torchs_weighted_cross_entropy(faces: FaceDataset):
    config = small(balance="loss", label_smoothing=0.1)
    model = build_model("plain_cnn", drop_rate=0.0)
    batch = next(iter(loader(faces, 16)))
    weights = torch.tensor([1.0, 9.0, 1.0, 0.5, 1.0, 2.0, 1.0])
    with torch.no_grad():
        logits = model(EvalTransform(InputSpec())(batch[0]))
    want = torch.nn.CrossEntropyLoss(weights, label_smoothing=0.1)(logits, batch[1]).item()
    optimizer = build_optimizer(model, config)
    loss, _ = train_one_epoch(
        model, [batch], EvalTransform(InputSpec()), optimizer, Accelerator(), config, weights=weights
    )
    assert loss == pytest.approx(want, rel=1e-5)


def test_balance_by_sampling_draws_rare_classes_as_often(faces: FaceDataset, monkeypatch):
    seen: list[list[int]] = []
    real = train_one_epoch

    def watch(model, batches, *args, **kwargs):
        seen.append([label for _, labels in batches for label in labels.tolist()])
        return real(model, batches, *args, **kwargs)

    monkeypatch.setattr("ferlib.training.run.train_one_epoch", watch)
    table = faces.table.assign(label=[0 if i % 10 else 1 for i in range(140)])  # one in ten
    rare = dataclasses.replace(faces, table=table, classes=("often", "rarely"))
    run(rare, small(epochs=4, balance="sampling"))
    share = np.mean([np.mean(epoch) for epoch in seen])
    assert 0.4 < share < 0.6, "384 draws of an even coin lie within 0.4 to 0.6"
    assert len({tuple(epoch) for epoch in seen}) == 4
    seen.clear()
    run(rare, small(epochs=4))
    assert np.mean([np.mean(epoch) for epoch in seen]) < 0.15


def test_mixup_blends_pairs_of_faces_and_their_labels(faces: FaceDataset, monkeypatch):
    """Against the sum written out: lam * (face, label) + (1 - lam) * (the batch's reverse)."""
    config = small(mixup=0.5, label_smoothing=0.0, clip_norm=None)
    images, labels = next(iter(loader(faces, 16)))
    model, prepare = build_model("plain_cnn", drop_rate=0.0), EvalTransform(InputSpec())
    monkeypatch.setattr(np.random, "beta", lambda *_: 0.7)
    with torch.no_grad():
        x, y = prepare(images), F.one_hot(labels, 7).float()
        want = F.cross_entropy(model(0.7 * x + 0.3 * x.flip(0)), 0.7 * y + 0.3 * y.flip(0)).item()
    loss, _ = train_one_epoch(model, [(images, labels)], prepare, build_optimizer(model, config), Accelerator(), config)
    assert loss == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("settings", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_soft_labels_are_blended_as_hard_ones(settings):
    torch.manual_seed(0)
    images, labels = torch.rand(16, 1, 48, 48), torch.randint(7, (16,))
    changed = 0
    for seed in range(4):
        blended = []
        for targets in (labels, F.one_hot(labels, 7).float()):
            np.random.seed(seed)  # noqa: NPY002 - timm draws from it
            blended.append(_mixup(small(**settings), 7)(images.clone(), targets))
        torch.testing.assert_close(*(faces for faces, _ in blended))
        torch.testing.assert_close(*(mixed for _, mixed in blended))
        changed += not torch.equal(blended[0][0], images)  # cutmix may draw a box of no pixels
    assert changed >= 2


def test_distillation_is_hintons_with_the_teacher_held_still(faces: FaceDataset):
    config = small(distill=0.7, distill_temperature=3.0, label_smoothing=0.0, clip_norm=None)
    model, teacher = build_model("plain_cnn", drop_rate=0.0), build_model("fernet", **TINY).eval()
    images, labels = next(iter(loader(faces, 16)))
    prepare, before = EvalTransform(InputSpec()), model_hash(teacher)
    with torch.no_grad():
        student, taught = model(prepare(images)), teacher(prepare(images))
    p, q = (taught / 3).softmax(1), (student / 3).softmax(1)
    want = 0.3 * F.cross_entropy(student, labels) + 0.7 * 9 * (p * (p / q).log()).sum(1).mean()
    optimizer = build_optimizer(model, config)
    loss, _ = train_one_epoch(model, [(images, labels)], prepare, optimizer, Accelerator(), config, teacher=teacher)
    assert loss == pytest.approx(want.item(), rel=1e-4)
    assert model_hash(teacher) == before


def test_a_teacher_and_its_share_go_together_and_are_part_of_the_run(faces: FaceDataset, tmp_path):
    torch.manual_seed(1)
    teacher, other = build_model("fernet", **TINY), build_model("fernet", **TINY)
    run(faces, small(epochs=1, distill=0.5), teacher=teacher, out=tmp_path)
    assert load_model(tmp_path).about["training"]["teacher"] == model_hash(teacher)
    with pytest.raises(ValueError, match="was trained with other settings .teacher '"):
        run(faces, small(epochs=1, distill=0.5), teacher=other, out=tmp_path, resume=True)
    with pytest.raises(ValueError, match="distill is 0.5, teacher is NoneType; give both or none"):
        run(faces, small(distill=0.5))
    with pytest.raises(ValueError, match="distill is 0.0, teacher is FaceModel; give both or none"):
        run(faces, small(), teacher=teacher)
    for odd in ({"size": 40}, {"classes": faces.classes[::-1]}, {"mean": (0.4,)}):
        with pytest.raises(ValueError, match="the teacher's input or classes differ from the model's; give equal ones"):
            run(faces, small(distill=0.5), teacher=build_model("fernet", **odd, **TINY))


@pytest.mark.parametrize("blended", [{}, {"mixup": 0.4, "cutmix": 1.0}])
def test_soft_labels_are_learned_from_also_when_blended(faces: FaceDataset, blended):
    train = faces.subset("Training")
    targets = np.full((105, 7), 0.05, np.float32)
    targets[np.arange(105), train.labels] = 0.7
    soft = dataclasses.replace(train, targets=targets)
    torch.manual_seed(0)
    result = fit(build_model("fernet", **TINY), soft, faces.subset("PublicTest"), small(**blended), progress=False)
    least = -(0.7 * np.log(0.7) + 0.3 * np.log(0.05))
    assert result.history["train_loss"].min() > least, "no loss is under the labels' own entropy"
    assert result.history["train_loss"].iloc[-1] < result.history["train_loss"].iloc[0]


def test_batchnorm_of_frozen_parts_stays_still_or_moves_by_choice(faces: FaceDataset):
    train = faces.subset("Training")
    for still in (True, False):
        torch.manual_seed(0)
        model = freeze(build_model("fernet", **TINY), ["stages.2", "head"])
        before = {name: value.clone() for name, value in model.network.state_dict().items()}
        fit(model, train, train, small(epochs=1, freeze_bn=still), progress=False)
        moved = {name for name, value in model.network.state_dict().items() if not torch.equal(value, before[name])}
        assert not {name for name in moved if name.startswith(("stem", "stages.0.0", "stages.1.0"))}
        statistics = {name for name in moved if name.startswith(("stages.0.", "stages.1."))}
        assert statistics == (set() if still else {
            f"stages.{stage}.{layer}.{name}" for stage in (0, 1) for layer in ("2", "4.body.1")
            for name in ("running_mean", "running_var", "num_batches_tracked")
        })  # fmt: skip
        assert {"head.weight", "stages.2.2.running_mean"} <= moved


def test_the_rate_finder_leaves_the_model_alone_and_sees_it_diverge(faces: FaceDataset):
    train = faces.subset("Training")
    model = build_model("fernet", **TINY)
    before = model_hash(model)
    found = find_lr(model, train, small(clip_norm=None, optimizer="sgd"), low=1e-4, high=1e4, steps=60)
    assert model_hash(model) == before
    assert found["lr"].iloc[0] == pytest.approx(1e-4)
    assert found["lr"].iloc[1] / found["lr"].iloc[0] == pytest.approx(1e8 ** (1 / 59))
    assert len(found) < 60, "it ends once the loss has risen thrice"
    assert not found["smoothed"].iloc[-1] < 3 * found["smoothed"].min()
    first = found["loss"].iloc[:2].to_numpy()
    assert found["smoothed"].iloc[1] == pytest.approx((0.9 * 0.1 * first[0] + 0.1 * first[1]) / 0.19)
    assert 1e-4 < suggest_lr(found) < found["lr"].iloc[-1]
    again = find_lr(model, train, small(clip_norm=None, optimizer="sgd"), low=1e-4, high=1e4, steps=60)
    pd.testing.assert_frame_equal(found, again)
    with pytest.raises(ValueError, match="give 0 < low < high and at least 2 steps"):
        find_lr(model, train, small(), low=1.0, high=0.1)


@pytest.mark.parametrize(
    ("smoothed", "want"),
    [
        ([3.0, 2.5, 2.6, 3.2], 1.0 / 3),
        ([3.0, 2.5, float("nan"), float("nan")], 0.3 / 3),
        ([3.0, 2.5, 2.7, 2.4], "the loss never rose again"),
        ([3.0, 2.5, 2.4, 2.3], "the loss never rose again"),
        ([2.0, 1.99, 1.985, 4.0], "the loss never fell by 2%"),
    ],
)
def test_the_suggested_rate_is_a_third_of_where_the_loss_takes_off(smoothed: list[float], want: float | str):
    found = pd.DataFrame({"lr": [0.01, 0.1, 0.3, 1.0], "smoothed": smoothed})
    if isinstance(want, float):
        assert suggest_lr(found) == pytest.approx(want)
    else:
        with pytest.raises(ValueError, match=want):
            suggest_lr(found)


def test_what_cannot_be_trained_is_said_at_once(faces: FaceDataset):
    train = faces.subset("Training")
    for call in (find_lr, lambda *args: fit(args[0], args[1], args[1], args[2])):
        with pytest.raises(ValueError, match="105 training faces are fewer than one batch of 200"):
            call(build_model("fernet", **TINY), train, small(batch_size=200))
        with pytest.raises(ValueError, match="the model's classes are a, b, c, those of train_set are angry, "):
            call(build_model("fernet", classes=("a", "b", "c"), **TINY), train, small())


def test_the_first_epochs_may_be_of_smaller_faces(faces: FaceDataset):
    torch.manual_seed(0)
    model, sides = build_model("fernet", **TINY), []
    network = model.network
    network.register_forward_pre_hook(
        lambda module, inputs: sides.append((module.training, inputs[0].shape[-1])) if len(inputs[0]) > 2 else None
    )
    train, config = faces.subset("Training"), small(epochs=5, progressive=(36, 0.5))
    fit(model, train, faces.subset("PublicTest"), config, train_transform=BatchAugment(InputSpec()), progress=False)
    steps = len(train) // 16
    assert [side for training, side in sides if training] == [36] * 2 * steps + [48] * 3 * steps
    assert {side for training, side in sides if not training} == {48}


def test_settings_reach_the_epoch_that_trains(faces: FaceDataset, monkeypatch):
    """What `fit` hands on, epoch by epoch: weights of the classes, each group's rate, the plateau's halving."""
    seen: list[dict] = []

    def watch(model, batches, transform, optimizer, accelerator, config, **given):
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
        seen.append(rates | {"weights": given["weights"]})
        return 1.0, 0.5

    monkeypatch.setattr("ferlib.training.run.train_one_epoch", watch)
    monkeypatch.setattr("ferlib.training.run.validate", lambda *_, **__: (1.0, 0.5))
    run(faces, small(epochs=5, schedule="plateau", balance="loss", lr_scales=(("head", 0.1),)))
    assert [row["rest"] for row in seen] == pytest.approx([0.01] * 4 + [0.005]), "after three epochs without a gain"
    assert [row["head"] for row in seen] == pytest.approx([0.001] * 4 + [0.0005])
    torch.testing.assert_close(seen[0]["weights"], torch.ones(7))
    seen.clear()
    run(faces, small(epochs=2, schedule="linear", lr_scales=(("head", 0.1),)))
    assert seen[0]["weights"] is None
    assert seen[0]["head"] == pytest.approx(seen[0]["rest"] / 10) == pytest.approx(0.001 / (0.15 * 12 + 1))


def test_half_precision_reaches_the_network(faces: FaceDataset):
    kinds = set()
    model = build_model("fernet", **TINY)
    model.network.head.register_forward_hook(
        lambda module, inputs, output: kinds.add(output.dtype) if torch.is_grad_enabled() else None
    )
    fit(model, faces, faces, small(epochs=1, precision="bf16"), progress=False)
    assert kinds == {torch.bfloat16}


def test_soft_validation_labels_count_as_their_largest_share(faces: FaceDataset):
    train, val = faces.subset("Training"), faces.subset("PublicTest")
    targets = np.full((35, 7), 0.05, np.float32)
    targets[np.arange(35), val.labels] = 0.7
    histories = []
    for judged in (
        val,
        dataclasses.replace(val, targets=targets),
        dataclasses.replace(val, targets=targets, draw=True),
    ):
        torch.manual_seed(0)
        result = fit(build_model("fernet", **TINY), train, judged, small(epochs=1), progress=False)
        histories.append(history_of(result))
    pd.testing.assert_frame_equal(histories[0], histories[1])
    pd.testing.assert_frame_equal(histories[0], histories[2])


def test_cutmix_pastes_a_box_and_shares_the_label_by_area(faces: FaceDataset, monkeypatch):
    images, labels = next(iter(loader(faces, 16)))
    seen = []
    model = build_model("plain_cnn", drop_rate=0.0)
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    config, prepare = small(cutmix=1.0), EvalTransform(InputSpec())
    set_seed(3)
    train_one_epoch(model, [(images, labels)], prepare, build_optimizer(model, config), Accelerator(), config)
    plain = prepare(images)
    pasted = (seen[0] == plain.flip(0)).all(1) & ~(seen[0] == plain).all(1)
    kept = (seen[0] == plain).all(1)
    assert (pasted | kept).all(), "each pixel is one face's or the other's"
    assert 0 < pasted.float().mean() < 1


def test_the_same_seed_gives_the_same_run_and_another_does_not(faces: FaceDataset):
    first, again, other = run(faces, small()), run(faces, small()), run(faces, small(seed=1))
    pd.testing.assert_frame_equal(history_of(first), history_of(again), check_exact=True)
    assert model_hash(first.model) == model_hash(again.model) != model_hash(other.model)


def test_seeds_share_no_epochs_order(faces: FaceDataset, monkeypatch):
    seen: dict[int, list] = {0: [], 1: []}
    real = train_one_epoch

    def watch(model, batches, *args, **kwargs):
        seen[seed].append([label for _, labels in batches for label in labels.tolist()])
        return real(model, batches, *args, **kwargs)

    monkeypatch.setattr("ferlib.training.run.train_one_epoch", watch)
    for seed in (0, 1):
        run(faces, small(seed=seed))
    orders = [tuple(order) for epochs in seen.values() for order in epochs]
    assert len(set(orders)) == len(orders)


def test_patience_stops_and_best_or_last_weights_are_kept(faces: FaceDataset, monkeypatch, tmp_path):
    accuracies = iter([0.2, 0.5, 0.4, 0.3, 0.9] * 2)
    monkeypatch.setattr("ferlib.training.run.validate", lambda *_, **__: (1.0, next(accuracies)))
    best = run(faces, small(epochs=5, patience=2, keep="best"), out=tmp_path)
    assert best.stopped == "patience" and len(best.history) == 4 and best.best_epoch == 2
    kept = load_model(tmp_path)
    assert kept.about["epoch"] == 2 and model_hash(kept) == model_hash(best.model)
    accuracies = iter([0.2, 0.5, 0.4, 0.3, 0.9] * 2)
    last = run(faces, small(epochs=5, patience=2, keep="last"))
    assert model_hash(last.model) != model_hash(best.model)


def test_averaged_weights_are_the_ones_kept(faces: FaceDataset, tmp_path):
    plain, averaged = run(faces, small()), run(faces, small(ema=0.9), out=tmp_path)
    assert model_hash(plain.model) != model_hash(averaged.model)
    assert history_of(plain)["train_loss"].tolist() == history_of(averaged)["train_loss"].tolist()
    assert model_hash(load_model(tmp_path)) == model_hash(averaged.model)


def test_resume_refuses_other_settings_and_truncated_states(faces: FaceDataset, tmp_path):
    run(faces, small(epochs=1), out=tmp_path)
    with pytest.raises(ValueError, match=r"trained with other settings \(lr 0.01 -> 0.02\)"):
        run(faces, small(epochs=2, lr=0.02), out=tmp_path, resume=True)
    whole = (tmp_path / "state.pt").read_bytes()
    torch.manual_seed(9)
    model, parts = build_model("fernet", **TINY), (faces.subset("Training"), faces.subset("PublicTest"))
    before = model_hash(model)
    with zipfile.ZipFile(tmp_path / "state.pt") as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    at = largest.header_offset + largest.file_size // 2  # within the weights
    flipped = whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :]
    for content in (b"not a state", whole[: len(whole) // 2], whole[:-1], b"", flipped):
        (tmp_path / "state.pt").write_bytes(content)
        with pytest.raises(ValueError, match=r"state.pt is damaged \(.*\); remove it to begin again"):
            fit(model, *parts, small(epochs=1), out=tmp_path, resume=True, progress=False)
        assert model_hash(model) == before, "a refused state leaves the model as it was"
    with pytest.raises(ValueError, match="resume needs out"):
        run(faces, small(epochs=1), resume=True)
    begun = run(faces, small(epochs=1), out=tmp_path / "new", resume=True)
    assert len(begun.history) == 1


@pytest.mark.parametrize(
    ("first", "then", "setting", "goes_on"),
    [
        ("bf16", "fp32", "auto", "bf16"), ("bf16", "bf16", "auto", "bf16"), ("fp32", "bf16", "auto", "fp32"),
        ("fp16", "fp32", "auto", "fp32"), ("fp16", "bf16", "auto", "bf16"), ("bf16", "bf16", "fp32", "fp32"),
        ("fp32", "bf16", "bf16", "bf16"),
    ],
)  # fmt: skip
def test_a_run_goes_on_where_the_device_chooses_another_precision(
    faces: FaceDataset, tmp_path, monkeypatch, first: str, then: str, setting: str, goes_on: str
):
    """A CPU computes in fp32 and bf16, not in fp16: a run of that precision came from a GPU."""
    monkeypatch.setattr("ferlib.training.run.choose_precision", lambda *_: first)
    auto = small(precision="auto", schedule="constant")
    run(faces, dataclasses.replace(auto, epochs=1), out=tmp_path)
    monkeypatch.setattr("ferlib.training.run.choose_precision", lambda *_: then)
    config = dataclasses.replace(auto, epochs=2, precision=setting, workers=1)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        result = run(faces, config, out=tmp_path, resume=True)
    assert result.precision == goes_on and len(result.history) == 2
    told = [str(note.message) for note in notes if "the run was in" in str(note.message)]
    assert [text.split(":")[0] for text in told] == [f"the run was in {first} and goes on in {goes_on}"] * (
        goes_on != first
    )


@pytest.mark.parametrize("able", [True, False])
def test_a_bf16_run_goes_on_in_fp16_on_a_gpu_without_it(faces: FaceDataset, tmp_path, monkeypatch, able: bool):
    """The GPU is pretended: what is asked of it is whether it has bf16."""
    monkeypatch.setattr("ferlib.training.run.choose_precision", lambda *_: "bf16")
    run(faces, small(epochs=1, precision="auto"), out=tmp_path)
    monkeypatch.setattr("ferlib.training.run.choose_precision", lambda *_: "bf16" if able else "fp32")
    monkeypatch.setattr("ferlib.training.state.supports", lambda device, precision: able or precision != "bf16")
    config = small(epochs=1, precision="auto")
    if able:
        assert run(faces, config, out=tmp_path, resume=True).precision == "bf16"
        return
    with pytest.warns(UserWarning, match="the run was in bf16 and goes on in fp32: its numbers differ"):
        assert run(faces, config, out=tmp_path, resume=True).precision == "fp32"


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("epochs", [2, 3])
def test_a_model_whose_file_alone_was_deleted_is_written_again(
    faces: FaceDataset, tmp_path, monkeypatch, keep: str, epochs: int
):
    accuracies = iter([0.5, 0.2, 0.3])
    monkeypatch.setattr("ferlib.training.run.validate", lambda *_, **__: (1.0, next(accuracies)))
    config = small(epochs=2, keep=keep, schedule="constant")
    run(faces, config, out=tmp_path)
    model = tmp_path / "model.safetensors"
    whole = model.read_bytes()
    model.unlink()
    result = run(faces, dataclasses.replace(config, epochs=epochs), out=tmp_path, resume=True)
    assert load_model(model).about["epoch"] == (1 if keep == "best" else epochs)
    assert model_hash(load_model(model)) == model_hash(result.model)
    if epochs == 2:
        assert model.read_bytes() == whole


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
@pytest.mark.parametrize("default", [torch.float64, torch.float16, torch.bfloat16, "meta"])
def test_other_defaults_of_torch_are_told_in_a_sentence(faces: FaceDataset, default):
    model, train = build_model("fernet", **TINY), faces.subset("Training")
    set_default = torch.set_default_device if default == "meta" else torch.set_default_dtype
    set_default(default)
    try:
        calls = (
            lambda: fit(model, train, train, small(), progress=False),
            lambda: find_lr(model, train, small()),
            lambda: predict(model, train),
            lambda: build_model("plain_cnn"),
            lambda: FaceModel(model, InputSpec()),
            lambda: load_model("drawn"),
        )
        for call in calls:
            with pytest.raises(ValueError, match=r"^torch's defaults are .*torch.set_default_dtype\(torch.float32\), "):
                call()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "place",
    [
        {"LOCAL_RANK": "1"},
        {"RANK": "1"},
        {"RANK": "3", "LOCAL_RANK": "3"},
        {"WORLD_SIZE": "", "LOCAL_RANK": "0"},
        {"WORLD_SIZE": "1", "LOCAL_RANK": "2"},
    ],
)
def test_what_a_launcher_left_over_is_a_single_process(monkeypatch, place: dict[str, str]):
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    for state in (AcceleratorState, PartialState):
        monkeypatch.setattr(state, "_shared_state", {})  # as in a new process
    accelerator = _build_accelerator(small())
    assert accelerator.num_processes == 1 and accelerator.is_main_process


def test_each_process_gets_pairs_of_faces_to_blend(monkeypatch):
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    for settings in ({"mixup": 0.2, "batch_size": 36}, {"batch_size": 34}):
        _build_accelerator(small(**settings))
    for name in ("mixup", "cutmix"):
        with pytest.raises(ValueError, match="batch_size is 34; mixup and cutmix need a multiple of 4, two a process"):
            _build_accelerator(small(batch_size=34, **{name: 0.2}))


def test_the_bar_counts_batches(faces: FaceDataset, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr("ferlib.training.run.Run.set_lr", lambda self: seen.append((self.bar.n, self.bar.total)))
    train = faces.subset("Training")
    fit(build_model("fernet", **TINY), train, train, small(epochs=2))
    assert [n for n, _ in seen] == [0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12] and seen[0][1] == 12
    shown = capsys.readouterr().err
    assert "epoch 2 of 2" in shown and "batch" in shown and "validation accuracy" in shown


def full(part: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


@pytest.mark.parametrize("workers", [1, 2])
def test_shared_memory_that_is_full_ends_the_run_with_its_cause(faces: FaceDataset, monkeypatch, workers: int):
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)  # which forked workers inherit
    with pytest.raises(OSError, match=r"workers need more shared memory \(/dev/shm\) .*Docker with --shm-size=2g"):
        run(faces, small(epochs=1, workers=workers))


@pytest.mark.parametrize(
    "said",
    [
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
        "shared memory. Please try to raise your shared memory limit.",
        "unable to open shared memory object </torch_1> in read/write mode: Too many open files (24)",
    ],
)
def test_torchs_own_words_about_shared_memory_are_told_in_one_sentence(faces: FaceDataset, monkeypatch, said: str):
    def fail(*_, **__):
        raise RuntimeError(said)

    monkeypatch.setattr("ferlib.training.run.validate", fail)
    with pytest.raises(OSError, match="workers need more shared memory"):
        run(faces, small(epochs=1))


class Holder(torch.utils.data.Dataset):
    """A data set of a user, with a function of hers."""

    def __init__(self, function):
        self.function = function

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.zeros(1, 48, 48), index % 7


@pytest.mark.parametrize("kind", ["lambda", "nested", "attribute", "class", "subset", "list", "lock", "generator"])
def test_what_a_spawned_worker_cannot_get_is_told_before_it_hangs(faces: FaceDataset, monkeypatch, kind: str):
    def nested(image):
        return image

    class Inside(Holder):
        pass

    odd = {
        "lambda": lambda: faces.with_transform(lambda image: image),
        "nested": lambda: faces.with_transform(nested),
        "attribute": lambda: Holder(nested),
        "class": lambda: Inside(None),
        "subset": lambda: torch.utils.data.Subset(faces.with_transform(nested), range(32)),
        "list": lambda: Holder([nested]),
        "lock": lambda: Holder(threading.Lock()),
        "generator": lambda: Holder(face for face in ()),
    }[kind]()
    check_workers([odd], 2)  # forked workers have all that there is
    monkeypatch.setattr("multiprocessing.get_start_method", lambda *_: "spawn")
    monkeypatch.setattr("multiprocessing.Process", multiprocessing.get_context("spawn").Process)
    check_workers([odd], 0)
    with pytest.raises(ValueError, match=r"workers cannot start \(.*\); put .*, and functions and classes of the data"):
        check_workers([odd], 2)


def test_a_script_without_a_guard_ends_with_a_sentence(tmp_path: Path):
    """On macOS and Windows a worker runs the script itself again, and Python then hangs."""
    (tmp_path / "run.py").write_text(
        "import multiprocessing, numpy as np\n"
        "from ferlib.data import FaceDataset\n"
        "from ferlib.training.trainer import check_workers\n"
        "multiprocessing.set_start_method('spawn', force=True)\n"
        "check_workers([FaceDataset.from_arrays(np.zeros((9, 48, 48), np.uint8), [0] * 9)], 2)\n"
    )
    done = subprocess.run([sys.executable, str(tmp_path / "run.py")], capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert "the loader's workers cannot start" in done.stderr.splitlines()[-1]
    assert 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]


def test_a_run_without_an_epoch_has_no_best_one(faces: FaceDataset, monkeypatch):
    monkeypatch.setattr(
        "ferlib.training.run.train_one_epoch", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    found = run(faces, small(epochs=1))
    assert found.stopped == "interrupted" and not found.model.training and found.history.empty
    with pytest.raises(ValueError, match="no epoch was finished; the run was interrupted in its first"):
        _ = found.best_epoch


def test_too_few_faces_and_a_diverged_loss_are_errors(faces: FaceDataset):
    with pytest.raises(ValueError, match="105 training faces are fewer than one batch of 200"):
        run(faces, small(batch_size=200))
    with pytest.raises(FloatingPointError, match="epoch 1: the loss is nan in batch 2 of 6; lower lr"):
        run(faces, small(lr=1e30, clip_norm=None, optimizer="sgd"))


def test_bf16_trains_to_nearly_the_same_loss(faces: FaceDataset):
    full, half = run(faces, small(epochs=1)), run(faces, small(epochs=1, precision="bf16"))
    assert half.precision == "bf16"
    assert half.history["train_loss"].iloc[0] == pytest.approx(full.history["train_loss"].iloc[0], rel=0.02)


def test_training_needs_no_albumentations(faces: FaceDataset, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "albumentations", None)
    assert len(run(faces, small(epochs=1)).history) == 1


def test_validation_sees_what_its_own_transform_gives(faces: FaceDataset):
    torch.manual_seed(0)
    train, val = faces.subset("Training"), faces.subset("PublicTest")
    black = val.with_transform(lambda image: torch.zeros(1, 48, 48, dtype=torch.uint8))
    model = build_model("fernet", **TINY)
    result = fit(model, train, black, small(epochs=1), progress=False)
    with torch.no_grad():
        logits = model(EvalTransform(InputSpec())(torch.zeros(35, 1, 48, 48, dtype=torch.uint8)))
    want = F.cross_entropy(logits, torch.tensor(val.labels)).item()
    assert result.history["val_loss"].iloc[0] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_a_finished_run_is_lengthened(faces: FaceDataset, tmp_path, schedule: str):
    config = small(epochs=2, schedule=schedule)
    whole = run(faces, dataclasses.replace(config, epochs=4))
    run(faces, config, out=tmp_path)
    with pytest.raises(ValueError, match="has 2 epochs, and epochs is 1; give 2 or more"):
        run(faces, dataclasses.replace(config, epochs=1), out=tmp_path, resume=True)
    longer = dataclasses.replace(config, epochs=4)
    if schedule == "constant":  # what was learned is what four epochs at once would have learned
        resumed = run(faces, longer, out=tmp_path, resume=True)
        pd.testing.assert_frame_equal(history_of(resumed), history_of(whole), check_exact=True)
        return
    steps = 6  # of an epoch
    goes_on = 0.01 * lr_factor(2 * steps, 4 * steps, longer)
    with pytest.warns(UserWarning, match="the run had 2 epochs and now has 4: its learning rate jumps"):
        resumed = run(faces, longer, out=tmp_path, resume=True)
    assert resumed.history["lr"].iloc[2] == pytest.approx(goes_on) and len(resumed.history) == 4
    assert len(run(faces, longer, out=tmp_path, resume=True).history) == 4, "and again, with nothing left to do"


def test_workers_patience_and_a_renamed_folder_are_no_other_run(faces: FaceDataset, tmp_path):
    run(faces, small(epochs=1), out=tmp_path)
    renamed = dataclasses.replace(faces, name="moved")
    resumed = run(renamed, small(epochs=1, workers=1, patience=5), out=tmp_path, resume=True)
    assert len(resumed.history) == 1


def test_resume_refuses_other_data_models_and_augmentation(faces: FaceDataset, tmp_path):
    config, train, val = small(epochs=1), faces.subset("Training"), faces.subset("PublicTest")
    run(faces, config, out=tmp_path)
    augment = BatchAugment(InputSpec(), erase=0.3)
    fewer = train.subset(range(100))
    other = [
        (build_model("fernet", **TINY), fewer, augment, "faces 105 -> 100"),
        (build_model("plain_cnn"), train, augment, "'name': 'fernet'.* -> .*'name': 'plain_cnn'"),
        (build_model("fernet", **TINY), train, BatchAugment(InputSpec()), r"erase=0.3\).* -> .*erase=0.0\)"),
        (build_model("fernet", **TINY), train, lambda batch: batch, r"augmentation 'BatchAugment.* -> .*<lambda>"),
        (freeze(build_model("fernet", **TINY), ["stages.2"]), train, augment, "trainable .'stem.weight'.* -> "),
        (
            build_model("fernet", mean=(0.4,), **TINY),
            train,
            BatchAugment(InputSpec(mean=(0.4,)), erase=0.3),
            r"input .*0.5077.* -> .*0.4",
        ),
    ]
    for model, data, transform, message in other:
        with pytest.raises(ValueError, match=message):
            fit(model, data, val, config, train_transform=transform, out=tmp_path, resume=True, progress=False)
    (tmp_path / "state.pt").unlink()
    with pytest.raises(ValueError, match="holds a history.csv and a model.safetensors but no state.pt; give"):
        run(faces, config, out=tmp_path, resume=True)


def test_the_users_accelerate_settings_do_not_change_the_training(faces: FaceDataset, monkeypatch):
    plain = run(faces, small(epochs=1))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "8")
    for state in (AcceleratorState, PartialState, GradientState):
        monkeypatch.setattr(state, "_shared_state", {})  # as in a new process
    changed = run(faces, small(epochs=1))
    assert changed.precision == plain.precision == "fp32"
    assert changed.history["train_loss"].iloc[0] == pytest.approx(plain.history["train_loss"].iloc[0], rel=1e-6)


def test_any_whole_seed_will_do(faces: FaceDataset):
    assert len(run(faces, small(epochs=1, seed=20261120_000000)).history) == 1


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_gpu_runs_in_half_precision_and_resumed(faces: FaceDataset, tmp_path, monkeypatch, precision: str):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    config = small(precision=precision, ema=0.9)
    interrupted_after_one_epoch(faces, config, tmp_path, monkeypatch)
    resumed = run(faces, config, out=tmp_path, resume=True)
    assert len(resumed.history) == 3 and np.isfinite(resumed.history["train_loss"]).all()
