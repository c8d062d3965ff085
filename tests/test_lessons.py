"""The lessons run, on the drawn faces and on FER2013's layout, from wherever they are started."""

from pathlib import Path

import pytest
from on_disk import write_csv

import course
import lesson
from ferlib import sample

LESSONS = course.find_lessons(course.ROOT)


@pytest.fixture(scope="module")
def fer2013(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces in the layout of FER2013, with twins across the splits."""
    images, table = sample.draw(500, seed=6, balance="equal")
    images[400:440] = images[:40]
    splits = ["Training"] * 400 + ["PublicTest"] * 100
    return write_csv(tmp_path_factory.mktemp("fer2013") / "fer2013.csv", images, table["label"], splits)


@pytest.mark.parametrize("source", LESSONS, ids=lambda source: source.stem)
@pytest.mark.parametrize("kind", ["drawn", "fer2013"])
def test_lesson_runs(source: Path, kind: str, fer2013: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FERLIB_FAST", "1")
    if kind == "fer2013":
        monkeypatch.setenv("FERLIB_DATA", str(fer2013))
    notebook = course.read_lesson(source)
    failure = lesson.execute(notebook, tmp_path, timeout=240)
    assert failure is None, f"cell {failure.cell}:\n{failure.source}\n{failure.message}"
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= {"01": 4, "02": 6}.get(source.stem[:2], 1)
