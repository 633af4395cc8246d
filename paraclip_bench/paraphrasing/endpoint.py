"""Any OpenAI-compatible endpoint, through the official client: OpenAI, vLLM, Ollama, llama.cpp …"""

from __future__ import annotations

import base64
import html
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from paraclip_bench.errors import UsageError
from paraclip_bench.files import parse_json
from paraclip_bench.paraphrasing.job import Settings
from paraclip_bench.paraphrasing.service import (
    REJECTED,
    FatalServiceError,
    Question,
    Reply,
    RetryableError,
)
from paraclip_bench.proxies import all_proxies, certificate_problem, is_local, proxy_for

KEY_VARIABLE = "OPENAI_API_KEY"
_URL_VARIABLE = "OPENAI_BASE_URL"
_OPENAI = "https://api.openai.com/v1"
# Statuses that the same request may not meet again.
_PASSING = frozenset({408, 409, 425, 429})
_OVER_QUOTA = "insufficient_quota"
# A longer one is no paraphrase, whatever was thought before it.
_LONGEST = 200_000
# No answer has more tokens: such a count is a fault of the service, and is not summed up.
_MOST_TOKENS = 10**7
# No service asks to wait for longer than a year, in seconds.
_LONGEST_AFTER = 366 * 86_400.0
# What reading something raises that is not a chat completion.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError)


class ChatCompletions:
    """Chat completions of one model. One attempt a question: who asks decides what comes next."""

    def __init__(
        self,
        settings: Settings,
        *,
        base_url: str | None = None,
        key_variable: str = KEY_VARIABLE,
        timeout: float = 60.0,
    ) -> None:
        """Raises `UsageError` for no address or no key; a key is needed for OpenAI's alone."""
        base_url = base_url or os.environ.get(_URL_VARIABLE) or _OPENAI
        try:
            address = urlsplit(base_url)
            hostname = address.hostname
        except ValueError:
            address, hostname = urlsplit(""), None
        try:
            has_port = address.port is None or 0 < address.port < 65_536
        except ValueError:
            has_port = False
        if address.scheme not in ("http", "https") or not hostname or not has_port:
            raise UsageError(
                f"--base-url {shown_url(base_url)} is not an address; write it like "
                "http://localhost:8000/v1"
            )
        key = os.environ.get(key_variable, "").strip()
        if not key and hostname == urlsplit(_OPENAI).hostname:
            raise UsageError(
                f"there is no key in the environment variable {key_variable}; set it, or name "
                "another service with --base-url"
            )
        if not key.isascii():
            raise UsageError(
                f"the key in the environment variable {key_variable} has letters that no key has; "
                "copy it again, without quotes"
            )
        # The client prepares for every proxy that is set, whichever this address needs.
        for each in all_proxies().values():
            if problem := each.problem():
                raise UsageError(problem)
        if unreadable := certificate_problem(is_needed=address.scheme == "https"):
            raise UsageError(unreadable[1])
        import openai

        self.name = shown_url(base_url)
        self._settings, self._secrets = settings, _secrets(key, address)
        self._proxy, self._host = proxy_for(base_url), hostname
        if self._proxy is not None:
            self._secrets = _longest_first([*self._secrets, *_secrets("", self._proxy.parts)])
        self.rejects_alone = False
        self._key_variable = key_variable
        self._client = openai.AsyncOpenAI(
            api_key=key or "none", base_url=base_url, timeout=timeout, max_retries=0
        )

    async def ask(self, question: Question) -> Reply:
        """One request. See `Service`."""
        import openai

        try:
            answer = await self._client.chat.completions.with_raw_response.create(
                model=self._settings.llm,
                messages=_messages(self._settings, question),
                extra_body=_sampling(self._settings.sampling, question),
            )
            return read_completion(_parsed(answer.content))
        # From None: what the client raises holds what was sent and what came, the key among it.
        except openai.APIStatusError as error:
            status, headers, said = error.status_code, error.response.headers, _sentence(error)
            # A proxy that does not know a host of this network answers in its own name.
            told = self._clean(said) + (self._by_proxy() if is_local(self._host) else "")
            return self._status(status, headers, told, getattr(error, "code", None))
        except openai.APITimeoutError:
            raise RetryableError(f"no answer in time{self._by_proxy()}", down=True) from None
        except (openai.APIConnectionError, ConnectionError) as error:
            cause = error.__cause__ or error
            # httpx's name for a body that is not compressed as its header says.
            if type(cause).__name__ == "DecodingError":
                told = f"an answer that cannot be read (its compressed body is broken: {cause})"
                raise RetryableError(self._clean(told), down=True) from None
            told = self._clean(f"no connection: {cause}") + self._by_proxy()
            raise RetryableError(told, down=True) from None
        except (*UNREADABLE, openai.APIError) as error:
            raise RetryableError(self._clean(f"an answer that cannot be read ({error})")) from None

    def _status(self, status: int, headers: Mapping[str, str], said: str, code: Any) -> Reply:
        """What a status other than success means; returns where it is about this question."""
        if status == 401:
            raise FatalServiceError(
                f"{self.name} refuses the key (401: {said}); check the environment variable "
                f"{self._key_variable}"
            ) from None
        if status == 402 or code == _OVER_QUOTA:
            raise FatalServiceError(
                f"{self.name} says that the quota is used up ({status}: {said}); "
                "raise it there and run the same command again"
            ) from None
        if status == 404:
            raise FatalServiceError(
                f"{self.name} knows no model {self._settings.llm!r}, or is not an "
                f"OpenAI-compatible address (404: {said}); check --llm and --base-url (it mostly "
                "ends in /v1)"
            ) from None
        if 300 <= status < 400:
            raise FatalServiceError(
                f"{self.name} redirects to nowhere that can be followed ({status}: {said}); name "
                "the address of the service itself with --base-url"
            ) from None
        if status in _PASSING or status >= 500:
            after = _retry_after(headers)
            raise RetryableError(f"{status}: {said}", after=after, down=status >= 500) from None
        return Reply("", self._settings.llm, rejected=f"{REJECTED} ({status}: {said})")

    def _by_proxy(self) -> str:
        """For a failure: that the request went through a proxy, and how it goes without."""
        if self._proxy is None:
            return ""
        return f", through {self._proxy}; set NO_PROXY={self._host} to do without it"

    def _clean(self, text: str) -> str:
        """A message without anything secret, on one line, not longer than a line."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        # Services echo keys with their middle left out.
        text = re.sub(r"\b[\w-]*\*{3,}[\w*-]*", "[key]", text)
        return " ".join(readable(text).split())[:200]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def request_body(settings: Settings, question: Question) -> dict[str, Any]:
    """The request as JSON, for batch files."""
    return {
        "model": settings.llm,
        "messages": _messages(settings, question),
        **_sampling(settings.sampling, question),
    }


def _parsed(content: bytes) -> Any:
    """The JSON of an answer; `ValueError` says what came in its place."""
    try:
        return parse_json(content)
    except ValueError as error:
        text = content.decode("utf-8", "replace").strip()
        if (page := _page(text)) is not None:
            raise ValueError(f"it is {page}, not JSON") from None
        raise ValueError(f"it is no whole JSON: {error}" if text else "it is empty") from None


def _page(text: str) -> str | None:
    """A web page by its title; None for other texts."""
    if not re.match(
        r"(?:<\?xml[^>]*>\s*)?<(?:!doctype html|html|head|body)\b", text, re.IGNORECASE
    ):
        return None
    title = re.search(r"<(title|h1)\b[^>]*>([^<]{1,200})", text, re.IGNORECASE)
    return "a web page" + (f" ({html.unescape(title[2]).strip()})" if title else "")


def read_completion(found: Any) -> Reply:
    """The first choice of a completion; one of `UNREADABLE` where there is none.

    A choice has a message (chat completions), or a text (completions, as some local servers send).
    """
    if not isinstance(found, dict):
        raise ValueError(error_sentence(found) or f"it is to be an object, and is {_what(found)}")
    choices = found.get("choices")
    if not isinstance(choices, list) or not choices:
        told = error_sentence(found) if not choices else None
        expected = f"its choices are to be a list with an answer, and are {_what(choices)}"
        raise ValueError(told or expected)
    choice = choices[0]
    if not isinstance(choice, dict):
        raise ValueError(f"a choice is to be an object, and is {_what(choice)}")
    message = choice.get("message")
    if message is None and isinstance(choice.get("text"), str):
        message = {"content": choice["text"]}
    if not isinstance(message, dict):
        raise ValueError(f"a choice's message is to be an object, and is {_what(message)}")
    text, usage = _text_of(message.get("content")), found.get("usage")
    rejected = fault = None
    if choice.get("finish_reason") == "content_filter":
        rejected = f"{REJECTED} (its content filter)"
    elif text is None and message.get("refusal"):
        fault = "a refusal"
    elif choice.get("finish_reason") == "length":
        fault = "cut off (max_tokens is too low for this model)"
    if text is not None and not isinstance(text, str):
        raise ValueError(f"a message's content is to be a text, and is {_what(text)}")
    if text is not None and len(text) > _LONGEST:
        text, fault = "", f"an answer of {len(text):,} characters"
    return Reply(
        readable(text or ""),
        readable(str(found.get("model") or "")),
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        rejected,
        fault,
    )


def _what(found: Any) -> str:
    """What JSON holds, in words."""
    if isinstance(found, list):
        return "a list" if found else "an empty list"
    names = {str: "a text", dict: "an object", bool: "true or false", int: "a number"}
    return "null or missing" if found is None else names.get(type(found), "a number")


def _text_of(content: Any) -> Any:
    """The text of a message's content, which may come in parts; else the content as it is."""
    if not isinstance(content, list) or not content:
        return content
    parts = [part.get("text") if isinstance(part, dict) else None for part in content]
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if len(texts) == len(parts) else content


def _count(usage: Any, name: str) -> int | None:
    """A number of tokens; None where a service says none, or one that cannot be."""
    found = usage.get(name) if isinstance(usage, dict) else None
    if not isinstance(found, int) or isinstance(found, bool):
        return None
    return found if 0 <= found <= _MOST_TOKENS else None


def error_sentence(found: Any) -> str | None:
    """What a service says went wrong, however deep it lies; None where it says nothing."""
    while isinstance(found, dict):
        found = next(
            (found[k] for k in ("error", "message", "detail", "code") if found.get(k)), None
        )
    return None if found is None or isinstance(found, list) else str(found)


def readable(text: str) -> str:
    """The text without halves of characters, which no file can hold, and without control and
    direction marks, which no caption has."""
    return _UNSEEN.sub("", text.encode("utf-8", "replace").decode("utf-8"))


_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u202a-\u202e\u2066-\u2069]")


def shown_url(url: str) -> str:
    """An address without the user, the password and the query that it may hold."""
    scheme, slashes, rest = url.rpartition("://")
    return scheme.rpartition("@")[2] + slashes + rest.rpartition("@")[2].partition("?")[0]


def _messages(settings: Settings, question: Question) -> Any:
    return [{"role": "user", "content": settings.prompts[question.step].fill(question.text)}]


def _sampling(sampling: Mapping[str, Any], question: Question) -> dict[str, Any]:
    """Parameters of a request; one that is None is not sent, a seed differs from row to row.

    A question that is asked once more has a seed, unless the sampling says that none is sent.
    """
    sent = {name: value for name, value in sampling.items() if value is not None}
    if question.again and "seed" not in sampling:
        sent["seed"] = 0
    if "seed" in sent:
        sent["seed"] = (int(sent["seed"]) + question.seed) % 2**31
    return sent


def _secrets(key: str, address: SplitResult) -> list[str]:
    """What no message may have: the key, the password and the query of an address.

    As they are written, as they are meant, and as a header has them: in base64, of either alphabet
    and with or without its padding.
    """
    # A key of a letter or two is a local service's, and a part of many words.
    found = {key if len(key) > 5 else "", address.username, address.password, address.query}
    found |= {value for _, value in parse_qsl(address.query)}
    found |= {unquote(secret) for secret in found if secret}
    user, password = unquote(address.username or ""), unquote(address.password or "")
    for secret in (f"{user}:{password}", password, key, f":{key}", f"{key}:"):
        if len(secret) > 1:
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                # Without its padding it is found with it, too.
                found.add(encode(secret.encode()).decode().rstrip("="))
    return _longest_first([secret for secret in found if secret])


def _longest_first(secrets: Sequence[str]) -> list[str]:
    """So that none is left in half because another is a part of it."""
    return sorted(secrets, key=len, reverse=True)


def _sentence(error: Any) -> str:
    """What a service says of an error, without the client's words around it."""
    if isinstance(error.body, str) and (page := _page(error.body.strip())) is not None:
        return page
    return error_sentence(error.body) or str(error.body or error.message or "no reason given")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date (RFC 9110, 10.2.3)."""
    import email.utils
    import time

    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            after = float(value) * unit
        except ValueError:
            try:
                date = email.utils.parsedate_tz(value)
                after = email.utils.mktime_tz(date) - time.time() if date else math.nan
            except (ValueError, OverflowError, TypeError, IndexError):
                after = math.nan
        # What no service means is as if it was not there.
        if after <= _LONGEST_AFTER:
            return max(0.0, after)
    return None
