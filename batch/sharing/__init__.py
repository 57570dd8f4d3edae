"""One quota, several runs: those on one machine that use the same account divide its limits by need.

What they tell each other stands in a small file, looked at some times a second and never per request. A share is a
lease: it is given only once those who had it have let it go, so the shares of all never add up to more than the
quota. Knows nothing of requests or limits: what is divided are numbers with names.
"""

from __future__ import annotations

from batch.sharing.dividing import Claim, Part, divided
from batch.sharing.file import Quota, SharingFailed, key_of, runtime_folder
from batch.sharing.state import Holder, State

__all__ = [
    "Claim",
    "Holder",
    "Part",
    "Quota",
    "SharingFailed",
    "State",
    "divided",
    "key_of",
    "runtime_folder",
]
