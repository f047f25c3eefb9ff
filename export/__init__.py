"""From a checkpoint to an artefact: ONNX graphs with the recursion as loops and halting as control flow."""
