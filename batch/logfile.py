"""A log file that several runs may share: lines with times, rotated by size.

The home of `logging`: its `RotatingFileHandler` rotates. Two processes on one file do not harm each other:
whole lines are appended, whoever rotates holds a lock on the file, and the others notice by the file's inode
that theirs was renamed and open the new one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import sys
from collections.abc import Callable
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from batch.errors import UsageError
from batch.plaintext import printable


class LogFile:
    """A sink for lines, which never fails: `broken` is told once why it could not be written."""

    def __init__(self, handler: _SharedHandler, clock_time: Callable[[], float]) -> None:
        self._handler = handler
        self._time = clock_time

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        size: int,
        keep: int,
        stamped: bool,
        now: Callable[[], float],
        broken: Callable[[str], None],
    ) -> LogFile:
        """Open a log file, and make its folder.

        It is rotated before it exceeds `size` bytes, and `keep` older ones are kept; with 0 it begins anew.
        `stamped` lines begin with the local time and its offset from UTC; `now` gives seconds since 1970.
        Raises `UsageError` where the path cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not (path.is_file() or stat.S_ISCHR(path.stat().st_mode)):
                raise OSError("it is no file")
            handler = _SharedHandler(path, size, keep, broken)
        except OSError as error:
            raise UsageError(
                f"The log file {printable(str(path))} cannot be written: {error.strerror or error}.",
                hint="Name another one with --log-file, or leave it out.",
            ) from None
        handler.setFormatter(_Stamp() if stamped else _Escaped())
        return cls(handler, now)

    def write(self, text: str, /) -> None:
        """Write lines; control characters in them are replaced."""
        for line in text.removesuffix("\n").split("\n"):  # JSON may hold the other ends of lines
            record = logging.makeLogRecord({"msg": line, "created": self._time()})
            self._handler.handle(record)

    def flush(self) -> None:
        """Let others see what was written: every line is, at once."""

    def close(self) -> None:
        """Close the file."""
        self._handler.shut()


class _Stamp(logging.Formatter):
    """A line with its time, in ISO 8601 with milliseconds and the offset from UTC."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        return f"{at}  {printable(str(record.msg))}"


class _Escaped(logging.Formatter):
    """A line of JSON, whose control characters are escaped as JSON allows: its values stay what they are."""

    def format(self, record: logging.LogRecord) -> str:
        text = str(record.msg)
        if text.isprintable():
            return text
        return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


class _SharedHandler(RotatingFileHandler):
    """The standard library's rotation, for more than one process."""

    def __init__(self, path: Path, size: int, keep: int, broken: Callable[[str], None]) -> None:
        super().__init__(path, maxBytes=size, backupCount=keep, encoding="utf-8", errors="backslashreplace")
        self._broken = broken
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, to the file that has the name now."""
        try:
            self._follow()
            if self.shouldRollover(record):
                self._rotate()
            logging.StreamHandler.emit(self, record)
        except (OSError, ValueError) as error:
            self._tell(error)

    def shut(self) -> None:
        """Close the file; what cannot be written any more is told like any other line."""
        try:
            self.close()
        except (OSError, ValueError) as error:
            self._tell(error)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Say once that a line could not be written; called while its exception is being handled."""
        del record
        self._tell(sys.exc_info()[1])

    def doRollover(self) -> None:  # noqa: N802
        """Rename the files; where none is to be kept, empty this one."""
        if self.backupCount:
            super().doRollover()
        else:
            os.truncate(self.baseFilename, 0)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        """Return whether a line would make the file too large; an empty one takes any line."""
        return bool(super().shouldRollover(record)) and os.fstat(self._descriptor()).st_size > 0

    def _follow(self) -> None:
        """Open the file again where another process has renamed ours, or somebody deleted it."""
        if self.stream is not None and not self._is_current():
            self.stream.close()
        if self.stream is None or self.stream.closed:
            self.stream = self._open()

    def _descriptor(self) -> int:
        return -1 if self.stream is None else self.stream.fileno()

    def _is_current(self) -> bool:
        try:
            named = os.stat(self.baseFilename)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(self._descriptor()))

    def _rotate(self) -> None:
        """Rotate, unless another process is doing it: then this line makes the file a little larger."""
        held = os.dup(self._descriptor())  # rotating closes the file, and must not give the lock back before
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_current():
                self.doRollover()
            else:
                self._follow()
        except BlockingIOError:
            return
        finally:
            fcntl.flock(held, fcntl.LOCK_UN)
            os.close(held)

    def _tell(self, error: BaseException | None) -> None:
        if not self._told:
            self._told = True
            reason = error.strerror if isinstance(error, OSError) else error
            self._broken(f"The log file {printable(self.baseFilename)} cannot be written: {reason}.")
