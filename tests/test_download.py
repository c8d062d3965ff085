"""`ferlib data fetch`, against a server of this computer's own that hands out drawn faces, and fails on demand."""

import hashlib
import io
import json
import socket
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from on_disk import write_csv, write_folders

from ferlib import cli, data, sample
from ferlib.data import download, loading, sources

COUNTS = {"Training": (6,) * 7, "PublicTest": (2,) * 7, "PrivateTest": (3,) * 7}
SPLITS = np.repeat(list(COUNTS), [42, 14, 21])
LABELS = np.concatenate([np.arange(7).repeat(counts[0]) for counts in COUNTS.values()])


@dataclass
class Page:
    """What the server says: a body with a status, and maybe where else to look; cut after some bytes."""

    body: bytes = b""
    status: int = 200
    cut: int = 0
    location: str = ""


@dataclass
class Server:
    """A web server on 127.0.0.1: `pages` by path, and the path and headers of each request in `seen`."""

    pages: dict[str, Page] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Note the request and send its page, as far as the other side still listens."""
        self.seen.append((request.path, dict(request.headers)))
        request.rfile.read(int(request.headers.get("Content-Length", 0)))
        page = self.pages.get(request.path, Page(status=404))
        request.send_response(302 if page.location else page.status)
        request.send_header("Content-Length", str(len(page.body)))
        kind = "application/json" if page.body[:1] == b"{" else "application/octet-stream"
        request.send_header("Content-Type", kind)
        if page.location:
            request.send_header("Location", page.location)
        request.end_headers()
        request.wfile.write(page.body[: page.cut or None])


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):
                made.answer(self)

        do_POST = do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        made.port = web.server_address[1]
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        yield made
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
    monkeypatch.setattr(download, "MIRROR", server.url("/a.tar.gz"))
    monkeypatch.setattr(download, "MD5", hashlib.md5(archive).hexdigest())
    monkeypatch.setattr(download, "FER2013_COUNTS", COUNTS)
    monkeypatch.setattr(loading, "FER2013_COUNTS", COUNTS)
    monkeypatch.setattr(sources, "FER2013_COUNTS", COUNTS)
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
    return download.fetch(folder=folder, source=source)


def names(folder: str = "data") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_the_mirror_gives_the_archive_that_find_sees_and_load_reads(archive: bytes, faces: np.ndarray):
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


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (Page(b"<html>Log in"), "corrupted"),
        (Page(b"x" * 90_000, cut=80_000), "corrupted"),
        (Page(status=403), "HTTP Error 403"),
        (Page(status=404), "HTTP Error 404"),
        (Page(status=503), "HTTP Error 503"),
    ],
)
def test_a_mirror_that_sends_something_else_leaves_nothing(server: Server, archive: bytes, page: Page, says: str):
    server.pages["/a.tar.gz"] = page
    with pytest.raises(ConnectionError, match=f"^the mirror did not give the archive .*{says}.*; check the network"):
        fetch()
    assert names() == []
    server.pages["/a.tar.gz"] = Page(archive)
    assert fetch().read_bytes() == archive


def test_no_network(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(download, "MIRROR", f"http://127.0.0.1:{port}/a.tar.gz")
    says = r"^the mirror did not give the archive \(.*\); check the network, or put fer2013.csv into data/ by hand$"
    with pytest.raises(ConnectionError, match=says):
        fetch()
    assert names() == []


def test_a_folder_that_cannot_be_written_to_is_told_before_any_download(server: Server, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="^cannot write into file/below .*; name another folder: --to"):
        fetch(folder="file/below")
    assert server.seen == []


def test_other_names_and_sources_are_refused_with_what_is_known(server: Server):
    with pytest.raises(ValueError, match="'ferplus' cannot be fetched; known is fer2013"):
        download.fetch("ferplus")
    with pytest.raises(ValueError, match="source is 'web'; allowed are kaggle, mirror, auto"):
        fetch("web")
    assert server.seen == [] and not Path("data").exists()


@pytest.mark.parametrize("split", ["Training", "PublicTest", "PrivateTest"])
def test_missing_images_of_any_split_are_told_and_the_copy_removed(monkeypatch, split: str):
    monkeypatch.setattr(download, "FER2013_COUNTS", COUNTS | {split: (9, *COUNTS[split][1:])})
    with pytest.raises(ValueError, match=rf"is not all of FER2013: {split} has \({COUNTS[split][0]}, .* due are \(9, "):
        fetch()
    assert names() == []


def test_what_is_no_image_is_noted_and_no_lack(server: Server, bundle: bytes):
    zipfile.ZipFile(io.BytesIO(bundle)).extractall("data/fer2013")
    Path("data/fer2013/about.txt").write_text("about it")
    assert fetch() == Path("data/fer2013") and server.seen == []
    with pytest.warns(UserWarning, match="left out .*about.txt"):
        data.load("fer2013")


def test_what_is_there_but_not_whole_is_told_and_kept(server: Server, bundle: bytes):
    zipfile.ZipFile(io.BytesIO(bundle)).extractall("data/fer2013")
    Path("data/fer2013/test/sad/PrivateTest_170.jpg").unlink()
    with pytest.raises(ValueError, match=r"data.fer2013 is not all of FER2013: PrivateTest has \(3, 3, 3, 3, 2, "):
        fetch()
    assert server.seen == [] and names() == ["fer2013"]


# ---- Kaggle ---------------------------------------------------------------------------------------------------------


def test_kaggle_gives_class_folders_that_find_sees_and_load_reads(server: Server, kaggle: Page, tmp_path: Path):
    path = fetch("kaggle")
    assert path == Path("data/fer2013") == data.find("fer2013") and names() == ["fer2013"]
    original = next((tmp_path / "hub").rglob("train")).parent
    files = sorted(file.relative_to(original) for file in original.rglob("*.jpg"))
    assert len(files) == 77 and all((path / file).read_bytes() == (original / file).read_bytes() for file in files)
    loaded = data.load("fer2013")
    assert loaded.notes == () and loaded.table["official"].all()
    assert loaded.counts().to_numpy().tolist() == [[6] * 7, [2] * 7]
    assert all("Authorization" not in headers for _, headers in server.seen)


def test_kaggle_gets_the_token(server: Server, kaggle: Page, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_abc")
    fetch("kaggle")
    sent = [headers.get("Authorization") for path, headers in server.seen if path.startswith("/v1/")]
    assert sent == ["Bearer KGAT_abc"] * 2


@pytest.mark.parametrize("status", [401, 404, 500])
@pytest.mark.parametrize("where", ["/v1/datasets.DatasetApiService/GetDataset", "/bundle.zip"])
def test_kaggle_refuses(server: Server, kaggle: Page, where: str, status: int):
    server.pages[where].status = status
    with pytest.raises(
        ConnectionError, match="^Kaggle did not give msambare/fer2013 .*KAGGLE_API_TOKEN .* --source mirror$"
    ):
        fetch("kaggle")
    assert names() == []


def test_kaggle_sends_something_else(kaggle: Page):
    kaggle.body = b"this is no archive"
    with pytest.raises(ConnectionError, match="^Kaggle did not give msambare/fer2013"):
        fetch("kaggle")
    assert names() == []


def test_kaggles_copy_may_lack_images(kaggle: Page, bundle: bytes, tmp_path: Path):
    with zipfile.ZipFile(io.BytesIO(bundle)) as whole, zipfile.ZipFile(tmp_path / "less.zip", "w") as less:
        for name in whole.namelist()[1:]:
            less.writestr(name, whole.read(name))
    kaggle.body = (tmp_path / "less.zip").read_bytes()
    with pytest.raises(ValueError, match="is not all of FER2013: PrivateTest has"):
        fetch("kaggle")
    assert names() == []
    with pytest.warns(UserWarning, match="PrivateTest has .*Now the next source is tried"):
        assert fetch("auto") == Path("data/fer2013.tar.gz")


def test_without_kagglehub_auto_takes_the_mirror(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(ConnectionError, match="^Kaggle did not give .*kagglehub.*, or add --source mirror$"):
        fetch("kaggle")
    with pytest.warns(UserWarning, match="^Kaggle did not give .*Now the next source is tried"):
        assert fetch("auto") == Path("data/fer2013.tar.gz")
    assert names() == ["fer2013.tar.gz"]


def test_auto_takes_kaggle(server: Server, kaggle: Page):
    assert fetch("auto") == Path("data/fer2013")
    assert "/a.tar.gz" not in [path for path, _ in server.seen]


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command_tells_where_it_lies_and_what_it_holds(capsys):
    assert cli.main(["data", "fetch", "fer2013", "--to", "there", "--source", "mirror"]) == 0
    out, err = capsys.readouterr()
    assert "error" not in err
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


def test_the_command_notes_what_failed_and_fails_in_one_line(capsys, server: Server, kaggle: Page):
    server.pages["/v1/datasets.DatasetApiService/GetDataset"].status = 503
    server.pages["/a.tar.gz"].status = 404
    assert cli.main(["data", "fetch", "fer2013"]) == 2
    note, error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ferlib")]
    assert note.startswith("ferlib: note: Kaggle did not give msambare/fer2013")
    assert error.startswith("ferlib data: error: the mirror did not give the archive (HTTP Error 404")


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
