"""Tests of `ferlib.sample`: what is planted is there, a row redraws its face, and the faces behave like faces."""

import cv2
import numpy as np
import pandas as pd
import pytest

from ferlib import sample
from ferlib.emotions import EMOTIONS, FER2013_COUNTS, SPLITS
from ferlib.sample import drawn

CLEAN = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "shift_x": 0.0, "shift_y": 0.0, "scale": 0.42, "blur": 0.0,
         "noise": 0.0, "occlusion": "none", "exposure": 1.0, "contrast": 1.0, "light_strength": 0.0}  # fmt: skip


@pytest.fixture(scope="module")
def embedded(drawn_dataset: tuple[np.ndarray, pd.DataFrame]) -> tuple[np.ndarray, pd.DataFrame]:
    return drawn_dataset


@pytest.fixture(scope="module")
def person() -> pd.Series:
    """One bare face: no beard, glasses or hair in the way, every muscle at rest."""
    bare = {"beard": 0.0, "moustache": False, "glasses": False, "hair": "bald"}
    rest = dict.fromkeys(sample.ACTION_UNITS, 0.0) | bare
    return sample.draw(1, seed=3, skin=180.0, mouth_curve=0.0, **rest, **CLEAN)[1].iloc[0]


def box(row: pd.Series, part: str, size: int, grow: float = 0.0) -> np.ndarray:
    """Mask (size, size) of a box of a row drawn at 48 px, grown by `grow` of its sides."""
    x0, y0, x1, y1 = (row[f"{part}_{edge}"] * size / 48 for edge in ("x0", "y0", "x1", "y1"))
    y, x = np.mgrid[:size, :size] + 0.5
    dx, dy = grow * (x1 - x0), grow * (y1 - y0)
    return (x0 - dx <= x) & (x <= x1 + dx) & (y0 - dy <= y) & (y <= y1 + dy)


def test_same_seed_same_bytes_and_n_does_not_matter() -> None:
    images, table = sample.draw(30, seed=5)
    again, table_again = sample.draw(12, seed=5)
    assert np.array_equal(images[:12], again)
    pd.testing.assert_frame_equal(table.iloc[:12], table_again)
    assert not np.array_equal(images, sample.draw(30, seed=6)[0])
    assert images.dtype == np.uint8
    assert images.flags.c_contiguous
    assert images.shape == (30, 48, 48)


@pytest.mark.parametrize("size", [24, 48, 97, 512])
def test_any_size_is_drawn_and_boxes_scale_with_it(size: int) -> None:
    images, table = sample.draw(3, size=size, seed=2)
    small = sample.draw(3, size=48, seed=2)[1]
    assert images.shape == (3, size, size)
    assert images.std(axis=(1, 2)).min() > 3  # there is something on every image
    assert np.allclose(table[sample.BOX_COLUMNS] / size, small[sample.BOX_COLUMNS] / 48, atol=1e-6)


def test_balance() -> None:
    assert np.array_equal(np.bincount(sample.draw(70, balance="equal", seed=1)[1].label), [10] * 7)
    shares = np.bincount(drawn._labels(2800, 0, "fer2013")) / 2800
    expected = np.array(FER2013_COUNTS["Training"]) / 28709
    assert np.abs(shares - expected).max() < 0.002


def test_dataset_sizes_shares_and_persons(embedded: tuple[np.ndarray, pd.DataFrame]) -> None:
    images, table = embedded
    assert images.shape == (6800, 48, 48)
    assert table.split.tolist() == [SPLITS[0]] * 2800 + [SPLITS[1]] * 2000 + [SPLITS[2]] * 2000
    shares = np.bincount(table.true_label[:2800]) / 2800
    assert np.abs(shares - np.array(FER2013_COUNTS["Training"]) / 28709).max() < 0.005
    persons = [set(part.identity) for _, part in table[table.twin_of < 0].groupby("split")]
    assert [len(a & b) for a, b in zip(persons, persons[1:] + persons[:1], strict=True)] == [0, 0, 0]
    assert (table.group[:2800] == "dim").mean() == pytest.approx(0.08, abs=0.005)
    dim = (table.group == "dim").to_numpy()
    assert images[dim].mean() < 0.6 * images[~dim].mean()
    assert (table[sample.VOTE_COLUMNS].sum(axis=1) == 10).all()
    assert (table[sample.VOTE_COLUMNS] >= 0).all(axis=None)


def test_dataset_faults_are_planted_exactly(embedded: tuple[np.ndarray, pd.DataFrame]) -> None:
    images, table = embedded
    for split in SPLITS[1:]:
        part = table[table.split == split]
        assert part.twin_kind.value_counts().to_dict() == {"": 1780, "exact": 160, "near": 60}
        assert part.twin_of.max() < 2800
        assert (part.label == part.true_label).all()
    for row, source in table.twin_of[table.twin_kind == "exact"].items():
        assert np.array_equal(images[row], images[source])
        assert table.identity[row] == table.identity[source]
    near = table[table.twin_kind == "near"]
    assert all(not np.array_equal(images[row], images[source]) for row, source in near.twin_of.items())
    assert set(near.twin_change) == {"shift", "brightness", "noise", "flip"}
    for row, source in near.twin_of[near.twin_change == "flip"].items():
        assert np.array_equal(images[row], images[source][:, ::-1])
    assert table.blank.sum() == 12
    assert images[table.blank].std(axis=(1, 2)).max() == 0
    assert (images.std(axis=(1, 2)) == 0).sum() == 12
    assert table.flipped.sum() == table.flipped[:2800].sum() == 224
    assert ((table.label != table.true_label) == (table.flipped | table.conflict)).all()


def test_twenty_groups_of_equal_images_disagree(embedded: tuple[np.ndarray, pd.DataFrame]) -> None:
    images, table = embedded
    shown = ~table.blank.to_numpy()
    keys = [image.tobytes() for image in images[shown]]
    labels = table.label[shown].groupby(keys)
    assert (labels.max() > labels.min()).sum() == 20
    assert table.conflict.sum() == 20
    assert (labels.size() > 1).sum() == 340  # and no image is repeated by accident


def test_weak_faces_split_the_raters(embedded: tuple[np.ndarray, pd.DataFrame]) -> None:
    table = embedded[1]
    top = table[sample.VOTE_COLUMNS].max(axis=1)
    shown = table[(table.true_label != EMOTIONS.index("neutral")) & ~table.blank]
    assert top[shown.index[shown.intensity > 0.8]].mean() > top[shown.index[shown.intensity < 0.5]].mean() + 1


def test_redraw_gives_the_very_pixels(embedded: tuple[np.ndarray, pd.DataFrame]) -> None:
    images, table = embedded
    plain = table.index[(table.twin_of < 0) & ~table.blank]
    for row in plain[::23]:
        assert np.array_equal(sample.redraw(table.loc[row]), images[row])


def test_a_smile_changes_the_lower_face_and_lifts_the_corners(person: pd.Series) -> None:
    rest, smile = (sample.redraw(person, size=192, au12=value).astype(float) for value in (0.0, 0.9))
    change = np.abs(smile - rest)
    mouth, face = box(person, "mouth", 192, 0.6), box(person, "face", 192, 0.02)
    assert change[mouth].mean() > 10 * change[~mouth].mean()
    assert change[~face].max() == 0

    def corner_height(image: np.ndarray) -> float:
        """Height above the middle of the lip line, in pixels, of the darkest pixels near the corners."""
        near = box(person, "mouth", 192, 0.3)
        rows = np.flatnonzero(near.any(axis=1))
        line = rows[0] + image[rows].argmin(axis=0)
        columns = np.flatnonzero(near.any(axis=0))
        left, right = columns[len(columns) // 6], columns[-len(columns) // 6]
        return float(line[96] - (line[left] + line[right]) / 2)

    assert corner_height(smile) > corner_height(rest) + 2
    assert corner_height(sample.redraw(person, size=192, au15=0.9).astype(float)) < corner_height(rest) - 2


@pytest.mark.parametrize(("unit", "part"), [("au1", "brows"), ("au4", "brows"), ("au5", "eyes"), ("au26", "mouth")])
def test_each_unit_moves_its_part(person: pd.Series, unit: str, part: str) -> None:
    change = np.abs(sample.redraw(person, size=96, **{unit: 1.0}).astype(float) - sample.redraw(person, size=96))
    inside = box(person, part, 96, 0.5)
    assert change[inside].mean() > 3 * change[~inside].mean()


def test_mark_is_a_square_in_the_corner() -> None:
    images, table = sample.draw(60, seed=4, mark=("happy", 1.0))
    marked = (images[:, -6:, -6:] == 250).all(axis=(1, 2))
    assert np.array_equal(marked, table.label == EMOTIONS.index("happy"))
    assert np.array_equal(marked, table["mark"])
    assert not sample.draw(60, seed=4)[1]["mark"].any()


def test_bad_input_is_named(person: pd.Series) -> None:
    for bad, why in (({"size": 23}, "give 24 px or more"), ({"balance": "odd"}, "balance is 'odd'; allowed are"),
                     ({"mark": ("glad", 0.5)}, "give one of angry"), ({"yaw": 90.0}, "the range")):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            sample.draw(**({"n": 1} | bad))
    with pytest.raises(ValueError, match="allowed are au1, au2"):
        sample.redraw(person, smile=1.0)
    with pytest.raises(ValueError, match=r"au12 is 1\.5; allowed is the range \(0\.0, 1\.0\)"):
        sample.redraw(person, au12=1.5)
    with pytest.raises(ValueError, match="hair is 'mohawk'; allowed are .*'curly'"):
        sample.redraw(person, hair="mohawk")
    with pytest.raises(ValueError, match="give 24 px or more"):
        sample.redraw(person, size=10)


def test_haar_finds_frontal_faces() -> None:
    images, _ = sample.draw(100, size=96, seed=1, yaw=0.0, pitch=0.0, roll=0.0, occlusion="none")
    finder = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    assert np.mean([len(finder.detectMultiScale(image, 1.05, 3)) > 0 for image in images]) >= 0.9
