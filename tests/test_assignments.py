"""The assignments: their form, that right answers score full marks and every wrong one loses points, and no drift."""

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import assignments
import teach

EVERY = assignments.find()
TASKED = {  # what each assignment grades
    "a01_data": ("recover_splits", "find_twins", "conflicting_groups"),
    "a02_splits_and_images": ("remap_labels", "channel_stats", "straddling_identities", "hflip_boxes"),
    "a03_training": ("cross_entropy", "train_step", "epoch_accuracy", "early_stop"),
    "a04_fine_tuning": ("build_network", "pipelines", "freeze", "moved", "train_one_epoch", "confusion_and_recall"),
    "a05_evaluation": ("confusion", "macro_f1", "paired_interval", "ece", "fit_temperature"),
}
SECRETS = (assignments.PUBLIC, "seven words of a teacher's own")


@pytest.fixture(params=EVERY, ids=lambda one: one.name)
def one(request: pytest.FixtureRequest) -> assignments.Assignment:
    return request.param


@pytest.fixture(scope="module")
def setup() -> dict[str, Any]:
    """What the setup cell defines."""
    return assignments.run_all(EVERY[0].read().cells)


def test_the_assignments_are_those_of_the_course():
    assert {one.name: one.functions for one in EVERY} == TASKED


def test_cells_are_what_nbgrader_needs(one: assignments.Assignment):
    cells = one.read().cells
    ids = [name for name in map(assignments.grade_id, cells) if name]
    assert max(Counter(ids).values()) == 1
    for function in one.functions:
        order = [f"{function}_task", function, f"{function}_seen", f"{function}_hidden"]
        assert [name for name in ids if name in order] == order
    for cell in cells:
        about = cell.metadata.get("nbgrader", {})
        if not about:
            continue
        assert about["schema_version"] == 3
        assert about["locked"] != about["solution"]
        assert ("### BEGIN SOLUTION" in cell.source) == (about["solution"] and cell.cell_type == "code")
        assert ("### BEGIN HIDDEN TESTS" in cell.source) == about["grade_id"].endswith("_hidden")
        stated = re.findall(r"points=(\d+)\)", cell.source)
        if about["grade_id"].endswith("_hidden"):
            assert stated == [str(about["points"])]


def test_the_head_tells_lessons_points_and_time(one: assignments.Assignment):
    cells = one.read().cells
    head = cells[0].source
    assert re.match(r"# Assignment \d: ", head)
    for name in ("After lesson", "Points:", "Time:"):
        assert f"**{name}" in head
    points = int(re.search(r"\*\*Points:\*\* (\d+)", head)[1])
    assert points == sum(assignments.points_of(cells).values())
    rows = (assignments.ROOT / assignments.FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    row = next(row for row in rows if f"({one.name}.ipynb)" in row)
    assert re.findall(r"`(\w+)`", row) == list(one.functions)
    assert row.endswith(f"| {points} |")


def test_texts_are_short_and_plain(one: assignments.Assignment):
    for cell in one.read().cells:
        if cell.cell_type == "markdown":
            assert len(cell.source.split()) <= 120, cell.source
    text = one.source.read_text(encoding="utf-8")
    wide = [line for line in text.splitlines() if len(line) > 120 and not line.startswith("# %%")]
    assert not wide, wide


def test_graded_cells_need_no_ferlib_no_chance_no_file(one: assignments.Assignment):
    for cell in one.read().cells:
        if cell.cell_type != "code" or not assignments.grade_id(cell):
            continue
        names = {node.id for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)}
        assert not names & {"ferlib", "open", "random", "Path"}, assignments.grade_id(cell)
        assert not re.search(r"\b(?:ferlib|scipy|sklearn|requests|urllib|default_rng|randn|rand)\b", cell.source)


def test_each_function_has_six_wrong_answers(one: assignments.Assignment):
    number = Counter(other.function for other in one.wrong)
    assert set(number) == set(one.functions)
    assert min(number.values()) >= 6, number
    assert len({(other.function, other.name) for other in one.wrong}) == len(one.wrong)
    for other in one.wrong:
        assert len(other.why.split()) >= 3, other.name


@pytest.mark.parametrize("secret", SECRETS)
def test_the_right_answers_score_full_marks_and_each_wrong_one_loses(one: assignments.Assignment, secret: str):
    cells = one.notebook(secret).cells
    full = assignments.points_of(cells)
    automatic = {name: points for name, points in full.items() if name.endswith(("_seen", "_hidden"))}
    assert assignments.run(cells) == automatic
    if secret != assignments.PUBLIC:
        return  # `draw` refuses a secret that lets a wrong answer pass: see below
    for other in one.wrong:
        tests = {f"{other.function}_seen", f"{other.function}_hidden"}
        got = assignments.run(assignments.answered(cells, other), tests)
        assert got[f"{other.function}_hidden"] < full[f"{other.function}_hidden"], f"{other.name} passes"


def test_most_wrong_answers_are_told_by_the_visible_tests(one: assignments.Assignment):
    cells = one.read().cells
    full = assignments.points_of(cells)
    for function in one.functions:
        wrong = [other for other in one.wrong if other.function == function]
        seen = f"{function}_seen"
        told = [assignments.run(assignments.answered(cells, other), {seen})[seen] < full[seen] for other in wrong]
        assert sum(told) >= len(told) / 2, f"visible tests of {function} teach too little"


def test_hidden_cases_come_from_the_secret_alone(one: assignments.Assignment):
    first, other = map(one.draw, SECRETS)
    assert assignments.Assignment.draw.__wrapped__(one, SECRETS[1]) == other
    for function in one.functions:
        assert first[function] != other[function]
        names = [name for name, _, _ in first[function]]
        assert len(set(names)) == len(names) >= 3
        assert [name for name, _, _ in other[function]] == names
        assert ast.literal_eval(repr(first[function])) == first[function]


def test_student_notebooks_are_what_nbgrader_releases():
    assert teach.sync(write=False) == []


def test_students_get_neither_solutions_nor_hidden_tests(one: assignments.Assignment):
    text = one.released.read_text(encoding="utf-8")
    assert "BEGIN" not in text and "CASES" not in text
    assert text.count("raise NotImplementedError()") == len(one.functions)
    source = one.read()
    for cell in source.cells:
        about = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown" and about.get("solution"):  # a model answer in words
            assert all(line not in text for line in cell.source.splitlines() if line)
        solution = re.search(r"### BEGIN SOLUTION\n(.*?)\n *### END SOLUTION", cell.source, re.DOTALL)
        if solution:
            longest = max(solution[1].splitlines(), key=len).strip()
            assert longest.replace('"', '\\"') not in text


def test_an_assignment_is_found_by_name_or_number():
    assert [one.name for one in assignments.find(["a02", "1"])] == ["a01_data", "a02_splits_and_images"]
    assert [one.name for one in assignments.find(["a05_evaluation"])] == ["a05_evaluation"]
    with pytest.raises(assignments.AssignmentError, match="no assignment 'a09'; there are a01_data, "):
        assignments.find(["a09"])
    with pytest.raises(assignments.AssignmentError, match="no assignment 'a01_dada'"):
        assignments.find(["a01_dada"])


@pytest.mark.parametrize(
    ("given", "expected", "alike"),
    [
        (1, 1, True),
        (1.00001, 1, True),
        (1.001, 1, False),
        (True, 1, False),
        (1, True, False),
        ((1, 2), [1, 2], True),
        ([1, 2], [1, 2, 3], False),
        ([1, 2], [[1], [2]], False),
        ("a", "a", True),
        ("a", "b", False),
        (None, None, True),
        (0, None, False),
        (float("nan"), 1.0, False),
        ([[1.0], [2]], [[1], [2.0]], True),
        (1, [1], False),
        ("1", 1, False),
    ],
)
def test_same_compares_as_its_docstring_says(setup: dict[str, Any], given: Any, expected: Any, alike: bool):
    assert setup["same"](given, expected) is alike


def test_same_takes_arrays_and_tensors(setup: dict[str, Any]):
    import numpy as np
    import torch

    assert setup["same"](np.array([1, 2]), [1, 2])
    assert setup["same"](torch.tensor([[0.5]]), [[0.5]])
    assert setup["same"](np.float64(0.5), 0.5)
    assert not setup["same"](np.array([1, 3]), [1, 2])


def test_credit_gives_the_share_and_names_what_failed(setup: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    def half(x: int) -> int:
        print("noise")
        if x == 3:
            raise KeyError("three")
        return x * 2

    cases = [("one", (1,), 2), ("two", (2,), 5), ("three", (3,), 6), ("four", (4,), 8)]
    assert setup["credit"](half, cases, points=3) == 1.5
    assert capsys.readouterr().out == "two: another answer was expected\nthree: KeyError: 'three'\n"
    assert setup["credit"](half, cases[:1], points=3) == 3.0


def test_an_error_in_a_test_cell_is_no_points_and_a_last_value_is_points():
    import nbformat

    def cell(name: str, code: str, points: float) -> Any:
        about = {"grade": True, "grade_id": name, "locked": True, "points": points, "solution": False}
        return nbformat.v4.new_code_cell(code, metadata={"nbgrader": about})

    cells = [cell("a", "1 / 0", 2), cell("b", "x = 3", 2), cell("c", "x - 1.5", 2), cell("d", "'words'", 2)]
    assert assignments.run(cells) == {"a": 0.0, "b": 2.0, "c": 1.5, "d": 2.0}


def test_a_hidden_case_that_cannot_be_written_down_is_refused():
    assert assignments.plain((1, [2.123456789, None], "x")) == (1, [2.123457, None], "x")
    with pytest.raises(assignments.AssignmentError, match="finite"):
        assignments.plain([float("nan")])
    with pytest.raises(assignments.AssignmentError, match="plain numbers"):
        assignments.plain({1})


def test_a_draw_that_tells_no_wrong_answer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(assignments, "DRAWS", 5)
    for name in ("src", "keys"):
        (tmp_path / assignments.FOLDER / name).mkdir(parents=True)
    folder = assignments.ROOT / assignments.FOLDER
    (tmp_path / assignments.FOLDER / "src/setup.py").write_bytes((folder / "src/setup.py").read_bytes())
    (tmp_path / assignments.FOLDER / "src/a01_data.py").write_bytes((folder / "src/a01_data.py").read_bytes())
    key = (folder / "keys/a01_data.py").read_text(encoding="utf-8")
    fine = "[i for i, x in enumerate(test) if any((x == y).all() for y in train)]"
    fine = f"\n\ndef find_twins__in_a_loop(train, test):\n    return {fine}\n"
    (tmp_path / assignments.FOLDER / "keys/a01_data.py").write_text(key + fine, encoding="utf-8")
    with pytest.raises(assignments.AssignmentError, match="no hidden data tells these from find_twins: .*in_a_loop"):
        assignments.find(root=tmp_path)[0].draw()
