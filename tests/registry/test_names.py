"""Built-in names, and what an unknown one gets."""

import pytest

from paraclip_bench import errors, registry
from paraclip_bench.errors import UsageError


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("model", {"clip", "paraclip", "open_clip", "local-dir", "hf-hub"}),
        (
            "task",
            {
                *("STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICK-R"),
                *("vg-relation", "vg-attribution", "paraphrased-retrieval", "sugarcrepe-pp"),
                *(
                    "sugarcrepe",
                    "winoground",
                    "coco-order",
                    "flickr30k-order",
                    "valse",
                    "whatsup",
                    "negbench",
                    "colorswap",
                ),
                *("coco-karpathy", "flickr30k-karpathy", "zero-shot-classification"),
                *("coco-paraphrase", "coco-human", "flickr30k-human", "cxc-sts", "cxc-sits"),
                "mteb",
            },
        ),
    ],
)
def test_the_built_ins_are_entry_points_of_our_own_distribution(kind, names):
    ours = {p.name for p in registry.plugins(kind) if p.distribution == "paraclip-bench"}
    assert names <= ours
    assert not registry.clashes(kind)
    for name in names:
        assert isinstance(registry.find(kind, name).load(), type)


def test_a_near_name_is_offered():
    with pytest.raises(UsageError, match=r"no task 'STSBenchmrk'; did you mean STSBenchmark"):
        registry.find("task", "STSBenchmrk")


def test_a_far_name_gets_the_known_ones():
    with pytest.raises(UsageError, match=r"no model 'zzzz'; known: .*open_clip"):
        registry.find("model", "zzzz")


def test_a_long_list_of_known_names_is_cut():
    error = registry.unknown("thing", "zzzz", [f"name{i}" for i in range(100)])
    assert str(error).endswith(f"and {100 - registry.MANY} more")


def test_task_names_are_case_blind_and_model_names_are_not():
    assert registry.find("task", "sIcK-r").name == "SICK-R"
    with pytest.raises(UsageError, match="did you mean clip"):
        registry.find("model", "CLIP")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (ValueError(), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_a_reason_is_one_line(error, reason):
    assert errors.reason_of(error) == reason


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("sts-b", "STSBenchmark"),
        ("stsb", "STSBenchmark"),
        ("sickr", "SICK-R"),
        ("vg rel", "vg-relation"),
    ],
)
def test_how_a_name_begins_is_a_suggestion(name: str, meant: str) -> None:
    from paraclip_bench.tasks.catalog import choose_tasks

    with pytest.raises(UsageError, match=f"did you mean {meant}"):
        choose_tasks([name], "paper")
