"""One answer in parts, as the Runtime API takes it: in chunks, its status before the body, an error in the trailers."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from wdk_aws.answers import single

if TYPE_CHECKING:
    from collections.abc import Sequence
    from http.client import HTTPConnection

ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
ERROR_BODY = "Lambda-Runtime-Function-Error-Body"

# A function URL takes status and headers from JSON before the body, which eight zero bytes end.
HTTP_ANSWER = "application/vnd.awslambda.http-integration-response"
END_OF_PRELUDE = b"\0" * 8


class StreamedAnswer:
    """Nothing is sent before `begin`, so that an event can still be answered another way."""

    def __init__(self, connection: HTTPConnection, path: str) -> None:
        self._connection = connection
        self._path = path
        self.begun = False

    def begin(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Send status and headers."""
        once, cookies = single(headers)
        prelude = json.dumps({"statusCode": status, "headers": once, "cookies": cookies}).encode()
        connection = self._connection
        connection.putrequest("POST", self._path, skip_accept_encoding=True)
        connection.putheader("Content-Type", HTTP_ANSWER)
        connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.putheader("Trailer", f"{ERROR_TYPE}, {ERROR_BODY}")
        self.begun = True
        connection.endheaders(_chunk(prelude + END_OF_PRELUDE), encode_chunked=False)

    def write(self, part: bytes) -> None:
        """Raises OSError when nobody reads any more."""
        if part:
            self._connection.send(_chunk(part))

    def end(self) -> None:
        self._finish(b"")

    def fail(self, error: BaseException) -> None:
        """End an answer that was begun with an error: whoever reads it sees that it was cut off."""
        from wdk_aws.runtime import described

        body = base64.b64encode(described(error)).decode()
        self._finish(f"{ERROR_TYPE}: {type(error).__name__}\r\n{ERROR_BODY}: {body}\r\n".encode())

    def _finish(self, trailers: bytes) -> None:
        try:
            self._connection.send(b"0\r\n" + trailers + b"\r\n")
            self._connection.getresponse().read()
        finally:
            self._connection.close()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
