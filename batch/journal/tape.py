"""The tape: everything that a run writes, line by line, in the order in which it happened.

It stands beside the SQLite file and holds the same entries, so that either of the two can be made again from
the other: a journal whose last page was torn, or whose write-ahead log somebody removed, costs nothing. It is
written first and synced, so SQLite need not sync for every group, and a group costs one sync as before.

A line is the CRC-32 of the rest in hex, a space, and a JSON array that begins with the entry's kind. A last
line that was cut off is forgotten: nothing that depends on it had begun.
"""

from __future__ import annotations

import base64
import errno
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from batch.errors import JournalError
from batch.journal.connection import sync_folder
from batch.journal.entries import (
    Intent,
    LimitSet,
    Outcome,
    Receipt,
    Result,
    RunBegan,
    RunEnded,
    Submitted,
    Write,
)
from batch.journal.schema import as_charge, as_money, charge_columns, money_columns
from batch.jsontext import Json, NotJson, encode, parse
from batch.records import Charge, Reply, Status, Usage

FORMAT = 2


class HeadHarmed(Exception):
    """The tape's first line cannot be read."""


class Tape:
    """An open tape: `append` to its end, or read `entries` from an offset on."""

    def __init__(self, path: Path, descriptor: int, head: tuple[str, str, int], end: int) -> None:
        self.path = path
        self.identity, self.asked, self.begin = head
        self.end = end
        self._descriptor = descriptor
        self._inode = os.fstat(descriptor).st_ino

    @classmethod
    def make(cls, path: Path, identity: str, asked: str, entries: Iterator[Sequence[Write]]) -> Tape:
        """Write a whole tape with these entries under another name, and put it in place."""
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        with unfinished.open("wb") as file:
            file.write(_line(["tape", FORMAT, identity, asked]))
            for group in entries:
                file.write(lines(group))
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        sync_folder(path.parent)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Tape:
        """Open the tape at `path`; raises `JournalError` where its head cannot be read, `OSError`."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            head = os.pread(descriptor, 4096, 0).split(b"\n", 1)
            fields = _read(head[0]) if len(head) > 1 else None
            if not isinstance(fields, list) or len(fields) != 4 or fields[0] != "tape":
                raise HeadHarmed
            if fields[1] != FORMAT:
                raise JournalError(
                    f"The tape {path} has format {fields[1]}; this version of chatbatch knows {FORMAT}.",
                    hint="Continue with the version that wrote it, or a newer one.",
                )
            known = (str(fields[2]), str(fields[3]), len(head[0]) + 1)
            return cls(path, descriptor, known, os.fstat(descriptor).st_size)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Close the file; safe to repeat."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def append(self, data: bytes) -> None:
        """Write `lines` at the end, on disk when it returns; all or none.

        Raises `OSError`, with the tape as it was before. Where even cutting it back fails, `read` forgets the
        line that was cut off.
        """
        if os.stat(self.path).st_ino != self._inode:  # else a removed file would be written to unseen
            raise FileNotFoundError(errno.ENOENT, "the journal's tape was moved or removed")
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self.end + written)
            os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self.end)
            raise
        self.end += len(data)

    def read(self, offset: int) -> Iterator[tuple[Write, int]]:
        """Yield the entries from an offset on (`begin` for all), each with the offset behind it.

        A last line that is cut off is cut away. Raises `JournalError` for a damaged line before that, or
        where the offset is not between two lines.
        """
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(offset - 1)
            if file.read(1) != b"\n":
                raise JournalError(f"The tape {self.path} does not fit its journal.")
            for line in file:
                fields = _read(line.removesuffix(b"\n")) if line.endswith(b"\n") else None
                behind = offset + len(line)
                if fields is None and behind >= self.end:
                    break
                if fields is None:
                    raise JournalError(f"The tape {self.path} is damaged at byte {offset}.")
                offset = behind
                if isinstance(fields, list):
                    yield _entry(fields), offset
        if offset < self.end:
            os.ftruncate(self._descriptor, offset)
            self.end = offset


def lines(entries: Sequence[Write]) -> bytes:
    """Return entries as they stand on a tape; raises `TypeError` for what JSON cannot hold."""
    return b"".join(_line(_fields(entry)) for entry in entries)


def _line(fields: list[Json]) -> bytes:
    text = encode(fields)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read(line: bytes) -> Json:
    checksum, _, text = line.partition(b" ")
    try:
        return parse(text) if int(checksum, 16) == zlib.crc32(text) else None
    except (ValueError, NotJson):
        return None


def _fields(entry: Write) -> list[Json]:
    match entry:
        case RunBegan(run, started_at, version, settings):
            return ["run", run, started_at, version, settings]
        case RunEnded(run, ended_at, exit_code):
            return ["ended", run, ended_at, exit_code]
        case Intent(attempt, row_key, number, sent_at, run, model, content, mode, charge):
            return ["intent", attempt, row_key, number, sent_at, run, model, content, mode,
                    *charge_columns(charge)]  # fmt: skip
        case Submitted(attempt, operation_id, submitted_at):
            return ["submitted", attempt, operation_id, submitted_at]
        case LimitSet(run, at, limit, value):
            return ["limit", run, at, limit, value]
        case Receipt(attempt, reply, received_at, latency_s):
            return ["receipt", attempt, received_at, latency_s, reply.http_status, reply.server_request_id,
                    *_body(reply.body)]  # fmt: skip
        case Outcome(attempt, outcome, error_code, None):
            return ["outcome", attempt, outcome, error_code]
        case Outcome(attempt, outcome, error_code, charge):
            return ["outcome", attempt, outcome, error_code, *charge_columns(charge)]
        case Result():
            usage = entry.usage
            return ["result", entry.row_key, entry.attempt, entry.status.value, entry.attempts,
                    usage.input_tokens, usage.completion_tokens, usage.reasoning_tokens, usage.total_tokens,
                    entry.error_code, entry.error_message, entry.latency_s, entry.finished_at,
                    *money_columns(entry.cost)]  # fmt: skip


def _body(body: bytes) -> tuple[str, bool]:
    """Return a body as text, and whether it had to be written in base64 since it is not UTF-8."""
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), True


def _entry(fields: list[Json]) -> Write:
    match fields:
        case ["run", int(run), int() | float() as started_at, str(version), str(settings)]:
            return RunBegan(run, started_at, version, settings)
        case ["ended", int(run), int() | float() as ended_at, int(exit_code)]:
            return RunEnded(run, ended_at, exit_code)
        case ["intent", int(attempt), str(row_key), int(number), int() | float() as sent_at, int(run),
              str(model), str() | None as content, str(mode), *rest]:  # fmt: skip
            return Intent(attempt, row_key, number, sent_at, run, model, content, mode, _charge(rest))
        case ["submitted", int(attempt), str(operation_id), int() | float() as submitted_at]:
            return Submitted(attempt, operation_id, submitted_at)
        case ["limit", int(run), int() | float() as at, str(limit), int(value)]:
            return LimitSet(run, at, limit, value)
        case ["receipt", int(attempt), int() | float() as received_at, int() | float() as latency_s,
              int(http_status), str() | None as server_id, str(text), bool(coded)]:  # fmt: skip
            body = base64.b64decode(text) if coded else text.encode()
            reply = Reply(http_status, body, server_request_id=server_id)
            return Receipt(attempt, reply, received_at, latency_s)
        case ["outcome", int(attempt), str(outcome), str() | None as error_code]:
            return Outcome(attempt, outcome, error_code)
        case ["outcome", int(attempt), str(outcome), str() | None as error_code, *rest]:
            return Outcome(attempt, outcome, error_code, _charge(rest))
        case ["result", str(row_key), int(attempt), str(status), int(attempts), *rest]:
            return _result(row_key, attempt, Status(status), attempts, rest)
        case _:
            raise JournalError(f"The tape holds an entry of a newer version: {fields[0]!s:.40}.")


def _charge(columns: list[Json]) -> Charge | None:
    match columns:
        case [int() | None as given, int() | None as taken, int() | None as micros, str() | None as currency]:
            return as_charge(given, taken, micros, currency)
        case _:
            raise JournalError("The tape holds a charge of another shape.")


def _result(row_key: str, attempt: int, status: Status, attempts: int, rest: list[Json]) -> Result:
    match rest:
        case [
            int() | None as input_tokens, int() | None as completion_tokens,
            int() | None as reasoning_tokens, int() | None as total_tokens,
            str() | None as error_code, str() | None as error_message,
            int() | float() | None as latency_s, int() | float() as finished_at,
            int() | None as micros, str() | None as currency,
        ]:  # fmt: skip
            usage = Usage(input_tokens, completion_tokens, reasoning_tokens, total_tokens)
            return Result(
                row_key, attempt, status, attempts, usage, error_code, error_message, latency_s, finished_at,
                as_money(micros, currency),
            )  # fmt: skip
        case _:
            raise JournalError(f"The tape holds a result of another shape, of row {row_key:.40}.")
