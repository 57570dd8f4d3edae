"""A service account whose key file may be replaced while it is used: it is read again for every token.

A new key is taken over once it has brought a token; until then, and where the file cannot be used, the old key
goes on. The account stays the same for a whole run: another one may have another folder, in which every row of
the run would be refused.
"""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

from batch.auth.iam import ServiceAccount
from batch.auth.keeper import Token
from batch.auth.keyfile import KeyFile
from batch.clock import Clock
from batch.errors import CredentialsError


class RotatingKey:
    """The key of a file at `path`, as it is now; used from worker threads.

    `notes` are sentences for the user that nobody has taken yet: a key was replaced, or could not be.
    """

    def __init__(self, path: Path, host: str, clock: Clock) -> None:
        self._path, self._host, self._clock = path, host, clock
        self.account = ServiceAccount.of(path, host, clock)
        self.notes: deque[str] = deque()
        self._material = tuple(self.account.material())
        # What is given by a pipe (`<(pass show key)`) is there once: reading it again finds nothing, or hangs.
        self._may_change = path.is_file()
        self._complained = False
        self._reading = threading.Lock()  # a renewal that was given up may still be at it

    def material(self) -> tuple[str, ...]:
        """Return what of all the keys so far may never be shown."""
        return self._material

    def obtain(self) -> Token:
        """Exchange a JWT of the present key for a token; raises `CredentialsError` or `ServiceUnavailable`."""
        old, new = self.account, self._present()
        if new is None:
            return old.obtain()
        try:
            token = new.obtain()
        except CredentialsError as refusal:
            try:
                token = old.obtain()
            except CredentialsError:
                raise refusal from None
            self._complain(str(refusal))
            return token
        self.account, self._complained = new, False
        self.notes.append(f"The key file {self._path} was replaced: key {new.file.id} is used from now on.")
        self.notes.extend(new.file.warnings)
        return token

    def _present(self) -> ServiceAccount | None:
        """Return the account with the file's key where that is another one; None where the old one goes on."""
        if not self._may_change or self._path.is_fifo():
            return None
        with self._reading:
            try:
                file = KeyFile.read(self._path)
                if file.private_key == self.account.file.private_key and file.id == self.account.file.id:
                    self._complained = False
                    return None
                new = ServiceAccount.by(file, self._path, self._host, self._clock)
            except CredentialsError as error:
                self._complain(str(error))
                return None
            if file.service_account_id != self.account.file.service_account_id:
                self._complain(f"It is of another service account, {file.service_account_id}.")
                return None
            self._material = tuple(dict.fromkeys((*self._material, *new.material())))
            return new

    def _complain(self, why: str) -> None:
        """Note, once until it can be used, why the file cannot be."""
        if not self._complained:
            self._complained = True
            used = self.account.file.id
            self.notes.append(
                f"The key file {self._path} has changed and cannot be used; key {used} goes on: {why}"
            )
