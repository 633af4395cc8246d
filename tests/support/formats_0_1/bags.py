"""A model of the simple form, both sides: bags of letters, and mean colours."""

import numpy as np


class Bags:
    fingerprint = "bags-1"

    def encode_texts(self, texts):
        return np.array([[1 + t.count(c) for c in "abcdefgh"] for t in texts], dtype=float)

    def encode_images(self, images):
        colour = np.array([np.asarray(i, dtype=float).mean(axis=(0, 1)) for i in images])
        return 1 + colour @ np.arange(24).reshape(3, 8) / 100
