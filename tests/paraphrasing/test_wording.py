"""Words, scripts and refusals: in any language, and without a good caption lost."""

import json
import time
from typing import Any

import json_lines
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.paraphrasing.answers import AnswerFilter
from paraclip_bench.paraphrasing.captions import CaptionFilter
from paraclip_bench.paraphrasing.endpoint import read_completion
from paraclip_bench.paraphrasing.prompts import prompts
from paraclip_bench.paraphrasing.tidying import tidy
from paraclip_bench.paraphrasing.wording import (
    content_words,
    is_in_another_script,
    word_count,
)

FILTER = AnswerFilter(prompts())
CAPTION = "a brown dog runs through deep snow"
OTHER = "another script than its input"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a dog .", 2),
        (".", 0),
        ("- _ -", 0),
        ("a well-known dog's bowl", 4),
        ("5 dogs", 2),
        ("一只狗在雪地里奔跑", 5),
        ("狗", 1),
        ("小狗", 1),
        ("雪の中を走る茶色の犬。", 5),
        ("สุนัขวิ่งบนหิมะ", 4),
        ("ໝາແລ່ນໃນຫິມະ", 3),
        ("ឆ្កែរត់ក្នុងព្រិល", 4),
        ("ခွေးသည်နှင်းထဲတွင်ပြေးသည်", 6),
        ("iPhone手机壳", 3),
        ("눈밭을 달리는 갈색 개", 4),
        ("犬 が 走る", 2),
        ("", 0),
    ],
)
def test_words_are_counted_in_every_script(text: str, count: int) -> None:
    assert word_count(text) == count


@given(st.text(), st.text())
def test_counting_adds_up(one: str, two: str) -> None:
    assert word_count(one) >= 0
    assert abs(word_count(f"{one} {two}") - word_count(one) - word_count(two)) <= 2
    assert not is_in_another_script(one, one)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("一只棕色的狗在雪地里奔跑", None),
        ("茶色の犬が雪の中を走っている", None),
        ("สุนัขสีน้ำตาลวิ่งในหิมะ", None),
        ("狗", "too few words"),
        ("dog .", "too few words"),
        ("a dog . . . . . . . . . . . . . . .", None),
        ("狗" * 40, "too many words"),
    ],
)
def test_captions_without_spaces_are_selected(text: str, reason: str | None) -> None:
    assert CaptionFilter().reason(text) == reason


@pytest.mark.parametrize(
    ("given_text", "answer", "reason"),
    [
        (CAPTION, "一只狗在雪地里奔跑", OTHER),
        (CAPTION, "собака бежит по глубокому снегу", OTHER),
        (CAPTION, "A hound 在雪地里奔跑", OTHER),
        (CAPTION, "كلب يجري في الثلج", OTHER),
        (CAPTION, "눈밭을 달리는 갈색 개", OTHER),
        (CAPTION, "σκύλος τρέχει στο χιόνι", OTHER),
        ("一只狗在雪地里奔跑", "a dog runs in the snow", OTHER),
        ("一只狗在雪地里奔跑", "눈밭을 달리는 개", OTHER),
        ("собака в снегу", "a dog in snow", OTHER),
        ("福 on a red door of a house", "红色的门上贴着福字", OTHER),
        (CAPTION, "one hound 🐕 dashes across the drifts ❄️ 2024", None),
        (CAPTION, "un chien brun traverse la neige épaisse", None),
        ("犬が走る", "イヌがダッシュしている", None),
        ("ラーメン", "拉麺の一杯", None),
        ("福 on a red door", "a red door with 福", None),
        ("чехол для айфона, чёрный", "чёрный чехол для iPhone", None),
        ("東京タワー Tokyo Tower", "東京の塔 in Tokyo", None),
        ("a β-carotene bottle", "bottle of β-carotene, α too", None),
        ("ＷＩＤＥ letters here", "wide characters on it", None),
        ("5 + 5", "一二三", None),
    ],
)
def test_scripts_are_compared(given_text: str, answer: str, reason: str | None) -> None:
    assert FILTER.reason(1, given_text, answer, given_text) == reason


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot describe people in images.",
        "I can’t identify the person.",
        "I can't identify real people in photos",
        "I'm unable to view images.",
        "I am not able to see the picture",
        "I don't see an image.",
        "I do not see any image attached",
        "I don't have access to the image",
        "I didn't receive an image.",
        "There is no image provided.",
        "There's no caption here to work with",
        "There is no attached picture.",
        "No image was provided.",
        "The image is not visible.",
        "The caption is missing.",
        "It seems the caption is missing",
        "It looks like no image was attached.",
        "Could you please provide the caption?",
        "Can you share the image?",
        "Please upload the picture.",
        "I need more information to do that.",
        "I apologize, but no.",
        "I must decline.",
        "I'd rather not describe this.",
        "Unfortunately, this is not something I do.",
        "Unable to process this request.",
        "Cannot comply.",
        "As a language model, I have no eyes",
        "I'm just an AI and have no eyes",
        "That goes against my guidelines.",
        "This violates our content policy",
        "This may contain inappropriate content",
        "It would be inappropriate to do so",
        "N/A",
        "None.",
        "No caption provided",
        "Lo siento, no puedo ayudar",
        "Je suis désolé, impossible.",
        "Es tut mir leid",
    ],
)
def test_refusals_in_many_words(answer: str) -> None:
    assert FILTER.reason(1, CAPTION, answer, CAPTION) == "a refusal"


@pytest.mark.parametrize("answer", ["抱歉，我无法描述", "我无法识别图片中的人"])
def test_refusals_in_the_input_s_language(answer: str) -> None:
    assert FILTER.reason(1, "一只狗在雪地里奔跑", answer, "") == "a refusal"


@pytest.mark.parametrize(
    ("given_text", "answer"),
    [
        ("you would not believe this cake", "I cannot believe this cake"),
        ("incredible cake", "I can't believe this cake"),
        ("when you cannot see the forest", "I can't see the trees anymore"),
        ("an empty street, no people", "there are no people in the street"),
        ("there is no place like home", "no place is like home"),
        ("a sign without text", "there is no text on the sign"),
        ("a tilted picture on a wall", "the picture is not straight on the wall"),
        ("please close the gate sign", "please provide distance, a gate sign"),
        ("dogs are not allowed sign", "a sign that allows no dogs"),
        ("sorry we are closed sign", "sorry, closed: a door's sign"),
        ("a cake with error 404 on it", "error 404 on a cake"),
        ("a penguin, flightless", "unable to fly, a penguin"),
        ("unfortunately named shop", "unfortunately, the shop has that name"),
        ("none of the chairs are taken", "no chair is taken"),
        ("AI generated art", "art as an AI makes it"),
    ],
)
def test_real_captions_are_no_refusals(given_text: str, answer: str) -> None:
    assert FILTER.reason(1, given_text, answer, given_text) is None


def test_growth_is_measured_in_words_of_any_script() -> None:
    long = "一只棕色的狗在很深的雪地里快乐地奔跑" + "还有一只猫在房子的前面看着它跑来跑去" * 2
    asked = "一只狗在雪地里奔跑"
    assert FILTER.reason(1, asked, long, asked) == "much longer than its input"
    assert FILTER.reason(1, asked, long[:20], asked) is None


def test_content_words() -> None:
    assert content_words("There is a dog's bowl on the table") == {"dog", "bowl", "table"}
    assert content_words("一只狗") == {"一只", "只狗"}
    assert not content_words("这只猫") & content_words("小狗跑")


def test_the_report_counts_what_has_no_word_in_common(tmp_path, command) -> None:
    rows = [
        ("a dog in the snow", "the dog on snow", "a hound on the white ground"),
        ("a dog in the snow", "a plane is in the sky", "the snow and a dog"),
        ("一只狗在雪地里奔跑", "狗在雪地里跑步", "猫坐着"),
        ("it is there", "here it is", "where is it"),
    ]
    keys = ("caption", "paraphrase_1", "paraphrase_2")
    path = json_lines.write(
        tmp_path / "p.jsonl", [dict(zip(keys, row, strict=True)) for row in rows]
    )
    expected = {"T, T'": 1, "T, T''": 2}
    found = json.loads(command("report", path, "--json").stdout)
    assert found["no_content_word_in_common"] == expected
    assert found["mean_words"]["T"] == (5 + 5 + 5 + 3) / 4
    assert found["mean_overlap"]["T, T'"] > 0.4
    done = command("report", path, "-o", "r.html")
    page = (tmp_path / "r.html").read_text()
    for name, count in expected.items():
        line = next(
            x for x in done.stdout.splitlines() if f"no content word in common, {name} " in x
        )
        shown = "1 row" if count == 1 else f"{count} rows"
        assert line.rstrip().endswith(f" {shown}")
        cell = f"no content word in common, {name.replace(chr(39), '&#x27;')}</td>"
        assert cell + f"<td class='number'>{shown}" in page


@pytest.mark.parametrize(
    "answer",
    [
        "The photo is beautiful, with a sunset over the bay.",
        "The image has been edited to black and white.",
        "The picture was best hung on a wall.",
        "I'm afraid of heights",
        "It looks like a picture of a cat.",
        "Unfortunately, the man was denied entry",
        "Please note that the store is closed",
        "Great, golden sandy beach",
        "Here is the station clock at 3:00",
    ],
)
def test_good_answers_that_begin_like_refusals_are_kept(answer: str) -> None:
    given = "words that share nothing with it, and are as many as there may be"
    assert FILTER.reason(1, given, answer, given) is None


@pytest.mark.parametrize(
    "answer",
    ["![](" * 20_000, "[" * 30_000, "analysisA" + "assistantcommentary" * 3000, "- " * 2499],
)
def test_answers_of_no_end_take_no_time(answer: str) -> None:
    start = time.perf_counter()
    FILTER.reason(1, "a dog", tidy(answer, "a dog"), "a dog")
    # It took seconds; no machine is so slow.
    assert time.perf_counter() - start < 1.5


@pytest.mark.parametrize(
    "answer",
    [
        "A canine sprints. Note: I kept it short.",
        "A canine sprints. Let me know if you need more!",
        "A canine sprints. I hope this helps.",
        "Here you go: a canine sprints",
        "Sure - a canine sprints",
        "A paraphrase could be a canine sprints",
        "a dog runs -> a canine sprints",
        "a dog runs \u2192 a canine sprints",
        "We need to produce a brief paraphrase",
        "No.",
        "OK",
        "Same as above.",
        "[Your paraphrase here]",
        "string",
        "Internal server error",
        "Model is overloaded, try again later",
        "I don't know",
    ],
)
def test_talk_and_no_answers_are_dropped(answer: str) -> None:
    given = "a dog runs through the snow of the park"
    assert FILTER.reason(1, given, tidy(answer, given), given) is not None


def test_marks_that_nobody_sees_do_not_get_into_pairs() -> None:
    found = read_completion(
        {
            "choices": [
                {"message": {"content": "A \x1b[31mhound\u202e r\u00aduns\0 \u2764\ufe0f\u200d"}}
            ]
        }
    )
    assert found.text == "A [31mhound runs \u2764\ufe0f\u200d"


def test_content_in_parts_a_field_of_refusal_and_an_answer_of_no_end() -> None:
    def reply(**message: object) -> Any:
        return read_completion({"choices": [{"message": message}]})

    assert reply(content=[{"type": "text", "text": "A "}, {"text": "hound"}]).text == "A hound"
    assert reply(content=None, refusal="A dog sleeps").fault == "a refusal"
    long = reply(content="a " * 10**6)
    assert (long.text, long.fault) == ("", "an answer of 2,000,000 characters")
