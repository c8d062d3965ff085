"""FER+: votes worked out by hand, joined by row; soft labels as a loader hands them out; tables that do not fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from on_disk import agreed, write_csv, write_folders, write_votes

from ferlib import data, sample
from ferlib.data import FaceDataset, ferplus, loader
from ferlib.emotions import EMOTIONS, FER2013_COUNTS

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in ("of FER2013's", "no image of", "FER+")]

FACES = sample.draw(8, seed=3)[0]
ORDER = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "nf")


def votes(**named: int) -> list[int]:
    return [named.get(name, 0) for name in ORDER]


ROWS = [
    votes(happiness=7, surprise=2, neutral=1),  # the single vote goes: happy 7 of 9, surprise 2 of 9
    votes(anger=4, disgust=4, neutral=2),  # no majority; shares .4, .4, .2: the label is angry, the first
    votes(fear=5, unknown=3, surprise=2),  # five of ten are no more than half; shares fear 5/7, surprise 2/7
    votes(sadness=3, contempt=4, neutral=3),  # contempt has the most
    votes(neutral=5, nf=5),  # a tie with no face: neutral stays, but has no majority
    votes(nf=10),  # no image name
    votes(sadness=2, **dict.fromkeys(("neutral", "happiness", "surprise", "anger", "fear", "unknown"), 1)),
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],  # nothing is left of it
]
NAMES = [f"fer{i + 1:07}.png" if i != 5 else "" for i in range(8)]  # one off the row's number, as FER+'s own are
SPLITS = ["Training"] * 6 + ["PublicTest"] * 2


@pytest.fixture
def faces(tmp_path: Path) -> FaceDataset:
    return data.load(write_csv(tmp_path / "fer2013.csv", FACES, [3, 3, 2, 6, 6, 0, 4, 5], SPLITS))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_votes(tmp_path / "fer2013new.csv", ROWS, SPLITS, NAMES)


def shares(**named: float) -> list[float]:
    return [named.get(name, 0) for name in EMOTIONS]


SHARES = [
    shares(happy=7 / 9, surprise=2 / 9),
    shares(angry=0.4, disgust=0.4, neutral=0.2),
    shares(fear=5 / 7, surprise=2 / 7),
    shares(neutral=1),
    shares(sad=1),
]


def test_majority_keeps_what_more_than_half_of_the_votes_left_say(faces: FaceDataset, table: Path):
    joined = ferplus.join(faces, table)
    assert joined.table["row"].tolist() == [0, 6]
    np.testing.assert_array_equal(joined.images, FACES[[0, 6]])
    assert [EMOTIONS[label] for label in joined.labels] == ["happy", "sad"]
    assert joined.targets is None and not joined.draw
    assert joined.notes == (*faces.notes, "FER+ majority: 2 of 8 faces kept") and faces.notes
    assert joined.name == "fer2013.csv, FER+ majority"
    assert faces.labels.tolist() == [3, 3, 2, 6, 6, 0, 4, 5], "the dataset that was given is as it was"


def test_votes_are_for_the_seven_emotions_alone(table: Path):
    for classes in (("open", "shut"), EMOTIONS[::-1]):
        other = FaceDataset.from_arrays(FACES, [0, 1] * 4, classes=classes, name="others")
        told = f"^FER.'s votes are for the seven emotions; others has {', '.join(classes)}$"
        for how in ferplus.SCHEMES:
            with pytest.raises(ValueError, match=told):
                ferplus.join(other, table, how=how)


@pytest.mark.parametrize("how", ["cross_entropy", "probability"])
def test_shares_are_of_the_seven_without_single_votes(faces: FaceDataset, table: Path, how: str):
    joined = ferplus.join(faces, table, how=how)
    assert joined.table["row"].tolist() == [0, 1, 2, 4, 6]
    assert joined.targets is not None and joined.targets.dtype == np.float32
    np.testing.assert_allclose(joined.targets, SHARES, atol=1e-6)
    assert [EMOTIONS[label] for label in joined.labels] == ["happy", "angry", "fear", "neutral", "sad"]
    assert joined.draw == (how == "probability")
    assert joined.notes[-1] == f"FER+ {how}: 5 of 8 faces kept"


def test_rows_are_joined_by_position_in_any_subset(faces: FaceDataset, table: Path):
    joined = ferplus.join(faces.subset([6, 2, 5]), table, how="cross_entropy")
    assert joined.table["row"].tolist() == [6, 2]
    np.testing.assert_allclose(joined.targets, [SHARES[4], SHARES[2]], atol=1e-6)


def test_a_loader_gives_shares_or_labels_drawn_by_them(faces: FaceDataset, table: Path):
    soft = ferplus.join(faces, table, how="cross_entropy")
    _, targets = next(iter(loader(soft, 5)))
    assert targets.dtype == torch.float32 and targets.tolist() == soft.targets.tolist()
    assert soft[1][1].tolist() == soft.targets[1].tolist()
    _, targets = next(iter(loader(soft.subset([4, 0]), 2)))
    assert targets.tolist() == soft.targets[[4, 0]].tolist()

    drawn = ferplus.join(faces, table, how="probability")
    batches = loader(drawn.subset(np.repeat([0, 1, 2, 3, 4], 2000)), 1000)
    torch.manual_seed(0)
    first = torch.cat([labels for _, labels in batches])
    second = torch.cat([labels for _, labels in batches])
    torch.manual_seed(0)
    assert first.dtype == torch.int64 and torch.equal(first, torch.cat([labels for _, labels in batches]))
    assert not torch.equal(first, second), "each taking draws anew"
    found = np.stack([np.bincount(part, minlength=7) / 2000 for part in first.numpy().reshape(5, 2000)])
    assert np.abs(found - SHARES).max() < 4 * np.sqrt(0.25 / 2000)
    assert (found[np.array(SHARES) == 0] == 0).all()
    torch.manual_seed(0)
    assert {drawn[0][1] for _ in range(50)} == {EMOTIONS.index("happy"), EMOTIONS.index("surprise")}
    assert isinstance(drawn[0][1], int)


def test_a_transform_keeps_its_random_numbers_from_the_labels(faces: FaceDataset, table: Path):
    drawn = ferplus.join(faces, table, how="probability")
    noisy = replace(drawn, transform=lambda image: torch.rand(1, 2, 2))
    torch.manual_seed(0)
    images, labels = loader(noisy, 5).dataset.__getitems__([0, 1, 2, 3, 4])
    torch.manual_seed(0)
    assert torch.equal(images, torch.stack([torch.rand(1, 2, 2) for _ in range(5)]))
    assert torch.equal(labels, torch.multinomial(torch.from_numpy(drawn.targets), 1)[:, 0])


def test_joining_again_with_another_scheme_replaces_the_first(faces: FaceDataset, table: Path):
    again = ferplus.join(ferplus.join(faces, table, how="probability"), table, how="majority")
    assert again.targets is None and not again.draw and again.labels.tolist() == [3, 4]


def test_folder_copies_are_joined_by_the_row_in_their_names_or_not_at_all(tmp_path: Path, table: Path):
    labels = [3, 3, 2, 6, 6, 0, 4, 5]
    names = [f"x/{{}}/{split}_{i:08}.png" for i, split in enumerate(SPLITS)]
    present = [7, 6, 4, 2, 0]  # some are missing, and folders sort otherwise
    root = write_folders(tmp_path / "a", FACES[present], [labels[i] for i in present], [names[i] for i in present])
    joined = ferplus.join(data.load(root), table, how="cross_entropy")
    told = {image.tobytes(): row for image, row in zip(joined.images, joined.targets.tolist(), strict=True)}
    for i, row in ((0, SHARES[0]), (2, SHARES[2]), (4, SHARES[3]), (6, SHARES[4])):
        np.testing.assert_allclose(told[FACES[i].tobytes()], row, atol=1e-6)
    for number in ("Training_10018523.png", "0.png"):
        root = write_folders(tmp_path / number[:3], FACES[:1], [3], [f"train/{{}}/{number}"])
        with pytest.raises(
            ValueError, match="are not in the order of fer2013new.csv; load the challenge's own fer2013"
        ):
            ferplus.join(data.load(root), table)


def test_a_table_that_does_not_fit_is_refused(faces: FaceDataset, table: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="how is 'mean'; allowed are majority, probability, cross_entropy"):
        ferplus.join(faces, table, how="mean")
    for rows, splits in ((ROWS[:7], SPLITS[:7]), (ROWS, SPLITS[::-1])):
        other = write_votes(tmp_path / "other.csv", rows, splits, NAMES[: len(rows)])
        with pytest.raises(ValueError, match="faces of fer2013.csv are not in the order of other.csv; load"):
            ferplus.join(faces, other)
    with pytest.raises(ValueError, match=r"fer2013.csv is no table of FER\+ votes"):
        ferplus.join(faces, tmp_path / "fer2013.csv")
    with pytest.raises(FileNotFoundError, match="nowhere.csv"):
        ferplus.join(faces, tmp_path / "nowhere.csv")


def rows_of(given: np.ndarray, splits: object = "Training") -> FaceDataset:
    columns = {"label": given, "split": splits, "row": range(len(given))}
    return FaceDataset(np.zeros((len(given), 2, 2), np.uint8), pd.DataFrame(columns), "x")


def test_rows_in_another_order_are_noticed_by_the_faces_of_every_class(tmp_path: Path):
    rng = np.random.default_rng(0)
    labels = rng.choice(7, 1500, p=np.array(FER2013_COUNTS["Training"]) / 28709)
    called = [rng.choice(7, p=ferplus.CALLED[label] / ferplus.CALLED[label].sum()) for label in labels]
    table = write_votes(tmp_path / "votes.csv", [agreed(label) for label in called], ["Training"] * 1500)
    assert ferplus.join(rows_of(labels), table).labels.tolist() == called
    for mask in (labels == 2, labels == 4, rng.random(1500) < 0.2, ~np.isin(labels, [3])):
        joined = ferplus.join(rows_of(labels).subset(mask), table)
        assert len(joined) == mask.sum()
    others = np.where(labels == 3, 3, rng.permutation(labels))
    others[labels != 3] = rng.permutation(labels[labels != 3])
    late = [np.delete(labels, at) for at in (3, 700, 1300, 1450)]  # those behind it have their neighbour's votes
    few = np.delete(labels[labels != 3], 5)
    for wrong in (*late, np.roll(labels, 1), rng.permutation(labels), others, few):
        with pytest.raises(ValueError, match="not in the order of votes.csv"):
            ferplus.join(rows_of(wrong), table)


def test_targets_are_checked():
    frame = pd.DataFrame({"label": [0, 1], "split": "Training", "row": [0, 1]})
    images = np.zeros((2, 4, 4), np.uint8)
    good = np.eye(7, dtype=np.float32)[:2]
    assert FaceDataset(images, frame, "x", targets=good).targets is good
    with pytest.raises(
        ValueError, match=r"targets is \(1, 7\); due is \(2, 7\), the shares of the classes of each face"
    ):
        FaceDataset(images, frame, "x", targets=good[:1])
    for wrong in ((np.nan, 1), (-0.5, 1.5), (3, 1)):
        bad = good.copy()
        bad[1, :2] = wrong
        with pytest.raises(ValueError, match=r"targets\[1\] is no row of shares; they are at least 0 and sum to 1"):
            FaceDataset(images, frame, "x", targets=bad)
