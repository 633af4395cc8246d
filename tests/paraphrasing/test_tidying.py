"""What LLMs and their templates write around an answer, and what good answers keep."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paraclip_bench.paraphrasing.answers import AnswerFilter
from paraclip_bench.paraphrasing.captions import CaptionFilter, normal
from paraclip_bench.paraphrasing.prompts import prompts
from paraclip_bench.paraphrasing.tidying import tidy

SHARED = Path(os.environ.get("PARACLIP_SHARED", Path(__file__).parents[3] / "shared"))
CAPTIONS = SHARED / "data" / "captions"
FILTER = AnswerFilter(prompts())
CAPTION = "a brown dog runs through deep snow"
TEXT = "A hound dashes across the drifts."
THOUGHT = "The user wants a paraphrase.\n\nMaybe 'A hound'? Let me see: snow = drifts."
LOOK_ALIKE = "look-alike letters of another script"
CHANNELS = f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant"


@pytest.mark.parametrize(
    "answer",
    [
        # Thoughts.
        f"<think>\n{THOUGHT}\n</think>\n\n{TEXT}",
        f"<think></think>{TEXT}",
        f"{THOUGHT}\n</think>\n\n{TEXT}",
        f"I open with <think> as told. {THOUGHT}</think>{TEXT}",
        f"<thinking>{THOUGHT}</thinking>\n{TEXT}",
        f"<reasoning>{THOUGHT}</reasoning>{TEXT}",
        f"<thought>{THOUGHT}</thought>\n\n{TEXT}",
        f"<Thought>{THOUGHT}</Thought>\n<Output>{TEXT}</Output>",
        f"<seed:think>{THOUGHT}</seed:think>{TEXT}",
        f"[THINK]{THOUGHT}[/THINK]{TEXT}",
        f"{THOUGHT}[/THINK]{TEXT}",
        f"◁think▷{THOUGHT}◁/think▷{TEXT}",
        f"{CHANNELS}<|channel|>final<|message|>{TEXT}<|return|>",
        f"{CHANNELS}<|channel|>commentary<|message|>hm<|end|><|start|>assistant"
        f"<|channel|>final<|message|>{TEXT}",
        f"analysisThe user wants it. {THOUGHT}assistantfinal{TEXT}",
        f"<|START_THINKING|>{THOUGHT}<|END_THINKING|><|START_RESPONSE|>{TEXT}<|END_RESPONSE|>",
        f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|>\n\n<|begin_of_solution|>{TEXT}"
        "<|end_of_solution|>",
        f"<|channel>thought\n{THOUGHT}<channel|>{TEXT}<turn|>",
        f"Here is my thought process:\n{THOUGHT}\nHere is my response:\n{TEXT}",
        f"{TEXT}\n<think>{THOUGHT}</think>",
        f"<think>{THOUGHT}</think>\n<answer>{TEXT}</answer>",
        f"<think>{THOUGHT}</think><|begin_of_box|>{TEXT}<|end_of_box|>",
        # Special tokens.
        *(
            f"{TEXT}{token}"
            for token in (
                *("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>", "<eos>", "<end_of_turn>"),
                *("<|end|>", "<|return|>", " [/INST]", "<|END_OF_TURN_TOKEN|>", "<|eom_id|>"),
                *("<\uff5cend\u2581of\u2581sentence\uff5c>", "<pad><pad>", "<|user|>", "[EOS]"),
                *("[|endofturn|]", "<end_of_utterance>", "<|end_of_text|>\n", "</s></s>", "[e~["),
            )
        ),
        f"{TEXT}<|im_end|>\n<|im_start|>user\nAnd this one?",
        f"{TEXT}</s><s>[INST] A cat. [/INST] A feline.",
        f"<|im_start|>assistant\n{TEXT}<|im_end|>",
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{TEXT}<|eot_id|>",
        f"<start_of_turn>model\n{TEXT}<end_of_turn>",
        f"[/INST] {TEXT}</s>",
        f"<|assistant|>\n{TEXT}",
        # Markup around the whole.
        f"**{TEXT}**",
        f"**{TEXT[:-1]}**.",
        f"*{TEXT}*",
        f"__{TEXT}__",
        f"_{TEXT}_",
        f"***{TEXT}***",
        f'**"{TEXT}"**',
        f'"**{TEXT}**"',
        f"```\n{TEXT}\n```",
        f"```text\n{TEXT}\n```\n",
        f"~~~\n{TEXT}\n~~~",
        f"```{TEXT}```",
        f"`{TEXT}`",
        f"<p>{TEXT}</p>",
        f"<caption>{TEXT}</caption>",
        f"{TEXT}<br/>",
        f"Let me see. <answer>{TEXT}</answer>",
        f'"{TEXT[:-1]}".',
        f"«{TEXT}»",
        f"„{TEXT}“",
        f"\ufeff{TEXT}\u200b",
        f"---\n{TEXT}\n---",
        # A label or a list mark in front.
        f"1. {TEXT}",
        f"1) {TEXT}",
        f"(1) {TEXT}",
        f"- {TEXT}",
        f"* {TEXT}",
        f"\u2022 {TEXT}",
        f"\u2014 {TEXT}",
        f"> {TEXT}",
        f"### {TEXT}",
        f"1. **{TEXT}**",
        f"Caption: {TEXT}",
        f"**Caption:** {TEXT}",
        f"**Caption**: {TEXT}",
        f"**Caption: {TEXT}**",
        f"Paraphrased sentence: {TEXT}",
        f"Paraphrase 1: {TEXT}",
        f"Rephrased:\n\n{TEXT}",
        f"### Response:\n{TEXT}",
        f"Your rewritten caption: “{TEXT}”",
        f"My version: {TEXT}",
        f"答案：{TEXT}",
        f'<think>\n{THOUGHT}\n</think>\n\n**Caption:** "{TEXT}"<|im_end|>',
        # Thoughts and the input, each with a label.
        f"Thinking: the user wants snow. Answer: {TEXT}",
        f"Thinking: it is a dog.\nAnswer: {TEXT}",
        f"**Thinking:** hm\n\n**Answer:** {TEXT}",
        f"Reasoning: brown dog = hound\n\nFinal answer: {TEXT}",
        f"Let's think step by step. A dog is a hound. Answer: {TEXT}",
        f"Original: {CAPTION} Paraphrase: {TEXT}",
        f"Original caption: {CAPTION}\nParaphrase: {TEXT}",
        f"Caption: {CAPTION}\nParaphrased caption: {TEXT}",
        # Tags in brackets, in wide characters, in those of HTML.
        f"[thinking] {THOUGHT} [/thinking] {TEXT}",
        f"[Thinking]\n{THOUGHT}\n[/Thinking]\n{TEXT}",
        f"[reasoning]{THOUGHT}[/reasoning]{TEXT}",
        f"\uff1cthink\uff1e{THOUGHT}\uff1c/think\uff1e{TEXT}",
        f"\uff1c\uff54\uff48\uff49\uff4e\uff4b\uff1ehm\uff1c\uff0f\uff54\uff48\uff49\uff4e\uff4b\uff1e{TEXT}",
        f"&lt;think&gt;{THOUGHT}&lt;/think&gt;{TEXT}",
        f"\uff1canswer\uff1e{TEXT}\uff1c/answer\uff1e",
        f"<think/>{TEXT}",
        # A formula, a line of code, brackets, JSON.
        f"${TEXT}$",
        f"$${TEXT}$$",
        f"$\\text{{{TEXT}}}$",
        f"\\boxed{{{TEXT}}}",
        f"\\[{TEXT}\\]",
        f"\\({TEXT}\\)",
        f'print("{TEXT}")',
        f"print('{TEXT}')",
        f'console.log("{TEXT}");',
        f'return "{TEXT}"',
        f'paraphrase = "{TEXT}"',
        f'```python\nprint("{TEXT}")\n```',
        f"[{TEXT}]",
        f"[{TEXT[:-1]}].",
        f"({TEXT})",
        f"{{{TEXT}}}",
        f'["{TEXT}"]',
        f'{{"paraphrase": "{TEXT}"}}',
        f'```json\n{{"paraphrase": "{TEXT}"}}\n```',
        f'{{"original": "{CAPTION}", "paraphrase": "{TEXT}"}}',
        f'[{{"caption": "{TEXT}"}}]',
        f'{{"paraphrases": ["{TEXT}"]}}',
        # More labels; notes and hashtags behind.
        f"Option 1: {TEXT}",
        f"Option A: {TEXT}",
        f"**Option 1 (short):** {TEXT}",
        f"Paraphrase (formal): {TEXT}",
        f"**Paraphrase (brief)**: {TEXT}",
        f'"{TEXT}" (Note: I kept the snow.)',
        f"{TEXT} (Note: I kept it short.)",
        f"{TEXT}\n\n(Note: I kept the snow.)",
        f"{TEXT}\n\n*(Note: shorter)*",
        f"{TEXT} [Note: shorter]",
        f"{TEXT} (6 words)",
        f"{TEXT} #dog #snow",
        f"{TEXT}\n#dog #snow",
        f"{TEXT}#dog",
    ],
)
def test_what_stands_around_an_answer_comes_off(answer: str) -> None:
    tidied = tidy(answer, CAPTION)
    assert tidied == TEXT
    assert tidy(tidied, CAPTION) == TEXT
    assert FILTER.reason(1, CAPTION, tidied, CAPTION) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (f"<think>\n{THOUGHT}", "empty"),
        (f"<thinking>{THOUGHT}", "empty"),
        (f"[THINK]{THOUGHT}", "empty"),
        (f"◁think▷{THOUGHT}", "empty"),
        (f"<|channel|>analysis<|message|>{THOUGHT}", "empty"),
        (f"analysisWe need to paraphrase. {THOUGHT}", "empty"),
        (f"{THOUGHT}</think>", "empty"),
        (f"{THOUGHT}</think><|im_end|>", "empty"),
        ("**", "empty"),
        ("```\n```", "empty"),
        ("<|im_end|>", "empty"),
        ("A hound <|image|> dashes on", "special tokens"),
        ("A hound <unk> dashes on", "special tokens"),
        ('{"error": "A hound dashes on"}', "JSON"),
        ('{"one": "A hound dashes on", "two": "A hound runs"}', "JSON"),
        ('{"paraphrase_1": "A hound dashes on", "paraphrase_2": "A hound runs"}', "JSON"),
        ('["A hound dashes on", "A hound runs"]', "JSON"),
        ("{'caption': 'A hound dashes on'}", "JSON"),
        ("A **hound** dashes on", "markup"),
        ("**A hound dashes on", "markup"),
        ("A hound <b>dashes</b> on", "markup"),
        ("A [hound](x.html) dashes on", "markup"),
        ("It is \\boxed{A hound dashes on}", "markup"),
        ("A hound &amp; drifts", "markup"),
        ("```\nA hound dashes on", "markup"),
        ("A hound dashes on, see https://example.org/dog", "an address"),
        ("Paraphrase - A hound dashes on", "a label"),
        ("A dog, that is. Paraphrase: A hound dashes on", "a label"),
        ("Thinking: the user wants a hound", "a label"),
        ("[thinking] A hound dashes on", "empty"),
        ("A hound dashes on #dog #snow", "hashtags"),
        ("A hound dashes into the #snow", "hashtags"),
        ("#hound dashes on", "hashtags"),
        ("Here you go \U0001f449 A hound dashes on", "talk about the answer"),
        ("Here you go! A hound dashes on", "talk about the answer"),
        ("A hound dashes on. Note: I kept the snow.", "talk about the answer"),
        ('"A hound dashes on" **Explanation:** shorter', "talk about the answer"),
        ("Note: a hound dashes on", "talk about the answer"),
        ("Note that I kept the dog: a hound dashes on", "talk about the answer"),
        ("\u0410 h\u043eund dashes on", LOOK_ALIKE),
        ("A h\u043eund dashes on", LOOK_ALIKE),
        ("\u0410 hound dashes on", LOOK_ALIKE),
        ("\u0391 hound dashes on", LOOK_ALIKE),
        ("Second caption, in other words: a hound dashes on", "a label"),
        ("A hound dashes on\nA hound runs", "more than one line"),
        *(
            (several, "several answers")
            for several in (
                "1. A hound dashes on\n2. A hound runs",
                "1. A hound dashes on 2. A hound runs",
                "1) A hound dashes on 2) A hound runs",
                "(1) A hound dashes on (2) A hound runs",
                "1: A hound dashes on 2: A hound runs",
                "a) a hound dashes on b) a hound runs".replace("a h", "A h"),
                "A. A hound dashes on. B. A hound runs.",
                "1\ufe0f\u20e3 A hound dashes on 2\ufe0f\u20e3 A hound runs",
                "\u2460 A hound dashes on \u2461 A hound runs",
                "\u2022 A hound dashes on \u2022 A hound runs",
                "- A hound dashes on. - A hound runs.",
                "- A hound dashes on.\n- A hound runs.",
                "A hound dashes on OR A hound runs by",
                "a hound dashes on OR a hound runs by",
                "A hound dashes on.\nOR\nA hound runs by.",
                "A hound dashes on. Or: A hound runs by.",
                "A hound dashes on. Alternatively, a hound runs by.",
                '"A hound dashes on" or "A hound runs"',
                '"A hound dashes on", "A hound runs"',
                '"A hound dashes on." / "A hound runs."',
                "A hound dashes on. / A hound runs.",
                "Option 1: A hound dashes on Option 2: A hound runs",
                "Option A: A hound dashes on. Option B: A hound runs.",
                "**Option 1:** A hound dashes on. **Option 2:** A hound runs.",
                "Version 1: A hound dashes on. Version 2 (formal): A hound runs.",
                "Caption 1: A hound dashes on\nCaption 2: A hound runs",
            )
        ),
    ],
)
def test_what_is_no_answer_has_its_own_reason(answer: str, reason: str) -> None:
    assert FILTER.reason(1, CAPTION, tidy(answer, CAPTION), CAPTION) == reason


@pytest.mark.parametrize(
    ("given_text", "answer"),
    [
        ("two dogs in the snow", "2 dogs on a snowy field"),
        ("1. FC Köln fans in a stadium", "1. FC Köln supporters at a match"),
        ("supporters of 1. FC Köln", "1. FC Köln supporters at a match"),
        ("- red shoes, size 42", "- size 42 shoes in red"),
        ('a sign that says "stop" and "go"', '"Stop" and "go" on a sign'),
        (
            '"The Starry Night" by van Gogh hangs here, "as it was"',
            '"Night" and "stars", by Vincent',
        ),
        ('"Sit and stay"', '"Stay and sit"'),
        (
            "a well-known, half-eaten apple - on a plate",
            "apple, half-eaten and well-known - plated",
        ),
        ("a *NEW* pair of shoes", "a pair of shoes, *NEW*"),
        ("*NEW* shoes *SALE*", "*SALE* of *NEW* shoes"),
        ("**Standard** version of a doll", "doll in its **Standard** version"),
        ("a dog's bowl", "'90s bowl of a dog"),
        ("a heart <3 of gold", "golden heart <3"),
        ("Caption this: a dog", "Caption this: one dog"),
        ("Answer: a dog on a poster", "Answer: one dog, poster"),
        ("a think tank at work", "thinking: a tank at work"),
        ("analysis of data on a screen", "analysis on a screen of data"),
        ("what time is it? 5:30 pm", "5:30 pm on a clock"),
        ("a dog (brown) runs", "(brown) dog runs"),
        ("Smith & Sons, Ltd.", "Sons & Smith, Ltd."),
        ("see www.example.org for dogs", "dogs at www.example.org"),
        ("a snake_case name and __init__ on a screen", "__init__ and a snake_case name, a screen"),
    ],
)
def test_good_answers_are_left_as_they_are(given_text: str, answer: str) -> None:
    assert tidy(answer, given_text) == answer
    assert FILTER.reason(1, given_text, answer, given_text) is None


# Of an input that has none of their words; most are as people wrote them (Flickr8k, STS, LAION).
CAPTIONS_LIKE_TALK = (
    "There was no text on the sign",
    "There is no text on the blank sign",
    "There are no pictures on the white wall",
    "There was no picture in the frame",
    "No text is visible on the sign",
    "No picture is on the wall",
    "The picture is missing from its frame",
    "The text is not readable on the bottle",
    "The photo has been torn in two",
    "The image is too dark to tell",
    "We cannot see the face of the girl with the white shirt",
    "I can't see the forest for trees",
    "It is appropriate that the flag is at half mast",
    "Note on a refrigerator: milk",
    "Note on napkin: this meal is on us",
    "A note reads: back at five",
    "Explanation board beside a statue",
    "OK, says a man",
    "Okay, reads a button on a screen",
    '"Sure!" shouts a child in a pool',
    "Great: a sign above a shop",
    "Great Wall of China: a view at dawn",
    "Absolutely fabulous hats at a wedding",
    "Certainly the best pizza in town",
    "Here we go again, says the poster",
    "Here you go by bus to the old town",
    "Sushi (\u5bff\u53f8)",
    "Bibimbap (\ube44\ube54\ubc25) in a stone bowl",
    "Red Square (\u041a\u0440\u0430\u0441\u043d\u0430\u044f) at night",
    "1. FC K\u00f6ln players celebrate",
    "2. Bundesliga match in the rain",
    "1. Mai parade in Berlin",
    "# 51 race car on a track",
    "Option of three sauces beside fries",
    "Choice of 3 desserts: cake, pie, fruit",
    "Version 2.0 of a robot on a stage",
    "Trick or treat. Orange pumpkins glow",
    "PIZZA OR PASTA ON A NEON SIGN",
    "Gas station in Portland OR at night",
    "A dog - brown and small - on a sofa",
    "A doll (brand new) in a box",
    "(Left) a red bus and (right) a blue one",
    "[Left] a red bus, [right] a blue one",
    "$5 bill beside a $1 bill",
    "Jersey #23 on a player in white",
    "Locker #7, painted blue",
    "A cat asks the reader: thinking of food?",
    "Thinking man, a statue of bronze",
    "Answer sheets on a school desk",
    "Original oil painting of a harbor",
    "Print of a fox on a mug",
    "Israel doesn't give a ****, says a banner",
    "\u0421\u0421\u0421\u0420 on an old red flag of a ship",
    "A vitamin \u03b1 pill and a \u03b2-carotene bottle",
    "Ph.D. student A. Smith and B. Jones",
)


@pytest.mark.parametrize("caption", CAPTIONS_LIKE_TALK)
def test_captions_that_look_like_talk_are_kept_whole(caption: str) -> None:
    given_text = "one zebra grazes somewhere near water"
    assert tidy(caption, given_text) == caption
    assert FILTER.reason(1, given_text, caption, given_text) is None


PLAIN = st.lists(
    st.one_of(
        st.from_regex(r"\A[A-Za-zäöüéñçßøåèàô]{1,9}(?:[-'][a-z]{1,5})?[,;]?\Z"),
        st.from_regex(r"\A[0-9]{1,4}\Z"),
        st.sampled_from(
            ["dogs,", "(red)", '"stop"', "&", "犬", "дом", "and", "5:30", "No.", "a/b"]
        ),
    ),
    min_size=2,
    max_size=15,
).map(" ".join)


@given(PLAIN, st.sampled_from(["", ".", "!", " ."]))
def test_plain_captions_pass_unchanged(caption: str, stop: str) -> None:
    assert tidy(caption + stop) == caption + stop


PIECES = st.sampled_from(
    [
        *("<think>", "</think>", "[THINK]", "[/THINK]", "<|im_end|>", "</s>", "**", "*", "_", "`"),
        *("```", "1. ", "- ", "Caption:", "**Caption:**", '"', "'", "\u201c", "\u201d", "<p>"),
        *("</p>", "{", "}", "<|channel|>", "final", "<|message|>", "analysis", "assistantfinal"),
        *(".", "#", ">", "---", "\u200b", "e\u0301", "\u25c1think\u25b7", "\u25c1/think\u25b7"),
        *("<|", "|>", "[/INST]", "dog", "\n", " ", "\u00a0", "A"),
        *("[", "]", "(", ")", "$", "\\text{", "{}", '{"paraphrase": "', '"}', "print(", "#dog"),
        *(
            "2. ",
            "Option 1: ",
            "Thinking: ",
            "Answer: ",
            "(Note: ",
            "\uff1cthink\uff1e",
            "&lt;",
            " OR ",
        ),
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=14).map("".join)), st.text())
@example("``````", "")
@example("'''a''", "")
def test_tidying_twice_is_tidying_once(answer: str, given_text: str) -> None:
    once = tidy(answer, given_text)
    assert tidy(once, given_text) == once
    FILTER.reason(1, given_text, once, given_text)


def test_a_hostile_answer_takes_no_time() -> None:
    for piece in (
        "- ",
        "<think>",
        "</think><think>",
        "**",
        "<|x|>",
        "Caption: ",
        "`",
        "<p>",
        "[x](",
    ):
        tidy(piece * 20_000)
        FILTER.reason(1, CAPTION, tidy(piece * 2_000), CAPTION)


@pytest.mark.skipif(not CAPTIONS.is_dir(), reason="shared/data/captions is not here")
def test_real_captions_are_answers_that_nothing_is_wrong_with() -> None:
    lines = (CAPTIONS / "laion400m_alt_text.txt").read_text().split("\n")
    with (CAPTIONS / "coco_val2014_captions.jsonl").open() as file:
        lines += [json.loads(line)["caption"] for line in file]
    texts = [normal(line) for line in lines if CaptionFilter().reason(line) is None]
    assert len(texts) > 9000
    assert sum(tidy(text, text) != text for text in texts) <= 1  # one has a space without width
    found = [
        (reason, text)
        for text in texts
        if (reason := FILTER.reason(1, "one of zebra", text, "x")) is not None
    ]
    refusals = [text for reason, text in found if reason in ("a refusal", "talk about the answer")]
    assert refusals == ["There is no image here to provide a caption for."]
    assert not [text for reason, text in found if reason in ("JSON", "a label", "special tokens")]


FLICKR, SUGAR = SHARED / "data/flickr8k/captions.tsv", SHARED / "data/sugarcrepe_pp"


@pytest.mark.skipif(not FLICKR.is_file(), reason="shared/data/flickr8k is not here")
@pytest.mark.skipif(not SUGAR.is_dir(), reason="shared/data/sugarcrepe_pp is not here")
def test_what_people_wrote_of_the_same_photo_is_a_good_answer() -> None:
    captions: dict[str, list[str]] = {}
    for line in FLICKR.read_text().splitlines()[1:]:
        image, caption, *_ = line.split("\t")
        captions.setdefault(image, []).append(normal(caption))
    pairs = [(given, said) for texts in captions.values() for given in texts for said in texts]
    for file in sorted(SUGAR.glob("*.json")):
        rows = json.loads(file.read_text())
        rows = rows.values() if isinstance(rows, dict) else rows
        pairs += [(normal(row["caption"]), normal(row["caption2"])) for row in rows]
    assert len(pairs) > 14_000
    assert [said for given, said in pairs if tidy(said, given) != said] == []
    found = {(FILTER.reason(1, given, said, given), said) for given, said in pairs}
    usual = ("much longer than its input", "equal to its input", "no answer", None)
    assert {
        (reason, said) for reason, said in found if reason not in usual and len(said.split()) > 1
    } <= {("a refusal", "There is no image here to provide a caption for.")}
