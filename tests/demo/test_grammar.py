"""Whatever the grammar writes it reads back with the same meaning."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paraclip_bench.demo import grammar, scenes
from paraclip_bench.demo.grammar import Pool

EVERY = [meaning for split in scenes.SPLITS for meaning in scenes.contents(split)]
SEEDS = st.integers(0, 2**31)
POOLS: st.SearchStrategy[Pool] = st.sampled_from(("train", "test"))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(EVERY), SEEDS, POOLS)
def test_a_full_caption_and_its_paraphrases_keep_the_scene(
    meaning: scenes.Content, seed: int, pool: Pool
) -> None:
    text = grammar.caption(scenes.Scene(meaning), seed, full=True)
    first = grammar.step1(text, seed, pool)
    second = grammar.step2(first, seed, pool)
    assert grammar.parse(text) == grammar.parse(first) == grammar.parse(second) == meaning


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(EVERY), SEEDS, POOLS)
def test_a_web_caption_and_its_paraphrases_agree_and_go_their_ways(
    meaning: scenes.Content, seed: int, pool: Pool
) -> None:
    text = grammar.caption(scenes.Scene(meaning), seed)
    first = grammar.step1(text, seed, pool)
    second = grammar.step2(first, seed, pool)
    assert grammar.parse(text) == grammar.parse(first) == grammar.parse(second)
    # Step 1 replaces one word of a thing at most; step 2 repeats none.
    said, again = grammar.wording(text), grammar.wording(first)
    for old, new in ((said.a_words, again.a_words), (said.b_words, again.b_words)):
        assert sum(x != y for x, y in zip(old, new, strict=True)) <= 1
    assert first != text
    assert not grammar.content_words(first) & grammar.content_words(second)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(EVERY), SEEDS)
def test_captions_use_the_narrow_vocabulary_only(meaning: scenes.Content, seed: int) -> None:
    rows = (grammar.SIZE_WORDS, grammar.COLOUR_WORDS, grammar.SHAPE_WORDS)
    wide = {word for row in rows for synonyms in row.values() for word in synonyms[1:]}
    assert not set(grammar.caption(scenes.Scene(meaning), seed).split()) & wide


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(EVERY), SEEDS)
def test_paraphrasing_a_paraphrase_again_keeps_the_meaning(
    meaning: scenes.Content, seed: int
) -> None:
    text = grammar.caption(scenes.Scene(meaning), seed)
    for step in (grammar.step2, grammar.step1, grammar.step2, grammar.step2, grammar.step1):
        text = step(text, seed)
        assert grammar.parse(text) == grammar.parse(grammar.caption(scenes.Scene(meaning), seed))


def test_the_same_seed_gives_the_same_words_and_seeds_differ() -> None:
    text = "a small red ball to the left of a large blue box"
    assert grammar.step1(text, 3) == grammar.step1(text, 3)
    assert len({grammar.step1(text, seed) for seed in range(50)}) > 20
    assert len({grammar.step2(text, seed) for seed in range(50)}) > 40


def test_case_spaces_and_a_full_stop_are_no_obstacle() -> None:
    text = "A small red ball  to the left of a large blue box."
    assert grammar.parse(text) == grammar.parse("a small red ball left of a large blue box")
    assert grammar.parse(grammar.step2(grammar.step1(text, 0), 0)) == grammar.parse(text)
    assert not grammar.content_words(grammar.step2(text, 0)) & {"small", "red", "ball", "left"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "empty"),
        ("a small red zebra to the left of a box", "'zebra'"),
        ("a small red ball", "not built"),
        ("the box the ball", "not built"),
    ],
)
def test_other_captions_are_refused_in_one_sentence(text: str, named: str) -> None:
    for reader in (grammar.parse, lambda text: grammar.step1(text, 0)):
        with pytest.raises(ValueError, match=named) as caught:
            reader(text)
        assert "\n" not in str(caught.value)


def test_no_two_meanings_share_a_word() -> None:
    rows = [
        row
        for table in (grammar.SIZE_WORDS, grammar.COLOUR_WORDS, grammar.SHAPE_WORDS)
        for row in table.values()
    ]
    every = [word for row in rows for word in row]
    assert len(every) == len(set(every))


def test_the_groups_of_frames_share_no_content_word() -> None:
    for groups in (
        (grammar.CAPTION, grammar.FIRST, grammar.SECOND),
        (grammar.FIRST_PAIR, grammar.SECOND_PAIR),
    ):
        found = [
            {w for frame in group for w in grammar.content_words(frame) if "{" not in w}
            for group in groups
        ]
        assert len(set.union(*found)) == sum(map(len, found))
