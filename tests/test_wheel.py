"""The wheel: built, installed outside the repository, and used there to train, evaluate and predict."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, made without a network."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    shutil.copytree(ROOT / "ferlib", source / "ferlib")  # a copy, as building writes beside the sources
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place, source]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = place.glob("ferlib-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", place / "site", wheel], check=True, capture_output=True)
    return place


def test_the_wheel_carries_all_of_the_package(installed: Path):
    (wheel,) = installed.glob("ferlib-*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("ferlib/")}
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ferlib").rglob("*") if path.is_file()}
    assert names == {name for name in files if "__pycache__" not in name}
    assert {"ferlib/py.typed", "ferlib/weights/fer2013.safetensors", "ferlib/data/layouts.py"} <= names


def test_it_trains_evaluates_and_predicts_outside_the_repository(installed: Path, tmp_path: Path, drawn_in_cache: None):
    env = {**os.environ, "PYTHONPATH": str(installed / "site"), "NO_ALBUMENTATIONS_UPDATE": "1"}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    draw = "import cv2, ferlib; from ferlib.sample import scenes; cv2.imwrite('me.png', scenes.draw(1, seed=1)[0][0])"
    assert run("-c", f"{draw}; print(ferlib.__file__)").startswith(str(installed / "site"))
    run("-m", "ferlib", "train", "--recipe", "plain_cnn", "--limit", "300", "--epochs", "1", "--out", "runs/mine")
    assert "accuracy" in run("-m", "ferlib", "evaluate", "--model", "runs/mine")
    run("-m", "ferlib", "predict", "me.png", "--model", "runs/mine", "--detector", "whole", "--csv", "out.csv")
    assert (tmp_path / "out.csv").read_text().count("\n") == 2
