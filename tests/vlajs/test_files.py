"""Files are whole or absent, lines are whole or refused."""

import errno
import os
from pathlib import Path

import pytest

from vlajs.files import append_line, write_atomically


@pytest.mark.parametrize("interruption", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_a_write_that_does_not_end_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    file = tmp_path / "new folder" / "a.txt"
    write_atomically(file, b"old")

    def interrupted(_: int) -> None:
        raise interruption

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(type(interruption)):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(file.parent.iterdir()) == [file]


def test_lines_are_appended_and_a_newline_within_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    append_line(file, b"one")
    append_line(file, b"two")
    with pytest.raises(ValueError, match=r"a line of journal\.jsonl may not hold a newline"):
        append_line(file, b"three\nfour")
    assert file.read_bytes() == b"one\ntwo\n"
