"""Whether two results folders hold the same: scores, outcomes and keys, not provenance.

    python tests/support/compare_results.py BEFORE AFTER

Outcomes may have got wider lists and further columns since; what was there must be equal. Ends with
exit code 1, and a line for each difference.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def result_of(path: Path) -> dict[str, Any]:
    """A result without its provenance and digests, its data named by their file alone.

    Without intervals too: 0.1.0 drew them, and drew single pairs of sentences. It did not say of a
    checkpoint how it was trained.
    """
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    del result["provenance"]
    result.pop("digests", None)
    for name in ("method", "seed"):
        result["model"].pop(name, None)
    result["data"]["id"] = result["data"]["id"].rpartition(":")[2]
    parts = [part["scores"] for table in result["details"].values() for part in table]
    for score in (score for scores in (result["scores"], *parts) for score in scores.values()):
        for name in ("low", "high", "method"):
            score.pop(name, None)
    return result


def same_outcomes(before: Path, after: Path) -> list[str]:
    """The columns that differ; a list may be longer in `after`."""
    old, new = (pq.read_table(path).to_pydict() for path in (before, after))
    different = []
    for name, values in old.items():
        found = new.get(name, [])
        if values and isinstance(values[0], list):
            found = [value[: len(values[0])] for value in found]
        if found != values and name != "cluster_id":
            different.append(name)
    return different


def differences(before: Path, after: Path) -> list[str]:
    """A line for each file or field in which two results folders differ."""
    found = []
    names = [{p.relative_to(f) for p in f.rglob("*.json")} for f in (before, after)]
    found += [f"only in one of them: {name}" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        old, new = result_of(before / name), result_of(after / name)
        found += [
            f"{name}: {key}"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]
        outcomes = name.with_name(name.name.removesuffix(".json") + ".outcomes.parquet")
        if (before / outcomes).exists() or (after / outcomes).exists():
            found += [
                f"{outcomes}: {c}" for c in same_outcomes(before / outcomes, after / outcomes)
            ]
    return found


if __name__ == "__main__":
    lines = differences(*map(Path, sys.argv[1:]))
    print("\n".join(lines) or "the same")
    sys.exit(bool(lines))
