"""What the transport's tests share: an environment without proxies, and throwaway certificates."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

_ENVIRONMENT = (
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "ssl_cert_file",
    "ssl_cert_dir",
    "netrc",
)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower() in _ENVIRONMENT:
            monkeypatch.delenv(name)


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[[str], tuple[Path, ssl.SSLContext]]:
    """Makes a self-signed certificate for names such as `IP:127.0.0.1`: its file, and a server's context."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl command to make a throwaway certificate")

    def make(names: str) -> tuple[Path, ssl.SSLContext]:
        file, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
        command = [openssl, "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=test"]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(file)]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file, key)
        return file, context

    return make
