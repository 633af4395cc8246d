"""Training rows: an image, its caption T and the paraphrases T' and T''."""

from paraclip_bench.data.training.reader import read_rows, training_files
from paraclip_bench.data.training.row import BadRow, Row

__all__ = ["BadRow", "Row", "read_rows", "training_files"]
