"""Who may call the routes of queues and schedules: tokens that are refused, and where certificates come from."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.gcp.handing import Hands, handed
from wdk_cloud import Workflows
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.world.clock import VirtualClock
from wdk_gcp.callers import (
    CERTIFICATES,
    LONGEST,
    PAUSE,
    REMOVED,
    SHORTEST,
    SKEW,
    STALE,
    Callers,
    Certificates,
    NotAccepted,
    callers_of,
    fetched,
)
from wdk_gcp.queue import AUDIENCE
from wdk_gcp.testing import CloudTasksServer, TokenSigner
from wdk_gcp.testing.serving import HttpAnswer, HttpRequest, HttpServer
from wdk_gcp.testing.stage import INVOKER, Stage

STRANGER = "queues@another-project.iam.gserviceaccount.com"

signer = TokenSigner()
imposter = TokenSigner()  # another key, which says that it is the first one
unheard_of = TokenSigner("unheard-of")


class Kept(Certificates):
    """Those of `signer`."""

    def __init__(self) -> None:
        super().__init__("", VirtualClock(), lambda _: (signer.certificates(), SHORTEST))


def asked(authorization: str, *, verified_before: bool = False) -> str | None:
    """Why it is refused; None: it is not."""
    callers = Callers(INVOKER, Kept(), verified_before=verified_before)
    try:
        asyncio.run(callers.check(authorization))
    except NotAccepted as reason:
        return str(reason)
    return None


def now() -> float:
    return time.time()


def good(**claims: Any) -> str:
    return signer.token(AUDIENCE, INVOKER, **claims)


def test_a_token_of_the_invoker_for_us_is_accepted() -> None:
    assert asked(f"Bearer {good()}") is None
    assert asked(f"bearer   {good(iss='accounts.google.com')}") is None


def test_clocks_may_differ_a_little() -> None:
    assert asked(f"Bearer {good(issued=now() + SKEW - 5)}") is None
    assert asked(f"Bearer {good(issued=now() - 3600 - SKEW + 5)}") is None


REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "no header": (lambda: "", "it has no bearer token"),
    "no token": (lambda: "Bearer ", "it has no bearer token"),
    "another scheme": (lambda: f"Basic {good()}", "it has no bearer token"),
    "no token at all": (lambda: "Bearer a.b", "its token is refused: Wrong number of segments in token"),
    "nonsense": (lambda: "Bearer a.b.c", "its token is refused: "),
    "wrong audience": (
        lambda: f"Bearer {signer.token('https://worker.example', INVOKER)}",
        "its token is refused: Token has wrong audience https://worker.example",
    ),
    "several audiences": (
        lambda: f"Bearer {good(aud=[AUDIENCE, 'other'])}",
        "its token is refused: Token has wrong audience",
    ),
    "wrong signer": (
        lambda: f"Bearer {imposter.token(AUDIENCE, INVOKER)}",
        "its token is refused: Could not verify token signature.",
    ),
    "wrong e-mail": (
        lambda: f"Bearer {signer.token(AUDIENCE, 'someone@wdk-testing.iam.gserviceaccount.com')}",
        "its token is in the name of 'someone@wdk-testing.iam.gserviceaccount.com', not of ",
    ),
    "another project": (
        lambda: f"Bearer {signer.token(AUDIENCE, STRANGER)}",
        f"its token is in the name of '{STRANGER}', not of {INVOKER}",
    ),
    "no e-mail": (lambda: f"Bearer {good(email=None)}", "its token is in the name of None, not of "),
    "e-mail not verified": (lambda: f"Bearer {good(email_verified=False)}", "its token is in the name of "),
    "expired": (lambda: f"Bearer {good(issued=now() - 3600 - SKEW - 5)}", "its token is refused: Token expired, "),
    "issued in the future": (
        lambda: f"Bearer {good(issued=now() + SKEW + 5)}",
        "its token is refused: Token used too early",
    ),
    "no expiry": (lambda: f"Bearer {good(exp='soon')}", "its token is refused: "),
    "no time": (lambda: f"Bearer {good(iat=None)}", "its token is refused: "),
    "wrong issuer": (
        lambda: f"Bearer {good(iss='https://issuer.example')}",
        "its token is of the issuer 'https://issuer.example'",
    ),
    "an unknown key": (
        lambda: f"Bearer {unheard_of.token(AUDIENCE, INVOKER)}",
        "its token is signed with a key that is not Google's",
    ),
    "no key": (lambda: f"Bearer {without_key(good())}", "its token names no key"),
    "no signature": (lambda: f"Bearer {good().rpartition('.')[0]}.", "its token is refused: "),
    "another algorithm": (
        lambda: f"Bearer {with_head(good(), alg='none')}",
        "its token is refused: Unsupported signature algorithm none",
    ),
    "a signature that was removed": (
        lambda: f"Bearer {good().rpartition('.')[0]}.{REMOVED}",
        "its token is refused: ",
    ),
}


def with_head(token: str, **changes: object) -> str:
    head, rest = token.split(".", 1)
    said = json.loads(base64.urlsafe_b64decode(head + "=="))
    said = {name: value for name, value in {**said, **changes}.items() if value is not None}
    return f"{base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip('=')}.{rest}"


def without_key(token: str) -> str:
    return with_head(token, kid=None)


def token_of(head: bytes, claims: bytes = b"{}", signature: str = "c2ln") -> str:
    parts = (base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (head, claims))
    return ".".join((*parts, signature))


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("a-secret-that-is-no-jwt", "Wrong number of segments in token"),
        (token_of(b"a-secret-that-is-no-jwt"), "Can't parse segment"),
        (token_of(b'["a-secret"]'), "Header segment should be a JSON object"),
        (token_of(b"{}", b'["a-secret"]'), "Payload segment should be a JSON object"),
        (token_of(b"[" * 30_000), "it is nested too deeply"),
    ],
)
def test_what_is_no_token_of_google_is_refused_and_the_log_has_nothing_of_it(token: str, reason: str) -> None:
    """Whoever sends the service another secret by mistake does not find it in the log; and nobody makes it fail."""
    assert asked(f"Bearer {token}") == f"its token is refused: {reason}"


def test_a_time_beyond_all_numbers_is_refused() -> None:
    claims = b'{"exp":1,"iat":1' + b"0" * 400 + b"}"
    said = asked(f"Bearer {token_of(b'{}', claims, REMOVED)}", verified_before=True)
    assert said == "its token is refused: int too large to convert to float"


@pytest.mark.parametrize("case", REFUSED)
def test_a_token_is_refused_and_the_log_says_why(case: str) -> None:
    authorization, reason = REFUSED[case]
    said = asked(authorization())
    assert said is not None and said.startswith(reason), said


def removed(**claims: Any) -> str:
    return f"Bearer {good(**claims).rpartition('.')[0]}.{REMOVED}"


def test_behind_iam_the_platform_may_have_removed_the_signature_and_nothing_else_is_let_through() -> None:
    assert asked(removed(), verified_before=True) is None
    assert asked(f"Bearer {good()}", verified_before=True) is None
    for case in ("wrong signer", "wrong audience", "another project", "expired", "no signature", "no header"):
        authorization, reason = REFUSED[case]
        said = asked(authorization(), verified_before=True)
        assert said is not None and said.startswith(reason), said


def test_who_may_use_the_api_cannot_write_a_token_of_the_queues(gcp_stage: Stage) -> None:
    """IAM lets a caller in by another header, and Cloud Run passes `Authorization` on as it is."""

    async def scenario(hands: Hands) -> None:
        hands.instance._callers = Callers(INVOKER, Kept(), verified_before=True)
        for more, status in ({}, 200), ({"X_Serverless_Authorization": "Bearer a.b.c"}, 401):
            assert (await hands.bring(b"", "sweep", Authorization=removed(), **more)).status_code == status
            assert (await hands.bring(b"", "sweep", Authorization=f"Bearer {good()}", **more)).status_code == 200

    handed(gcp_stage, scenario, Workflows())


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "other"}, "its token is refused: Token has wrong audience 'other'"),
        ({"email": STRANGER}, "its token is in the name of"),
        ({"iss": "x"}, "its token is of the issuer"),
        ({"issued": now() - 2 * 3600}, "its token is refused: Token expired"),
        ({"issued": now() + 3600}, "its token is refused: Token used too early"),
    ],
)
def test_what_can_still_be_seen_without_a_signature_is_looked_at(claims: dict[str, Any], reason: str) -> None:
    said = asked(removed(**claims), verified_before=True)
    assert said is not None and said.startswith(reason), said


def test_a_caller_is_not_told_why_and_nothing_of_its_request_is_done(
    gcp_stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(hands: Hands) -> None:
        for path in ("flow", "tick", "sweep"):
            token = imposter.token(AUDIENCE, INVOKER)
            answer = await hands.bring(b"{}", path, Authorization=f"Bearer {token}")
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            said = "this is for the queues and schedules of this deployment"
            assert answer.json() == {"error": "unauthorized", "message": said}
        assert hands.telemetry.counts == {"RefusedCallers": 3}

    handed(gcp_stage, scenario, Workflows())
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 3
    assert all("was refused: its token is refused: Could not verify token signature." in text for text in told)
    assert "ey" not in "".join(told)


def test_while_nobody_can_be_verified_tasks_are_kept_by_their_queue(gcp_stage: Stage) -> None:
    def fetch(_: str) -> tuple[Mapping[str, str], float]:
        raise OSError("no network")

    async def scenario(hands: Hands) -> None:
        callers = Callers(INVOKER, Certificates("", VirtualClock(), fetch), verified_before=False)
        hands.instance._callers = callers  # type: ignore[attr-defined]
        answer = await hands.bring(b"{}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")

    handed(gcp_stage, scenario, Workflows())


# -- certificates -----------------------------------------------------------------------------------------------------


class Source:
    """Where certificates are fetched from."""

    def __init__(self, lasting: float = 600.0) -> None:
        self.found: dict[str, str] = {"a": "A"}
        self.lasting = lasting
        self.fails = False
        self.asked = 0

    def __call__(self, url: str) -> tuple[Mapping[str, str], float]:
        assert url == "https://certs.example"
        self.asked += 1
        if self.fails:
            raise OSError("no network")
        return dict(self.found), self.lasting


@pytest.fixture
def source() -> Source:
    return Source()


def kept(clock: VirtualClock, source: Source) -> Certificates:
    return Certificates("https://certs.example", clock, source)


def test_certificates_are_fetched_once_and_again_when_they_are_no_longer_fresh(source: Source) -> None:
    async def main() -> None:
        clock = VirtualClock()
        certificates = kept(clock, source)
        found = await asyncio.gather(*(certificates.with_key("a") for _ in range(10)))
        assert (found, source.asked) == ([{"a": "A"}] * 10, 1)
        clock.advance_to(clock.now() + 599)
        await certificates.with_key("a")
        assert source.asked == 1
        clock.advance_to(clock.now() + 1)
        source.found = {"b": "B"}
        with pytest.raises(NotAccepted):
            await certificates.with_key("a")
        assert (await certificates.with_key("b"), source.asked) == ({"b": "B"}, 2)

    asyncio.run(main())


@pytest.mark.parametrize(("said", "kept_for"), [(0, SHORTEST), (10**9, LONGEST), (7000, 7000)])
def test_what_the_answer_says_of_its_age_is_obeyed_within_bounds(source: Source, said: float, kept_for: float) -> None:
    async def main() -> None:
        clock = VirtualClock()
        source.lasting = said
        certificates = kept(clock, source)
        for seconds, asked in ((0, 1), (kept_for - 1, 1), (1, 2)):
            clock.advance_to(clock.now() + seconds)
            await certificates.with_key("a")
            assert source.asked == asked

    asyncio.run(main())


def test_unknown_keys_make_us_ask_only_so_often(source: Source) -> None:
    async def main() -> None:
        clock = VirtualClock()
        certificates = kept(clock, source)
        for number in range(100):
            with pytest.raises(NotAccepted):
                await certificates.with_key(f"unknown-{number}")
        assert source.asked == 1
        source.found["new"] = "N"
        clock.advance_to(clock.now() + PAUSE)
        assert (await certificates.with_key("new"))["new"] == "N"
        assert source.asked == 2

    asyncio.run(main())


def test_old_certificates_are_used_on_for_a_day_while_they_cannot_be_fetched(source: Source) -> None:
    async def main() -> None:
        clock = VirtualClock()
        certificates = kept(clock, source)
        await certificates.with_key("a")
        source.fails = True
        clock.advance_to(clock.now() + 600)
        assert await certificates.with_key("a") == {"a": "A"}
        with pytest.raises(WorldUnavailableError, match="cannot be fetched"):
            await certificates.with_key("new")
        assert source.asked == 2
        clock.advance_to(clock.now() + STALE)
        with pytest.raises(WorldUnavailableError, match="cannot be fetched"):
            await certificates.with_key("a")
        source.fails = False
        clock.advance_to(clock.now() + PAUSE)
        assert await certificates.with_key("a") == {"a": "A"}

    asyncio.run(main())


@pytest.fixture
def web() -> Iterator[tuple[str, list[HttpAnswer]]]:
    answers: list[HttpAnswer] = []

    def answer(_: HttpRequest) -> HttpAnswer:
        return answers[0]

    server = HttpServer(answer)
    server.start()
    yield server.url, answers
    server.stop()


def test_what_is_fetched_is_told_with_its_age(web: tuple[str, list[HttpAnswer]]) -> None:
    url, answers = web
    answers.append(HttpAnswer(200, {"Cache-Control": "public, max-age=19845, must-revalidate"}, b'{"a": "A"}'))
    assert fetched(url) == ({"a": "A"}, 19845)
    answers[0] = HttpAnswer(200, {}, b'{"a": "A"}')
    assert fetched(url) == ({"a": "A"}, SHORTEST)


@pytest.mark.parametrize(
    "answer", [HttpAnswer(404), HttpAnswer(200, {}, b"<html>"), HttpAnswer(200, {}, b'{"keys": [{"kid": "a"}]}')]
)
def test_what_is_no_certificates_is_not_taken_for_some(web: tuple[str, list[HttpAnswer]], answer: HttpAnswer) -> None:
    url, answers = web
    answers.append(answer)
    with pytest.raises((OSError, ValueError)):
        fetched(url)


def test_the_certificates_of_a_server_for_tests_are_named_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with CloudTasksServer() as tasks:
        monkeypatch.setenv("WDK_CLOUD_TASKS_CERTS_URL", tasks.certs_url)
        callers = callers_of(INVOKER, VirtualClock(), verified_before=False)
        asyncio.run(callers.check(f"Bearer {tasks.signer.token(AUDIENCE, INVOKER)}"))
        with pytest.raises(NotAccepted):
            asyncio.run(callers.check(f"Bearer {imposter.token(AUDIENCE, INVOKER)}"))
    assert CERTIFICATES.startswith("https://www.googleapis.com/")


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.7:8080/certs",
        "https://certificates.example/certs",
        "http://localhost:8080/certs",
        "http://127.0.0.1/certs",
        "http://127.0.0.1:80@certificates.example/certs",
        "http://certificates.example\\@127.0.0.1:80/certs",
        "http://127.0.0.1:80/\nhttp://certificates.example",
    ],
)
def test_certificates_of_another_machine_are_refused_when_the_service_starts(
    gcp_stage: Stage, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever shows the certificates says who calls."""
    monkeypatch.setenv("WDK_CLOUD_TASKS_CERTS_URL", url)
    said = r"WDK_CLOUD_TASKS_CERTS_URL='.*' is refused: it is for tests, with a server at http://127\.0\.0\.1:PORT;"
    with pytest.raises(WorldConfigurationError, match=said):
        callers_of(INVOKER, VirtualClock(), verified_before=False)

    async def scenario(_: Hands) -> None:
        raise AssertionError("the service has started")

    with pytest.raises(WorldConfigurationError, match=said):
        handed(gcp_stage, scenario, Workflows())
