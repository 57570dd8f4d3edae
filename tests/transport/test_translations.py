"""The table of aiohttp's exceptions: none is missing, none is hidden, and none claims too much."""

from __future__ import annotations

import inspect
import itertools

import aiohttp
import pytest
from aiohttp import client_exceptions

from batch.errors import AttemptFailed, Billed, ExitCode
from batch.transport import TRANSLATIONS, translate

# Exceptions that no completion can meet, and why.
EXCLUDED = {
    "BadContentDispositionHeader": "a warning of multipart parsing",
    "BadContentDispositionParam": "a warning of multipart parsing",
    "EofStream": "aiohttp's own sign for the end of a stream; it becomes StopAsyncIteration",
    "WebSocketError": "no websocket is opened",
    "WSMessageTypeError": "no websocket is opened",
}


def _exported() -> dict[str, type[BaseException]]:
    """Every exception class that aiohttp shows to its users."""
    found = {name: getattr(aiohttp, name) for name in dir(aiohttp)}
    found |= {name: getattr(client_exceptions, name) for name in client_exceptions.__all__}
    return {n: c for n, c in found.items() if inspect.isclass(c) and issubclass(c, BaseException)}


EXPORTED = _exported()
# These are raised before a byte of the request has left.
BEFORE_SENDING = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)


def _translated(kind: type[BaseException]) -> AttemptFailed:
    ours = translate(kind.__new__(kind))
    assert ours is not None, kind
    return ours


def test_the_enumeration_finds_the_exceptions() -> None:
    """The enumeration below sees aiohttp's real tree: its root, its leaves and its websockets are in it."""
    assert {"ClientError", "ClientConnectorDNSError", "TooManyRedirects", "WebSocketError"} <= set(EXPORTED)
    assert len(EXPORTED) > 25


@pytest.mark.parametrize("name", sorted(set(EXPORTED) - set(EXCLUDED)))
def test_every_exception_is_translated(name: str) -> None:
    """Whatever aiohttp raises becomes an `AttemptFailed` that may be asked again."""
    ours = _translated(EXPORTED[name])
    assert ours.retryable
    assert ours.code


@pytest.mark.parametrize("name", sorted(set(EXPORTED) - set(EXCLUDED)))
def test_only_what_was_never_sent_is_not_billed(name: str) -> None:
    """An exception counts as not billed exactly where it is raised before the request leaves."""
    never_sent = issubclass(EXPORTED[name], BEFORE_SENDING)
    assert _translated(EXPORTED[name]).billed is (Billed.NO if never_sent else Billed.MAYBE)


def test_no_entry_hides_a_later_one() -> None:
    """No entry of the table is a subclass of an earlier one, which would always win."""
    kinds = [entry[0] for entry in TRANSLATIONS]
    hidden = [(a, b) for a, b in itertools.combinations(kinds, 2) if issubclass(b, a)]
    assert hidden == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ClientConnectorDNSError", "UNKNOWN_HOST"),
        ("ClientConnectorCertificateError", "TLS_FAILURE"),
        ("ClientConnectorSSLError", "TLS_FAILURE"),
        ("ServerFingerprintMismatch", "TLS_FAILURE"),
        ("ClientProxyConnectionError", "PROXY_FAILURE"),
        ("ClientHttpProxyError", "PROXY_FAILURE"),
        ("ClientConnectorError", "CONNECT_FAILED"),
        ("ConnectionTimeoutError", "CONNECT_TIMEOUT"),
        ("SocketTimeoutError", "READ_TIMEOUT"),
        ("ServerTimeoutError", "READ_TIMEOUT"),
        ("ClientPayloadError", "ANSWER_CUT"),
        ("ServerDisconnectedError", "CONNECTION_LOST"),
        ("ClientOSError", "CONNECTION_LOST"),
        ("ClientConnectionResetError", "CONNECTION_LOST"),
        ("ClientResponseError", "PROTOCOL_ERROR"),
        ("ClientError", "PROTOCOL_ERROR"),
        ("InvalidUrlClientError", "WRONG_ADDRESS"),
        ("NonHttpUrlClientError", "WRONG_ADDRESS"),
    ],
)
def test_each_way_of_failing_has_its_code(name: str, code: str) -> None:
    """The codes are words of a stable interface: each class keeps its own."""
    assert _translated(EXPORTED[name]).code == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TimeoutError("too slow"), "READ_TIMEOUT"),
        (ConnectionResetError(104, "reset"), "CONNECTION_LOST"),
        (OSError(5, "input/output"), "CONNECTION_LOST"),
    ],
)
def test_the_systems_own_errors_may_have_cost(error: OSError, code: str) -> None:
    """An error of the operating system that aiohttp lets through is doubtful, never free."""
    ours = translate(error)
    assert ours is not None
    assert (ours.code, ours.billed, ours.retryable) == (code, Billed.MAYBE, True)


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("x"), AssertionError(), KeyboardInterrupt()])
def test_defects_of_the_program_are_not_failures_of_the_wire(error: BaseException) -> None:
    """A defect or an interrupt is never taken for a failed attempt."""
    assert translate(error) is None


def test_a_wrong_address_stops_the_run() -> None:
    """An address that cannot be used is the user's error: the run ends with the code for usage."""
    assert _translated(aiohttp.InvalidURL).stops_run is ExitCode.USAGE


def test_no_sentence_quotes_the_exception() -> None:
    """The sentence for the user holds nothing of the exception's text."""
    for kind in (aiohttp.ClientError, aiohttp.ClientPayloadError, aiohttp.InvalidURL, OSError, TimeoutError):
        ours = translate(kind("https://example.org/?key=secret"))
        assert ours is not None
        assert "example" not in f"{ours} {ours!r}"
        assert "secret" not in f"{ours} {ours!r}"
