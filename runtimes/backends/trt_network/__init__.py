"""What TensorRT read: the network that its ONNX parser makes of a file, evaluated in numpy.

An engine runs on a GPU; the network that it is built from can be looked at without one. This tells a mistake of the
parser, or of our graph in the parser's eyes, from a difference of kernels: it shows the parser's reading, not the
arithmetic of an engine.

    network     the parsed network as plain data: layers, tensors, loops
    layers      what each kind of layer computes, in numpy
    evaluator   the order of layers, and loops by their recurrences and trip limits
    runtime     the network as a `Runtime`
"""
