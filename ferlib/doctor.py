"""What this computer has for the course, what it lacks, and the command that mends it: `report(check())`."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

CASCADE = "haarcascade_frontalface_alt2.xml"  # of the frontal ones it finds the most faces, and errs least
MEND_TORCH = "pip install --force-reinstall torch torchvision"
MEND_CV2 = 'pip install --force-reinstall --no-deps "opencv-contrib-python>=4.11,<5"'
SYSTEM_CV2 = "sudo apt-get install -y libgl1 libglib2.0-0"
# Both OpenCV wheels fill the folder `cv2` and the later one wins; pip takes them in reverse order of name, so contrib,
# which has `cv2.face`, comes last. torch and torchvision have to be chosen together as well.
MEND = {"torch": MEND_TORCH, "torchvision": MEND_TORCH, "opencv-contrib-python": MEND_CV2}
MEND["opencv-python-headless"] = f'{MEND_CV2} "opencv-python-headless>=4.11,<5"'


@dataclass(frozen=True)
class Check:
    """One thing looked at: `found` is what there is, in words, and `fix` the command that mends it, "" if `ok`."""

    name: str
    ok: bool
    found: str
    fix: str = ""


def check(*, workdir: str | Path = ".", free_disk_gb: float = 2.0, free_memory_gb: float = 1.5) -> list[Check]:
    """Look at Python, packages, accelerator, memory and folders; `free_disk_gb` (GB = 10^9 bytes) at `workdir`.

    Changes nothing and uses no network; importing torch takes a few seconds.
    """
    torch, folder = _torch(), Path(workdir)
    cores = Check("cores", True, f"{os.cpu_count() or 1} CPU cores")
    checks = [_python(), *_packages(), torch, *_cv2(), *([_accelerator()] if torch.ok else []), cores]
    return [*checks, _widgets(), _memory(free_memory_gb), _disk(folder, free_disk_gb), *_folders(folder)]


def report(checks: Sequence[Check]) -> str:
    """The checks as text, a line for each, and under each that fails the command that mends it."""
    return "\n".join(f"ok    {one.found}" if one.ok else f"MEND  {one.found}\n      {one.fix}" for one in checks)


def _python() -> Check:
    found = "Python {}.{}.{}".format(*sys.version_info)
    old = tuple(sys.version_info) < (3, 10)
    return Check("python", not old, found + " is too old" * old, "python3.10 -m venv .venv" * old)


def _packages() -> Iterator[Check]:
    """A check for each required package that is missing or of a wrong version, else one for all of them."""
    try:
        from packaging.requirements import Requirement

        needs = [Requirement(line) for line in metadata.requires("ferlib") or []]
    except ImportError as error:  # packaging is missing, or ferlib itself was never installed
        yield Check("packages", False, f"cannot look at the packages: {error}", "pip install -r requirements.txt")
        return
    needs = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    bad = []
    for need in needs:
        fix = MEND.get(need.name, f'pip install "{need.name}{need.specifier}"')
        try:
            version = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            if need.name != "opencv-python-headless":  # uv leaves it out, rightly: contrib holds all it has
                bad.append(Check(need.name, False, f"{need.name} is not installed", fix))
            continue
        if not need.specifier.contains(version, prereleases=True):
            bad.append(Check(need.name, False, f"{need.name} is {version}; needed is {need.specifier}", fix))
    yield from bad or [Check("packages", True, f"all {len(needs)} required packages, in versions that fit")]


def _torch() -> Check:
    """Whether torch and torchvision were built for each other: if not, torchvision's own operators do not load."""
    try:
        torch, vision = importlib.import_module("torch"), importlib.import_module("torchvision")
        vision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return Check("torch", False, f"torch and torchvision do not work together: {error}", MEND_TORCH)
    return Check("torch", True, f"torch {torch.__version__}, torchvision {vision.__version__}")


def _cv2() -> Iterator[Check]:
    """Whether OpenCV has all that the lessons use: wheels other than contrib 4 lack a part of it."""
    try:
        cv2: Any = importlib.import_module("cv2")
    except ImportError as error:
        # A bare Linux server lacks system libraries, which no Python package brings.
        system = str(error).startswith("lib")
        yield Check("cv2", False, f"cv2 does not load: {error}", SYSTEM_CV2 if system else MEND_CV2)
        return
    cascade = Path(getattr(getattr(cv2, "data", None), "haarcascades", "")) / CASCADE
    there = {"cv2.face": hasattr(cv2, "face"), "cv2.CascadeClassifier": hasattr(cv2, "CascadeClassifier")}
    there[f"OpenCV's file {CASCADE}"] = cascade.is_file()
    lacking = [Check(name, False, f"{name} is missing", MEND_CV2) for name, is_there in there.items() if not is_there]
    yield from lacking or [Check("cv2", True, f"OpenCV {cv2.__version__} with cv2.face and the face cascade")]


def _accelerator() -> Check:
    torch: Any = importlib.import_module("torch")
    found = "CPU only, no GPU"
    if torch.cuda.is_available():
        # Older GPUs emulate bf16, which is slower than plain 32-bit numbers.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        found = f"GPU {torch.cuda.get_device_name()} (CUDA), {'bf16' if native else 'no bf16 of its own'}"
    elif torch.backends.mps.is_available():
        found = "GPU of this Mac (MPS)"
    elif "COLAB_RELEASE_TAG" in os.environ:
        found += "; Colab lends one: Runtime > Change runtime type > T4 GPU"
    return Check("accelerator", True, found)


def _widgets() -> Check:
    try:
        version = metadata.version("ipywidgets")
    except metadata.PackageNotFoundError:  # the lessons run without it
        return Check("ipywidgets", True, "no ipywidgets: progress bars are plain text (pip install ipywidgets)")
    old = tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < (7, 7)
    fix = 'pip install "ipywidgets>=7.7"' * old
    return Check("ipywidgets", not old, f"ipywidgets {version}" + ", too old for progress bars and sliders" * old, fix)


def _memory(need: float) -> Check:
    """Whether enough memory is free; psutil comes with accelerate."""
    try:
        free = importlib.import_module("psutil").virtual_memory().available / 1e9
    except ImportError as error:
        return Check("memory", False, f"cannot look at the memory: {error}", "pip install psutil")
    low = free < need
    fix = "shut down other kernels (in JupyterLab: Running > Shut Down All), then try again" * low
    return Check("memory", not low, f"{free:.1f} GB of memory free" + f", {need:g} needed" * low, fix)


def _disk(folder: Path, need: float) -> Check:
    free = shutil.disk_usage(_nearest(folder)).free / 1e9
    low = free < need
    return Check("disk", not low, f"{free:.1f} GB of disk free" + f", {need:g} needed" * low, "pip cache purge" * low)


def _folders(folder: Path) -> Iterator[Check]:
    """Whether the working folder and the cache can be written to, and whether FERLIB_DATA, if set, is there."""
    if not folder.is_dir():
        yield Check("workdir", False, f"{folder} is no folder", f"mkdir -p {shlex.quote(str(folder))}")
    elif _writable(folder):
        yield Check("workdir", True, f"working folder {folder.resolve()}")
    else:
        yield Check("workdir", False, f"the working folder {folder.resolve()} cannot be written to", "cd ~")
    given = os.environ.get("FERLIB_CACHE")
    cache = Path(given) if given else Path.home() / ".cache" / "ferlib"
    if _writable(_nearest(cache)):
        yield Check("cache", True, f"cache folder {cache}")
    else:
        fix = "unset FERLIB_CACHE" if given else f"export FERLIB_CACHE={shlex.quote(str(folder.resolve() / 'cache'))}"
        yield Check("cache", False, f"the cache folder {cache} cannot be written to", fix)
    data = os.environ.get("FERLIB_DATA")
    if data and Path(data).exists():
        yield Check("data", True, f"FERLIB_DATA is {data}")
    elif data:
        yield Check("data", False, f"FERLIB_DATA is {data}, which does not exist", "unset FERLIB_DATA")


def _nearest(path: Path) -> Path:
    """The path itself or, where it does not exist, the nearest of its parents that does."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def _writable(folder: Path) -> bool:
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
