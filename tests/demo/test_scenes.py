"""Scenes are their meaning, and the three splits share none."""

import pytest

from paraclip_bench.demo import scenes
from paraclip_bench.demo.scenes import Content, Thing

BALL = Thing("small", "red", "ball")
BOX = Thing("large", "blue", "box")


@pytest.mark.parametrize(("direction", "turned"), list(scenes.OPPOSITE.items()))
def test_a_turned_round_scene_is_the_same_scene(direction: str, turned: str) -> None:
    assert scenes.content(BALL, BOX, direction) == scenes.content(BOX, BALL, turned)
    assert scenes.content(BALL, BOX, direction) != scenes.content(BALL, BOX, turned)


def test_without_a_relation_the_order_means_nothing() -> None:
    assert scenes.content(BALL, BOX, "") == scenes.content(BOX, BALL, "")


def test_the_splits_share_no_scene_and_leave_none_out() -> None:
    found = [set(scenes.contents(split)) for split in scenes.SPLITS]
    assert len(set.union(*found)) == sum(map(len, found)) == 4 * 56 * 30 * 3


def test_fine_tuning_meets_no_attribute_combination_of_the_test_scenes() -> None:
    def combinations(split: scenes.Split) -> set[tuple[str, str]]:
        return {
            (thing.colour, thing.shape)
            for meaning in scenes.contents(split)
            for thing in (meaning.first, meaning.second)
        }

    assert not combinations("train") & combinations("test")
    # Every single colour and shape is met, or the test would ask for what cannot be known.
    for place in (0, 1):
        trained = {pair[place] for pair in combinations("train")}
        assert trained == {pair[place] for pair in combinations("test")}


def test_a_sample_is_the_same_every_time_and_has_no_twins() -> None:
    drawn = scenes.sample("test", 300, seed=4)
    assert [(s.content, s.seed) for s in drawn] == [
        (s.content, s.seed) for s in scenes.sample("test", 300, seed=4)
    ]
    assert len({s.content for s in drawn}) == 300
    assert all(scenes.split_of(s.content) == "test" for s in drawn)


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="fewer than 99999"):
        scenes.sample("test", 99_999, seed=0)
    with pytest.raises(ValueError, match="'validation' is not a split"):
        scenes.contents("validation")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="full scene"):
        scenes.split_of(Content(BALL, BOX, ""))
