"""The one page runs from class folders to a named picture, without ferlib and without a network, in few lines."""

import re
from pathlib import Path
from typing import Any

import cv2
import nbformat
import pytest
import warm
from test_lessons import WATCH, drew, printed

import course
import lesson
from ferlib import sample
from ferlib.emotions import EMOTIONS

SOURCE = course.ROOT / "notebooks/src/one_page.py"


def code_lines(cell: Any) -> list[str]:
    return [line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def write_faces(folder: Path) -> None:
    for split, n, seed in (("train", 140, 1), ("test", 70, 2)):
        images, table = sample.draw(n, seed=seed, balance="equal")
        for i, (image, label) in enumerate(zip(images, table["label"], strict=True)):
            (folder / split / EMOTIONS[label]).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / split / EMOTIONS[label] / f"{i}.png"), image)


def test_the_page_is_short_and_imports_no_ferlib():
    cells = [cell for cell in course.read_lesson(SOURCE).cells if cell.cell_type == "code"]
    assert sum(len(code_lines(cell)) for cell in cells) <= 80
    assert max(len(code_lines(cell)) for cell in cells) <= 15
    assert not any(re.search(r"^\s*(import|from) ferlib", cell.source, re.MULTILINE) for cell in cells)


def test_the_page_runs_on_class_folders(tmp_path: Path):
    write_faces(tmp_path / "faces")
    notebook = course.read_lesson(SOURCE)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = f'DATA, SIZE, EPOCHS, BATCH, LR = Path(r"{tmp_path / "faces"}"), 32, 2, 28, 1e-3'
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WATCH))
    with warm.kernels():
        failure = lesson.execute(notebook, tmp_path, timeout=240)
    assert failure is None, f"cell {failure.cell}:\n{failure.source}\n{failure.message}"
    cells = [cell for cell in notebook.cells[1:] if cell.cell_type == "code"]
    text = "".join(map(printed, cells))
    assert re.findall(r"epoch (\d): validation loss \d\.\d\d, accuracy \d+\.\d%", text) == ["1", "2"]
    assert re.search(r"accuracy +0\.\d\d +70\n", text), "each of the 70 validation faces is in the report"
    shares = dict(re.findall(r"'(\w+)': '(\d+)%'", text))
    assert sorted(shares) == sorted(EMOTIONS) and sum(map(int, shares.values())) == pytest.approx(100, abs=4)
    assert sum(map(drew, cells)) == 2
    assert text.count("BARE") == text.count("BARE: the y axis of '' has no label") == 1, "the colour bar alone"
    assert (tmp_path / "one_page.pt").exists()
