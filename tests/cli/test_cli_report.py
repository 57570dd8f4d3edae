"""`chatbatch report`: the summary, the same numbers as JSON, and the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.harness import Shell, write_chats, write_rows

pytest.importorskip("matplotlib", reason="the page's charts need the extra `report`")


@pytest.fixture
def output(shell: Shell, tmp_path: Path) -> Path:
    """The output of an emulated run that was stopped after three of five rows; one is invalid."""
    source = write_chats(tmp_path / "in.jsonl", 5)
    write_rows(tmp_path / "odd.jsonl", [{"nothing": "<script>alert(1)</script>"}])
    made = tmp_path / "out.parquet"
    words = ("run", source, tmp_path / "odd.jsonl", "-o", made, "--emulate", "--max-rows", 3, "-q")
    assert shell(*words).code == 8
    return made


def test_summary_and_json(shell: Shell, output: Path) -> None:
    """The summary and the JSON object tell the same rows, tokens and money; nobody needs credentials."""
    shell.setenv(API_KEY="", FOLDER_ID="")
    ran = shell("report", output)
    assert ran.code == 0
    assert "rows      ok 3, failed 0, invalid 1, pending 2" in ran.stdout
    assert "EMULATED" in ran.stdout
    [told] = shell("report", output, "--json").events()
    assert told["event"] == "report"
    assert told["rows"] == {"ok": 3, "failed": 0, "invalid": 1, "pending": 2}
    assert (told["state"], told["requests"], told["html"]) == ("ended", 3, None)
    assert told["needs"]["rows"] == 2  # type: ignore[index]
    assert shell("report", output, "-q").stdout == ""


def test_page(shell: Shell, output: Path) -> None:
    """The page is written whole beside nothing unfinished, and replaces an older one."""
    page = output.with_name("report.html")
    page.write_text("old", encoding="utf-8")
    ran = shell("report", output, "--html", page)
    assert ran.code == 0
    assert str(page) in ran.stdout
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "EMULATED" in text
    assert "<script" not in text
    assert not list(page.parent.glob(".report.html*"))


def test_inputs_that_are_gone(shell: Shell, output: Path) -> None:
    """Without its inputs the journal tells what it can, and says so."""
    output.with_name("in.jsonl").unlink()
    [told] = shell("report", output, "--json").events()
    assert told["rows"] == {"ok": 3, "failed": 0, "invalid": None, "pending": None}
    assert "in.jsonl" in str(told["note"])
    assert told["spending"][0]["answers"] != "0"  # type: ignore[index]
    assert shell("report", output, "--html", output.with_name("report.html")).code == 0


def test_refusals(shell: Shell, output: Path, tmp_path: Path) -> None:
    """No journal, a page's name that is no page's, and a folder that cannot be are one sentence each."""
    assert shell("report", tmp_path / "other.parquet").code == 1
    before = output.read_bytes()
    ran = shell("report", output, "--html", output)
    assert (ran.code, output.read_bytes()) == (2, before)
    assert ".html" in ran.stderr
    assert shell("report", output, "--html", tmp_path / "in.jsonl" / "report.html").code == 2
