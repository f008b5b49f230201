"""KMS, as far as the AWS world asks it: data keys that open under the context that they were made for."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from wdk_aws.testing.inprocess import Answered, Asked

KEY = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-4000-8000-000000000000"


class Keys:
    """One key. A wrapped data key is what it was made of, in the clear: nothing here is a secret."""

    def answer(self, asked: Asked) -> Answered:
        order: dict[str, Any] = json.loads(asked.body)
        operation = asked.headers["x-amz-target"].rpartition(".")[2]
        context = order.get("EncryptionContext", {})
        if operation == "GenerateDataKey":
            plain = base64.b64encode(os.urandom(32)).decode()
            wrapped = base64.b64encode(json.dumps([plain, context]).encode()).decode()
            return _answered(200, {"Plaintext": plain, "CiphertextBlob": wrapped, "KeyId": KEY})
        if operation == "Decrypt":
            plain, bound = json.loads(base64.b64decode(order["CiphertextBlob"]))
            if bound == context:
                return _answered(200, {"Plaintext": plain, "KeyId": KEY})
            return _answered(400, {"__type": "InvalidCiphertextException", "message": "another context"})
        return _answered(400, {"__type": "UnsupportedOperationException", "message": operation})


def _answered(status: int, body: dict[str, str]) -> Answered:
    return Answered(status, {"content-type": "application/x-amz-json-1.1"}, json.dumps(body).encode())
