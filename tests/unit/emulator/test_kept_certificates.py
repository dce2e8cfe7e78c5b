"""A data directory keeps the certificates, so that clients trust the emulator after a restart."""

import pytest

from azfilesfs.emulator import tls


def test_certificates_outlive_a_restart(tmp_path):
    """The second start serves with what the first one made, for the owner's eyes only."""
    first = tls.kept_certificates(tmp_path, ["127.0.0.1"])

    assert tls.kept_certificates(tmp_path, ["127.0.0.1"]) == first
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    first.server_context()


def test_another_host_gets_another_certificate(tmp_path):
    """Certificates that do not name the host are made anew."""
    first = tls.kept_certificates(tmp_path)

    second = tls.kept_certificates(tmp_path, ["emulator.test"])

    assert second != first
    assert tls.kept_certificates(tmp_path, ["emulator.test"]) == second


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN X-----\n-----END X-----\n" * 3])
def test_damaged_file_is_made_anew(tmp_path, damage):
    """A file that is not what we wrote does not keep the emulator from starting."""
    (tmp_path / "tls.pem").write_bytes(damage)

    tls.kept_certificates(tmp_path).server_context()


def test_certificates_near_their_end_are_made_anew(tmp_path, monkeypatch):
    """A certificate that ends within a day is not served any more."""
    first = tls.kept_certificates(tmp_path)
    monkeypatch.setattr(tls, "_RENEWED_BEFORE_END", tls._LIFETIME)

    assert tls.kept_certificates(tmp_path) != first
