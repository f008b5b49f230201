"""Every test that takes `play` is played five ways, which must leave the same logs, byte for byte: `warm`, with bodies
kept between deliveries; `cold`, where each delivery replays the body from its log, with a registry declared anew;
`elsewhere`, which is cold in another process, with another working directory and heap; `lambda`, which is cold, on
the AWS world, with the handler of the Lambda function for a worker; and `cloudrun`, the same with that of the service on
Cloud Run. On the clouds the events are the same, byte for byte, and not where one batch of them ends and the next
begins."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.e2e.elsewhere import Elsewhere, asked
from tests.e2e.ledger import Ledger
from tests.e2e.onlambda import OnLambda, scales_of, stage_at
from tests.e2e.rollcall import LEDGERS, LEFT_OUT, PROPERTY
from tests.e2e.running import Play
from wdk_cloud.engine.settings import Settings

# A version of their own, so that nobody hashes the sources for each engine.
WARM = Settings(code_version="1")
COLD = Settings(code_version="1", cached_runs=0)
WAYS = {"warm": WARM, "cold": COLD, "elsewhere": COLD, "lambda": COLD, "cloudrun": COLD}

NOT_ON = {"lambda": "not_on_lambda", "cloudrun": "not_on_cloudrun"}
"""The marks of tests that cannot be the same there."""

LEDGER = pytest.StashKey[Ledger]()
PLAYED_BY = pytest.StashKey[Elsewhere]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that cannot be the same on a cloud says why, and is played in the other ways; the end of the session tells
    how many there are."""
    left = [item for item in items if (mark := _left_out_by(item)) is not None and _has_a_reason(mark)]
    if left:
        config.stash[LEFT_OUT] = [item.nodeid for item in left]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def _left_out_by(item: pytest.Item) -> pytest.Mark | None:
    name = NOT_ON.get(_is_played(item) or "")
    return item.get_closest_marker(name) if name is not None else None


def _has_a_reason(mark: pytest.Mark) -> bool:
    (reason,) = mark.args
    assert isinstance(reason, str) and reason
    return True


def _is_played(item: pytest.Item) -> str | None:
    """The way."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("play") if callspec is not None else None


@pytest.hookimpl(optionalhook=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, [])


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WDK_")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=WAYS)
def play(request: pytest.FixtureRequest, ledgers: Path) -> Iterator[Play]:
    item, way = request.node, request.param
    test = test_id(item, way)
    ledger = Ledger(ledgers, test, way, ordered=item.get_closest_marker("in_any_order") is None)
    item.user_properties.append((PROPERTY, (test, way)))
    if way == "elsewhere" and asked(item.config) is None:
        item.stash[PLAYED_BY] = request.getfixturevalue("elsewhere")
    else:
        item.stash[LEDGER] = ledger
    if way == "cloudrun":
        from tests.e2e.oncloudrun import OnCloudRun  # which needs Google's clients: other Pythons are without them

        yield Play(WAYS[way], ledger, cloud=OnCloudRun(request.getfixturevalue("gcp_stage")))
        return
    if way != "lambda":
        yield Play(WAYS[way], ledger)
        return
    endpoint = request.getfixturevalue("dynoxide")
    yield Play(WAYS[way], ledger, cloud=OnLambda(stage_at(endpoint)))
    scales_of(endpoint).finish()


@pytest.fixture
def warm() -> Play:
    return Play(WARM)


@pytest.fixture
def cold() -> Play:
    return Play(COLD)


def test_id(item: pytest.Function, way: str) -> str:
    """What the ways of one test have in common: its id without the way, wherever in it that stands."""
    parts = item.callspec.id.split("-")
    parts.remove(way)
    return f"{item.nodeid.partition('[')[0]}[{'-'.join(parts)}]"


@pytest.fixture(scope="session")
def ledgers(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.stash[LEDGERS]


@pytest.fixture(scope="session")
def elsewhere(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ledgers: Path
) -> Iterator[Elsewhere]:
    modules = {item.path for item in request.session.items if "play" in getattr(item, "fixturenames", ())}
    options = [f"--assert={request.config.getoption('assertmode')}"]
    process = Elsewhere(tmp_path_factory.mktemp("elsewhere"), ledgers, modules, options)
    yield process
    process.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Here only the fixtures of a test that is played elsewhere are made."""
    process = pyfuncitem.stash.get(PLAYED_BY, None)
    if process is None:
        return None
    process.play(pyfuncitem)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Compare what it has left behind. That it was skipped is something too: the others must be as well."""
    ledger = item.stash.get(LEDGER, None)
    try:
        yield
    except pytest.skip.Exception:
        if ledger is not None:
            ledger.write("skipped")
            ledger.compare()
        raise
    if ledger is not None:
        ledger.compare()
