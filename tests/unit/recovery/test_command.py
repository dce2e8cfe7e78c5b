"""``azfilesfs recover`` as its user sees it, against an emulator on a socket."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from azfilesfs.cli.main import main
from azfilesfs.client import (
    ShareClient,
    ShareServiceClient,
    StaticCredentials,
    parse_connection_string,
)
from azfilesfs.config.exit_codes import ExitCode
from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs import recovery
from azfilesfs.vfs.kept import KeptRecord
from azfilesfs.vfs.staged import StagedFile
from azfilesfs.vfs.staging import StagingArea
from tests.unit.serving import serving

PATH = SharePath(("dir", "file"))
ACCOUNT = "devstoreaccount1"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Serve a share and return the environment that its clients need."""
    with serving(tmp_path_factory.mktemp("emulator"), "share") as environment:
        yield environment


class Command:
    """Runs the command in this process."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *words: str | Path) -> tuple[int, str, str]:
        """Return the exit status, standard output and standard error of ``recover``."""
        code = main(["recover", *map(str, words)])
        captured = self._capfd.readouterr()
        return code, captured.out, captured.err


@pytest.fixture
def recover(
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Command:
    """Return the command, with a state directory of its own and the emulator's credentials."""
    for name, value in (environment | {"XDG_STATE_HOME": str(tmp_path / "home")}).items():
        monkeypatch.setenv(name, value)
    return Command(capfd)


@pytest.fixture
def mount_state(tmp_path: Path) -> Path:
    """Return the state directory of a mount, where the command looks for it."""
    directory = tmp_path / "home" / "azfilesfs" / "mounts" / "m1"
    directory.mkdir(parents=True, mode=0o700)
    return directory


Share = Callable[..., object]


@pytest.fixture
def on_share(environment: dict[str, str]) -> Share:
    """Return a function that does something with the share."""
    endpoint, credential = parse_connection_string(environment["AZURE_STORAGE_CONNECTION_STRING"])

    def run(work) -> object:
        async def connected() -> object:
            async with ShareServiceClient.open(endpoint, StaticCredentials(credential)) as service:
                return await work(service.share("share"))

        return trio.run(connected)

    return run


@pytest.fixture
def kept(on_share: Share, mount_state: Path) -> KeptRecord:
    """Keep a change of two bytes in a file of ten that the share has."""

    async def make(share: ShareClient):
        directory = SharePath(("dir",))
        if "dir" not in [e.name for e in (await share.list_page(SharePath.ROOT)).entries]:
            await share.create_directory(directory)
        for item in (await share.list_page(directory)).entries:
            await share.delete_file(directory.child(item.name))
        await share.create_file(PATH, 10)
        await share.put_range(PATH, 0, b"0123456789")
        return (await share.get_file_properties(PATH)).validator()

    base = on_share(make)
    return keep(mount_state, lambda file: file.write(2, b"XY"), base=base)


def keep(state: Path, change: Callable[[StagedFile], object], base=None, share="share"):
    """Keep changes of a file, or of a new one, in a mount's state directory."""
    state.mkdir(mode=0o700, exist_ok=True)
    with StagingArea.open(state, 10**6, share=f"{ACCOUNT}/{share}" if share else "") as area:
        file = area.create(PATH, base, base.size if base else 0)
        change(file)
        return file.keep("the remote file changed")


def etag_of(record: KeptRecord) -> str:
    """Return the ETag of the version that a record stands on."""
    assert record.base is not None
    return record.base.etag


def content(on_share: Share, path: SharePath = PATH) -> object:
    """Return a file of the share."""

    async def get(share: ShareClient) -> bytes:
        return bytes((await share.get_file(path)).data)

    return on_share(get)


def test_nothing_kept_is_said(recover: Command):
    """Without records the list says so and succeeds."""
    assert recover("list") == (0, "nothing was kept\n", "")
    assert recover("list", "--json") == (0, "[]\n", "")


def test_the_list_names_every_record(recover: Command, kept: KeptRecord, mount_state: Path):
    """The table shows id, time, bytes, base, file and reason; new files are marked."""
    new = keep(mount_state.parent / "m2", lambda file: file.write(0, b"abc"))

    code, out, err = recover("list")

    heading, *lines = out.splitlines()
    assert (code, err) == (0, "")
    assert heading.split() == ["ID", "WHEN", "BYTES", "BASE", "FILE", "REASON"]
    assert sorted(line.split()[0] for line in lines) == sorted([kept.id, new.id])
    (row,) = [line for line in lines if line.startswith(kept.id)]
    assert f"  2      {etag_of(kept).strip(chr(34))}" in row
    assert f"{ACCOUNT}/share/dir/file" in row
    assert row.endswith("the remote file changed")
    assert [line for line in lines if "  3      new file" in line]


def test_the_list_is_machine_readable(recover: Command, kept: KeptRecord):
    """As JSON each record has all facts, extents included."""
    code, out, _ = recover("list", "--json")

    (record,) = json.loads(out)
    assert code == 0
    assert record["id"] == kept.id
    assert (record["share"], record["path"]) == (f"{ACCOUNT}/share", "dir/file")
    assert (record["bytes"], record["size"], record["extents"]) == (2, 10, [[2, 4]])
    assert record["base"]["etag"] == etag_of(kept)
    assert record["when"].endswith("Z")


@pytest.mark.parametrize("where", ["root", "mount", "variable", "file"])
def test_other_state_directories_are_searched(
    recover: Command, tmp_path: Path, monkeypatch, where: str
):
    """A root or one mount's directory can be given, or stand in the environment or the file."""
    elsewhere = tmp_path / "elsewhere"
    state = elsewhere / "mounts" / "m"
    state.mkdir(parents=True)
    record = keep(state, lambda file: file.write(0, b"abc"))
    flags: list[str] = []
    if where == "root":
        flags = ["--state-dir", str(elsewhere)]
    elif where == "mount":
        flags = ["--state-dir", str(state)]
    elif where == "variable":
        monkeypatch.setenv("AZFILESFS_STATE_DIR", str(elsewhere))
    else:
        config = tmp_path / "config" / "azfilesfs"
        config.mkdir(parents=True)
        (config / "config.toml").write_text(f'[mount]\nstate-dir = "{elsewhere}"\n')
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    assert record.id in recover("list", *flags)[1]


def test_a_state_directory_that_is_none_is_refused(recover: Command, tmp_path: Path):
    """A mistyped directory is an error, not an empty list."""
    code, out, err = recover("list", "--state-dir", tmp_path / "nowhere")

    assert (code, out) == (ExitCode.USAGE, "")
    assert "there is no directory" in err


def test_an_unsafe_area_is_told_and_the_others_are_listed(
    recover: Command, kept: KeptRecord, mount_state: Path
):
    """One area that cannot be trusted does not hide the others, and the status says it."""
    bad = mount_state.parent / "m0"
    keep(bad, lambda file: file.write(0, b"abc"))
    (bad / "staging").chmod(0o777)

    code, out, err = recover("list")

    assert code == ExitCode.FAILED
    assert kept.id in out
    assert "must be 0700" in err


def test_names_cannot_steer_the_terminal(recover: Command, mount_state: Path):
    """Escape sequences in a name are shown, not sent."""
    with StagingArea.open(mount_state, 10**6, share="a/s") as area:
        area.create(SharePath(("\x1b[2J\ud800\u202e",)), None, 0).keep("\x07")

    _, out, _ = recover("list")

    assert "\x1b" not in out
    assert r"\x1b[2J\ud800\u202e" in out
    assert r"\x07" in out


def test_show_says_everything(recover: Command, kept: KeptRecord, mount_state: Path):
    """One record in full: facts, base, extents and where the bytes are."""
    _, out, _ = recover("show", kept.id)
    assert f"{ACCOUNT}/share/dir/file" in out
    assert "2 bytes in 1 extent(s)" in out
    assert f"ETag {etag_of(kept)}" in out
    assert "  2 to 4 (2)" in out
    assert str(kept.data) in out

    cut = keep(mount_state, lambda file: file.truncate(3), base=kept.base)
    assert "only the first 3 bytes" in recover("show", cut.id)[1]
    new = keep(mount_state, lambda file: None)
    assert "never on the share" in recover("show", new.id)[1]
    assert json.loads(recover("show", new.id, "--json")[1])["base"] is None


def test_show_writes_the_whole_file_or_the_extents(
    recover: Command, kept: KeptRecord, on_share, tmp_path: Path
):
    """The output is the merged file, or with --extents-only what was kept; newer bases are told."""
    whole, part, newer = tmp_path / "whole", tmp_path / "part", tmp_path / "newer"

    assert recover("show", kept.id, "--output", whole) == (0, "", "")
    assert recover("show", kept.id[:6], "--output", part, "--extents-only") == (0, "", "")
    assert whole.read_bytes() == b"01XY456789"
    assert part.read_bytes() == b"\0\0XY" + b"\0" * 6

    on_share(lambda share: share.put_range(PATH, 0, b"!"))
    code, _, err = recover("show", kept.id, "--output", newer)
    assert (code, newer.read_bytes()) == (0, b"!1XY456789")
    assert "has changed since" in err

    code, _, err = recover("show", kept.id, "--output", whole)
    assert (code, whole.read_bytes()) == (ExitCode.FAILED, b"01XY456789")
    assert "exists" in err
    assert recover("show", kept.id, "--extents-only")[0] == ExitCode.USAGE


def test_send_sends_and_forgets(recover: Command, kept: KeptRecord, on_share):
    """A sent record is on the share and no longer in the list."""
    assert recover("send", kept.id) == (0, f"sent {kept.id} to dir/file\n", "")

    assert content(on_share) == b"01XY456789"
    assert recover("list")[1] == "nothing was kept\n"


def test_send_refuses_a_moved_base_and_names_the_ways_out(
    recover: Command, kept: KeptRecord, on_share
):
    """The refusal names --to and --force, and both work."""
    on_share(lambda share: share.put_range(PATH, 9, b"!"))

    code, out, err = recover("send", kept.id)
    assert (code, out) == (ExitCode.FAILED, "")
    assert "--to PATH" in err
    assert "--force" in err
    assert err.count("\n") == 1
    assert content(on_share) == b"012345678!"

    code, out, err = recover("send", kept.id, "--to", "/dir/a:b")
    assert (code, out) == (0, f"sent {kept.id} to dir/a\\uf022b\n")
    assert "had changed since" in err
    assert content(on_share, SharePath(("dir", "a\uf022b"))) == b"01XY45678!"


def test_force_sends_over_what_is_there(recover: Command, kept: KeptRecord, on_share):
    """By force the kept bytes go over the newer version."""
    on_share(lambda share: share.put_range(PATH, 9, b"!"))

    assert recover("send", kept.id, "--force")[0] == 0

    assert content(on_share) == b"01XY45678!"


def test_several_are_sent_and_one_failure_does_not_stop_the_rest(
    recover: Command, kept: KeptRecord, mount_state: Path, on_share
):
    """Each id is worked on; the status is that of the failure."""
    other = keep(mount_state, lambda file: file.write(0, b"taken"))

    code, out, err = recover("send", "nothing", other.id, kept.id)

    assert code == ExitCode.FAILED
    assert out == f"sent {kept.id} to dir/file\n"
    assert "no kept record 'nothing'" in err
    assert f"{other.id}: dir/file exists" in err
    assert recover("send", other.id, kept.id, "--to", "x")[0] == ExitCode.USAGE


def test_the_share_must_be_the_right_one(
    recover: Command, mount_state: Path, monkeypatch, tmp_path: Path
):
    """Without a share in the record, without credentials, or with another account's: a line."""
    nameless = keep(mount_state, lambda file: file.write(0, b"x"), share="")
    code, _, err = recover("send", nameless.id, "--force")
    assert code == ExitCode.FAILED
    assert str(nameless.data) in err

    record = keep(mount_state, lambda file: file.write(0, b"x"))
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    assert recover("send", record.id)[0] == ExitCode.USAGE

    (tmp_path / "config.toml").write_text("[mount]\naccount = 'other'\nkey-file = 'key'\n")
    (tmp_path / "key").write_text("a2V5")
    monkeypatch.chdir(tmp_path)
    code, _, err = recover("send", record.id, "--config", "config.toml")
    assert code == ExitCode.USAGE
    assert f"belongs to the account {ACCOUNT}, the credentials to other" in err


def test_a_share_that_is_gone_is_not_found(recover: Command, mount_state: Path):
    """The service's own refusals keep their exit status, and the record stays."""
    record = keep(mount_state, lambda file: file.write(0, b"x"), share="nosuchshare")

    code, _, err = recover("send", record.id)

    assert code == ExitCode.NOT_FOUND
    assert "no such share" in err
    assert record.id in recover("list")[1]


def test_an_unknown_id_is_not_found(recover: Command, kept: KeptRecord):
    """Every action refuses an id that does not exist."""
    for action in ("show", "send", "discard"):
        code, _, err = recover(action, "nothing")
        assert (code, err.count("\n")) == (ExitCode.NOT_FOUND, 1)


def test_a_record_in_use_is_left_alone(recover: Command, kept: KeptRecord):
    """While another process sends a record, this one does nothing to it."""
    with recovery.claimed(kept):
        code, _, err = recover("discard", kept.id, "--yes")

    assert code == ExitCode.FAILED
    assert "another process" in err
    assert kept.data.exists()


def test_discard_asks_first(recover: Command, kept: KeptRecord, monkeypatch):
    """Without a terminal --yes is needed; on one the answer decides."""
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        code, _, err = recover("discard", kept.id)
    assert code == ExitCode.USAGE
    assert "--yes" in err

    for answer, expected in (("\n", ExitCode.FAILED), ("y\n", ExitCode.OK)):
        main_end, terminal = os.openpty()
        os.write(main_end, answer.encode())
        with os.fdopen(terminal) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            code, out, _ = recover("discard", kept.id)
        os.close(main_end)
        assert code == expected
        assert "Remove 2 unsent bytes of" in out
    assert recover("list")[1] == "nothing was kept\n"


def test_discard_removes_for_good(recover: Command, kept: KeptRecord, on_share):
    """A discarded record is gone, and the share is untouched."""
    assert recover("discard", kept.id, "--yes") == (0, f"discarded {kept.id}\n", "")

    assert not kept.directory.exists()
    assert content(on_share) == b"0123456789"


def test_live_staging_is_never_offered(recover: Command, mount_state: Path):
    """What a running mount has staged is neither listed nor discarded."""
    with StagingArea.open(mount_state, 10**6, share=f"{ACCOUNT}/share") as area:
        file = area.create(PATH, None, 0)
        file.write(0, b"x")

        assert recover("list")[1] == "nothing was kept\n"
        assert recover("discard", file.id, "--yes")[0] == ExitCode.NOT_FOUND

        assert file.read(ByteRange(0, 1)) == b"x"
        file.discard()


def test_an_action_is_needed(recover: Command):
    """The bare command says how it is used."""
    code, _, err = recover()

    assert code == ExitCode.USAGE
    assert err.count("\n") == 1
