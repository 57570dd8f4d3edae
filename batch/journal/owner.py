"""One owner for an output: a lock that the kernel holds, and that dies with its process.

The lock is a `flock` on a file beside the journal, which also says who holds it. The file itself stays; an
empty or old one means nothing.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from batch.errors import JournalError, OutputHeld
from batch.jsontext import NotJson, encode, parse


class Owner:
    """The exclusive right to run on an output, from `take` to `release`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    @classmethod
    def take(cls, journal: Path) -> Owner:
        """Take the right to the journal at this path.

        Raises `OutputHeld` when a live process has it, saying which; `JournalError` when no lock file can be
        written there.
        """
        owner = cls(journal.with_name(journal.name + ".lock"))
        try:
            owner._file = os.open(owner._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(owner._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(owner._file)
            raise OutputHeld(
                f"Another run holds this output ({_holder(owner._path)}).",
                hint="Wait for it to end, or name another output with -o.",
            ) from None
        except OSError as error:
            raise JournalError(f"The lock {owner._path} cannot be taken: {error.strerror}.") from error
        owner._sign()
        return owner

    def release(self) -> None:
        """Give the right back."""
        os.close(self._file)

    def _sign(self) -> None:
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, encode({"host": socket.gethostname(), "pid": os.getpid(), "since": since}), 0)


def _holder(path: Path) -> str:
    try:
        facts = parse(path.read_bytes())
    except (OSError, NotJson):
        return "it does not say who"
    if not isinstance(facts, dict):
        return "it does not say who"
    return f"host {facts.get('host')}, process {facts.get('pid')}, since {facts.get('since')}"
