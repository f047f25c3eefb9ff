"""What the OpenAPI document says of bodies, which are read by hand."""

from __future__ import annotations

from typing import Any

from trm_deploy.serving.models import MAX_ATTEMPTS

DESCRIPTION = (
    "Solves puzzles with a recursive reasoning model and verifies the answers by the rules. `/solve` is for people and"
    " scripts, `/v2` is the Open Inference Protocol."
)


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _error(description: str) -> dict[str, Any]:
    return _json(description, _object({"error": {"type": "string"}}, ["error"]))


ERRORS: dict[int | str, dict[str, Any]] = {
    400: _error("The body cannot be read."),
    401: _error("The token is missing or wrong."),
    404: _error("There is no such model."),
    408: _error("The body did not come in time."),
    413: _error("The body or the number of its puzzles is too large."),
    415: _error("The body is compressed."),
    422: _error("A parameter of the query makes no sense."),
    429: _error("Too many puzzles wait; Retry-After says when to try again."),
    503: _error("The engine failed, or too much is being sent at once."),
    504: _error("The deadline has passed."),
}
_PUZZLE = {
    "anyOf": [
        {"type": "string", "description": "a line, or a grid of several lines"},
        {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "description": "token ids"},
    ]
}
_REQUEST = {
    **_object(
        {
            "puzzles": {"type": "array", "items": _PUZZLE, "minItems": 1},
            "attempts": {"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS},
        },
        ["puzzles"],
    ),
    "additionalProperties": False,
}
PUZZLES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _REQUEST},
            "text/plain": {"schema": {"type": "string", "minLength": 1}},
        },
    }
}
ANSWER = {
    "anyOf": [
        _object(
            {
                "puzzle": {"type": "string"},
                "answer": {"type": "string"},
                "steps": {"type": "integer"},
                "attempts": {"type": "integer"},
                "total_steps": {"type": "integer"},
                "halted": {"type": "boolean"},
                "halt_logit": {"type": ["number", "string"]},
                "verified": {"type": "boolean"},
                "milliseconds": {"type": "number"},
            },
            ["puzzle", "answer", "verified"],
        ),
        _object({"puzzle": {"type": "string"}, "error": {"type": "string"}}, ["puzzle", "error"]),
    ]
}
SOLVED: dict[int | str, dict[str, Any]] = {
    200: _json("The objects of `run --json`.", _object({"answers": {"type": "array", "items": ANSWER}}, ["answers"])),
    **ERRORS,
}
METRICS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    401: ERRORS[401],
}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events, see docs/serving.md.", "content": {"text/event-stream": {}}},
    **ERRORS,
}
DOCUMENT: dict[int | str, dict[str, Any]] = {
    200: _json("A document.", {"type": "object"}),
    401: ERRORS[401],
    404: ERRORS[404],
    422: ERRORS[422],
}
HEALTH: dict[int | str, dict[str, Any]] = {**DOCUMENT, 503: _json("The engine is broken.", {"type": "object"})}
_DATA = {"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}]}}


def _tensor(*datatypes: str) -> dict[str, Any]:
    return _object(
        {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
            "datatype": {"enum": list(datatypes)},
            "parameters": {"type": "object"},
            "data": _DATA,
        },
        ["name", "shape", "datatype"],
    )


_LIMITS = {"max_steps": {"type": "integer", "minimum": 1}, "halt_threshold": {"type": "number"}}
_INFER = _object(
    {
        "id": {"type": "string", "maxLength": 200},
        "parameters": {"type": "object", "properties": {**_LIMITS, "binary_data_output": {"type": "boolean"}}},
        "inputs": {"type": "array", "items": _tensor("INT32"), "minItems": 1},
        "outputs": {"type": "array", "items": _object({"name": {"type": "string"}}, ["name"])},
    },
    ["inputs"],
)
INFER: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _INFER},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
INFERRED: dict[int | str, dict[str, Any]] = {
    200: _json("The tensors.", _object({"outputs": {"type": "array", "items": _tensor("INT32", "FP32")}}, ["outputs"])),
    **ERRORS,
}


def as_served(document: dict[str, Any], models: list[str], version: str, *, has_token: bool) -> dict[str, Any]:
    """The OpenAPI document with the names that there are, in the place of any text, and the token that is asked for."""
    if has_token:
        document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    names = {"name": models, "model": models, "version": [version]}
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in names:
                    parameter["schema"] = {"type": "string", "enum": names[parameter["name"]]}
    return document
