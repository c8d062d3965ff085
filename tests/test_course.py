"""The course builder, tried on tiny lessons, and the real notebooks against their sources."""

import ast
import itertools
import json
import os
import queue
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import warm
from jupyter_client.channels import AsyncZMQSocketChannel

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
    assert '<h2><a href="02_train.html">Train</a></h2>' in index
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
    assert '<pre class="told">2</pre>' in page  # what ran before is kept
    assert message.split(":")[0] in page
    assert not (root / "build/course/02_train.html").exists()
    assert "not built yet" in (root / "build/course/index.html").read_text()


BESIDE_ANOTHER = """
import os, pathlib, time
pathlib.Path("{own}").write_text(str(os.getpid()))
while not pathlib.Path("{other}").exists():
    time.sleep(0.05)
{then}
"""


def beside_another(root: Path, first: str, second: str) -> None:
    """Two lessons that wait for each other, and then do this; each leaves the number of its kernel's process."""
    for name, own, other, then in (("01_look", "one", "two", first), ("02_train", "two", "one", second)):
        code = BESIDE_ANOTHER.format(own=own, other=other, then=then)
        (root / f"notebooks/src/{name}.py").write_text(f"{SECOND}\n# %%{code}")


def assert_ended(root: Path) -> None:
    """Both lessons' kernels end within some seconds."""
    for name in ("one", "two"):
        process = int((root / "notebooks" / name).read_text())
        for _ in range(200):
            if not Path(f"/proc/{process}").exists():
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"the kernel of lesson {name} still runs")


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_a_failed_lesson_ends_the_one_that_runs_beside_it(root: Path, capsys: pytest.CaptureFixture[str]):
    beside_another(root, "1 / 0", "time.sleep(100)")
    assert course.main(["--jobs", "2", "--timeout", "60"], root) == 1
    said = capsys.readouterr()
    assert "ZeroDivisionError" in said.err and "[1/2] 01_look ... stopped at cell 3" in said.out
    assert_ended(root)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_ctrl_c_ends_all_lessons_that_run(root: Path):
    beside_another(root, "time.sleep(100)", "time.sleep(100)")
    assert interrupted(root, signal.SIGINT) == (130, "stopped")
    assert_ended(root)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_ctrl_c_is_quiet_while_a_process_waits_for_a_lesson(root: Path):
    beside_another(root, "time.sleep(0)", "time.sleep(100)")  # the first has ended when Ctrl-C comes
    assert interrupted(root, signal.SIGINT, after="[1/2] 01_look ... ") == (130, "stopped")
    assert_ended(root)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_a_builder_that_is_ended_ends_its_lessons(root: Path):
    beside_another(root, "time.sleep(100)", "time.sleep(100)")
    assert interrupted(root, signal.SIGTERM)[0] == 143
    assert_ended(root)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_a_lost_process_is_noticed(root: Path, capsys: pytest.CaptureFixture[str]):
    beside_another(root, "os.kill(os.getppid(), 9)", "time.sleep(100)")
    assert course.main(["--jobs", "2", "--timeout", "60"], root) == 2
    assert "course: a process that ran a lesson has ended" in capsys.readouterr().err


def interrupted(root: Path, number: int, after: str = "") -> tuple[int, str]:
    """Exit code and stderr of a build that gets a signal when both lessons run, or `after` was told on stdout."""
    code = """import course, pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts the tests may ignore it
sys.exit(course.main(["--jobs", "2", "--timeout", "60"], pathlib.Path(sys.argv[1])))"""
    env = os.environ | {"PYTHONPATH": str(course.ROOT / "tools")}
    out = root / "stdout"
    with out.open("w") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(root)],
            env=env, start_new_session=True, text=True, stdout=stdout, stderr=subprocess.PIPE,
        )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while not all((root / "notebooks" / name).exists() for name in ("one", "two")) or not re.search(
            rf"{re.escape(after)}\w" if after else "", out.read_text()
        ):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        os.kill(process.pid, number) if number == signal.SIGTERM else os.killpg(process.pid, number)
        told = process.communicate(timeout=60)[1].strip()
        return process.returncode, told
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_widgets_leave_no_trace_and_pages_with_formulas_ask_for_mathjax(root: Path):
    source = root / "notebooks/src/02_train.py"
    widget = f"get_ipython().display_pub.publish({{{lesson.WIDGET!r}: {{'model_id': '1'}}, 'text/plain': 'a' + 'bar'}})"
    source.write_text(f"# %% [markdown]\n# The loss is $-\\log p$.\n\n# %%\n{widget}\nprint('done')\n")
    notebook = course.read_lesson(source)
    assert lesson.execute(notebook, root, 60) is None
    page = lesson.lesson_page(notebook, root)
    assert "abar" not in page
    assert ">done</pre>" in page
    assert '<script async src="' in page


def test_a_message_is_found_although_its_wake_up_was_lost(root: Path, monkeypatch: pytest.MonkeyPatch):
    real, calls = AsyncZMQSocketChannel.get_msg, itertools.count()

    async def lossy(self: AsyncZMQSocketChannel, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("it would wait for ever")
        if next(calls) % 2:
            raise queue.Empty
        return await real(self, timeout)

    monkeypatch.setattr(AsyncZMQSocketChannel, "get_msg", lossy)
    notebook = course.read_lesson(root / "notebooks/src/02_train.py")
    assert lesson.execute(notebook, root, 60) is None
    assert notebook.cells[2].outputs[0].text == "2\n"
    assert next(calls) > 4


CLAIMED = """# %% [markdown]
# # Claim
#
# {colab}
#
# **You will be able to** claim.

# %%
from ferlib.lesson import Lesson

_ = Lesson("02").claim("a gap & more", 7.25, 5, interval=(6, 8.5), n=2000, seeds=3)

# %% tags=["exercise"]
my_guess = ...

# %% tags=["solution"]
solution_1 = 1

# %% [markdown]
# **1.** Why? ![a dot](dot.png)
#
# <details><summary>Answer</summary>
#
# *Because*.
#
# </details>
"""
DOT = bytes.fromhex("89504e470d0a1a0a")  # enough to be told by its name


@pytest.fixture
def claimed(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The tree with a claim in its second lesson, and a page of text."""
    for name in ("FERLIB_DATA", "FERLIB_FAST"):
        monkeypatch.delenv(name, raising=False)
    (root / "notebooks/src/02_train.py").write_text(CLAIMED)
    (root / "notebooks/dot.png").write_bytes(DOT)
    (root / "notebooks/glossary.md").write_text("# Glossary\n")
    (root / "notebooks/words.md").write_text("# Words\n\n[Look](01_look.ipynb), [again](words.md#a).\n")
    (root / "pyproject.toml").write_text('Repository = "https://github.com/a/b"\n')
    with warm.kernels():
        yield root


def test_claims_are_printed_and_stand_in_the_index(claimed: Path, capsys: pytest.CaptureFixture[str]):
    assert course.main(["--jobs", "1"], claimed) == 0
    said, index = capsys.readouterr().out, (claimed / "build/course/index.html").read_text()
    assert re.search(r"02 +yes +a gap & more +7.25 points +6 to 8.5 +at least 5 +2,000 +3", said)
    assert "; 1 claim held" in index
    for text in ("<td>a gap &amp; more</td>", "<td>7.25 points</td>", "<td>6 to 8.5</td>", "<td>yes</td>"):
        assert text in index


def test_a_failed_claim_fails_the_build_and_goes_when_its_lesson_runs_anew(claimed: Path, capsys):
    source = claimed / "notebooks/src/02_train.py"
    source.write_text(CLAIMED.replace("7.25, 5", "4, 5"))
    assert course.main(["--jobs", "1"], claimed) == 1
    assert "1 claim(s) failed" in capsys.readouterr().err
    assert "1 of 1 claim FAILED" in (claimed / "build/course/index.html").read_text()
    assert course.main(["--only", "1"], claimed) == 0  # what another lesson claimed is kept, and not judged again
    assert "1 of 1 claim FAILED" in (claimed / "build/course/index.html").read_text()
    source.write_text(CLAIMED)
    assert course.main(["--only", "2"], claimed) == 0
    assert "; 1 claim held" in (claimed / "build/course/index.html").read_text()


def test_a_fast_run_only_reports(claimed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (claimed / "notebooks/src/02_train.py").write_text(CLAIMED.replace("7.25, 5", "4, 5"))
    monkeypatch.setenv("FERLIB_FAST", "1")
    assert course.main(["--only", "2"], claimed) == 0
    assert "judges no claim" in capsys.readouterr().out
    assert "1 claim reported, not judged" in (claimed / "build/course/index.html").read_text()


BESIDE = {
    "fast": {"FACES": 3},
    "claims": [
        {"text": "all of them", "value": "2 * FACES", "at_least": 18, "n": "FACES", "unit": "faces"},
        {"text": "few", "value": "FACES", "interval": "(FACES - 5, FACES + 1)", "at_most": 9.5, "n": 7, "seeds": 3},
    ],
}
THIN = """# %% tags=["parameters"]
FACES = 9

# %%
from ferlib.lesson import Lesson

here = Lesson("02b")
print(FACES, "faces")
"""


def test_what_stands_beside_a_lesson_is_no_part_of_its_page(claimed: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    source = claimed / "notebooks/src/02b_more.py"
    source.write_text(THIN)
    source.with_suffix(".json").write_text(json.dumps(BESIDE))
    assert course.main(["--only", "2b"], claimed) == 1
    table = lesson.claims_table(claimed / "build/course/claims")
    columns = ["lesson", "held", "claim", "measured", "95% interval", "threshold", "n", "seeds"]
    assert table[columns].to_numpy().tolist() == [
        ["02b", "yes", "all of them", "18 faces", "", "at least 18", "9", "1"],
        ["02b", "NO", "few", "9 points", "4 to 10", "at most 9.5", "7", "3"],  # its interval's end is above
    ]
    executed = json.loads((claimed / "build/course/02b_more.ipynb").read_text())
    assert [cell["outputs"][0]["text"] for cell in executed["cells"] if cell["outputs"]] == [["9 faces\n"]]
    page, index = ((claimed / f"build/course/{name}.html").read_text() for name in ("02b_more", "index"))
    assert "Claim held" not in page and "here.claim" not in page and "Back: 02 Claim" in page
    assert "<span class='number'>02b</span>" in index and "1 of 2 claims FAILED" in index
    monkeypatch.setenv("FERLIB_FAST", "1")
    assert course.main(["--only", "02b"], claimed) == 0
    assert "3 faces" in (claimed / "build/course/02b_more.html").read_text()
    assert lesson.claims_table(claimed / "build/course/claims")["measured"].tolist() == ["6 faces", "3 points"]


def test_a_page_folds_answers_leads_on_and_needs_no_other_file(claimed: Path):
    assert course.main(["--only", "2"], claimed) == 0
    page = (claimed / "build/course/02_train.html").read_text()
    assert re.search(r"<details><summary>Answer</summary>\s*<p><em>Because</em>.</p>\s*</details>", page)
    assert re.search(r"<details><summary>Solution</summary>.*?solution_1.*?</details>", page, re.DOTALL)
    assert page.count('<a href="01_look.html">Back: 01 Look at the data</a>') == 2
    assert "Next:" not in page and page.count('<a href="glossary.html">Glossary</a>') == 2
    assert '<p class="head"><strong>You will be able to</strong>' in page
    assert "google.colab" not in page  # the set-up cell stays out of the page
    assert not re.search(r'src="(?!data:)', page)
    text = (claimed / "build/course/words.html").read_text()
    assert 'href="01_look.html"' in text and 'href="words.html#a"' in text
    assert '<a href="words.html">Words</a>' in (claimed / "build/course/index.html").read_text()


def test_the_set_up_cell_comes_after_the_head(claimed: Path):
    head, setup, *_ = course.read_lesson(claimed / "notebooks/src/02_train.py").cells
    link = "[Open in Colab](https://colab.research.google.com/github/a/b/blob/main/notebooks/02_train.ipynb)"
    assert link in head.source
    assert "https://github.com/a/b course" in setup.source and setup.metadata.tags == ["setup"]


def test_the_repository_has_one_address():
    tracked = subprocess.run(
        ["git", "grep", "-lI", "github.com/OWNER"], cwd=course.ROOT, capture_output=True, text=True
    )
    own = {line for line in tracked.stdout.splitlines() if not re.match(r"notebooks/\w+\.ipynb|tests/", line)}
    assert own <= {"pyproject.toml", "README.md", "CITATION.cff", "tools/publish.py"}  # which publish.py changes


def test_an_old_python_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch):
    tool = course.ROOT / "tools/course.py"
    ast.parse(tool.read_text(encoding="utf-8"), feature_version=(3, 7))  # which can read it as far as that sentence
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    monkeypatch.setattr(sys, "version", "3.9.18 (main)")
    with pytest.raises(
        SystemExit, match="Python 3.10 or newer is needed, and this is 3.9.18; name another: python3.12"
    ):
        runpy.run_path(str(tool))


def test_without_pages(root: Path):
    assert course.main(["--only", "2", "--no-html", "--out", str(root / "out")], root) == 0
    assert sorted(path.name for path in (root / "out").iterdir()) == ["02_train.ipynb", "claims"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "99"], "there is no lesson 99; --only takes 01, 02"),
        (["--timeout", "0"], "--timeout is 0"),
        (["--jobs", "0"], "--jobs is 0; it takes a number of lessons from 1"),
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
    numbers = [course.number_of(path) for path in course.find_lessons(course.ROOT)]
    assert {"01", "02", "05b"} <= set(numbers)
    assert course.check(course.ROOT) == []
