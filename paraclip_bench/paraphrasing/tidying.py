"""An answer without what LLMs and their templates write around it: thoughts, tokens, markup."""

from __future__ import annotations

import re
import unicodedata

# Nothing that is longer is a paraphrase, and is left as it is.
LONGEST = 5000
# Each round takes something off; so many layers are no answer's, and it stays as it is.
_ROUNDS = 20
_BLANK = " \t\n\r\f\v\u00a0\u200b\u200e\u200f\ufeff"


def tidy(answer: str | None, given: str = "") -> str:
    """The text of an answer to `given`, NFC, with single spaces and without empty lines.

    Off come thoughts (an unclosed one leaves nothing), tokens of templates, a fence, bold, italics,
    quotes or a tag around the whole, a label and a list mark in front. What `given` has at the
    same place itself stays. Tidying twice is tidying once.
    """
    text = answer or ""
    for _ in range(_ROUNDS):
        before = text
        text = _lines(_without_tokens(_without_thoughts(unicodedata.normalize("NFC", text))))
        if len(text) <= LONGEST:
            for peel in (_fence, _answer_tag, _pair, _quotes, _label, _list_mark):
                text = peel(text.strip(_BLANK), given.lstrip())
        if text == before:
            return text
    return unicodedata.normalize("NFC", answer or "")


def _lines(text: str) -> str:
    lines = [" ".join(line.split()).strip(_BLANK) for line in text.splitlines()]
    # Lines that only draw a line.
    return "\n".join(line for line in lines if line and not _RULE.fullmatch(line))


_RULE = re.compile(r"[-*_=]{3,}")

# --- thoughts --------------------------------------------------------------------------------

_THOUGHT = (
    r"(?:seed:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad|"
    r"antthinking|inner_monologue|rationale)"
)
_OPENS = re.compile(
    rf"<{_THOUGHT}(?:\s[^<>]*)?>|\[think\]|◁think▷|<\|channel>\s*thought\b"
    r"|<\|(?:begin_of_thought|start_thinking|inner_prefix|think(?:ing)?)\|>",
    re.IGNORECASE,
)
_CLOSES = re.compile(
    rf"</{_THOUGHT}\s*>|\[/think\]|◁/think▷|<channel\|>"
    r"|<\|(?:end_of_thought|end_thinking|inner_suffix|/think(?:ing)?)\|>",
    re.IGNORECASE,
)
# gpt-oss: one channel for thoughts, one for the answer; and what is left where a server drops the
# special tokens between them.
_CHANNEL = "<|channel|>"
_FINAL = re.compile(r"<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
_BARE = re.compile(r"\s*(?P<channel>analysis|commentary)(?=[A-Z\"'])")
_BARE_FINAL = "assistantfinal"
# IBM's Granite.
_PROCESS = re.compile(r"\s*here(?: is|'s) my (?:thought process|reasoning)\s*:", re.IGNORECASE)
_RESPONSE = re.compile(r"here(?: is|'s) my (?:response|answer)\s*:", re.IGNORECASE)


def _without_thoughts(text: str) -> str:
    if _CHANNEL in text:
        finals = list(_FINAL.finditer(text))
        text = text[finals[-1].end() :] if finals else ""
    elif (bare := _BARE.match(text)) is not None:
        if _BARE_FINAL in text:
            text = text.partition(_BARE_FINAL)[2]
        elif bare["channel"] == "analysis":
            return ""
    if _PROCESS.match(text):
        found = _RESPONSE.search(text)
        text = text[found.end() :] if found else ""
    closings = list(_CLOSES.finditer(text))
    if closings:
        # Templates open the tag in the prompt, so the closing one may come alone.
        after = text[closings[-1].end() :]
        text = after if _TOKEN.sub("", after).strip(_BLANK) else _without_pairs(text)
    return "" if _OPENS.search(text) or _CLOSES.search(text) else text


def _without_pairs(text: str) -> str:
    """Without every thought that has both of its tags; they may stand behind the answer."""
    kept, place = [], 0
    while (opening := _OPENS.search(text, place)) is not None:
        if (closing := _CLOSES.search(text, opening.end())) is None:
            break
        kept.append(text[place : opening.start()])
        place = closing.end()
    return "".join(kept) + text[place:]


# --- special tokens --------------------------------------------------------------------------

# The two bars are those of DeepSeek's tokens and of all others.
_BARRED = r"<[|\uff5c][^<>|\uff5c\n]{1,40}[|\uff5c]?>|<[a-z_]{1,20}\|>|\[\|[a-z_]{1,20}\|\]"
_TOKEN = re.compile(
    rf"{_BARRED}|</?(?:s|bos|eos|pad|unk|sep|cls|mask)>|<(?:start|end)_of_(?:turn|utterance|text)>"
    r"|<\|?endoftext\|?>|<(?:extra_id_\d+|0x[0-9a-f]{2}|end)>|\[/?INST\]|<</?SYS>>"
    r"|\[(?:BOS|EOS|PAD|UNK|SEP|CLS|MASK)\]|\[e~\[|\]~b\]",
    re.IGNORECASE,
)
# What comes behind one of these is another turn.
_ENDS = re.compile(
    r"<[|\uff5c](?:im_end|im_start|endoftext|end_of_text|eot_id|eom_id|eot|eos|end|return|call"
    r"|end_?of_?turn(?:_token)?|end[_\u2581]of[_\u2581]sentence|start|user|assistant|system"
    r"|observation|start_header_id|role_end|user_end|assistant_end|end_of_solution|end_response"
    r"|end_text|end_of_box)[|\uff5c]>"
    r"|</s>|<s>|<eos>|<(?:start|end)_of_turn>|<end_of_utterance>|<turn\|>|<\|turn>|<\|?endoftext\|?>"
    r"|\[/?INST\]|\[EOS\]|\[\|end_?of_?turn\|\]|\[e~\[",
    re.IGNORECASE,
)
_ROLE = re.compile(r"\s*(?:assistant|model|chatbot|final|ai)\b[ \t]*(?=\n|<)", re.IGNORECASE)


def _without_tokens(text: str) -> str:
    """Without tokens in front, and cut where the answer's turn ends. Others inside it stay."""
    text = text.lstrip(_BLANK)
    while (token := _TOKEN.match(text)) is not None:
        text = text[token.end() :]
        if (role := _ROLE.match(text)) is not None:
            text = text[role.end() :]
        text = text.lstrip(_BLANK)
    if (end := _ENDS.search(text)) is not None:
        text = text[: end.start()]
    tokens = list(_TOKEN.finditer(text))
    while tokens and not text[tokens[-1].end() :].strip(_BLANK):
        text = text[: tokens.pop().start()]
    return text


# --- around the whole ------------------------------------------------------------------------

_FENCE = re.compile(r"(?P<mark>`{3,}|~{3,})(?:[^\n`~]*\n)?(?P<text>.*?)\n?(?P=mark)", re.DOTALL)
_TAG = re.compile(r"<(?P<name>[a-z][\w-]*)(?:\s[^<>]*)?>(?P<text>.*)</(?P=name)\s*>", re.I | re.S)
_ANSWER = re.compile(
    r"<(?P<name>(?:final_)?answer|output|response|paraphrase\w*)>(?P<text>.*?)(?:</(?P=name)>|$)",
    re.IGNORECASE | re.DOTALL,
)
_BREAK = re.compile(r"\s*<br\s*/?>\s*$", re.IGNORECASE)
_EMPHASIS = ("***", "**", "___", "__", "~~", "*", "_")
_QUOTES = (
    *(('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("\u2018", "\u2019"), ("`", "`")),
    *(("\u201e", "\u201c"), ("\u201e", "\u201d"), ("\u00ab", "\u00bb"), ("\u2039", "\u203a")),
    *(("\u300c", "\u300d"), ("\u300e", "\u300f"), ("``", "''")),
)
_APOSTROPHE = re.compile(r"(?<=\w)['\u2019](?=\w)")


def _fence(text: str, given: str) -> str:
    found = _FENCE.fullmatch(text)
    return found["text"] if found is not None and "`" not in given else text


def _answer_tag(text: str, given: str) -> str:
    if "<" not in text or "<" in given:
        return text
    if (whole := _TAG.fullmatch(text)) is not None:
        return whole["text"]
    answers = list(_ANSWER.finditer(text))
    return answers[0]["text"] if len(answers) == 1 else _BREAK.sub("", text)


def _pair(text: str, given: str) -> str:
    """Without bold or italics around the whole; a full stop may stand behind them."""
    if text[:1] not in ("*", "_", "~") or given[:1] == text[0]:
        return text
    for mark in _EMPHASIS:
        stop = text[-1] if text[-1] in ".!?" else ""
        inner = text.removesuffix(stop)
        if len(inner) <= 2 * len(mark) or not (inner.startswith(mark) and inner.endswith(mark)):
            continue
        inner = inner[len(mark) : -len(mark)]
        if mark[0] not in inner and inner == inner.strip():
            return inner if inner[-1] in ".!?" else inner + stop
    return text


def _quotes(text: str, given: str) -> str:
    """Without quotes around the whole; a full stop may stand behind them."""
    for opening, closing in _QUOTES:
        if not text.startswith(opening) or len(text) <= len(opening + closing):
            continue
        if given.startswith(opening) and given.rstrip(" .!?").endswith(closing):
            continue
        stop = text[-1] if text[-1] in ".!?" else ""
        inner = text.removesuffix(stop)
        if not inner.endswith(closing) or len(inner) <= len(opening + closing):
            continue
        inner = inner[len(opening) : -len(closing)].strip()
        bare = _APOSTROPHE.sub("", inner) if opening in "'\u2018" else inner
        if inner and opening not in bare and closing not in bare:
            return inner if inner[-1] in ".!?" else inner + stop
    return text


# --- in front --------------------------------------------------------------------------------

_MADE = r"(?:paraphras|rephras|reword|rewritt|rewrit|revis|restat)(?:ed|en|ing|e)"
_LABEL = re.compile(
    rf"[*_#\s]{{0,6}}(?:"
    rf"(?:(?:the|my|your|a|one|new|final|brief|short|shorter|shortened|concise|alternative|"
    rf"alternate|updated|improved|simplified|possible|suggested|image|output|{_MADE})\s+){{0,3}}"
    rf"(?:caption|sentence|paraphrase|answer|version|restatement|rewrite|response|output|reply)"
    rf"|{_MADE}|assistant|改写|改寫|释义|答案|回答|言い換え|回答文)"
    r"(?:\s*#?\d{1,2})?[*_]{0,3}\s*[:\uff1a][*_]{0,3}\s*",
    re.IGNORECASE,
)
_MARK = re.compile(
    r"(?:[1-9][.)]|\(1\)|[-\u2013\u2014*\u2022\u2023\u00b7\u25e6\u25aa\u25b8\u25ba\u2192+>]"
    r"|#{1,6}|[a-zA-Z]\))\s+(?=\S)"
)


def _label(text: str, given: str) -> str:
    found = _LABEL.match(text)
    if found is None or found.end() == len(text) or label_in(given, found[0]):
        return text
    rest = text[found.end() :]
    # Of **Caption: text** the bold was opened in front of the label.
    opened = re.match(r"[*_]*", found[0])
    mark = opened[0] if opened is not None else ""
    if mark and found[0].count(mark[0]) == len(mark) and rest.endswith(mark):
        rest = rest.removesuffix(mark)
    return rest


def label_in(given: str, label: str) -> bool:
    """Whether what was given has a word of a label, so that it may be no label."""
    asked = set(re.findall(r"\w+", given.casefold()))
    told = set(re.findall(r"[^\W\d_]+", label.casefold()))
    return bool(asked & told - {"the", "a", "my", "your", "one", "new"})


def _list_mark(text: str, given: str) -> str:
    found = _MARK.match(text)
    if found is None or _MARK.match(given) or found[0].strip() in given.split():
        return text
    return text[found.end() :]


# --- what is left ----------------------------------------------------------------------------

_MARKUP = re.compile(
    r"</?[a-zA-Z][^<>]*>|```|\*\*|(?<!\w)__(?=\w)|!?\[[^\]]*\]\([^)]*\)|^#{1,6}\s"
    r"|\\[a-z]+\{|&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,6});",
    re.IGNORECASE | re.MULTILINE,
)
_JSON = re.compile(
    r"^\s*\{\s*[\"'\w]|^\s*\[\s*[\"'{]|[\"']\w{1,40}[\"']\s*:\s*[\"'\[{\d]", re.MULTILINE
)
_ADDRESS = re.compile(r"https?://|\bwww\.\w", re.IGNORECASE)
_LABEL_LEFT = re.compile(
    rf"^\W*(?:[\w'\u2019]+[ ,]+){{0,3}}(?:caption|paraphrase|sentence|answer|response|output|"
    rf"version|{_MADE})s?\b[^:\uff1a\n]{{0,24}}[:\uff1a]",
    re.IGNORECASE,
)


def left_over(text: str, given: str) -> str | None:
    """What a tidied answer still has that is not its text, and that was not given; None if nothing.

    One of "special tokens", "JSON", "markup", "an address", "a label".
    """
    for pattern, name in (
        (_TOKEN, "special tokens"),
        (_JSON, "JSON"),
        (_MARKUP, "markup"),
        (_ADDRESS, "an address"),
    ):
        if pattern.search(text) and not pattern.search(given):
            return name
    found = _LABEL_LEFT.match(text)
    return "a label" if found is not None and not label_in(given, found[0]) else None
