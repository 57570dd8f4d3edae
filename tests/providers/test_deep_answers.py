"""An answer that is nested too deeply is unreadable, and breaks nothing."""

from __future__ import annotations

import pytest

from batch.errors import AttemptFailed, Billed
from batch.providers.yandex import judge
from batch.records import Reply


def test_arguments_nested_too_deeply_are_unreadable() -> None:
    """Tool arguments of 300 levels make the answer unreadable, and not the journal unusable."""
    arguments = b'{"a":' * 300 + b"1" + b"}" * 300
    call = b'{"toolCalls":[{"functionCall":{"name":"f","arguments":' + arguments + b"}}]}"
    message = b'{"role":"assistant","toolCallList":' + call + b"}"
    status = b'"status":"ALTERNATIVE_STATUS_TOOL_CALLS"'
    body = b'{"result":{"alternatives":[{"message":' + message + b"," + status + b"}]}}"
    with pytest.raises(AttemptFailed) as failed:
        judge(Reply(200, body))
    assert (failed.value.code, failed.value.billed) == ("UNREADABLE_ANSWER", Billed.YES)
