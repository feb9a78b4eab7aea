"""TLS between nodes. Rule: a peer's whole certificate is the only root that is trusted for it; no authority is.

Certificates are P-256 and self-signed (gRPC-Python refuses Ed25519 ones), all for one fixed name, and never expire:
the signed node record that carries a certificate has a life and an issuer, and the certificate lives by it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import os
import socket
import ssl
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gpufair.protocol import limits
from gpufair.protocol.addresses import Endpoint
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.errors import Fault, PeerError

NODE_NAME = "gpufair.node"
"""The one name in every node's certificate; who answers is told by the certificate, not by its name."""

_BEGIN = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_NEVER = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)  # RFC 5280: no well-defined end


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """A node's certificate (DER) and its private key (PKCS#8 PEM, in the clear: in memory only)."""

    certificate: bytes
    key_pem: bytes = field(repr=False)

    @property
    def certificate_sha256(self) -> bytes:
        """What a client signs to bind a stream to this very connection's certificate."""
        return certificate_sha256(self.certificate)


def certificate_sha256(certificate: bytes) -> bytes:
    """The SHA-256 of a certificate's DER."""
    return hashlib.sha256(certificate).digest()


def create() -> TlsIdentity:
    """A fresh key and its self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NODE_NAME)])
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    usage |= dict.fromkeys(("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False)
    certificate = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_NEVER)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NODE_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return TlsIdentity(certificate.public_bytes(Encoding.DER), pem)


def check_certificate(der: bytes) -> x509.Certificate:
    """Refuse, with a reason, a certificate that a node can't be reached with: size, shape, curve, name."""
    if len(der) > limits.CERT_MAX:
        raise PeerError(Fault.TOO_LARGE, f"the certificate has {len(der)} bytes of {limits.CERT_MAX}")
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = NODE_NAME in names.get_values_for_type(x509.DNSName)
    except Exception as error:  # the parser of foreign bytes raises whatever it likes
        raise PeerError(Fault.MALFORMED, "the certificate cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1) or not known:
        raise PeerError(Fault.MALFORMED, f"the certificate is not a P-256 one for {NODE_NAME}")
    return certificate


def pem_of(der: bytes) -> bytes:
    """A certificate as PEM, which gRPC wants."""
    return ssl.DER_cert_to_PEM_cert(der).encode()


async def fetch_certificate(endpoint: Endpoint, *, timeout_s: float = limits.CONNECT_TIMEOUT_MS / 1000) -> bytes:
    """The certificate that answers at `endpoint`, believed in nothing yet. Raises PeerUnreachable, PeerError."""
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=_believe_nothing(), server_hostname=NODE_NAME
            )
            try:
                presented = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
        reason = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else _plain(error)
        raise PeerUnreachable(
            f"{endpoint} cannot be reached: {reason}", hint="check the address, that the node is up, and the firewall"
        ) from error
    if not presented:
        raise PeerError(Fault.MALFORMED, f"{endpoint} shows no certificate")
    check_certificate(presented)
    return bytes(presented)


def _believe_nothing() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # whom to believe is decided by the signed record that must carry what we see
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context


def _plain(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS as a node does"
    if isinstance(error, socket.gaierror):
        return (error.strerror or "its name is not known").lower()
    return os.strerror(error.errno).lower() if error.errno else str(error) or type(error).__name__
