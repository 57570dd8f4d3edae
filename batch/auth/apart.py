"""Work that blocks, such as an exchange with an issuer or a command, done apart from the event loop.

In a thread that ends with the process: anyio's own threads are waited for at its end, and an issuer that hangs
would keep a run that was told to end at once.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from batch.errors import ServiceUnavailable

Result = TypeVar("Result")


async def apart(work: Callable[[], Result], longest_s: float, who: str) -> Result:
    """Return what `work` returns, or raise what it raises; it is left behind where the caller is cancelled.

    Raises `ServiceUnavailable` where it takes longer than `longest_s` of real time: its own bounds hold for one
    step each, and somebody who sends a byte now and then keeps within them. `who` is the sentence's subject.
    """
    results, errors, done = list[Result](), list[BaseException](), anyio.Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        try:
            portal.call(done.set)
        except RuntimeError:
            return  # nobody waits any more

    async with BlockingPortal() as portal:
        Thread(target=run, name="credentials", daemon=True).start()
        with anyio.move_on_after(longest_s):
            await done.wait()
    if errors:
        raise errors[0]
    if not results:
        raise ServiceUnavailable(f"{who} took too long to answer.")
    return results[0]
