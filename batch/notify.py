"""Telling somebody who is asleep: a health check that is pinged, a webhook that gets the summary.

The health check follows the convention of healthchecks.io, which others share: a POST to `URL/start` at the
start, to `URL` at success and to `URL/fail` at failure, each with a short text. A query stays where it is.

Nothing here raises and nothing waits for long: letters are delivered by threads of their own, because a name
that does not resolve or an answer that drips would outlast every timeout of a socket. Addresses are secrets
(whoever has one can ping it), so sentences name the host alone. Redirects are not followed: what is told is
for the host that the user named. The environment's proxies are used.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import httpx

from batch.errors import ExitCode
from batch.jsontext import JsonObject, encode

# Ends that a sleeping person need not hear of. A budget or a deadline is an orderly end, but rows are left
# that somebody expects in the morning; and a run that found its output held (11) did nothing at all.
_WELL = frozenset({ExitCode.OK, ExitCode.NOTHING_TO_DO})
_MOST_TEXT = 10_000  # healthchecks.io keeps the first 100 kB of a body, others 10 kB


@dataclass(frozen=True, slots=True)
class Timing:
    """How long is tried, in seconds.

    `attempt_s` bounds each phase of one attempt (connecting, each piece of the answer), `waits_s` are the waits
    before the second attempt, the third, …; `patience_s` bounds everything that is done at the end of a run.
    """

    attempt_s: float = 4.0
    waits_s: tuple[float, ...] = (0.3, 1.0)
    patience_s: float = 10.0


def is_failure(code: int) -> bool:
    """Return whether an exit code is one that somebody has to be told of: all but 0 and 9 (nothing to do)."""
    return code not in _WELL


def host_of(url: str) -> str:
    """Return what may be said of an address: its scheme and host."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def ping_address(url: str, what: str) -> str:
    """Return the address of a health check's `start` or `fail`, or its own for "", with its query in place."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + f"/{what}" if what else parts.path
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


class Notifier:
    """Tells a health check and a webhook, whichever there is, how a run begins and ends."""

    def __init__(self, ping_url: str | None, webhook: str | None, timing: Timing | None = None) -> None:
        self._ping_url = ping_url
        self._webhook = webhook
        self._timing = timing or Timing()
        self._start: _Delivery | None = None

    def begin(self, text: str) -> None:
        """Tell the health check that the run begins; returns at once."""
        if self._ping_url is not None:
            self._start = self._ping(self._ping_url, "start", text)

    def end(self, code: int, text: str, summary: JsonObject) -> list[str]:
        """Tell both how the run ended; returns a sentence for each that could not be told.

        Waits for `patience_s` at most, whatever the others do. A start that was lost is not worth a word
        where the end came through.
        """
        until = time.monotonic() + self._timing.patience_s
        letters: list[tuple[str, str, _Delivery]] = []
        if self._webhook is not None:
            posted = _Delivery(self._webhook, encode(summary), "application/json", self._timing)
            letters.append((f"The webhook at {host_of(self._webhook)}", "how the run ended", posted))
        if self._ping_url is not None:
            if self._start is not None:
                self._start.hurry()
                self._start.join(self._timing.patience_s / 2)  # the end must not overtake the start
            ended = self._ping(self._ping_url, "fail" if is_failure(code) else "", text)
            letters.append((f"The health check at {host_of(self._ping_url)}", "how the run ended", ended))
        lost = []
        for whom, what, delivery in letters:
            delivery.join(max(0.0, until - time.monotonic()))
            if delivery.failure:
                lost.append(f"{whom} could not be told {what}: {delivery.failure}.")
        return lost

    def _ping(self, url: str, what: str, text: str) -> _Delivery:
        body = text.encode("utf-8", "replace")[:_MOST_TEXT]
        return _Delivery(ping_address(url, what), body, "text/plain; charset=utf-8", self._timing)


class _Delivery(threading.Thread):
    """A POST that is on its way; `failure` says why it has not arrived, and is empty once it has."""

    def __init__(self, url: str, content: bytes, kind: str, timing: Timing) -> None:
        super().__init__(name="notification", daemon=True)  # the process may end without it
        self.failure = "no answer in time"
        self._url = url
        self._content = content
        self._headers = {"Content-Type": kind, "User-Agent": "chatbatch"}
        self._timing = timing
        self._hurried = threading.Event()
        self.start()

    def hurry(self) -> None:
        """Let no more attempts follow the one that is on its way."""
        self._hurried.set()

    def run(self) -> None:
        """Try until it is delivered or there is no point in trying."""
        try:
            with httpx.Client(timeout=self._timing.attempt_s, follow_redirects=False) as client:
                for wait_s in (*self._timing.waits_s, None):
                    self.failure, again = self._attempt(client)
                    if not again or wait_s is None or self._hurried.wait(wait_s):
                        return
        except (
            Exception
        ) as error:  # a proxy that makes no sense, a certificate file that is none: told, not raised
            self.failure = f"{type(error).__name__}"

    def _attempt(self, client: httpx.Client) -> tuple[str, bool]:
        """Send once; returns why it failed ("" where it did not), and whether trying again may help."""
        try:
            # The answer's body is of no interest, and might be endless.
            with client.stream("POST", self._url, content=self._content, headers=self._headers) as response:
                status = response.status_code
        except httpx.TimeoutException:
            return "no answer in time", True
        except httpx.ProxyError:
            return "the proxy refused", True
        except httpx.ConnectError as error:
            return _unreachable(error), True
        except httpx.TransportError:
            return "the connection broke", True
        if 300 <= status < 400:
            return f"it answered {status}, a redirect, which is not followed", False
        return ("", False) if status < 300 else (f"it answered {status}", status >= 500 or status in {408, 429})


def _unreachable(error: BaseException | None) -> str:
    """Return why there was no connection, from what lies beneath httpx's exception."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return "no secure connection can be made with it"
        if isinstance(error, socket.gaierror):
            return "its name cannot be resolved"
        error = error.__cause__ or error.__context__
    return "it cannot be reached"
