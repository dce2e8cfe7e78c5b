"""The notifier without a mount: bounded, silent where nobody listens."""

import errno
import threading

import pyfuse3
import pytest
import trio
import trio.testing

from azfilesfs.fuse.notifier import PyfuseNotifier


@pytest.fixture
def kernel(monkeypatch):
    """Record what the kernel is told."""
    told: list[tuple] = []

    def inode(ino: int, attr_only: bool = False) -> None:
        told.append(("attributes" if attr_only else "pages", ino))

    monkeypatch.setattr(pyfuse3, "invalidate_inode", inode)
    monkeypatch.setattr(
        pyfuse3, "invalidate_entry", lambda parent, name: told.append((parent, name))
    )
    return told


async def until_told(kernel: list, count: int) -> None:
    """Wait until the worker has told the kernel that often."""
    with trio.fail_after(10):
        while len(kernel) < count:
            await trio.lowlevel.checkpoint()


def test_nothing_is_told_without_a_mount(kernel):
    """Before the mount and after it there is nobody to tell."""
    notifier = PyfuseNotifier()
    notifier.forget_attributes(5)
    notifier.forget_pages(5)
    notifier.attach()
    notifier.forget_attributes(6)
    notifier.forget_pages(6)
    notifier.detach()
    notifier.forget_entry(1, b"x")

    assert kernel == [("attributes", 6)]


async def test_a_repeated_wish_is_told_once(kernel, nursery):
    """Waiting wishes for the same thing are one."""
    notifier = PyfuseNotifier()
    notifier.attach()
    for _ in range(3):
        notifier.forget_pages(7)
        notifier.forget_entry(1, b"name")
    nursery.start_soon(notifier.run)
    await until_told(kernel, 2)
    notifier.forget_pages(8)
    await until_told(kernel, 3)

    assert kernel == [("pages", 7), (1, b"name"), ("pages", 8)]


async def test_pages_go_before_names(kernel, nursery):
    """Somebody may wait for pages; names are dropped a few hundred at a time, and counted."""
    notifier = PyfuseNotifier()
    notifier.attach()
    for number in range(600):
        notifier.forget_entry(1, b"%d" % number)
    notifier.forget_pages(7)
    assert notifier.backlog == 601
    nursery.start_soon(notifier.run)
    await until_told(kernel, 601)
    with trio.fail_after(10):
        while notifier.backlog:
            await trio.lowlevel.checkpoint()

    assert kernel == [("pages", 7), *((1, b"%d" % number) for number in range(600))]


@pytest.mark.expect_log("wait for the kernel")
def test_the_queue_is_bounded(kernel, caplog):
    """Beyond the limit wishes are dropped and counted, with one line in the log."""
    notifier = PyfuseNotifier(limit=10)
    notifier.attach()
    for ino in range(30):
        notifier.forget_pages(ino)

    assert notifier.dropped == 20
    assert len(caplog.records) == 1


@pytest.mark.expect_log("refused an invalidation")
async def test_only_surprising_refusals_are_logged(monkeypatch, caplog, nursery):
    """That the kernel did not know the thing is no news; anything else is one warning."""
    failures = iter([OSError(errno.ENOENT, "unknown"), OSError(errno.EIO, "odd")])
    done = []

    def refuse(ino: int, attr_only: bool = False) -> None:
        done.append(ino)
        raise next(failures)

    monkeypatch.setattr(pyfuse3, "invalidate_inode", refuse)
    notifier = PyfuseNotifier()
    notifier.attach()
    nursery.start_soon(notifier.run)
    notifier.forget_pages(1)
    notifier.forget_pages(2)
    await until_told(done, 2)
    await trio.to_thread.run_sync(notifier.wait_idle, 10)

    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_blocked_kernel_blocks_nobody(monkeypatch):
    """While the kernel holds the worker the loop runs on, and ending leaves the thread behind."""
    entered, leave = threading.Event(), threading.Event()

    def block(ino: int, attr_only: bool = False) -> None:
        entered.set()
        leave.wait(30)

    monkeypatch.setattr(pyfuse3, "invalidate_inode", block)
    notifier = PyfuseNotifier()
    notifier.attach()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.run)
        notifier.forget_pages(1)
        while not entered.is_set():
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert not notifier.wait_idle(0.01)
    leave.set()
    assert notifier.wait_idle(10)
