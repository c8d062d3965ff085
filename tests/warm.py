"""Kernels that start in a moment: each is forked from a process that has imported torch and the rest, and done no more.

A kernel is a process of its own, with the folder and the environment that it was given and no name defined, so one
lesson cannot see what another did; only the seconds of importing are shared. Where processes cannot be forked, kernels
start as they always do.
"""

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

FERLIB = (
    "apps.export", "apps.recognizer", "explain", "lesson", "plots", "protocol", "recipes", "sample.scenes", "training",
    "training.lr_finder",
)  # fmt: skip
MODULES = (
    "accelerate", "albumentations", "captum.attr", "cv2", "ipykernel.kernelapp", "ipykernel.ipkernel",
    "matplotlib.pyplot", "pandas", "scipy.stats", "seaborn", "sklearn.linear_model",
    "sklearn.manifold", "sklearn.metrics", "sklearn.pipeline", "sklearn.svm", "timm.data", "timm.utils", "torch",
    "torchvision",
    *(f"ferlib.{name}" for name in FERLIB),
)  # fmt: skip
# Read at import, so it has to be set before; one thread also leaves nothing behind that a fork would tear apart.
SETTINGS = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "TQDM_DISABLE": "1",
}
SETTINGS |= {f"{name}_NUM_THREADS": "1" for name in ("MKL", "OMP", "OPENBLAS")}

if __name__ == "warm" and os.environ.get("FERLIB_WARMING"):  # within the process that is forked from
    for module in MODULES:
        with suppress(ImportError):
            importlib.import_module(module)


class Forked:
    """A kernel's process, with what jupyter_client asks of a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, context: Any, arguments: list[str], folder: str, env: Mapping[str, str]) -> None:
        ready, tell = context.Pipe(duplex=False)
        self.process = context.Process(target=serve, args=(arguments, folder, dict(env), tell), daemon=True)
        self.process.start()
        tell.close()
        ready.recv()  # it now leads a group of its own: signals for the group reach nobody else
        self.pid = self.process.pid

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit code, once it has ended."""
        self.process.join(timeout)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """A signal to this process alone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def serve(arguments: list[str], folder: str, env: dict[str, str], tell: Connection) -> None:
    """Become a kernel, in the forked process."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env, **SETTINGS)
    sys.argv = ["ipykernel_launcher", *arguments]
    sys.path[:] = [folder, *(path for path in sys.path if path and Path(path) != Path(__file__).parent)]
    tell.send("ready")
    tell.close()
    from ipykernel import kernelapp

    kernelapp.launch_new_instance(argv=[*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])


@contextmanager
def kernels() -> Iterator[None]:
    """Within it, kernels of this very Python are forked."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        yield
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["warm"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONWARNINGS", "ignore")  # of what kernels leave behind when they are ended
        resource_tracker.ensure_running()
        patch.delenv("PYTHONWARNINGS")
        for name, value in (SETTINGS | {"FERLIB_WARMING": "1", "PYTHONPATH": str(Path(__file__).parent)}).items():
            patch.setenv(name, value)
        context.Process(target=int).start()  # this starts the process that is forked from
    with pytest.MonkeyPatch.context() as patch:

        def launch(command: list[str], *, env: Mapping[str, str], cwd: str, **_: Any) -> Forked:
            return Forked(context, command[command.index("-m") + 2 :], cwd, env)

        patch.setattr("jupyter_client.provisioning.local_provisioner.launch_kernel", launch)
        yield
