"""The log file: lines with times, rotation, several processes, and disks that are full."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from batch.errors import UsageError
from batch.logfile import LogFile

AT = 1_750_000_000.25
STAMPED = re.compile(r"^2025-06-15T\d\d:\d\d:\d\d\.250[+-]\d\d:\d\d  ")


def _open(path: Path, broken: list[str], *, size: int = 1_000_000, keep: int = 2, stamped: bool = True) -> LogFile:
    return LogFile.open(path, size=size, keep=keep, stamped=stamped, now=lambda: AT, broken=broken.append)


def test_lines_have_a_time_with_its_offset(tmp_path: Path) -> None:
    """Every line, also of a text of several, begins with the local time and its offset from UTC."""
    broken: list[str] = []
    log = _open(tmp_path / "deep" / "er" / "run.log", broken)
    log.write("one\n  two\n")
    log.write("три\n")
    log.close()
    lines = (tmp_path / "deep" / "er" / "run.log").read_text("utf-8").splitlines()
    assert all(STAMPED.match(line) for line in lines)
    assert [STAMPED.sub("", line) for line in lines] == ["one", "  two", "три"]
    assert broken == []


def test_control_characters_are_replaced(tmp_path: Path) -> None:
    """What a dataset says cannot steer the terminal of whoever reads the log, lone surrogates cost nothing."""
    log = _open(tmp_path / "run.log", [])
    log.write("a\x1b[2J\x9b31m\r\u202eb \ud800\n")
    log.close()
    (line,) = (tmp_path / "run.log").read_bytes().splitlines()
    assert line.decode().isprintable()


def test_json_lines_keep_their_values(tmp_path: Path) -> None:
    """In JSON lines control characters are escaped, so that each line is printable and means the same."""
    said = "a\x9b\u2028\u202e\U000e0001 \x85b"
    log = _open(tmp_path / "run.log", [], stamped=False)
    log.write(json.dumps({"said": said}, ensure_ascii=False) + "\n")
    log.write('{"plain": 1}\n')
    log.close()
    lines = (tmp_path / "run.log").read_text("utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == [{"said": said}, {"plain": 1}]
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_it_is_rotated_at_its_size(keep: int, tmp_path: Path) -> None:
    """No file exceeds the size, so many older ones are kept, and the newest lines are in the file itself."""
    log = _open(tmp_path / "run.log", [], size=500, keep=keep)
    for number in range(100):
        log.write(f"line {number}\n")
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["run.log", *(f"run.log.{n}" for n in range(1, keep + 1))]
    assert all(path.stat().st_size <= 500 for path in files)
    told = "".join(path.read_text("utf-8") for path in [*reversed(files[1:]), files[0]])
    numbers = [int(number) for number in re.findall(r"line (\d+)", told)]
    assert numbers == list(range(numbers[0], 100))


def test_a_line_beyond_the_size_is_written_whole(tmp_path: Path) -> None:
    """A line that is longer than a file may be stands in a file of its own, and none is left empty."""
    log = _open(tmp_path / "run.log", [], size=50, keep=5)
    for letter in "ab":
        log.write(letter * 200 + "\n")
    log.close()
    assert sorted(path.read_text("utf-8").strip()[-200:] for path in tmp_path.iterdir()) == ["a" * 200, "b" * 200]


def test_two_logs_on_one_file_follow_each_other(tmp_path: Path) -> None:
    """When one of two rotates, the other one writes into the new file with its next line."""
    path = tmp_path / "run.log"
    one, two = _open(path, [], size=300, keep=3), _open(path, [], size=300, keep=3)
    for number in range(20):
        (one if number % 2 else two).write(f"line {number}\n")
    one.close()
    two.close()
    files = sorted(tmp_path.iterdir(), reverse=True)
    told = [int(number) for file in files for number in re.findall(r"line (\d+)", file.read_text("utf-8"))]
    assert told == list(range(told[0], 20))
    assert max(file.stat().st_size for file in files) <= 300


_WRITER = """
import sys, time
from pathlib import Path
from batch.logfile import LogFile
broken = []
log = LogFile.open(Path(sys.argv[1]), size=4000, keep=200, stamped=True, now=time.time, broken=broken.append)
for number in range(600):
    log.write(f"{sys.argv[2]} {number} " + "x" * 40)
log.close()
assert not broken, broken
"""


def test_processes_on_one_file_lose_and_break_no_line(tmp_path: Path) -> None:
    """Three processes that write and rotate at once leave each line whole, once, and in its process's order."""
    path = tmp_path / "run.log"
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name]) for name in "abc"]
    assert [writer.wait(15) for writer in writers] == [0, 0, 0]
    files = list(tmp_path.iterdir())
    assert len(files) > 10
    seen: dict[str, list[int]] = {name: [] for name in "abc"}
    for file in files:
        for line in file.read_text("utf-8").splitlines():
            match = re.fullmatch(r"\S+  ([abc]) (\d+) x{40}", line)
            assert match, line
            seen[match[1]].append(int(match[2]))
    assert {name: sorted(numbers) for name, numbers in seen.items()} == {name: list(range(600)) for name in "abc"}


def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    """A log that somebody moves away or deletes goes on in a new file."""
    log = _open(tmp_path / "run.log", [])
    log.write("one\n")
    (tmp_path / "run.log").unlink()
    log.write("two\n")
    log.close()
    assert (tmp_path / "run.log").read_text("utf-8").endswith("two\n")


def test_a_full_disk_is_told_once() -> None:
    """A disk without room is told once, and neither the lines nor the end raise."""
    broken: list[str] = []
    log = _open(Path("/dev/full"), broken)
    for _ in range(5):
        log.write("line\n")
    log.close()
    (sentence,) = broken
    assert "/dev/full cannot be written: No space left on device" in sentence


def test_a_folder_that_goes_away_is_told_once(tmp_path: Path) -> None:
    """A folder that is removed while the run runs is told once, and the run goes on."""
    broken: list[str] = []
    log = _open(tmp_path / "logs" / "run.log", broken)
    (tmp_path / "logs" / "run.log").unlink()
    (tmp_path / "logs").rmdir()
    for _ in range(3):
        log.write("line\n")
    log.close()
    assert len(broken) == 1


@pytest.mark.parametrize("kind", ["folder", "below a file", "pipe"])
def test_an_unusable_path_is_refused_at_the_start(kind: str, tmp_path: Path) -> None:
    """A folder, a path below a file and a pipe are refused with a sentence that names the path."""
    path = tmp_path / "run.log"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.touch()
        path = path / "run.log"
    with pytest.raises(UsageError, match=r"run\.log cannot be written") as refused:
        _open(path, [])
    assert "--log-file" in refused.value.hint
