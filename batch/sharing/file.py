"""The file of a quota: where it stands, who may see it, and one holder at a time that changes it.

It is a few kilobytes in the folder for temporary files, and not in a session's runtime folder: cron has none, and
a job under cron has to meet the one that a person started. A torn or foreign text counts as an empty one; every
holder writes itself down again at its next look.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from batch.jsontext import NotJson, canonical, encode, parse
from batch.sharing.state import State, Unreadable

# A file that nobody has written for so long holds nothing that still counts.
FORGOTTEN_S = 2 * 86400.0


class SharingFailed(Exception):
    """The file cannot be used; the message says why, for the user."""


def runtime_folder() -> Path:
    """Return the folder of this user's files, made where it is not there.

    Raises `SharingFailed` where somebody else could read or change them.
    """
    folder = Path(tempfile.gettempdir()) / f"chatbatch-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise SharingFailed(f"{folder} cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise SharingFailed(f"{folder} is not a folder")
    if found.st_uid != os.getuid():
        raise SharingFailed(f"{folder} belongs to somebody else")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SharingFailed(f"others may use {folder}; its mode should be 700")
    return folder


def key_of(*identity: str) -> str:
    """Return the name of a quota's file: it tells nothing of what identifies the quota."""
    return blake2b(canonical(list(identity)), digest_size=16, person=b"chatbatch-quota").hexdigest()


class Quota:
    """One quota's file. Never waits: while another process has it, `held` yields None."""

    def __init__(self, path: Path, real: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._real = real

    @classmethod
    def open(cls, *identity: str) -> Quota:
        """Return the quota of this identity, in the user's folder; raises `SharingFailed`."""
        folder = runtime_folder()
        _tidy(folder)
        return cls(folder / f"quota-{key_of(*identity)}.json")

    @contextmanager
    def held(self, now: float) -> Iterator[State | None]:
        """Yield the state for as long as it is ours alone, and write it; without those that are gone.

        `now` is the time by which requests are counted. Raises `SharingFailed`.
        """
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise SharingFailed(f"{self.path} cannot be opened: {error.strerror}") from error
        try:
            if not self._locked(file):
                yield None
                return
            state = _read(file)
            state.bury(self._real(), now)
            yield state
            _write(file, encode(state.as_json()))
        except OSError as error:
            raise SharingFailed(f"{self.path} cannot be written: {error.strerror}") from error
        finally:
            os.close(file)

    def _locked(self, file: int) -> bool:
        """Take the lock; False where another has it, or the file was removed meanwhile."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.fstat(file).st_ino == self.path.stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            return False


def _read(file: int) -> State:
    data = os.pread(file, os.fstat(file).st_size, 0)
    try:
        return State.of(parse(data)) if data else State()
    except (NotJson, Unreadable, ValueError):
        return State()


def _write(file: int, data: bytes) -> None:
    if os.pwrite(file, data, 0) != len(data):
        raise OSError(28, "No space left on device")
    os.ftruncate(file, len(data))


def _tidy(folder: Path) -> None:
    """Remove the files of quotas that nobody has used for days."""
    for path in folder.glob("quota-*.json"):
        try:
            if time.time() - path.stat().st_mtime < FORGOTTEN_S:
                continue
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(file)
        except OSError:
            continue  # in use, or gone already: either is fine
