"""The schema's file, and how earlier and later versions are read."""

import json
from pathlib import Path
from typing import Any

import pytest
from measured import KEPT, measure, result

from paraclip_bench.boards import selection
from paraclip_bench.errors import DataError
from paraclip_bench.results import contributions, schema, store
from paraclip_bench.results.schema import Result, digest_of, json_schema, migrated

FILE = Path(schema.__file__).with_name("result.schema.json")


def test_the_file_is_the_model_s() -> None:
    said = json.loads(FILE.read_text(encoding="utf-8"))
    assert said == json_schema(), "python docs/generate.py writes it again"
    assert said["$id"].endswith(f":{schema.SCHEMA_VERSION}")
    assert said["properties"]["schema_version"]["const"] == schema.SCHEMA_VERSION


def test_it_says_what_a_result_is(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    said = json.loads(FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(said)
    validator = jsonschema.Draft202012Validator(said)
    files = [*KEPT.glob("results/*/*/*.json"), *measure(tmp_path).glob("*/*/*.json")]
    assert len(files) == 10
    for file in files:
        raw = json.loads(file.read_text(encoding="utf-8"))
        assert list(validator.iter_errors(raw)) == [], file
        for change in (
            {"n": "x"},
            {"schema_version": 2},
            {"scores": {"a": {"value": "1"}}},
            {"model": {}},
            {"details": {"subset": {}}},
            {"provenance": None},
        ):
            assert not validator.is_valid({**raw, **change}), change
        for name in raw.keys() - {"schema_version", "details", "digests"}:
            assert not validator.is_valid({k: v for k, v in raw.items() if k != name}), name


def test_digests_stay_what_they_were() -> None:
    """A digest that changes would make every result of before an edited one."""
    extra = {"x": {"y": None}, "z": None}
    raw = result().model_dump()
    raw["model"] |= extra
    raw["data"]["notes"] = {"a": None, "b": [None, {"c": None}]}
    raw["details"] = {"subset": [{"name": "a", "n": 1, "scores": raw["scores"], "k": None}]}
    found = Result.model_validate(raw)
    assert result().scores_digest == (
        "00326b6580beaa542223cfb17b02f16b30a5cd496be1f44ac103d9df067db4f1"
    )
    assert found.scores_digest == (
        "cbe90f05ccb8e8289eecc8bb88ba226296c22243fd89bee71a420d17ad180471"
    )
    assert digest_of(found.model_dump(mode="json")) == found.scores_digest


def to_2(raw: dict[str, Any]) -> dict[str, Any]:
    """A change as there may be one: a field that is called otherwise."""
    raw = dict(raw)
    raw["limit"] = raw.pop("at_most")
    return raw


def to_3(raw: dict[str, Any]) -> dict[str, Any]:
    return {**raw, "n": raw["n"] * 10}


@pytest.fixture
def version_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(schema, "MIGRATIONS", {1: to_2, 2: to_3})


def of_version(version: int) -> dict[str, Any]:
    raw = {**result().model_dump(mode="json"), "schema_version": version}
    if version == 1:
        raw["at_most"] = raw.pop("limit")
    raw["digests"] = {"scores": digest_of(raw), "outcomes": None, "rows": None}
    return raw


@pytest.mark.parametrize(("version", "n"), [(1, 20), (2, 20), (3, 2)])
@pytest.mark.usefixtures("version_3")
def test_each_earlier_version_becomes_this_one(tmp_path: Path, version: int, n: int) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(of_version(version)))
    found = store.read(path)
    assert (found.schema_version, found.n, found.limit) == (3, n, None)
    assert found.digests is not None
    assert found.digests.scores == found.scores_digest
    # Every reader gets it so: a board reads what is kept of a result as a model.
    assert Result.model_validate_json(path.read_bytes()) == found


@pytest.mark.usefixtures("version_3")
def test_an_edit_of_an_earlier_version_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    raw = of_version(1)
    raw["scores"]["spearman"]["value"] = 0.9
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match="was changed after it was written"):
        store.read(path)
    for damage in ({"scores": 3}, {"details": {"a": 3}}, {"digests": {"scores": "x"}}, {"n": []}):
        path.write_text(json.dumps({**of_version(1), **damage}))
        with pytest.raises(DataError, match=r"a\.json (is not a result|was changed)"):
            store.read(path)
    raw = of_version(1)
    del raw["at_most"]
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match="its content is not that of schema_version 1"):
        store.read(path)


@pytest.mark.parametrize("version", [0, -1, 4, 10**9, -(10**9)])
@pytest.mark.usefixtures("version_3")
def test_a_version_that_is_not_known_is_told_with_those_that_are(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**result().model_dump(), "schema_version": version}))
    with pytest.raises(DataError) as caught:
        store.read(path)
    assert f"schema_version {version} and this version of paraclip-bench reads 1, 2, 3; " in str(
        caught.value
    )
    assert ("update" in str(caught.value)) == (version > 3)


def test_every_earlier_version_has_a_migration() -> None:
    assert sorted(schema.MIGRATIONS) == list(range(1, schema.SCHEMA_VERSION))
    raw = {"schema_version": schema.SCHEMA_VERSION, "anything": 1}
    assert migrated(raw) is raw
    for odd in (None, [], "x", {"schema_version": "1"}, {"schema_version": True}):
        assert migrated(odd) == odd


@pytest.mark.parametrize("depth", [300, 900])
def test_a_result_that_could_not_be_written_again_is_damaged(tmp_path: Path, depth: int) -> None:
    """It was read, and ended `results show --json` and every board with it."""
    path = tmp_path / "a.json"
    raw = json.dumps(result().model_dump())
    path.write_text(
        raw.replace('"ab", "notes": {', '"ab", "notes": {"a": ' + "[" * depth + "]" * depth + ",")
    )
    assert path.read_text() != raw
    with pytest.raises(DataError, match=r"a\.json is not a result of run"):
        store.read(path)


def test_what_is_kept_of_an_earlier_version_is_read_as_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = measure(tmp_path)
    (path,) = results.glob("*/*/STS12*.json")
    assert contributions.read_contributions(path, path.read_bytes()) is not None
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 2)
    monkeypatch.setattr(schema, "MIGRATIONS", {1: lambda raw: {**raw, "n": 1000}})
    found = selection.select(results, "paper", with_limits=False)
    assert {entry.result.n for entry in found.cells.values()} == {1000}
