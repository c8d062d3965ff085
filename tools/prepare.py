# @title Prepare: elsewhere than on Colab this only looks whether ferlib is there
import importlib.util
import os
import subprocess
import sys

if sys.version_info < (3, 10):  # noqa: UP036 (a kernel of any age may run this)
    raise SystemExit(
        f"ferlib needs Python 3.10 or newer; this kernel is {sys.version.split()[0]}. Choose another kernel."
    )
if "google.colab" in sys.modules and importlib.util.find_spec("ferlib") is None:
    missing = [name for name in ("albumentations", "captum", "timm", "kagglehub") if not importlib.util.find_spec(name)]
    if not os.path.exists("/content/ferlib"):
        subprocess.run(["git", "clone", "-q", "--depth", "1", "{repository}", "/content/ferlib"], check=True)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]  # replaces nothing that Colab brings
    subprocess.run([*install, "/content/ferlib", *missing], check=True)
    os.chdir("/content/ferlib/notebooks")
    print(subprocess.run([sys.executable, "-m", "ferlib", "doctor"], capture_output=True, text=True).stdout)
if importlib.util.find_spec("ferlib") is None:
    raise SystemExit(
        "This kernel has no ferlib. In a terminal, in the course's folder: make lab (or: pip install -e .)"
    )
