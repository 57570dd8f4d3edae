"""What all tests share: the event loop's name, and a clean environment without anybody's credentials."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

_PERSONAL = (
    "API_KEY",
    "IAM_TOKEN",
    "FOLDER_ID",
    "YC_API_KEY",
    "YC_IAM_TOKEN",
    "YC_FOLDER_ID",
    "YC_SERVICE_ACCOUNT_KEY_FILE",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure again, twice at most, what a machine that did something else may have spoiled."""
    for item in items:
        if item.get_closest_marker("measured"):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def _temporary_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that are not there yet, one for each test."""
    folder = tmp_path_factory.mktemp("tmp")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def _own_temporary_folder(monkeypatch: pytest.MonkeyPatch, _temporary_folders: Iterator[Path]) -> None:
    """Let no test meet another's runs, or anybody's, in the folder where quotas are shared.

    One for each test: a free port is given out again before long, and an emulator on it is the same service to
    a run, whose quota somebody has used already.
    """
    folder = next(_temporary_folders)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name in _PERSONAL or name.startswith("CHATBATCH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("YC_METADATA_ADDR", "127.0.0.1:9")  # nobody's virtual machine
