"""The course builder, tried on tiny lessons, and the real notebooks against their sources."""

import json
import sys
from pathlib import Path

import pytest

import course
import lesson

FIRST = """# %% [markdown]
# # Look at the data
# What the faces show & hide.
#
# On to [the next](02_train.ipynb).

# %%
import sys
import ferlib

print("seen by", sys.executable)

# %% [markdown]
# The end.
"""
SECOND = "# %% [markdown]\n# # Train\n#\n# A *first* model.\n\n# %%\nx = 1\n\n# %%\nprint(x + 1)\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with two lessons, their notebooks written."""
    folder = tmp_path / "notebooks" / "src"
    folder.mkdir(parents=True)
    (folder / "01_look.py").write_text(FIRST)
    (folder / "02_train.py").write_text(SECOND)
    course.sync(tmp_path)
    return tmp_path


def test_sync_gives_the_same_bytes_every_time(root: Path):
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    before = [path.read_bytes() for path in paths]
    assert course.sync(root) == []
    for path in paths:
        path.unlink()
    assert course.sync(root) == paths
    assert [path.read_bytes() for path in paths] == before
    notebook = json.loads(before[0])
    assert [cell["cell_type"] for cell in notebook["cells"]] == ["markdown", "code", "markdown"]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


def test_a_new_cell_leaves_the_ids_of_the_others_alone(root: Path):
    source = root / "notebooks/src/02_train.py"
    before = [cell.id for cell in course.read_lesson(source).cells]
    source.write_text("# %%\nnew = 0\n\n" + SECOND + "\n# %%\nx = 1\n")
    after = [cell.id for cell in course.read_lesson(source).cells]
    assert after[1:4] == before
    assert len(set(after)) == len(after) == 5


def test_check_is_content_with_what_sync_wrote(root: Path, capsys: pytest.CaptureFixture[str]):
    assert course.check(root) == []
    assert course.main(["--check"], root) == 0
    assert "matches" in capsys.readouterr().out


def test_check_finds_drift_outputs_and_missing_pairs(root: Path, capsys: pytest.CaptureFixture[str]):
    first, second = root / "notebooks/01_look.ipynb", root / "notebooks/02_train.ipynb"
    first.write_text(first.read_text().replace("seen by", "changed in Jupyter"))
    notebook = json.loads(second.read_text())
    notebook["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["2\n"]}]
    second.write_text(json.dumps(notebook))
    (root / "notebooks/03_alone.ipynb").write_text("{}")
    (root / "notebooks/src/04_new.py").write_text("# %%\n1\n")
    assert course.main(["--check"], root) == 1
    problems = capsys.readouterr().out.splitlines()
    assert problems[0].startswith("01_look.ipynb differs from src/01_look.py")
    assert problems[1].startswith("02_train.ipynb carries outputs")
    assert problems[2].startswith("04_new.ipynb is missing")
    assert problems[3].startswith("03_alone.ipynb has no source")
    first.write_text("no notebook at all")
    assert course.check(root, ["1"])[0].startswith("01_look.ipynb differs")


def test_build_writes_pages_with_outputs_and_an_index(root: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    before = [path.read_bytes() for path in sorted((root / "notebooks").glob("*.ipynb"))]
    monkeypatch.chdir("/")
    assert course.main([], root) == 0
    out = root / "build" / "course"
    page, index = (out / "01_look.html").read_text(), (out / "index.html").read_text()
    assert f"seen by {sys.executable}" in page  # this very Python, and `import ferlib` worked
    assert '<html lang="en">' in page
    assert "<title>Look at the data</title>" in page
    assert 'href="02_train.html"' in page
    assert "<script" not in page + index
    assert '<a href="02_train.html">02. Train</a>' in index
    assert "What the faces show &amp; hide." in index
    assert "A first model." in index
    executed = json.loads((out / "02_train.ipynb").read_text())
    assert executed["cells"][2]["outputs"][0]["text"] == ["2\n"]
    assert "[2/2] 02_train ... " in capsys.readouterr().out
    assert [path.read_bytes() for path in sorted((root / "notebooks").glob("*.ipynb"))] == before


@pytest.mark.parametrize(
    ("code", "options", "message"),
    [
        ("1 / 0", [], "ZeroDivisionError: division by zero"),
        ("import time\ntime.sleep(60)", ["--timeout", "1"], "longer than 1 s"),
        ("import os\nos._exit(1)", [], "Python ended in this cell"),
    ],
)
def test_failing_cell_stops_the_build(root: Path, capsys: pytest.CaptureFixture[str], code, options, message):
    (root / "notebooks/src/01_look.py").write_text(f"{SECOND}\n# %%\n{code}\n")
    assert course.main(options, root) == 1
    said = capsys.readouterr().err
    assert "01_look, cell 3 failed" in said
    assert code in said
    assert message in said
    assert "\x1b" not in said
    page = (root / "build/course/01_look.html").read_text()
    assert "<pre>2\n</pre>" in page  # what ran before is kept
    assert message.split(":")[0] in page
    assert not (root / "build/course/02_train.html").exists()
    assert "not built yet" in (root / "build/course/index.html").read_text()


def test_widgets_leave_no_trace_and_pages_with_formulas_ask_for_mathjax(root: Path):
    source = root / "notebooks/src/02_train.py"
    widget = f"get_ipython().display_pub.publish({{{lesson.WIDGET!r}: {{'model_id': '1'}}, 'text/plain': 'a' + 'bar'}})"
    source.write_text(f"# %% [markdown]\n# The loss is $-\\log p$.\n\n# %%\n{widget}\nprint('done')\n")
    notebook = course.read_lesson(source)
    assert lesson.execute(notebook, root, 60) is None
    page = lesson.lesson_page(notebook, root)
    assert "abar" not in page
    assert "<pre>done" in page
    assert '<script async src="' in page


def test_without_pages(root: Path):
    assert course.main(["--only", "2", "--no-html", "--out", str(root / "out")], root) == 0
    assert [path.name for path in (root / "out").iterdir()] == ["02_train.ipynb"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "99"], "there is no lesson 99; --only takes 01, 02"),
        (["--timeout", "0"], "--timeout is 0"),
        (["--out", "{root}/notebooks"], "would overwrite"),
        (["--out", "{root}/notebooks/src/01_look.py/out"], "would overwrite"),
        (["--out", "{root}/file/out"], "cannot write to {root}/file/out"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(root: Path, capsys: pytest.CaptureFixture[str], options, said):
    (root / "file").write_text("in the way")
    assert course.main([option.format(root=root) for option in options], root) == 2
    error = capsys.readouterr().err
    assert said.format(root=root) in error
    assert error.count("\n") == 1


def test_no_lessons_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert course.main(["--check"], tmp_path) == 2
    assert "there are no lessons" in capsys.readouterr().err


def test_jupytext_missing(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(sys.modules, "jupytext", None)
    assert course.main([], root) == 2
    assert "jupytext is not installed; run: pip install -r requirements.txt" in capsys.readouterr().err


def test_the_real_notebooks_match_their_sources():
    numbers = [path.name[:2] for path in course.find_lessons(course.ROOT)]
    assert {"01", "02"} <= set(numbers)
    assert course.check(course.ROOT) == []
