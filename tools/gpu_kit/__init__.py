"""What `make test-gpu` measures, for a machine with a GPU and without a network.

    make gpu-kit GPU_KIT_PYTHON=3.12       # where there is a network: build/gpu-kit/part-1 ... of at most 45 MiB
    tools/gpu_kit.sh PART...               # there, with that machine's Python and PyTorch

`gather` makes the parts, `unpack` puts them together again, `device` measures, `measure` is what is measured and
written down, here and in tests/gpu. All but `gather` run on the device, which has numpy, PyTorch and the kit alone.
"""
