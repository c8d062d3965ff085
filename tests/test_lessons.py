"""The lessons run, on the drawn faces and on FER2013's layout, from wherever they are started, without a network."""

import copy
import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import warm
from on_disk import write_csv

import course
import lesson
from ferlib import sample

LESSONS = course.find_lessons(course.ROOT)
RUNS = [
    pytest.param(source, kind, id=f"{kind}-{source.stem}")
    for source in LESSONS
    for kind in ("drawn", "fer2013")
    if kind == "drawn" or "here.load(" in source.read_text(encoding="utf-8")  # the others always take drawn faces
]

# Put before a lesson: it may not reach beyond this computer, and each of its plots says what it shows.
WATCH = """
import socket

import matplotlib.pyplot as plt
from IPython import get_ipython


def stay(sock, address, real=socket.socket.connect):
    if sock.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise RuntimeError(f"a lesson tried to reach {address!r}; lessons run without a network")
    return real(sock, address)


def look():
    for figure in map(plt.figure, plt.get_fignums()):
        if not (figure.get_suptitle() or any(ax.get_title(loc) for ax in figure.axes for loc in ("left", "center"))):
            print("BARE: a figure has no title")
        for ax in figure.axes:
            for axis, whole in ((ax.xaxis, figure.get_supxlabel()), (ax.yaxis, figure.get_supylabel())):
                ticks = axis.get_major_ticks() if ax.axison and axis.get_visible() else []
                told = any(tick.label1.get_visible() or tick.label2.get_visible() for tick in ticks)
                if told and not (axis.get_label_text() or whole):
                    print(f"BARE: the {axis.axis_name} axis of {ax.get_title()!r} has no label")


socket.socket.connect = stay
get_ipython().events.register("post_execute", look)
"""


@pytest.fixture(scope="module", autouse=True)
def kernels(drawn_in_cache: None) -> Iterator[None]:
    """Kernels that start fast."""
    with warm.kernels():
        yield


@pytest.fixture(scope="module")
def fer2013(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces in the layout of FER2013, with twins across the splits."""
    images, table = sample.draw(500, seed=6, balance="equal")
    images[400:440] = images[:40]
    splits = ["Training"] * 400 + ["PublicTest"] * 100
    return write_csv(tmp_path_factory.mktemp("fer2013") / "fer2013.csv", images, table["label"], splits)


def run(source: Path, folder: Path, **env: str) -> list[Any]:
    """The code cells of a lesson after a fast run in `folder`."""
    import nbformat

    notebook = course.runnable(source, fast=True)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WATCH))
    notebook.cells += exercises_of(notebook) if course.read_beside(source) else []
    failure = lesson.execute(notebook, folder, timeout=240, env={"FERLIB_FAST": "1", **env})
    assert failure is None, f"cell {failure.cell}:\n{failure.source}\n{failure.message}"
    return [cell for cell in course.without_hidden(notebook).cells[1:] if cell.cell_type == "code"]


def exercises_of(notebook: Any) -> list[Any]:
    """Copies of the cells of a lesson's exercises, which must run after all others, too."""
    tags = {"exercise", "solution"}
    cells = [cell for cell in notebook.cells if tags & {*cell.metadata.get("tags", [])} or "here.check(" in cell.source]
    return [*map(copy.deepcopy, cells)]


def printed(cell: Any, stream: str = "stdout") -> str:
    return "".join(output.text for output in cell.outputs if output.get("name") == stream)


def drew(cell: Any) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.outputs)


@pytest.mark.parametrize(("source", "kind"), RUNS)
def test_lesson_runs(source: Path, kind: str, fer2013: Path, tmp_path: Path):
    claims, folder = tmp_path / "claims.csv", tmp_path / "elsewhere"
    folder.mkdir()
    env = {"FERLIB_ANSWERS": "solution", "FERLIB_CLAIMS": str(claims)}
    cells = run(source, folder, **env, **({"FERLIB_DATA": str(fer2013)} if kind == "fer2013" else {}))
    problems = [problem for cell in cells for problem in problems_of(cell, kind)]
    assert not problems, "\n".join(problems)
    assert any(map(drew, cells)), "a lesson draws at least one picture"
    if kind == "drawn":
        with claims.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert {row["lesson"] for row in rows} == {course.number_of(source)}
        assert {row["held"] for row in rows} == {""}, "a fast run only reports"


def problems_of(cell: Any, kind: str) -> Iterator[str]:
    """What is wrong with a cell's outputs, each with the cell's first line."""
    where = f" (cell that begins: {cell.source.splitlines()[0]})"
    checks, alt = cell.source.count("here.check("), cell.metadata.get("alt")
    yield from (line + where for line in printed(cell).splitlines() if line.startswith("BARE: "))
    if drew(cell) and not alt:
        yield "drawn without alternative text" + where
    if kind == "drawn" and alt and not drew(cell):
        yield "alternative text of what is not drawn" + where
    if kind == "drawn" and not re.fullmatch(r"(.*: UserWarning: .*\n(  .*\n)?)*", printed(cell, "stderr")):
        yield f"on stderr more than a note of ferlib's: {printed(cell, 'stderr')[:500]}" + where
    if printed(cell).count("Right.") < checks:
        yield f"a solution is not right: {printed(cell)[:500]}" + where


def test_kernels_are_apart(tmp_path: Path):
    """What the tests rest on: a forked kernel knows nothing of another, and is where and what it was told to be."""
    (tmp_path / "a.py").write_text("# %%\nimport os, ferlib.data\nferlib.data.mark = mark = 1\nos.environ['MARK'] = ''")
    look = "assert 'mark' not in globals() and not hasattr(ferlib.data, 'mark') and 'MARK' not in os.environ"
    (tmp_path / "b.py").write_text(f"# %%\nimport os, ferlib.data\n{look}\nprint(os.getcwd(), os.environ['GIVEN'])")
    run(tmp_path / "a.py", tmp_path)
    assert printed(run(tmp_path / "b.py", tmp_path, GIVEN="this")[0]) == f"{tmp_path} this\n"
