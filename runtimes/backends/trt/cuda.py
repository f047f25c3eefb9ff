"""CUDA memory, streams and graphs through cuda-python: no torch, no cupy."""

from __future__ import annotations

import ctypes
import weakref
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trm_deploy.errors import CannotRunHere, MissingPackage, TrmDeployError


def load_cudart(*, purpose: str) -> ModuleType:
    """cuda-python's runtime API.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise MissingPackage(
            f"cuda-python is needed {purpose} and cannot be imported ({error})",
            hint="type: pip install 'cuda-python>=12.6'",
        ) from error
    return runtime  # type: ignore[no-any-return]


def give_back(owner: object, function: Any, handle: Any) -> None:
    """Call `function(handle)` when `owner` is gone; not at the program's end, when CUDA frees all by itself."""
    weakref.finalize(owner, function, handle).atexit = False


class Cuda:
    """The CUDA runtime on the first device, with one stream; every call is checked."""

    def __init__(self, api: Any) -> None:
        self.api = api
        status, count = api.cudaGetDeviceCount()
        if int(status) or not count:
            raise CannotRunHere(
                f"the CUDA driver finds no device ({self._name(status)})", hint="type: trm-deploy doctor"
            )
        self.call("cudaSetDevice", 0)
        self.stream = self.call("cudaStreamCreateWithFlags", api.cudaStreamNonBlocking)
        give_back(self, api.cudaStreamDestroy, self.stream)

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a runtime function; its one result, or None.

        Raises:
            TrmDeployError: CUDA reports an error.
        """
        status, *results = getattr(self.api, function)(*arguments)
        if int(status):
            raise TrmDeployError(f"CUDA: {function} fails with {self._name(status)}", hint="type: trm-deploy doctor")
        return results[0] if results else None

    def _name(self, status: Any) -> str:
        return str(getattr(status, "name", status))

    def synchronize(self) -> None:
        """Wait for all that was put on the stream."""
        self.call("cudaStreamSynchronize", self.stream)

    def copy(self, target: int, source: int, size: int) -> None:
        """Put a copy of `size` bytes on the stream, in whatever direction the addresses say."""
        self.call("cudaMemcpyAsync", target, source, size, self.api.cudaMemcpyKind.cudaMemcpyDefault, self.stream)


class Buffer:
    """A tensor's memory on the device with a pinned twin on the host, both for the largest batch; freed with it.

    Args:
        cuda: where.
        shape: of the largest batch.
        dtype: numpy's.
        on_host: TensorRT reads this tensor from host memory, so there is no device memory.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: DTypeLike, *, on_host: bool = False) -> None:
        self._cuda = cuda
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.row = int(np.prod(shape[1:], dtype=np.int64)) * self.dtype.itemsize  # bytes a sample
        size = max(int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize, 1)
        self.host = int(cuda.call("cudaMallocHost", size))
        give_back(self, cuda.api.cudaFreeHost, self.host)
        self.device = self.host
        if not on_host:
            self.device = int(cuda.call("cudaMalloc", size))
            give_back(self, cuda.api.cudaFree, self.device)
        raw = (ctypes.c_byte * size).from_address(self.host)
        self.array: NDArray[Any] = np.frombuffer(memoryview(raw), self.dtype, int(np.prod(shape))).reshape(shape)

    def bytes(self, batch: int) -> int:
        """Bytes of the first `batch` samples, or of all where the tensor has no batch axis."""
        return batch * self.row if self.shape else self.dtype.itemsize

    def upload(self, value: NDArray[Any]) -> None:
        """Put a value into the pinned twin and its copy to the device on the stream. [batch, ...] or []."""
        if self.shape:
            self.array[: len(value)] = value
        else:
            self.array[()] = value
        if self.device != self.host:
            self._cuda.copy(self.device, self.host, self.bytes(len(value) if self.shape else 1))

    def download(self, batch: int) -> None:
        """Put the copy of `batch` samples to the pinned twin on the stream; `array` holds them once it is done."""
        if self.device != self.host:
            self._cuda.copy(self.host, self.device, self.bytes(batch))


def bfloat16_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Numbers as bfloat16, rounded to the nearest (ties to even), as the integers that their bits are. Finite only."""
    bits: NDArray[np.uint32] = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    rounded: NDArray[np.uint16] = ((bits + half) >> np.uint32(16)).astype(np.uint16)
    return rounded


def from_bfloat16_bits(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """What `bfloat16_bits` made, as float32."""
    values: NDArray[np.float32] = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values
