"""The weights that ship, their cards, and the evidence behind the figures: they must tell one story."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from ferlib import data, evaluation, models
from ferlib.emotions import EMOTIONS, FER2013_COUNTS

EVIDENCE = Path(__file__).parent.parent / "benchmarks" / "fer2013"
SIZES = {"fer2013": 6_000_000, "fer2013-resnet": 6_000_000, "fer2013-small": 1_000_000}  # bytes, at most
SHIPPED = sorted(SIZES)  # on photographs; `drawn` has a test of its own


def card(name: str) -> str:
    return (models.SHIPPED / f"{name}.md").read_text(encoding="utf-8")


def evidence(run: str, views: str = "shift_flip_averaged") -> evaluation.Predictions:
    labels = pd.read_csv(EVIDENCE / "publictest.csv")["label"].to_numpy()
    with np.load(EVIDENCE / run / "logits.npz") as kept:
        return evaluation.Predictions(kept[views].astype(np.float32), labels)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_load_by_name_and_are_small(name: str):
    assert (models.SHIPPED / f"{name}.safetensors").stat().st_size <= SIZES[name]
    model = models.load_model(name)
    about = model.about
    assert about["name"] == name and about["seed"] in about["seeds_tried"]
    assert models.model_hash(model) in card(name)
    known = {option: value for option, value in model.architecture.items() if option != "num_classes"}
    again = models.build_model(**{**known, "weights": name})
    assert models.model_hash(again) == models.model_hash(model)
    assert again.classes == model.classes == EMOTIONS and again.input_spec == model.input_spec


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_says_what_a_card_must(name: str):
    text = card(name)
    for part in ("## Data", "## Protocol", "## Accuracy", "## Calibration", "## What it must not be used for",
                 "February 2025", "Barrett", "PublicTest", "clean"):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize("name", SHIPPED)
def test_the_cards_figures_are_those_of_the_committed_logits(name: str):
    about = models.load_model(name).about
    found = evidence(about["run"])
    percent = 100 * accuracy_score(found.labels, found.predicted)
    assert about["publictest_percent_by_seed"][about["seeds_tried"].index(about["seed"])] == pytest.approx(
        percent, abs=0.006
    )
    table = pd.read_csv(EVIDENCE / "publictest.csv")
    clean = table["clean"].to_numpy(bool)
    parts = {"clean": clean, "all": np.ones(len(table), bool)}
    rows = [line for line in card(name).splitlines() if line.startswith(("| one |", "| a face", "| 18"))]
    expected = [(evidence(about["run"], views).subset(mask), part) for views in evaluation.VIEWS
                for part, mask in parts.items()]  # fmt: skip
    assert len(rows) == len(expected) + 3
    assert ("It was not opened" in card(name)) == (name == "fer2013-resnet"), "PrivateTest"
    for row, (some, part) in zip(rows, expected, strict=False):
        cells = [cell.strip() for cell in row.split("|")[2:-1]]
        assert cells[:3] == [part, f"{len(some.labels):,}", f"{some.correct.sum():,}"]
        assert cells[3].startswith(f"{100 * accuracy_score(some.labels, some.predicted):.2f} [")
        assert cells[5].startswith(f"{100 * f1_score(some.labels, some.predicted, average='macro'):.2f} [")
    for row, views in zip(rows[-3:], evaluation.VIEWS, strict=True):
        some = evidence(about["run"], views)
        figures = evaluation.ece(some), evaluation.ece(evaluation.cross_calibrate(some))
        assert [f"{100 * figure:.1f}%" for figure in figures] == [cell.strip() for cell in row.split("|")[2:4]]
        assert f"{evaluation.fit_temperature(some):.2f}" == row.split("|")[4].strip()
    each = zip(*precision_recall_fscore_support(found.labels[clean], found.predicted[clean]), strict=True)
    for emotion, (precision, recall, f1, support) in zip(EMOTIONS, each, strict=True):
        told = " | ".join(f"{100 * share:.1f}" for share in (precision, recall, f1))
        assert f"| {emotion} | {told} | {support} |" in card(name)


@pytest.mark.parametrize(("name", "correct"), [("fer2013", 748), ("fer2013-resnet", 914), ("fer2013-small", 748)])
def test_the_drawn_faces_are_read_as_the_card_says(name: str, correct: int):
    """Two of the card's 18 views, which take a ninth of the time: as many right as when they were counted."""
    model, faces = models.load_model(name), data.load("sample").subset("PublicTest")
    found = evaluation.predict(model, faces, views=evaluation.VIEWS["flip_averaged"])
    assert abs(found.correct.sum() - correct) <= 3
    interval = re.search(r"Balanced accuracy on 2,000 of them,\s18 views: [\d.]+% \[([\d.]+), ([\d.]+)\]", card(name))
    balanced = 100 * evaluation.summarise(found, resamples=50).loc["balanced_accuracy", "value"]
    assert float(interval[1]) <= balanced <= float(interval[2])


def test_the_evidence_is_whole_and_counted_as_official():
    table = pd.read_csv(EVIDENCE / "publictest.csv")
    assert tuple(table["label"].value_counts().sort_index()) == FER2013_COUNTS["PublicTest"]
    assert table["clean"].sum() == 3309
    runs = sorted(path.parent for path in EVIDENCE.glob("*/run.json"))
    assert runs
    figures = pd.read_csv(EVIDENCE / "figures.csv").set_index(["run", "seed"])
    assert len(figures) == len(runs)
    for run in runs:
        name, seed = run.name.rsplit("-", 1)
        facts = json.loads((run / "run.json").read_text())
        assert facts["seed"] == int(seed)
        for views in evaluation.VIEWS:
            found = evidence(run.name, views)
            assert figures.loc[(name, int(seed)), views] == pytest.approx(100 * found.correct.mean(), abs=1e-3)
        if name.endswith("-mean"):  # of the weights of two runs: nothing was trained
            continue
        history, single = pd.read_csv(run / "history.csv"), 100 * evidence(run.name, "single_view").correct.mean()
        assert len(history) == facts["epochs"]
        assert 100 * history["val_accuracy"].iloc[-1] == pytest.approx(single, abs=0.3), "bf16 against fp32"


def test_the_model_of_drawn_faces_does_what_its_card_says():
    assert sorted(path.stem for path in models.SHIPPED.glob("*.safetensors")) == ["drawn", *SHIPPED]
    model = models.load_model("drawn")
    test = data.load("sample").subset("PublicTest")
    found = evaluation.predict(model, test)
    told = re.search(r"\| all \| 2,000 \| ([\d,]+) \|", card("drawn"))
    assert abs(int(told[1].replace(",", "")) - found.correct.sum()) <= 3
    assert models.model_hash(model) in card("drawn")
    assert (models.SHIPPED / "drawn.safetensors").stat().st_size <= 1_000_000


def test_a_resnet_is_fine_tuned_from_the_shipped_one_offline():
    model = models.build_model("resnet18", weights="fer2013-resnet", classes=("open", "shut"))
    shipped = models.load_model("fer2013-resnet")
    assert model.input_spec == shipped.input_spec and model.classes == ("open", "shut")
    own, known = model.network.state_dict(), shipped.network.state_dict()
    assert own["fc.weight"].shape == (2, 256)
    assert all((own[name] == known[name]).all() for name in known if not name.startswith("fc."))
