"""What every test runs under: no network, a cache of its own, no windows."""

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_configure() -> None:
    # Before any test module, and with it matplotlib or albumentations, is imported.
    os.environ |= {"MPLBACKEND": "Agg", "NO_ALBUMENTATIONS_UPDATE": "1"}
    if "PYTEST_XDIST_WORKER" in os.environ:  # a core for each of pytest's processes
        os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


LONG_FIRST = {
    "test_lessons", "test_wheel", "test_faults", "test_distribution", "test_one_page", "test_teach", "test_recipes",
    "test_shipped", "test_outputs",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules of long tests first: left for the end, they would keep one process busy while the other waits.

    One comes last: the second process would begin with it, and wait for the faces that the first one draws.
    """
    names = {item: item.module.__name__ for item in items}
    items.sort(key=lambda item: (names[item] not in LONG_FIRST, names[item] == "test_lesson"))


def is_local(sock: socket.socket, address: object) -> bool:
    """Whether an address stays on this computer."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return sock.family == getattr(socket, "AF_UNIX", None)
    host = address[0] if isinstance(address, tuple) else address
    try:
        return host == "localhost" or ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No connection leaves this computer, and the cache and data of the user stay out of the tests."""

    def guard(name: str):
        real = getattr(socket.socket, name)

        def connect(self: socket.socket, address: object):
            if not is_local(self, address):
                raise RuntimeError(f"a test tried to reach {address!r}; tests run without a network")
            return real(self, address)

        return connect

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guard(name))
        folder = tmp_path_factory.getbasetemp()
        shared = (
            folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
        )  # pytest's processes share what is drawn
        patch.setenv("FERLIB_CACHE", str(shared / "cache"))
        patch.delenv("FERLIB_DATA", raising=False)
        # A loader that is garbage-collected late waits this long for each worker; torch's default is 5 seconds.
        patch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 1.0, raising=False)
        patch.setattr("ferlib.sample.drawn.dataset", drawn_once(shared / "drawn_dataset.pickle"))
        yield


def drawn_once(file: Path) -> Callable[[], tuple[Any, Any]]:
    """`sample.dataset`, drawn once: the first of pytest's processes that needs the faces draws them for all."""
    import pandas as pd
    from filelock import FileLock

    from ferlib.sample.drawn import dataset
    from ferlib.utils import write_whole

    def drawn() -> tuple[Any, Any]:
        with FileLock(f"{file}.lock"):
            if not file.exists():
                write_whole(file, lambda scratch: pd.to_pickle(dataset(), scratch, compression=None))
        return pd.read_pickle(file)

    return drawn


@pytest.fixture(scope="session")
def drawn_dataset(sealed: None) -> tuple[Any, Any]:
    """Images and table of `sample.dataset()`."""
    from ferlib.sample import drawn

    return drawn.dataset()


@pytest.fixture(scope="session")
def drawn_in_cache(sealed: None) -> None:
    """Put the drawn faces into the cache, where other processes find them."""
    from ferlib import data

    data.load("sample")


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port of this computer that nothing listens on."""

    def find() -> int:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return server.getsockname()[1]

    return find


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny network that was not trained."""
    import torch

    from ferlib import models

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    models.save_model(models.build_model("fernet", widths=(8, 8, 8, 8)), folder)
    return folder
