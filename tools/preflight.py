"""Look at a submission before it is graded: would nbgrader give a silent zero? What can be mended without a loss is.

nbgrader knows cells by the `grade_id` in their metadata. Where an editor or a student has lost it, grading goes through
without an error and gives no points. So what was handed in is held against what was released.
"""

from __future__ import annotations

import ast
import builtins
import copy
import importlib.util
import re
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assignments import grade_id

# What no answer to an assignment needs, and who looks for the hidden tests does.
PEEKING = re.compile(
    r"\b(gradebook|sqlite3?|inspect|_getframe|f_locals|f_back|subprocess|builtins|__builtins__|get_ipython|globals\(\)"
    r"|In\s*\[|os\.(?:system|listdir|walk|environ)|open\(|read_text|glob\b|NBGRADER\w*|(?<!\.)exec\(|(?<!\.)eval\()"
)
OURS = {"same", "credit", "tried"}  # the tests' own tools


@dataclass(frozen=True)
class Problem:
    """Something odd about a submission, in a sentence; `kind` is "mended", "look" (at it by hand) or "lost"."""

    kind: str
    text: str


class UnreadableError(Exception):
    """The file is no notebook; why, in one sentence."""


def read(path: Path) -> Any:
    """A notebook file as nbformat 4.

    Raises `UnreadableError` for one that is missing, empty, cut short, or no notebook.
    """
    import nbformat

    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UnreadableError(f"there is no {path.name}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{path.name} cannot be read: {error}") from error
    if not text.strip():
        raise UnreadableError(f"{path.name} is empty")
    try:
        notebook = nbformat.reads(text, as_version=4)
        if any("id" in cell for cell in notebook.cells):  # which some editors write into files of an older format
            notebook.nbformat_minor = max(notebook.nbformat_minor, 5)
        nbformat.validate(notebook)
    except nbformat.reader.NotJSONError as error:
        raise UnreadableError(f"{path.name} is cut short or no notebook at all") from error
    except Exception as error:
        raise UnreadableError(f"{path.name} is no valid notebook: {str(error).splitlines()[0]}") from error
    return notebook


def named(notebook: Any) -> set[str]:
    """What a notebook tells of its assignment: the ids of its cells, and the functions that it defines."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    defined = re.findall(r"^def (\w+)\(", code, re.MULTILINE)
    return {grade_id(cell) for cell in notebook.cells if grade_id(cell)} | {*defined}


def is_rather(submitted: Any, another: Any, released: Any) -> bool:
    """Whether a notebook is that of another assignment and not the one released."""
    given, other, due = named(submitted), named(another), named(released)
    return len(given & other - due) >= 3 and len(given & other - due) > 4 * len(given & due - other)


def strays(folder: Path, name: str, known: Sequence[str]) -> list[Problem]:
    """Notebooks under submitted/ that belong to an assignment, and lie where nbgrader never looks."""
    problems = []
    for path in sorted((folder / "submitted").rglob("*.ipynb")):
        parts = path.relative_to(folder / "submitted").parts
        if ".ipynb_checkpoints" in parts or (len(parts) == 3 and parts[1] in known):
            continue
        student = next((part for part in parts[:-1] if not _meant(part, known)), "STUDENT")
        meant = [_meant(part, known) for part in (*parts[:-1], path.stem)]
        if name in meant or not any(meant):
            due = f"submitted/{student}/{name}/{name}.ipynb"
            text = f"submitted/{'/'.join(parts)} is not looked at where it lies; "
            text += f"{'it' if any(meant) else name} belongs at {due}"
            problems.append(Problem("look", text))
    return problems


def _meant(text: str, known: Sequence[str]) -> str:
    """The assignment that a folder or file is called after: a01_data for a01, A1, A01-data; an empty text for none."""
    plain = re.sub(r"^a0*(?=\d)", "a0", re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_"))
    return next((one for one in known if plain in (one, one.split("_")[0])), "")


def look(submitted: Any, released: Any, earlier: Sequence[Any] = ()) -> tuple[Any, list[Problem]]:
    """The submission as it should be graded, and what was odd about it; cells as in an `earlier` release are not.

    Every cell that nbgrader knows is there once and in its place: recognised by its id in the metadata, else by its
    cell id, else by what it holds, else put back as it was released. Cells that a student added stay where they were.
    """
    expected = {grade_id(cell): cell for cell in released.cells if grade_id(cell)}
    given_out = [cell for notebook in (released, *earlier) for cell in notebook.cells]
    broken = [cell for cell in submitted.cells if "nbgrader" in cell.metadata and not grade_id(cell)]
    for cell in broken:
        del cell.metadata["nbgrader"]
    found, problems = _recognise(submitted.cells, expected)
    if broken:
        problems.append(Problem("mended", "nbgrader's metadata of a cell was broken, and is gone"))
    lost = [name for name in expected if name not in found]
    bare = [name for name, cell in found.items() if grade_id(cell) != name]
    if bare:
        problems.append(
            Problem("mended", f"nbgrader's metadata was lost from {_list(bare)}; the cells were recognised")
        )
    if lost:
        answers = [name for name in lost if expected[name].metadata["nbgrader"]["solution"]]
        tests = [name for name in lost if name not in answers]
        if tests:
            problems.append(Problem("mended", f"deleted, and put back: {_list(tests)}"))
        if answers:
            problems.append(Problem("mended", f"no answer is left, and the task is put back: {_list(answers)}"))
    order = [name for cell in submitted.cells for name, one in found.items() if one is cell]
    if order != [name for name in expected if name in found]:
        problems.append(Problem("mended", "cells stood in another order; tests now follow their answers again"))
    answers = {name for name, due in expected.items() if due.metadata["nbgrader"]["solution"]}
    kept = {grade_id(due) for due in given_out if grade_id(due) in found and found[grade_id(due)].source == due.source}
    if changed := [name for name in found if name not in answers | kept]:
        problems.append(Problem("look", f"locked cells were changed, and are graded as released: {_list(changed)}"))
    if blank := [name for name in found if name in answers & kept]:
        problems.append(Problem("look", f"not answered: {_list(blank)}"))
    problems += _compile({name: found[name] for name in found if name in answers - kept})
    worth = {(grade_id(due), due.metadata["nbgrader"].get("points")) for due in given_out if grade_id(due)}
    points = {name: cell.metadata["nbgrader"].get("points") for name, cell in found.items() if name not in bare}
    if richer := [name for name, given in points.items() if (name, given) not in worth]:
        problems.append(Problem("look", f"points were changed, and count as released: {_list(richer)}"))
    ours = {cell.source for cell in given_out}
    answered = [cell for cell in submitted.cells if cell.cell_type == "code" and cell.source not in ours]
    answered = [cell for cell in answered if not _locked(cell, found, expected)]
    task = [cell for cell in answered if any(cell is one for one in found.values())]
    own = [cell.source for cell in answered if not any(cell is one for one in task)]
    lines = {line.strip() for cell in given_out if cell.cell_type == "code" for line in _uncommented(cell.source)}
    problems += _read_code([cell.source for cell in task], own, lines)
    kernel = submitted.metadata.get("kernelspec", {}).get("name", "")
    if kernel and kernel != released.metadata["kernelspec"]["name"]:
        problems.append(Problem("mended", f"it was made with the kernel {kernel!r}; it is graded with python3"))
    return _rebuilt(submitted, found, expected, released), problems


def _compile(answers: dict[str, Any]) -> list[Problem]:
    """Which answers are no Python, so that all of the cell is lost."""
    from IPython.core.inputtransformer2 import TransformerManager

    problems = []
    for name, cell in answers.items():
        if cell.cell_type != "code":
            continue
        lead = re.match(r"(\s*\n)?", cell.source)[0].count("\n")  # type: ignore[index]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                code = TransformerManager().transform_cell(cell.source)  # %magic and !commands become Python
                compile(code, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        except SyntaxError as error:
            text = f"{name} does not compile: line {lead + (error.lineno or 1)}: {error.msg}"
            problems.append(Problem("look", text))
        except (ValueError, RecursionError, MemoryError) as error:
            problems.append(Problem("look", f"{name} does not compile: {error}"))
    return problems


def _uncommented(source: str) -> list[str]:
    """The lines of code as Python itself would write them; as they are where it is no Python."""
    try:
        return ast.unparse(ast.parse(source)).splitlines()
    except (SyntaxError, ValueError):
        return source.splitlines()


def _read_code(sources: Sequence[str], own: Sequence[str] = (), ours: Collection[str] = ()) -> list[Problem]:
    """What a student's code imports in vain, looks for, or puts in the place of the tests' tools.

    In cells that are no answers, `own`, lines of the course, `ours`, count for nothing.
    """
    lacking, words, bound = set(), set(), set()
    for place, source in enumerate([*sources, *own]):
        lines = [line for line in _uncommented(source) if place < len(sources) or line.strip() not in ours]
        words |= {match[0] for match in PEEKING.finditer("\n".join(lines))}
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):  # such as %matplotlib
            continue
        for node in ast.walk(tree):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            lacking |= {name for name in names if name and not _is_there(name)}
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            bound |= {one.id for one in targets if isinstance(one, ast.Name)}
            bound |= {node.name} if isinstance(node, ast.FunctionDef | ast.ClassDef) else set()
    problems = []
    if lacking:
        problems.append(Problem("look", f"not installed here, so that a cell will fail: {_list(sorted(lacking))}"))
    if words:
        told = ", ".join(sorted(words))
        problems.append(Problem("look", f"an answer uses {told}: see that it does not look for hidden tests"))
    if taken := sorted(bound & (OURS | set(dir(builtins)))):
        problems.append(Problem("look", f"an answer gives another meaning to {_list(taken)}, which the tests use"))
    return problems


def _is_there(module: str) -> bool:
    try:
        package = importlib.util.find_spec(module.split(".")[0])
        shared = package is not None and package.origin is None  # such as `google`, which many fill
        return package is not None and (not shared or importlib.util.find_spec(module) is not None)
    except (ImportError, ValueError):
        return False


def _recognise(cells: Sequence[Any], expected: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The submitted cell of each expected id, and duplicates as problems."""
    found: dict[str, Any] = {}
    problems = []
    for name, due in expected.items():
        same = [cell for cell in cells if grade_id(cell) == name]
        if len(same) > 1:
            problems.append(Problem("mended", f"{name} is there {len(same)} times; its last definition counts"))
            same.sort(
                key=lambda cell: (_defines(cell, name), cell.source != due.source)
            )  # stable: the last of the best
        if same:
            found[name] = same[-1]
    left = [cell for cell in cells if not grade_id(cell)]
    for name, due in expected.items():
        if name not in found:
            like = [cell for cell in left if cell.cell_type == due.cell_type and _alike(cell, due, name)]
            if like:
                found[name] = max(like, key=lambda cell: _alike(cell, due, name))
                left = [cell for cell in left if cell is not found[name]]
    names = [*expected]
    for name, before in zip(names[1:], names, strict=False):  # words are known by their place, after their task
        if name not in found and before in found and expected[name].cell_type == "markdown":
            place = next(i for i, cell in enumerate(cells) if cell is found[before])
            after = cells[place + 1] if place + 1 < len(cells) else None
            if after is not None and after.cell_type == "markdown" and any(after is cell for cell in left):
                found[name] = after
    return {name: found[name] for name in expected if name in found}, problems


def _alike(cell: Any, due: Any, name: str) -> int:
    """How surely a cell without metadata is the released one: by its text, id, function, or start; 0 is not at all."""
    if cell.source == due.source:
        return 4
    if due.id in (cell.get("id"), cell.metadata.get("id")):
        return 3
    if due.metadata["nbgrader"]["solution"] and due.cell_type == "code":
        return 2 * _defines(cell, name)
    return int(cell.source.strip()[:60] == due.source.strip()[:60])


def _defines(cell: Any, name: str) -> bool:
    return bool(re.search(rf"^def {name}\(", cell.source, re.MULTILINE))


def _rebuilt(submitted: Any, found: dict[str, Any], expected: dict[str, Any], released: Any) -> Any:
    """The submission with every expected cell once and in order, each followed by the student's own ones."""
    own: dict[str, list[Any]] = {"": []}
    place = ""
    for cell in submitted.cells:
        names = [name for name, one in found.items() if one is cell]
        if names:
            place = names[0]
        elif not grade_id(cell) or _is_half(cell, expected):
            own.setdefault(place, []).append(cell)
    made = copy.deepcopy(released)
    made.cells = copy.deepcopy(own[""])
    for name, due in expected.items():
        cell = copy.deepcopy(found.get(name, due))
        cell.metadata["nbgrader"] = copy.deepcopy(due.metadata["nbgrader"])
        cell.id = due.id
        if not due.metadata["nbgrader"]["solution"]:
            cell.source = due.source
        made.cells += [cell, *copy.deepcopy(own.get(name, []))]
    for cell in made.cells:
        if not any(grade_id(cell) == name and cell.id == due.id for name, due in expected.items()):
            cell.metadata.pop("nbgrader", None)
    ids = {due.id for due in expected.values()}
    for number, cell in enumerate(made.cells):  # an added cell may be a copy, with its original's id
        cell.id = cell.id if grade_id(cell) or cell.get("id") not in (None, *ids) else f"own{number}"
        ids.add(cell.id)
    return made


def _is_half(cell: Any, expected: dict[str, Any]) -> bool:
    """Whether a cell that was not chosen holds work: the other half of a split answer, not a copy of the task."""
    due = expected.get(grade_id(cell))
    return due is not None and due.metadata["nbgrader"]["solution"] and cell.source not in ("", due.source)


def _locked(cell: Any, found: dict[str, Any], expected: dict[str, Any]) -> bool:
    names = [name for name, one in found.items() if one is cell]
    return any(not expected[name].metadata["nbgrader"]["solution"] for name in names)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{', '.join(names[:3])} and {len(names) - 3} more"
