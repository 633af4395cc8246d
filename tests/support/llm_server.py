"""A chat-completions server for tests: answers by rule, and goes wrong as often as it is told.

    python tests/support/llm_server.py --log FILE [--fail 0.2] [--latency 0.0] [--seed 0]

Prints its port, then serves until it is killed. The log has a line a request: outcome and question.
An answer depends on the question alone, so that two runs can be compared.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import sys
import time
from pathlib import Path

from aiohttp import web

FAULTS = ("429", "500", "hang", "reset", "truncated", "empty", "pause")
PAUSE = 2.0
# How often all requests of a time fail, of those that would be answered, and for how long.
BURSTS, BURST = 0.002, 0.3


class Server:
    """State of one server."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.random = random.Random(options.seed)
        self.log = options.log.open("a", buffering=1)
        self.burst_until = 0.0
        # The seed with which each question of a certain kind was asked first.
        self.first_seeds: dict[str, object] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        asked = await request.json()
        question = asked["messages"][-1]["content"]
        if asked["model"] != "tiny":
            return self._error(404, f"the model {asked['model']} does not exist")
        key = request.headers.get("Authorization", "")
        if self.options.key and key != f"Bearer {self.options.key}":
            return self._error(401, f"Incorrect API key provided: {key.removeprefix('Bearer ')}")
        if self.options.status:
            self._note("all", question)
            told = self._error(self.options.status, "Insufficient balance")
            if self.options.status == 200:
                told = web.json_response({"error": {"message": "Insufficient balance"}})
            return told
        if (special := self._special(question)) is not None:
            return special
        if "moody" in question or "stubborn" in question:
            return await self._moody(question, asked.get("seed"))
        # Answers come in another order than questions.
        await asyncio.sleep(self.options.latency * self.random.uniform(0.9, 1.1))
        if time.monotonic() < self.burst_until:
            return self._fault("burst", question, request)
        if self.random.random() < self.options.fail:
            name = self.random.choice(FAULTS)
            if name in ("hang", "pause"):
                await asyncio.sleep(PAUSE)
                if name == "pause" and request.transport and not request.transport.is_closing():
                    return self._good(question)
                return self._fault("reset", question, request)
            return self._fault(name, question, request)
        if self.options.fail and self.random.random() < BURSTS:
            self.burst_until = time.monotonic() + BURST
            return self._fault("burst", question, request)
        return self._good(question)

    def _special(self, question: str) -> web.StreamResponse | None:
        """What captions with certain words get, always."""
        if "fivehundred" in question:
            self._note("500", question)
            return self._error(500, "it broke")
        if "flagged" in question:
            self._note("403", question)
            return self._error(403, "moderated")
        if "torn" in question and question.startswith("Here is"):
            self._note("ok", question)
            found = json.dumps(completion("Here is: one half"))
            return web.Response(
                text=found.replace("half", "\\ud83d half"), content_type="application/json"
            )
        return None

    async def _moody(self, question: str, seed: object) -> web.Response:
        """A refusal to a question; to a moody one an answer when it is asked with another seed."""
        await asyncio.sleep(self.options.latency)
        self._note(f"seed={seed}", question)
        found = completion(question)
        first = self.first_seeds.setdefault(question, seed)
        if "stubborn" in question or seed == first:
            found["choices"][0]["message"]["content"] = "I'm sorry, I can't help with that."  # type: ignore[index]
        return web.json_response(found)

    def _fault(self, name: str, question: str, request: web.Request) -> web.StreamResponse:
        self._note(name, question)
        if name == "429":
            after = self.random.choice(("0", "1"))
            return self._error(429, "slow down", {"Retry-After": after})
        if name == "500":
            return self._error(500, "it broke")
        if name == "burst":
            return self._error(503, "overloaded")
        whole = json.dumps(completion(question))
        if name == "truncated":
            return web.Response(text=whole[: len(whole) // 2], content_type="application/json")
        if name == "empty":
            return web.json_response({**completion(question), "choices": []})
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _good(self, question: str) -> web.Response:
        self._note("ok", question)
        found = completion(question)
        if self.random.random() < 0.1:  # the same answer twice
            found["choices"] = found["choices"] * 2
        return web.json_response(found)

    def _error(
        self, status: int, message: str, headers: dict[str, str] | None = None
    ) -> web.Response:
        return web.json_response({"error": {"message": message}}, status=status, headers=headers)

    def _note(self, outcome: str, question: str) -> None:
        digest = hashlib.sha256(question.encode()).hexdigest()[:16]
        self.log.write(f"{outcome} {digest}\n")


def negated(text: str) -> str:
    """A negation of a caption, or what is none where the caption has a certain word."""
    for word, said in (
        ("antonym", f"the opposite of {text}"),
        ("parroted", f"{text}."),
        ("mirrored", " ".join(reversed(text.split()))),
        ("offtopic", "nothing here"),
        ("foreign", "\u043d\u0435\u0442 \u0441\u043e\u0431\u0430\u043a\u0438"),
        ("labelled", f"**Negated caption:** no {text}"),
    ):
        if word in text:
            return said
    return f"no {text}"


def completion(question: str) -> dict[str, object]:
    """The answer to a question, as a chat completion."""
    text = question.rpartition(": ")[2]
    words = text.split()
    said = " ".join(reversed(words)) if question.startswith("Here is") else f"so {text}"
    if question.startswith("Negate"):
        said = negated(text)
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": said},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": len(question.split()),
            "completion_tokens": len(words),
            "total_tokens": len(question.split()) + len(words),
        },
    }


async def serve(options: argparse.Namespace) -> None:
    """Serve on a free port of the loopback until killed."""
    application = web.Application()
    application.router.add_post("/v1/chat/completions", Server(options).answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", options.port)
    await site.start()
    (socket,) = site._server.sockets  # type: ignore[union-attr]
    print(socket.getsockname()[1], flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--fail", type=float, default=0.0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="")
    parser.add_argument("--status", type=int, default=0, help="what every request gets")
    asyncio.run(serve(parser.parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
