"""The contract: what a student, or a teacher, types without having read ferlib's source, and it runs as written."""

import functools
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import albumentations as A
import hub
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import timm
import torch
from albumentations.pytorch import ToTensorV2
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, random_split
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from ferlib import data, evaluation, explain, models, plots, sample, training
from ferlib.apps import export
from ferlib.apps.recognizer import EmotionRecognizer
from ferlib.data import FaceDataset
from ferlib.emotions import EMOTIONS
from ferlib.models import FaceModel, build_model, load_model, save_model
from ferlib.training import TrainConfig
from ferlib.transforms import BatchAugment, EvalTransform, InputSpec, normalization_of

NORMALIZE = (0.5,), (0.5,)
TORCHVISION = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])])
QUICK = {"epochs": 2, "batch_size": 32, "lr": 3e-3, "precision": "fp32"}
EIGHT = ("angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")
FIVE = ("angry", "happy", "neutral", "sad", "surprise")


class MyNet(nn.Module):
    """A student's own network: 1 channel, any size."""

    def __init__(self, classes: int = 7, activation: type[nn.Module] = nn.ReLU, stride: int = 2):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=stride, padding=2), activation(), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(4)
        )
        self.last = nn.Linear(8 * 16, classes)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.last(self.body(faces).flatten(1))


def standard(size: int = 48, *steps: Any) -> A.Compose:
    return A.Compose([*steps, A.Resize(size, size), A.Normalize(*NORMALIZE), ToTensorV2()])


@pytest.fixture(scope="module")
def faces() -> FaceDataset:
    """Some drawn faces of every class, in two splits."""
    images, table = sample.draw(420, seed=1, balance="equal")
    table = table.assign(split=np.where(np.arange(420) < 280, "Training", "PublicTest"))
    return FaceDataset(images, table, "drawn")


@pytest.fixture
def train(faces: FaceDataset) -> FaceDataset:
    return faces.subset("Training")


@pytest.fixture
def val(faces: FaceDataset) -> FaceDataset:
    return faces.subset("PublicTest")


@functools.cache
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """200 faces of each emotion."""
    images, table = sample.draw(1400, seed=3, balance="equal")
    return images, table["label"].to_numpy()


def write_tree(root: Path, folders: dict[str, int], count: int = 12) -> Path:
    """Class folders `train/NAME` and `val/NAME` of drawn faces of the emotions with these indices."""
    images, labels = drawn()
    for split in ("train", "val"):
        for place, (name, label) in enumerate(folders.items()):
            picks = np.flatnonzero(labels == label % 7)[place * 2 * count :][: 2 * count]
            (root / split / name).mkdir(parents=True)
            for k in picks[:count] if split == "train" else picks[count:]:
                Image.fromarray(images[k]).save(root / split / name / f"face{k}.png")
    return root


# ---- the lines of the contract


def test_the_contract_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    faces = data.load("sample")
    train, val = faces.subset("Training").subset(range(128)), faces.subset("PublicTest").subset(range(64))
    train_set = train.with_transform(
        A.Compose(
            [
                A.HorizontalFlip(),
                A.Rotate((-10, 10)),
                A.Resize(96, 96),
                A.Normalize((0.5,), (0.5,)),
                ToTensorV2(),
            ]
        )
    )
    val_set = val.with_transform(A.Compose([A.Resize(96, 96), A.Normalize((0.5,), (0.5,)), ToTensorV2()]))
    batches = DataLoader(train_set, batch_size=64, shuffle=True, num_workers=2)
    images, labels = next(iter(batches))
    assert images.shape == (64, 1, 96, 96) and images.dtype == torch.float32 and labels.dtype == torch.int64

    model = MyNet()
    result = training.fit(model, train_set, val_set, TrainConfig(epochs=2, lr=1e-3))
    found = evaluation.predict(model, val_set)  # in fp32; the run may have validated in 16 bits
    assert found.correct.mean() == pytest.approx(result.history["val_accuracy"].iloc[-1], abs=0.03)
    assert evaluation.report(found)["support"].sum() == 64
    plots.plot_confusion(found)
    plots.plot_history(result.history)

    mine = models.FaceModel(model, InputSpec(96, mean=(0.5,), std=(0.5,)), faces.classes)
    models.save_model(mine, "runs/mine")
    mine = models.load_model("runs/mine", network=MyNet())
    prepared = evaluation.predict(mine, val)  # by the model, whose way to resize rounds no gray
    np.testing.assert_allclose(prepared.logits, found.logits, atol=0.01)
    Image.fromarray(val.images[0]).resize((96, 96)).save("photo.jpg")
    rows = EmotionRecognizer.load("runs/mine", detector="whole", network=MyNet()).predict("photo.jpg")
    assert isinstance(rows, pd.DataFrame) and rows["emotion"].iloc[0] in faces.classes
    assert isinstance(EmotionRecognizer(mine).predict("photo.jpg"), pd.DataFrame)
    plt.close("all")


def test_an_imagenet_network_trains_offline(train: FaceDataset, val: FaceDataset):
    model = models.build_model("tf_efficientnet_lite0", weights="imagenet", size=96)
    assert model.input_spec == InputSpec(96, mean=(0.5,), std=(0.5,))
    result = training.fit(
        model, train.subset(range(32)), val.subset(range(16)), TrainConfig(**QUICK | {"epochs": 1}),
        train_transform=BatchAugment(model.input_spec),
    )  # fmt: skip
    assert result.model is model and len(result.history) == 1


def test_lite0s_weights_name_two_photographs():
    sklearn = pytest.importorskip("sklearn.datasets")
    network = models.build_model(
        "tf_efficientnet_lite0", weights="imagenet", size=224, in_chans=3, classes=[f"class {k}" for k in range(1000)]
    ).eval()
    for name, label in (("china.jpg", 698), ("flower.jpg", 985)):  # ImageNet's palace and daisy
        picture = Image.fromarray(sklearn.load_sample_image(name))
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
        batch = (torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255 - 0.5) / 0.5
        with torch.inference_mode():
            assert network(batch).argmax().item() == label


@pytest.mark.parametrize("pretrained", [False, True])
def test_timms_own_model_is_handed_over_as_it_is(
    train: FaceDataset, val: FaceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretrained: bool
):
    hub.use_cache(monkeypatch, tmp_path / "hub")
    hub.make_cache(tmp_path / "hub", "test_resnet.r160_in1k")
    model = timm.create_model("test_resnet", pretrained=pretrained, num_classes=7, in_chans=1)
    train_set, val = train.subset(range(32)).with_transform(standard(64)), val.subset(range(16))
    val_set = val.with_transform(standard(64))
    training.fit(model, train_set, val_set, TrainConfig(**QUICK | {"epochs": 1}), out=tmp_path / "run")
    again = load_model(tmp_path / "run")  # timm's name is in the network: nothing else is needed
    assert again.input_spec == InputSpec(64, mean=(0.5,), std=(0.5,)) and again.classes == train.classes
    want, got = evaluation.predict(model, val_set), evaluation.predict(again, val)
    np.testing.assert_allclose(got.logits, want.logits, atol=0.02)  # two ways to resize


# ---- a student's own network, from training to a picture


def test_an_own_network_is_trained_resumed_compared_explained_exported_and_used(
    train: FaceDataset, val: FaceDataset, tmp_path: Path
):
    torch.manual_seed(0)
    whole, halves = MyNet(), MyNet()
    halves.load_state_dict(whole.state_dict())
    train_set, val_set = train.with_transform(standard(48, A.HorizontalFlip())), val.with_transform(standard())
    config = TrainConfig(**QUICK | {"epochs": 3, "schedule": "constant"})
    at_once = training.fit(whole, train_set, val_set, config, out=tmp_path / "whole")
    two = TrainConfig(**QUICK | {"epochs": 2, "schedule": "constant"})
    training.fit(halves, train_set, val_set, two, out=tmp_path / "halves")
    fresh = MyNet()
    resumed = training.fit(fresh, train_set, val_set, config, out=tmp_path / "halves", resume=True)
    columns = ["train_loss", "val_loss", "val_accuracy"]
    pd.testing.assert_frame_equal(resumed.history[columns], at_once.history[columns], check_exact=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name

    mine = FaceModel(whole, InputSpec(48, mean=(0.5,), std=(0.5,)), train.classes)
    a, b = evaluation.predict(mine, val), evaluation.predict(load_model("drawn"), val)
    assert len(evaluation.compare(a, b).difference) == 3
    batch = torch.stack([val_set[k][0] for k in range(2)])
    assert explain.grad_cam(mine, batch, layer="body.2").shape == (2, 48, 48)
    assert explain.grad_cam(whole, batch, layer="body.2").shape == (2, 48, 48)
    assert explain.occlusion(mine, batch).shape == (2, 48, 48)
    path = export.to_onnx(mine, tmp_path / "mine.onnx")
    assert export.parity(mine, path, val)["probability_difference"] < 1e-4
    again = load_model(tmp_path / "whole", network=MyNet())
    assert torch.equal(again.network.last.weight, whole.last.weight)
    assert EmotionRecognizer(again, detector=whole_picture()).predict(val.images[0])["emotion"].notna().all()


def whole_picture() -> Any:
    from ferlib.apps.detection import find_detector

    return find_detector("whole")


@pytest.mark.parametrize("change", ["stride", "activation", "head", "drop"])
def test_what_is_saved_is_what_was_trained(tmp_path: Path, change: str):
    model = models.build_model("resnet18", channels=(16, 16, 16, 16))
    network = model.network
    if change == "stride":
        network.conv1.stride, network.maxpool = (2, 2), nn.MaxPool2d(3, 2, 1)
    elif change == "activation":
        network.act1 = nn.Tanh()
    elif change == "head":
        network.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 7))
    elif change == "drop":
        network.maxpool = nn.Identity()
    if change == "drop":
        save_model(model, tmp_path)
    else:
        with pytest.warns(UserWarning, match="no longer the resnet18 that build_model made; to load it give it"):
            save_model(model, tmp_path)
    probe = torch.randn(3, 1, 48, 48)
    want = model.eval()(probe)
    if change == "drop":  # nothing that changes an answer
        np.testing.assert_allclose(load_model(tmp_path)(probe).detach(), want.detach(), atol=1e-4)
        return
    with pytest.raises(
        ValueError, match=r"holds the weights of ResNet, which ferlib cannot build .*network=ResNet\(\)"
    ):
        load_model(tmp_path)
    np.testing.assert_allclose(load_model(tmp_path, network=network)(probe).detach(), want.detach(), atol=1e-4)


def test_a_changed_network_is_told_before_the_first_epoch(train: FaceDataset, val: FaceDataset, tmp_path: Path):
    model = models.build_model("resnet18", channels=(16, 16, 16, 16))
    model.network.act1 = nn.Tanh()
    few = train.subset(range(32)), val.subset(range(16))
    with pytest.warns(UserWarning, match=r"no longer the resnet18 that build_model made; .*load_model\(path, network="):
        result = training.fit(model, *few, TrainConfig(**QUICK | {"epochs": 1}), out=tmp_path)
    assert len(result.history) == 1


def test_another_network_of_the_same_shapes_is_refused(tmp_path: Path):
    mine = FaceModel(MyNet(), InputSpec(48), EMOTIONS)
    save_model(mine, tmp_path)
    for other in (MyNet(activation=nn.Tanh), MyNet(stride=1)):
        with pytest.raises(ValueError, match="answers otherwise than the saved MyNet did"):
            load_model(tmp_path, network=other)
    others = {
        "MyNet given: last.weight, last.bias differ": MyNet(5),
        "Linear given: bias, body.0.bias, body.0.weight differ": nn.Linear(5, 7),
        "Sequential given: 0.bias, 0.weight, 2.bias differ": nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(9, 7)
        ),
        "FerNet given: body.0.bias, .* differ": models.build_model("fernet"),
        "LazyLinear given: bias, body.0.bias, .* differ": nn.LazyLinear(7),
    }
    for message, other in others.items():  # never torch's own words
        with pytest.raises(ValueError, match=rf"the weights of MyNet do not fit the {message}; give network=MyNet\("):
            load_model(tmp_path, network=other)


# ---- any transform


@pytest.mark.parametrize(
    ("transform", "dtype", "size"),
    [
        (A.Compose([A.HorizontalFlip()]), torch.uint8, 48),
        (A.Compose([A.Resize(40, 40), ToTensorV2()]), torch.uint8, 40),
        (A.Compose([A.Resize(40, 40), A.Normalize(*NORMALIZE)]), torch.float32, 40),
        (standard(40), torch.float32, 40),
        (A.HorizontalFlip(p=1), torch.uint8, 48),
        (TORCHVISION, torch.float32, 48),
        (v2.Compose([v2.Resize(40), v2.RandomHorizontalFlip()]), torch.uint8, 40),
        (lambda image: torch.from_numpy(image / np.float32(255)), torch.float32, 48),
        (lambda image: image[None] / 255, torch.float32, 48),
        (nn.Sequential(v2.RandomHorizontalFlip(p=1)), torch.uint8, 48),
    ],
)  # fmt: skip
def test_any_transform_is_a_datasets(train: FaceDataset, transform: Any, dtype: torch.dtype, size: int):
    face, label = train.with_transform(transform)[0]
    assert face.dtype == dtype and face.shape == (1, size, size) and label == train.labels[0]


def test_pixels_of_a_transform_are_what_they_should_be(train: FaceDataset):
    image = torch.from_numpy(train.images[0].astype(np.float32))[None]
    for transform in (A.Compose([A.Normalize(*NORMALIZE), ToTensorV2()]), TORCHVISION):
        torch.testing.assert_close(train.with_transform(transform)[0][0], (image / 255 - 0.5) / 0.5)
    flipped = train.with_transform(A.Compose([A.HorizontalFlip(p=1)]))[0][0]
    assert torch.equal(flipped, torch.from_numpy(train.images[0][:, ::-1].copy())[None])


@pytest.mark.parametrize("workers", [0, 2])
def test_torchs_own_loader_repeats_no_random_number_and_reruns_are_equal(train: FaceDataset, workers: int):
    face = np.repeat(train.images[:1], 16, axis=0)
    same = FaceDataset.from_arrays(face, np.zeros(16, int)).with_transform(
        A.Compose([A.Rotate((-45, 45), p=1), A.Normalize(*NORMALIZE), ToTensorV2()], seed=0)
    )

    def epochs() -> list[torch.Tensor]:
        torch.manual_seed(5)
        batches = DataLoader(same, batch_size=4, shuffle=True, num_workers=workers)
        return [torch.cat([images for images, _ in batches]) for _ in range(2)]

    first, again = epochs(), epochs()
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1]), "a rerun is equal"
    distinct = {image.numpy().tobytes() for epoch in first for image in epoch}
    assert len(distinct) == 32, "16 faces in two epochs are turned in 32 ways"


def test_a_face_model_prepares_faces_that_have_no_transform(train: FaceDataset, val: FaceDataset):
    model = FaceModel(MyNet(), InputSpec(40, mean=(0.4,), std=(0.2,)), train.classes)
    own = A.Compose([A.Resize(40, 40), A.Normalize((0.4,), (0.2,)), ToTensorV2()])
    a, b = evaluation.predict(model, val), evaluation.predict(model, val.with_transform(own))
    assert abs(a.logits - b.logits).max() < 0.1, "two ways to resize, and no more"
    training.fit(model, train.with_transform(A.Compose([A.HorizontalFlip()])), val, TrainConfig(**QUICK))


# ---- any data set


class Pairs(Dataset):
    """The least that is a data set: no labels, no classes, no transform."""

    def __init__(self, dataset: FaceDataset):
        self.inside = dataset.with_transform(standard())

    def __len__(self) -> int:
        return len(self.inside)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.inside[index]


@pytest.mark.parametrize("kind", ["subset", "random_split", "concat", "pairs"])
def test_any_map_style_data_set_trains_and_is_predicted(train: FaceDataset, val: FaceDataset, kind: str):
    many = train.subset((train.labels != 2) | (np.arange(len(train)) < 100))  # fear is rare
    ready = many.with_transform(standard())
    train_set: Any = {
        "subset": lambda: Subset(ready, range(10, 210)),
        "random_split": lambda: random_split(ready, [0.75, 0.25], torch.Generator().manual_seed(0))[0],
        "concat": lambda: ConcatDataset([ready, ready]),
        "pairs": lambda: Pairs(many),
    }[kind]()
    val_set: Any = Pairs(val) if kind == "pairs" else Subset(val.with_transform(standard()), range(100))
    losses = set()
    for balance in ("none", "loss", "sampling"):
        torch.manual_seed(0)
        model = MyNet()
        config = TrainConfig(**QUICK | {"epochs": 1, "balance": balance})
        result = training.fit(model, train_set, val_set, config)
        found = evaluation.predict(model, val_set)
        assert found.correct.mean() == pytest.approx(result.history["val_accuracy"].iloc[-1])
        losses.add(result.history["val_loss"].iloc[-1])
    assert len(losses) == 3, "each balance trains otherwise"
    assert found.labels.tolist() == [val_set[k][1] for k in range(len(val_set))]
    assert found.classes == (tuple("0123456") if kind == "pairs" else train.classes)


class Albumented(Dataset):
    """As lessons everywhere write it: the pipeline is called in `__getitem__`."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels = images, labels
        self.transform = A.Compose([A.Rotate((-45, 45), p=1), A.Normalize(*NORMALIZE), ToTensorV2()])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(image=self.images[index])["image"], int(self.labels[index])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_own_data_sets_pipeline_is_seeded_by_fit(train: FaceDataset, val: FaceDataset, workers: int):
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        config = TrainConfig(**QUICK | {"workers": workers})
        own = Albumented(train.images, train.labels)
        result = training.fit(MyNet(), own, val.with_transform(standard()), config)
        losses.append(result.history["train_loss"].tolist())
    assert losses[0] == losses[1]


def test_random_numbers_that_no_seed_reaches_are_told(train: FaceDataset, val: FaceDataset):
    pipeline = standard(48, A.Rotate((-45, 45), p=1))
    hidden = train.with_transform(lambda image: pipeline(image=image)["image"])
    with pytest.warns(UserWarning, match="train_set draws random numbers that no seed reaches, .*give an A.Compose"):
        training.fit(MyNet(), hidden, val.with_transform(standard()), TrainConfig(**QUICK | {"epochs": 1}))


def test_an_image_folder_is_matched_by_name(train: FaceDataset, tmp_path: Path):
    root = write_tree(tmp_path / "tree", {name: label for label, name in enumerate(train.classes)})
    drawn = load_model("drawn")
    mean, std = drawn.input_spec.mean, drawn.input_spec.std
    gray = v2.Compose(
        [v2.Grayscale(), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]
    )
    tree = ImageFolder(root / "val", gray)
    assert tree.classes != list(train.classes), "sorted by name"
    found = evaluation.predict(drawn, tree)
    with pytest.warns(UserWarning, match="not FER2013's official"):
        same = data.load(root).subset("PublicTest")
    want = evaluation.predict(drawn, same)
    np.testing.assert_array_equal(np.sort(found.labels), np.sort(want.labels))
    assert found.correct.mean() == want.correct.mean() > 0.7
    order = [train.classes.index(name) for name in tree.classes]
    mended = ImageFolder(root / "val", gray, target_transform=lambda label: order[label])  # already ours
    np.testing.assert_array_equal(evaluation.predict(drawn, mended).labels, found.labels)
    training.fit(MyNet(), ImageFolder(root / "train", gray), tree, TrainConfig(**QUICK))


def test_two_models_with_their_classes_in_another_order_are_compared(val: FaceDataset):
    drawn = load_model("drawn")
    found = evaluation.predict(drawn, val)
    moved = found.with_classes(tuple(sorted(found.classes)))
    assert moved.classes == tuple(sorted(found.classes)) and moved.correct.tolist() == found.correct.tolist()
    assert [moved.classes[k] for k in moved.predicted] == [found.classes[k] for k in found.predicted]
    assert evaluation.compare(found, moved, resamples=20).p_value == 1
    with pytest.raises(ValueError, match="those of these predictions are"):
        found.with_classes(FIVE)


# ---- any classes


def test_raf_dbs_numbers_from_files_to_a_named_picture(tmp_path: Path):
    order = {"1": "surprise", "2": "fear", "3": "disgust", "4": "happy", "5": "sad", "6": "angry", "7": "neutral"}
    root = write_tree(tmp_path / "rafdb", {key: EMOTIONS.index(name) for key, name in order.items()})
    with pytest.raises(ValueError, match=r"numbers \(1, 2, .*nothing shows what they stand for; give .*rafdb"):
        data.load(root)
    faces = data.load(root, classes=order)
    pd.testing.assert_frame_equal(faces.counts(), data.load(root, classes="rafdb").counts())
    assert faces.classes == tuple(order.values())
    drawn = load_model("drawn")  # whose classes stand in another order
    assert evaluation.predict(drawn, faces.subset("PublicTest")).correct.mean() > 0.6
    use(faces, tmp_path)


def use(faces: FaceDataset, folder: Path) -> None:
    """From loaded faces to a confusion matrix and a named picture, with a student's own network."""
    train, val = faces.subset("Training"), faces.subset("PublicTest")
    model = FaceModel(MyNet(len(faces.classes)), InputSpec(48), faces.classes)
    training.fit(model, train, val, TrainConfig(**QUICK), train_transform=BatchAugment(model.input_spec))
    found = evaluation.predict(model, val)
    axes = plots.plot_confusion(found)
    assert [text.get_text() for text in axes.get_yticklabels()] == list(faces.classes)
    table = evaluation.report(found)
    assert list(table.index) == list(faces.classes) and table["support"].sum() == len(val)
    summary = evaluation.summarise(found, resamples=50)
    assert (summary["low"] <= summary["value"]).all() and (summary["value"] <= summary["high"]).all()
    for axes in (plots.plot_report(table), plots.plot_counts(faces.counts())):
        shown = [text.get_text().splitlines()[0] for text in axes.get_yticklabels()]
        assert sorted(shown) == sorted(faces.classes)
    plots.plot_probabilities(found.probabilities[0], classes=found.classes)
    assert evaluation.cross_calibrate(found).classes == faces.classes
    save_model(model, folder / "run")
    again = load_model(folder / "run", network=MyNet(len(faces.classes)))
    assert evaluation.compare(found, evaluation.predict(again, val), resamples=50).p_value == 1
    path = export.to_onnx(again, folder / "model.onnx")
    assert export.predict_onnx(path, val.images).shape == (len(val), len(faces.classes))
    Image.fromarray(val.images[0]).resize((96, 96)).save(folder / "photo.png")
    recognizer = EmotionRecognizer(again, detector=whole_picture(), threshold=0.0)
    row = recognizer.predict(folder / "photo.png").iloc[0]
    assert row["emotion"] in faces.classes and row[list(faces.classes)].sum() == pytest.approx(1)
    plt.close("all")


@pytest.mark.parametrize("names", [EIGHT, FIVE])
def test_eight_and_five_classes_throughout(tmp_path: Path, names: tuple[str, ...]):
    root = write_tree(tmp_path / "tree", {name: place for place, name in enumerate(names)})
    if "contempt" in names:
        with pytest.raises(ValueError, match=r"'contempt' is none of the seven emotions .*classes=\"folders\""):
            data.load(root)
    faces = data.load(root, classes=names)
    assert faces.classes == names and data.load(root, classes="folders").classes == tuple(sorted(names))
    assert (faces.counts() == 12).all(axis=None)
    use(faces, tmp_path)


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        ({str(k): k for k in range(1, 8)}, "rafdb"),
        ({name: place for place, name in enumerate(EIGHT)}, EIGHT),
        ({name: place for place, name in enumerate(FIVE)}, FIVE),
    ],
    ids=["rafdb", "eight", "five"],
)
def test_from_files_to_a_confusion_matrix_and_a_named_picture(tmp_path: Path, folders: dict, classes: Any):
    """As a student types it, in under thirty lines, with her own network."""
    root = write_tree(tmp_path / "faces", folders)

    faces = data.load(root, classes=classes)
    train, val = faces.subset("Training"), faces.subset("PublicTest")
    augment = A.Compose([A.HorizontalFlip(), A.Rotate((-10, 10)), A.Normalize((0.5,), (0.5,)), ToTensorV2()])
    prepare = A.Compose([A.Normalize((0.5,), (0.5,)), ToTensorV2()])
    train_set, val_set = train.with_transform(augment), val.with_transform(prepare)
    network = MyNet(len(faces.classes))
    training.fit(network, train_set, val_set, TrainConfig(epochs=2, batch_size=16))
    found = evaluation.predict(network, val_set)
    axes = plots.plot_confusion(found)
    model = FaceModel(network, InputSpec(48, mean=(0.5,), std=(0.5,)), faces.classes)
    save_model(model, tmp_path / "mine")
    model = load_model(tmp_path / "mine", network=MyNet(len(faces.classes)))
    rows = EmotionRecognizer(model, detector=whole_picture()).predict(sorted((root / "val").rglob("*.png"))[0])

    assert [text.get_text() for text in axes.get_xticklabels()] == list(faces.classes)
    assert rows["emotion"].iloc[0] in faces.classes
    np.testing.assert_allclose(evaluation.predict(model, val).logits, found.logits, atol=1e-4)
    plt.close("all")


def test_names_that_are_no_emotions_work_throughout(tmp_path: Path):
    root = write_tree(tmp_path / "tree", {"open eyes": 3, "shut eyes": 4}, count=40)
    use(data.load(root, classes="folders"), tmp_path)


def test_a_function_tells_the_class_from_the_file(tmp_path: Path):
    images, _ = sample.draw(6)
    (folder := tmp_path / "kdef").mkdir()
    codes = ("HAP", "SAD", "NEU", "HAP", "SAD", "ANG")
    for k, code in enumerate(codes):  # as KDEF and JAFFE do it
        Image.fromarray(images[k]).save(folder / f"F{k:02}{code}.png")
    names = {"HAP": "happy", "SAD": "sad", "NEU": "neutral"}
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        faces = data.load(folder, classes=lambda path: names.get(path[-7:-4]))
    assert [faces.classes[label] for label in faces.labels] == ["happy", "sad", "neutral", "happy", "sad"]
    assert any("left out 1 images" in str(note.message) for note in notes)


# ---- bad input: one sentence before training starts


def test_two_classes_of_one_name_and_a_class_without_images(tmp_path: Path, faces: FaceDataset):
    for names in (("happy", "sad", "happy"), ("happy", "Happiness"), ("joy", "HAPPY")):
        with pytest.raises(ValueError, match="two classes have one name"):
            FaceDataset.from_arrays(faces.images[:2], [0, 1], classes=names)
    root = write_tree(tmp_path / "tree", {"happy": 3, "sad": 4})
    with pytest.raises(ValueError, match="no image has the class contempt, which classes= names; it has happy, sad"):
        data.load(root, classes=["happy", "sad", "contempt"])
    lacking = faces.subset(faces.labels != 1)
    with pytest.warns(UserWarning, match="train_set has no face of disgust; add some"):
        training.fit(
            MyNet(), lacking.with_transform(standard()), lacking.with_transform(standard()), TrainConfig(**QUICK)
        )


def fails(model: nn.Module, train_set: Any, val_set: Any, message: str, **options: Any) -> None:
    """`fit` raises before any weight moves, and in one sentence."""
    state = model.state_dict() if isinstance(model, nn.Module) else {}
    before = {name: value.clone() for name, value in state.items()}
    with pytest.raises(ValueError, match=message) as caught:
        training.fit(model, train_set, val_set, TrainConfig(**QUICK), **options)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in state.items())


def test_labels_outside_the_names(train: FaceDataset, val: FaceDataset, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"labels are 0 to 7, and there are 7 classes \(angry, .*\); give classes"):
        FaceDataset.from_arrays(train.images[:8], range(8))
    ready, ok = train.with_transform(standard()), val.with_transform(standard())
    wrong = Listed([(face, 9) for face, _ in (ready[k] for k in range(40))])
    fails(MyNet(), wrong, ok, r"train_set\[\d+\] has the label 9, and the network 7 outputs; labels are 0 to 6")
    one = Listed([(ready[k][0], 9 if k == 18 else 0) for k in range(40)])
    message = r"train_set\[18\] has the label 9, and the network 7 outputs; .* 0 to 6"
    fails(MyNet(), one, ok, message)
    fails(MyNet(), ready, one, message.replace("train", "val"))
    monkeypatch.setattr("ferlib.models.feed.SCANNED", 2)  # a larger data set: found when it is taken, by a worker too
    for workers in (0, 2):
        with pytest.raises(ValueError, match=message):
            training.fit(MyNet(), one, ok, TrainConfig(**QUICK | {"batch_size": 40, "workers": workers}))
    one.targets = [label for _, label in one.pairs]
    fails(MyNet(), one, ok, message)
    one.targets = [0] * 40
    one.pairs[0] = (one.pairs[0][0], 3)
    fails(MyNet(), one, ok, r"train_set\[0\] has the label 3, and its targets say 0; make both the same")
    soft = Listed([(ready[k][0], torch.full((7,), 5.0)) for k in range(40)])
    fails(MyNet(), soft, ok, r"train_set\[0\] has soft labels that sum to 35; shares sum to 1")
    for labels in ([0.5] * 8, ["happy"] * 8):
        with pytest.raises(ValueError, match="give class indices, whole numbers"):
            FaceDataset(train.images[:8], pd.DataFrame({"label": labels}))
    with pytest.raises(ValueError, match="the table has the split 'train'; allowed are Training, PublicTest, PrivateT"):
        FaceDataset(train.images[:8], pd.DataFrame({"label": [0] * 8, "split": "train"}))
    for odd in ({"happy", "sad"}, {"happy": 1, "sad": 0}):
        with pytest.raises(ValueError, match="give two names or more, each a text, in a list"):
            FaceDataset.from_arrays(train.images[:2], [0, 1], classes=odd)  # type: ignore[arg-type]


class Locked(MyNet):
    """What cannot be copied: a lock, and a map that it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        self.maps = self.body(faces)
        return self.last(self.maps.flatten(1))


def test_a_network_that_cannot_be_copied_is_kept(train: FaceDataset, val: FaceDataset, tmp_path: Path):
    model = FaceModel(Locked(), InputSpec(48), train.classes)
    training.fit(model, train, val, TrainConfig(**QUICK | {"epochs": 1}), out=tmp_path)
    again = load_model(tmp_path, network=Locked())
    np.testing.assert_allclose(evaluation.predict(again, val).logits, evaluation.predict(model, val).logits, atol=1e-5)


class Listed(Dataset):
    def __init__(self, pairs: Any):
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Any:
        return self.pairs[index]


def test_what_is_no_data_set_of_equal_tensors(train: FaceDataset, val: FaceDataset):
    ready, ok = train.with_transform(standard()), val.with_transform(standard())
    fails(MyNet(), DataLoader(ready, 32), ok, "train_set is DataLoader; give a Dataset .* such as loader.dataset")
    fails(MyNet(), ready, DataLoader(ok, 32), "val_set is DataLoader; give a Dataset .* such as loader.dataset")
    with pytest.raises(ValueError, match="dataset is DataLoader; give a Dataset"):
        evaluation.predict(MyNet(), DataLoader(ok, 32))
    pictures = Listed([(Image.fromarray(train.images[k]), 0) for k in range(40)])
    fails(MyNet(), pictures, ok, r"train_set\[0\] gives Image; \(tensor \(channels, h, w\) .* is due: end the")
    shapes = Listed([(torch.zeros(1, 48, 48 + k // 20), 0) for k in range(40)])
    fails(MyNet(), shapes, ok, r"train_set gives tensors of several kinds: .* put a Resize of one size")
    fails(MyNet(), Listed([]), ok, "train_set is empty")
    fails(MyNet(), Listed([(torch.zeros(1, 48, 48), "happy")] * 40), ok, r"has the label 'happy'; a class index is due")
    fails(
        MyNet(), Listed([torch.zeros(1, 48, 48)] * 40), ok, r"train_set\[0\] has the label None; a class index is due"
    )
    fails(MyNet(), [1, 2, 3], ok, r"train_set\[0\] gives int; \(tensor .*, label\) is due")
    fails(MyNet(), iter([]), ok, "train_set is list_iterator; give a Dataset with __len__ and __getitem__")


def test_a_model_that_does_not_fit_the_data(train: FaceDataset, val: FaceDataset):
    ready, ok = train.with_transform(standard()), val.with_transform(standard())
    fails(MyNet(5), ready, ok, r"MyNet gives 5 outputs, and there are 7 classes \(angry, .*\); give its last layer 7")
    with pytest.raises(ValueError, match="MyNet gives 5 outputs, and there are 7 classes"):
        FaceModel(MyNet(5), InputSpec(48))
    with pytest.raises(ValueError, match=r"give another size, or other channels: InputSpec\(64, channels=3\)$"):
        FaceModel(MyNet(), InputSpec(48, channels=3, mean=0.5, std=0.5))
    fails(nn.Linear(3, 7), ready, ok, r"Linear cannot take faces of shape \(1, 48, 48\) \(channels, h, w\): ")
    fails(nn.Identity(), ready, ok, r"Identity gives \(2, 1, 48, 48\) for two faces; logits \(2, classes\) are due")
    fails(MyNet, ready, ok, r"the model is <class .*MyNet'>; give an nn.Module, such as MyNet\(\)")
    fails(torch.compile(MyNet()), ready, ok, "the model is compiled; give the one that torch.compile was given")
    fails(MyNet(), train, ok, "train_set gives uint8 faces, which a bare network does not know how to normalise")
    fails(MyNet().half(), ready, ok, r"MyNet cannot take faces .*: Input type \(float\) and bias type \(.*Half\)")
    other = FaceModel(MyNet(2), InputSpec(48), ("open", "shut"))
    fails(other, train, val, "the model's classes are open, shut, those of train_set are angry, .*build_model")


def test_a_transform_that_contradicts_the_model(train: FaceDataset, val: FaceDataset):
    model = FaceModel(MyNet(), InputSpec(48), train.classes)
    own = standard()
    fails(
        model,
        train.with_transform(own),
        val,
        r"normalises by mean \(0.5,\) and sd \(0.5,\), the model's input_spec says",
    )
    with pytest.raises(ValueError, match=r"dataset's transform normalises by mean"):
        evaluation.predict(model, Subset(val.with_transform(own), range(9)))
    half = FaceModel(MyNet(), InputSpec(48, mean=(0.5,), std=(0.5,)), train.classes)
    fails(
        half, train.with_transform(standard(96)), val, r"gives faces \(1, 96, 96\), the model's input_spec says \(1, 48"
    )
    fails(half, train.with_transform(own), val, "train_transform prepares uint8 faces, and train_set's own transform",
          train_transform=BatchAugment(half.input_spec))  # fmt: skip
    fails(half, train, val, r"train_transform prepares faces by InputSpec\(.*0.5077.*BatchAugment\(model.input_spec\)",
          train_transform=BatchAugment(InputSpec(48)))  # fmt: skip
    bare = A.Compose([A.Resize(48, 48), A.ToFloat(max_value=255), ToTensorV2()])
    fails(half, train.with_transform(bare), val, "train_set's faces have mean .*, and the model's input_spec")
    loud = lambda image: torch.from_numpy(image[None].astype(np.float32))  # noqa: E731
    fails(half, train.with_transform(loud), val, "train_set's faces have mean .*, and the model's input_spec")
    plain = lambda image: torch.from_numpy(image[None] / np.float32(255))  # noqa: E731
    fails(
        half, train.with_transform(plain), val, r"train_set's faces have mean .* and sd .*, and the model's input_spec"
    )
    unscaled = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize([0.5], [0.5])])
    twice = A.Compose([A.Normalize(*NORMALIZE), A.Normalize(*NORMALIZE), ToTensorV2()])
    for wrong in (unscaled, twice, A.Compose([A.Normalize(*NORMALIZE, max_pixel_value=1.0), ToTensorV2()])):
        fails(half, train.with_transform(wrong), val, "train_set's faces have mean .*, and the model's input_spec")
    fails(
        MyNet(), train.with_transform(own), val.with_transform(plain), "train_set's faces have mean .*, val_set's mean"
    )
    fails(MyNet(), train.with_transform(own), val.with_transform(standard(40)),
          r"train_set gives faces \(1, 48, 48\), val_set \(1, 40, 40\); put the same Resize into both")  # fmt: skip
    other = val.with_transform(A.Compose([A.Normalize((0.4,), (0.2,)), ToTensorV2()]))
    fails(
        MyNet(),
        train.with_transform(own),
        other,
        "train_set's faces have mean .*, val_set's mean .*; give both the same Normalize",
    )


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ([A.HorizontalFlip()], r"the transform is \[HorizontalFlip.*; give an A.Compose"),
        (A.HorizontalFlip, r"the transform is <class .*; give an A.Compose"),
        ("flip", "the transform is 'flip'; give an A.Compose"),
        (BatchAugment(InputSpec()), r"BatchAugment works on whole batches; give it to fit\(..., train_transform"),
    ],
)
def test_what_is_no_transform_is_told_when_it_is_set(train: FaceDataset, transform: Any, message: str):
    with pytest.raises(ValueError, match=message):
        train.with_transform(transform)


def test_a_run_that_could_not_be_kept_is_told_before_it_starts(train: FaceDataset, val: FaceDataset, tmp_path: Path):
    opaque = lambda image: torch.from_numpy(image / np.float32(255))  # noqa: E731
    fails(MyNet(), train.with_transform(opaque), val.with_transform(opaque),
          r"out= saves the model, and how faces are normalised is unknown; give FaceModel",
          out=tmp_path)  # fmt: skip
    with pytest.raises(ValueError, match=r"MyNet is a bare network, and a file needs .*wrap it: FaceModel"):
        save_model(MyNet(), tmp_path)
    with pytest.raises(ValueError, match="MyNet is a bare network, and a recognizer needs"):
        EmotionRecognizer(MyNet())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="MyNet is a bare network, and an ONNX file needs"):
        export.to_onnx(MyNet(), tmp_path / "a.onnx")


def test_a_finished_run_is_not_written_over(train: FaceDataset, val: FaceDataset, tmp_path: Path):
    ready, ok = train.with_transform(standard()), val.with_transform(standard())
    training.fit(MyNet(), ready, ok, TrainConfig(**QUICK | {"epochs": 1}), out=tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    fails(MyNet(), ready, ok, "holds a run; give resume=True or another out", out=tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == whole


def test_what_a_newcomer_types_is_answered_in_a_sentence(train: FaceDataset, val: FaceDataset, tmp_path: Path):
    ready, ok = train.with_transform(standard()), val.with_transform(standard())
    for pipeline in (standard(), v2.RandomHorizontalFlip()):
        fails(FaceModel(MyNet(), InputSpec()), train, val, "train_transform .* works on one face; give it to",
              train_transform=pipeline)  # fmt: skip
    with pytest.warns(UserWarning, match="the network gives probabilities, .*; remove the softmax"):
        training.fit(nn.Sequential(MyNet(), nn.Softmax(1)), ready, ok, TrainConfig(**QUICK | {"epochs": 1}))
    for wrong in ({"lr": "1e-3"}, {"epochs": "2"}, {"batch_size": None}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; it must be a (whole )?number"):
            TrainConfig(**wrong)
    assert InputSpec(48, mean=0.5, std=0.25) == InputSpec(48, mean=(0.5,), std=(0.25,))
    with pytest.raises(ValueError, match="classes are 7; give two names or more"):
        FaceModel(MyNet(), InputSpec(), 7)  # type: ignore[arg-type]
    assert len(train.subset("train")) == len(train)
    with pytest.raises(ValueError, match=r"has no split 'PublicTest' open; it has Training"):
        train.subset("val")
    with pytest.raises(ValueError, match=r"PrivateTest stays sealed"):
        train.subset("test")
    assert (
        EmotionRecognizer(FaceModel(MyNet(), InputSpec()), detector="whole")
        .predict(val.images[0])["score"]
        .notna()
        .all()
    )


def test_settings_are_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        TrainConfig(3)  # type: ignore[misc]


@pytest.mark.parametrize("name", ["best.pth", "checkpoint.pt", "whole.bin", "state.pt"])
def test_a_pytorch_checkpoint_is_called_by_its_name(tmp_path: Path, name: str):
    path = tmp_path / name
    torch.save(MyNet() if name == "whole.bin" else MyNet().state_dict(), path)
    match = "is the state of a run" if name == "state.pt" else (
        r'is a PyTorch checkpoint, .*torch.load\(".*", weights_only=True\)\); model = FaceModel\(.*save_model\(model, "'
    )  # fmt: skip
    with pytest.raises(ValueError, match=match):
        load_model(path)


class Unsteady(MyNet):
    """A network with one of the mistakes that show only in training or after loading."""

    def __init__(self, mistake: str):
        super().__init__()
        self.mistake, self.steps = mistake, 0
        self.register_buffer("mu", torch.zeros(()), persistent=False)

    def forward(self, faces: torch.Tensor) -> Any:
        if self.training and self.mistake == "buffer":
            self.mu = self.mu + 1
        self.steps += self.training and self.mistake == "attribute"
        logits = super().forward(faces) * (1 + self.mu + self.steps)
        if self.training and self.mistake == "outputs":
            return logits, logits
        return torch.dropout(logits, 0.5, True) if self.mistake == "dropout" else logits


@pytest.mark.parametrize(("mistake", "message"), [
    ("dropout", "answers differently each time in evaluation mode; is F.dropout missing training=self.training"),
    ("buffer", "changes something in training that its state_dict does not hold"),
    ("attribute", "changes something in training that its state_dict does not hold"),
    ("outputs", "gives a tuple in training; logits .* aux_logits=False"),
])  # fmt: skip
def test_what_would_differ_after_loading_is_told_before_training(
    train: FaceDataset, val: FaceDataset, tmp_path: Path, mistake: str, message: str
):
    model = FaceModel(Unsteady(mistake), InputSpec(48), train.classes)
    fails(model, train, val, message)
    if mistake == "dropout":
        with pytest.raises(ValueError, match=message):
            save_model(model, tmp_path)


class Extra(MyNet):
    def get_extra_state(self) -> Any:
        return {"steps": 3}


def test_a_state_that_is_no_tensor_is_told_before_training(train: FaceDataset, val: FaceDataset, tmp_path: Path):
    model = FaceModel(Extra(), InputSpec(48), train.classes)
    with pytest.raises(ValueError, match="keeps _extra_state, which is no tensor"):
        training.fit(model, train, val, TrainConfig(**QUICK), progress=False)
    with pytest.raises(ValueError, match="keeps _extra_state, which is no tensor"):
        save_model(model, tmp_path)


def test_labels_of_two_kinds_and_settings_that_do_not_fit(train: FaceDataset, val: FaceDataset):
    ready, ok, k = train.with_transform(standard()), val.with_transform(standard()), len(train.classes)
    face = torch.randn(1, 48, 48)
    fails(MyNet(), Listed([(face, torch.tensor(2.0))] * 40), ok, "a class index is due")
    fails(MyNet(), Listed([(face, torch.eye(k, dtype=torch.long)[1])] * 40), ok, "a class index is due")
    fails(MyNet(), Listed([(face, torch.eye(k + 1)[1])] * 40), ok, f"and the network {k} outputs")
    mixed = Listed([(face, 1)] * 33 + [(face, torch.eye(k)[1])] + [(face, 1)] * 6)
    fails(MyNet(), mixed, ok, "train_set has soft and hard labels")
    fails(nn.DataParallel(MyNet()), ready, ok, "the model is in a DataParallel; give the network itself")
    with pytest.raises(ValueError, match="batch_size is 33; mixup and cutmix need an even one"):
        TrainConfig(batch_size=33, mixup=0.2)
    with pytest.raises(ValueError, match="progressive needs a BatchAugment as train_transform"):
        training.fit(MyNet(), ready, ok, TrainConfig(**QUICK | {"progressive": (36, 0.5)}), progress=False)


def test_a_file_of_the_user_is_never_replaced(train: FaceDataset, val: FaceDataset, tmp_path: Path):
    model = FaceModel(MyNet(), InputSpec(48), train.classes)
    (tmp_path / "history.csv").write_text("mine")
    fails(model, train, val, "holds a history.csv but no state.pt", out=tmp_path)
    (tmp_path / "model.safetensors").write_text("mine")
    with pytest.raises(ValueError, match="is kept as it is .*; give another folder"):
        save_model(model, tmp_path)
    assert save_model(model, tmp_path / "own") == save_model(model, tmp_path / "own")  # a cell that is run again


class Bent(MyNet):
    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return super().forward(-faces) if self.__dict__.get("bent") else super().forward(faces)


def test_a_resumed_run_has_its_forward_and_its_model(train: FaceDataset, val: FaceDataset, tmp_path: Path):
    config = TrainConfig(**QUICK | {"epochs": 1, "keep": "best"})
    training.fit(FaceModel(Bent(), InputSpec(48), train.classes), train, val, config, out=tmp_path, progress=False)
    right = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(right[:-9])
    bent = FaceModel(Bent(), InputSpec(48), train.classes)
    training.fit(bent, train, val, config, out=tmp_path, resume=True, progress=False)
    assert (tmp_path / "model.safetensors").read_bytes() == right
    bent.network.bent = True
    with pytest.raises(ValueError, match="answers otherwise than that of .* was its forward changed"):
        training.fit(bent, train, val, config, out=tmp_path, resume=True, progress=False)


def test_a_normalize_in_a_sequential_is_found():
    v2 = pytest.importorskip("torchvision.transforms.v2")
    assert normalization_of(nn.Sequential(nn.Identity(), v2.Normalize([0.5], [0.25]))) == ((0.5,), (0.25,))


def test_predict_warns_of_probabilities(val: FaceDataset, tmp_path: Path):
    constant = nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, len(val.classes)))
    nn.init.zeros_(constant[1].weight)
    model = FaceModel(constant, InputSpec(48), val.classes)
    assert load_model(save_model(model, tmp_path), network=constant).classes == val.classes  # a range of 0
    with pytest.warns(UserWarning, match="the network gives probabilities"):
        evaluation.predict(FaceModel(nn.Sequential(constant, nn.Softmax(1)), InputSpec(48), val.classes), val)


def test_a_function_that_writes_into_its_face_leaves_the_stored_one(train: FaceDataset):
    def cut(face: np.ndarray) -> np.ndarray:
        face[:12] = 0
        return face

    before = train.images.copy()
    assert train.with_transform(cut)[0][0][:, :12].max() == 0
    np.testing.assert_array_equal(train.images, before)


def test_a_subclass_gives_its_own_faces_to_a_loader_to_fit_and_to_predict(train: FaceDataset, val: FaceDataset):
    class Bright(FaceDataset):
        def __getitem__(self, index: int):
            image, label = super().__getitem__(index)
            return torch.full_like(image, 255), label

    faces = Bright(val.images, val.table, classes=val.classes)
    assert next(iter(data.loader(faces, 8)))[0].min() == 255
    model = FaceModel(MyNet(), InputSpec(), val.classes)
    model.eval()
    with torch.inference_mode():
        want = model(EvalTransform(InputSpec())(torch.full((1, 1, 48, 48), 255, dtype=torch.uint8)))
    found = evaluation.predict(model, faces)
    np.testing.assert_allclose(found.logits, np.tile(want.numpy(), (len(val), 1)), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found.labels, val.labels)
    seen = []
    model.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].std().item()))
    training.fit(model, faces, faces, TrainConfig(**QUICK | {"epochs": 1}), progress=False)
    assert max(seen[-2:]) < 1e-3, "all pixels are equal"


def test_labels_cannot_be_changed_where_the_change_would_be_lost(train: FaceDataset):
    with pytest.raises(ValueError, match="read-only"):
        train.labels[0] = 3
    changed = replace(train, table=train.table.assign(label=3))
    assert set(changed.labels) == set(changed.subset([0, 1]).labels) == {3}


def test_numbers_of_pixels_are_no_mean_and_sd():
    for mean, std in ((129.5, 0.25), (0.5, 65.0)):
        with pytest.raises(ValueError, match="they are on the scale 0 to 1; divide those of pixels by 255"):
            InputSpec(48, mean=mean, std=std)


def test_a_pipeline_of_another_size_than_the_models_is_told(train: FaceDataset, val: FaceDataset):
    model = build_model("plain_cnn", classes=train.classes)
    larger = train.with_transform(A.Resize(96, 96))
    with pytest.warns(UserWarning, match="makes faces of 96x96 px, and the model's input_spec shrinks them to 48"):
        evaluation.predict(model, larger)


def test_facts_of_a_file_are_copied_with_its_weights_and_end_when_they_change(train: FaceDataset, tmp_path: Path):
    drawn, model = load_model("drawn"), load_model("fer2013-small")
    assert load_model(save_model(drawn, tmp_path / "drawn")).about["margin"] == drawn.about["margin"] > 0
    again = load_model(save_model(model, tmp_path / "copy"))
    assert again.temperature == model.temperature != 1
    assert load_model(save_model(model, tmp_path / "other", temperature=1.5)).temperature == 1.5
    with torch.no_grad():
        model.network.head.weight.mul_(2)  # as a loop of one's own changes weights
    assert load_model(save_model(model, tmp_path / "changed")).temperature == 1
    few = train.subset(range(40))
    training.fit(drawn, few, few, TrainConfig(**QUICK | {"epochs": 1}), progress=False)
    assert drawn.about == {}


def test_predictions_of_probabilities_are_told():
    p = np.array([[0.2, 0.8], [0.6, 0.4]])
    with pytest.warns(
        UserWarning, match=r"the logits look like probabilities, and a softmax follows; give np.log\(p.clip"
    ):
        evaluation.Predictions(p, np.array([0, 1]), ("open", "shut"))
    np.testing.assert_allclose(evaluation.Predictions(np.log(p), np.array([0, 1]), ("open", "shut")).probabilities, p)
    evaluation.Predictions(np.eye(2), np.array([0, 1]), ("open", "shut"))  # votes for one class


def test_a_mean_of_zero_is_a_mean():
    for start in ({"name": "plain_cnn"}, {"name": "fernet", "weights": "fer2013"}):
        assert build_model(**start, mean=0.0, std=1.0).input_spec == InputSpec(48, mean=0.0, std=1.0)
