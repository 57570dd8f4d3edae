"""A real browser without a window and without a network, by its command line."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=2000",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
# What the browser itself looks for whatever it shows, in vain: its updates and the time.
_ITS_OWN = re.compile(r"https?://[a-z0-9.]*\.(?:google|googleapis|gvt1)\.com/")


class Browser:
    """Opens files; every call is a fresh browser with a profile of its own."""

    def __init__(self, folder: Path) -> None:
        self._program = shutil.which("chromium") or shutil.which("chromium-browser") or ""
        self._folder = folder
        self._opened = 0
        if not self._program:
            pytest.skip("there is no chromium on this machine")

    def _open(self, page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
        self._opened += 1
        profile = self._folder / f"profile-{self._opened}"
        words = [self._program, *_FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)

    def dom(self, page: Path) -> str:
        """Return the page's tree after it was loaded and whatever runs in it ran."""
        return self._open(page, "--dump-dom").stdout

    def picture(self, page: Path, width: int = 1280, height: int = 1800, *, dark: bool = False) -> Path:
        """Return a picture of the page."""
        target = self._folder / f"{page.stem}-{width}-{'dark' if dark else 'light'}.png"
        scheme = [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
        self._open(page, *scheme, f"--window-size={width},{height}", f"--screenshot={target}")
        return target

    def printed(self, page: Path) -> bytes:
        """Return the page as it is printed, as PDF."""
        target = self._folder / f"{page.stem}.pdf"
        self._open(page, "--no-pdf-header-footer", f"--print-to-pdf={target}")
        return target.read_bytes()

    def requests(self, page: Path) -> list[str]:
        """Return the addresses that the page asks for, from the browser's own log of its network."""
        log = self._folder / f"{page.stem}-net.json"
        self._open(page, "--dump-dom", f"--log-net-log={log}", "--net-log-capture-mode=Everything")
        asked = re.findall(r'"url":"((?:https?|wss?|ftp)://[^"]*)"', log.read_text("utf-8", errors="replace"))
        return [url for url in asked if not _ITS_OWN.match(url)]
