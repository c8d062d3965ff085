"""Build, save and load a `FaceModel`: a network with its input and its classes."""

from ferlib.models.build import build_model, count_parameters, freeze
from ferlib.models.face_model import FaceModel
from ferlib.models.files import SHIPPED as SHIPPED  # a folder of this computer, which no reference should show
from ferlib.models.files import WEIGHTS_FILE, load_ensemble, load_model, model_hash, save_model

__all__ = [
    "WEIGHTS_FILE", "FaceModel", "build_model", "count_parameters", "freeze", "load_ensemble", "load_model",
    "model_hash", "save_model",
]  # fmt: skip
