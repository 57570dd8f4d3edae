"""What a look at a job tells before it runs: everything that can be known without a network."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batch import auth, storage
from batch.clock import SystemClock
from batch.errors import ChatbatchError, UsageError
from batch.jobfile import KEYS, load, names
from batch.plan.accounting import open_accounts
from batch.plan.credentials import find_credentials
from batch.plan.opening import Paths, open_input
from batch.plan.scheduled.jobs import Prepared, prepare
from batch.plan.scheduled.recording import LOCK
from batch.providers import check_model, models_of
from batch.settings import declared, from_environment
from batch.writer import Layout

# Where a credential is found without asking anybody, in the order of `batch.auth.finding`.
_ENVIRONMENT = ("YC_API_KEY", "YC_IAM_TOKEN", "API_KEY", "IAM_TOKEN", "YC_SERVICE_ACCOUNT_KEY_FILE")


_FROM_CRON = "A schedule's variables are loaded by: set -a; . jobs/.env; set +a"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about a job: a `fault`, or a note; `hint` says how to mend it."""

    fault: bool
    text: str
    hint: str = ""

    @classmethod
    def of(cls, error: ChatbatchError, more: str = "") -> Finding:
        """Return what an error means for a job, with the keys of the flags that its sentence names."""
        return cls(True, _FLAG.sub(_with_key, str(error)), f"{error.hint} {more}".strip())


_FLAG = re.compile(r"--[a-z][a-z-]+")
_BY_FLAG = {item.flag: KEYS[item.name] for item in declared()}


def _with_key(flag: re.Match[str]) -> str:
    table, key = _BY_FLAG.get(flag[0], ("", ""))
    return f"{flag[0]} ({key} in [{table}])" if table else flag[0]


def check(path: Path, began: datetime, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is wrong with a job that would begin then, and what is worth knowing; sends nothing."""
    try:
        prepared = prepare(load(path), [from_environment(environment)], began, environment)
    except ChatbatchError as error:
        yield Finding.of(error)
        return
    for look in (_inputs, _prices, _folders):
        yield from _guarded(look, prepared)
    try:
        yield from _credentials(prepared, environment)
    except ChatbatchError as error:
        yield Finding.of(error)
    yield from _schedule(prepared)


def together(folder: Path, began: datetime, environment: Mapping[str, str]) -> Iterator[tuple[str, str, Finding]]:
    """Yield pairs of a folder's jobs of which one would spoil what the other writes, with what is wrong."""
    taken: dict[tuple[str, Path], Prepared] = {}
    for name in names(folder):
        try:
            job = prepare(load(folder / f"{name}.toml"), [from_environment(environment)], began, environment)
        except ChatbatchError:
            continue  # `check` says what is wrong with it
        settings = job.resolved.settings
        written = {"output": settings.output, "metrics file": settings.metrics_file, "state": job.history.folder}
        for what, path in written.items():
            if path is None:
                continue
            other = taken.setdefault((what, path.resolve()), job)
            if other is job or (what == "output" and other.inputs == job.inputs):
                continue
            text = f"its {what} {path} is that of the job {other.job.name} too"
            why = ", whose inputs are others: each run replaces the other's rows" if what == "output" else ""
            yield other.job.name, name, Finding(True, text + why, "Give each job one of its own.")


def _guarded(look: Callable[[Prepared], Iterator[Finding]], prepared: Prepared) -> Iterator[Finding]:
    try:
        yield from look(prepared)
    except ChatbatchError as error:
        yield Finding.of(error)


def _inputs(prepared: Prepared) -> Iterator[Finding]:
    settings = prepared.resolved.settings
    found = prepared.there()
    for text in prepared.inputs:
        if text not in found:
            yield Finding(False, f"there is nothing to read in {text} yet; a run would have nothing to do")
    paths = Paths.of(settings)
    for item in storage.find(found) if found else ():
        if not os.access(item.path, os.R_OK):
            yield Finding(True, f"{item.name} cannot be read: no permission")
    if found:
        Layout.of(open_input(settings, found, paths).reader.columns, settings.keep)


def _prices(prepared: Prepared) -> Iterator[Finding]:
    settings = prepared.resolved.settings
    accounts = open_accounts(settings, models_of(settings, settings.folder).identity)
    if accounts.price(settings.model, "sync") is None:
        yield Finding(
            False,
            f"no price is known for {settings.model}: the job's cost will not be",
            "State one with prices, or price_input and price_output, in [budget].",
        )


def _folders(prepared: Prepared) -> Iterator[Finding]:
    settings, folder = prepared.resolved.settings, prepared.history.folder
    written = [settings.log_file, folder / "history.jsonl", folder / f"{LOCK}.lock"]
    for path in (settings.output, prepared.journal, settings.metrics_file, *written):
        if path is not None:
            storage.check_folder(path)
    for path in written:
        if path is not None and path.exists() and not os.access(path, os.R_OK | os.W_OK):
            yield Finding(True, f"{path} cannot be written: no permission")


def _credentials(prepared: Prepared, environment: Mapping[str, str]) -> Iterator[Finding]:
    settings = prepared.resolved.settings
    if settings.emulate:
        yield Finding(False, "the job asks the emulator: nothing is sent, and nothing that it answers is real")
        return
    try:
        check_model(settings, settings.folder or auth.folder_from_environment(environment))
    except UsageError as error:
        yield Finding.of(error, _FROM_CRON)
    if settings.service_account_key or any(environment.get(name, "").strip() for name in _ENVIRONMENT):
        for warning in find_credentials(settings, environment, SystemClock()).warnings:
            yield Finding(False, warning)
        return
    yield Finding(
        False,
        "no credential is set; the machine's metadata and the yc CLI were not asked, which needs a network",
        "Set API_KEY or IAM_TOKEN where the job is started, or service_account_key in [service].",
    )


def _schedule(prepared: Prepared) -> Iterator[Finding]:
    schedule = prepared.job.schedule
    if not schedule.cron:
        yield Finding(False, "the job has no schedule", 'Such as at = "02:30" in [schedule].')
    elif schedule.next(prepared.began) is None:
        yield Finding(True, f"the schedule {schedule.cron} names no day that there is", "Mend [schedule] cron.")
    if schedule.timezone and schedule.zone() is None:
        what = f"there is no time zone {schedule.timezone}"
        wrong = prepared.job.wrong(("schedule", "timezone"), what, "Such as Europe/Moscow.")
        yield Finding.of(wrong)
