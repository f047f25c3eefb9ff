"""The graph forms, composed of traced pieces: recursion, halting and freezing as ONNX operators.

    step      one supervision step, state in and out
    loop      all supervision steps, as one Loop that ends when every sample has halted
    unrolled  a number of supervision steps, no control flow

Names, types and shapes of what goes in and comes out are those of `trm_deploy.signature`.
Shapes: B samples, L tokens, S = P + L positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from trm_deploy.export.graph.composer import Composer, Traced, Value
from trm_deploy.signature import (
    ANSWER,
    BATCH,
    HALT_LOGIT,
    HALT_THRESHOLD,
    LOGITS,
    MAX_STEPS,
    RESET,
    STEPS,
    TOKENS,
    Y_NEXT,
    Z_NEXT,
    TensorSpec,
    Y,
    Z,
)


def _states(traced: Traced, *names: str) -> list[Value]:
    """States by their names in the graph, each [B, S, D]."""
    shape = (BATCH, *traced.spec.state_shapes[0])
    return [(name, TensorSpec("state", traced.state, shape)) for name in names]


def _deep_recursion(composer: Composer, x: str, y: str, z: str, *, write_out: bool) -> list[str]:
    """T latent recursions, each n updates and a closing; the names of y and z."""
    traced, recursion = composer.traced, composer.traced.spec.recursion

    def latent_recursion(outer: Composer, y: str, z: str) -> list[str]:
        (opened,) = outer.piece("open", y=y, z=z)
        (inner,) = outer.repeat(
            recursion.latent,
            _states(traced, opened),
            lambda body, inner: body.piece("update", x=x, y=y, inner=inner),
            write_out=write_out,
        )
        return outer.piece("close", x=x, y=y, z=z, inner=inner)

    return composer.repeat(recursion.deep, _states(traced, y, z), latent_recursion, write_out=write_out)


def _answer(composer: Composer, logits: str) -> str:
    """The answer int32 [B, L], under its own name: the likeliest token."""
    likeliest = composer.add("ArgMax", logits, axis=-1, keepdims=0)
    return composer.add("Cast", likeliest, output=ANSWER, to=TensorProto.INT32)


def _batch(composer: Composer) -> str:
    """The batch size, int64 [1]."""
    return composer.add("Shape", TOKENS, start=0, end=1)


def step_graph(traced: Traced, *, write_out: bool) -> onnx.GraphProto:
    """One supervision step. A row with `reset` starts from the stored initial state, whatever came in.

    Args:
        traced: the pieces.
        write_out: write the inner recursions out.
    """
    composer = Composer(traced)
    fresh = composer.add("Unsqueeze", RESET, composer.constant([1, 2], np.int64))
    starts = composer.piece("start")
    y, z = (composer.add("Where", fresh, start, given) for start, given in zip(starts, (Y, Z)))
    (x,) = composer.piece("embed")
    y, z = _deep_recursion(composer, x, y, z, write_out=write_out)
    logits, halt_logit = composer.piece("heads", y=y)
    results = {Y_NEXT: y, Z_NEXT: z, ANSWER: _answer(composer, logits), HALT_LOGIT: halt_logit, LOGITS: logits}
    return composer.graph("step", results)


def loop_graph(traced: Traced, *, write_out: bool) -> onnx.GraphProto:
    """All supervision steps, ending when every sample has halted or `max_steps` are done.

    A halted sample is frozen: its outputs stay as they were when it halted, whatever shares its batch.

    Args:
        traced: the pieces.
        write_out: write the inner recursions out; the supervision steps remain a Loop.
    """
    composer, contract = Composer(traced), traced.signature("loop")
    (x,) = composer.piece("embed")
    y, z = composer.piece("start")
    batch = _batch(composer)
    length, vocabulary = traced.spec.task.sequence_length, len(traced.spec.task.vocabulary)
    sizes = composer.add("Concat", batch, composer.constant([length, vocabulary], np.int64), axis=0)

    def filled(value: float, dtype: type[np.generic], shape: str = batch) -> str:
        return composer.add("Expand", composer.constant(value, dtype), shape)

    start = composer.constant(0, np.int32)
    values: list[Value] = [
        (start, TensorSpec("index", "int32", ())),
        (filled(False, np.bool_), TensorSpec("halted", "bool", (BATCH,))),
        (filled(0, np.int32), contract[STEPS]),
        (filled(0, np.float32), contract[HALT_LOGIT]),
        (filled(0, np.float32, sizes), contract[LOGITS]),
        *_states(traced, y, z),
    ]

    def step(
        body: Composer, index: str, halted: str, steps: str, halt_logit: str, logits: str, y: str, z: str
    ) -> tuple[str, list[str]]:
        y, z = _deep_recursion(body, x, y, z, write_out=write_out)
        new_logits, new_halt_logit = body.piece("heads", y=y)
        index = body.add("Add", index, body.constant(1, np.int32))
        frozen = body.add("Unsqueeze", halted, body.constant([1, 2], np.int64))
        steps = body.add("Where", halted, steps, index)
        halt_logit = body.add("Where", halted, halt_logit, new_halt_logit)
        logits = body.add("Where", frozen, logits, new_logits)
        halted = body.add("Or", halted, body.add("Greater", halt_logit, HALT_THRESHOLD))
        all_halted = body.add("ReduceMin", body.add("Cast", halted, to=TensorProto.INT32), keepdims=0)
        some_go_on = body.add("Less", all_halted, body.constant(1, np.int32))
        go_on = body.add("And", body.add("Less", index, MAX_STEPS), some_go_on)
        return go_on, [index, halted, steps, halt_logit, logits, y, z]

    # The limit is a trip count too, so that whatever reads the condition differently still stops there.
    _, _, steps, halt_logit, logits, _, _ = composer.loop(
        values,
        step,
        turns=composer.add("Cast", MAX_STEPS, to=TensorProto.INT64),
        condition=composer.add("Less", start, MAX_STEPS),
    )
    # The answer follows from the frozen logits, so it need not be carried.
    answer = _answer(composer, logits)
    return composer.graph("loop", {ANSWER: answer, STEPS: steps, HALT_LOGIT: halt_logit, LOGITS: logits})


def unrolled_graph(traced: Traced, steps: int) -> onnx.GraphProto:
    """A number of supervision steps without control flow; a halted row keeps its outputs.

    Args:
        traced: the pieces.
        steps: at least 1.
    """
    composer = Composer(traced)
    (x,) = composer.piece("embed")
    y, z = composer.piece("start")
    batch = _batch(composer)
    axes = composer.constant([1, 2], np.int64)
    kept: list[str] = []
    for number in range(1, steps + 1):
        y, z = _deep_recursion(composer, x, y, z, write_out=True)
        logits, halt_logit = composer.piece("heads", y=y)
        taken = composer.add("Expand", composer.constant(number, np.int32), batch)
        new = [taken, halt_logit, logits]
        if number > 1:
            # A frozen row's halting logit is over the threshold for good, so this alone says who has halted.
            halted = composer.add("Greater", kept[1], HALT_THRESHOLD)
            masks = (halted, halted, composer.add("Unsqueeze", halted, axes))
            new = [composer.add("Where", mask, old, value) for mask, old, value in zip(masks, kept, new)]
        kept = new
    taken, halt_logit, logits = kept
    answer = _answer(composer, logits)
    return composer.graph("unrolled", {ANSWER: answer, STEPS: taken, HALT_LOGIT: halt_logit, LOGITS: logits})
