"""Faces and scenes drawn from action units, with their truth: the data set that needs no download."""

from ferlib.sample.drawn import CONFUSABLE, PROTOTYPES, VOTE_COLUMNS, dataset, draw, draw_faces
from ferlib.sample.faces import ACTION_UNITS, BOX_COLUMNS, FACTORS, redraw

__all__ = ["ACTION_UNITS", "BOX_COLUMNS", "CONFUSABLE", "FACTORS", "PROTOTYPES", "VOTE_COLUMNS"]
__all__ += ["dataset", "draw", "draw_faces", "redraw", "scenes"]
