"""IAM tokens: the exchange of signed assertions, the metadata service, and tokens that expire."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import httpx
import pytest

from batch.emulator import Config, Emulator, Running

jwt = pytest.importorskip("jwt", reason="PyJWT is not installed")
rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa", reason="cryptography is not installed")
serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")

COMPLETION = "/foundationModels/v1/completion"
TOKENS = "/iam/v1/tokens"
METADATA = "/computeMetadata/v1/instance/service-accounts/default/token"
AUDIENCE = "https://iam.api.cloud.yandex.net/iam/v1/tokens"
Body = Callable[..., dict[str, object]]
ClientOf = Callable[[Emulator], httpx.AsyncClient]
Serving = Callable[..., tuple[Running, httpx.Client]]
Sign = Callable[..., str]


class Clock(Protocol):
    now: float

    def time(self) -> float: ...


def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    return str(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode())


@pytest.fixture(scope="module")
def pair() -> tuple[str, str]:
    """A private key and its public key, in PEM."""
    private = private_key()
    public = serialization.load_pem_private_key(private.encode(), None).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private, public.public_bytes(serialization.Encoding.PEM, form).decode()


@pytest.fixture
def config(pair: tuple[str, str]) -> Config:
    return Config(service_account_keys={"key-1": ("aje-1", pair[1])})


@pytest.fixture
def sign(pair: tuple[str, str]) -> Sign:
    """Makes an assertion issued at second 1,000; keywords replace its claims, None takes one out."""

    def make(*, kid: str | None = "key-1", algorithm: str = "PS256", key: str = "", **changes: object) -> str:
        claims = {"iss": "aje-1", "aud": AUDIENCE, "iat": 1_000, "exp": 4_600, **changes}
        claims = {name: value for name, value in claims.items() if value is not None}
        headers = None if kid is None else {"kid": kid}
        return str(jwt.encode(claims, key or pair[0], algorithm=algorithm, headers=headers))

    return make


def emulated(clock: Clock, config: Config) -> Emulator:
    return Emulator(config, time=clock.time, wall=clock.time)


@pytest.mark.anyio
async def test_an_assertion_is_exchanged_for_a_token(
    client_of: ClientOf, clock: Clock, config: Config, sign: Sign, body: Body
) -> None:
    """The token is accepted until it expires, twelve hours later, and then refused like one never issued."""
    emulator = emulated(clock, config)
    async with client_of(emulator) as client:
        issued = (await client.post(TOKENS, json={"jwt": sign()})).json()
        assert issued["iamToken"].startswith("t1.")
        assert datetime.fromisoformat(issued["expiresAt"]).timestamp() == 1_000 + 12 * 3_600
        headers = {"authorization": f"Bearer {issued['iamToken']}"}
        statuses = []
        for _ in range(2):
            statuses.append((await client.post(COMPLETION, json=body(), headers=headers)).status_code)
            clock.now += 12 * 3_600 - 1
        clock.now = 1_000 + 12 * 3_600
        expired = await client.post(COMPLETION, json=body(), headers=headers)
        unknown = await client.post(COMPLETION, json=body(), headers={"authorization": "Bearer t1.x"})
    assert statuses == [200, 200]
    assert (expired.status_code, unknown.status_code) == (401, 401)
    assert (expired.json()["code"], expired.json()["message"]) == (16, "Token is invalid or has expired.")
    assert unknown.json()["message"] == expired.json()["message"]
    assert emulator.ledger.activity().iam_tokens == 1
    assert emulator.ledger.totals().requests == 2


WRONG = {
    "issuer": ({"iss": "aje-2"}, 401),
    "audience": ({"aud": "https://example.com"}, 401),
    "expired": ({"iat": 0, "exp": 1_000}, 401),
    "future": ({"iat": 1_061, "exp": 2_000}, 401),
    "too long": ({"exp": 4_601}, 400),
    "no exp": ({"exp": None}, 400),
    "no iat": ({"iat": None}, 400),
    "no iss": ({"iss": None}, 400),
    "no aud": ({"aud": None}, 400),
    "exp no number": ({"exp": "soon"}, 400),
    "unknown key": ({"kid": "key-2"}, 401),
    "no kid": ({"kid": None}, 400),
    "algorithm": ({"algorithm": "RS256"}, 400),
    "secret": ({"algorithm": "HS256", "key": "s" * 32}, 400),
}


@pytest.mark.anyio
@pytest.mark.parametrize(("changes", "status"), WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_assertion_is_refused(
    client_of: ClientOf, clock: Clock, config: Config, sign: Sign, changes: dict[str, object], status: int
) -> None:
    """Each claim, the key and the algorithm are checked, and a refusal has the cloud's form and no token."""
    emulator = emulated(clock, config)
    async with client_of(emulator) as client:
        answer = await client.post(TOKENS, json={"jwt": sign(**changes)})
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == {400: 3, 401: 16}[status]
    assert answer.json()["details"][0]["requestId"] == answer.headers["x-request-id"]
    assert emulator.ledger.activity().iam_tokens == 0


@pytest.mark.anyio
async def test_another_key_does_not_sign(client_of: ClientOf, clock: Clock, config: Config, sign: Sign) -> None:
    """An assertion signed with another private key, or changed after it was signed, is a 401."""
    head, claims, signature = sign().split(".")
    changed = ".".join([head, sign(iss="aje-2").split(".")[1], signature])
    assert claims
    async with client_of(emulated(clock, config)) as client:
        answers = [await client.post(TOKENS, json={"jwt": text}) for text in (sign(key=private_key()), changed)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert all("signature" in answer.json()["message"] for answer in answers)


@pytest.mark.anyio
async def test_what_is_no_assertion_is_refused(client_of: ClientOf, clock: Clock, config: Config) -> None:
    """Passport tokens, an empty body, unknown fields and text that is no JWT are 400s; so is broken JSON."""
    bodies = [b'{"yandexPassportOauthToken":"y0_x"}', b"{}", b'{"token":"x"}', b'{"jwt":"x"}', b"{"]
    async with client_of(emulated(clock, config)) as client:
        answers = [await client.post(TOKENS, content=content) for content in bodies]
        unregistered = emulated(clock, Config())
    assert [answer.status_code for answer in answers] == [400] * 5
    async with client_of(unregistered) as client:
        assert (await client.post(TOKENS, json={"jwt": "a.b.c"})).status_code == 401


@pytest.mark.anyio
async def test_tokens_may_repeat_and_old_ones_stay_valid(
    client_of: ClientOf, clock: Clock, config: Config, sign: Sign, body: Body
) -> None:
    """Within the time of reuse the same token is given again; a new one does not end the one before."""
    reusing = Config(service_account_keys=config.service_account_keys, iam_token_reuse_s=600)
    emulator = emulated(clock, reusing)
    texts, written = [], []
    async with client_of(emulator) as client:
        for _ in range(3):
            answer = (await client.post(TOKENS, json={"jwt": sign()})).json()
            texts.append(answer["iamToken"])
            written.append(answer["expiresAt"])
            clock.now += 400
        headers = {"authorization": f"Bearer {texts[0]}"}
        assert (await client.post(COMPLETION, json=body(), headers=headers)).status_code == 200
    assert texts[0] == texts[1] != texts[2]
    assert emulator.ledger.activity().iam_tokens == 3
    assert written[:2] == ["1970-01-01T12:16:40.000000000Z", "1970-01-01T12:16:40Z"]


@pytest.mark.anyio
async def test_metadata_gives_a_token(client_of: ClientOf, clock: Clock, body: Body) -> None:
    """With its header the metadata service gives a token that is accepted until it expires; without, 403."""
    emulator = emulated(clock, Config(strict_credentials=True, iam_token_lifetime_s=100))
    async with client_of(emulator) as client:
        assert (await client.get(METADATA)).status_code == 403
        shown = (await client.get(METADATA, headers={"metadata-flavor": "Google"})).json()
        headers = {"authorization": f"Bearer {shown.pop('access_token')}"}
        assert shown == {"expires_in": 100, "token_type": "Bearer"}
        paths = (COMPLETION, COMPLETION + "Async", COMPLETION.replace("completion", "tokenizeCompletion"))
        for status in (200, 401):
            answers = [await client.post(path, json=body(), headers=headers) for path in paths]
            assert [answer.status_code for answer in answers] == [status] * 3
            clock.now += 100
        refused = await client.get("/operations/any", headers=headers)
        key = await client.post(COMPLETION, json=body())
    assert (refused.status_code, key.status_code) == (401, 401)
    assert emulator.ledger.activity().iam_tokens == 1


def test_metadata_may_be_absent(serving: Serving) -> None:
    """A machine without an account answers 404, and faults strike this route by its name too."""
    _, client = serving(Config(metadata=False, scripts={"metadata": ("503",)}))
    answers = [client.get(METADATA, headers={"metadata-flavor": "Google"}).status_code for _ in "ab"]
    assert answers == [503, 404]


def test_an_exchange_may_fail(serving: Serving, config: Config, sign: Sign) -> None:
    """Faults strike the exchange by its name: before it, and after a token that nobody got."""
    keys = config.service_account_keys
    kinds = ("500", "drop-after", "wrong-types")
    running, client = serving(Config(service_account_keys=keys, scripts={"tokens": kinds}, iam_token_lifetime_s=9))
    assertion = {"jwt": sign(iat=int(datetime.now().timestamp()), exp=int(datetime.now().timestamp()) + 60)}
    assert client.post(TOKENS, json=assertion).status_code == 500
    with pytest.raises(httpx.ReadError):
        client.post(TOKENS, json=assertion)
    assert client.post(TOKENS, json=assertion).json() == {"iamToken": 12345, "expiresAt": []}
    assert client.post(TOKENS, json=assertion).json()["iamToken"].startswith("t1.")
    assert running.ledger.activity().iam_tokens == 3


@pytest.mark.anyio
async def test_any_credentials_pass_by_default(client_of: ClientOf, clock: Clock, body: Body) -> None:
    """Without keys and strictness any token is accepted, as before; none at all is not."""
    async with client_of(emulated(clock, Config())) as client:
        for header, status in (("Bearer whatever", 200), ("Api-Key x", 200), ("Bearer", 401), ("", 401)):
            answer = await client.post(COMPLETION, json=body(), headers={"authorization": header})
            assert answer.status_code == status


def test_keys_are_checked_when_they_are_registered(monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str]) -> None:
    """A public key that is none, and keys without the libraries that check signatures, are told at once."""
    with pytest.raises(ValueError, match="'key-1' is not in PEM"):
        Config(service_account_keys={"key-1": ("aje-1", "MIIB")})
    monkeypatch.setattr("batch.emulator.config.find_spec", {"cryptography": True}.get)
    with pytest.raises(ValueError, match="pip install"):
        Config(service_account_keys={"key-1": ("aje-1", pair[1])})


def test_cryptography_is_imported_only_when_it_is_needed() -> None:
    """An emulator that checks no assertion imports neither PyJWT nor cryptography."""
    program = (
        "import sys, batch.emulator; batch.emulator.Emulator(); "
        "print(sorted({'jwt', 'cryptography'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=10)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[]\n", "")
