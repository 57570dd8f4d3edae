"""Tokens of whoever is logged in with `yc`, the service's command line."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from batch.auth.exchange import shown, usable
from batch.auth.keeper import Token
from batch.errors import ServiceUnavailable

# It asks the service, and may look for a newer version of itself before.
TIMEOUT_S = 20.0
_COMMAND = ("iam", "create-token")
_BEGINNING = "t1."  # of all IAM tokens so far


@dataclass(frozen=True, slots=True)
class Cli:
    """The program `yc` at a path, run in the environment in which it was found."""

    program: str
    environment: Mapping[str, str] = field(repr=False)
    timeout_s: float = TIMEOUT_S

    @classmethod
    def found(cls, environment: Mapping[str, str]) -> Cli | None:
        """Return the program that the environment's PATH holds, if any."""
        program = shutil.which("yc", path=environment.get("PATH", ""))
        return cls(program, environment) if program else None

    def obtain(self) -> Token:
        """Return the token that `yc iam create-token` prints; when it expires is not stated.

        Raises `ServiceUnavailable`: a failure of the network and one of the login look alike from here.
        """
        try:
            ran = subprocess.run(  # noqa: S603 - the user's own program, from the user's PATH, without a shell
                [self.program, *_COMMAND],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.timeout_s,
                check=False,
                env=dict(self.environment),
            )
        except subprocess.TimeoutExpired:
            raise ServiceUnavailable(f"`yc iam create-token` did not end within {self.timeout_s:g} s.") from None
        except OSError as error:
            raise ServiceUnavailable(f"`yc` cannot be run: {error.strerror}.") from None
        if ran.returncode != 0:
            said = shown(_first_line(ran.stderr)) or "it says nothing"
            raise ServiceUnavailable(f"`yc iam create-token` failed with {ran.returncode}: {said}")
        value = _token_in(ran.stdout)
        if not value:
            raise ServiceUnavailable("`yc iam create-token` printed no token.")
        return Token(value, None)


def _token_in(printed: bytes) -> str:
    """Return the token that was printed, as the last line by the documentation; nothing where there is none.

    News of another version of `yc` may stand after it, and is none.
    """
    lines = [line.strip() for line in printed.decode(errors="replace").splitlines() if line.strip()]
    tokens = [line for line in lines if line.startswith(_BEGINNING) and usable(line)]
    return tokens[-1] if tokens else lines[-1] if lines and usable(lines[-1]) else ""


def _first_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[0] if lines else ""
