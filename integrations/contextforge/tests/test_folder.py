from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mcpgateway_usage import folder

ROWS = '[{"gatewayId":"a","useCount":1}]'


def read(path: Path, grace: float = 300.0, now: float | None = None) -> list[folder.Process]:
    return folder.read(path, grace, time.time() if now is None else now)


def test_a_process_is_seen_while_it_lives(tmp_path: Path) -> None:
    path = tmp_path / "pod"
    member = folder.Membership(path, 2)
    member.publish(ROWS, 1000.0)
    assert read(path) == [folder.Process(member.id, True, 1000.0, 2, ROWS.encode())]
    member.publish(None, 1001.0)
    assert read(path)[0].observed_at == 1001.0
    member.close()
    assert read(path, now=1002.0) == [folder.Process(member.id, False, 1001.0, 2, ROWS.encode())]


def test_the_ended_go_after_their_grace(tmp_path: Path) -> None:
    member = folder.Membership(tmp_path, 0)
    member.publish(ROWS, 1000.0)
    member.close()
    assert len(read(tmp_path, grace=10.0, now=1009.0)) == 1
    assert read(tmp_path, grace=10.0, now=1011.0) == []
    assert os.listdir(tmp_path) == []


def test_the_polling_is_written_when_it_changes(tmp_path: Path) -> None:
    member = folder.Membership(tmp_path, 0)
    file = tmp_path / f"{member.id}.polling"
    member.publish(ROWS, 1000.0, '{"healthChecksRun":1}')
    assert read(tmp_path)[0].polling == b'{"healthChecksRun":1}'
    written = file.stat().st_ino
    member.publish(None, 1001.0, '{"healthChecksRun":1}')
    assert file.stat().st_ino == written
    member.publish(None, 1002.0, '{"healthChecksRun":2}')
    assert read(tmp_path)[0].polling == b'{"healthChecksRun":2}'
    # The folder was cleared under it.
    for left in tmp_path.iterdir():
        left.unlink()
    member.publish(None, 1003.0, '{"healthChecksRun":2}')
    assert read(tmp_path)[0].polling == b'{"healthChecksRun":2}'
    member.close()
    assert read(tmp_path, grace=10.0, now=1014.0) == []
    assert os.listdir(tmp_path) == []


def test_of_very_many_ended_the_newest_stay(tmp_path: Path) -> None:
    for second in range(300):
        member = folder.Membership(tmp_path, 0)
        member.publish(ROWS, 1000.0 + second)
        member.close()
    left = read(tmp_path, now=1300.0)
    assert len(left) == 256
    assert min(process.observed_at for process in left) == 1044.0
    assert len(os.listdir(tmp_path)) == 512


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "pod"
    path.mkdir(mode=0o777)
    path.chmod(0o777)
    folder.Membership(path, 0).publish(ROWS, 1000.0)
    assert path.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o600}


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(PermissionError):
            folder.prepare(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to give a file away")
def test_files_of_others_are_ignored(tmp_path: Path) -> None:
    member = folder.Membership(tmp_path, 0)
    member.publish(ROWS, 1000.0)
    os.chown(tmp_path / f"{member.id}.rows", 12345, 12345)
    assert read(tmp_path)[0].rows == b"[]"
    os.chown(tmp_path / f"{member.id}.lock", 12345, 12345)
    assert read(tmp_path) == []
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(PermissionError):
        folder.prepare(tmp_path)


def test_strange_files_are_ignored(tmp_path: Path) -> None:
    name = "5b0e2c0e-3f63-4b0e-9d6a-6a6f5d1f7a11"
    (tmp_path / f"{name}.lock").symlink_to("/etc/hostname")
    (tmp_path / "x.lock").write_text("")
    (tmp_path / f"{name[:-1]}2.lock").mkdir()
    assert read(tmp_path) == []


def test_a_lock_with_another_text_has_no_opinion(tmp_path: Path) -> None:
    for place, text in enumerate(("", "{", "[]", '{"expects": "two"}')):
        name = f"5b0e2c0e-3f63-4b0e-9d6a-6a6f5d1f7a1{place}"
        (tmp_path / f"{name}.lock").write_text(text)
        (tmp_path / f"{name}.rows").write_text(ROWS)
    assert [process.expects for process in read(tmp_path)] == [0, 0, 0, 0]


def test_what_a_death_in_the_middle_left_is_swept(tmp_path: Path) -> None:
    name = "5b0e2c0e-3f63-4b0e-9d6a-6a6f5d1f7a11"
    for suffix in ("rows.new", "lock.new", "rows", "polling", "polling.new"):
        (tmp_path / f"{name}.{suffix}").write_text(ROWS)
    assert read(tmp_path) == []
    assert len(os.listdir(tmp_path)) == 5
    read(tmp_path, now=time.time() + 120.0)
    assert os.listdir(tmp_path) == []


def test_one_serves(tmp_path: Path) -> None:
    first, second = folder.Serving(tmp_path), folder.Serving(tmp_path)
    assert first.try_take()
    assert first.try_take()
    assert not second.try_take()
    first.close()
    assert second.try_take()
