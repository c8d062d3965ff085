"""The template of a teacher's own assignment: it keeps the rules of the others, and becomes one of them."""

import shutil
from pathlib import Path

import pytest

import assignments
import teach

TEMPLATE = assignments.Assignment(assignments.TEMPLATE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the template and one assignment."""
    for folder in ("src", "keys"):
        (tmp_path / assignments.FOLDER / folder).mkdir(parents=True)
        for name in ("template", "a01_data"):
            shutil.copy(
                assignments.ROOT / assignments.FOLDER / folder / f"{name}.py", tmp_path / assignments.FOLDER / folder
            )
    setup = assignments.FOLDER / "src" / assignments.SETUP
    shutil.copy(assignments.ROOT / setup, tmp_path / setup)
    return tmp_path


def test_students_are_not_given_the_template():
    assert assignments.TEMPLATE not in [one.name for one in assignments.find()]
    assert not TEMPLATE.released.exists()


@pytest.mark.parametrize("secret", [assignments.PUBLIC, "words of a teacher's own"])
def test_the_right_answer_scores_full_marks_and_each_wrong_one_loses(secret: str):
    cells = TEMPLATE.notebook(secret).cells
    full = assignments.points_of(cells)
    assert assignments.run(cells) == full == {"top_k_accuracy_seen": 2, "top_k_accuracy_hidden": 3}
    assert len(TEMPLATE.wrong) >= 6
    seen = 0
    for other in TEMPLATE.wrong:
        got = assignments.run(assignments.answered(cells, other))
        assert got["top_k_accuracy_hidden"] < 3, f"{other.name} passes"
        assert len(other.why.split()) >= 3
        seen += got["top_k_accuracy_seen"] < 2
    assert seen >= len(TEMPLATE.wrong) / 2, "the visible tests teach too little"


def test_a_new_assignment_is_found_and_released(root: Path):
    source, key = assignments.begin("a06_top_k", root)
    assert source.read_text(encoding="utf-8").startswith("# %% [markdown]\n# # Assignment 6: your title\n")
    assert key.read_text(encoding="utf-8").startswith('"""Key of a06_top_k:')
    (made,) = assignments.find(["a06"], root)
    assert made.functions == ("top_k_accuracy",) and made.wrong == TEMPLATE.wrong
    text = teach.student_notebook(made).decode()
    assert "YOUR CODE HERE" in text and "argsort" not in text and "HIDDEN" not in text
    assert "top_k_accuracy" in text and "# Assignment 6: your title" in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("top_k", "is no assignment's name"),
        ("a6_top_k", "is no assignment's name"),
        ("a06_Top-K", "is no assignment's name"),
        ("a01_top_k", "a01_data has that number already"),
    ],
)
def test_a_name_that_does_not_fit_is_refused_and_nothing_written(root: Path, name: str, said: str):
    before = sorted(root.rglob("*.py"))
    with pytest.raises(assignments.AssignmentError, match=said):
        assignments.begin(name, root)
    assert sorted(root.rglob("*.py")) == before


def test_the_command_says_what_comes_next(root: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(assignments, "ROOT", root)
    monkeypatch.setattr(assignments.begin, "__defaults__", (root,))
    assert teach.main(["new", "a07_mine"]) == 0
    said = capsys.readouterr().out
    assert "wrote notebooks/assignments/src/a07_mine.py" in said and "check --only a07" in said
    assert teach.main(["new", "mine"]) == 2
    assert "such as a06_top_k" in capsys.readouterr().err
