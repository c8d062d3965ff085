"""Use a model: photos, folders, videos and the camera; ONNX files; a local page.

Import what you need: `from ferlib.apps.recognizer import EmotionRecognizer`.
"""
