"""What is recorded of a request to a webhook."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.values import decode, encode
from wdk_cloud.engine.receiving import recorded
from wdk_cloud.webmessages import ReplyAddress, Request

NAMES = st.from_regex(r"[A-Za-z0-9-]{1,8}", fullmatch=True)
VALUES = st.from_regex(r"[\t\x20-\x7e\x80-\xff]{0,12}", fullmatch=True)
REQUESTS = st.builds(
    Request,
    st.sampled_from(["GET", "POST", "m"]),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    st.binary(max_size=50),
)
ADDRESSES = st.none() | st.builds(
    ReplyAddress, st.text(max_size=3), st.just("run"), st.just("birth"), st.just("id"), st.sampled_from(["", "a2V5"])
)


@given(request=REQUESTS, address=ADDRESSES)
def test_the_short_way_and_the_codec_write_the_same_bytes(request: Request, address: ReplyAddress | None) -> None:
    if address is not None:
        request = request.with_reply(address)
    written = recorded(request)
    assert written == encode(request, known=KnownTypes())
    back = decode(written, known=KnownTypes())
    assert back == request
    assert isinstance(back, Request)
    assert back.reply == address


def test_a_lone_surrogate_which_the_short_way_cannot_write_takes_the_long_one() -> None:
    request = Request("GET", "http://x/\ud800")
    assert recorded(request) == encode(request, known=KnownTypes())
