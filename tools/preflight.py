"""Look at a submission before it is graded: would nbgrader give a silent zero? What can be mended without a loss is.

nbgrader knows cells by the `grade_id` in their metadata. Where an editor or a student has lost it, grading goes through
without an error and gives no points. So what was handed in is held against what was released.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assignments import grade_id

# What an answer to our assignments has no use for, and who looks for the hidden tests does.
PEEKING = re.compile(
    r"\b(gradebook|sqlite3?|inspect|_getframe|f_locals|f_back|subprocess|builtins|__builtins__|get_ipython|In\s*\[|globals\(\)"
    r"|os\.(?:system|listdir|walk|environ|getcwd)|open\(|Path\(|glob\b|NBGRADER\w*|(?<!\.)exec\(|(?<!\.)eval\(|gc\.\w+)"
)


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
        nbformat.validate(notebook)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"{path.name} is cut short or no notebook at all: {error}") from error
    except nbformat.reader.NotJSONError as error:
        raise UnreadableError(f"{path.name} is cut short or no notebook at all") from error
    except Exception as error:
        raise UnreadableError(f"{path.name} is no valid notebook: {str(error).splitlines()[0]}") from error
    return notebook


def look(submitted: Any, released: Any) -> tuple[Any, list[Problem]]:
    """The submission as it should be graded, and what was odd about it.

    Every cell that nbgrader knows is there once and in its place: recognised by its id in the metadata, else by its
    cell id, else by what it holds, else put back as it was released. Cells that a student added stay where they were.
    """
    expected = {grade_id(cell): cell for cell in released.cells if grade_id(cell)}
    found, problems = _recognise(submitted.cells, expected)
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
            problems.append(Problem("look", f"no answer is left to {_list(answers)}"))
    order = [name for cell in submitted.cells for name, one in found.items() if one is cell]
    if order != [name for name in expected if name in found]:
        problems.append(Problem("mended", "cells stood in another order; tests now follow their answers again"))
    answers = {name for name, due in expected.items() if due.metadata["nbgrader"]["solution"]}
    kept = {name for name in found if found[name].source == expected[name].source}
    if changed := [name for name in found if name not in answers | kept]:
        problems.append(Problem("look", f"locked cells were changed, and are graded as released: {_list(changed)}"))
    if blank := [name for name in found if name in answers & kept]:
        problems.append(Problem("look", f"not answered: {_list(blank)}"))
    worth = {name: [one.metadata.get("nbgrader", {}).get("points") for one in (found[name], expected[name])]
             for name in found if name not in bare}  # fmt: skip
    if richer := [name for name, (given, due) in worth.items() if given != due]:
        problems.append(Problem("look", f"points were changed, and count as released: {_list(richer)}"))
    ours = {cell.source for cell in released.cells}
    answered = [cell for cell in submitted.cells if cell.cell_type == "code" and cell.source not in ours]
    answered = [cell for cell in answered if not _locked(cell, found, expected)]
    words = sorted({match[0] for cell in answered for match in PEEKING.finditer(cell.source)})
    if words:
        problems.append(
            Problem("look", f"an answer uses {', '.join(words)}: see that it does not look for hidden tests")
        )
    kernel = submitted.metadata.get("kernelspec", {}).get("name", "")
    if kernel and kernel != released.metadata["kernelspec"]["name"]:
        problems.append(Problem("mended", f"it was made with the kernel {kernel!r}; it is graded with python3"))
    return _rebuilt(submitted, found, expected, released), problems


def _recognise(cells: Sequence[Any], expected: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The submitted cell of each expected id, and duplicates as problems."""
    found: dict[str, Any] = {}
    problems = []
    for name in expected:
        same = [cell for cell in cells if grade_id(cell) == name]
        if len(same) > 1:
            problems.append(Problem("mended", f"{name} is there {len(same)} times; the last one with an answer counts"))
            changed = [cell for cell in same if cell.source != expected[name].source]
            same = changed or same
        if same:
            found[name] = same[-1]
    left = [cell for cell in cells if not grade_id(cell)]
    for name, due in expected.items():
        if name not in found:
            like = [cell for cell in left if cell.cell_type == due.cell_type and _alike(cell, due, name)]
            if like:
                found[name] = max(like, key=lambda cell: _alike(cell, due, name))
                left = [cell for cell in left if cell is not found[name]]
    return {name: found[name] for name in expected if name in found}, problems


def _alike(cell: Any, due: Any, name: str) -> int:
    """How surely a cell without metadata is the released one: by its text, id, function, or start; 0 is not at all."""
    if cell.source == due.source:
        return 4
    if due.id in (cell.get("id"), cell.metadata.get("id")):
        return 3
    if due.metadata["nbgrader"]["solution"] and due.cell_type == "code":
        return 2 * bool(re.search(rf"^def {name}\(", cell.source, re.MULTILINE))
    return int(cell.source.strip()[:60] == due.source.strip()[:60])


def _rebuilt(submitted: Any, found: dict[str, Any], expected: dict[str, Any], released: Any) -> Any:
    """The submission with every expected cell once and in order, each followed by the student's own ones."""
    own: dict[str, list[Any]] = {"": []}
    place = ""
    for cell in submitted.cells:
        names = [name for name, one in found.items() if one is cell]
        if names:
            place = names[0]
        elif not grade_id(cell):
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
    ids = {due.id for due in expected.values()}
    for number, cell in enumerate(made.cells):  # an added cell may be a copy, with its original's id
        cell.id = cell.id if grade_id(cell) or cell.get("id") not in (None, *ids) else f"own{number}"
        ids.add(cell.id)
    return made


def _locked(cell: Any, found: dict[str, Any], expected: dict[str, Any]) -> bool:
    names = [name for name, one in found.items() if one is cell]
    return any(not expected[name].metadata["nbgrader"]["solution"] for name in names)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{', '.join(names[:3])} and {len(names) - 3} more"
