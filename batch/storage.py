"""Which files there are and what bytes are in them; the home of file systems and compression.

Finds files, folders and globs, tells a format by the name's ending, and yields decompressed blocks. Knows
nothing of rows.
"""

from __future__ import annotations

import atexit
import glob
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from batch.errors import InputError, UsageError
from batch.parsing import home_expanded

BLOCK_BYTES = 1 << 20
STANDARD_INPUT = "-"
Compression: TypeAlias = Literal["gzip", "zstd", "bz2"]
_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


class InputEmpty(InputError):
    """There is nothing to read where an input was named; whoever waits for it to come may go on waiting."""


class Format(Enum):
    """What kind of rows a file holds."""

    JSON_LINES = "JSON Lines"
    PARQUET = "Parquet"


_FORMATS = {".jsonl": Format.JSON_LINES, ".ndjson": Format.JSON_LINES, ".parquet": Format.PARQUET}
ACCEPTED = ".jsonl, .ndjson (also .gz, .zst, .bz2), .parquet"


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read: `name` is how the user is told of it, `compression` an Arrow codec's name."""

    path: Path
    name: str
    format: Format
    compression: Compression | None = None


def find(inputs: Sequence[str], *, leave_out: Iterable[Path] = ()) -> list[InputFile]:
    """Return the files that files, folders and globs name, in their order, each once.

    Folders are read whole, their files sorted by name; what they hold of other kinds is passed over, and so
    are the paths in `leave_out` (the run's own output). Raises `InputEmpty` where a path is missing, or a glob or
    a folder has nothing to read; `InputError` where one may not be read, or a named file's ending is unknown.
    """
    own = {path.resolve() for path in leave_out}
    found: dict[Path, InputFile] = {}
    for text in inputs:
        try:
            for path in _expand(text):
                if (resolved := path.resolve()) not in own and resolved not in found:
                    found[resolved] = _recognise(path)
        except OSError as error:
            raise InputError(f"{text} cannot be read: {_reason(error)}.") from error
    if not found:
        raise InputEmpty(f"There is nothing to read in {', '.join(inputs) or 'the inputs'}.")
    return list(found.values())


def _expand(text: str) -> Iterator[Path]:
    if "://" in text:
        raise InputError(f"{text}: only files of this machine can be read; copy it here first.")
    path = home_expanded(text)
    if path.is_dir():
        yield from _folder(path)
    elif path.exists():
        yield path
    elif glob.has_magic(text):
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        if not matches:
            _look_into(fixed_folder(str(path)))
            raise InputEmpty(f"No file matches {text}.")
        for match in matches:
            yield from _folder(match) if match.is_dir() else [match]
    else:
        raise InputEmpty(f"{text} does not exist.")


def fixed_folder(pattern: str, special: str = "*?[") -> Path:
    """Return the folder of a pattern that holds whatever it may match; the pattern itself where it is none."""
    first = min((pattern.find(character) for character in special if character in pattern), default=-1)
    return Path(pattern) if first < 0 else Path(pattern[:first] + "x").parent


def _look_into(folder: Path) -> None:
    """Raise `OSError` where a folder is there and may not be read: what is in it is not nothing."""
    if folder.is_dir():
        os.scandir(folder).close()


def _folder(folder: Path) -> Sequence[Path]:
    paths = sorted(path for path in _below(folder) if _is_row_file(path, folder))
    if not paths:
        raise InputEmpty(f"The folder {folder} holds no file that can be read ({ACCEPTED}).")
    return paths


def _below(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder and in those below it; raises `OSError` for one that may not be read."""

    def refused(error: OSError) -> None:
        raise error

    for name, _, files in os.walk(folder, onerror=refused):
        yield from (Path(name, file) for file in files)


def _is_row_file(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.is_file() and _format(path) is not None


def _format(path: Path) -> tuple[Format, Compression | None] | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _FORMATS:
        return _FORMATS[suffixes[-1]], None
    compressed = len(suffixes) > 1 and suffixes[-1] in _COMPRESSIONS
    if compressed and _FORMATS.get(suffixes[-2]) is Format.JSON_LINES:
        return Format.JSON_LINES, _COMPRESSIONS[suffixes[-1]]
    return None


def _recognise(path: Path) -> InputFile:
    known = _format(path)
    if known is None:
        raise InputError(f"{path}: unknown kind of file; accepted are {ACCEPTED}, and - for standard input.")
    name = os.fsencode(path).decode(errors="replace")
    if name != str(path):  # neither Arrow nor an output could hold it
        raise InputError(f"The name of {name} is not UTF-8.", hint="Rename the file.")
    return InputFile(path, name, *known)


def copy_standard_input(stream: BinaryIO, target: Path) -> InputFile:
    """Copy JSON Lines from a stream into the file `target`, since the output's pass reads them again.

    The copy appears under its name only when it is complete. Raises `InputError` when it cannot be written.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as copy:
            try:
                shutil.copyfileobj(stream, copy, BLOCK_BYTES)
                copy.flush()
                os.replace(copy.name, target)
            except BaseException:
                os.unlink(copy.name)
                raise
    except OSError as error:
        raise InputError(f"Standard input could not be copied to {target}: {_reason(error)}.") from error
    return InputFile(target, "<stdin>", Format.JSON_LINES)


def blocks(item: InputFile) -> Iterator[bytes]:
    """Yield a file's decompressed bytes in blocks of about a mebibyte; flat in memory.

    Raises `InputError` where the file cannot be opened, or its compression is damaged or cut off.
    """
    try:
        with pa.OSFile(str(item.path), "rb") as raw:
            if item.compression is None:
                while block := raw.read(BLOCK_BYTES):
                    yield block
            elif raw.size():
                with pa.CompressedInputStream(raw, item.compression) as stream:
                    while block := stream.read(BLOCK_BYTES):
                        yield block
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{item.name} cannot be read: {_reason(error)}.") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:  # Arrow puts a sentence of its own before the system's
        return os.strerror(error.errno)
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def taken(batch: pa.RecordBatch, numbers: Sequence[int]) -> pa.RecordBatch:
    """Return these rows of a batch, in this order."""
    return batch.take(pa.array(numbers, pa.int64()))


def python_rows(batch: pa.RecordBatch) -> list[dict[str, object]]:
    """Return a batch's rows as Python values; what Python cannot hold (nanoseconds, far years) as text."""
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError):
        columns = [[_python_value(scalar) for scalar in column] for column in batch.columns]
        return [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _python_value(scalar: pa.Scalar[pa.DataType]) -> object:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        if isinstance(scalar, pa.StructScalar):
            return {name: _python_value(item) for name, item in scalar.items()}
        if isinstance(scalar, pa.ListScalar):  # maps too: a list of their entries
            return [_python_value(item) for item in scalar.values or []]
        if pa.types.is_string(scalar.type) or pa.types.is_large_string(scalar.type):  # not UTF-8
            return bytes(scalar.cast(pa.large_binary()).as_py())
        return scalar.cast(pa.string()).as_py()


def ready_folder(path: Path) -> None:
    """Make a file's folder where it is missing, and prove that it can be written.

    Raises `UsageError` otherwise, so that nothing is bought that could not be kept.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(f"The folder {path.parent} cannot be written: {error.strerror}.") from None


def check_folder(path: Path) -> None:
    """Raise `UsageError` where a file could not be written, as far as that can be told without writing."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{str(path)!a}: the name is not UTF-8 and cannot be written down.") from None
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file such as {path / 'answers.parquet'}.")
    folder = path.absolute().parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise UsageError(f"{path} cannot be written: {folder} is no folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written: no permission in {folder}.")


def copy_to_temporary(stream: BinaryIO) -> InputFile:
    """Copy JSON Lines from a stream into a file that ends with this process, for jobs that keep nothing."""
    handle, name = tempfile.mkstemp(suffix=".jsonl")
    atexit.register(Path(name).unlink, missing_ok=True)
    with open(handle, "wb") as copy:
        shutil.copyfileobj(stream, copy, BLOCK_BYTES)
    return InputFile(Path(name), "<stdin>", Format.JSON_LINES)


def read_parquet(path: Path, columns: Sequence[str]) -> Iterator[list[dict[str, object]]]:
    """Yield some columns of a Parquet file, some hundred rows at a time; raises `InputError`."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=512, columns=list(columns)):
                yield python_rows(batch)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {_reason(error)}.") from error


def parquet_footer(path: Path, key: str) -> tuple[list[str], str]:
    """Return the names of a Parquet file's columns, and the text that its metadata holds under a key."""
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata.metadata or {}
            return list(file.schema_arrow.names), metadata.get(key.encode(), b"").decode(errors="replace")
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {_reason(error)}.") from error
