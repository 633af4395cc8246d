"""Gold scores follow meaning, not words."""

import pytest

from paraclip_bench.demo import grammar, scenes, similarity_sets
from paraclip_bench.demo.scenes import Content, Thing

ONE = Content(Thing("small", "red", "ball"), Thing("large", "blue", "box"), "left")


def test_similarity_counts_common_facts() -> None:
    other = Content(Thing("large", "red", "ball"), ONE.second, "left")
    assert similarity_sets.similarity(ONE, ONE) == 1
    assert similarity_sets.similarity(ONE, other) == 7 / 8
    assert similarity_sets.similarity(ONE, Content(ONE.first, ONE.second, "above")) == 6 / 8
    assert similarity_sets.similarity(ONE, Content(ONE.second, ONE.first, "left")) == 7 / 8
    assert similarity_sets.similarity(ONE, other) == similarity_sets.similarity(other, ONE)


def test_only_equal_meanings_are_fully_alike() -> None:
    some = scenes.contents("test")[::37]
    for one in some:
        for two in some:
            level = similarity_sets.similarity(one, two)
            assert 0 <= level <= 1
            assert (level == 1) == (one == two)


@pytest.mark.parametrize("name", similarity_sets.NAMES)
def test_scores_are_those_of_the_sentences(name: str) -> None:
    pairs = similarity_sets.pairs(name, 200)
    assert pairs == similarity_sets.pairs(name, 220)[:200]
    for pair in pairs:
        one, two = grammar.parse(pair.sentence1), grammar.parse(pair.sentence2)
        assert {scenes.split_of(one), scenes.split_of(two)} == {"test"}
        level = similarity_sets.similarity(one, two)
        assert pair.score == pytest.approx(1 + 4 * level if name == "SICK-R" else 5 * level)
    assert len({pair.score for pair in pairs}) >= 5


def test_the_sets_differ_in_make_up() -> None:
    changes = {
        name: frozenset(p.subset for p in similarity_sets.pairs(name, 200))
        for name in similarity_sets.NAMES
    }
    assert all({"same", "several", "unrelated"} < kinds for kinds in changes.values())
    assert len(set(changes.values())) >= 3


def test_word_overlap_does_not_give_the_answer() -> None:
    def overlap(pair: similarity_sets.DemoPair) -> float:
        one, two = set(pair.sentence1.split()), set(pair.sentence2.split())
        return len(one & two) / len(one | two)

    pairs = similarity_sets.pairs("STS15", 200)
    same = [overlap(pair) for pair in pairs if pair.subset == "same"]
    assert max(same) < 0.5
