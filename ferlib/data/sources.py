"""Find a source by its name or path."""

import os
from pathlib import Path

from ferlib.data import layouts

FER2013_NAMES = (  # under which FER2013 is looked for, in this order
    *(f"fer2013{end}" for end in (".csv", ".csv.gz", ".csv.xz", "", *layouts.ARCHIVES, "-folders.zip")),
    "icml_face_data.csv",
)


def find(source: str | Path) -> Path:
    """The file or folder behind a source's name; raises `FileNotFoundError` saying where it was looked for."""
    if str(source) != "fer2013":
        path = Path(os.path.expanduser(source))
        allowed = "'sample', 'fer2013', or the path of a CSV, folder or archive"
        if not os.path.exists(path):  # and for a name that cannot be
            raise FileNotFoundError(f"{path} does not exist; give {allowed}")
        if not path.is_file() and not path.is_dir():
            raise ValueError(f"{path} is neither a file nor a folder; give {allowed}")
        return path
    named = os.environ.get("FERLIB_DATA")
    folders = [Path(os.path.expanduser(named))] if named else [Path("data"), Path(__file__).parents[2] / "data"]
    if named and not folders[0].exists():
        raise FileNotFoundError(f"FERLIB_DATA is set to {named}, which does not exist: mend or unset it")
    for folder in folders:
        known = [folder / name for name in FER2013_NAMES if (folder / name).exists()]
        if folder.is_file() or (folder / "train").is_dir() or (named and not known):
            return folder
        if known:
            return known[0]
    looked = ", ".join(dict.fromkeys(str(folder) for folder in folders))
    raise FileNotFoundError(f"fer2013 was not found in {looked}; fetch it (ferlib data fetch fer2013), put fer2013.csv "
                            "into data/, or set FERLIB_DATA to where it is")  # fmt: skip
