"""Drawn scenes and videos: boxes against the pixels, seeds, and what is refused."""

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferlib import sample
from ferlib.emotions import EMOTIONS
from ferlib.sample import scenes


@pytest.fixture(scope="module")
def drawn():
    return scenes.draw(6, seed=3)


def test_scenes_are_as_asked(drawn):
    images, truth = drawn
    assert images.shape == (6, 480, 640) and images.dtype == np.uint8
    counts = truth["scene"].value_counts()
    assert set(counts.index) == set(range(6)) and counts.between(1, 5).all()
    high = truth["y1"] - truth["y0"]
    assert high.between(60, 200).all()
    assert truth[["x0", "y0"]].to_numpy().min() >= 0 and (truth["x1"] <= 640).all() and (truth["y1"] <= 480).all()
    assert not set(sample.BOX_COLUMNS) & set(truth)


def test_faces_lie_apart(drawn):
    for _, faces in drawn[1].groupby("scene"):
        for a, b in combinations(faces[scenes.BOX].to_numpy(), 2):
            assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


def test_a_box_holds_the_face_that_its_row_tells_of():
    """The very face of the row, drawn alone at that size, is what correlates with the pixels in the box."""
    images, truth = scenes.draw(3, seed=8, faces=(2, 2), size=(100, 120))
    assert len(truth) == 6
    for row in truth.to_dict("records"):
        x0, y0, x1, y1 = (round(row[edge]) for edge in scenes.BOX)
        seen = images[row["scene"], y0:y1, x0:x1].astype(float)
        matches = []
        for other in truth.to_dict("records"):
            alone = sample.redraw(other, size=round((y1 - y0) / 0.63))
            middle = alone[len(alone) // 2 - (y1 - y0) // 2 :, len(alone) // 2 - (x1 - x0) // 2 :]
            part = cv2.resize(middle[: y1 - y0, : x1 - x0], (x1 - x0, y1 - y0))
            inner = np.s_[(y1 - y0) // 4 : -(y1 - y0) // 4, (x1 - x0) // 4 : -(x1 - x0) // 4]
            matches.append(np.corrcoef(seen[inner].ravel(), part[inner].ravel())[0, 1])
        assert (
            np.argmax(matches)
            == truth.index[truth["identity"].eq(row["identity"]) & truth["scene"].eq(row["scene"])][0]
        )


def test_a_scene_is_the_same_whatever_n_is(drawn):
    again, rows = scenes.draw(2, seed=3)
    np.testing.assert_array_equal(again, drawn[0][:2])
    assert rows.equals(drawn[1][drawn[1]["scene"] < 2])
    assert (scenes.draw(1, seed=4)[0] != again[:1]).any()


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"faces": (0, 2)}, {"faces": (3, 2)}, {"size": (10, 50)}, {"size": (60, 400)}]
)
def test_impossible_scenes_are_refused(wrong: dict):
    with pytest.raises(ValueError, match="needed are n >= 1"):
        scenes.draw(**({"n": 1} | wrong))


def test_a_crowd_without_room_is_drawn_as_far_as_there_is_room():
    truth = scenes.draw(1, width=320, height=240, faces=(30, 30), size=(100, 120))[1]
    assert 1 <= len(truth) < 30


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_video_holds_its_frames_and_its_face_moves_and_changes(tmp_path: Path, suffix: str):
    truth = scenes.video(tmp_path / f"face{suffix}", frames=40, width=320, height=240, size=100)
    capture = cv2.VideoCapture(str(tmp_path / f"face{suffix}"))
    assert capture.get(cv2.CAP_PROP_FPS) == 30
    frames = [capture.read()[1] for _ in range(40)]
    assert not capture.read()[0] and frames[39].shape == (240, 320, 3)
    assert truth["frame"].tolist() == list(range(40))
    assert {EMOTIONS[label] for label in truth["label"]} == {"neutral", "angry"}
    assert truth["x0"].nunique() == 40
    moved = np.abs(frames[0].astype(int) - frames[39]).mean(2) > 25
    x0, y0, x1, y1 = truth.loc[39, scenes.BOX].astype(int)
    assert moved[y0:y1, x0:x1].mean() > 3 * moved[:40].mean()


@pytest.mark.parametrize("name", ["face.gif", "nowhere/face.mp4"])
def test_a_video_that_cannot_be_written_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match="cannot write the video .*give .mp4 or .avi"):
        scenes.video(tmp_path / name, frames=1)
