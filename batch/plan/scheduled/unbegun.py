"""A job's run that cannot begin, because its settings make no sense: it is told and remembered all the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from batch.clock import Clock
from batch.errors import ChatbatchError
from batch.jobfile import JobFile, expand, salvaged
from batch.plan.scheduled.history import History
from batch.plan.scheduled.recording import begun, ended
from batch.plan.telling import Outcome, tell_unbegun
from batch.settings import Layer, Settings, Value, declared


def unbegun(
    path: Path,
    flags: Layer,
    environment: Mapping[str, str],
    error: ChatbatchError,
    *,
    at: datetime,
    clock: Clock,
    warn: Callable[[str], None],
) -> None:
    """Tell health check and webhook that the job of this file failed, and write it into its history.

    Flags go before the environment, and this before the file, as always; but of each address the first that can be
    read is taken, since somebody has to hear of it. `warn` is given a sentence for what could not be told.
    """
    job = salvaged(path)
    texts = {item.name: environment.get(item.variable, "") for item in declared()}
    addresses = {
        name: _address(name, [flags.values.get(name), texts[name], _filled(job, name, at, environment)])
        for name in ("ping_url", "webhook")
    }
    settings = Settings(ping_url=addresses["ping_url"], webhook=addresses["webhook"])
    tell_unbegun(error, settings, clock=clock, warn=warn, job=job.name)
    try:
        rules = job.state(at, environment)
        History(rules.folder, rules.keep).append(ended(begun(clock), clock, Outcome.of(error)))
    except ChatbatchError as unwritten:
        warn(f"The run is not in the job's history: {unwritten}")


def _filled(job: JobFile, name: str, began: datetime, environment: Mapping[str, str]) -> str:
    """Return an address as the file has it, with its placeholders filled in; empty where that cannot be done."""
    try:
        return expand(str(job.values.get(("notify", name), "")), began, environment)
    except ValueError:
        return ""


def _address(name: str, texts: list[Value | None]) -> str | None:
    parse = next(item.parse for item in declared() if item.name == name)
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            continue
        try:
            found = parse(text)
        except ValueError:
            continue  # an address that is none: the next origin may know better
        return str(found) if found is not None else None
    return None
