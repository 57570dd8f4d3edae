"""Everything about an emulator that can be chosen, with defaults like the service's.

Plain frozen data; time is not here, it is given to the `Emulator`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from batch.emulator.faults import COMPLETION, OK, Fault, check_route, known
from batch.emulator.latency import Latency
from batch.emulator.quotas import Quotas


@dataclass(frozen=True, slots=True)
class Config:
    """The behaviour of one emulator.

    Attributes:
        quotas: what the account may do.
        latency: how long a generation takes, in seconds of the emulator's clock.
        faults: what goes wrong, with which probability, and on which routes.
        script: fault kinds, or "ok", one per completion request in order of arrival; the
            probabilities apply after its end.
        scripts: the same for other routes, by their names in `faults.ROUTES`, for example
            {"completionAsync": ("drop-after", "ok", "operation-failed"), "operations": ("503",)}.
        operation_latency: how long an operation takes from its submission until it is done,
            in seconds of the emulator's clock (recorded: 4 s).
        operation_delays: the same, for the first operations in order of acceptance; drawn after its end.
        operation_queue_share: the share of that time, 0 to 1, which an operation waits before its
            generation begins; cancelled in it, an operation is not billed.
        keep_operations_s: how long an operation can be read after its end; then it is a 404.
        seed: the same seed, configuration and order of requests give the same answers and faults.
        api_key: once a key or a token is set, nothing is accepted but it and the tokens that the
            emulator issued and that have not expired; without, anything is.
        iam_token: see `api_key`.
        strict_credentials: the same without a key or token of one's own: issued tokens alone.
            `service_account_keys` make it strict, too.
        service_account_keys: key id → (service account id, public key in PEM), for the exchange of
            a signed assertion for a token; needs PyJWT and cryptography.
        iam_token_lifetime_s: after it an issued token is refused (401); at most 12 hours by the
            service's documentation.
        iam_token_reuse_s: asked for a token so soon after the last one, the same one is given again.
        metadata: False makes the metadata service answer 404, as on a machine without an account.
        folder: the account's folder; requests for another one are refused with 400.
        models: names ("yandexgpt-lite") or names with version ("yandexgpt/rc") that exist;
            None for all.
        context_tokens: the most input tokens of a request (recorded: 32,768).
        completion_tokens: the least and the most tokens that an answer aims at.
        model_version: reported in the answers.
        wrap_result: False leaves out the `result` around an answer, as some captures show it.
        stall_seconds: how long the fault "stall" keeps silent.
        speed: how many seconds of the emulator's clock pass in a real one (see `server`).
        keep_alive_seconds: how long an idle connection stays open.
        ledger_file: each billed generation is appended to it as a line of JSON.
        keep_entries: False bounds the memory of the ledger.
        capture: how many of the last requests, headers and bodies, are kept for tests.
    """

    quotas: Quotas = field(default_factory=Quotas)
    latency: Latency = field(default_factory=Latency)
    faults: tuple[Fault, ...] = ()
    script: tuple[str, ...] = ()
    scripts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    operation_latency: Latency = field(default_factory=lambda: Latency("uniform", 2.0, 5.0))
    operation_delays: tuple[float, ...] = ()
    operation_queue_share: float = 0.25
    keep_operations_s: float = 3 * 86_400.0
    seed: int = 0
    api_key: str | None = None
    iam_token: str | None = None
    strict_credentials: bool = False
    service_account_keys: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    iam_token_lifetime_s: float = 12 * 3_600.0
    iam_token_reuse_s: float = 0.0
    metadata: bool = True
    folder: str | None = None
    models: frozenset[str] | None = None
    context_tokens: int = 32_768
    completion_tokens: tuple[int, int] = (20, 120)
    model_version: str = "07.03.2024"
    wrap_result: bool = True
    stall_seconds: float = 60.0
    speed: float = 1.0
    keep_alive_seconds: float = 60.0
    ledger_file: Path | None = None
    keep_entries: bool = True
    capture: int = 0

    def __post_init__(self) -> None:
        """Refuse what no emulator can be.

        Raises:
            ValueError: one sentence that says what is wrong.
        """
        self._check_scripts()
        self._check_keys()
        if not 0 <= self.operation_queue_share <= 1:
            raise ValueError("operation_queue_share must be from 0 to 1")
        if not all(delay >= 0 for delay in self.operation_delays):
            raise ValueError("operation_delays must be seconds from 0 upwards")
        for name in ("keep_operations_s", "iam_token_lifetime_s"):
            if not float(getattr(self, name)) > 0:
                raise ValueError(f"{name} must be greater than 0")
        low, high = self.completion_tokens
        if not 1 <= low <= high:
            raise ValueError("completion_tokens must be two numbers from 1 upwards, the lower one first")
        if self.speed <= 0:
            raise ValueError("speed must be greater than 0")

    def _check_scripts(self) -> None:
        for route, script in self.scripts_by_route().items():
            check_route(route, OK)
            for kind in script:
                if kind != OK:
                    known(kind)
                check_route(route, kind)

    def _check_keys(self) -> None:
        if self.service_account_keys and not all(map(find_spec, ("jwt", "cryptography"))):
            raise ValueError("service_account_keys need PyJWT and cryptography: pip install 'pyjwt[crypto]'")
        for key, (_, public_key) in self.service_account_keys.items():
            if "-----BEGIN PUBLIC KEY-----" not in public_key:
                raise ValueError(f"the public key of the service account key {key!r} is not in PEM")

    def scripts_by_route(self) -> dict[str, tuple[str, ...]]:
        """Every script by the route that it is for; `script` comes first on that of completions."""
        completions = self.script + tuple(self.scripts.get(COMPLETION, ()))
        return {**self.scripts, COMPLETION: completions}

    @property
    def strict(self) -> bool:
        """Whether credentials are checked at all."""
        return self.strict_credentials or bool(self.service_account_keys)
