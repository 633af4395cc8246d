"""What a model's template writes into an answer: thoughts with their tags, and special tokens."""

from __future__ import annotations

import html
import re
import unicodedata

BLANK = " \t\n\r\f\v\u00a0\u200b\u200e\u200f\ufeff"
"""Characters that show nothing."""

# --- thoughts --------------------------------------------------------------------------------

_THOUGHT = (
    r"(?:seed:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad|"
    r"antthinking|inner_monologue|rationale)"
)
# In brackets a title may be meant by the others of these words.
_IN_BRACKETS = r"think(?:ing)?|thoughts?|reasoning"
_OPENS = re.compile(
    rf"<{_THOUGHT}(?:\s[^<>]*)?>|\[(?:{_IN_BRACKETS})\]|◁think▷|<\|channel>\s*thought\b"
    r"|<\|(?:begin_of_thought|start_thinking|inner_prefix|think(?:ing)?)\|>",
    re.IGNORECASE,
)
_CLOSES = re.compile(
    rf"</{_THOUGHT}\s*>|\[/(?:{_IN_BRACKETS})\]|◁/think▷|<channel\|>"
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


_ANSWER_MARK = re.compile(r"</?(?:(?:final_)?answer|output|response|paraphrase\w*)>", re.I)
# A tag of a thought or an answer in wide characters, or in those of HTML.
_DISGUISED = re.compile(r"(?:\uff1c|&lt;)[^<>&\uff1c\uff1e\n]{1,24}(?:\uff1e|&gt;)")


def _undisguised(found: re.Match[str]) -> str:
    tag = unicodedata.normalize("NFKC", html.unescape(found[0]))
    known = _OPENS.fullmatch(tag) or _CLOSES.fullmatch(tag) or _ANSWER_MARK.fullmatch(tag)
    return tag if known else found[0]


def without_thoughts(text: str) -> str:
    """What stands behind an answer's thoughts; nothing where they do not end."""
    text = _DISGUISED.sub(_undisguised, text)
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
        text = after if TOKEN.sub("", after).strip(BLANK) else _without_pairs(text)
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
TOKEN = re.compile(
    rf"{_BARRED}|</?(?:s|bos|eos|pad|unk|sep|cls|mask)>|<(?:start|end)_of_(?:turn|utterance|text)>"
    r"|<\|?endoftext\|?>|<(?:extra_id_\d+|0x[0-9a-f]{2}|end)>|\[/?INST\]|<</?SYS>>"
    r"|\[(?:BOS|EOS|PAD|UNK|SEP|CLS|MASK)\]|\[e~\[|\]~b\]|<think\s*/>",
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


def without_tokens(text: str) -> str:
    """Without tokens in front, and cut where the answer's turn ends. Others inside it stay."""
    text = text.lstrip(BLANK)
    while (token := TOKEN.match(text)) is not None:
        text = text[token.end() :]
        if (role := _ROLE.match(text)) is not None:
            text = text[role.end() :]
        text = text.lstrip(BLANK)
    if (end := _ENDS.search(text)) is not None:
        text = text[: end.start()]
    tokens = list(TOKEN.finditer(text))
    while tokens and not text[tokens[-1].end() :].strip(BLANK):
        text = text[: tokens.pop().start()]
    return text
