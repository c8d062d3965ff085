"""`ferlib data fetch`, against a server of this computer's own that hands out drawn faces, and fails on demand."""

import errno
import hashlib
import io
import json
import os
import shutil
import socket
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import urllib3
from on_disk import write_csv, write_folders

from ferlib import cli, data, sample
from ferlib.data import download
from ferlib.emotions import EMOTIONS

COUNTS = {"Training": (6,) * 7, "PublicTest": (2,) * 7, "PrivateTest": (3,) * 7}
SPLITS = np.repeat(list(COUNTS), [42, 14, 21])
LABELS = np.concatenate([np.arange(7).repeat(counts[0]) for counts in COUNTS.values()])


@dataclass
class Page:
    """What the server says: a body with a status, in ranges unless it knows none, cut once after some bytes.

    How long it is, it says unless `length` is false.
    """

    body: bytes = b""
    status: int = 200
    ranges: bool = True
    length: bool = True
    cut: int = 0
    late: bool = False
    location: str = ""


@dataclass
class Server:
    """A web server on 127.0.0.1: `pages` by path, and the path and headers of each request in `seen`."""

    pages: dict[str, Page] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def ranges(self, path: str) -> list[str | None]:
        """The Range header of each request for a path."""
        return [headers.get("Range") for seen, headers in self.seen if seen == path]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Note the request and send its page, as far as the other side still listens."""
        self.seen.append((request.path, dict(request.headers)))
        request.rfile.read(int(request.headers.get("Content-Length", 0)))
        page = self.pages.get(request.path, Page(status=404))
        if page.late:
            self.stop.wait(5)
        start = int(request.headers.get("Range", "bytes=0-")[6:-1]) if page.ranges else 0
        past = start > 0 and start >= len(page.body)
        body = b"" if past else page.body[start:]
        request.send_response(416 if past else 206 if start else 302 if page.location else page.status)
        if page.length:
            request.send_header("Content-Length", str(len(body)))
        kinds = {b"{": "application/json", b"<": "text/html; charset=utf-8"}
        request.send_header("Content-Type", kinds.get(body[:1], "application/octet-stream"))
        if page.ranges:
            request.send_header("Accept-Ranges", "bytes")
        if page.location:
            request.send_header("Location", page.location)
        request.end_headers()
        request.wfile.write(body[: page.cut or None])
        page.cut = 0


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):
                made.answer(self)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        made.port = web.server_address[1]
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.stop.set()
        web.shutdown()
        thread.join(5)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return sample.draw(len(LABELS), seed=6)[0]


@pytest.fixture(scope="module")
def archive(faces: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The challenge's archive: a folder with the CSV and a page about it."""
    folder = tmp_path_factory.mktemp("challenge") / "fer2013"
    folder.mkdir()
    write_csv(folder / "fer2013.csv", faces, LABELS, SPLITS)
    (folder / "README").write_text("about it")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(folder, "fer2013")
    assert len(file.getvalue()) > 100_000
    return file.getvalue()


@pytest.fixture(scope="module")
def bundle(faces: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Kaggle's: class folders, both tests in one, the splits in the file names."""
    folder = tmp_path_factory.mktemp("kaggle")
    places = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}
    write_folders(folder, faces, LABELS, [f"{places[s]}/{{}}/{s}_{100 + i}.jpg" for i, s in enumerate(SPLITS)])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for path in sorted(folder.rglob("*.jpg")):
            packed.write(path, path.relative_to(folder))
    return file.getvalue()


@pytest.fixture(autouse=True)
def mirrors(server: Server, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts and addresses of the tests' own FER2013, and a home without anybody's token or cache."""
    server.pages["/a.tar.gz"] = Page(archive)
    monkeypatch.setattr(download, "MIRRORS", (server.url("/a.tar.gz"),))
    monkeypatch.setattr(download, "MD5", hashlib.md5(archive).hexdigest())
    monkeypatch.setattr(download, "FER2013_COUNTS", COUNTS)
    monkeypatch.setattr(data, "FER2013_COUNTS", COUNTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "hub"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,api.kaggle.com,nowhere.invalid")
    for name in ("TOKEN", "ENVIRONMENT"):
        monkeypatch.delenv(f"KAGGLE_API_{name}", raising=False)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_KERNEL_RUN_TYPE", "TBE_RUNTIME_ADDR", "FERLIB_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def kaggle(server: Server, bundle: bytes, monkeypatch: pytest.MonkeyPatch) -> Page:
    """The real kagglehub, whose requests to kaggle.com go to the server; the page that holds the images."""
    service = "/v1/datasets.DatasetApiService/"
    server.pages[f"{service}GetDataset"] = Page(json.dumps({"currentVersionNumber": 1}).encode())
    server.pages[f"{service}DownloadDataset"] = Page(location="/bundle.zip")
    server.pages["/bundle.zip"] = Page(bundle)
    real = requests.Session.send

    def send(self: requests.Session, request: requests.PreparedRequest, **settings: object) -> requests.Response:
        parts = urlsplit(str(request.url))
        if parts.hostname == "api.kaggle.com":
            request.url = server.url(parts.path)
        return real(self, request, **settings)

    monkeypatch.setattr(requests.Session, "send", send)
    return server.pages["/bundle.zip"]


def fetch(source: str = "mirror", folder: str = "data") -> Path:
    return download.fetch(folder=folder, source=source, progress=False)


def names(folder: str = "data") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_mirror_gives_the_archive_that_find_sees_and_load_reads(archive: bytes, faces: np.ndarray):
    path = fetch()
    assert path == Path("data/fer2013.tar.gz") == data.find("fer2013")
    assert path.read_bytes() == archive and names() == ["fer2013.tar.gz"]
    loaded = data.load("fer2013")
    assert set(loaded.table["split"]) == {"Training", "PublicTest"} and loaded.notes == ()
    assert (loaded.images == faces[:56]).all() and (loaded.labels == LABELS[:56]).all()


def test_what_is_there_and_whole_is_left_alone(server: Server, archive: bytes):
    path, asked = fetch(), len(server.seen)
    before = path.stat().st_mtime_ns
    assert [fetch(source) for source in ("auto", "kaggle", "mirror")] == [path] * 3
    assert (len(server.seen), path.stat().st_mtime_ns, names()) == (asked, before, [path.name])


def test_a_tree_unpacked_into_the_folder_itself_counts_as_there(server: Server, bundle: bytes):
    zipfile.ZipFile(io.BytesIO(bundle)).extractall("data")
    assert fetch() == Path("data") == data.find("fer2013") and server.seen == []


@pytest.mark.parametrize("told", ["by urllib3", "by the length", "by nothing"])
def test_a_cut_connection_is_resumed_to_the_same_bytes(server: Server, archive: bytes, monkeypatch, told: str):
    server.pages["/a.tar.gz"] = Page(archive, cut=70_000, length=told != "by nothing")
    if told == "by the length":  # urllib3 1.26 does not compare what came with it
        never = property(lambda self: False, lambda self, value: None)
        monkeypatch.setattr(urllib3.HTTPResponse, "enforce_content_length", never, raising=False)
    with pytest.raises(ConnectionError, match="the mirror 127.0.0.1 broke off half way: run the same command again"):
        fetch()
    assert names() == ["fer2013.tar.gz.part"]
    have = Path("data/fer2013.tar.gz.part").stat().st_size
    assert 0 < have <= 70_000
    assert fetch().read_bytes() == archive
    assert server.ranges("/a.tar.gz") == [None, f"bytes={have}-"]


def test_a_server_that_ignores_ranges_is_read_from_the_start(server: Server, archive: bytes):
    server.pages["/a.tar.gz"] = Page(archive, ranges=False, cut=70_000)
    with pytest.raises(ConnectionError, match="broke off half way"):
        fetch()
    assert fetch().read_bytes() == archive
    first, second = server.ranges("/a.tar.gz")
    assert first is None and second is not None


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (Page(b"<html>Log in", ranges=False), "^the mirror 127.0.0.1 sent a web page in place of the archive: put fer"),
        (Page(b"no archive", ranges=False), "sent has a wrong checksum and was removed"),
        (Page(b"x" * 90_000, ranges=False, cut=80_000), "broke off half way"),
        (Page(b"no archive", ranges=False, length=False), "broke off half way"),
    ],
)
def test_a_part_outlives_an_answer_that_does_not_go_on_with_it(server: Server, archive: bytes, page: Page, says: str):
    Path("data").mkdir()
    Path("data/fer2013.tar.gz.part").write_bytes(archive[:70_000])
    server.pages["/a.tar.gz"] = page
    with pytest.raises(ConnectionError, match=says):
        fetch()
    assert names() == ["fer2013.tar.gz.part"]
    server.pages["/a.tar.gz"] = Page(archive)
    assert fetch().read_bytes() == archive and server.ranges("/a.tar.gz") == ["bytes=70000-"] * 2


def test_a_part_that_is_all_there_only_needs_its_checksum(server: Server, archive: bytes):
    Path("data").mkdir()
    Path("data/fer2013.tar.gz.part").write_bytes(archive)
    assert fetch().read_bytes() == archive
    assert server.ranges("/a.tar.gz") == [f"bytes={len(archive)}-"] and names() == ["fer2013.tar.gz"]


@pytest.mark.parametrize("wrong", ["part", "body"])
def test_a_wrong_checksum_removes_what_came(server: Server, archive: bytes, wrong: str):
    if wrong == "part":
        Path("data").mkdir()
        Path("data/fer2013.tar.gz.part").write_bytes(b"x" * 100)
    else:
        server.pages["/a.tar.gz"].body = archive[:-1] + b"x"
    with pytest.raises(ConnectionError, match="sent has a wrong checksum and was removed; run the same command again"):
        fetch()
    assert names() == []
    server.pages["/a.tar.gz"].body = archive
    assert fetch().read_bytes() == archive


def test_the_next_mirror_is_tried_with_a_warning(server: Server, archive: bytes, monkeypatch):
    server.pages["/a.tar.gz"].cut = 70_000
    server.pages["/b.tar.gz"] = Page(archive)
    monkeypatch.setattr(download, "MIRRORS", (server.url("/a.tar.gz"), server.url("/b.tar.gz")))
    with pytest.warns(UserWarning, match="broke off half way.*Now the next source is tried") as caught:
        assert fetch().read_bytes() == archive
    assert [Path(warning.filename) for warning in caught] == [Path(__file__)]
    assert str(server.ranges("/b.tar.gz")[0]).startswith("bytes=")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, r"does not hand it out \(HTTP 401\): put fer2013.csv into data/ by hand"),
        (403, r"does not hand it out \(HTTP 403\): put fer2013.csv into data/ by hand"),
        (404, r"does not hand it out \(HTTP 404\): put fer2013.csv into data/ by hand"),
        (429, "answered HTTP 429: wait some minutes and run the same command again, or put fer2013.csv"),
        (503, "answered HTTP 503: wait some minutes and run the same command again, or put fer2013.csv"),
    ],
)
def test_a_mirror_that_refuses(server: Server, status: int, says: str):
    server.pages["/a.tar.gz"].status = status
    with pytest.raises(ConnectionError, match=f"the mirror 127.0.0.1 {says}"):
        fetch()
    assert names() == []


def test_no_network(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(download, "MIRRORS", (f"http://127.0.0.1:{port}/a.tar.gz",))
    unreachable = r"cannot be reached \(ConnectionError\): check the network, or put fer2013.csv into data/ by hand$"
    with pytest.raises(ConnectionError, match=f"the mirror 127.0.0.1 {unreachable}"):
        fetch()

    def unknown(*args: object, **settings: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(download, "MIRRORS", ("http://nowhere.invalid/a.tar.gz",))
    with pytest.raises(ConnectionError, match=f"the mirror nowhere.invalid {unreachable}"):
        fetch()
    assert names() == []


def test_a_server_that_does_not_answer(server: Server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", (0.2, 0.2))
    server.pages["/a.tar.gz"].late = True
    with pytest.raises(ConnectionError, match="did not answer in time: run the same command again, which goes on"):
        fetch()


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, code: int) -> Iterator[None]:
    """Files that the downloader opens take 70,000 bytes and no more."""

    class Full(io.FileIO):
        def write(self, piece: bytes) -> int:
            if self.tell() + len(piece) > 70_000:
                raise OSError(code, os.strerror(code))
            return super().write(piece)

    with monkeypatch.context() as patch:
        patch.setattr(download, "open", Full, raising=False)
        yield


@pytest.mark.parametrize("code", [errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)])
def test_a_full_disk_keeps_the_part(archive: bytes, monkeypatch, code: int):
    says = "^no room is left on the disk of data or of the caches: free 0.5 GB and run the same command again$"
    with full_disk(monkeypatch, code), pytest.raises(OSError, match=says):
        fetch()
    assert names() == ["fer2013.tar.gz.part"]
    assert fetch().read_bytes() == archive


def test_a_folder_that_cannot_be_written_to_is_told_before_any_download(server: Server, tmp_path: Path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/below"):
        with pytest.raises(PermissionError, match=f"^{folder} cannot be written to .*; name another folder: --to"):
            fetch(folder=folder)
    assert server.seen == []


def test_other_names_and_sources_are_refused_with_what_is_known(server: Server):
    with pytest.raises(ValueError, match="'ferplus' cannot be fetched; known is fer2013"):
        download.fetch("ferplus")
    with pytest.raises(ValueError, match="source is 'web'; allowed are auto, kaggle, mirror"):
        fetch("web")
    assert server.seen == [] and not Path("data").exists()


@pytest.mark.parametrize("split", ["Training", "PublicTest", "PrivateTest"])
def test_missing_images_of_any_split_are_named_and_the_copy_removed(monkeypatch, split: str):
    more = COUNTS | {split: (9, *COUNTS[split][1:])}
    monkeypatch.setattr(data, "FER2013_COUNTS", more)
    monkeypatch.setattr(download, "FER2013_COUNTS", more)
    had, due = sum(COUNTS[split]), sum(more[split])
    says = (
        f"{split}: {had} of FER2013's {due} images .angry {COUNTS[split][0]} of 9.; it was removed; take the other of"
    )
    with pytest.raises(ValueError, match=says):
        fetch()
    assert names() == []


def test_what_is_no_image_is_noted_and_no_lack(server: Server, bundle: bytes):
    zipfile.ZipFile(io.BytesIO(bundle)).extractall("data/fer2013")
    Path("data/fer2013/about.txt").write_text("about it")
    assert fetch() == Path("data/fer2013") and server.seen == []
    with pytest.warns(UserWarning, match="left out what .*about.txt"):
        data.load("fer2013")


def test_what_is_there_but_not_whole_is_named_and_kept(server: Server, bundle: bytes):
    zipfile.ZipFile(io.BytesIO(bundle)).extractall("data/fer2013")
    lost = Path("data/fer2013/test/sad/PrivateTest_170.jpg")
    assert LABELS[70] == EMOTIONS.index("sad")
    lost.unlink()
    with pytest.raises(ValueError, match="data.fer2013 is not the whole of FER2013: PrivateTest: 20 of FER2013's 21 .*"
                       "sad 2 of 3.; move it away, and run the same command again"):  # fmt: skip
        fetch()
    shutil.rmtree("data/fer2013/test")
    for path in list(Path("data/fer2013/train").rglob("*.jpg")):
        path.rename(path.with_name(f"image{path.stem[9:]}.jpg"))
    Path("data/fer2013/train").rename("data/fer2013/all")
    lacks = "PublicTest: 0 of FER2013's 14 images .*; PrivateTest: 0 of .* neutral 0 of 3.; move it away"
    with pytest.raises(ValueError, match=f"the whole of FER2013: {lacks}"):
        fetch()
    shutil.rmtree("data/fer2013/all")
    with pytest.raises(ValueError, match="fer2013 holds no image .*; move it away"):
        fetch()
    assert server.seen == [] and names() == ["fer2013"]


def test_as_many_as_are_due_but_all_angry_is_not_whole(faces: np.ndarray):
    write_folders(Path("data/fer2013"), faces[:56], [0] * 56, [f"train/{{}}/{i}.png" for i in range(56)])
    with pytest.raises(ValueError, match="Training: 56 of FER2013's 42 images .angry 56 of 6, disgust 0 of 6"):
        fetch()


# ---- Kaggle ---------------------------------------------------------------------------------------------------------


def test_kaggle_gives_class_folders_that_find_sees_and_load_reads(server: Server, kaggle: Page, tmp_path: Path):
    path = fetch("kaggle")
    assert path == Path("data/fer2013") == data.find("fer2013") and names() == ["fer2013"]
    cached = next((tmp_path / "hub").rglob("train")).parent
    files = sorted(file.relative_to(cached) for file in cached.rglob("*.jpg"))
    assert len(files) == 77 and all((path / file).read_bytes() == (cached / file).read_bytes() for file in files)
    loaded = data.load("fer2013")
    assert loaded.notes == () and loaded.table["official"].all()
    assert loaded.counts().to_numpy().tolist() == [[6] * 7, [2] * 7]
    assert all("Authorization" not in headers for _, headers in server.seen)


def test_a_read_only_mount_is_copied_without_its_rights(bundle: bytes, tmp_path: Path, monkeypatch):
    import kagglehub

    zipfile.ZipFile(io.BytesIO(bundle)).extractall(tmp_path / "mount")
    for place in sorted((tmp_path / "mount").rglob("*")):
        place.chmod(0o555 if place.is_dir() else 0o444)
    monkeypatch.setattr(kagglehub, "dataset_download", lambda handle: str(tmp_path / "mount"))
    path = fetch("kaggle")
    assert os.access(path / "train", os.W_OK) and all(file.stat().st_mode & 0o200 for file in path.rglob("*"))
    for place in (tmp_path / "mount").rglob("*"):
        place.chmod(0o755)


def test_kaggle_gets_the_token(server: Server, kaggle: Page, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_abc")
    fetch("kaggle")
    sent = [headers.get("Authorization") for path, headers in server.seen if path.startswith("/v1/")]
    assert sent == ["Bearer KGAT_abc"] * 2


def test_kaggle_is_resumed_too(server: Server, kaggle: Page):
    kaggle.cut = len(kaggle.body) // 2
    says = "^Kaggle broke off half way: run the same command again, which goes on where it stopped, or add --source mir"
    with pytest.raises(ConnectionError, match=says):
        fetch("kaggle")
    assert names() == []
    assert fetch("kaggle") == Path("data/fer2013")
    assert server.ranges("/bundle.zip")[0] is None and str(server.ranges("/bundle.zip")[-1]).startswith("bytes=")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (
            401,
            r"refused \(HTTP 401\): set KAGGLE_API_TOKEN .environment or Colab secret. to a token made at kaggle.com",
        ),
        (403, r"refused \(HTTP 403\): set KAGGLE_API_TOKEN .*, or add --source mirror"),
        (404, r"does not hand it out \(HTTP 404\): add --source mirror"),
        (429, "answered HTTP 429: wait some minutes and run the same command again, or add --source mirror"),
        (500, "answered HTTP 500: wait some minutes"),
    ],
)
@pytest.mark.parametrize("where", ["/v1/datasets.DatasetApiService/GetDataset", "/bundle.zip"])
def test_kaggle_refuses(server: Server, kaggle: Page, where: str, status: int, says: str):
    server.pages[where].status = status
    with pytest.raises(ConnectionError, match=f"^Kaggle {says}"):
        fetch("kaggle")
    assert names() == []


def test_kaggle_sends_something_else(kaggle: Page):
    kaggle.body = b"this is no archive"
    says = (
        r"^Kaggle sent something broken \(ValueError: .*: delete ~/.cache/kagglehub/datasets/msambare/fer2013 and run "
    )
    with pytest.raises(ConnectionError, match=says):
        fetch("kaggle")


def test_a_full_disk_while_kaggles_copy_is_laid_down_leaves_nothing(kaggle: Page, monkeypatch):
    def copyfile(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", copyfile)
        with pytest.raises(OSError, match="^no room is left on the disk of data"):
            fetch("kaggle")
    assert names() == []


def test_kaggles_copy_may_lack_images(kaggle: Page, bundle: bytes, tmp_path: Path):
    with zipfile.ZipFile(io.BytesIO(bundle)) as whole, zipfile.ZipFile(tmp_path / "less.zip", "w") as less:
        for name in whole.namelist()[1:]:
            less.writestr(name, whole.read(name))
    kaggle.body = (tmp_path / "less.zip").read_bytes()
    with pytest.raises(ValueError, match="PrivateTest: 20 of FER2013's 21 images .*; it was removed; take the other"):
        fetch("kaggle")
    assert names() == []
    with pytest.warns(UserWarning, match="PrivateTest: 20 of .*Now the next source is tried"):
        assert fetch("auto") == Path("data/fer2013.tar.gz")


def test_without_kagglehub_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    says = '^Kaggle is out of reach without kagglehub .*: pip install "kagglehub>=0.4", or add --source mirror'
    with pytest.raises(ConnectionError, match=f"{says}$"):
        fetch("kaggle")
    assert names() == []
    with pytest.warns(UserWarning, match=says):
        assert fetch("auto") == Path("data/fer2013.tar.gz")


CANNOT_BE_KEPT = "sent what cannot be kept .*: set KAGGLEHUB_CACHE to a folder that can be written to, or add --source"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "hub"), CANNOT_BE_KEPT),
        (OSError(errno.EROFS, "Read-only file system"), CANNOT_BE_KEPT),
        (TimeoutError("The read operation stopped"), "did not answer in time: run the same command again"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "cannot be reached .ConnectionResetError.: check the netw"),
        (RuntimeError("it"), "sent something broken .RuntimeError: it.: delete"),
    ],
)
def test_whatever_kagglehub_raises_auto_goes_on(monkeypatch, error: Exception, says: str):
    import kagglehub

    def fails(handle: str) -> str:
        raise error

    monkeypatch.setattr(kagglehub, "dataset_download", fails)
    with pytest.raises(ConnectionError, match=f"^Kaggle {says}"):
        fetch("kaggle")
    with pytest.warns(UserWarning, match=f"^Kaggle {says}.*Now the next source is tried"):
        assert fetch("auto") == Path("data/fer2013.tar.gz")


def test_a_hub_cache_that_cannot_be_written_to_does_not_stop_auto(kaggle: Page, tmp_path: Path):
    (tmp_path / "hub").write_text("a file, where a folder would be")
    with pytest.warns(UserWarning, match=f"^Kaggle {CANNOT_BE_KEPT}"):
        assert fetch("auto") == Path("data/fer2013.tar.gz")


def test_auto_takes_kaggle_and_says_so_when_it_takes_the_mirror(server: Server, kaggle: Page, archive: bytes):
    assert fetch("auto", "first") == Path("first/fer2013")
    assert server.ranges("/a.tar.gz") == []
    server.pages["/v1/datasets.DatasetApiService/GetDataset"].status = 403
    with pytest.warns(UserWarning, match=r"^Kaggle refused \(HTTP 403\).*Now the next source is tried") as caught:
        assert fetch("auto", "second").read_bytes() == archive
    assert len(caught) == 1 and names("second") == ["fer2013.tar.gz"]


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command_tells_where_it_lies_and_what_it_holds(capsys):
    assert cli.main(["data", "fetch", "fer2013", "--to", "there", "--source", "mirror"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for text in (
        "for study only",
        "I. Goodfellow et al. 2013",
        "60 to 100 MB",
        "it lies in there/fer2013.tar.gz and is whole",
        "fer2013.tar.gz: 56 faces, 48x48 px",
        "PrivateTest: 21 more, sealed",
        "next: ferlib audit --data there/fer2013.tar.gz",
    ):
        assert text in out.replace("\\", "/")
    rows = [line.split() for line in out.splitlines() if line.startswith(("Training ", "PublicTest "))]
    assert rows == [["Training", *["6"] * 7], ["PublicTest", *["2"] * 7]]


def test_a_bar_shows_how_far_it_is(capsys):
    download.fetch(source="mirror")
    assert "the mirror 127.0.0.1: 100%" in capsys.readouterr().err


def test_the_command_notes_what_failed_and_fails_in_one_line(capsys, server: Server, kaggle: Page):
    server.pages["/v1/datasets.DatasetApiService/GetDataset"].status = 503
    server.pages["/a.tar.gz"].status = 404
    assert cli.main(["data", "fetch", "fer2013"]) == 2
    note, error = capsys.readouterr().err.splitlines()
    assert note.startswith("ferlib: note: Kaggle answered HTTP 503: wait some minutes")
    assert error == (
        "ferlib data: error: the mirror 127.0.0.1 does not hand it out (HTTP 404): put fer2013.csv into data/ by hand"
    )


def test_the_command_knows_its_names_and_leaves_the_verb_as_it_was(capsys, server: Server):
    for args, text in (
        (["fetch", "ferplus"], "argument name: invalid choice: 'ferplus'"),
        (["fetch"], "the following arguments are required: name"),
        (["fetch", "fer2013", "--source", "web"], "argument --source: invalid choice: 'web'"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(["data", *args])
        assert stop.value.code == 2 and text in capsys.readouterr().err
    assert server.seen == []
    fetch()
    assert cli.main(["data", "--data", "data/fer2013.tar.gz"]) == 0
    assert "fer2013.tar.gz: 56 faces" in capsys.readouterr().out
