"""Everything about an emulator that can be chosen, with defaults like the service's.

Plain frozen data; time is not here, it is given to the `Emulator`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from batch.emulator.faults import OK, Fault, known
from batch.emulator.latency import Latency
from batch.emulator.quotas import Quotas


@dataclass(frozen=True, slots=True)
class Config:
    """The behaviour of one emulator.

    Attributes:
        quotas: what the account may do.
        latency: how long a generation takes, in seconds of the emulator's clock.
        faults: what goes wrong, with which probability.
        script: fault kinds, or "ok", one per completion request in order of arrival; the
            probabilities apply after its end.
        seed: the same seed, configuration and order of requests give the same answers and faults.
        api_key: once a key or a token is set, nothing else is accepted; without, any is.
        iam_token: see `api_key`.
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
    seed: int = 0
    api_key: str | None = None
    iam_token: str | None = None
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
        for kind in self.script:
            if kind != OK:
                known(kind)
        low, high = self.completion_tokens
        if not 1 <= low <= high:
            raise ValueError("completion_tokens must be two numbers from 1 upwards, the lower one first")
        if self.speed <= 0:
            raise ValueError("speed must be greater than 0")
