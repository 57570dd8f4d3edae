"""A job file, read and checked, and what it means at a moment: settings, inputs, schedule, history.

Relative paths, those of `@FILE` included, are relative to the folder that holds the `jobs` folder; where the
file's folder has another name, to the file's own folder. Never to the working directory, which cron chooses.
"""

from __future__ import annotations

import glob
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from pathlib import Path
from typing import TypeAlias

from batch import parsing
from batch.errors import UsageError
from batch.jobfile import secrets
from batch.jobfile.cron import Schedule
from batch.jobfile.keys import EXPANDED, OWN_KEYS, PATHS, PROMPTS, TABLES, by_key
from batch.jobfile.placeholders import expand
from batch.parsing import home_expanded, nearest
from batch.settings import Declared, Layer, Value

SUFFIX = ".toml"
STATE = ".state"
KEEP_RUNS = 1000
Place: TypeAlias = "tuple[str, str]"


@dataclass(frozen=True, slots=True)
class HistoryRules:
    """How many runs a job remembers, and the folder of its state."""

    keep: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Ready:
    """A job file with its placeholders filled in: the layers of settings, one each, the inputs, the state."""

    layers: Sequence[Layer]
    inputs: Sequence[str]
    history: HistoryRules


@dataclass(frozen=True, slots=True)
class JobFile:
    """One job: its name, its file, and its values as text by table and key, placeholders unfilled."""

    name: str
    path: Path
    values: Mapping[Place, Value]
    schedule: Schedule
    _lines: Mapping[Place, int] = field(default_factory=dict, repr=False)

    @property
    def base(self) -> Path:
        """Return the folder to which the file's relative paths are relative."""
        folder = self.path.absolute().parent
        return folder.parent if folder.name == "jobs" else folder

    def at(self, began: datetime, environment: Mapping[str, str]) -> Ready:
        """Return what the file means for a run that began then, in local time.

        Raises `UsageError`, naming file, line, table and key, for a placeholder that cannot be filled, or a value
        that its setting refuses.
        """
        layers = []
        for place, item in by_key().items():
            if (value := self.values.get(place)) is not None:
                origin = f"job file {self.path} [{place[0]}] {place[1]}"
                layers.append(Layer(origin, {item.name: self._value(place, item, value, began, environment)}))
        return Ready(layers, self._inputs(began, environment), self.state(began, environment))

    def wrong(self, place: Place, what: str, hint: str = "") -> UsageError:
        """Return the error that says what is wrong with a key."""
        return _wrong(self.path, self._lines.get(place), place, what, hint)

    def _value(
        self, place: Place, item: Declared, value: Value, began: datetime, environment: Mapping[str, str]
    ) -> Value:
        try:
            if isinstance(value, str):
                if item.name in EXPANDED:
                    value = expand(value, began, environment)
                if item.name in PATHS:
                    value = str(self.below(value)) if value.strip() else value
                elif item.name in PROMPTS and value.startswith("@"):
                    value = f"@{self.below(value[1:])}"
            _try(item, value)
        except ValueError as error:
            raise self.wrong(place, str(error)) from None
        return value

    def below(self, text: str) -> Path:
        """Return a path of the file, relative ones from its base; raises `ValueError` where it has no meaning."""
        path = home_expanded(text)
        if text.startswith("~") and str(path).startswith("~"):
            raise ValueError(f"there is no home folder for {text!r}: HOME is not set; write the whole path")
        return path if path.is_absolute() else self.base / path

    def _inputs(self, began: datetime, environment: Mapping[str, str]) -> Sequence[str]:
        place, found = ("input", "files"), []
        for text in _texts(self.values.get(place, ())):
            try:
                found.append(self._input(expand(text, began, environment)))
            except ValueError as error:
                raise self.wrong(place, str(error)) from None
        return found

    def _input(self, text: str) -> str:
        if text.strip() in ("", "-"):
            raise ValueError("a job's input is files, folders and globs; nobody pipes into it")
        path = home_expanded(text)
        if "://" in text or path.is_absolute() or not glob.has_magic(text):
            return text if "://" in text else str(self.below(text))
        return str(Path(glob.escape(str(self.base))) / path)

    def state(self, began: datetime, environment: Mapping[str, str]) -> HistoryRules:
        """Return where the job's state stands, whatever else cannot be filled in; raises `UsageError`."""
        folder, keep = ("history", "folder"), ("history", "keep")
        stated, number = self.values.get(folder), self.values.get(keep)
        try:
            path = self.below(expand(str(stated), began, environment)) if stated else self.default_state
        except ValueError as error:
            raise self.wrong(folder, str(error)) from None
        try:
            return HistoryRules(parsing.positive(str(number)) if number is not None else KEEP_RUNS, path)
        except ValueError as error:
            raise self.wrong(keep, str(error)) from None

    @property
    def default_state(self) -> Path:
        """Return where a job's state stands unless `[history] folder` says otherwise."""
        return self.path.absolute().parent / STATE / self.name


def names(folder: Path) -> list[str]:
    """Return the names of the jobs in a folder; raises `UsageError` where there is no such folder."""
    try:
        return sorted(path.stem for path in folder.iterdir() if path.suffix == SUFFIX and path.is_file())
    except OSError as error:
        raise UsageError(
            f"The folder of jobs {folder} cannot be read: {error.strerror}.",
            hint="Name another one with --jobs-dir or CHATBATCH_JOBS_DIR.",
        ) from None


def find(name: str, folder: Path) -> Path:
    """Return the file of a job: a name in the folder, or a path to a .toml; raises `UsageError`."""
    if "/" in name or name.endswith(SUFFIX):
        path = home_expanded(name)
        if not _is_file(path):
            raise UsageError(f"There is no job file {name}.")
        return path
    path = folder / (name + SUFFIX)
    if not _is_file(path):
        raise UsageError(
            f"There is no job {name}{nearest(name, names(folder))}: {path} does not exist.",
            hint="chatbatch job list shows the jobs; --jobs-dir names another folder.",
        )
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise UsageError(f"The job file {path} cannot be read: {error.strerror}.") from None


def load(path: Path) -> JobFile:
    """Read a job file; raises `UsageError`, naming file, table and key, for whatever does not belong there.

    Values in which nothing is filled in are parsed here already; the others by `JobFile.at`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        # Floats stay as they are written: money is decimal.
        document: dict[str, object] = tomllib.loads(text, parse_float=str)
    except OSError as error:
        raise UsageError(f"The job file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"The job file {path} is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The job file {path} is not TOML: {error}.") from None
    lines, settings = _lines(text), by_key()
    values: dict[Place, Value] = {}
    for table, content in document.items():
        for key, value in _table(path, lines, table, content).items():
            place = (table, key)
            _known(path, lines.get(place), place)
            try:
                values[place] = _as_text(value, settings.get(place))
                if any(map(secrets.is_credential, _texts(values[place]))):
                    raise _wrong(path, lines.get(place), place, "a job file holds no credentials", secrets.WHERE)
                if (item := settings.get(place)) is not None and item.name not in EXPANDED | PROMPTS:
                    _try(item, values[place])
            except ValueError as error:
                raise _wrong(path, lines.get(place), place, str(error)) from None
    return JobFile(path.stem, path, values, _schedule(path, lines, values), lines)


def _table(path: Path, lines: Mapping[Place, int], table: str, content: object) -> Mapping[str, object]:
    if secrets.is_credentials_name(table):
        raise _wrong(path, lines.get(("", table)), (table, ""), "a job file holds no credentials", secrets.WHERE)
    if not isinstance(content, dict):
        places = [of for of, keys in TABLES.items() if table in keys]
        where = f"; it belongs in [{places[0]}]" if places else ""
        raise _wrong(path, lines.get(("", table)), ("", table), f"this key stands in no table{where}")
    if table not in TABLES:
        near = nearest(table, TABLES)
        raise _wrong(path, lines.get(("", table)), (table, ""), f"there is no such table{near}", _tables())
    return content


def _known(path: Path, line: int | None, place: Place) -> None:
    table, key = place
    if key in TABLES[table]:
        return
    elsewhere = [of for of, keys in TABLES.items() if key in keys]
    if not elsewhere and secrets.is_credentials_name(key):
        raise _wrong(path, line, place, "a job file holds no credentials", secrets.WHERE)
    near = nearest(key, TABLES[table], alike=0.85)  # a slip of a letter, though another table may know the word
    if not near:
        near = f"; it belongs in [{elsewhere[0]}]" if elsewhere else nearest(key, TABLES[table])
    if not near:
        closest = {name: of for of, keys in TABLES.items() for name in keys}
        near = nearest(key, closest)
    raise _wrong(path, line, place, f"there is no such key{near}", f"[{table}] knows {', '.join(TABLES[table])}.")


def _tables() -> str:
    return "There are " + ", ".join(f"[{table}]" for table in TABLES) + "."


def _as_text(value: object, item: Declared | None) -> Value:
    """Return a value of TOML as the text that a flag would have; raises `ValueError`."""
    many = item.many if item else True
    if isinstance(value, list):
        if not many:
            raise ValueError("one value is expected, not a list")
        return tuple(_one(each) for each in value)
    if isinstance(value, bool):
        if item is None or not item.switch:
            raise ValueError(f"{str(value).lower()} is no value of this key; write off for none")
        return value
    return (_one(value),) if item is not None and many else _one(value)


def _one(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, time):
        return f"{value:%H:%M}"
    raise ValueError("a text, a number, true or false is expected")


def _texts(value: Value) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (str(value),)


def _try(item: Declared, value: Value) -> None:
    """Parse a value as the setting will be, for its sentence alone."""
    for text in _texts(value):
        parsing.boolean(text) if item.switch else item.parse(text)


def _schedule(path: Path, lines: Mapping[Place, int], values: Mapping[Place, Value]) -> Schedule:
    said = {key: _texts(values.get(("schedule", key), ())) for key in OWN_KEYS["schedule"]}
    at, cron, zone, jitter = (" ".join(said[key]) for key in ("at", "cron", "timezone", "jitter"))
    place = ("schedule", "cron" if cron else "at" if at else "days")
    try:
        schedule = Schedule.of(at, cron, said["days"], zone)
        place = ("schedule", "jitter")
        return replace(schedule, jitter_s=parsing.duration(jitter)) if jitter else schedule
    except ValueError as error:
        raise _wrong(path, lines.get(place), place, str(error)) from None


def _lines(text: str) -> dict[Place, int]:
    """Return on which line each key stands, as far as one line tells; tables stand under ("", name)."""
    found: dict[Place, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*[\"']?([\w-]+)", line):
            table = header[1]
            found.setdefault(("", table), number)
        elif key := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line):
            found.setdefault((table, key[1]), number)
    return found


def _wrong(path: Path, line: int | None, place: Place, what: str, hint: str = "") -> UsageError:
    table, key = place
    where = f"{path}, line {line}" if line else str(path)
    name = " ".join(part for part in (f"[{table}]" if table else "", key) if part)
    return UsageError(f"{where}: {name}: {what}.", hint=hint)
