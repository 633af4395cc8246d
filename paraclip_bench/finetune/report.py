"""What is wrong with the rows of training data: counted, named, and then fatal or passed over."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from paraclip_bench.data.training import BadRow
from paraclip_bench.errors import DataError
from paraclip_bench.files import write_text

# So many rows of each kind are named in the report.
_NAMED = 1000


class Report:
    """Counts good and bad rows.

    counts has how many rows there are of each kind of problem.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.counts: Counter[str] = Counter()
        self._named: dict[str, list[str]] = {}

    def good(self) -> None:
        """Count a row that is trained on."""
        self.rows += 1

    def bad(self, row: BadRow) -> None:
        """Count a row that is not, and remember what is wrong with the first of them."""
        self.counts[row.kind] += 1
        named = self._named.setdefault(row.kind, [])
        if len(named) < _NAMED:
            named.append(row.sentence)

    def drop(self, row: BadRow) -> None:
        """Count a row as bad that was counted as good."""
        self.rows -= 1
        self.bad(row)

    def write(self, path: Path) -> None:
        """Write the counts, and the sentence on each row that is named, as JSON."""
        written = {"good": self.rows, "bad": dict(self.counts), "rows": self._named}
        write_text(path, json.dumps(written, indent=1, ensure_ascii=False) + "\n")

    def summary(self) -> str:
        """Such as "3 rows cannot be trained on (2 empty text, 1 missing image)"."""
        total = self.counts.total()
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.most_common())
        return f"{total} row{'s' * (total > 1)} cannot be trained on ({kinds})"

    def refuse(self, path: Path) -> None:
        """Raise `DataError` where there are bad rows: the first of them, and how to go on."""
        if not self.counts:
            return
        first = next(iter(self._named.values()))[0]
        if self.counts.total() == 1:
            raise DataError(f"{first}; mend or drop the row, or leave it out with --bad-rows skip")
        self.write(path)
        raise DataError(
            f"{self.summary()}, the first: {first}; {path} names them; "
            "mend or drop them, or leave them out with --bad-rows skip"
        )
