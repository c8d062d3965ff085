"""How a lesson reads: its head, exercises, questions and references, the size of its cells, and what it imports."""

import ast
import builtins
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import course

LESSONS = course.find_lessons(course.ROOT)
THIN = [source for source in LESSONS if course.read_beside(source)]  # those that leave the bookkeeping beside them
AGAIN = {"_", "ax", "figure", "my_guess"}  # names that a thin lesson may give a new value in another cell
MARKS = r"\.claim\(|here\.fast|FERLIB_|\*\*\w+[,)]|\blambda\b"  # bookkeeping that no reader needs
WORDS, LINES, CORE_LINES = 120, 10, 15  # at most: of a markdown cell, of a function, of a core idea's function
CORE = {
    "02": {"FaceFolder"},
    "09": {"grad_cam"},
}  # by lesson: core ideas, written in the open and asserted equal to ferlib's
EMOJI = re.compile("[\u2600-\u27bf\u2b50\u2b55\ufe0f\U0001f000-\U0001faff]")
EXTRAS = ("notebooks", "onnx")  # of ferlib, that a lesson may use


@pytest.fixture(params=LESSONS, ids=lambda source: source.stem)
def source(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def cells(source: Path) -> list[Any]:
    import jupytext

    return jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent").cells


def texts(cells: list[Any], kind: str = "markdown") -> list[str]:
    return [cell.source for cell in cells if cell.cell_type == kind]


def tagged(cells: list[Any], tag: str) -> list[int]:
    return [place for place, cell in enumerate(cells) if tag in cell.metadata.get("tags", [])]


def may_import() -> set[str]:
    """Names of the modules that the requirements bring, from pyproject.toml as ferlib was installed with it."""
    needs = [Requirement(line) for line in metadata.requires("ferlib") or []]
    asked = [
        need for need in needs if not need.marker or any(need.marker.evaluate({"extra": e}) for e in ("", *EXTRAS))
    ]
    names = {canonical(name) for name in [*(need.name for need in asked), "ferlib", "ipython"]}
    brought = (each for each in metadata.distributions() if canonical(each.metadata["Name"]) in names)
    return {module for each in brought for module in modules(each)} | {"cv2", "ferlib", *sys.stdlib_module_names}


def modules(distribution: metadata.Distribution) -> set[str]:
    """What can be imported of a package; Python 3.10's own `packages_distributions` knows only those that list it."""
    listed = (distribution.read_text("top_level.txt") or "").split()
    files = [file for file in distribution.files or () if file.suffix == ".py" and ".." not in file.parts]
    return {*listed} or {file.parts[0] if len(file.parts) > 1 else file.stem for file in files}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imports(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_head_says_what_one_needs(source: Path, cells: list[Any]):
    head = cells[0].source
    assert cells[0].cell_type == "markdown"
    assert re.match(r"# \w", head), "a lesson begins with its title"
    assert re.search(r"^\{colab\}$", head, re.MULTILINE), "the link to Colab is missing"
    for name in ("You will be able to", "You need", "Data:", "Time:"):
        assert f"**{name}**" in head, f"the head lacks **{name}**"
    time = head.split("**Time:**")[1]
    run = r"(\d+(\s+to\s+\d+)?|half\s+a)\s+(minutes?|seconds)"
    assert re.match(rf"\s+\d+\s+minutes\s+to\s+read;\s+(about\s+)?{run}\s+on\s+a\s+laptop\s+CPU", time), time
    assert texts(cells, "markdown")[1:] and len(re.findall(r"^# ", "\n".join(texts(cells)), re.MULTILINE)) == 1
    assert f'Lesson("{course.number_of(source)}"' in "\n".join(texts(cells, "code"))


def test_one_guesses_before_one_sees(cells: list[Any]):
    code = "\n".join(texts(cells, "code"))
    made = [line for line in code.splitlines() if re.match(r"my_guess\w* = (?!\.\.\.  # \w)", line)]
    assert not made, f"a guess is the reader's, and its unit is told: my_guess = ...  # percent, and not {made}"
    guesses = [text for text in texts(cells, "code") if re.match(r"my_guess\w* = ", text)]
    assert len(guesses) >= 2, "at least two cells begin with a guess"
    assert code.count("here.guess(") >= len(guesses), "each guess is held against what comes out"


def test_something_is_claimed(source: Path, cells: list[Any]):
    assert course.read_beside(source).get("claims") or any("here.claim(" in text for text in texts(cells, "code"))


def test_exercises_have_a_check_and_a_folded_solution(cells: list[Any]):
    asked, solved = tagged(cells, "exercise"), tagged(cells, "solution")
    assert len(asked) >= 3
    assert len(solved) == len(asked)
    named = re.findall(r"^\*\*Exercise (\d+)\.\*\*", "\n".join(texts(cells)), re.MULTILINE)
    assert named == [str(number) for number in range(1, len(asked) + 1)]
    for start, answer, end in zip(asked, solved, [*asked[1:], len(cells)], strict=True):
        assert start < answer < end, "each exercise is followed by its solution"
        assert "..." in cells[start].source, "the student's cell holds ..., not the answer"
        code = "\n".join(cell.source for cell in cells[answer + 1 : end])
        assert "here.check(" in code, f"the exercise after its solution lacks a check:\n{cells[start].source}"
        solution = re.findall(r"^(?:def |class )?(solution_\d+)", cells[answer].source, re.MULTILINE)
        assert solution and solution[0] in code


def test_five_questions_have_answers(cells: list[Any]):
    text = "\n\n".join(texts(cells))
    parts = re.split(r"^## Questions$", text, flags=re.MULTILINE)
    assert len(parts) == 2, "one heading: ## Questions"
    questions = parts[1].split("\n## ")[0]
    assert re.findall(r"^\*\*(\d+)\.\*\*", questions, re.MULTILINE) == ["1", "2", "3", "4", "5"]
    for question in re.split(r"^\*\*\d+\.\*\*", questions, flags=re.MULTILINE)[1:]:
        folded = re.search(r"<details><summary>Answer</summary>\n\n(.+?)\n\n</details>", question, re.DOTALL)
        assert folded, f"a question without a folded answer:\n{question}"
        assert len(folded[1].split()) >= 20, f"an answer explains:\n{folded[1]}"


def test_further_reading_is_full(cells: list[Any]):
    parts = re.split(r"^## Further reading$", "\n\n".join(texts(cells)), flags=re.MULTILINE)
    assert len(parts) == 2, "one heading: ## Further reading"
    works = re.split(r"^- ", parts[1], flags=re.MULTILINE)[1:]
    assert len(works) >= 2
    for work in works:
        assert re.search(r"\*[^*]+\*|Regulation \(EU\)", work), f"a reference without a title in italics:\n{work}"
        assert re.search(r"\b(1[89]|20)\d\d\b", work), f"a reference without a year:\n{work}"


def test_cells_are_short(source: Path):
    for text in texts(course.read_lesson(source).cells):  # as it is read, with the link to Colab in place
        words = len(text.split("## Further reading")[0].split())
        assert words <= WORDS, f"{words} words, {WORDS} allowed:\n{text}"


def test_functions_are_short(source: Path, cells: list[Any]):
    core, seen = CORE.get(course.number_of(source), set()), set()
    for code in texts(cells, "code"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                lines, most = node.end_lineno - node.lineno + 1, CORE_LINES if node.name in core else LINES
                assert lines <= most, f"{node.name} has {lines} lines, {most} allowed"
                seen |= {node.name} if lines > LINES else set()
    assert seen == core, "CORE names those functions alone that need it"


def test_it_imports_what_the_requirements_bring(cells: list[Any]):
    names = {name.split(".")[0] for code in texts(cells, "code") for name in imports(code)}
    assert "ferlib" in names
    extra = names - may_import()
    assert not extra, f"imported, and not in pyproject.toml: {sorted(extra)}"


def test_alternative_text_tells_something(cells: list[Any]):
    told = [cell.metadata["alt"] for cell in cells if "alt" in cell.metadata]
    assert told, "a lesson draws"
    assert len(set(told)) == len(told), "no two pictures are alike"
    assert all(len(text.split()) >= 5 for text in told), told
    assert all(cell.cell_type == "code" for cell in cells if "alt" in cell.metadata)


def test_its_words_are_plain(source: Path):
    text = source.read_text(encoding="utf-8")
    assert not EMOJI.findall(text)
    plain = text.lower().replace("’", "'")
    for phrase in ("let's", "dive in", "state-of-the-art", "todo"):
        assert phrase not in plain, phrase
    assert not re.findall(r"(?<![\w.])/(?:tmp|work|home|root)\b", text), "a path of one machine"
    wide = [line for line in text.splitlines() if len(line) > 120 and not line.startswith("# %%")]
    assert not wide, f"longer than 120 characters: {wide}"


def test_links_to_other_lessons_lead_somewhere(source: Path, cells: list[Any]):
    folder = source.parent.parent
    for target in re.findall(r"\]\(([^)#\s]+)\)", "\n".join(texts(cells))):
        if not re.match(r"https?:", target):
            path = folder / target
            assert path.exists() or (folder / "src" / f"{path.stem}.py").exists(), target


def test_numbers_of_lessons_are_those_of_the_course():
    numbers = [course.number_of(source) for source in LESSONS]
    assert numbers == sorted([f"{number:02}" for number in range(12)] + ["05b"])


@pytest.fixture(params=THIN, ids=lambda source: source.stem)
def thin(request: pytest.FixtureRequest) -> Path:
    return request.param


def seen(source: Path) -> list[Any]:
    """The code cells of a lesson that are not folded, with the set-up cell."""
    folded = {"solution", "folded", "advanced"}
    cells = [cell for cell in course.read_lesson(source).cells if not folded & {*cell.metadata.get("tags", [])}]
    return [cell for cell in cells if cell.cell_type == "code"]


def sentences(cells: list[Any]) -> list[str]:
    """The sentences of a lesson's prose, without code, tables and addresses, and without its advanced part."""
    prose = []
    for text in texts([cell for cell in cells if "advanced" not in cell.metadata.get("tags", [])]):
        lines = [line for line in text.split("\n") if not re.match(r"\s*(\||#|<|!\[|    )", line)]
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "x", "\n".join(lines)))
        for paragraph in re.split(r"\n\s*\n|\n\s*[-0-9]+[.)]? ", re.sub(r"[*_>]", "", text)):
            prose += re.split(r"(?<=[.!?:;])\s+(?=[A-Z(\"'])", " ".join(paragraph.split()))
    return [sentence for sentence in prose if len(sentence.split()) > 2]


def test_a_thin_lesson_shows_little_code(thin: Path):
    codes = [re.sub(r"^\s*([#%!].*)?\n?", "", cell.source, flags=re.MULTILINE) for cell in seen(thin)]
    lengths = [len(code.splitlines()) for code in codes]
    assert sum(lengths) <= 170
    assert max(lengths) <= 25 and sum(length > 15 for length in lengths) <= 3
    first = next(place for place, cell in enumerate(seen(thin)) if "alt" in cell.metadata)
    assert sum(lengths[: first + 1]) <= 25, "the first picture comes late"
    marks = [mark for code in codes for mark in re.findall(MARKS, code)]
    assert not marks, f"bookkeeping in sight: {marks}"


def test_a_thin_lesson_is_short_and_plain(thin: Path):
    lengths = {sentence: len(sentence.split()) for sentence in sentences(course.read_lesson(thin).cells)}
    words = sum(lengths.values())
    assert words <= 1600, f"{words} words, 1,600 allowed: take out what you put in"
    assert words / len(lengths) <= 15, "words a sentence"
    assert not [sentence for sentence, length in lengths.items() if length > 25]


def bound(code: str) -> set[str]:
    """The names that a cell gives a value, outside of functions and comprehensions."""
    names, queue = set(), [*ast.parse(code).body]
    for node in queue:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(name.asname or name.name).split(".")[0] for name in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif not isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.Lambda):
            queue.extend(ast.iter_child_nodes(node))
    return names


def test_a_name_means_one_thing_in_a_thin_lesson(thin: Path):
    import jupytext

    cells = jupytext.reads(thin.read_text(encoding="utf-8"), fmt="py:percent").cells
    names = [name for code in texts(cells, "code") for name in bound(code)]
    assert {name for name in names if names.count(name) > 1} <= AGAIN
    assert not {*names} & {*dir(builtins)} - {"_"}, "a name of Python's own"  # doctest leaves a _ there


def test_names_are_found_where_a_cell_binds_them():
    code = (
        "import a.b, c as d\nfor e, f in []:\n    g = [h for h in d]\ndef i(j):\n    k = 1\nwith d as m:\n    m.n = 1"
    )
    assert bound(code) == {"a", "d", "e", "f", "g", "i", "m"}


def test_a_fast_run_overrides_what_the_parameters_cell_sets(thin: Path):
    (parameters,) = [cell for cell in seen(thin) if "parameters" in cell.metadata.get("tags", [])]
    assert {*course.read_beside(thin)["fast"]} <= bound(parameters.source)
