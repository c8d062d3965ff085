"""The first cells of a lesson: what they look at on any computer, and what they do on Colab."""

import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import warm

import course
import lesson
from ferlib import data
from ferlib.data import download

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the first cells with other choices, always in one kernel; Colab's /content is a folder of this test."""
    monkeypatch.chdir(tmp_path)
    for name in ("FERLIB_DATA", "FERLIB_RUNS"):
        monkeypatch.setenv(name, "")  # so that what the cells set is undone
        monkeypatch.delenv(name)
    shell = types.SimpleNamespace(set_custom_exc=lambda kinds, handler: None)
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    text = course.PREPARE.read_text(encoding="utf-8").replace("/content", str(tmp_path / "content"))
    names: dict[str, Any] = {}

    def run(source: str = "sample", drive: str = "") -> dict[str, Any]:
        changed = text.replace('SOURCE = "sample"', f"SOURCE = {source!r}")
        changed = changed.replace('DRIVE_FOLDER = ""', f"DRIVE_FOLDER = {drive!r}")
        exec(compile(changed.replace("{repository}", "https://example.org/course"), "prepare", "exec"), names)
        return names

    return run


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Colab's runtime without ferlib, and the commands that the cells called there."""
    google, called = types.ModuleType("google.colab"), []
    google.drive = types.SimpleNamespace(mount=lambda place: called.append(["mount", place]))
    monkeypatch.setitem(sys.modules, "google.colab", google)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    found = iter([None])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: next(found, object()))

    def call(command: tuple, **_: Any) -> subprocess.CompletedProcess:
        called.append([*map(str, command)])
        if command[0] == "git":
            Path(command[-1], "notebooks").mkdir(parents=True)
        return subprocess.CompletedProcess(command, 0, "installed: ferlib\n", "")

    monkeypatch.setattr(subprocess, "run", call)
    return called


def stopped(prepare: Run, *choices: str) -> str:
    """What a student sees where the cells stop: one sentence."""
    with pytest.raises(Exception, match=r"\w") as error:
        prepare(*choices)
    (sentence,) = error.value._render_traceback_()
    assert "\n" not in sentence
    return sentence


def test_elsewhere_they_change_nothing(prepare: Run, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a command was called"))
    prepare(drive="/content/drive/MyDrive")
    assert "FERLIB_DATA" not in os.environ and "FERLIB_RUNS" not in os.environ
    assert Path.cwd() == tmp_path
    assert capsys.readouterr().out == ""


def test_an_old_python_is_told(prepare: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))
    monkeypatch.setattr(sys, "version", "3.9.18 (main)")
    sentence = stopped(prepare)
    assert "Python 3.10 or newer; this kernel is 3.9.18: Kernel > Change Kernel" in sentence


def test_a_kernel_without_ferlib_is_told(prepare: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    sentence = stopped(prepare)
    assert "no ferlib. In a terminal, in the course's folder: make lab" in sentence


def test_source_takes_a_copy_that_is_there(prepare: Run, tmp_path: Path, capsys):
    (tmp_path / "mine.csv").write_text("emotion,pixels,Usage\n")
    prepare("mine.csv")
    assert os.environ["FERLIB_DATA"] == str(tmp_path / "mine.csv")
    assert str(tmp_path / "mine.csv") in capsys.readouterr().out


@pytest.mark.parametrize("outside", ["", "theirs.csv"])
def test_back_to_the_sample_takes_back_what_the_cell_had_set(
    prepare: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outside: str
):
    for name in ("mine.csv", "other.csv"):
        (tmp_path / name).write_text("emotion,pixels,Usage\n")
    if outside:
        monkeypatch.setenv("FERLIB_DATA", outside)
    prepare()
    assert os.environ.get("FERLIB_DATA", "") == outside
    for name in ("mine.csv", "other.csv", "other.csv"):
        prepare(name)
        assert os.environ["FERLIB_DATA"] == str(tmp_path / name)
    prepare()
    assert os.environ.get("FERLIB_DATA", "") == outside
    prepare("mine.csv")
    monkeypatch.setenv("FERLIB_DATA", "set since.csv")
    prepare()
    assert os.environ["FERLIB_DATA"] == "set since.csv", "what somebody else has set stays"


def test_a_source_that_is_not_there_is_told(prepare: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data, "FER2013_NAMES", ("no such file",))
    sentence = stopped(prepare, "fer2013")
    assert "fetch it (ferlib data fetch fer2013)" in sentence
    sentence = stopped(prepare, "sampel")
    assert "sampel does not exist; give 'sample', 'fer2013'" in sentence


def test_on_colab_they_clone_and_install(prepare: Run, colab: list, tmp_path: Path, capsys):
    home = str(tmp_path / "content/ferlib")
    prepare()
    assert colab == [
        ["git", "clone", "-q", "--depth", "1", "https://example.org/course", home],
        [sys.executable, f"{home}/tools/colab.py", "install"],
    ]
    assert Path.cwd() == Path(home, "notebooks")
    assert "FERLIB_RUNS" not in os.environ, "nothing asks for a Drive"
    assert "installed: ferlib" in capsys.readouterr().out
    prepare()  # run again, they find what is there
    assert len(colab) == 2


def test_on_colab_a_drive_is_used_when_asked_for(prepare: Run, colab: list, tmp_path: Path):
    folder = str(tmp_path / "content/drive/MyDrive/fer")
    prepare(drive=folder)
    assert colab[-1] == ["mount", str(tmp_path / "content/drive")]
    assert os.environ["FERLIB_RUNS"] == folder


def test_on_colab_fer2013_is_fetched(prepare: Run, colab: list, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(download, "fetch", lambda name, folder: Path(folder, name))
    prepare("fer2013")
    assert os.environ["FERLIB_DATA"] == str(tmp_path / "content/ferlib/data/fer2013")

    def fail(name: str, folder: str) -> Path:
        raise ConnectionError("Kaggle cannot be reached: check the network")

    monkeypatch.setattr(download, "fetch", fail)
    sentence = stopped(prepare, "fer2013")
    assert sentence == "Kaggle cannot be reached: check the network"


def test_on_colab_without_a_network_one_sentence_says_so(prepare: Run, colab: list, monkeypatch: pytest.MonkeyPatch):
    said = "Cloning\nfatal: unable to access: Could not resolve host"
    failed = subprocess.CompletedProcess([], 128, "", said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    sentence = stopped(prepare)
    assert sentence == "git clone failed (fatal: unable to access: Could not resolve host): is there a network? " + (
        "Run this cell again"
    )


def run_cells(folder: Path, *codes: str) -> tuple[lesson.Failure | None, str]:
    """Run the first cells and others in a real kernel; where it stopped, and what the last of them printed."""
    import nbformat

    path = folder / "notebooks/src/01_x.py"
    path.parent.mkdir(parents=True)
    path.write_text("# %% [markdown]\n# # X\n#\n# {colab}\n")
    (folder / "pyproject.toml").write_text('Repository = "https://github.com/a/b"\n')
    notebook = course.read_lesson(path)
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in codes]
    with warm.kernels():
        failure = lesson.execute(notebook, folder, 60)
    outputs = notebook.cells[-1].outputs
    assert outputs[-1].output_type == "error", "what is said comes before the traceback"
    return failure, "".join(output.get("text", "") for output in outputs)


def test_cells_out_of_order_are_explained(tmp_path: Path):
    failure, said = run_cells(tmp_path, "import numpy", "faces.subset('Training')")
    assert failure is not None and failure.cell == 4
    assert "name 'faces' is not defined" in failure.message
    assert said.startswith("If a cell above makes 'faces', run that one first: Run > Run All Above Selected Cell")


def test_a_stop_is_one_sentence_in_a_notebook(tmp_path: Path):
    failure, said = run_cells(tmp_path, "raise Stop('Do this.')")
    assert failure is not None and failure.message == "Do this."
    assert said == ""
