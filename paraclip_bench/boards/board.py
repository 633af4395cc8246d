"""A board that shows itself: as text, in a notebook, as a data frame and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paraclip_bench.boards import formats, terminal
from paraclip_bench.boards.content import BoardContent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Board(BoardContent):
    """A leaderboard, see `BoardContent` for what it holds."""

    def __str__(self) -> str:
        return terminal.text(self)

    def _repr_html_(self) -> str:
        return formats.html_table(self)

    def to_frame(self) -> pd.DataFrame:
        """One row a model and score, the columns of `leaderboard --format csv --tidy`.

        Scores are fractions; what is not known is missing.
        """
        import pandas as pd

        return pd.DataFrame(formats.tidy(self), columns=list(formats.tidy_columns(self)))

    def plot(self) -> Figure:
        """A forest plot: each model's differences to the baseline with their 95% intervals.

        Without a baseline its values. Scores are x 100.
        """
        return formats.plot(self)
