"""Checks our use of TensorRT against the real API of every release that is served: no GPU, no TensorRT.

NVIDIA's Python bindings are a wheel of 1 MB. They import once three shared objects stand in for TensorRT's libraries,
which a C compiler makes of nine empty functions. In a process for each release, the code that uses TensorRT is read
with types: a parameter called `builder` is a `Builder`, and what `builder.create_network()` gives, the docstring of
the real method says. So every class, attribute, member of an enum, method and keyword that occurs is looked up in the
real classes, and so is everything that the tests' doubles of TensorRT claim to have.

    python -m tools.check_tensorrt_api              all releases
    python -m tools.check_tensorrt_api 10.3 11.4    some of them

Exit code 1 where something differs, with its name.
"""
