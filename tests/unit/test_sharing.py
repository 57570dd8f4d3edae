"""One quota, several runs: how it is divided, what the file holds, and whom it trusts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from batch.sharing import Claim, Holder, Quota, SharingFailed, State, divided, key_of, runtime_folder
from batch.sharing.dividing import shared_out
from batch.sharing.holders import Process
from batch.sharing.needing import LOOKS, Fewest
from batch.sharing.usage import Usage

HERE = Process.own()


@pytest.mark.parametrize(
    ("total", "wants", "parts"),
    [
        (10, [10, 10], [5, 5]),
        (10, [10, 10, 10], [4, 3, 3]),
        (10, [1, 10, 10], [1, 5, 4]),
        (10, [2, 3], [2, 3]),
        (2, [5, 5, 5], [1, 1, 0]),
        (0, [5], [0]),
        (7, [], []),
    ],
)
def test_parts_are_max_min_fair(total: int, wants: list[int], parts: list[int]) -> None:
    """Whoever wants little gets it, and the others the same each, but for what cannot be divided."""
    assert divided(total, wants) == parts


def test_where_there_is_less_than_one_each_all_have_their_turn() -> None:
    """Three that divide one get it one after the other."""
    assert [divided(1, [9, 9, 9], turn).index(1) for turn in range(4)] == [0, 1, 2, 0]


def test_what_nobody_needs_is_not_kept_back() -> None:
    """What is left over is given out too, but nobody gets more than its own bound."""
    assert shared_out(10, [Claim(10, 1, 1, 3), Claim(10, 2, 2, 10)]) == [3, 7]


def _holder(state: State, name: str, seen: float = 0.0) -> None:
    state.holders[name] = Holder(name, f"job of {name}", HERE, seen)


def _ours(state: State, name: str, used: int, need: int = 10, total: int = 10, most: int = 10) -> int:
    return state.divide(name, {"slots": Claim(total, need, used, most)}, {}, 0.0)["slots"]


def test_a_share_is_given_only_once_it_was_let_go() -> None:
    """A newcomer gets what the one that had all gives back, as its requests end, and never a slot twice."""
    state = State()
    _holder(state, "a")
    assert _ours(state, "a", used=0) == 10
    _holder(state, "b")
    assert _ours(state, "b", used=0) == 0
    assert _ours(state, "a", used=10) == 5  # begins no more, but ten still run
    assert _ours(state, "b", used=0) == 0
    _ours(state, "a", used=8)
    assert _ours(state, "b", used=0) == 2
    _ours(state, "a", used=5)
    assert _ours(state, "b", used=2) == 5


def test_a_cut_is_a_cut_for_all() -> None:
    """Where the total shrinks, the parts of all shrink."""
    state = State()
    for name in "ab":
        _holder(state, name)
        _ours(state, name, used=0)
    for _ in range(2):
        shares = [_ours(state, name, used=0, total=4, most=4) for name in "ab"]
    assert shares == [2, 2]


def test_one_that_crashed_is_buried_and_what_it_sent_stays() -> None:
    """A holder whose process has gone loses its share a second later; what it sent still counts in the windows."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    state = State()
    _holder(state, "a")
    state.holders["b"] = Holder("b", "job", Process(ended.pid, 1, HERE.namespace), 0.0, sent=Usage([(50.0, 30)]))
    state.bury(0.5, 60.0)
    assert set(state.holders) == {"a", "b"}
    state.bury(1.5, 60.0)
    assert set(state.holders) == {"a"}
    claim = {"3600": Claim(100, 100, 0, 100)}
    assert state.divide("a", claim, {"3600": 3600}, 60.0) == {"3600": 70}
    assert state.divide("a", claim, {"3600": 3600}, 3800.0) == {"3600": 100}


def test_a_number_of_another_process_is_not_taken_for_the_holder() -> None:
    """A living pid with another start time is another process."""
    assert not HERE.gone
    assert Process(HERE.pid, HERE.start + 1, HERE.namespace).gone
    assert not Process(HERE.pid, HERE.start + 1, "pid:[1]").gone, "a container's processes cannot be judged"


def test_one_that_hangs_loses_its_share() -> None:
    """A living process that has not looked for seconds holds nothing up."""
    state = State()
    _holder(state, "a", seen=0.0)
    state.bury(4.0, 0.0)
    assert state.holders
    state.bury(6.0, 0.0)
    assert not state.holders


def test_usage_is_coarse_and_never_too_little() -> None:
    """A day of requests fits in few slices; what is within a window is counted, and a little more."""
    usage = Usage()
    for second in range(0, 90_000, 5):
        usage.add(float(second), 5)
    assert len(usage.slices) < 250
    assert 60 <= usage.within(89_999.0, 60.0) <= 70
    assert 3600 <= usage.within(89_999.0, 3600.0) <= 3665


def test_the_state_survives_the_file(tmp_path: Path) -> None:
    """What one holder writes the next one reads, and a torn text is an empty state."""
    quota = Quota(tmp_path / "quota.json", real=lambda: 0.0)
    with quota.held(0.0) as state:
        assert state is not None
        _holder(state, "a")
        state.learned, state.rates = (10, None, 60.0), {3600: 5000}
        _ours(state, "a", used=3)
        written = state.as_json()
    with quota.held(0.0) as state:
        assert state is not None
        assert state.as_json() == written
    quota.path.write_bytes(quota.path.read_bytes()[:-9])
    with quota.held(0.0) as state:
        assert state == State()


def test_nobody_waits_for_the_file(tmp_path: Path) -> None:
    """While one has the file, another is told so at once."""
    quota = Quota(tmp_path / "quota.json")
    with quota.held(0.0), Quota(quota.path).held(0.0) as state:
        assert state is None


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be written raises a sentence."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(SharingFailed, match="No space left"), Quota(tmp_path / "quota.json").held(0.0):
        pass


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """Nothing is written through a symbolic link."""
    (tmp_path / "link.json").symlink_to(tmp_path / "victim")
    with pytest.raises(SharingFailed), Quota(tmp_path / "link.json").held(0.0):
        pass
    assert not (tmp_path / "victim").exists()


def test_the_folder_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is made for us alone; one that is open to others, or a link, is refused."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = runtime_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(SharingFailed, match="700"):
        runtime_folder()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(SharingFailed, match="not a folder"):
        runtime_folder()


def test_a_foreign_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of another user is refused."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / "chatbatch-12345"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    if folder.stat().st_uid == os.getuid():
        pytest.skip("this user has the number that the test makes up")
    with pytest.raises(SharingFailed, match="somebody else"):
        runtime_folder()


def test_the_name_tells_nothing() -> None:
    """A quota's name differs by host, folder and mode, and shows none of them."""
    names = {key_of("host", "folder", "sync"), key_of("host", "folder", "async"), key_of("host", "other", "sync")}
    assert len(names) == 3
    assert not any("folder" in name for name in names)


def _settled(fewest: Fewest, rate_needs: int, slots: int, looks: int = 300) -> list[int]:
    """Let a run look whose rate is used up with so many slots or more, and which gets what it needs; its needs."""
    needs = []
    for look in range(looks):
        held_up = slots >= rate_needs
        slots = min(10, fewest.need(2 * slots, slots, look / 10, held_up=held_up))
        needs.append(slots)
    return needs


@pytest.mark.parametrize("rate_needs", [1, 2, 3, 5])
def test_a_run_that_its_rate_holds_up_needs_the_fewest_slots_at_which_it_does(rate_needs: int) -> None:
    """From any number it comes down to these, and is seldom short of one."""
    needs = _settled(Fewest(), rate_needs, slots=6, looks=1000)
    assert set(needs[120:]) <= {rate_needs, max(1, rate_needs - 1)}
    assert needs[120:].count(rate_needs) >= 0.9 * len(needs[120:])


def test_a_run_that_nothing_but_slots_holds_up_needs_what_it_asks_for() -> None:
    """Without a rate that is used up the need is that of the use of slots, from one look to the next."""
    fewest = Fewest()
    assert [fewest.need(asked, 5, look / 10, held_up=False) for look, asked in enumerate([10, 3, 10, 1])] == [
        10, 3, 10, 1]  # fmt: skip


def test_a_rate_that_is_used_up_no_more_lets_the_need_grow_again() -> None:
    """Where all slots are in use and the rate is not, one more is needed; where they are not, what is asked."""
    fewest = Fewest()
    assert _settled(fewest, 1, slots=4)[-1] == 1
    assert _settled(fewest, 99, slots=1)[-1] == 10
    for look in range(LOOKS + 1):
        need = fewest.need(2, 10, 100 + look / 10, held_up=False)
    assert need == 2


def test_a_run_that_waits_for_its_turn_goes_on_needing_a_slot() -> None:
    """Where others hold all slots, a run whose rate is used up asks for one still."""
    fewest = Fewest()
    assert {fewest.need(1, 0, look / 10, held_up=True) for look in range(50)} == {1}
