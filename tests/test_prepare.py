"""The set-up cell of a lesson, and `prepare`: in JupyterLab, and on Colab from GitHub or from an uploaded ZIP."""

import os
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
import warm

import course
import lesson as tool
from ferlib import lesson


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder, and an environment that the test may change."""
    monkeypatch.chdir(tmp_path)
    for name in ("FERLIB_DATA", "FERLIB_RUNS"):
        monkeypatch.setenv(name, "")  # so that what `prepare` sets is undone
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch, place: Path) -> list[str]:
    """Colab's runtime with the course in its place; the folders that were mounted."""
    google, mounted = types.ModuleType("google.colab"), []
    google.drive = types.SimpleNamespace(mount=mounted.append)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", google)
    monkeypatch.setattr(lesson, "COLAB_HOME", place / "course")
    (place / "course/notebooks").mkdir(parents=True)
    return mounted


def test_elsewhere_it_changes_nothing(place: Path, capsys: pytest.CaptureFixture[str]):
    lesson.prepare()
    assert "FERLIB_DATA" not in os.environ and "FERLIB_RUNS" not in os.environ
    assert Path.cwd() == place and capsys.readouterr().out == ""


def test_data_names_the_faces_and_sample_goes_back(place: Path, capsys: pytest.CaptureFixture[str]):
    (place / "mine.csv").write_text("emotion,pixels,Usage\n")
    lesson.prepare("mine.csv")
    assert os.environ["FERLIB_DATA"] == str(place / "mine.csv") == lesson.Lesson("01").source
    assert capsys.readouterr().out == f"faces: {place / 'mine.csv'}\n"
    lesson.prepare()
    assert os.environ["FERLIB_DATA"] == str(place / "mine.csv"), "without a word it stays"
    lesson.prepare("sample")
    assert "FERLIB_DATA" not in os.environ and lesson.Lesson("01").drawn


def test_a_source_that_is_not_there_is_told():
    with pytest.raises(FileNotFoundError, match="sampel does not exist"):
        lesson.prepare("sampel")
    assert "FERLIB_DATA" not in os.environ


def test_models_are_kept_where_keep_says(place: Path):
    lesson.prepare(keep=str(place / "kept"))
    assert lesson.Lesson("03").folder == place / "kept/03"


def test_on_colab_it_works_in_the_course_and_mounts_a_drive_when_asked(place: Path, colab: list[str]):
    lesson.prepare()
    assert Path.cwd() == place / "course/notebooks" and colab == []
    lesson.prepare(keep="/content/drive/MyDrive/fer")
    assert colab == ["/content/drive"] and os.environ["FERLIB_RUNS"] == "/content/drive/MyDrive/fer"


def test_on_colab_fer2013_is_fetched(place: Path, colab: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lesson, "fetch", lambda name, folder: Path(folder, name))
    lesson.prepare("fer2013")
    assert os.environ["FERLIB_DATA"] == str(place / "course/data/fer2013")


def run_setup(place: Path, repositories: dict[Path, str]) -> subprocess.CompletedProcess:
    """Run the set-up cell in IPython as on Colab, for each folder that stands for its /content; ferlib is not there."""
    script = place / "cell.ipy"
    lines = ["import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')"]
    lines += ["import pathlib, ferlib.lesson"]
    for content, repository in repositories.items():
        cell = course.SETUP.format(repository=repository).replace("/content", str(content))
        lines += [f"ferlib.lesson.COLAB_HOME = pathlib.Path({str(content / 'course')!r})"]
        lines += [cell.replace('find_spec("ferlib")', 'find_spec("absent")'), "print('ready in', pathlib.Path.cwd())"]
    script.write_text("\n".join(lines))
    env = {**os.environ, "IPYTHONDIR": str(place / "ipython"), "NO_ALBUMENTATIONS_UPDATE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", str(script)],
        cwd=place, env=env, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_the_set_up_cell_gets_the_course_from_a_zip_and_from_a_repository(place: Path):
    uploaded, cloned = place / "uploaded", place / "cloned"
    uploaded.mkdir()
    cloned.mkdir()
    home = place / "origin/ferlib-main"
    (home / "notebooks").mkdir(parents=True)
    (home / "tools").mkdir()
    (home / "notebooks/x.md").write_text("x")
    (home / "tools/colab.py").write_text("import sys; print('called with', sys.argv[1:])")
    with zipfile.ZipFile(uploaded / "ferlib-main.zip", "w") as archive:
        for path in home.rglob("*.*"):
            archive.write(path, path.relative_to(home.parent))
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], cwd=home, check=True)
    done = run_setup(place, {uploaded: str(place / "nowhere"), cloned: str(home)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("called with ['install']") == 2
    for content in (uploaded, cloned):
        assert f"ready in {content / 'course/notebooks'}" in done.stdout


def test_the_set_up_cell_is_thin_and_says_what_a_kernel_without_ferlib_needs():
    lines = course.SETUP.splitlines()
    assert len(lines) == 6 and max(map(len, lines)) <= 125
    assert lines[4] == "from ferlib.lesson import prepare  # no ferlib? In the course's folder, run: make lab"


def test_cells_out_of_order_are_explained(place: Path):
    import nbformat

    path = place / "notebooks/src/01_x.py"
    path.parent.mkdir(parents=True)
    path.write_text("# %% [markdown]\n# # X\n#\n# {colab}\n")
    (place / "pyproject.toml").write_text('Repository = "https://github.com/a/b"\n')
    notebook = course.read_lesson(path)
    notebook.cells.append(nbformat.v4.new_code_cell("faces.subset('Training')"))
    with warm.kernels():
        failure = tool.execute(notebook, place, 60)
    assert failure is not None and failure.cell == 2 and "name 'faces' is not defined" in failure.message
    said = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    assert said.startswith("If a cell above defines 'faces', run that cell first: Run > Run All Above Selected Cell.")
