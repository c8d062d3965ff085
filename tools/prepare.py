# %% tags=["prepare"]
# @title Choose, then run all cells from here on
SOURCE = "sample"  # @param ["sample", "fer2013"]
DRIVE_FOLDER = ""  # @param {type: "string"}
# SOURCE: drawn faces, or "fer2013", photographs (on Colab they are fetched; elsewhere see data/README.md).
# DRIVE_FOLDER: on Colab alone, and only if you like: "/content/drive/MyDrive/fer" keeps there what you train.

# %% tags=["prepare", "folded"]
# @title Prepare this kernel: on Colab this installs ferlib, elsewhere it looks whether it is there
import importlib.util
import os
import subprocess
import sys

from IPython import get_ipython


class Stop(Exception):  # noqa: N818
    """Ends the cell with one sentence in place of a traceback."""

    def _render_traceback_(self):
        return [str(self)]


def call(*command, otherwise):
    """Run a command, its output below the cell; where it fails, stop with its last line and what to do."""
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout, end="")
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise Stop(f"{' '.join(command[:2])} failed ({said[-1]}): {otherwise}")


def out_of_order(shell, kind, error, trace, tb_offset=None):
    """Before a NameError's traceback, say what is mostly behind it."""
    above = "Run > Run All Above Selected Cell (on Colab: Runtime > Run before)"
    print(f"If a cell above makes {getattr(error, 'name', 'it')!r}, run that one first: {above}.")
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


get_ipython().set_custom_exc((NameError,), out_of_order)
if sys.version_info < (3, 10):  # noqa: UP036 (a kernel of any age may run this)
    old = sys.version.split()[0]
    raise Stop(f"ferlib needs Python 3.10 or newer; this kernel is {old}: Kernel > Change Kernel shows the others.")
COLAB, home = "google.colab" in sys.modules, "/content/ferlib"
if COLAB:
    if importlib.util.find_spec("ferlib") is None:
        again = "is there a network? Run this cell again"
        if not os.path.isdir(home):
            call("git", "clone", "-q", "--depth", "1", "{repository}", home, otherwise=again)
        call(sys.executable, f"{home}/tools/colab.py", "install", otherwise=again)
        importlib.invalidate_caches()
    os.chdir(f"{home}/notebooks")
    if DRIVE_FOLDER:
        from google.colab import drive

        drive.mount("/content/drive")
        os.environ["FERLIB_RUNS"] = DRIVE_FOLDER
if importlib.util.find_spec("ferlib") is None:
    raise Stop("This kernel has no ferlib. In a terminal, in the course's folder: make lab (or: pip install -e .).")
outside, chosen = globals().get("CHANGED", (None, None))  # FERLIB_DATA before this cell last set it, and after
if chosen and os.environ.get("FERLIB_DATA") == chosen:  # an earlier choice of this cell gives way to the new one
    os.environ.pop("FERLIB_DATA")
    os.environ.update({"FERLIB_DATA": outside} if outside else {})
CHANGED = (None, None)
if SOURCE != "sample":
    outside = os.environ.get("FERLIB_DATA")
    try:
        if COLAB:
            from ferlib.data.download import fetch

            os.environ["FERLIB_DATA"] = str(fetch(SOURCE, f"{home}/data"))
        else:
            from ferlib import data

            os.environ["FERLIB_DATA"] = str(data.find(SOURCE).resolve())
    except (OSError, ValueError) as error:
        raise Stop(f"{error}") from None
    CHANGED = outside, os.environ["FERLIB_DATA"]
    print(f"faces: {os.environ['FERLIB_DATA']}")
