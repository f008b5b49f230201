"""Answers that a service does not give when it is asked to, in place of its own."""

from __future__ import annotations

from typing import Any


def answering(client: Any, operation: str, answer: Any) -> list[dict[str, Any]]:
    """Have a client's operation answered by `answer(asked)`, or by the service where that is None; what was asked."""
    asked: list[dict[str, Any]] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        asked.append(params)

    def stand_in(**_: Any) -> Any:
        said = answer(asked[-1])
        if said is None:
            return None
        status = said.get("ResponseMetadata", {}).get("HTTPStatusCode", 200)
        return type("Answer", (), {"status_code": status})(), said

    service = client.meta.service_model.service_name
    client.meta.events.register(f"provide-client-params.{service}.{operation}", note)
    client.meta.events.register(f"before-call.{service}.{operation}", stand_in)
    return asked


def refusal(code: str, status: int = 400) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
