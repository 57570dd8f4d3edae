"""No secret in any journal, output, log, page or line: some are planted, and everything is searched for them."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e.harness import FOLDER, Ran, Shell, ended, killed_at_the_end, run_cli, start, wait_until, write_chats
from hunting import found_in
from listener import listening
from unit.issuers import ACCOUNT_ID, KEY_ID, Asked, issuing, pair, write_key, write_yc

from batch.emulator import Config, Fault, Latency, Quotas, Running, background

API_KEY = "AQVN-planted-api-key-0123456789abcdef"
IAM_TOKEN = "t1.planted-iam-token-0123456789.abcdef"
YC_TOKEN = "t1.planted-token-of-yc-0123456789.abcdef"
IN_ADDRESSES = "planted-in-an-address-0123456789"
KINDS = ("API key", "IAM token", "key file", "metadata", "yc")
ROWS = 3


@dataclass
class Scene:
    """A credential, the emulator that takes it and issues tokens, and whatever was printed."""

    service: Running
    work: Path
    env: dict[str, str]
    flags: list[object]
    planted: list[str]
    texts: list[str] = field(default_factory=list)

    def keep(self, ran: Ran, *codes: int) -> Ran:
        """Keep what a command printed; it has to have ended with one of these codes."""
        assert ran.code in codes, ran.said
        self.texts += [ran.stdout, ran.stderr]
        return ran

    def secrets(self) -> list[str]:
        """Return what was planted, and every key, token and JWT that came over the wire."""
        seen = set(self.planted)
        for kept in self.service.emulator.captured:
            seen.add(kept.headers.get("authorization", "").partition(" ")[2])
            if kept.path.endswith("/tokens"):
                seen.add(str(json.loads(kept.body)["jwt"]))
        return sorted(seen - {""})

    def clean(self) -> None:
        """Fail where a secret stands in what was written or printed."""
        assert found_in(self.work, self.texts, self.secrets()) == []


@pytest.fixture(params=KINDS)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    kind, work, private = request.param, tmp_path / "work", tmp_path / "private"
    work.mkdir()
    private.mkdir()
    own = {"api_key": API_KEY} if kind == "API key" else {}
    own |= {"iam_token": {"IAM token": IAM_TOKEN, "yc": YC_TOKEN}[kind]} if kind in ("IAM token", "yc") else {}
    keys = {KEY_ID: (ACCOUNT_ID, pair()[1])} if kind == "key file" else {}
    config = Config(
        Quotas(concurrent=None),
        operation_latency=Latency.parse("fixed:0"),
        strict_credentials=True,
        service_account_keys=keys,
        stall_seconds=60,
        capture=5000,
        **own,
    )
    with background(config) as service:
        env, flags, planted = _credential(kind, service, private)
        yield Scene(service, work, {"FOLDER_ID": FOLDER, **env}, flags, planted)


def _credential(kind: str, service: Running, private: Path) -> tuple[dict[str, str], list[object], list[str]]:
    """Return the environment, the flags, and the secrets of a kind of credential."""
    if kind == "API key":
        return {"API_KEY": API_KEY}, [], [API_KEY]
    if kind == "IAM token":
        return {"IAM_TOKEN": IAM_TOKEN}, [], [IAM_TOKEN]
    if kind == "key file":
        key = write_key(private / "key.json")
        lines = [line for line in pair()[0].splitlines() if not line.startswith("-----")]
        return {}, ["--service-account-key", key, "--iam-url", service.base_url], lines
    if kind == "metadata":
        return {"YC_METADATA_ADDR": service.base_url.removeprefix("http://")}, [], []
    path = write_yc(private, f"echo {YC_TOKEN}\n")
    return {"PATH": f"{Path(sys.executable).parent}:{path}"}, [], [YC_TOKEN]


def _run(scene: Scene, name: str, url: str, *more: object) -> list[object]:
    rows = write_chats(scene.work / "in.jsonl", ROWS)
    words = ["run", rows, "-o", scene.work / name, "--base-url", url, *scene.flags]
    words += ["--async-limit", "off", "--poll-limit", "off", "--log-file", scene.work / f"{name}.log"]
    return [*words, "--metrics-file", scene.work / f"{name}.prom", *more]


@pytest.fixture
def command(scene: Scene, shell: Shell) -> Callable[..., Ran]:
    """Runs a command in this process with the credential."""
    shell.setenv(API_KEY="")
    shell.setenv(**scene.env)
    return shell


@contextmanager
def _echoing(status: int) -> Iterator[str]:
    """Serve whoever answers with everything that he was sent, the credential first, as the service is known to."""

    def answer(asked: Asked) -> tuple[int, object]:
        said = f"Unknown api key '{asked[2].get('authorization')}' {asked[2]}"
        return status, {"error": {"grpcCode": 16 if status == 401 else 7, "message": said, "httpCode": status}}

    with issuing(answer) as server:
        yield server.url


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_runs_that_answer(scene: Scene, command: Callable[..., Ran], mode: str) -> None:
    """Runs, and every command that looks at what they left, write and print no credential and no token."""
    service, output = scene.service, scene.work / "ok.parquet"
    with listening() as listener:
        told = [f"{listener.url}/{IN_ADDRESSES}-ping?token={IN_ADDRESSES}", f"{listener.url}/{IN_ADDRESSES}-hook"]
        told = ["--ping-url", told[0], "--webhook", told[1]]
        run = _run(scene, "ok.parquet", service.base_url, "--mode", mode, "-vv", *told)
        scene.keep(command(*run, "--dry-run", "--json"), 0)
        scene.keep(command(*run, "--dry-run"), 0)
        scene.keep(command(*run, "--json"), 0)
        scene.keep(command(*run), 0)
        assert listener.told
    for words in (["status"], ["doctor"], ["report", "--html", scene.work / "page.html"], ["export"], ["cancel"]):
        scene.keep(command(words[0], output, *words[1:]), 0)
        scene.keep(command(words[0], output, *words[1:], "--json"), 0)
    scene.keep(command("export", output, "-o", scene.work / "other.jsonl"), 0)
    assert [row["status"] for row in pq.read_table(output).to_pylist()] == ["ok"] * ROWS
    scene.planted.append(IN_ADDRESSES)
    assert len(scene.secrets()) >= 2
    scene.clean()


@pytest.mark.parametrize("status", [401, 403])
def test_runs_that_are_refused(scene: Scene, command: Callable[..., Ran], status: int) -> None:
    """Where the service refuses and echoes the whole request, the credential is removed everywhere."""
    with _echoing(status) as url:
        more = ["--iam-url", scene.service.base_url] if scene.flags else []
        for mode in ("sync", "async"):
            run = _run(scene, f"{mode}.parquet", url, *more, "--mode", mode, "-vv", "--retries", 1)
            scene.keep(command(*run, "--json"), 4)
            scene.keep(command(*run), 4)
            output = scene.work / f"{mode}.parquet"
            for name in ("status", "doctor", "export", "report", "cancel"):
                scene.keep(command(name, output), 0)
        body = scene.work / "body.json"
        body.write_text(json.dumps({"modelUri": f"gpt://{FOLDER}/yandexgpt-lite", "messages": []}))
        if not scene.flags:
            refused = scene.keep(command("send", body, "--base-url", url, "-vv"), 4)
            assert "secret removed" in refused.said
    assert "secret removed" in "".join(scene.texts)
    scene.clean()


def test_credentials_that_are_looked_at(scene: Scene, command: Callable[..., Ran]) -> None:
    """`auth check` says what there is, and `send` prints an answer; neither shows a credential."""
    url = ["--base-url", scene.service.base_url]
    for form in ([], ["--json"], ["-vv"]):
        scene.keep(command("auth", "check", *url, *scene.flags, *form), 0)
    if not scene.flags:
        body = scene.work / "body.json"
        asked = {"modelUri": f"gpt://{FOLDER}/yandexgpt-lite", "messages": [{"role": "user", "text": "?"}]}
        body.write_text(json.dumps(asked))
        scene.keep(command("send", body, *url, "-vv"), 0)
    scene.clean()


def test_runs_that_crash(scene: Scene, command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracebacks of what nobody expected hold no credential, wherever it happened."""
    for place in ("providers.yandex.YandexProvider.judge", "providers.base._seconds", "transport.translate"):
        with monkeypatch.context() as broken:

            def crash(*arguments: object, **_: object) -> None:
                raise RuntimeError(f"boom {arguments[-1]!r:.2000}")

            broken.setattr(f"batch.{place}", crash)
            if place.startswith("transport"):
                scene.service.emulator.faults = (Fault("drop-before", 1.0),)
            name = f"{place.split('.')[-1]}.parquet"
            ran = command(*_run(scene, name, scene.service.base_url, "-vv", "--retries", 0))
            scene.keep(ran, 1)
            assert "Traceback" in ran.stderr
    scene.clean()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_runs_that_are_killed(scene: Scene, mode: str) -> None:
    """What a killed process leaves, its log and its tape, holds no credential; nor does the run that goes on."""
    service = scene.service
    route = "completion" if mode == "sync" else "operations"
    run = _run(scene, "killed.parquet", service.base_url, "--mode", mode, "--concurrency", 1, "-vv", "--json")
    service.emulator.faults = (Fault("stall", 1.0, (route,)),)
    journal = scene.work / "killed.parquet.journal"
    with killed_at_the_end(start(*run, env=scene.env)) as process:
        wait_until(lambda: _asked(scene, route) > 0 or process.poll() is not None, "the first request")
        process.send_signal(signal.SIGKILL)
        scene.keep(ended(process), -signal.SIGKILL)
    assert journal.with_name(journal.name + "-wal").exists()
    assert found_in(scene.work, scene.texts, scene.secrets()) == []
    service.emulator.faults = ()
    scene.keep(run_cli("status", scene.work / "killed.parquet", "--json"), 0)
    scene.keep(run_cli(*run, env=scene.env), 0)
    scene.clean()


def _asked(scene: Scene, route: str) -> int:
    end = {"completion": "/completion", "operations": ""}[route]
    return sum(
        kept.path.endswith(end) if end else "/operations/" in kept.path
        for kept in list(scene.service.emulator.captured)
    )


# -- that the search would find them


def _plant_parquet(path: Path, secret: str) -> None:
    noise = [f"row {number}" for number in range(200)]
    pq.write_table(pa.table({"text": [*noise, secret * 3]}), path / "out.parquet", compression="zstd")


def _plant_metadata(path: Path, secret: str) -> None:
    table = pa.table({"text": ["?"]}).replace_schema_metadata({"chatbatch": f'{{"key": "{secret}"}}'})
    pq.write_table(table, path / "out.parquet")


def _plant_sqlite(path: Path, secret: str) -> None:
    connection = sqlite3.connect(path / "journal")
    connection.execute("CREATE TABLE t (body BLOB)")
    connection.execute("INSERT INTO t VALUES (?)", (b"x" * 4080 + secret.encode() + b"x" * 4000,))
    connection.commit()
    connection.close()


def _plant_tape(path: Path, secret: str) -> None:
    import base64

    (path / "tape").write_bytes(b"line " + base64.b64encode(b"\xff{" + secret.encode() + b"}\xff"))


def _plant_json(path: Path, secret: str) -> None:
    (path / "out.jsonl").write_text(json.dumps({"text": f"key {secret}"}))


@pytest.mark.parametrize("plant", [_plant_parquet, _plant_metadata, _plant_sqlite, _plant_tape, _plant_json])
@pytest.mark.parametrize(
    "secret", [API_KEY, YC_TOKEN, pair()[0].splitlines()[3]], ids=["API key", "token", "line of a private key"]
)
def test_the_search_finds(plant: Callable[[Path, str], None], secret: str, tmp_path: Path) -> None:
    """A secret that is planted in a file of each kind is found, compressed, spread or coded as it may be."""
    plant(tmp_path, secret)
    assert found_in(tmp_path, [], [secret])
    assert found_in(tmp_path, [], ["another-secret-0123456789"]) == []
    assert found_in(tmp_path, [f"Traceback: {secret}"], [secret])[-1].endswith("text 0")
