"""OIDC tokens as Google signs them, by a key of our own, and the documents with which a receiver verifies them."""

from __future__ import annotations

import base64
import threading
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt

from wdk_cloud.world.clock import SystemClock

ISSUER = "https://accounts.google.com"

LIFETIME = 3600.0
"""Seconds that a token is good for, as Google's are."""


class TokenSigner:
    """Signs ID tokens (RS256) by a key named `key_id`. It is made at first use, which costs a tenth of a second.

    Times are the machine's, also beside a virtual clock: the libraries that verify tokens know no other one.
    """

    issuer = ISSUER

    def __init__(self, key_id: str = "wdk-testing") -> None:
        self.key_id = key_id
        self._making = threading.Lock()

    def token(
        self,
        audience: str,
        email: str,
        /,
        *,
        issued: float | None = None,
        lifetime: float = LIFETIME,
        **claims: object,
    ) -> str:
        """A token for this `audience` in the name of the service account `email`, `issued` at this time (now) and good
        for `lifetime` seconds; `claims` replace what it would say."""
        at = int(SystemClock().now() if issued is None else issued)
        payload: dict[str, object] = {
            "iss": self.issuer,
            "aud": audience,
            "azp": email,
            "sub": "100000000000000000001",
            "email": email,
            "email_verified": True,
            "iat": at,
            "exp": at + int(lifetime),
            **claims,
        }
        with self._making:
            signer: Any = self._signer
        signed: bytes = jwt.encode(signer, payload)  # pyright: ignore[reportUnknownMemberType] - it has no types
        return signed.decode()

    def certificates(self) -> dict[str, str]:
        """As https://www.googleapis.com/oauth2/v1/certs says it: X.509 certificates in PEM by the ids of their keys."""
        with self._making:
            return {self.key_id: self._certificate}

    def keys(self) -> dict[str, list[dict[str, str]]]:
        """As https://www.googleapis.com/oauth2/v3/certs says it: a set of JSON web keys."""
        with self._making:
            numbers = self._key.public_key().public_numbers()
        values = {"n": _base64(numbers.n), "e": _base64(numbers.e)}
        return {"keys": [{"kid": self.key_id, "kty": "RSA", "alg": "RS256", "use": "sig", **values}]}

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @cached_property
    def _signer(self) -> Any:
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        made: Any = crypt.RSASigner
        return made.from_string(pem, self.key_id)

    @cached_property
    def _certificate(self) -> str:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "federated-signon.wdk-testing")])
        now = datetime.fromtimestamp(SystemClock().now(), UTC)
        certificate = (
            x509.CertificateBuilder(name, name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=16))
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _base64(number: int) -> str:
    content = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
