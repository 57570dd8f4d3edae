"""Notifications: which address is told what, when it is tried again, and that nothing of it hurts."""

from __future__ import annotations

import time

import pytest
from listener import Listener, listening, nobody

from batch.errors import ExitCode
from batch.notify import Notifier, Timing, host_of, is_failure, ping_address

SECRET = "5f0c-secret"
FAST = Timing(attempt_s=0.3, waits_s=(0.01, 0.02), patience_s=1.5)


def _tell(ping: str | None, webhook: str | None, code: int = 0, timing: Timing = FAST) -> list[str]:
    notifier = Notifier(ping, webhook, timing)
    notifier.begin("begins")
    return notifier.end(code, "ended", {"text": "ended", "exit_code": code})


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("code", list(ExitCode))
def test_only_success_and_nothing_to_do_are_no_failure(code: ExitCode) -> None:
    """Every exit code but 0 and 9 is one that somebody has to be told of, a budget and a deadline too."""
    assert is_failure(code) == (code not in (0, 9))


@pytest.mark.parametrize(
    ("url", "what", "address"),
    [
        ("https://hc-ping.com/uuid", "start", "https://hc-ping.com/uuid/start"),
        ("https://hc-ping.com/uuid", "", "https://hc-ping.com/uuid"),
        ("https://hc-ping.com/uuid/", "fail", "https://hc-ping.com/uuid/fail"),
        ("https://hc-ping.com/uuid?rid=1&create=1", "fail", "https://hc-ping.com/uuid/fail?rid=1&create=1"),
        ("http://host:8000/p%20q?a=/b#part", "start", "http://host:8000/p%20q/start?a=/b"),
        ("https://host", "start", "https://host/start"),
    ],
)
def test_the_suffix_goes_to_the_path(url: str, what: str, address: str) -> None:
    """`/start` and `/fail` extend the path, and the query stays behind it."""
    assert ping_address(url, what) == address


def test_the_host_is_all_that_is_said_of_an_address() -> None:
    """Neither path nor query nor password of an address is named."""
    assert host_of(f"https://me:{SECRET}@hooks.example:8443/{SECRET}?t={SECRET}") == "https://hooks.example:8443"


@pytest.mark.parametrize(
    ("code", "end"), [(0, ""), (9, ""), (3, "/fail"), (8, "/fail"), (10, "/fail"), (143, "/fail")]
)
def test_start_and_end_are_told_in_their_order(code: int, end: str) -> None:
    """The health check hears the start, then the end at the address that the exit code calls for."""
    with listening(delay_s=0.05) as check:
        assert _tell(f"{check.url}/{SECRET}?rid=7", None, code) == []
    assert check.targets == [f"/{SECRET}/start?rid=7", f"/{SECRET}{end}?rid=7"]
    assert [(told.method, told.body) for told in check.told] == [("POST", "begins"), ("POST", "ended")]


def test_the_webhook_gets_the_summary_as_json() -> None:
    """The webhook gets one POST of JSON, at the end and whatever the end was."""
    with listening() as hook:
        assert _tell(None, f"{hook.url}/T0/B0?x=1", 3) == []
    (told,) = hook.told
    assert (told.method, told.target, told.kind) == ("POST", "/T0/B0?x=1", "application/json")
    assert told.json() == {"text": "ended", "exit_code": 3}


def test_without_addresses_nothing_is_done() -> None:
    """Without a health check and a webhook the end returns at once with nothing to say."""
    began = time.monotonic()
    assert _tell(None, None) == []
    assert time.monotonic() - began < 0.2


@pytest.mark.parametrize(
    ("statuses", "tries"), [((500, 503, 200), 3), ((429, 204), 2), ((502, 502, 502), 3), ((404,), 1)]
)
def test_what_may_pass_is_tried_again(statuses: tuple[int, ...], tries: int) -> None:
    """5xx and 429 are tried again, three times in all; other refusals are not."""
    with listening(statuses=statuses) as hook:
        lost = _tell(None, f"{hook.url}/{SECRET}")
    assert len(hook.told) == tries
    assert bool(lost) == (statuses[-1] >= 300)
    assert all(str(statuses[-1]) in sentence and SECRET not in sentence for sentence in lost)


def test_redirects_are_not_followed() -> None:
    """A redirect is a failure to tell: nothing is sent to another address than the one that was named."""
    with listening() as other, listening(statuses=(302,), location=f"{other.url}/there") as hook:
        (lost,) = _tell(None, hook.url)
    assert "302" in lost
    assert "redirect" in lost
    assert (len(hook.told), other.told) == (1, [])


@pytest.mark.parametrize("how", [{"delay_s": 30.0}, {"drip": True}], ids=["silent", "drips"])
def test_a_server_that_does_not_answer_costs_seconds_at_most(how: dict[str, object]) -> None:
    """Neither silence nor an answer that never ends holds up the end beyond the patience, and both are told."""
    with listening(**how) as bad:
        began = time.monotonic()
        lost = _tell(f"{bad.url}/{SECRET}", f"{bad.url}/{SECRET}", timing=Timing(0.2, (0.01,), 0.6))
        took = time.monotonic() - began
    assert took < 1.2
    assert [sentence.split(" at ")[0] for sentence in lost] == ["The webhook", "The health check"]
    assert all(bad.url in sentence and SECRET not in sentence for sentence in lost)


def test_a_start_does_not_wait() -> None:
    """Telling the start returns at once, however slow the other side is."""
    with listening(delay_s=30.0) as check:
        began = time.monotonic()
        Notifier(check.url, None, FAST).begin("begins")
        assert time.monotonic() - began < 0.2


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://does-not-exist.invalid/x", "its name cannot be resolved"),
        ("http://127.0.0.1:1/x", "it cannot be reached"),
        ("https://127.0.0.1:1/x", "it cannot be reached"),
    ],
)
def test_nobody_there_is_a_sentence(url: str, why: str) -> None:
    """An address where nobody is makes one sentence that says why, and raises nothing."""
    (lost,) = _tell(url + SECRET, None, timing=Timing(0.3, (), 3.0))
    assert lost.endswith(f"could not be told how the run ended: {why}.")
    assert SECRET not in lost


def test_a_server_without_tls_is_a_sentence() -> None:
    """A server that speaks no TLS at an https address is named as that."""
    with listening() as plain:
        (lost,) = _tell(None, plain.url.replace("http", "https"), timing=Timing(0.3, (), 1.0))
    assert "no secure connection" in lost


def test_a_lost_start_is_not_worth_a_word_where_the_end_came_through() -> None:
    """Nothing is said of a start that was refused once the end was accepted."""
    with listening(statuses=(404, 200)) as check:
        assert _tell(check.url + "/x", None) == []
    assert check.targets == ["/x/start", "/x"]


def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """With HTTP_PROXY the request goes to the proxy, except for hosts in NO_PROXY."""
    with listening() as proxy, listening() as hook:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert _tell(None, "http://hooks.example/T0") == []
        assert proxy.targets == ["http://hooks.example/T0"]
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert _tell(None, f"{hook.url}/T1") == []
    assert (len(proxy.told), hook.targets) == (1, ["/T1"])


def test_a_proxy_that_makes_no_sense_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment that no client can use makes a sentence, not an exception."""
    monkeypatch.setenv("HTTP_PROXY", "nonsense://proxy:1")
    monkeypatch.setenv("http_proxy", "nonsense://proxy:1")
    (lost,) = _tell(None, "http://hooks.example/T0")
    assert "The webhook at http://hooks.example could not be told" in lost


def test_a_long_text_is_cut() -> None:
    """A text beyond what health checks keep is cut to 10,000 bytes."""
    with listening() as check:
        assert Notifier(check.url, None, FAST).end(0, "x" * 50_000, {}) == []
    assert [len(told.body) for told in check.told] == [10_000]


def test_nobody_listens_at_the_address_of_nobody() -> None:
    """A server that has gone refuses: the sentence says that it cannot be reached."""
    (lost,) = _tell(None, nobody(), timing=Timing(0.3, (), 1.0))
    assert "cannot be reached" in lost


def test_an_empty_listener_has_no_targets() -> None:
    """The tests' own server starts with nothing told."""
    assert Listener().targets == []
