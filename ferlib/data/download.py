"""Fetch FER2013: Kaggle's class folders, or the challenge's own archive from a mirror; then count it.

Kaggle's copy comes through `kagglehub`, without an account. Where Kaggle wants one, `kagglehub` reads
`KAGGLE_API_TOKEN` from the environment, or Colab's secret of that name. Both addresses are other people's and may go.
"""

import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from torchvision.datasets.utils import download_url

from ferlib.data.loading import all_counts
from ferlib.data.sources import find_fer2013
from ferlib.emotions import FER2013_COUNTS
from ferlib.utils import prepare_folder, require, user_path

KAGGLE = "msambare/fer2013"
MIRROR = (  # one revision
    "https://raw.githubusercontent.com/Abidali178/FERD-using-SSD-OpenCV-MTCNN/"
    "c9d7b8ba11f5b349818de559932c7e2958e9ee22/fer2013.tar.gz"
)
MD5 = "ca95d94fe42f6ce65aaae694d18c628a"  # of the archive, as R torchvision's `fer_dataset` has it
CURES = {  # by a word in what kagglehub says
    "credentials file": "remove that file, or make a new one at kaggle.com/settings",
    "SOCKS": "pip install pysocks, or unset ALL_PROXY and HTTPS_PROXY",
    "Proxy": "unset HTTPS_PROXY and ALL_PROXY, or name a proxy that answers",
    "": "set KAGGLE_API_TOKEN to a token made at kaggle.com/settings, or add --source mirror",
}
NOTICE = """FER2013: 60 to 100 MB to fetch, 0.5 GB of disk in all. No licence of the images could be established: they
are for study only. To cite: I. Goodfellow et al. 2013, Challenges in representation learning: a report on three machine
learning contests."""


def fetch(name: str = "fer2013", folder: str | Path = "data", *, source: str = "auto") -> Path:
    """Fetch FER2013 into a folder, unless it is there already, and count its images.

    Args:
        name: `"fer2013"`.
        folder: where to put it.
        source: `"kaggle"` (class folders, in `fer2013/`), `"mirror"` (`fer2013.tar.gz`), or `"auto"`: Kaggle first,
            then, with a warning, the mirror.

    Returns:
        The path that `ferlib.data.load` reads.

    Raises:
        ValueError: another name or source, images are missing, or the folder cannot be written.
        ConnectionError: a source fails, or sends something else.
    """
    ways = {"kaggle": [_from_kaggle], "mirror": [_from_mirror], "auto": [_from_kaggle, _from_mirror]}
    require(name == "fer2013", f"{name!r} cannot be fetched; known is fer2013: ferlib data fetch fer2013")
    require(source in ways, f"source is {source!r}; allowed are {', '.join(ways)}")
    folder = prepare_folder(user_path(folder), "name another folder: --to")
    if present := find_fer2013(folder):
        return _check_counts(present)
    for way in ways[source][:-1]:
        try:
            return _download(way, folder)
        except (ConnectionError, ValueError) as error:
            warnings.warn(f"{error}. Now the next source is tried", stacklevel=2)
    return _download(ways[source][-1], folder)


def _download(way: Callable[[Path], Path], folder: Path) -> Path:
    """Put what a source gives into the folder, if it is the whole of FER2013."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fer2013-") as scratch:
        made = way(Path(scratch))
        path = made.rename(folder / made.name)
    try:
        return _check_counts(path)
    except ValueError:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def _check_counts(path: Path) -> Path:
    """Return the path if each split has its official counts, else raise `ValueError`."""
    counts = all_counts(path)
    for split, due in FER2013_COUNTS.items():
        numbers = tuple(counts.loc[split].tolist())
        require(numbers == due, f"{path} is not all of FER2013: {split} has {numbers}, due are {due}; fetch it again")
    return path


def _from_kaggle(scratch: Path) -> Path:
    """Copy Kaggle's class folders: on Colab they are a read-only mount."""
    try:
        import kagglehub

        return Path(shutil.copytree(kagglehub.dataset_download(KAGGLE), scratch / "fer2013"))
    except Exception as error:  # kagglehub's own errors and those of a broken archive have no common class
        reason = str(error).split("\n")[0]
        cure = next((cure for word, cure in CURES.items() if word in reason), CURES[""])
        raise ConnectionError(f"Kaggle did not give {KAGGLE} ({reason}); {cure}") from error


def _from_mirror(scratch: Path) -> Path:
    """Download the challenge's archive, and check its sum."""
    try:
        download_url(MIRROR, scratch, "fer2013.tar.gz", md5=MD5)
    except (OSError, RuntimeError) as error:
        cure = "check the network, or put fer2013.csv into data/ by hand"
        raise ConnectionError(f"the mirror did not give the archive ({error!s:.200}); {cure}") from error
    return scratch / "fer2013.tar.gz"
