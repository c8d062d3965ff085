"""Load FER data of any layout into one uint8 array with a table beside it, and batch it.

The names and the order of the classes are `ferlib.emotions.EMOTIONS`, unless `load(..., classes=...)` gives others.
The splits are `ferlib.emotions.SPLITS`: Training, PublicTest (to validate on) and the sealed PrivateTest. The words by
which readers know splits, columns and image files are in `ferlib.data.words`, and the aliases of classes in
`ferlib.emotions.ALIASES`.
"""

from ferlib.data.any_dataset import classes_of, labels_of
from ferlib.data.dataset import FaceDataset, loader
from ferlib.data.loading import all_counts, cache_folder, load
from ferlib.data.sources import find

__all__ = ["FaceDataset", "all_counts", "cache_folder", "classes_of", "find", "labels_of", "load", "loader"]
