"""Each of the ten common errors of `notebooks/common_errors.md` is made, told as that page tells it, and mended."""

import dataclasses
import re
import warnings
from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from on_disk import write_folders
from torch import nn
from torchvision.datasets import ImageFolder

import course
from ferlib import data, evaluation, models, protocol, sample
from ferlib.apps.detection import Haar
from ferlib.emotions import EMOTIONS
from ferlib.transforms import EvalTransform

PAGE = (course.ROOT / "notebooks/common_errors.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\d+)\. .+?\n\n(.+?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, pd.DataFrame]:
    return sample.draw(200, seed=3)


def told(number: int) -> str:
    """The words that the page gives for an error, on one line."""
    return " ".join(re.findall(r"^    (.+)$", SECTIONS[str(number)], re.MULTILINE))


def says(number: int, make: Callable[[], object]) -> None:
    """Python's words for an error are those of the page, where `...` stands for anything."""
    with pytest.raises(Exception, match=r"\w") as error:
        make()
    words = " ".join(f"{error.typename}: {error.value}".split())
    pattern = ".*".join(re.escape(part.strip()) for part in told(number).split("..."))
    assert re.fullmatch(pattern, words), f"{words}\nis not what the page says:\n{told(number)}"


def faces_of(images: np.ndarray, labels: np.ndarray, **columns: object) -> data.FaceDataset:
    table = pd.DataFrame({"row": np.arange(len(images)), "label": labels, "split": "Training", **columns})
    return data.FaceDataset(images, table, "drawn")


def test_the_page_has_ten_and_a_table_that_leads_to_them():
    assert list(SECTIONS) == [str(number) for number in range(1, 11)]
    rows = re.findall(r"^\| \[(\d+)\]\(#(\S+)\)", PAGE, re.MULTILINE)
    titles = re.findall(r"^## (\d+\. .+)$", PAGE, re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
    assert rows == [(anchor.split("-")[0], anchor) for anchor in anchors]


def test_1_a_cell_above_was_not_run():
    says(1, lambda: exec("faces.subset('Training')", {}))


def test_2_a_face_without_its_channel(drawn):
    model, images = models.build_model("plain_cnn"), torch.from_numpy(drawn[0][:32])
    says(2, lambda: model(images.float()))
    assert model(images[:, None].float()).shape == (32, 7)


def test_3_bytes_where_numbers_are_due(drawn):
    says(3, lambda: models.build_model("plain_cnn")(torch.from_numpy(drawn[0][:2])[:, None]))
    images, labels = torch.from_numpy(drawn[0])[:, None], drawn[1]["label"].to_numpy()
    model = models.load_model("drawn").eval()
    fed = [EvalTransform(model.input_spec)(images), images.float(), images.float() / 255]
    with torch.inference_mode():
        said = [model(batch).argmax(1).numpy() for batch in fed]
    right = [(answer == labels).mean() for answer in said]
    for share, quoted in zip(right, re.findall(r"(\d+)%", SECTIONS["3"]), strict=True):
        assert abs(100 * share - int(quoted)) < 2
    assert 0.6 < (said[2] == EMOTIONS.index("neutral")).mean() < 0.73, "two thirds"


def test_4_the_softmax_twice():
    surest = torch.eye(7).log()  # all probability on the right class: no loss can be smaller
    labels = torch.arange(7)
    assert F.cross_entropy(surest, labels) == 0
    floor = F.cross_entropy(surest.softmax(1), labels)
    assert abs(floor - 1.165) < 1e-3 and "1.165 nats" in SECTIONS["4"]


def test_5_slopes_that_were_never_cleared(drawn):
    images = torch.tensor(drawn[0][:32])[:, None].float() / 64 - 2
    labels = torch.tensor(drawn[1]["label"].to_numpy()[:32])

    def losses(clear: bool) -> np.ndarray:
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 16, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1936, 64), nn.ReLU()
        network = nn.Sequential(*layers, nn.Linear(64, 7))
        optimizer, seen = torch.optim.Adam(network.parameters(), lr=2e-3), []
        for _ in range(50):
            loss = F.cross_entropy(network(images), labels)
            if clear:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        return np.array(seen)

    cleared, kept = losses(True), losses(False)
    assert cleared[-1] < 0.1
    assert kept[20:].min() > 0.5 and (np.diff(kept) > 0).mean() > 0.25, "up and down"
    once = torch.ones(1, requires_grad=True)
    for _ in range(2):
        (3 * once).backward()
    assert once.grad == 6, "backward adds"


def test_6_a_model_that_still_trains(drawn):
    model = models.build_model("plain_cnn")
    batch = EvalTransform(model.input_spec)(torch.from_numpy(drawn[0][:4])[:, None])
    model.train()
    assert not torch.equal(model(batch), model(batch))
    model.eval()
    assert torch.equal(model(batch), model(batch))
    norm = models.build_model("fernet", drop_rate=0.0).train()
    assert not torch.allclose(norm(batch)[:2], norm(batch[:2]), atol=1e-4), "BatchNorm asks the others in the batch"
    four = data.FaceDataset(drawn[0][:4], drawn[1][:4])
    twice = [evaluation.predict(norm, four).logits for _ in range(2)]
    assert np.array_equal(*twice) and norm.training, "predict puts it back as it was"


def test_7_labels_in_another_order(drawn, tmp_path):
    names = [f"train/{{}}/Training_{i}.png" for i in range(60)]
    write_folders(tmp_path, drawn[0][:60], drawn[1]["label"][:60], names)
    folders = ImageFolder(tmp_path / "train").class_to_idx
    assert [folders[name] for name in ("neutral", "sad", "surprise")] == [4, 5, 6]
    assert [EMOTIONS.index(name) for name in ("sad", "surprise", "neutral")] == [4, 5, 6]
    assert [name for name in EMOTIONS if folders[name] == EMOTIONS.index(name)] == ["angry", "disgust", "fear", "happy"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the images that FER2013 would have
        read = data.load(tmp_path)
    by_image = {image.tobytes(): label for image, label in zip(drawn[0], drawn[1]["label"], strict=True)}
    assert all(by_image[image.tobytes()] == label for image, label in zip(read.images, read.labels, strict=True))


def test_8_250_and_10_make_4():
    face = np.array([[250]], np.uint8)
    assert (face + np.uint8(10)).item() == 4 and (torch.from_numpy(face) + 10).item() == 4
    assert np.clip(face.astype(int) + 10, 0, 255).astype(np.uint8).item() == 255


def test_9_weights_of_another_network(tmp_path):
    eight = models.build_model("plain_cnn", classes=(*EMOTIONS, "contempt"))
    other, model = eight.network, models.build_model("plain_cnn").network
    says(9, lambda: model.load_state_dict(other.state_dict()))
    before = models.model_hash(model)
    model.load_state_dict(models.build_model("fernet").network.state_dict(), strict=False)
    assert models.model_hash(model) == before, "not one name fitted, and nothing said so"
    path = models.save_model(models.build_model("fernet", widths=(8, 8, 8, 8)), tmp_path)
    assert models.load_model(path).network.head.out_features == 7


def test_10_a_score_too_good_to_be_true(drawn):
    images, table = drawn
    twice = faces_of(np.concatenate([images, images]), np.tile(table["label"].to_numpy(), 2))
    order = np.random.default_rng(0).permutation(400)

    def shared(train: data.FaceDataset, test: data.FaceDataset) -> float:
        return np.isin(protocol.image_hashes(test.images), protocol.image_hashes(train.images)).mean()

    assert shared(twice.subset(order[:320]), twice.subset(order[320:])) > 0.7, "split at random, most have their twin"
    assert shared(*protocol.split(twice, share=0.2)) == 0
    equal = np.random.default_rng(0).binomial(2000, 0.8, (1000, 12)) / 2000
    assert equal.max(1).mean() > 0.81, "the best of twelve that are equally good"
    assert abs(equal[:, 0].mean() - 0.8) < 0.001


def test_the_machines_three(monkeypatch: pytest.MonkeyPatch):
    said = re.findall(r"^\| `(.+?)` \|", PAGE.split("three of the machine")[1].split("## ")[0], re.MULTILINE)
    assert len(said) == 3
    module, cascade, found = (re.escape(text).replace(re.escape("..."), ".+") for text in said)
    with pytest.raises(ModuleNotFoundError) as error:
        __import__("ferlab")
    assert re.fullmatch(module.replace("ferlib", "ferlab"), f"ModuleNotFoundError: {error.value}")
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(ValueError, match=cascade):
        Haar()
    monkeypatch.setattr(data.sources, "FER2013_NAMES", ("no such file",))
    with pytest.raises(FileNotFoundError, match=found):
        data.load("fer2013")


def test_weights_fed_with_another_mean_and_sd_know_less(drawn):
    """The last of the three of fine-tuning; the two before it need a GPU."""
    assert len(re.findall(r"^\| [`n].+ \|.+\|$", PAGE.split("fine-tuning and GPUs")[1], re.MULTILINE)) == 3
    images, table = drawn
    model = models.load_model("drawn").eval()
    right = []
    for spec in (model.input_spec, dataclasses.replace(model.input_spec, mean=(0.0,), std=(1 / 255,))):
        logits = model.network(EvalTransform(spec)(torch.from_numpy(images)[:, None]))
        right.append((logits.argmax(1).numpy() == table["label"]).mean())
    assert right[0] > 0.8 and right[1] < right[0] - 0.1
