"""What is published: one address, one version, forms and workflows that fit the Makefile, no placeholder left."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import course
import ferlib
import publish

yaml = pytest.importorskip("yaml")  # nbconvert brings it
ROOT = course.ROOT
LESSON = "# %% [markdown]\n# # Look\n#\n# {colab}\n\n# %%\n1 + 1\n"
FORMS = sorted((ROOT / ".github").rglob("*.yml"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small copy of the repository with one lesson, still without an address."""
    for name in ("pyproject.toml", "README.md", "CITATION.cff", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        text = text.replace(course.repository(ROOT), publish.UNSET)
        text = text.replace(publish.in_colab(course.repository(ROOT)), publish.in_colab(publish.UNSET))
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "notebooks/src").mkdir(parents=True)
    (tmp_path / "notebooks/src/01_look.py").write_text(LESSON, encoding="utf-8")
    course.sync(tmp_path)
    return tmp_path


def test_the_address_is_set_everywhere_from_its_one_place(root: Path, capsys: pytest.CaptureFixture[str]):
    assert publish.main(["https://github.com/ada/faces.git/"], root) == 0
    assert course.repository(root) == "https://github.com/ada/faces"
    notebook = (root / "notebooks/01_look.ipynb").read_text(encoding="utf-8")
    assert "https://colab.research.google.com/github/ada/faces/blob/main/notebooks/01_look.ipynb" in notebook
    assert "git clone -q --depth 1 https://github.com/ada/faces course" in notebook
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert "git clone https://github.com/ada/faces course" in readme
    assert "https://colab.research.google.com/github/ada/faces/blob/main/notebooks/05_fine_tuning.ipynb" in readme
    assert 'repository-code: "https://github.com/ada/faces"' in (root / "CITATION.cff").read_text(encoding="utf-8")
    assert not [path for path in root.rglob("*") if path.is_file() and "OWNER" in path.read_text(encoding="utf-8")]
    said = capsys.readouterr().out
    assert "wrote README.md" in said and "wrote notebooks/01_look.ipynb" in said
    assert "https://ada.github.io/faces/" in said and f"git tag v{ferlib.__version__}" in said


def test_another_address_replaces_the_first_and_the_same_changes_nothing(root: Path):
    assert publish.set_address(root, "https://github.com/ada/faces")
    assert publish.set_address(root, "https://github.com/ada/faces") == []
    assert publish.main(["https://github.com/grace/faces-2"], root) == 0
    assert "ada/faces" not in "".join(path.read_text(encoding="utf-8") for path in root.rglob("*") if path.is_file())


def test_placeholders_are_named_and_nothing_is_changed(root: Path, capsys: pytest.CaptureFixture[str]):
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert publish.main([], root) == 1
    said = capsys.readouterr().out
    for name in ("pyproject.toml", "README.md", "CITATION.cff", "notebooks/01_look.ipynb"):
        assert re.search(rf"^{re.escape(name)}, line \d+: \S*OWNER is a placeholder$", said, re.MULTILINE), name
    assert "make publish-check REPOSITORY=" in said
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_what_contradicts_itself_is_named(root: Path):
    publish.set_address(root, "https://github.com/ada/faces")
    assert publish.problems(root) == []
    for name, old, new, said in (
        ("README.md", "git clone https://github.com/ada/faces", "git clone <this repository>", "is a placeholder"),
        ("CITATION.cff", f"version: {ferlib.__version__}", "version: 0.0.1", "CITATION.cff has version 0.0.1"),
        ("CITATION.cff", "ada/faces", "ada/other", "CITATION.cff does not have the repository's address"),
        ("CHANGELOG.md", f"## {ferlib.__version__} ", "## 9.9.9 ", f"CHANGELOG.md has no part on {ferlib.__version__}"),
        ("notebooks/src/01_look.py", "1 + 1", "1 + 2", "01_look.ipynb differs"),
    ):
        kept = (root / name).read_text(encoding="utf-8")
        assert old in kept
        (root / name).write_text(kept.replace(old, new), encoding="utf-8")
        assert said in "\n".join(publish.problems(root))
        (root / name).write_text(kept, encoding="utf-8")


@pytest.mark.parametrize("address", ["github.com/a/b", "https://github.com/a", "https://a.org/a/b", publish.UNSET])
def test_an_address_that_is_none_is_refused(root: Path, capsys: pytest.CaptureFixture[str], address: str):
    before = (root / "README.md").read_bytes()
    assert publish.main([address], root) == 2
    assert "is no address of a repository" in capsys.readouterr().err
    assert (root / "README.md").read_bytes() == before


def test_only_files_that_git_tracks_are_searched(root: Path):
    publish.set_address(root, "https://github.com/ada/faces")
    (root / "mine.md").write_text("https://github.com/OWNER/ferlib")
    assert "mine.md" in publish.tracked(root)
    if shutil.which("git"):
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        subprocess.run(["git", "add", "README.md"], cwd=root, check=True)
        assert publish.tracked(root) == ["README.md"]


def test_this_repository_repeats_its_address_and_its_version():
    address, lasting = course.repository(ROOT), re.compile("placeholder|differs from|is missing|carries outputs")
    assert [each for each in publish.problems(ROOT) if not lasting.search(each)] == []
    for name in publish.REPEATED:
        text = (ROOT / name).read_text(encoding="utf-8")
        links = set(re.findall(r"https://github\.com/[\w.-]+/[\w.-]+", text))
        assert links == {address}, name
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_forms_and_workflows_are_yaml(path: Path):
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_the_form_for_a_fault_asks_what_an_answer_needs():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/fault.yml").read_text(encoding="utf-8"))
    text = str(form["body"])
    assert all(word in text for word in ("Google Colab", "Windows", "CPU", "GPU", "ferlib doctor"))


def test_pre_commit_runs_what_make_lint_runs():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    code = re.search(r"^CODE := (.+)$", makefile, re.MULTILINE)[1]
    recipe = re.search(r"^lint:.*\n((?:\t.+\n)+)", makefile, re.MULTILINE)[1]
    lines = [line.strip().replace("$(PY)", "python").replace("$(CODE)", code) for line in recipe.splitlines()]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == lines
    assert all(hook["language"] == "system" and hook["pass_filenames"] is False for hook in hooks)


def test_workflows_call_goals_that_the_makefile_has():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    called = set()
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            for step in job["steps"]:
                run = step.get("run", "")
                called |= set(re.findall(r"\bmake ([a-z-]+)", run))
                assert all((ROOT / name).is_file() for name in re.findall(r"(?:tests|tools)/\w+\.py", run))
    assert called and called <= set(re.findall(r"[a-z-]+", re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1]))
