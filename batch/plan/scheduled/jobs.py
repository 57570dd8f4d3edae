"""A scheduled job: its file put together with flags and environment, and what is there for it."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batch import storage
from batch.errors import InputError
from batch.jobfile import KEYS, HistoryRules, JobFile
from batch.jsontext import Json, canonical
from batch.parsing import home_expanded
from batch.plan.opening import journal_of
from batch.plan.scheduled.history import History
from batch.settings import Layer, Resolved, resolve

_FILES = ("input", "files")
# Settings that say how one call is shown, or where credentials may stand: no part of what a job is.
_NOT_HASHED = frozenset(
    {"dry_run", "verbose", "quiet", "json", "service_account_key", "ping_url", "webhook", "stats", "log_file"}
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job at a moment: its settings in force with their origins, its inputs, where its state stands."""

    job: JobFile
    resolved: Resolved
    inputs: Sequence[str]
    history: HistoryRules
    began: datetime

    @property
    def journal(self) -> Path | None:
        """Return the journal of this run, or None where there is no output."""
        settings = self.resolved.settings
        return settings.journal or (journal_of(settings.output) if settings.output else None)

    @property
    def fingerprint(self) -> str:
        """Return a hash of the settings without secrets, equal while they are; placeholders count unfilled."""
        told: dict[str, Json] = {"inputs": [str(text) for text in _texts(self.job.values.get(_FILES))]}
        for name, origin in self.resolved.origins.items():
            if origin == "default" or name in _NOT_HASHED:
                continue
            text = str(getattr(self.resolved.settings, name))
            stated = self.job.values.get(KEYS[name]) if origin.startswith("job file") else None
            told[name] = stated if isinstance(stated, str) and "{" in stated else text
        return hashlib.sha256(canonical(told)).hexdigest()[:16]

    def there(self) -> list[str]:
        """Return the inputs that there is something to read of; a folder or a glob may still be empty.

        Raises `InputError` for one that names a single file which is missing or of no known kind, for one that may
        not be read, and where all folders are gone that the runs before have read.
        """
        found = []
        for text in self.inputs:
            try:
                files = storage.find([text], leave_out=self._own())
            except storage.InputEmpty:
                if not _may_be_empty(text):
                    raise
                continue
            found += [text] if files else []
        if not found:
            self._check_folders()
        return found

    def _check_folders(self) -> None:
        """Raise `InputError` where the job has read rows before, and all folders of its inputs are gone."""
        folders = [
            self.job.below(str(storage.fixed_folder(str(text), "*?[{")))
            for text in _texts(self.job.values.get(_FILES))
        ]
        ran = any(record.run for record in History(self.history.folder, self.history.keep).records())
        if ran and not any(folder.exists() for folder in folders):
            names = " and no ".join(map(str, dict.fromkeys(folders)))
            raise InputError(
                f"There is no {names}, and the job has read rows before.",
                hint="Mount it, or make it again; while it is empty, the job has nothing to do.",
            )

    def _own(self) -> list[Path]:
        output = self.resolved.settings.output
        return [] if output is None else [output]


def _texts(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _may_be_empty(text: str) -> bool:
    """Return whether an input may hold nothing yet: a glob, a folder, or a missing path without an ending."""
    path = home_expanded(text)
    if path.exists():
        return path.is_dir()
    return "://" not in text and (glob.has_magic(text) or text.endswith("/") or not path.suffix)


def prepare(job: JobFile, above: Sequence[Layer], began: datetime, environment: Mapping[str, str]) -> Prepared:
    """Return the job as it is to be run; `above` are the layers that go before its file, the first wins.

    Raises `UsageError` for a wrong value, a job without input or without output.
    """
    ready = job.at(began, environment)
    resolved = resolve([*above, *ready.layers])
    if not ready.inputs:
        raise job.wrong(_FILES, "the job has no input", 'Such as files = ["in/"] in [input].')
    if resolved.settings.output is None:
        raise job.wrong(
            ("output", "path"), "the job has no output", 'Such as path = "answers.parquet" in [output].'
        )
    return Prepared(job, resolved, ready.inputs, ready.history, began)
