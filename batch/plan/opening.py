"""What every job opens first: the inputs and their columns, the credentials, the service or its emulator."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from batch import auth, storage
from batch.accounts import Accounts
from batch.auth import Credentials
from batch.clock import Clock, SystemClock
from batch.errors import UsageError
from batch.journal import tape_path
from batch.parsing import home_expanded
from batch.plan.accounting import open_accounts
from batch.plan.credentials import find_credentials
from batch.providers import check_model, models_of
from batch.readers import ColumnMapping, Reader, Template, open_reader
from batch.records import Defaults, Options
from batch.settings import Settings
from batch.storage import InputFile
from batch.writer import Layout, check_name

EMULATED_FOLDER = "b1gemulated0000000000"


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of a run: its output, its journal, and where standard input is kept."""

    output: Path
    journal: Path
    standard_input: Path

    @classmethod
    def of(cls, settings: Settings) -> Paths:
        """Return the paths that the settings mean; raises `UsageError` where there is no usable output."""
        output = settings.output
        if output is None:
            raise UsageError("There is no output: name one with -o, such as -o answers.parquet.")
        check_name(output)
        journal = settings.journal or journal_of(output)
        return cls(output, journal, output.with_name(output.name + ".stdin.jsonl"))

    @property
    def held(self) -> list[Path]:
        """Return what a run has to hold alone: its journal, and the output, whose journal may stand elsewhere."""
        return list(dict.fromkeys([journal_of(self.output), self.journal]))


def journal_of(output: Path) -> Path:
    """Return where the journal of an output stands unless it was put elsewhere."""
    return output.with_name(output.name + ".journal")


@dataclass(frozen=True, slots=True)
class Input:
    """The opened inputs and how their rows are understood."""

    files: Sequence[InputFile]
    mapping: ColumnMapping
    reader: Reader


def open_input(settings: Settings, inputs: Sequence[str], paths: Paths | None = None) -> Input:
    """Find and open the inputs; raises `InputError` or `UsageError` before anything is sent.

    Standard input is copied beside the output first (`paths`), since the output's pass reads it again.
    """
    mapping = ColumnMapping(
        settings.prompt_column,
        Template.parse(settings.template) if settings.template else None,
        settings.id_column,
        settings.keep,
    )
    if mapping.prompt_column and mapping.template:
        raise UsageError("--prompt-column and --template exclude each other: a template names its fields.")
    files = _find(inputs, paths, settings.log_file)
    return Input(files, mapping, open_reader(files, mapping))


def _find(inputs: Sequence[str], paths: Paths | None, log_file: Path | None) -> list[InputFile]:
    own = _own_files(paths) if paths else []
    if log_file is not None:
        own += [log_file, *log_file.parent.glob(glob.escape(log_file.name) + ".*")]
    if storage.STANDARD_INPUT not in inputs:
        _not_the_output(inputs, paths)
        return storage.find(inputs, leave_out=own)
    if list(inputs) != [storage.STANDARD_INPUT]:
        raise UsageError("- (standard input) stands alone: it cannot be mixed with files.")
    if sys.stdin.isatty():
        raise UsageError("Standard input is the terminal: pipe JSON Lines into it.")
    if paths is None:
        return [storage.copy_to_temporary(sys.stdin.buffer)]
    return [storage.copy_standard_input(sys.stdin.buffer, paths.standard_input)]


def _own_files(paths: Paths) -> list[Path]:
    """Return the files that a run makes: a glob or a folder that holds them means the others."""
    beside = paths.journal.parent.glob(glob.escape(paths.journal.name) + "*")
    return [paths.output, paths.standard_input, paths.journal, *beside]


def _not_the_output(inputs: Sequence[str], paths: Paths | None) -> None:
    for text in inputs:
        if paths and home_expanded(text).resolve() == paths.output.resolve():
            raise UsageError(f"{text} is both input and output; name another output with -o.")


def defaults(settings: Settings) -> Defaults:
    """Return what the run asks where rows ask nothing."""
    options = Options(temperature=settings.temperature, max_tokens=settings.max_tokens)
    return Defaults(settings.model, settings.system, options)


@dataclass(frozen=True, slots=True)
class Access:
    """How the service is reached: the settings with its address, the credential, the folder that pays."""

    settings: Settings
    credentials: Credentials
    folder: str | None


def find_access(settings: Settings, environment: Mapping[str, str], clock: Clock | None = None) -> Access:
    """Return how the service is reached; raises `CredentialsError`. Emulated runs need no credential.

    `clock` is the one by which tokens are renewed.
    """
    folder = settings.folder or auth.folder_from_environment(environment)
    if settings.emulate:
        if settings.base_url:
            raise UsageError("--emulate and --base-url exclude each other: the emulator has its own address.")
        return Access(settings, auth.for_emulator(), folder or EMULATED_FOLDER)
    return Access(settings, find_credentials(settings, environment, clock or SystemClock()), folder)


@contextmanager
def reached(access: Access) -> Iterator[Access]:
    """Enclose the use of the service; with `--emulate` an emulator serves on this machine until the end."""
    if not access.settings.emulate:
        yield access
        return
    try:
        from batch.emulator import Config, background
    except ImportError:
        raise UsageError(
            "The emulator is not installed.", hint="Install it with: pip install 'chatbatch[emulator]'."
        ) from None
    with background(Config(keep_entries=False)) as running:
        yield replace(access, settings=replace(access.settings, base_url=running.base_url))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run and a dry run have looked at before anything is written; `source` is None for standard input."""

    access: Access
    paths: Paths
    source: Input | None
    accounts: Accounts


def prepare(
    settings: Settings, inputs: Sequence[str], environment: Mapping[str, str], clock: Clock | None = None
) -> Prepared:
    """Look at settings, credentials, model, inputs and journal; writes nothing, raises what a run would."""
    paths = Paths.of(settings)
    access = find_access(settings, environment, clock)
    check_model(settings, access.folder)
    accounts = open_accounts(settings, models_of(settings, access.folder).identity)
    source = None if storage.STANDARD_INPUT in inputs else open_input(settings, inputs, paths)
    if source is not None:
        Layout.of(source.reader.columns, settings.keep)
    for path in (paths.output, paths.journal):
        storage.check_folder(path)
    stands = paths.journal.exists() or tape_path(paths.journal).exists()
    if not stands and paths.output.exists():
        raise UsageError(
            f"{paths.output} exists and its journal {paths.journal} does not: running would buy everything "
            "again and replace it.",
            hint="Bring the journal back, delete the output, or name another output with -o.",
        )
    return Prepared(access, paths, source, accounts)


def asked_of(settings: Settings) -> str:
    """Return whom a run asks, as its journal remembers it."""
    return "emulator" if settings.emulate else "service"
