"""The solutions of assignment 4 against timm, PyTorch, scikit-learn, ferlib and the definition itself."""

import copy
from typing import Any

import numpy as np
import pytest
import timm
import torch
from sklearn.metrics import confusion_matrix, recall_score
from timm.models import adapt_input_conv
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import assignments
from ferlib import data, models
from ferlib.transforms import EvalTransform, InputSpec

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def solved() -> dict[str, Any]:
    """The solutions by name."""
    return assignments.find(["a04"])[0].solved()


def test_a_gray_network_sees_what_the_colour_network_saw(solved: dict[str, Any]):
    torch.manual_seed(0)
    colour = timm.create_model("test_efficientnet").eval()
    given = copy.deepcopy(colour.state_dict())
    model = solved["build_network"]("test_efficientnet", 5, given).eval()
    faces = torch.randn(3, 1, 64, 64)
    with torch.no_grad():
        expected = colour.forward_features(faces.repeat(1, 3, 1, 1))
        torch.testing.assert_close(model.forward_features(faces), expected, atol=1e-5, rtol=1e-4)
        assert model(faces).shape == (3, 5)
    torch.testing.assert_close(model.conv_stem.weight, adapt_input_conv(1, colour.conv_stem.weight))
    assert all(torch.equal(tensor, given[name]) for name, tensor in colour.state_dict().items())


def test_the_network_has_ferlibs_imagenet_weights(solved: dict[str, Any]):
    settings = {"weights": "imagenet", "size": 64, "small_stem": False}
    colour = models.build_model(LITE0, in_chans=3, **settings).network
    theirs = models.build_model(LITE0, **settings).network.state_dict()
    mine = solved["build_network"](LITE0, 7, colour.state_dict()).state_dict()
    for name, tensor in theirs.items():
        if not name.startswith("classifier."):
            torch.testing.assert_close(mine[name], tensor)


def test_validation_is_ferlibs_and_training_varies(solved: dict[str, Any]):
    faces = data.load("sample").subset("PublicTest").images[:8]
    train, fixed = solved["pipelines"](64, 0.5, 0.25)
    spec = InputSpec(64, mean=(0.5,), std=(0.25,))
    expected = EvalTransform(spec)(torch.tensor(faces)[:, None])
    found = torch.stack([fixed(image=face)["image"] for face in faces])
    assert (found - expected).abs().mean() < 0.03  # two ways to enlarge
    drawn = torch.stack([train(image=faces[0])["image"] for _ in range(20)])
    assert drawn.shape == (20, 1, 64, 64) and drawn.dtype == torch.float32
    assert drawn.std(dim=0).mean() > 0.05


@pytest.mark.parametrize("trainable", [["head"], ["stages.1", "head"], ["stages.2.0"], []])
def test_freeze_is_ferlibs_and_moved_proves_it(solved: dict[str, Any], trainable: list[str]):
    torch.manual_seed(2)
    model = models.build_model("fernet", drop_rate=0.0).network.eval()
    theirs = models.freeze(copy.deepcopy(model), trainable)
    solved["freeze"](model, ["stem"])
    solved["freeze"](model, trainable)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    assert flags == [parameter.requires_grad for parameter in theirs.parameters()]
    assert model.training
    with torch.no_grad():
        found = solved["moved"](model, lambda: model(torch.randn(8, 1, 48, 48)))
    norms = {name: one for name, one in model.named_modules() if isinstance(one, nn.BatchNorm2d)}
    learning = {name for name, one in norms.items() if one.weight.requires_grad}
    assert {name.rpartition(".")[0] for name in found} == learning


def test_only_the_named_parts_move_in_an_epoch(solved: dict[str, Any]):
    torch.manual_seed(3)
    model = timm.create_model("test_resnet", num_classes=7, in_chans=1)
    solved["freeze"](model, ["layer4", "fc"])
    faces = TensorDataset(torch.randn(20, 1, 48, 48), torch.arange(20) % 7)
    batches = DataLoader(faces, 8)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, len(batches))
    found = solved["moved"](model, lambda: solved["train_one_epoch"](model, batches, optimizer, schedule))
    assert found == sorted(name for name in model.state_dict() if name.startswith(("layer4.", "fc.")))
    assert schedule.last_epoch == len(batches)


def test_the_epochs_loss_is_the_mean_over_faces(solved: dict[str, Any]):
    torch.manual_seed(4)
    model, faces, labels = nn.Linear(5, 3), torch.randn(11, 5), torch.arange(11) % 3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    loss = solved["train_one_epoch"](model, DataLoader(TensorDataset(faces, labels), 4), optimizer, schedule)
    assert loss == pytest.approx(nn.functional.cross_entropy(model(faces), labels).item(), rel=1e-5)


def test_matrix_and_recalls_are_scikit_learns(solved: dict[str, Any]):
    rng = np.random.default_rng(5)
    scores, labels = torch.tensor(rng.normal(size=(200, 7))), torch.tensor(rng.integers(0, 6, 200))
    matrix, recalls = solved["confusion_and_recall"](scores, labels)
    predicted = scores.argmax(1)
    np.testing.assert_array_equal(matrix, confusion_matrix(labels, predicted, labels=range(7)))
    expected = recall_score(labels, predicted, labels=range(6), average=None)
    np.testing.assert_allclose(recalls[:6], expected)
    assert recalls[6] is None
