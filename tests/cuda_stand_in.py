"""A stand-in for the `cuda.bindings.runtime` module, for machines without a GPU.

It has the functions of the real one that this project may use; another one raises AttributeError.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
from typing import Any


class Cuda:
    """The CUDA runtime API with host memory for device memory, and streams that run at once unless captured."""

    cudaStreamNonBlocking = 1

    class cudaMemcpyKind(enum.IntEnum):  # noqa: N801
        cudaMemcpyDefault = 4

    class cudaStreamCaptureMode(enum.IntEnum):  # noqa: N801
        cudaStreamCaptureModeThreadLocal = 1

    class Status(enum.IntEnum):
        cudaSuccess = 0
        cudaErrorStreamCaptureUnsupported = 900

    def __init__(self, *, capture_fails: bool = False) -> None:
        self.memory: dict[int, Any] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.capture_fails = capture_fails
        self.launches = 0
        self.bytes_copied = 0

    def run(self, work: Callable[[], None]) -> None:
        """Do stream work now, or note it while a capture is on."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"cuda.bindings.runtime has no {name} in this stand-in")

    def cudaGetDeviceCount(self) -> Any:
        return self.Status.cudaSuccess, 1

    def cudaSetDevice(self, device: int) -> Any:
        return (self.Status.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        return self.Status.cudaSuccess, 7

    def cudaGetLastError(self) -> Any:
        return (self.Status.cudaSuccess,)

    def cudaStreamDestroy(self, stream: int) -> Any:
        return (self.Status.cudaSuccess,)

    def cudaMalloc(self, size: int) -> Any:
        # Filled with rubbish, as device memory is.
        block = ctypes.create_string_buffer(b"\xc3" * size, size)
        self.memory[ctypes.addressof(block)] = block
        return self.Status.cudaSuccess, ctypes.addressof(block)

    def cudaMallocHost(self, size: int) -> Any:
        return self.cudaMalloc(size)

    def cudaFree(self, address: int) -> Any:
        del self.memory[address]
        return (self.Status.cudaSuccess,)

    def cudaFreeHost(self, address: int) -> Any:
        return self.cudaFree(address)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> Any:
        assert isinstance(kind, self.cudaMemcpyKind), "cuda-python wants the enum's member"

        def work() -> None:
            self.bytes_copied += size
            ctypes.memmove(target, source, size)

        self.run(work)
        return (self.Status.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> Any:
        assert self.recording is None, "synchronised while capturing"
        return (self.Status.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> Any:
        assert isinstance(mode, self.cudaStreamCaptureMode), "cuda-python wants the enum's member"
        if self.capture_fails:
            return (self.Status.cudaErrorStreamCaptureUnsupported,)
        self.recording = []
        return (self.Status.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> Any:
        if self.recording is None:
            return self.Status.cudaErrorStreamCaptureUnsupported, None
        graph, self.recording = self.recording, None
        return self.Status.cudaSuccess, graph

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        return self.Status.cudaSuccess, list(graph)

    def cudaGraphDestroy(self, graph: Any) -> Any:
        return (self.Status.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: Any) -> Any:
        return (self.Status.cudaSuccess,)

    def cudaGraphLaunch(self, graph: Any, stream: int) -> Any:
        self.launches += 1
        for work in graph:
            work()
        return (self.Status.cudaSuccess,)
