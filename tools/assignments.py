"""Graded assignments, each from one source: its notebooks, its hidden cases, and what a grader would give for it.

`notebooks/assignments/src/aNN_name.py` (jupytext's percent format with nbgrader's metadata) holds tasks, solutions,
visible and hidden tests. `notebooks/assignments/keys/aNN_name.py` holds what only teachers need: for each graded
function `f` its hidden cases, `cases_f(rng)`, and plausible wrong answers, `f__what_is_wrong`. The hidden data is
redrawn for each secret; what is expected is what the source's solution says of it, written down as plain numbers.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import hashlib
import hmac
import importlib.util
import io
import pprint
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import course

ROOT = course.ROOT
FOLDER = Path("notebooks/assignments")
SETUP = "setup.py"  # cells with which each assignment begins, after its head
TEMPLATE = "template"  # the assignment that a teacher's own one begins as; nobody is given it
PUBLIC = "public"  # the secret of those who have none
DRAWS = 50  # at most, until the hidden cases tell every wrong answer
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"


class AssignmentError(Exception):
    """A mistake in an assignment's source, or in how it was asked for, in one sentence."""


@dataclass(frozen=True)
class Wrong:
    """A plausible wrong answer: the function it is for, its name, what is wrong, and its code under the right name."""

    function: str
    name: str
    why: str
    code: str


@dataclass(frozen=True)
class Assignment:
    """One assignment: its name, such as a01_data, and the repository that it lies in."""

    name: str
    root: Path = ROOT

    @property
    def source(self) -> Path:
        """The text source."""
        return self.root / FOLDER / "src" / f"{self.name}.py"

    @property
    def released(self) -> Path:
        """The notebook that students get, in the repository."""
        return self.root / FOLDER / f"{self.name}.ipynb"

    @cached_property
    def key(self) -> ModuleType:
        """The key's module."""
        path = self.root / FOLDER / "keys" / f"{self.name}.py"
        spec = importlib.util.spec_from_file_location(f"key_of_{self.name}", path)
        if spec is None or spec.loader is None or not path.is_file():
            raise AssignmentError(f"{self.name} has no key: write {path.relative_to(self.root).as_posix()}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    @cached_property
    def wrong(self) -> tuple[Wrong, ...]:
        """The wrong answers, in the order of the key."""
        text = Path(str(self.key.__file__)).read_text(encoding="utf-8")
        found = []
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and "__" in node.name.strip("_"):
                function, name = node.name.split("__", 1)
                why = ast.get_docstring(node) or ""
                code = ast.get_source_segment(text, node) or ""
                found.append(Wrong(function, name, why, code.replace(f"def {node.name}(", f"def {function}(", 1)))
        return tuple(found)

    @cached_property
    def functions(self) -> tuple[str, ...]:
        """The graded functions, in their order."""
        ids = [grade_id(cell) for cell in self.read().cells]
        return tuple(name[: -len("_hidden")] for name in ids if name.endswith("_hidden"))

    def read(self) -> Any:
        """Notebook of the source: with solutions, hidden tests still without their cases."""
        import jupytext
        import nbformat

        def cells_of(path: Path) -> list[Any]:
            return jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells

        cells = cells_of(self.source)
        cells[1:1] = cells_of(self.source.with_name(SETUP))
        for number, cell in enumerate(cells):
            # From what stays the same when hidden cases are drawn anew, so that ids do not tell secrets.
            text = grade_id(cell) or f"{cell.cell_type}\n{cell.source}\n{number if not cell.source else ''}"
            cell.id = hashlib.sha256(text.encode()).hexdigest()[:8]
            kept = {name: cell.metadata[name] for name in ("nbgrader", "tags") if name in cell.metadata}
            cell.metadata = nbformat.from_dict(kept)
        return nbformat.from_dict({"cells": cells, "metadata": course.METADATA, "nbformat": 4, "nbformat_minor": 5})

    def solved(self) -> dict[str, Any]:
        """The graded functions by name, as the solutions define them."""
        names = run_all(self.read().cells)
        return {function: names[function] for function in self.functions}

    @lru_cache(maxsize=100)  # noqa: B019 (there are five)
    def draw(self, secret: str = PUBLIC) -> dict[str, list[tuple[str, Any, Any]]]:
        """The hidden cases of each function, (name, arguments, expected), drawn from the secret.

        A draw that would not tell some wrong answer from the right one is drawn again. Raises `AssignmentError` where
        no draw tells them all.
        """
        cells, cases = self.read().cells, dict[str, Any]()
        for function in self.functions:
            wrong = [other for other in self.wrong if other.function == function]
            for attempt in range(DRAWS):
                cases[function] = self._cases(cells, function, f"{secret}/{attempt}")
                kept, test = insert(cells, cases), f"{function}_hidden"
                full = points_of(cells)[test]
                if run(kept, {test})[test] != full:
                    raise AssignmentError(f"{self.name}: the solution of {function} fails its own hidden test")
                missed = [other.name for other in wrong if run(answered(kept, other), {test})[test] >= full]
                if not missed:
                    break
            else:
                raise AssignmentError(f"{self.name}: no hidden data tells these from {function}: {', '.join(missed)}")
        return cases

    def _cases(self, cells: Sequence[Any], function: str, seed: str) -> list[tuple[str, Any, Any]]:
        number = hmac.new(seed.encode(), f"{self.name}/{function}".encode(), "sha256").digest()[:16]
        drawn = getattr(self.key, f"cases_{function}")(np.random.default_rng(int.from_bytes(number, "big")))
        names = run_all(cells, until=f"{function}_hidden")
        tried = names.get("tried") if defines(cells, function, "tried") else names[function]
        return [(name, plain(given), plain(tried(*plain(given)))) for name, given in drawn.items()]

    def notebook(self, secret: str = PUBLIC) -> Any:
        """The notebook for nbgrader's source folder: solutions, and hidden tests with cases drawn from the secret."""
        made = self.read()
        made.cells = insert(made.cells, self.draw(secret))
        return made


def find(names: Sequence[str] = (), root: Path = ROOT) -> list[Assignment]:
    """The assignments in number order: all, or those named, in full or by number ("a01_data", "a01", "1")."""
    every = sorted(path.stem for path in (root / FOLDER / "src").glob("a[0-9][0-9]_*.py"))
    found = set()
    for name in names:
        number = f"a{name.lower().removeprefix('a').split('_')[0].zfill(2)}"
        fits = [one for one in every if one == name or (one.split("_")[0] == number and "_" not in name)]
        if not fits:
            raise AssignmentError(f"there is no assignment {name!r}; there are {', '.join(every)}")
        found.update(fits)
    return [Assignment(name, root) for name in every if not names or name in found]


def begin(name: str, root: Path = ROOT) -> list[Path]:
    """Begin an assignment as a copy of the template, source and key; their paths.

    Raises `AssignmentError` for a name unlike a06_topic, and for a number or a file that is there already.
    """
    if not re.fullmatch(r"a\d\d_[a-z0-9_]+", name):
        raise AssignmentError(f"{name!r} is no assignment's name; give a number and a topic, such as a06_top_k")
    if taken := [one.name for one in find(root=root) if one.name.split("_")[0] == name.split("_")[0]]:
        raise AssignmentError(f"{taken[0]} has that number already; take another")
    made = []
    for folder in ("src", "keys"):
        path = root / FOLDER / folder / f"{name}.py"
        text = path.with_stem(TEMPLATE).read_text(encoding="utf-8")
        text = text.replace("# Assignment 0:", f"# Assignment {int(name[1:3])}:").replace("the template", name)
        path.write_text(text, encoding="utf-8")
        made.append(path)
    return made


def grade_id(cell: Any) -> str:
    """nbgrader's id of a cell, or an empty text."""
    about = cell.metadata.get("nbgrader")
    return str(about.get("grade_id", "")) if isinstance(about, dict) else ""


def points_of(cells: Sequence[Any]) -> dict[str, float]:
    """Points of each graded cell by its id."""
    graded = [cell for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")]
    return {grade_id(cell): float(cell.metadata["nbgrader"]["points"]) for cell in graded}


def insert(cells: Sequence[Any], cases: Mapping[str, Any]) -> list[Any]:
    """Copies of the cells, `CASES` in each hidden test replaced by the cases of its function."""
    made = copy.deepcopy(list(cells))
    for cell in made:
        function = grade_id(cell).removesuffix("_hidden")
        if function != grade_id(cell) and function in cases:
            literal = pprint.pformat(cases[function], width=100, compact=True, sort_dicts=False)
            cell.source = re.sub(r"\bCASES\b", lambda _, text=literal: text, cell.source)
    return made


def answered(cells: Sequence[Any], *answers: Wrong) -> list[Any]:
    """Copies of the cells with the answers in place of the solutions of their functions."""
    import copy

    code = {answer.function: answer.code for answer in answers}
    made = copy.deepcopy(list(cells))
    for cell in made:
        if grade_id(cell) in code:
            cell.source = code[grade_id(cell)]
    return made


def defines(cells: Sequence[Any], function: str, name: str) -> bool:
    """Whether the hidden test of a function defines something of that name."""
    return any(grade_id(cell) == f"{function}_hidden" and f"def {name}(" in cell.source for cell in cells)


def run_all(cells: Sequence[Any], until: str = "") -> dict[str, Any]:
    """The names that setup, imports and solutions define, and the test cell `until`, its hidden part left out.

    Nothing may fail.
    """
    names: dict[str, Any] = {}
    for cell in cells:
        here = grade_id(cell)
        if cell.cell_type != "code" or not here or (cell.metadata["nbgrader"]["grade"] and here != until):
            continue
        with _quiet():
            exec(compile(_visible(cell.source), here, "exec"), names)
        if until and here == until:
            break
    return names


def run(cells: Sequence[Any], only: set[str] | None = None) -> dict[str, float]:
    """Points of each graded cell with tests, as nbgrader gives them: none after an error, else the cell's last value.

    With `only`, of those ids. Runs here and now, in this process; for trusted answers.
    """
    names: dict[str, Any] = {}
    points = {}
    for cell in cells:
        about = cell.metadata.get("nbgrader", {})
        here = about.get("grade_id", "")
        if cell.cell_type != "code" or not here:
            continue
        graded = bool(about.get("grade")) and not about.get("solution")
        if graded and only is not None and here not in only:
            continue
        value = None
        try:
            with _quiet():
                value = _last_value(cell.source, names, here)
            given = float(about["points"]) if graded and value is None else value
        except Exception:
            given = 0.0
        if graded:
            points[here] = float(given) if isinstance(given, int | float) else float(about["points"])
    return points


def _last_value(code: str, names: dict[str, Any], where: str) -> Any:
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, where, "exec"), names)
    return eval(compile(ast.Expression(last.value), where, "eval"), names) if isinstance(last, ast.Expr) else None


@contextlib.contextmanager
def _quiet() -> Any:
    """Nothing is printed, and what the setup cell does to `sys.stderr` is undone."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _visible(code: str) -> str:
    return re.sub(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", "", code, flags=re.DOTALL)


def plain(value: Any) -> Any:
    """The same as numbers, texts, lists and tuples alone, floats to 7 digits, so that it can be written down as such.

    Raises `AssignmentError` for anything else, and for numbers that are not finite.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return type(value)(plain(each) for each in value)
    if isinstance(value, float):
        if not np.isfinite(value):
            raise AssignmentError(f"hidden cases hold finite numbers: {value}")
        return float(f"{value:.7g}")
    if value is None or isinstance(value, bool | int | str):
        return value
    raise AssignmentError(f"hidden cases hold plain numbers, texts and lists: {value!r}")
