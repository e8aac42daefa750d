"""WebDAV over HTTPS: the server's certificate is checked, against the hospital's own authority."""

import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from datasites.errors import SettingsError
from datasites.syftnet.transports import StorageLostError

from .conftest import HOST, Webdav


def certificate(folder):
    """A certificate for loopback that only those who are given it trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def place(tmp_path):
    cert, key = certificate(tmp_path)
    server = Webdav(tmp_path / "root", tls=(cert, key))
    place = server.place("relay")
    yield place
    for storage in place.opened:
        storage.close()
    server.stop()


def test_a_certificate_is_checked(place, tmp_path):
    with pytest.raises(StorageLostError, match="ConnectError"):
        place.open().is_there()
    storage = place.open(ca_file=str(tmp_path / "cert.pem"))
    storage.write("box/file", b"1")
    assert storage.read("box/file", limit_bytes=9) == b"1"


def test_certificates_that_cannot_be_read(place, tmp_path):
    for path in (tmp_path / "none.pem", tmp_path / "key.pem"):
        with pytest.raises(SettingsError, match="certificates in"):
            place.open(ca_file=str(path))
