"""The doctor finds each thing that is wrong, and names the very command that mends it."""

import importlib
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from ferlib import doctor

MEND_TORCH = "pip install --force-reinstall torch torchvision"
MEND_CV2 = 'pip install --force-reinstall --no-deps "opencv-contrib-python>=4.11,<5"'
Usage = namedtuple("Usage", "total used free")


def failing(**options) -> dict[str, doctor.Check]:
    """The checks that fail, by name."""
    return {one.name: one for one in doctor.check(**options) if not one.ok}


def replace_module(monkeypatch: pytest.MonkeyPatch, name: str, module: object) -> None:
    """Make importing `name` give `module`, or raise it if it is an exception."""
    real = importlib.import_module

    def fake(wanted: str, package: str | None = None):
        if wanted != name:
            return real(wanted, package)
        if isinstance(module, Exception):
            raise module
        return module

    monkeypatch.setattr(doctor.importlib, "import_module", fake)


def replace_versions(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Make packages (`_` for `-`) have other versions, or with None be missing."""
    real = metadata.version

    def fake(name: str) -> str:
        version = versions.get(name.replace("-", "_"), real(name))
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(doctor.metadata, "version", fake)


def test_healthy_environment_passes_every_check(tmp_path: Path):
    checks = doctor.check(workdir=tmp_path, free_disk_gb=0.01, free_memory_gb=0.01)
    assert [one for one in checks if not one.ok or one.fix] == []
    names = ["python", "packages", "torch", "cv2", "accelerator", "cores", "ipywidgets", "memory", "disk"]
    assert [one.name for one in checks] == [*names, "workdir", "cache"]


def test_report_shows_what_is_well_and_how_to_mend_what_is_not():
    checks = [doctor.Check("a", True, "torch 2.13.0"), doctor.Check("b", False, "cv2.face is missing", "pip install x")]
    assert doctor.report(checks) == "ok    torch 2.13.0\nMEND  cv2.face is missing\n      pip install x"


def test_old_python(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))
    check = doctor._python()
    assert (check.ok, check.found, check.fix) == (False, "Python 3.9.18 is too old", "python3.10 -m venv .venv")


@pytest.mark.parametrize(
    ("versions", "name", "found", "fix"),
    [
        ({"pandas": "2.0.3"}, "pandas", "pandas is 2.0.3; needed is >=2.1", 'pip install "pandas>=2.1"'),
        ({"timm": "1.0.9"}, "timm", "timm is 1.0.9; needed is >=1.0.12", 'pip install "timm>=1.0.12"'),
        ({"seaborn": None}, "seaborn", "seaborn is not installed", 'pip install "seaborn>=0.13"'),
        ({"torch": "2.3.1+cpu"}, "torch", "torch is 2.3.1+cpu; needed is >=2.4", MEND_TORCH),
        ({"opencv_contrib_python": None}, "opencv-contrib-python", "opencv-contrib-python is not installed", MEND_CV2),
        (
            {"opencv_python_headless": "5.0.0"},
            "opencv-python-headless",
            "opencv-python-headless is 5.0.0; needed is <5,>=4.11",
            f'{MEND_CV2} "opencv-python-headless>=4.11,<5"',
        ),
    ],
)
def test_packages_missing_or_of_a_wrong_version(monkeypatch, versions, name, found, fix):
    replace_versions(monkeypatch, **versions)
    assert list(doctor._packages()) == [doctor.Check(name, False, found, fix)]


@pytest.mark.parametrize(
    "versions", [{"torch": "2.10.0+cu126"}, {"torch": "2.99.0.dev1"}, {"opencv_python_headless": None}]
)
def test_packages_that_will_do(monkeypatch, versions):
    replace_versions(monkeypatch, **versions)
    assert [one.name for one in doctor._packages() if not one.ok] == []


def test_ferlib_that_was_never_installed(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", missing)
    assert [one.fix for one in doctor._packages()] == ["pip install -r requirements.txt"]


def test_packaging_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert [one.fix for one in doctor._packages()] == ["pip install -r requirements.txt"]


@pytest.mark.parametrize("name", ["torch", "torchvision"])
@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("No module"), OSError("bad"), RuntimeError("operator torchvision::nms does not exist")],
)
def test_torch_and_torchvision_that_do_not_fit(monkeypatch, name, error):
    replace_module(monkeypatch, name, error)
    check = failing(free_disk_gb=0)["torch"]
    assert check.fix == MEND_TORCH
    assert str(error) in check.found


def test_torchvision_without_its_operators(monkeypatch: pytest.MonkeyPatch):
    replace_module(monkeypatch, "torchvision", SimpleNamespace(__version__="0.19.0"))
    assert doctor._torch().fix == MEND_TORCH


@pytest.mark.parametrize("part", ["face", "CascadeClassifier"])
def test_opencv_without_a_part(monkeypatch: pytest.MonkeyPatch, part: str):
    import cv2

    monkeypatch.delattr(cv2, part)
    assert list(doctor._cv2()) == [doctor.Check(f"cv2.{part}", False, f"cv2.{part} is missing", MEND_CV2)]


def test_opencv_without_cascades(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import cv2

    monkeypatch.setattr(cv2.data, "haarcascades", f"{tmp_path}/")
    (check,) = doctor._cv2()
    assert (check.found, check.fix) == (f"OpenCV's file {doctor.CASCADE} is missing", MEND_CV2)


def test_opencv_5_lacks_all_three(monkeypatch: pytest.MonkeyPatch):
    replace_module(monkeypatch, "cv2", SimpleNamespace(__version__="5.0.0"))
    assert [one.fix for one in doctor._cv2()] == [MEND_CV2] * 3


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (ModuleNotFoundError("No module named 'cv2'"), MEND_CV2),
        (ImportError("libGL.so.1: cannot open shared object file"), "sudo apt-get install -y libgl1 libglib2.0-0"),
    ],
)
def test_opencv_that_does_not_load(monkeypatch: pytest.MonkeyPatch, error: Exception, fix: str):
    replace_module(monkeypatch, "cv2", error)
    assert [one.fix for one in doctor._cv2()] == [fix]


@pytest.mark.parametrize(
    ("cuda", "mps", "colab", "found"),
    [
        ("A100", False, False, "GPU A100 (CUDA), bf16"),
        ("T4", False, True, "GPU T4 (CUDA), no bf16 of its own"),
        ("", True, False, "GPU of this Mac (MPS)"),
        ("", False, False, "CPU only, no GPU"),
        ("", False, True, "CPU only, no GPU; Colab lends one: Runtime > Change runtime type > T4 GPU"),
    ],
)
def test_accelerators(monkeypatch: pytest.MonkeyPatch, cuda: str, mps: bool, colab: bool, found: str):
    def bf16(including_emulation: bool = True) -> bool:
        return including_emulation or cuda == "A100"

    gpu = SimpleNamespace(is_available=lambda: bool(cuda), get_device_name=lambda: cuda, is_bf16_supported=bf16)
    backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps))
    replace_module(monkeypatch, "torch", SimpleNamespace(cuda=gpu, backends=backends))
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    if colab:
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    assert doctor._accelerator() == doctor.Check("accelerator", True, found)


def test_ipywidgets_missing_is_not_fatal(monkeypatch: pytest.MonkeyPatch):
    replace_versions(monkeypatch, ipywidgets=None)
    check = doctor._widgets()
    assert check.ok
    assert "pip install ipywidgets" in check.found


@pytest.mark.parametrize(("version", "ok"), [("7.6.5", False), ("6.0.1", False), ("7.7.0", True), ("8.1.7", True)])
def test_ipywidgets_too_old_for_progress_bars(monkeypatch: pytest.MonkeyPatch, version: str, ok: bool):
    replace_versions(monkeypatch, ipywidgets=version)
    check = doctor._widgets()
    assert (check.ok, check.fix) == (ok, "" if ok else 'pip install "ipywidgets>=7.7"')
    assert check.found.startswith(f"ipywidgets {version}")


def test_low_memory(monkeypatch: pytest.MonkeyPatch):
    memory = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=0.9e9))
    replace_module(monkeypatch, "psutil", memory)
    check = doctor._memory(1.5)
    assert (check.ok, check.found) == (False, "0.9 GB of memory free, 1.5 needed")
    assert check.fix.startswith("shut down other kernels")
    assert doctor._memory(0.5) == doctor.Check("memory", True, "0.9 GB of memory free")


def test_memory_that_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    check = doctor._memory(1.5)
    assert (check.ok, check.fix) == (False, "pip install psutil")
    assert check.found.startswith("cannot look at the memory: ")


def test_low_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(9e9, 7.5e9, 1.5e9))
    check = doctor._disk(tmp_path, 2.0)
    assert check == doctor.Check("disk", False, "1.5 GB of disk free, 2 needed", "pip cache purge")
    assert doctor._disk(tmp_path, 1.0).ok


def test_working_folder_missing(tmp_path: Path):
    folder = tmp_path / "my course"
    assert failing(workdir=folder, free_disk_gb=0)["workdir"].fix == f"mkdir -p '{folder}'"


def test_working_folder_not_writable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(doctor, "_writable", lambda folder: folder != tmp_path)
    (check,) = [one for one in doctor._folders(tmp_path) if not one.ok]
    assert (check.name, check.fix) == ("workdir", "cd ~")


def test_cache_folder_not_writable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FERLIB_CACHE", str(tmp_path / "file" / "cache"))
    assert failing(workdir=tmp_path, free_disk_gb=0)["cache"].fix == "unset FERLIB_CACHE"


def test_home_not_writable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "home").write_text("in the way")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FERLIB_CACHE")
    (check,) = [one for one in doctor._folders(tmp_path) if not one.ok]
    assert check.fix == f"export FERLIB_CACHE={tmp_path}/cache"


def test_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path))
    assert "data" not in failing(workdir=tmp_path, free_disk_gb=0)
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path / "nowhere"))
    check = failing(workdir=tmp_path, free_disk_gb=0)["data"]
    assert check.found == f"FERLIB_DATA is {tmp_path / 'nowhere'}, which does not exist"
    assert check.fix == "unset FERLIB_DATA"
