"""Renewal: in good time, once for all workers, on a refusal, and past failures, without disturbing anybody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from clocks import FakeClock

from batch.auth import Credentials, Keeper, Token
from batch.auth.keeper import Obtain
from batch.errors import AttemptFailed, Billed, CredentialsError, ExitCode, ServiceUnavailable

pytestmark = pytest.mark.anyio

HOUR = 3600.0
WORKERS = 64


@dataclass
class Issuer:
    """Issues tokens of `life` seconds, each after `takes` seconds; raises `failure` where there is one."""

    clock: FakeClock
    life: float | None = HOUR
    takes: float = 2.0
    failure: Exception | None = None
    same: bool = False
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    expiries: dict[str, float] = field(default_factory=dict)

    async def obtain(self) -> Token:
        self.times.append(self.clock.now)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.clock.sleep(self.takes)
            if self.failure is not None:
                raise self.failure
        finally:
            self.at_once -= 1
        value = "t1.same" if self.same else f"t1.token-{len(self.times)}"
        self.expiries[value] = self.clock.time() + (self.life or HOUR)
        return Token(value, None if self.life is None else self.expiries[value])


@dataclass
class Service:
    """Takes tokens that have not expired and are not `revoked`, and notes every status and token."""

    issuer: Issuer
    takes: float = 20.0
    revoked: set[str] = field(default_factory=set)
    statuses: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    folders: list[str | None] = field(default_factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        token = request.headers["authorization"].removeprefix("Bearer ")
        lives = self.issuer.clock.time() < self.issuer.expiries.get(token, 0.0) and token not in self.revoked
        self.tokens.append(token)
        self.folders.append(request.headers.get("x-folder-id"))
        await self.issuer.clock.sleep(self.takes)
        self.statuses.append(200 if lives else 401)
        return httpx.Response(self.statuses[-1], content=b"{}")


@asynccontextmanager
async def _client(
    service: Service, keeper: Keeper, *, own_folder: bool = True
) -> AsyncIterator[httpx.AsyncClient]:
    credentials = Credentials("IAM token", "test", keeper=keeper, own_folder=own_folder)
    transport = httpx.MockTransport(service.answer)
    async with httpx.AsyncClient(transport=transport, auth=credentials.auth("b1g"), trust_env=False) as client:
        yield client


async def _ask(client: httpx.AsyncClient) -> int:
    return (await client.post("http://service.invalid/", content=b"{}")).status_code


def _parts(**issuer: object) -> tuple[FakeClock, Issuer, Service, Keeper]:
    clock = FakeClock()
    made = Issuer(clock, **issuer)  # type: ignore[arg-type]
    return clock, made, Service(made), Keeper(made.obtain, clock)


@pytest.mark.parametrize(("life", "renewals"), [(HOUR, (14, 16)), (12 * HOUR, (13, 14)), (None, (13, 14))])
async def test_fourteen_hours(life: float | None, renewals: tuple[int, int]) -> None:
    """A night of 14 hours meets no 401; renewals are about one an hour and not one an hour and worker."""
    clock, issuer, service, keeper = _parts(life=life)
    if life is None:
        issuer.expiries = _Long()
    end = clock.now + 14 * HOUR

    async def work(client: httpx.AsyncClient) -> None:
        while clock.now < end:
            assert await _ask(client) == 200
            await clock.sleep(380.0)

    async with _client(service, keeper) as client, anyio.create_task_group() as tasks:
        for _ in range(WORKERS):
            tasks.start_soon(work, client)
    assert len(service.statuses) >= 14 * 9 * WORKERS
    assert set(service.statuses) == {200}
    assert renewals[0] <= len(issuer.times) <= renewals[1]
    assert keeper.renewals == len(issuer.times)
    assert issuer.most_at_once == 1


class _Long(dict[str, float]):
    """Expiries of tokens whose issuer does not say them: they live for the twelve hours of the service."""

    def __setitem__(self, token: str, expiry: float) -> None:
        super().__setitem__(token, expiry + 11 * HOUR)


async def test_the_first_token_is_obtained_once_for_all() -> None:
    """Workers that begin together wait for one token, and all leave with it."""
    _, issuer, service, keeper = _parts()
    async with _client(service, keeper) as client, anyio.create_task_group() as tasks:
        for _ in range(WORKERS):
            tasks.start_soon(_ask, client)
    assert service.statuses == [200] * WORKERS
    assert set(service.tokens) == {"t1.token-1"}
    assert len(issuer.times) == 1


async def test_while_one_renews_the_others_go_on() -> None:
    """A token that is due and alive is used by everybody but the one who renews it."""
    clock, issuer, service, keeper = _parts(takes=50.0)
    async with _client(service, keeper) as client:
        await _ask(client)
        clock.now += 3300.0
        began, ended = clock.now, list[float]()

        async def ask() -> None:
            assert await _ask(client) == 200
            ended.append(clock.now - began)

        async with anyio.create_task_group() as tasks:
            for _ in range(WORKERS):
                tasks.start_soon(ask)
    assert sorted(ended) == [20.0] * (WORKERS - 1) + [70.0]
    assert service.tokens[1:] == ["t1.token-1"] * (WORKERS - 1) + ["t1.token-2"]
    assert len(issuer.times) == 2


@pytest.mark.parametrize("failure", [ServiceUnavailable("away"), CredentialsError("no")])
async def test_a_failing_renewal_is_tried_again_while_the_old_token_lives(failure: Exception) -> None:
    """Ten minutes of failing renewals cost no row, and are tried with growing pauses, not for every request."""
    clock, issuer, service, keeper = _parts(takes=0.0)
    service.takes = 0.0
    async with _client(service, keeper) as client:
        await _ask(client)
        clock.now += 0.9 * HOUR + 1
        issuer.failure = failure
        failing_until = clock.now + 300
        while clock.now < failing_until:
            assert await _ask(client) == 200
            await clock.sleep(1.0)
        assert set(service.tokens) == {"t1.token-1"}
        pauses = [later - earlier for earlier, later in zip(issuer.times[1:], issuer.times[2:], strict=False)]
        assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]
        issuer.failure = None
        await clock.sleep(60.0)
        assert await _ask(client) == 200
    assert service.tokens[-1] == "t1.token-10"
    assert keeper.failures == 8


@pytest.mark.parametrize(
    ("failure", "code", "stops"),
    [
        (ServiceUnavailable("IAM is away"), "TOKEN_UNAVAILABLE", None),
        (CredentialsError("IAM says no"), "TOKEN_REFUSED", ExitCode.CREDENTIALS),
    ],
)
async def test_without_any_token_requests_fail_unsent(
    failure: Exception, code: str, stops: ExitCode | None
) -> None:
    """A dead token that cannot be renewed fails requests unbilled; one attempt a second, however many ask."""
    clock, issuer, service, keeper = _parts(failure=failure)
    errors: list[AttemptFailed] = []

    async def ask(client: httpx.AsyncClient) -> None:
        with pytest.raises(AttemptFailed, match=str(failure)) as failed:
            await _ask(client)
        errors.append(failed.value)

    async with _client(service, keeper) as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(WORKERS):
                tasks.start_soon(ask, client)
        assert len(issuer.times) == 1
        clock.now += 1.0
        await ask(client)
        assert len(issuer.times) == 2
        issuer.failure = None
        clock.now += 1.0
        assert await _ask(client) == 200
    assert len(errors) == WORKERS + 1
    assert {(error.code, error.stops_run, error.billed, error.retryable) for error in errors} == {
        (code, stops, Billed.NO, True)
    }
    assert service.statuses == [200]


async def test_a_refused_token_is_renewed_once_and_everybody_asks_again() -> None:
    """64 requests that are refused with 401 make one renewal, and each is sent once more with the new token."""
    clock, issuer, service, keeper = _parts()
    async with _client(service, keeper) as client:
        await _ask(client)
        service.revoked.add("t1.token-1")
        statuses: list[int] = []

        async def ask(after: float) -> None:
            await clock.sleep(after)
            statuses.append(await _ask(client))

        async with anyio.create_task_group() as tasks:
            for number in range(WORKERS):
                tasks.start_soon(ask, number / 4)  # the first are refused while the last are being sent
    assert statuses == [200] * WORKERS
    assert len(issuer.times) == 2
    assert service.statuses.count(401) == WORKERS
    assert service.tokens.count("t1.token-2") == WORKERS


async def test_a_second_refusal_goes_through() -> None:
    """A service that refuses the new token as well is not asked a third time: the answer stands."""
    _, issuer, service, keeper = _parts()
    service.revoked |= {"t1.token-1", "t1.token-2"}
    async with _client(service, keeper) as client:
        assert await _ask(client) == 401
    assert service.tokens == ["t1.token-1", "t1.token-2"]
    assert len(issuer.times) == 2


async def test_the_same_token_again_is_not_sent_again() -> None:
    """Where renewing brings the very token that was refused, the refusal stands and is not repeated."""
    _, issuer, service, keeper = _parts(same=True)
    service.revoked.add("t1.same")
    async with _client(service, keeper) as client:
        assert await _ask(client) == 401
    assert (len(service.tokens), len(issuer.times)) == (1, 2)


async def test_a_refusal_that_cannot_be_mended_is_an_outage_where_iam_is_away() -> None:
    """A 401 whose renewal fails by an outage does not end the run: the request failed unbilled, to be retried."""
    _, issuer, service, keeper = _parts()
    async with _client(service, keeper) as client:
        await _ask(client)
        service.revoked.add("t1.token-1")
        issuer.failure = ServiceUnavailable("IAM is away")
        with pytest.raises(AttemptFailed, match="IAM is away") as failed:
            await _ask(client)
    assert (failed.value.stops_run, failed.value.retryable, failed.value.billed) == (None, True, Billed.NO)


async def test_a_renewal_that_is_cancelled_is_taken_over() -> None:
    """Where the one who renews is cancelled, the next of those who wait renews; nobody hangs."""
    _, issuer, service, keeper = _parts(takes=30.0)
    async with _client(service, keeper) as client, anyio.create_task_group() as tasks:
        first = anyio.CancelScope()

        async def cancelled() -> None:
            with first:
                await _ask(client)

        tasks.start_soon(cancelled)
        for _ in range(5):
            await checkpoint()
        tasks.start_soon(_ask, client)
        tasks.start_soon(_ask, client)
        for _ in range(5):
            await checkpoint()
        first.cancel()
    assert service.statuses == [200, 200]
    assert (len(issuer.times), issuer.most_at_once) == (2, 1)


@pytest.mark.parametrize("life", [1.0, 10.0, 100.0, 400.0])
async def test_tokens_that_live_shortly(life: float) -> None:
    """Tokens near their end, as the metadata service hands out, are used for half their life or 5 s."""
    clock, issuer, service, keeper = _parts(life=life, takes=0.0)
    service.takes = 0.0
    async with _client(service, keeper) as client:
        for _ in range(600):
            assert await _ask(client) == 200
            await clock.sleep(1.0)
    assert len(issuer.times) <= 600 / max(min(5.0, life), life / 2) + 1


@pytest.mark.parametrize("ahead", [0.0, 60.0, 100_000.0])
async def test_a_clock_that_is_ahead_of_iams_renews_no_more(ahead: float) -> None:
    """A token that seems to have expired when it comes is used for an hour, or until it is refused."""
    clock, issuer, service, _ = _parts(takes=0.0)
    issuer.expiries = _Long()
    service.takes = 0.0
    keeper = Keeper(_behind(issuer, clock, ahead), clock)
    async with _client(service, keeper) as client:
        for _ in range(10):
            assert await _ask(client) == 200
            await clock.sleep(100.0)
    assert len(issuer.times) == 1


class _SetBack(FakeClock):
    """A clock whose time of day is set back by some seconds, as by hand or by a time server."""

    back = 0.0

    def time(self) -> float:
        return super().time() - self.back


async def test_a_clock_that_is_set_back_renews_as_before() -> None:
    """A machine whose time of day is set back by hours renews at the same moments, also after a failure."""
    clock = _SetBack()
    issuer = Issuer(clock, life=12 * HOUR, takes=0.0)
    keeper = Keeper(issuer.obtain, clock)
    await keeper.token()
    issuer.failure = ServiceUnavailable("away")
    clock.now += HOUR + 1
    await keeper.token()
    clock.back = 5 * HOUR
    issuer.failure = None
    clock.now += 10
    assert (await keeper.token()).value == "t1.token-3"
    clock.back = 15 * HOUR
    clock.now += HOUR + 1
    assert (await keeper.token()).value == "t1.token-4"


def _behind(issuer: Issuer, clock: FakeClock, ahead: float) -> Obtain:
    async def obtain() -> Token:
        return Token((await issuer.obtain()).value, clock.time() - ahead)

    return obtain


@pytest.mark.parametrize(("own_folder", "sent"), [(True, None), (False, "b1g")])
async def test_only_a_users_token_names_the_folder(own_folder: bool, sent: str | None) -> None:
    """A service account has a folder and another would be refused; a user's token says which pays."""
    _, _, service, keeper = _parts()
    async with _client(service, keeper, own_folder=own_folder) as client:
        await _ask(client)
    assert service.folders == [sent]


async def test_a_failing_renewal_is_told_once() -> None:
    """A renewal that fails while the old token lives is told once per episode, and its end too."""
    clock = FakeClock()
    issuer = Issuer(clock, takes=0.0)
    keeper, told = Keeper(issuer.obtain, clock), list[str]()
    keeper.warn = told.append
    await keeper.token()
    for _ in range(2):
        issuer.failure = ServiceUnavailable("IAM answered 503.")
        clock.now += HOUR - 300
        for _ in range(3):
            await keeper.token()
            clock.now += 60
        issuer.failure = None
        await keeper.token()
    assert keeper.failures >= 4
    assert [line.split(";")[0].split(":")[0] for line in told] == [
        "The IAM token could not be renewed",
        "The IAM token is renewed again.",
    ] * 2
    assert "lives for 5 min more: IAM answered 503." in told[0]


async def test_nothing_is_told_without_a_token() -> None:
    """A renewal that fails where no token lives is not told beside the requests' own failures."""
    clock = FakeClock()
    issuer = Issuer(clock, failure=ServiceUnavailable("IAM answered 503."))
    keeper, told = Keeper(issuer.obtain, clock), list[str]()
    keeper.warn = told.append
    for _ in range(2):
        with pytest.raises(AttemptFailed):
            await keeper.token()
    assert told == []
