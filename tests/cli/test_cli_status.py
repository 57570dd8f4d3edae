"""`chatbatch status`: while a run goes on, after its end, and after a kill."""

from __future__ import annotations

from pathlib import Path

from e2e.harness import Shell, billed, ended, killed_at_the_end, read_output, start, wait_until, write_chats

from batch.emulator import Config, Fault, background


def test_a_run_that_ended(shell: Shell, tmp_path: Path) -> None:
    """After a run the status says how it ended, its rows and tokens, as JSON too."""
    write_chats(tmp_path / "in.jsonl", 5)
    output = tmp_path / "out.parquet"
    assert shell("run", tmp_path / "in.jsonl", "-o", output, "--emulate", "--max-rows", 3).code == 8
    [told] = shell("status", output, "--json").events()
    assert (told["state"], told["run"]["exit_code"]) == ("ended", 8)  # type: ignore[index]
    assert {"ok": 3, "pending": 2, "invalid": 0}.items() <= told["rows"].items()  # type: ignore[attr-defined]
    assert "ended" in shell("status", output).stdout


def test_no_journal(shell: Shell, tmp_path: Path) -> None:
    """Without a journal the status is one sentence with its path, and exit 1."""
    ran = shell("status", tmp_path / "out.parquet")
    assert ran.code == 1
    assert "out.parquet.journal" in ran.stderr


def test_a_run_in_another_process(shell: Shell, tmp_path: Path) -> None:
    """While a run goes on it is seen with its process, exports go elsewhere, and a kill is told."""
    write_chats(tmp_path / "in.jsonl", 5)
    output, other = tmp_path / "out.parquet", tmp_path / "so-far.jsonl"
    shell.setenv(API_KEY="", FOLDER_ID="")
    with background(Config(stall_seconds=30)) as service:
        service.emulator.faults = (Fault("stall", 1.0),)
        words = ["run", tmp_path / "in.jsonl", "-o", output, "--base-url", service.base_url, "--concurrency", 1]
        with killed_at_the_end(start(*words)) as process:
            wait_until(lambda: billed(service) >= 1 or process.poll() is not None, "the first request")
            [told] = shell("status", output, "--json").events()
            assert (told["state"], told["owner"]["pid"]) == ("running", process.pid)  # type: ignore[index]
            assert told["rows"]["in_flight"] == 1  # type: ignore[index]
            assert shell("doctor", output).code == 0
            assert shell("export", output).code == 11
            assert not output.exists()
            assert shell("export", output, "-o", other).code == 0
            assert [row["status"] for row in read_output(other)] == ["pending"] * 5
            process.kill()
            ended(process)
    [told] = shell("status", output, "--json", "--unknown").events()
    assert (told["state"], told["unknown_billed"]) == ("killed", 1)
    assert told["unknown"][0]["status"] is None  # type: ignore[index]
