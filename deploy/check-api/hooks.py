"""What JSON Schema cannot say of our requests, and how lines of JSON are written and read.

In: a generated request. Out: the same, as a caller would send it who has read the documents.
"""

import json
import os
import uuid

import schemathesis


@schemathesis.serializer("application/x-ndjson", "application/jsonl")
def lines(context, value):
    """A sequential media type is described as an array (OpenAPI 3.2 says so, 3.1 says nothing): a line for each."""
    items = value if isinstance(value, list) else [value]
    return "".join(json.dumps(item) + "\n" for item in items).encode()


@schemathesis.deserializer("application/x-ndjson")
def of_lines(context, response):
    return [json.loads(line) for line in response.text.splitlines()]


def whole(value):
    """To JSON Schema 1.0 is an integer. We write integers without a point, and read no others."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    return value


@schemathesis.hook
def map_case(context, case):
    operation = case.operation.definition.raw["operationId"]
    case.body = whole(case.body)
    # nobody is waited for: nothing comes
    if operation == "lease" and isinstance(case.body, dict) and case.body.get("wait_seconds") in range(31):
        case.body["wait_seconds"] = 0
    if operation == "submitBatch" and isinstance(case.body, list):
        keyed = "Idempotency-Key" in (case.headers or {})
        for item in case.body:
            key = item.pop("idempotency_key", None) if isinstance(item, dict) else None
            # one key as a whole or a key for each, and no schema reaches from a header into a body;
            # a key of its own, or the next batch would use it for another message
            if key is not None and not keyed:
                item["idempotency_key"] = key[:200] + uuid.uuid4().hex if isinstance(key, str) else key
    # every other time an id that is there
    known = {"status": "MESSAGE_ID", "showDeadLetter": "DEAD_LETTER_ID"}.get(operation)
    if known and len(str(case.path_parameters)) % 2 == 0:
        case.path_parameters["message_id"] = os.environ[known]
    return case
