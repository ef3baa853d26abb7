"""Pictures that a page carries inside itself."""

from __future__ import annotations

import base64

import numpy as np

from ..errors import fail


def data_uri(image: np.ndarray) -> str:
    """An image (H,W,3) as JPEG or (H,W,4) as PNG, uint8 RGB(A), in a ``data:`` address.

    Raises ``UserError`` where OpenCV is not installed: stage 1 needs it for this alone.
    """
    try:
        import cv2
    except ImportError as error:
        raise fail("Pictures need OpenCV", got=error, next_step="Run `pip install opencv-python-headless`") from None
    if image.shape[-1] == 4:
        kind, order, options = "png", cv2.COLOR_RGBA2BGRA, [cv2.IMWRITE_PNG_COMPRESSION, 9]
    else:
        kind, order, options = "jpeg", cv2.COLOR_RGB2BGR, [cv2.IMWRITE_JPEG_QUALITY, 86]
    _, encoded = cv2.imencode(f".{kind}", cv2.cvtColor(image, order), options)
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"
