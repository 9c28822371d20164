"""Writing at once or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from invad.errors import RunError, command
from invad.files import held, write_bytes, write_text


def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        write_bytes(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_text(tmp_path / "file/inside.txt", "x")


def test_a_killed_program_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "made/.lock"
    code = "import sys; from pathlib import Path; from invad.files import held\n"
    code += "with held(Path(sys.argv[1])) as free: print(free, flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None and process.stdout.readline() == b"True\n"
        with held(path) as free:
            assert not free
        assert path.exists()
        process.kill()
    with held(path) as free:
        assert free
    assert list(path.parent.iterdir()) == []


def test_nobody_is_kept_out_where_nothing_can_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with held(tmp_path / "file/.lock") as free:
        assert free

    def unknown(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unknown)
    with held(tmp_path / "made/.lock") as free, held(tmp_path / "made/.lock") as second:
        assert free and second
    assert not (tmp_path / "made").exists()


def test_who_opened_a_file_that_is_deleted_since_holds_a_new_one_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever held it deletes it after it was opened here; a third may make it anew, and only one can hold that."""
    import fcntl

    lock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr("fcntl.flock", lock)
        (tmp_path / ".lock").unlink()
        lock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", late)
    with held(tmp_path / ".lock") as free, held(tmp_path / ".lock") as third:
        assert free + third == 1


def test_a_file_that_another_user_holds_is_left_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(lock: object, timeout: float) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / ".lock").touch()
    monkeypatch.setattr("invad.files.FileLock.acquire", closed)
    with held(tmp_path / ".lock") as free:
        assert free
    assert (tmp_path / ".lock").exists()


def test_a_command_is_quoted_as_the_system_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("evaluate", "my runs/a") == "invad evaluate 'my runs/a'"
    monkeypatch.setattr("os.name", "nt")
    assert command("evaluate", r"runs\a", r"my runs\a") == 'invad evaluate runs\\a "my runs\\a"'
