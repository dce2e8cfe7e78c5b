"""What the start says when the disk refuses the staging area."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.daemon.serve import enter_staging


def test_a_disk_that_refuses(tmp_path):
    """It is one line with the directory and the reason, and no internal error."""
    (tmp_path / "staging").mkdir(mode=0o700)
    (tmp_path / "staging" / "lock").mkdir()

    with pytest.raises(CommandFailed, match="cannot be used: ") as caught:
        enter_staging(AsyncExitStack(), tmp_path, 1 << 20, share="account/share")
    assert caught.value.code is ExitCode.FAILED
    assert str(tmp_path) in str(caught.value)
