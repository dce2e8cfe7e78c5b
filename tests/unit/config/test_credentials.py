"""Where credentials come from, and that they are read anew."""

from pathlib import Path

import pytest

from azfilesfs.config.credentials import (
    CredentialEnvironment,
    CredentialFiles,
    CredentialSources,
)
from azfilesfs.config.mount import credential_sources
from azfilesfs.errors import ConfigurationError, MissingCredentials


def secret(path: Path, text: str) -> Path:
    """Write a file with a secret."""
    path.write_text(text, encoding="utf-8")
    return path


def test_files_win_over_the_environment(tmp_path):
    """The strongest place with a secret gives it; the account may stand in a weaker one."""
    key = secret(tmp_path / "key", "S2V5\n")
    environment = {"AZURE_STORAGE_ACCOUNT": "weak", "AZURE_STORAGE_SAS_TOKEN": "sig=x"}

    found = credential_sources({"key_file": str(key)}, environment, {}, "file").load()

    assert (found.key, found.sas, found.account) == ("S2V5", None, "weak")
    assert found.secret_from == "the command line"


def test_a_connection_string_brings_its_own_account(tmp_path):
    """With a connection string a weaker place's account is none of its business."""
    string = secret(tmp_path / "s", "AccountName=one;AccountKey=S2V5")
    environment = {"AZURE_STORAGE_ACCOUNT": "two", "AZFILESFS_CA_FILE": "/ca"}
    flags = {"connection_string_file": str(string)}

    found = credential_sources(flags, environment, {}, "file").load()

    assert (found.account, found.ca_file) == (None, "/ca")
    named = credential_sources(flags | {"account": "three"}, environment, {}, "file").load()
    assert named.account == "three"


def test_the_environment_wins_over_the_file(tmp_path):
    """Keys of the configuration file are the weakest place."""
    key = secret(tmp_path / "key", "ZmlsZQ==")
    file = {"account": "fromfile", "key-file": str(key), "attr-ttl": "1"}

    alone = credential_sources({}, {}, file, "the file").load()
    both = credential_sources({}, {"AZURE_STORAGE_KEY": "ZW52"}, file, "the file").load()

    assert (alone.key, alone.account, alone.secret_from) == ("ZmlsZQ==", "fromfile", "the file")
    assert (both.key, both.account) == ("ZW52", "fromfile")


def test_a_credentials_file(tmp_path):
    """It holds the environment's names, with comments, quotes and export as shells have them."""
    path = secret(
        tmp_path / "c",
        "# the share\n\nexport AZURE_STORAGE_ACCOUNT='acc'\n"
        'AZURE_STORAGE_SAS_TOKEN="sv=1&sig=a="\n'
        "AZFILESFS_CA_FILE=/ca\nAZURE_STORAGE_KEY=\n",
    )

    found = CredentialFiles(where="x", credentials_file=path).load()

    assert (found.account, found.sas, found.ca_file) == ("acc", "sv=1&sig=a=", "/ca")
    assert found.key is None
    by_variable = {"AZFILESFS_CREDENTIALS": str(path)}
    assert credential_sources({}, by_variable, {}, "f").load().sas == "sv=1&sig=a="


def test_files_are_read_each_time(tmp_path):
    """A rotated key is found without a restart."""
    key = secret(tmp_path / "key", "b25l")
    sources = CredentialSources((CredentialFiles(where="x", account="acc", key_file=key),))

    assert sources.load().key == "b25l"
    secret(key, "dHdv")
    assert sources.load().key == "dHdv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one line"),
        ("two\nlines\n", "one line"),
    ],
)
def test_a_secret_is_one_line(tmp_path, text, message):
    """A file that holds no secret, or more than one line, is named."""
    key = secret(tmp_path / "key", text)
    with pytest.raises(MissingCredentials, match=message):
        CredentialFiles(where="x", key_file=key).load()


def test_unreadable_files_are_named(tmp_path):
    """What cannot be opened or is no text is one line."""
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    for path, reason in ((tmp_path / "missing", "No such file"), (tmp_path / "binary", "text")):
        with pytest.raises(MissingCredentials, match=reason):
            CredentialFiles(where="x", key_file=path).load()


def test_an_unknown_line_is_not_quoted(tmp_path):
    """A line that may be a misplaced secret is located, never shown."""
    path = secret(tmp_path / "c", "AZURE_STORAGE_ACCOUNT=a\nbm90IGZvciB5b3U=\n")
    with pytest.raises(ConfigurationError) as caught:
        CredentialFiles(where="x", credentials_file=path).load()

    assert "line 2" in str(caught.value)
    assert "bm90" not in str(caught.value)


def test_two_secrets_contradict():
    """A place with a key and a signature is refused rather than guessed about."""
    both = {"AZURE_STORAGE_KEY": "a2V5", "AZURE_STORAGE_SAS_TOKEN": "sig=x"}
    with pytest.raises(MissingCredentials, match="the environment: give one of key and sas"):
        CredentialEnvironment(both).load()


def test_no_credentials_at_all():
    """Without any the line says what could be given."""
    with pytest.raises(MissingCredentials, match="--connection-string-file"):
        credential_sources({"account": "a"}, {}, {}, "f").load()


def test_secrets_do_not_print(tmp_path):
    """Neither the texts nor the sources show a secret in their repr."""
    environment = {"AZURE_STORAGE_KEY": "aGlkZGVu", "AZURE_STORAGE_ACCOUNT": "acc"}
    sources = credential_sources({}, environment, {}, "f")

    assert "aGlkZGVu" not in repr(sources) + repr(sources.load())


def test_flags_name_files_only(tmp_path):
    """What is kept about a running mount repeats its flags, which hold no secret."""
    given = {"account": "acc", "key_file": "/k", "ca_file": "/ca", "endpoint": "https://h"}
    first = credential_sources(given, {"AZURE_STORAGE_KEY": "aGlkZGVu"}, {}, "f").levels[0]

    assert isinstance(first, CredentialFiles)
    assert first.flags() == given
