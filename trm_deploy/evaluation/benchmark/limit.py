"""The machine's limit: how fast it multiplies matrices of the model's own shapes, with nothing else to do."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from trm_deploy.errors import require
from trm_deploy.flops import Product, products
from trm_deploy.runtimes.base import Device
from trm_deploy.spec import ModelSpec
from trm_deploy.support import machine

# Samples a batch to try: the rate is the best of them.
BATCHES = (8, 32, 128)
REPEATS = 5
# Shapes of less than this share of the work are left out.
NEGLIGIBLE = 0.01

Multiply = Callable[[], None]


def gemm_gflops(spec: ModelSpec, device: Device = "cpu") -> dict[str, float]:
    """GFLOP a second of the matrix products of a supervision step, by precision, each at its best batch.

    Each product is done over and over with the same operands, median of several; what a step does between the products
    is not in it, so no runtime can reach it. Without PyTorch, numpy measures float32, and OpenVINO bfloat16 where it is
    installed and the processor has it.
    """
    every = products(spec)
    total = sum(product.flops for product in every)
    shapes = [product for product in every if product.flops >= NEGLIGIBLE * total]
    makers: dict[str, Callable[[int, Product], Multiply]]
    if importlib.util.find_spec("torch"):
        import torch

        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
        makers = {name: _torch_product(torch, dtype, device) for name, dtype in dtypes.items()}
    else:
        makers = {"fp32": _numpy_product} | _openvino_makers()
    return {name: max(_rate(shapes, batch, make) for batch in BATCHES) for name, make in makers.items()}


def _torch_product(torch: Any, dtype: Any, device: Device) -> Callable[[int, Product], Multiply]:
    def make(batch: int, product: Product) -> Multiply:
        values = torch.randn(batch * product.rows, product.inner, device=device).to(dtype)
        weight = torch.randn(product.columns, product.inner, device=device).to(dtype)

        def multiply() -> None:
            with torch.inference_mode():
                torch.nn.functional.linear(values, weight)
                if device == "cuda":
                    torch.cuda.synchronize()

        return multiply

    return make


def _numpy_product(batch: int, product: Product) -> Multiply:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((batch * product.rows, product.inner)).astype(np.float32)
    weight = rng.standard_normal((product.inner, product.columns)).astype(np.float32)

    def multiply() -> None:
        values @ weight

    return multiply


def _openvino_makers() -> dict[str, Callable[[int, Product], Multiply]]:
    """bfloat16 products by OpenVINO; nothing where it is missing or the processor has none."""
    if not importlib.util.find_spec("openvino"):
        return {}
    openvino: Any = require("openvino", extra="openvino", purpose="to measure the limit")
    operators = openvino.opset13
    core = openvino.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return {}
    config = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": machine.threads(), "NUM_STREAMS": 1}

    def make(batch: int, product: Product) -> Multiply:
        rng = np.random.default_rng(0)
        rows = operators.parameter([batch * product.rows, product.inner], np.float32)
        weight = rng.standard_normal((product.inner, product.columns)).astype(np.float32)
        found = operators.matmul(rows, operators.constant(weight), False, False)
        model = openvino.Model([found], [rows])
        request = core.compile_model(model, "CPU", config).create_infer_request()
        values = rng.standard_normal((batch * product.rows, product.inner)).astype(np.float32)
        request.set_input_tensor(openvino.Tensor(values))
        return cast(Multiply, request.infer)

    return {"bf16": make}


def _rate(shapes: list[Product], batch: int, make: Callable[[int, Product], Multiply]) -> float:
    seconds = 0.0
    for product in shapes:
        multiply = make(batch, product)
        multiply()
        times = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            multiply()
            times.append(time.perf_counter() - started)
        seconds += float(np.median(times)) * product.count
    return batch * sum(product.flops for product in shapes) / seconds / 1e9
