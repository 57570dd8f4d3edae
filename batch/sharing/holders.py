"""Whether the process that wrote something is still there; its number alone may belong to another by now."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROC = Path("/proc")
# `man 5 proc_pid_stat`: after the name in parentheses come the 3rd field, the state, …; the start is the 22nd.
_STATE, _START = 0, 19
_ENDED = ("Z", "X", "x")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this boot: its number, when it started (clock ticks since boot), and its pid namespace."""

    pid: int
    start: int
    namespace: str

    @classmethod
    def own(cls) -> Process:
        """Return this process."""
        return cls(os.getpid(), _stat(os.getpid())[1], namespace())

    @property
    def gone(self) -> bool:
        """Return whether it surely runs no more; of another namespace (a container) that cannot be seen."""
        if self.namespace != namespace():
            return False
        state, start = _stat(self.pid)
        return state in _ENDED or start != self.start


@cache
def boot() -> str:
    """Return what tells this boot of the machine from others; empty where the system does not say."""
    return _text(PROC / "sys/kernel/random/boot_id")


@cache
def namespace() -> str:
    """Return the name of this process's pid namespace; empty where the system does not say."""
    try:
        return str((PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, int]:
    """Return a process's state and start; ("X", 0) where there is none."""
    fields = _text(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return (fields[_STATE], int(fields[_START])) if len(fields) > _START else ("X", 0)


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
