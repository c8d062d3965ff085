"""A class that hands in all that classes hand in, graded end to end: is anybody's score lost, or anything not told?

    python tools/rehearsal.py                      # 200 students, in build/class

Each submission is of one kind, for which the points are known beforehand: what this process gives the same answers.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import assignments
import preflight
import teach
from assignments import Assignment, grade_id

LINES = 100_000  # that a paper of huge output prints
LOOP = "    while True:\n        pass\n"
DEAF = """    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""


@dataclass(frozen=True)
class Paper:
    """A submission on its way: the assignment, its source's cells with hidden cases, whom to hand it in for."""

    one: Assignment
    cells: Sequence[Any]
    folder: Path
    student: str
    rng: np.random.Generator

    def answers(self, *wrong: Any) -> list[Any]:
        """The right answers, or some wrong ones among them."""
        return assignments.answered(self.cells, *wrong)

    def points(self, cells: Sequence[Any]) -> float:
        """What these answers are worth, without the parts that are graded by hand."""
        return sum(assignments.run(cells).values())

    def hand_in(self, cells: Sequence[Any] | None = None) -> Path:
        """Put the submission into its folder."""
        return teach.hand_in(self.folder, self.one.name, self.student, cells or self.answers())

    def change(self, path: Path, how: Callable[[Any], None]) -> None:
        """Change a notebook that was handed in."""
        import nbformat

        notebook = preflight.read(path)
        how(notebook)
        path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")

    def function(self) -> str:
        """One of the functions, by chance."""
        return str(self.rng.choice(self.one.functions))

    def instead(self, function: str, body: str, after: str = "") -> list[Any]:
        """The right answers, but for one function, which does this."""
        code = f"def {function}(*args, **kwargs):\n{body}\n{after}"
        return assignments.answered(self.cells, assignments.Wrong(function, "", "", code))

    def without(self, function: str) -> float:
        """The points of a submission that is right but for one function."""
        full = assignments.points_of(self.cells)
        tests = [cell for cell in self.cells if cell.metadata.get("nbgrader", {}).get("grade")]
        automatic = [grade_id(cell) for cell in tests if not cell.metadata["nbgrader"]["solution"]]
        return sum(full[name] for name in automatic if not name.startswith(f"{function}_"))


# Each kind hands something in and returns the points that it must get, or None where nothing can be graded, and a word
# that the teacher has to be told.
def right(paper: Paper) -> tuple[float | None, str]:
    """All of it right."""
    paper.hand_in()
    return paper.points(paper.cells), ""


def wrong(paper: Paper) -> tuple[float | None, str]:
    """A wrong answer in each function."""
    picked = []
    for name in paper.one.functions:
        others = [other for other in paper.one.wrong if other.function == name]
        picked.append(others[int(paper.rng.integers(len(others)))])
    cells = paper.answers(*picked)
    paper.hand_in(cells)
    return paper.points(cells), ""


def one_wrong(paper: Paper) -> tuple[float | None, str]:
    """One wrong answer, the rest right."""
    cells = paper.answers(paper.one.wrong[int(paper.rng.integers(len(paper.one.wrong)))])
    paper.hand_in(cells)
    return paper.points(cells), ""


def untouched(paper: Paper) -> tuple[float | None, str]:
    """As it was released."""
    path = paper.hand_in()
    shutil.copy(paper.folder / "release" / paper.one.name / path.name, path)
    return 0.0, "not answered"


def half(paper: Paper) -> tuple[float | None, str]:
    """One function was never begun."""
    name = paper.function()
    released = preflight.read(paper.folder / "release" / paper.one.name / f"{paper.one.name}.ipynb")
    stub = next(cell.source for cell in released.cells if grade_id(cell) == name)
    paper.hand_in(assignments.answered(paper.cells, assignments.Wrong(name, "", "", stub)))
    return paper.without(name), f"not answered: {name}"


def typo(paper: Paper) -> tuple[float | None, str]:
    """One answer does not even parse."""
    name = paper.function()
    paper.hand_in(assignments.answered(paper.cells, assignments.Wrong(name, "", "", f"def {name}(x)\n    return x")))
    return paper.without(name), ""


def empty_file(paper: Paper) -> tuple[float | None, str]:
    """A file of no bytes."""
    paper.hand_in().write_text("")
    return None, "is empty"


def cut_short(paper: Paper) -> tuple[float | None, str]:
    """Half a file, as after a broken upload."""
    path = paper.hand_in()
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    return None, "cut short"


def no_notebook(paper: Paper) -> tuple[float | None, str]:
    """Something else under the notebook's name."""
    paper.hand_in().write_bytes(b"%PDF-1.7 \x80\x81 a report")
    return None, "cannot be read"


def nothing_inside(paper: Paper) -> tuple[float | None, str]:
    """A folder without a notebook."""
    paper.hand_in().unlink()
    return None, "no notebook"


def tampered(paper: Paper) -> tuple[float | None, str]:
    """Wrong answers, and tests that were made to pass."""
    cells = paper.answers(*[next(o for o in paper.one.wrong if o.function == name) for name in paper.one.functions])

    def soften(notebook: Any) -> None:
        for cell in notebook.cells:
            if cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code":
                cell.source = "print('passed')"

    paper.change(paper.hand_in(cells), soften)
    return paper.points(cells), "were changed"


def richer(paper: Paper) -> tuple[float | None, str]:
    """Other points in the metadata."""

    def raise_points(notebook: Any) -> None:
        for cell in notebook.cells:
            if cell.metadata.get("nbgrader", {}).get("grade"):
                cell.metadata["nbgrader"]["points"] = 100

    paper.change(paper.hand_in(), raise_points)
    return paper.points(paper.cells), "points were changed"


def deleted_tests(paper: Paper) -> tuple[float | None, str]:
    """The cells with tests are gone."""

    def drop(notebook: Any) -> None:
        notebook.cells = [cell for cell in notebook.cells if not grade_id(cell).endswith(("_seen", "_hidden"))]

    paper.change(paper.hand_in(), drop)
    return paper.points(paper.cells), "put back"


def through_colab(paper: Paper) -> tuple[float | None, str]:
    """Edited in Colab: its own metadata everywhere, ids in the metadata, outputs and executed cells."""

    def pass_through(notebook: Any) -> None:
        import nbformat

        notebook.metadata = {
            "colab": {"provenance": [], "toc_visible": True},
            "kernelspec": {"name": "python3", "display_name": "Python 3"},
            "accelerator": "GPU",
        }
        notebook.nbformat_minor = 0
        for number, cell in enumerate(notebook.cells):
            cell.metadata |= {"id": cell.pop("id"), "colab": {"base_uri": "https://localhost:8080/"}}
            if cell.cell_type == "code":
                cell.execution_count = number + 1
                cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="ran\n")]

    paper.change(paper.hand_in(), pass_through)
    return paper.points(paper.cells), ""


def lost_metadata(paper: Paper) -> tuple[float | None, str]:
    """All metadata and the cells' ids are gone, as after a converter: nbgrader alone gives a silent zero."""

    def strip(notebook: Any) -> None:
        for number, cell in enumerate(notebook.cells):
            cell.metadata, cell.id = {}, f"new{number}"

    paper.change(paper.hand_in(), strip)
    return paper.points(paper.cells), "metadata was lost"


def copied_cell(paper: Paper) -> tuple[float | None, str]:
    """An answer's cell is there twice, the copy as it was released."""
    name = paper.function()

    def double(notebook: Any) -> None:
        place = next(i for i, cell in enumerate(notebook.cells) if grade_id(cell) == name)
        notebook.cells.insert(place, type(notebook.cells[place])(notebook.cells[place]))
        notebook.cells[place].source = f"def {name}(*args):\n    raise NotImplementedError()"
        notebook.cells[place].id = "copy"

    paper.change(paper.hand_in(), double)
    return paper.points(paper.cells), "2 times"


def moved_cells(paper: Paper) -> tuple[float | None, str]:
    """Tests before the answers."""
    paper.change(paper.hand_in(), lambda notebook: notebook.cells.reverse())
    return paper.points(paper.cells), "another order"


def own_cells(paper: Paper) -> tuple[float | None, str]:
    """Cells and a helper function of one's own, and an answer that uses it."""
    name = paper.function()

    def add(notebook: Any) -> None:
        import nbformat

        place = next(i for i, cell in enumerate(notebook.cells) if grade_id(cell) == name)
        code = notebook.cells[place].source.replace(f"def {name}(", f"def my_{name}(")
        notebook.cells.insert(place, nbformat.v4.new_code_cell(code))
        notebook.cells[place + 1].source = f"def {name}(*args, **kwargs):\n    return my_{name}(*args, **kwargs)\n"
        notebook.cells.append(nbformat.v4.new_markdown_cell("My notes."))

    paper.change(paper.hand_in(), add)
    return paper.points(paper.cells), ""


def renamed(paper: Paper) -> tuple[float | None, str]:
    """The browser's copy of the name."""
    path = paper.hand_in()
    path.rename(path.with_name(f"{path.stem} (1).ipynb"))
    return paper.points(paper.cells), "was called"


def other_kernel(paper: Paper) -> tuple[float | None, str]:
    """Made with a kernel that the teacher does not have."""

    def change(notebook: Any) -> None:
        notebook.metadata["kernelspec"] = {"name": "my-env", "display_name": "my env", "language": "python"}

    paper.change(paper.hand_in(), change)
    return paper.points(paper.cells), "kernel"


def endless(paper: Paper) -> tuple[float | None, str]:
    """One function never returns."""
    name = paper.function()
    paper.hand_in(paper.instead(name, LOOP))
    return paper.without(name), "did not end in time"


def deaf(paper: Paper) -> tuple[float | None, str]:
    """One function never returns, and catches what would stop it."""
    paper.hand_in(paper.instead(paper.function(), DEAF))
    return None, "could not be stopped"


def leaves(paper: Paper) -> tuple[float | None, str]:
    """One function ends Python."""
    paper.hand_in(paper.instead(paper.function(), "    import os\n    os._exit(0)\n"))
    return None, "Python ended"


def huge_output(paper: Paper) -> tuple[float | None, str]:
    """Prints 100 * LINES characters in one line, then LINES lines of 100 characters."""
    print_much = f"print('x' * {100 * LINES})\nfor _ in range({LINES}):\n    print('y' * 99)\n"
    name = paper.function()
    cells = paper.answers()
    for cell in cells:
        if grade_id(cell) == name:
            cell.source = f"{print_much}\n{cell.source}"
    paper.hand_in(cells)
    return paper.points(paper.cells), "long output"


def warns(paper: Paper) -> tuple[float | None, str]:
    """Right, with a warning and words on stderr in every call: nbgrader alone takes them for failures."""
    name = paper.function()
    noise = f"""
import sys, warnings
_quiet_{name} = {name}
def {name}(*args, **kwargs):
    warnings.warn("be careful")
    print("look here", file=sys.stderr)
    return _quiet_{name}(*args, **kwargs)
"""
    cells = paper.answers()
    for cell in cells:
        if grade_id(cell) == name:
            cell.source += noise
    paper.hand_in(cells)
    return paper.points(paper.cells), ""


def peeks(paper: Paper) -> tuple[float | None, str]:
    """Looks for the hidden tests in the gradebook and in its caller; the attempt has to be told."""
    name = paper.function()
    body = """    import sqlite3, sys, pathlib
    for path in pathlib.Path.cwd().resolve().parents:
        if (path / "gradebook.db").exists():
            print(sqlite3.connect(path / "gradebook.db").execute("select source from source_cell").fetchall())
    raise ValueError(list(sys._getframe(1).f_locals))"""
    paper.hand_in(paper.instead(name, body))
    return paper.without(name), "hidden tests"


def imports(paper: Paper) -> tuple[float | None, str]:
    """One answer needs a package that is not there."""
    name = paper.function()
    paper.hand_in(
        assignments.answered(
            paper.cells, assignments.Wrong(name, "", "", f"import no_such_package\n\ndef {name}(): ...")
        )
    )
    return paper.without(name), "not installed here"


def broken_metadata(paper: Paper) -> tuple[float | None, str]:
    """nbgrader's metadata of two cells is no metadata."""

    def spoil(notebook: Any) -> None:
        notebook.cells[0].metadata["nbgrader"] = []
        notebook.cells[3].metadata["nbgrader"] = None

    paper.change(paper.hand_in(), spoil)
    return paper.points(paper.cells), "was broken"


def asks(paper: Paper) -> tuple[float | None, str]:
    """Waits for somebody to type."""
    name = paper.function()
    paper.hand_in(paper.instead(name, "    return input('which? ')"))
    return paper.without(name), ""


def hungry(paper: Paper) -> tuple[float | None, str]:
    """Wants a terabyte."""
    name = paper.function()
    paper.hand_in(paper.instead(name, "    return np.ones(2**40)"))
    return paper.without(name), ""


KINDS = (
    *[right] * 4, *[wrong] * 6, *[one_wrong] * 6, untouched, half, half, typo, empty_file, cut_short, no_notebook,
    nothing_inside, tampered, richer, deleted_tests, through_colab, through_colab, lost_metadata, copied_cell,
    moved_cells, own_cells, renamed, other_kernel, endless, huge_output, warns, peeks, asks, hungry, imports,
    broken_metadata, deaf, leaves,
)  # fmt: skip


def rehearse(folder: Path, students: int, names: Sequence[str] = (), jobs: int = 2, secret: str = "rehearsal") -> int:
    """Make the class, grade it, and compare; the number of submissions whose score or note is not what is due."""
    begun = time.monotonic()
    found = assignments.find(names)
    due: dict[tuple[str, str], tuple[str, float | None, str]] = {}
    for place, one in enumerate(found):
        teach.release(one, folder, secret)
        cells = one.notebook(secret).cells
        for number in range(place, students, len(found)):
            student, kind = f"s{number:03}", KINDS[number // len(found) % len(KINDS)]
            paper = Paper(one, cells, folder, student, np.random.default_rng(number))
            due[one.name, student] = (kind.__name__, *kind(paper))
    print(f"{len(due)} submissions made in {time.monotonic() - begun:.0f} s", flush=True)
    begun, bad = time.monotonic(), []
    for one in found:
        teach.autograde(folder, one.name, jobs=jobs)
        teach.main(["report", one.name, "--class", str(folder)])
        given = {outcome.student: outcome for outcome in teach.outcomes(folder, one.name)}
        for (name, student), (kind, points, word) in due.items():
            if name != one.name:
                continue
            outcome = given.get(student)
            score = None if outcome is None or outcome.status == "not graded" else outcome.points
            if score != points or word not in (outcome.notes if outcome else ""):
                bad.append(f"{name}, {student}, {kind}: {score} points, {points} are due; told: {outcome}")
    seconds = time.monotonic() - begun
    print(f"{len(due)} submissions graded in {seconds:.0f} s, {seconds / len(due):.1f} s each, {jobs} at once")
    print("\n".join(bad) or "every score is the one that was due, and every failure was told by name")
    return len(bad)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tools/rehearsal.py", description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=int, default=200, metavar="N", help="submissions in all (200)")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="these assignments")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many at once (2)")
    parser.add_argument("--out", type=Path, default=assignments.ROOT / "build/class", help="folder (build/class)")
    args = parser.parse_args(argv)
    if args.out.exists():
        if not (args.out / "nbgrader_config.py").exists():
            print(f"rehearsal: {args.out} is there and no class folder; name another with --out", file=sys.stderr)
            return 2
        shutil.rmtree(args.out)
    try:
        return 1 if rehearse(args.out, args.students, args.only, args.jobs) else 0
    except assignments.AssignmentError as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
