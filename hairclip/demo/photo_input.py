"""The input for a photo. It stands apart, because gradio writes a file of types beside each component's module."""

import gradio as gr
from gradio.data_classes import ImageData

__all__ = ["PhotoInput"]


class PhotoInput(gr.Image):
    """An input that hands over the path of the file as it came, also of one that is no photo: the page says so."""

    is_template = True  # the browser's part is that of gr.Image

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Return the path of the uploaded file, which gradio has found to lie in its own folder."""
        return None if payload is None else payload.path
