"""One owner for an output: a lock that the kernel holds and that dies with its process, and a heartbeat.

The lock is a `flock` on a file beside the journal, which also says who holds it, since when, and when it was
last seen alive. The heartbeat is for file systems that hosts share without sharing locks: there a fresh one of
another host counts as the lock. The file itself stays; an old one means nothing.
"""

from __future__ import annotations

import calendar
import fcntl
import os
import socket
import time
from pathlib import Path

from batch.errors import JournalError, OutputHeld
from batch.jsontext import JsonObject, NotJson, encode, parse

BEAT_S = 10.0
# An owner on another host that has not been seen for so long is dead, whatever its lock says.
DEAD_AFTER_S = 60.0
# Whoever only looks whether a lock is held (`is_held`) has it for some microseconds: that is no owner.
_GLANCE_S, _GLANCES = 0.02, 3


class Owner:
    """The exclusive right to run on an output, from `take` to `release`; `beat` every `BEAT_S` seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._since = _now()

    @classmethod
    def take(cls, journal: Path) -> Owner:
        """Take the right to the journal at this path.

        Raises `OutputHeld` when a live process has it, saying which; `JournalError` when no lock file can be
        written there.
        """
        owner = cls(lock_path(journal))
        try:
            owner._file = os.open(owner._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            _lock(owner._file)
        except BlockingIOError:
            os.close(owner._file)
            raise _held(owner._path) from None
        except OSError as error:
            raise JournalError(f"The lock {owner._path} cannot be taken: {error.strerror}.") from error
        if alive_elsewhere(read_owner(journal), time.time()):
            os.close(owner._file)
            raise _held(owner._path)
        owner.beat()
        return owner

    def beat(self) -> None:
        """Write that the owner is alive; what keeps that from being written is the journal's to report."""
        facts: JsonObject = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": self._since,
            "heartbeat": _now(),
        }
        self._write(encode(facts) + b"\n")

    def close(self) -> None:
        """Give the right back."""
        self._write(b"")
        os.close(self._file)

    def _write(self, data: bytes) -> None:
        try:
            os.pwrite(self._file, data, 0)
            os.ftruncate(self._file, len(data))
        except OSError:
            return  # a full disk: the kernel's lock holds all the same


def lock_path(journal: Path) -> Path:
    """Return where the lock of a journal stands."""
    return journal.with_name(journal.name + ".lock")


def read_owner(journal: Path) -> JsonObject:
    """Return what the last owner wrote of itself: host, pid, since, heartbeat; empty where it left in order."""
    try:
        facts = parse(lock_path(journal).read_bytes())
    except (OSError, NotJson):
        return {}
    return facts if isinstance(facts, dict) else {}


def is_held(journal: Path) -> bool:
    """Return whether a live process of this host holds the output."""
    try:
        file = os.open(lock_path(journal), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _lock(file: int) -> None:
    """Take the kernel's lock; raises `BlockingIOError` where an owner has it."""
    for _ in range(_GLANCES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_GLANCE_S)
        else:
            return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def alive_elsewhere(facts: JsonObject, now: float) -> bool:
    """Return whether an owner on another host was seen alive just now (seconds since 1970).

    Also where that host's clock is ahead: rather held too long than taken from a live one.
    """
    if facts.get("host") == socket.gethostname() or (seen := last_seen(facts)) is None:
        return False
    return now - seen < DEAD_AFTER_S


def last_seen(facts: JsonObject) -> float | None:
    """Return when an owner last wrote that it is alive (seconds since 1970); None where it did not."""
    beat = facts.get("heartbeat")
    try:
        return calendar.timegm(time.strptime(beat, "%Y-%m-%dT%H:%M:%SZ")) if isinstance(beat, str) else None
    except ValueError:
        return None


def _held(path: Path) -> OutputHeld:
    facts = read_owner(path.with_name(path.name.removesuffix(".lock")))
    who = (
        f"host {facts.get('host')}, process {facts.get('pid')}, since {facts.get('since')}, "
        f"last heartbeat {facts.get('heartbeat')}"
        if facts
        else "it does not say who"
    )
    return OutputHeld(
        f"Another run holds this output ({who}).", hint="Wait for it to end, or name another output with -o."
    )
