"""What is done with an answer before it becomes training data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.errors import UsageError
from paraclip_bench.paraphrasing.answers import AnswerFilter
from paraclip_bench.paraphrasing.prompts import prompts
from paraclip_bench.paraphrasing.tidying import tidy

PROMPTS = prompts()
CAPTION = "a brown dog runs through deep snow"


@pytest.mark.parametrize(
    ("answer", "tidied"),
    [
        ('"A dog."', "A dog."),
        ("\u201cA dog.\u201d", "A dog."),
        ("Caption: A dog.", "A dog."),
        ('Paraphrased sentence: "A  dog"', "A dog"),
        ('"Sit" and "stay"', '"Sit" and "stay"'),
        ("  a\n\n b ", "a\nb"),
        (None, ""),
        ("<think>\n\nhm\n</think>\n\nA dog", "A dog"),
        ("Caption this: a dog", "Caption this: a dog"),
    ],
)
def test_tidying(answer: str | None, tidied: str) -> None:
    assert tidy(answer) == tidied


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("a hound sprints across the drifts", None),
        ("", "empty"),
        ("...", "empty"),
        ("I'm sorry, but I cannot help with that.", "a refusal"),
        ("I can't paraphrase this", "a refusal"),
        ("As an AI language model, I", "a refusal"),
        ("Please provide the caption", "a refusal"),
        ("Sure! A hound in snow", "talk about the answer"),
        ("Here is a version: a hound in snow", "talk about the answer"),
        ("A Brown dog runs, through deep snow!", "equal to its input"),
        ("a hound in snow\nand a cat", "more than one line"),
        ("tell the same thing in other words", "words of the prompt"),
        ("a hound " * 9, "much longer than its input"),
        ("sorry dog", "a refusal"),
    ],
)
def test_reasons(answer: str, reason: str | None) -> None:
    assert AnswerFilter(PROMPTS).reason(1, CAPTION, answer, CAPTION) == reason


def test_what_the_input_has_itself_is_no_fault() -> None:
    answer_filter = AnswerFilter(PROMPTS)
    sign = "sorry we are closed sign on a door"
    assert answer_filter.reason(1, sign, "sorry, closed: a door's sign", sign) is None
    told = "tell the same thing in other words, said the poster"
    assert (
        answer_filter.reason(1, told, "a poster: tell the same thing in other words", told) is None
    )
    assert answer_filter.reason(1, "poster", "I can't keep calm poster", "poster") is None
    assert answer_filter.reason(2, "a hound", CAPTION, CAPTION) == "equal to the caption"
    assert (
        answer_filter.reason(2, "a hound in the snow", "the wintry fields hold one canine", CAPTION)
        is None
    )


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_judged_and_tidying_is_done_once(given_text: str, answer: str) -> None:
    tidied = tidy(answer)
    assert "\r" not in tidied
    assert tidied == "\n".join(line.strip() for line in tidied.splitlines())
    AnswerFilter(PROMPTS).reason(2, given_text, tidied, given_text)


def test_prompts_have_hashes_and_a_placeholder(tmp_path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("Say it in French: {text}\n")
    found = prompts({2: own})
    assert found[1] == PROMPTS[1]
    assert found[2].hash != PROMPTS[2].hash
    assert found[2].fill("a {text} {dog}") == "Say it in French: a {text} {dog}"
    own.write_text("Say it in French")
    with pytest.raises(UsageError, match=r"own\.txt has no \{text\}; write it where"):
        prompts({1: own})
