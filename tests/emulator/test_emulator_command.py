"""`chatbatch emulator` and the asynchronous mode, credentials and metadata: as its flags say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from e2e.harness import killed_at_the_end, start

from batch.cli.emulator import _config, command
from batch.emulator import Config
from batch.errors import UsageError

API = "/foundationModels/v1"
METADATA = "/computeMetadata/v1/instance/service-accounts/default/token"
PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
Body = Callable[..., dict[str, object]]


def configured(*flags: str) -> Config:
    """What the flags configure, without serving it."""
    options = dict(command.make_context("emulator", list(flags)).params)
    return _config(**{name: value for name, value in options.items() if name not in ("host", "port")})


@contextmanager
def serving(*flags: str) -> Iterator[httpx.Client]:
    """The command in a process of its own, and a client for it."""
    with killed_at_the_end(start("emulator", "--port", "0", *flags, env={})) as process:
        assert process.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline().decode())
        assert found
        with httpx.Client(base_url=found[0], trust_env=False, timeout=5) as client:
            yield client


def test_the_defaults_are_those_of_the_emulator() -> None:
    """Without a flag everything is as the emulator has it by itself, but for the ledger's memory."""
    assert configured() == Config(keep_entries=False)


def test_quotas_and_delays_are_those_of_the_flags() -> None:
    """Each quota has a flag of its own, with 0 for none, and so have the delays and lifetimes."""
    quotas = "--async-per-second 3 --async-per-hour 0 --polls-per-second 7 --tokenizer-per-second 0"
    others = "--operation-latency fixed:9 --keep-operations 60 --iam-token-lifetime 30 --no-metadata"
    config = configured(*quotas.split(), *others.split(), "--fault", "503=0.5@operations")
    ours = config.quotas
    assert (ours.async_per_second, ours.async_per_hour, ours.operations_per_second) == (3, None, 7)
    assert ours.tokenizer_per_second is None
    assert (config.operation_latency.first, config.keep_operations_s) == (9.0, 60.0)
    assert (config.iam_token_lifetime_s, config.metadata) == (30.0, False)
    assert config.faults[0].routes == ("operations",)


def test_it_serves_the_asynchronous_mode(body: Body) -> None:
    """A token of its metadata service is needed and accepted, and an operation is done at once where it may be."""
    with serving("--strict-credentials", "--operation-latency", "0", "--async-per-second", "1") as client:
        assert client.post(f"{API}/completionAsync", json=body()).status_code == 401
        token = client.get(METADATA, headers={"metadata-flavor": "Google"}).json()["access_token"]
        client.headers["authorization"] = f"Bearer {token}"
        accepted = client.post(f"{API}/completionAsync", json=body()).json()
        assert client.post(f"{API}/completionAsync", json=body()).status_code == 429
        assert client.get(f"/operations/{accepted['id']}").json()["response"]["alternatives"]
        totals = client.get("/emulator/totals").json()
    assert (totals["async_billed_requests"], totals["submissions"], totals["iam_tokens"]) == (1, 1, 1)


def test_a_key_file_is_read(tmp_path: Path) -> None:
    """Of a key file the public half is kept; nothing of its private key."""
    pytest.importorskip("jwt", reason="PyJWT is not installed")
    key = {"id": "k", "service_account_id": "aje", "public_key": PEM, "private_key": "secret"}
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key), encoding="utf-8")
    config = configured("--service-account-key", str(file))
    assert config.service_account_keys == {"k": ("aje", PEM)}
    assert "secret" not in repr(config)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"id": "k"}', '{"id": 1, "service_account_id": "a"}'])
def test_a_wrong_key_file_is_named(tmp_path: Path, content: str | None) -> None:
    """A file that is not there, or is no key file, is an error that names it."""
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=re.escape(str(file))):
        configured("--service-account-key", str(file))
