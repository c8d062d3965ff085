"""FER2013, fetched when asked for: Kaggle's class folders, or the challenge's own archive from a mirror; then counted.

Kaggle's copy comes through `kagglehub`, without an account; where the server wants one, `kagglehub` itself reads
`KAGGLE_API_TOKEN` from the environment, or Colab's secret of that name. The addresses are other people's and may go.
"""

import errno
import hashlib
import os
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm.auto import tqdm

from ferlib import data
from ferlib.data import sources
from ferlib.emotions import EMOTIONS, FER2013_COUNTS

KAGGLE = "msambare/fer2013"
MIRRORS = (  # the first names a revision; the second a branch, which can change: the checksum alone holds it
    "https://raw.githubusercontent.com/Abidali178/FERD-using-SSD-OpenCV-MTCNN/"
    "c9d7b8ba11f5b349818de559932c7e2958e9ee22/fer2013.tar.gz",
    "https://huggingface.co/datasets/JimmyUnleashed/FER-2013/resolve/main/fer2013.tar.gz",
)
MD5 = "ca95d94fe42f6ce65aaae694d18c628a"  # of the archive, as R torchvision's `fer_dataset` has it
LARGEST = 200_000_000  # bytes: twice the archive's; who sends more sends something else
TIMEOUT = (10, 60)  # seconds: to connect, and between two pieces
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # of a disk, or of what one may use of it
BY_HAND = "put fer2013.csv into data/ by hand"
NOTICE = """FER2013: 60 to 100 MB to fetch, 0.5 GB of disk in all. No licence of the images could be established: they
are for study only. To cite: I. Goodfellow et al. 2013, Challenges in representation learning: a report on three machine
learning contests."""


def fetch(name: str = "fer2013", folder: str | Path = "data", *, source: str = "auto", progress: bool = True) -> Path:
    """Fetch FER2013 into `folder` unless it is there already; returns the path that `ferlib.data.load` reads.

    `source` is `"kaggle"` (class folders, in `fer2013/`), `"mirror"` (`fer2013.tar.gz`) or `"auto"`: one after another
    until one comes whole, with a warning for each that fails. What came, or was there, is decoded into the cache and
    counted by split and emotion; `PrivateTest` stays sealed.

    Raises `ValueError` for another name or source and for missing images, `ConnectionError` for a source that fails or
    sends something else, `PermissionError` for a folder that cannot be written to, `OSError` for a full disk.
    """
    ways = {"auto": (KAGGLE, *MIRRORS), "kaggle": (KAGGLE,), "mirror": MIRRORS}
    if name != "fer2013":
        raise ValueError(f"{name!r} cannot be fetched; known is fer2013: ferlib data fetch fer2013")
    if source not in ways:
        raise ValueError(f"source is {source!r}; allowed are {', '.join(ways)}")
    folder = Path(os.path.expanduser(folder))
    paths = [folder] if (folder / "train").is_dir() else map(folder.joinpath, sources.FER2013_NAMES)
    there = [path for path in paths if path.exists()]
    try:
        return _whole(there[0], "move it away") if there else _get(ways[source], folder, progress)
    except OSError as error:
        if error.errno not in FULL:
            raise
        full = f"no room is left on the disk of {folder} or of the caches"
        raise OSError(f"{full}: free 0.5 GB and run the same command again") from error


def _whole(path: Path, remedy: str = "") -> Path:
    """The path, if every split has its official counts; else `ValueError`, and without a remedy the path is removed."""
    lacks = []
    try:
        counts = data.all_counts(path)
        for split, due in FER2013_COUNTS.items():
            pairs = zip(EMOTIONS, counts.loc[split], due, strict=True)
            if off := ", ".join(f"{name} {n} of {want}" for name, n, want in pairs if n != want):
                lacks.append(f"{split}: {counts.loc[split].sum():,} of FER2013's {sum(due):,} images ({off})")
    except ValueError as error:
        lacks = [str(error)]
    if not lacks:
        return path
    if not remedy:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        remedy = "it was removed; take the other of --source kaggle and --source mirror"
    lack = f"{path} is not the whole of FER2013: {'; '.join(lacks)}"
    raise ValueError(f"{lack}; {remedy}, and run the same command again")


def _get(ways: tuple[str, ...], folder: Path, progress: bool) -> Path:
    """What the first way that brings all of it puts into the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise PermissionError(f"{folder} cannot be written to ({error.strerror}); name another folder: --to") from error
    for way in ways:
        try:
            return _whole(_from_kaggle(folder) if way == KAGGLE else _from_mirror(way, folder, progress))
        except (ConnectionError, ValueError) as error:
            if way == ways[-1]:
                raise
            warnings.warn(f"{error}. Now the next source is tried", stacklevel=3)
    raise AssertionError("there is always a way")


def _from_kaggle(folder: Path) -> Path:
    """Kaggle's class folders as `folder`/fer2013, whole or not at all."""
    try:
        import kagglehub

        found = Path(kagglehub.dataset_download(KAGGLE))
        # A copy, for on Colab and Kaggle it lies in a read-only mount, elsewhere in kagglehub's cache; file by file,
        # since copytree would bring the mount's rights along and, on a full disk, try all that are left.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fer2013-", ignore_cleanup_errors=True) as scratch:
            made = Path(scratch) / "fer2013"
            for file in filter(Path.is_file, found.rglob("*")):
                copy = made / file.relative_to(found)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
            return made.rename(folder / "fer2013")
    except Exception as error:  # kagglehub's own errors, and those of a broken archive, share no other class
        if getattr(error, "errno", None) in FULL:
            raise
        raise _plain(error, "Kaggle") from error


def _from_mirror(url: str, folder: Path, progress: bool) -> Path:
    """Stream an archive into a .part, going on with what is there, and into place once its MD5 is right.

    A server without ranges sends all of it again: beside the part, which is thrown away only for what is right.
    """
    part, host = folder / "fer2013.tar.gz.part", f"the mirror {urlsplit(url).hostname}"
    have = part.stat().st_size if part.exists() else 0
    # Packed once more on its way, lengths and ranges would be those of other bytes: "identity".
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    beside = tempfile.TemporaryDirectory(dir=folder, prefix=".fer2013-", ignore_cleanup_errors=True)
    try:
        with beside as scratch, requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            came, total = part, have
            if answer.status_code != 416:  # which says that the part is all there is
                answer.raise_for_status()
                if "text/html" in answer.headers.get("Content-Type", ""):
                    raise ConnectionError(f"{host} sent a web page in place of the archive: {BY_HAND}")
                if have and answer.status_code != 206:
                    came, have = Path(scratch) / part.name, 0
                stated = answer.headers.get("Content-Length", "")
                length = int(stated) if re.fullmatch("[0-9]{1,15}", stated) else 0
                total = have + length if length else 0
                bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=host, disable=not progress)
                with bar, open(came, "ab" if have else "wb") as file:
                    for piece in answer.iter_content(1 << 16):
                        bar.update(file.write(piece))
                        if file.tell() > LARGEST:
                            came.unlink()
                            more = (
                                f"{host} sent over {LARGEST:,} bytes, which is not the archive, and they were removed"
                            )
                            raise ConnectionError(f"{more}; {BY_HAND}")
            if hashlib.md5(came.read_bytes(), usedforsecurity=False).hexdigest() == MD5:
                target = came.replace(folder / "fer2013.tar.gz")
                part.unlink(missing_ok=True)
                return target
            # urllib3 before 2 does not say that the connection was cut, and without a length none can tell.
            if came.stat().st_size < total if total else "Transfer-Encoding" not in answer.headers:
                raise requests.exceptions.ChunkedEncodingError
            came.unlink()
    except requests.RequestException as error:
        raise _plain(error, host) from error
    wrong = f"what {host} sent has a wrong checksum and was removed"
    raise ConnectionError(f"{wrong}; run the same command again, or {BY_HAND}")


def _plain(error: Exception, who: str) -> ConnectionError:
    """One sentence for a source's failure: what happened, and what to do next or in its place."""
    other = "add --source mirror" if who == "Kaggle" else BY_HAND
    again = "run the same command again, which goes on where it stopped"
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if status in (401, 403) and who == "Kaggle":
        token = "set KAGGLE_API_TOKEN (environment or Colab secret) to a token made at kaggle.com/settings"
        what, then = f"refused (HTTP {status})", token
    elif status == 429 or status >= 500:
        what, then = f"answered HTTP {status}", "wait some minutes and run the same command again"
    elif status:
        what, then = f"does not hand it out (HTTP {status})", ""
    elif isinstance(error, requests.Timeout | TimeoutError) or "timed out" in str(error):
        what, then = "did not answer in time", again
    elif isinstance(error, requests.exceptions.ChunkedEncodingError):
        what, then = "broke off half way", again
    elif isinstance(error, requests.ConnectionError | ConnectionError):
        what, then, other = f"cannot be reached ({type(error).__name__})", "check the network", BY_HAND
    elif isinstance(error, ImportError):
        what, then = f"is out of reach without kagglehub ({error})", 'pip install "kagglehub>=0.4"'
    elif isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        what, then = f"sent what cannot be kept ({error})", "set KAGGLEHUB_CACHE to a folder that can be written to"
    else:
        what = f"sent something broken ({type(error).__name__}: {error})"
        then = f"delete ~/.cache/kagglehub/datasets/{KAGGLE} and run the same command again"
    return ConnectionError(f"{who} {what}: {then}{', or ' * bool(then)}{other}")
