"""The Open Inference Protocol, version 2, over HTTP: tensors in, tensors out, as JSON or as bytes behind it.

A request is one attempt at each question, which nothing verifies. Names and types of the tensors are those of the
graphs (`trm_deploy.signature`): tokens, and puzzle_ids where there are several; answer, steps and halt_logit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import trm_deploy
from trm_deploy.errors import InputError, shown
from trm_deploy.puzzles.base import Tokens
from trm_deploy.runtimes.base import check_inputs, check_step_limit, check_threshold
from trm_deploy.runtimes.solving.scheduling import Finished, Limits
from trm_deploy.serving.models import ServedModel, TooMany
from trm_deploy.signature import ANSWER, HALT_LOGIT, HALT_THRESHOLD, MAX_STEPS, PUZZLE_IDS, STEPS, TOKENS
from trm_deploy.support.jsontext import dumps

VERSION = "1"
# Of a request or a response whose tensors come as bytes: how many bytes of JSON are before them.
HEADER = "Inference-Header-Content-Length"
SIZE = "binary_data_size"
BINARY = "binary_data"
ALL_BINARY = "binary_data_output"
INT32, FP32 = "INT32", "FP32"
MAX_ID = 200
# Supervision steps that a request may ask for, in multiples of the model's own.
MOST_STEPS = 4


@dataclass(frozen=True)
class Inference:
    """A request, checked.

    Attributes:
        tokens: int32 [B, L].
        puzzle_ids: int32 [B]; None: puzzle 0.
        limits: of each attempt.
        outputs: names of the tensors to give back, each with whether as bytes.
        id: of the request, as the client calls it; None where it does not.
    """

    tokens: Tokens
    puzzle_ids: Tokens | None
    limits: Limits
    outputs: Mapping[str, bool]
    id: str | None


def server_metadata() -> dict[str, Any]:
    """What `GET /v2` gives."""
    return {"name": "trm-deploy", "version": trm_deploy.__version__, "extensions": ["binary_tensor_data"]}


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """What `GET /v2/models/NAME` gives; `parameters` says what the tokens mean and when an attempt ends."""
    spec = model.session.runtime.spec
    limits = model.limits(None, None)
    inputs = [_tensor(TOKENS, INT32, [-1, spec.task.sequence_length])]
    if spec.task.puzzle_identifiers > 1:
        inputs.append(_tensor(PUZZLE_IDS, INT32, [-1]))
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": f"trm-deploy_{model.session.runtime.backend}",
        "inputs": inputs,
        "outputs": [
            _tensor(ANSWER, INT32, [-1, spec.task.sequence_length]),
            _tensor(STEPS, INT32, [-1]),
            _tensor(HALT_LOGIT, FP32, [-1]),
        ],
        "parameters": {
            "task": spec.task.name,
            "vocabulary": list(spec.task.vocabulary),
            MAX_STEPS: limits.max_steps,
            HALT_THRESHOLD: limits.halt_threshold,
        },
    }


def _tensor(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


def parse(model: ServedModel, body: bytes, header: str | None, most: int) -> Inference:
    """A request for a model.

    Args:
        model: that it is for.
        body: JSON, and behind it the tensors that come as bytes.
        header: number of bytes of JSON; None: all.
        most: maximum number of questions.

    Raises:
        InputError: it is malformed, or does not fit the model.
        TooMany: more questions than `most`.
    """
    length = len(body) if header is None else _header_length(header, len(body))
    document = _object(body[:length])
    inputs = _inputs(document, body[length:])
    expected = [TOKENS, *([PUZZLE_IDS] if model.session.runtime.spec.task.puzzle_identifiers > 1 else [])]
    for name in inputs:
        if name not in expected:
            raise InputError(f"there is no input {shown(name)}, expected {' and '.join(expected)}")
    if TOKENS not in inputs:
        raise InputError(f"the input {TOKENS} is missing")
    tokens, ids = inputs[TOKENS], inputs.get(PUZZLE_IDS)
    if tokens.ndim == 2 and len(tokens) > most:
        raise TooMany(f"the request has {len(tokens):,} puzzles, expected at most {most:,}")
    limits = _limits(model, document)
    check_inputs(model.session.runtime.spec, tokens, ids, limits.max_steps)
    check_step_limit(model.session.runtime.fixed_steps, limits.max_steps, model.session.runtime.baked)
    check_threshold(model.session.runtime.baked, limits.halt_threshold)
    request_id = document.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= MAX_ID):
        raise InputError(f"id is {shown(request_id)}, expected text of up to {MAX_ID} characters")
    return Inference(tokens, ids, limits, _outputs(document), request_id)


def _header_length(header: str, size: int) -> int:
    if not (header.isascii() and header.isdigit() and len(header) < 19 and int(header) <= size):
        raise InputError(f"{HEADER} is {shown(header)}, expected a number of bytes up to {size}")
    return int(header)


def _object(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the request is not valid JSON ({error})"[:200]) from error
    if not isinstance(document, dict):
        raise InputError('the request is not a JSON object with "inputs"')
    _known(document, ("id", "inputs", "outputs", "parameters"), "the request")
    return document


def _known(document: Mapping[str, Any], keys: Sequence[str], what: str) -> None:
    unknown = [key for key in document if key not in keys]
    if unknown:
        raise InputError(f"{what} has the key {shown(unknown[0])}, expected {', '.join(keys)}")


def _parameters(document: Mapping[str, Any], keys: Sequence[str], what: str) -> dict[str, Any]:
    found = document.get("parameters") or {}
    if not isinstance(found, dict):
        raise InputError(f"the parameters of {what} are {shown(found)}, expected an object")
    unknown = [key for key in found if key not in keys]
    if unknown:
        raise InputError(f"{what} has the parameter {shown(unknown[0])}, expected {' or '.join(keys)}")
    return found


def _listed(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = document.get(key, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"{key} is {shown(found)}, expected a list of objects")
    names = [entry.get("name") for entry in found]
    for number, name in enumerate(names):
        if not isinstance(name, str):
            raise InputError(f"{key} entry {number} has the name {shown(name)}, expected text")
        if name in names[:number]:
            raise InputError(f"{key} has {shown(name)} twice")
    return found


def _inputs(document: Mapping[str, Any], binary: bytes) -> dict[str, NDArray[np.int32]]:
    """The tensors by name; those that come as bytes follow each other in the order of the list."""
    inputs: dict[str, NDArray[np.int32]] = {}
    start = 0
    for entry in _listed(document, "inputs"):
        name = f"the input {shown(entry['name'])}"
        _known(entry, ("name", "shape", "datatype", "data", "parameters"), name)
        if entry.get("datatype") != INT32:
            raise InputError(f"{name} is {shown(entry.get('datatype'))}, expected {INT32}")
        shape = entry.get("shape")
        if not isinstance(shape, list) or not shape or not all(type(size) is int and size > 0 for size in shape):
            raise InputError(f"{name} has the shape {shown(shape)}, expected whole numbers of at least 1")
        size = _parameters(entry, (SIZE,), name).get(SIZE)
        if size is None:
            inputs[entry["name"]] = _from_json(entry.get("data"), shape, name)
            continue
        if "data" in entry or type(size) is not int or not 0 <= size <= len(binary) - start:
            raise InputError(f"{name}: {SIZE} is {shown(size)}, {len(binary) - start} bytes are left")
        if size != 4 * math.prod(shape):
            raise InputError(f"{name} has {size} bytes, expected {4 * math.prod(shape)} for the shape {shown(shape)}")
        values = np.frombuffer(binary, "<i4", size // 4, start)
        inputs[entry["name"]] = values.reshape(shape).astype(np.int32)
        start += size
    if start != len(binary):
        raise InputError(f"{len(binary) - start} bytes are behind the last tensor")
    return inputs


def _from_json(data: Any, shape: list[int], name: str) -> NDArray[np.int32]:
    try:
        values = np.asarray(data)
    except (ValueError, RecursionError) as error:  # rows of different lengths
        raise InputError(f"{name}: its data is no array of whole numbers") from error
    if values.dtype.kind not in "iu" or values.size != math.prod(shape) or values.ndim not in (1, len(shape)):
        raise InputError(f"{name}: its data is {values.dtype} {list(values.shape)}, expected {INT32} {shown(shape)}")
    if values.min() < -(1 << 31) or values.max() >= 1 << 31:
        raise InputError(f"{name}: its data is beyond {INT32}")
    return values.reshape(shape).astype(np.int32)


def _limits(model: ServedModel, document: Mapping[str, Any]) -> Limits:
    given = _parameters(document, (MAX_STEPS, HALT_THRESHOLD, ALL_BINARY), "the request")
    steps, threshold = given.get(MAX_STEPS), given.get(HALT_THRESHOLD)
    most = MOST_STEPS * model.session.own_steps  # an engine without the step form computes them all in one call
    if steps is not None and not (type(steps) is int and 1 <= steps <= most):
        raise InputError(f"{MAX_STEPS} is {shown(steps)}, expected 1 to {most}")
    if threshold is not None and (type(threshold) not in (int, float) or not abs(threshold) < 1e30):
        raise InputError(f"{HALT_THRESHOLD} is {shown(threshold)}, expected a number")
    return model.limits(steps, None if threshold is None else float(threshold))


def _outputs(document: Mapping[str, Any]) -> dict[str, bool]:
    all_binary = _flag(_parameters(document, (MAX_STEPS, HALT_THRESHOLD, ALL_BINARY), "the request"), ALL_BINARY)
    outputs: dict[str, bool] = {}
    for entry in _listed(document, "outputs"):
        name = f"the output {shown(entry['name'])}"
        _known(entry, ("name", "parameters"), name)
        if entry["name"] not in (ANSWER, STEPS, HALT_LOGIT):
            raise InputError(f"there is no output {shown(entry['name'])}, expected {ANSWER}, {STEPS} or {HALT_LOGIT}")
        outputs[entry["name"]] = _flag(_parameters(entry, (BINARY,), name), BINARY, all_binary)
    return outputs or dict.fromkeys((ANSWER, STEPS, HALT_LOGIT), all_binary)


def _flag(parameters: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"{name} is {shown(value)}, expected true or false")
    return value


def response(model: ServedModel, asked: Inference, found: Sequence[Finished]) -> tuple[bytes, dict[str, str]]:
    """The body, and the headers that say how to read it."""
    values: dict[str, NDArray[Any]] = {
        ANSWER: np.stack([each.answer for each in found]).astype("<i4"),
        STEPS: np.array([each.steps for each in found], "<i4"),
        HALT_LOGIT: np.array([each.halt_logit for each in found], "<f4"),
    }
    outputs, parts = [], []
    for name, as_bytes in asked.outputs.items():
        value = values[name]
        tensor = _tensor(name, FP32 if value.dtype.kind == "f" else INT32, list(value.shape))
        if as_bytes:
            parts.append(value.tobytes())
            tensor["parameters"] = {SIZE: len(parts[-1])}
        else:
            tensor["data"] = value.ravel().tolist()
        outputs.append(tensor)
    document = {"model_name": model.name, "model_version": VERSION, "outputs": outputs}
    if asked.id is not None:
        document["id"] = asked.id
    text = dumps(document).encode()
    if not parts:
        return text, {"Content-Type": "application/json"}
    return b"".join([text, *parts]), {"Content-Type": "application/octet-stream", HEADER: str(len(text))}
