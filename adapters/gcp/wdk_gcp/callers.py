"""Who calls: the OIDC tokens of Cloud Tasks and Cloud Scheduler, verified here, whatever the platform did before."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from typing import TYPE_CHECKING, Any

import msgspec

from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_gcp.clients import WITHIN
from wdk_gcp.queue import AUDIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wdk_cloud.world.ports import Clock

log = logging.getLogger("wdk_cloud")

CERTIFICATES = "https://www.googleapis.com/oauth2/v1/certs"

CERTIFICATES_VARIABLE = "WDK_CLOUD_TASKS_CERTS_URL"
"""Where a server that stands in for Cloud Tasks shows the certificates of its tokens."""

HERE = re.compile(r"http://127\.0\.0\.1:\d{1,5}(/[A-Za-z0-9/._~-]*)?")
"""The one place where that may be, and where nobody is in a deployment. Who serves the certificates says who calls: one
that is left over from a test, at an address of some network, would let in whoever answers there, and this one lets in
nobody."""

ISSUERS = ("https://accounts.google.com", "accounts.google.com")

SKEW = 30.0
"""Seconds by which our clock and the one that signed may differ."""

SHORTEST, LONGEST = 300.0, 86_400.0
"""Seconds until certificates are fetched again: as their `Cache-Control` says, within these."""

STALE = 86_400.0
"""Seconds for which they are used beyond that, while they cannot be fetched: Google shows a new key days before it
signs with it, and an old one for as long after."""

PAUSE = 30.0
"""Seconds between two fetches: tokens that name keys which nobody has must not make us ask for each of them."""

REMOVED = "SIGNATURE_REMOVED_BY_GOOGLE"
"""What Cloud Run may put in the place of a signature that it has verified itself."""

INSTEAD = "X-Serverless-Authorization"
"""A header whose token Cloud Run verifies in the place of the one in `Authorization`, which it passes on as it is."""


class NotAccepted(Exception):
    """Its text says why, for our log; a caller is not told."""


class Certificates:
    """Those with which tokens are verified, by the ids of their keys."""

    def __init__(self, url: str, clock: Clock, fetch: Callable[[str], tuple[Mapping[str, str], float]]) -> None:
        self._url = url
        self._clock = clock
        self._fetch = fetch
        self._found: Mapping[str, str] = {}
        self._fresh_until = self._pause_until = float("-inf")
        self._failed = False
        self._fetching = asyncio.Lock()

    async def with_key(self, key_id: str) -> Mapping[str, str]:
        """Raises NotAccepted for a key that is not Google's, WorldUnavailableError if that cannot be said now."""
        if not self._usable(key_id):
            async with self._fetching:
                if not self._usable(key_id) and self._clock.monotonic() >= self._pause_until:
                    await self._refresh()
        if key_id in self._found and self._clock.monotonic() < self._fresh_until + STALE:
            return self._found
        if self._failed:
            raise WorldUnavailableError("the certificates of callers cannot be fetched, so that nobody can be let in")
        raise NotAccepted("its token is signed with a key that is not Google's")

    def _usable(self, key_id: str) -> bool:
        return key_id in self._found and self._clock.monotonic() < self._fresh_until

    async def _refresh(self) -> None:
        self._pause_until = self._clock.monotonic() + PAUSE
        try:
            found, lasting = await asyncio.to_thread(self._fetch, self._url)
        except Exception as error:  # of any library beneath; whatever it is, what we have is used on
            self._failed = True
            log.warning("the certificates at %s cannot be fetched, tried again in %s s: %r", self._url, PAUSE, error)
            return
        self._failed = False
        self._found = found
        self._fresh_until = self._clock.monotonic() + min(max(lasting, SHORTEST), LONGEST)


def fetched(url: str) -> tuple[dict[str, str], float]:
    """Certificates by the ids of their keys, and for how many seconds they are good. Raises whatever goes wrong."""
    from google.auth.transport.requests import Request

    make: Any = Request  # it has no types
    with_session = make()
    try:
        answer = with_session(url, method="GET", timeout=WITHIN)
        if answer.status != 200:
            raise OSError(f"the answer is {answer.status}")
        found = msgspec.json.decode(answer.data, type=dict[str, str])
        age = re.search(r"max-age=(\d{1,9})", answer.headers.get("Cache-Control", ""))
        return found, float(age[1]) if age else SHORTEST
    finally:
        with_session.session.close()


class Callers:
    """Accepts the service account in whose name the queues call, with a token for us."""

    def __init__(self, invoker: str, certificates: Certificates, *, verified_before: bool) -> None:
        """`verified_before`: the platform lets nobody through whom IAM does not, and may remove the signature."""
        self._invoker = invoker
        self._certificates = certificates
        self._verified_before = verified_before

    async def check(self, authorization: str, *, instead: bool = False) -> None:
        """Raises NotAccepted, or WorldUnavailableError if nobody can be verified now.

        `instead`: the request has a header INSTEAD. Then IAM has let somebody through, who may use the API, but nobody
        has looked at this token yet: one without a signature is one that anybody can write."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise NotAccepted("it has no bearer token")
        claims = await self._claims(token, verified_before=self._verified_before and not instead)
        if claims.get("iss") not in ISSUERS:
            raise NotAccepted(f"its token is of the issuer {claims.get('iss')!r:.100}")
        if claims.get("email") != self._invoker or claims.get("email_verified") is not True:
            raise NotAccepted(f"its token is in the name of {claims.get('email')!r:.200}, not of {self._invoker}")

    async def _claims(self, token: str, *, verified_before: bool) -> Mapping[str, Any]:
        from google.auth import exceptions, jwt

        library: Any = jwt  # it has no types
        removed = verified_before and token.endswith(f".{REMOVED}")
        try:
            if removed:
                return _checked_claims(library, token)
            key_id = library.decode_header(token).get("kid")
            if not isinstance(key_id, str):
                raise NotAccepted("its token names no key")
            certificates = await self._certificates.with_key(key_id)
            return library.decode(token, certs=certificates, audience=AUDIENCE, clock_skew_in_seconds=SKEW)
        except RecursionError:  # a header of lists in lists in lists
            raise NotAccepted("its token is refused: it is nested too deeply") from None
        except (exceptions.GoogleAuthError, ValueError, TypeError, OverflowError) as error:
            # What follows a colon is the token, or a part of it: it may be anybody's secret that was sent to us.
            reason = str(error).partition(": ")[0]
            raise NotAccepted(f"its token is refused: {reason:.200}") from None


def _checked_claims(library: Any, token: str) -> Mapping[str, Any]:
    """Of a token without its signature, all that can still be seen. Raises ValueError, TypeError, OverflowError."""
    head = token.rpartition(".")[0]
    claims: Mapping[str, Any] = library.decode(f"{head}.", verify=False)
    library._verify_iat_and_exp(claims, SKEW)
    if claims.get("aud") != AUDIENCE:
        raise ValueError(f"Token has wrong audience {claims.get('aud')!r:.100}")
    return claims


def certificates_url() -> str:
    """Google's, or what WDK_CLOUD_TASKS_CERTS_URL names. Raises WorldConfigurationError for one beyond this machine."""
    url = os.environ.get(CERTIFICATES_VARIABLE, "").strip()
    if url and not HERE.fullmatch(url):
        raise WorldConfigurationError(
            f"{CERTIFICATES_VARIABLE}={url!r} is refused: it is for tests, with a server at http://127.0.0.1:PORT; "
            "unset it where Google calls"
        )
    return url or CERTIFICATES


def callers_of(invoker: str, clock: Clock, *, verified_before: bool) -> Callers:
    """Raises WorldConfigurationError."""
    return Callers(invoker, Certificates(certificates_url(), clock, fetched), verified_before=verified_before)
