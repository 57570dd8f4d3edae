"""Finding files and opening them: what is read, what is passed over, and what is said of the rest."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from batch import storage
from batch.errors import InputError, UsageError
from batch.storage import Format, find

TREE = (
    "b.jsonl",
    "a.parquet",
    "a.ndjson",
    "deep/er/z.jsonl.gz",
    "deep/c.NDJSON.BZ2",
    "deep/v1.2.jsonl.zst",
    "notes.txt",
    "table.csv",
    "archive.gz",
    "table.parquet.gz",
    "jsonl",
    ".hidden.jsonl",
    ".git/x.jsonl",
    "out.parquet",
    "out.parquet.journal",
)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in TREE:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (["b.jsonl"], ["b.jsonl"]),
        (["b.jsonl", "a.ndjson"], ["b.jsonl", "a.ndjson"]),
        (
            ["."],
            [
                "a.ndjson",
                "a.parquet",
                "b.jsonl",
                "deep/c.NDJSON.BZ2",
                "deep/er/z.jsonl.gz",
                "deep/v1.2.jsonl.zst",
            ],
        ),
        (["deep/"], ["deep/c.NDJSON.BZ2", "deep/er/z.jsonl.gz", "deep/v1.2.jsonl.zst"]),
        ([".git"], [".git/x.jsonl"]),
        ([".hidden.jsonl"], [".hidden.jsonl"]),
        (["*.jsonl"], ["b.jsonl"]),
        (["[ab].*"], ["a.ndjson", "a.parquet", "b.jsonl"]),
        (["**/*.jsonl.gz"], ["deep/er/z.jsonl.gz"]),
        (["d*p"], ["deep/c.NDJSON.BZ2", "deep/er/z.jsonl.gz", "deep/v1.2.jsonl.zst"]),
        (["out.p*"], []),
        (["b.jsonl", "./b.jsonl", "*.jsonl", "deep/../b.jsonl", "a.ndjson"], ["b.jsonl", "a.ndjson"]),
    ],
)
def test_find(tree: Path, inputs: list[str], found: list[str]) -> None:
    """Files come in the order of their naming, folders and globs sorted, each once, own output never."""
    own = [tree / "out.parquet", Path("out.parquet.journal")]
    if not found:
        with pytest.raises(InputError, match="There is nothing to read in out"):
            find(inputs, leave_out=own)
        return
    assert [item.path for item in find(inputs, leave_out=own)] == [Path(name) for name in found]


def test_a_link_to_a_file_is_that_file(tree: Path) -> None:
    """A file that is reached by two names is read once."""
    (tree / "link.jsonl").symlink_to(tree / "b.jsonl")
    assert [item.name for item in find(["b.jsonl", "link.jsonl"])] == ["b.jsonl"]


@pytest.mark.parametrize(
    ("name", "format_", "compression"),
    [
        ("b.jsonl", Format.JSON_LINES, None),
        ("a.ndjson", Format.JSON_LINES, None),
        ("a.parquet", Format.PARQUET, None),
        ("deep/er/z.jsonl.gz", Format.JSON_LINES, "gzip"),
        ("deep/c.NDJSON.BZ2", Format.JSON_LINES, "bz2"),
        ("deep/v1.2.jsonl.zst", Format.JSON_LINES, "zstd"),
    ],
)
@pytest.mark.usefixtures("tree")
def test_formats(name: str, format_: Format, compression: str | None) -> None:
    """The name's ending says the format and the compression, in small letters or capitals."""
    (item,) = find([name])
    assert (item.format, item.compression, item.name) == (format_, compression, name)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (["missing.jsonl"], "missing.jsonl does not exist."),
        (["b.jsonl", "missing/"], "missing/ does not exist."),
        (["~nobody-has-this-name.jsonl"], "~nobody-has-this-name.jsonl does not exist."),
        (["*.tsv"], "No file matches *.tsv."),
        (["table.csv"], "table.csv: unknown kind of file; accepted are .jsonl"),
        (["*.csv"], "table.csv: unknown kind of file"),
        (["archive.gz"], "archive.gz: unknown kind of file"),
        (["table.parquet.gz"], "table.parquet.gz: unknown kind of file"),
        (["jsonl"], "jsonl: unknown kind of file"),
        (["s3://bucket/a.jsonl"], "only files of this machine can be read"),
        (["https://example.com/a.jsonl"], "only files of this machine can be read"),
        (["x" * 5000], "cannot be read: File name too long."),
        ([], "There is nothing to read in the inputs."),
    ],
)
@pytest.mark.usefixtures("tree")
def test_what_cannot_be_found(inputs: list[str], sentence: str) -> None:
    """A path that is not there or of an unknown kind stops the run with a sentence that names it."""
    with pytest.raises(InputError) as caught:
        find(inputs)
    assert sentence in str(caught.value)


def test_an_empty_folder(tmp_path: Path) -> None:
    """A folder with nothing to read is an error and not an empty input."""
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no file that can be read"):
        find([str(tmp_path)])


def test_a_folder_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that the system refuses to look at is an InputError."""

    def refuse(_self: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(InputError, match=r"a\.jsonl cannot be read: Permission denied"):
        find([str(tmp_path / "a.jsonl")])


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    """A file whose name no output could hold is refused before anything is read."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl"))
    path.touch()
    with pytest.raises(InputError, match="is not UTF-8"):
        find([str(path)])


def test_names_in_the_home_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home folder, and a file whose name merely begins with it is found too."""
    monkeypatch.setenv("HOME", str(tree / "deep"))
    (tree / "~nobody-has-this-name.jsonl").touch()
    assert find(["~/v1.2.jsonl.zst"])[0].path == tree / "deep/v1.2.jsonl.zst"
    assert find(["~nobody-has-this-name.jsonl"])[0].name == "~nobody-has-this-name.jsonl"


def test_blocks_are_bounded(tmp_path: Path) -> None:
    """A file is read in blocks, whatever it expands to."""
    path = tmp_path / "zeros.jsonl.gz"
    with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "gzip") as packed:
        for _ in range(8):
            packed.write(bytes(1 << 20))
    sizes = [len(block) for block in storage.blocks(find([str(path)])[0])]
    assert sum(sizes) == 8 << 20
    assert max(sizes) <= storage.BLOCK_BYTES


def test_a_file_that_went_away(tmp_path: Path) -> None:
    """A file that is gone when it is opened is an InputError."""
    path = tmp_path / "a.jsonl"
    path.touch()
    (item,) = find([str(path)])
    path.unlink()
    with pytest.raises(InputError, match=r"a\.jsonl cannot be read: "):
        list(storage.blocks(item))


def test_standard_input_is_copied_whole(tmp_path: Path) -> None:
    """Standard input becomes a file that can be read twice, and that is called <stdin>."""
    target = tmp_path / "out.parquet.stdin.jsonl"
    target.write_bytes(b"of an earlier run")
    item = storage.copy_standard_input(io.BytesIO(b"{}\n" * 1000), target)
    assert (item.path, item.name, item.format) == (target, "<stdin>", Format.JSON_LINES)
    assert b"".join(storage.blocks(item)) == b"{}\n" * 1000
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


class _Broken(io.BytesIO):
    def read(self, _size: int | None = -1) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


def test_standard_input_that_breaks_off(tmp_path: Path) -> None:
    """Where standard input cannot be read to its end, nothing takes its name and nothing is left behind."""
    with pytest.raises(InputError, match="Input/output error"):
        storage.copy_standard_input(_Broken(), tmp_path / "in.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For jobs that keep nothing, standard input goes into a temporary file that is removed at the end."""
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(storage.atexit, "register", lambda function, **_: at_exit.append(function))
    item = storage.copy_to_temporary(io.BytesIO(b"{}\n"))
    assert item.path.read_bytes() == b"{}\n"
    for function in at_exit:
        function()
    assert not item.path.exists()


def test_the_outputs_folder(tmp_path: Path) -> None:
    """The output's folder is made where it is missing, and nothing is left in it."""
    storage.ready_folder(tmp_path / "new/er/out.parquet")
    assert list((tmp_path / "new/er").iterdir()) == []


def test_an_output_that_cannot_be(tmp_path: Path) -> None:
    """An output whose folder is a file, or that is a folder itself, is refused before anything is bought."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        storage.ready_folder(tmp_path / "file/out.parquet")
    with pytest.raises(UsageError, match="is no folder"):
        storage.check_folder(tmp_path / "file/out.parquet")
    with pytest.raises(UsageError, match=r"is a folder; name a file such as .*answers\.parquet"):
        storage.check_folder(tmp_path)
    with pytest.raises(UsageError, match="not UTF-8"):
        storage.check_folder(tmp_path / os.fsdecode(b"\xff.parquet"))


def test_looking_at_an_output_makes_nothing(tmp_path: Path) -> None:
    """Whether an output could be written is found out without making its folder."""
    storage.check_folder(tmp_path / "new/er/out.parquet")
    assert list(tmp_path.iterdir()) == []
