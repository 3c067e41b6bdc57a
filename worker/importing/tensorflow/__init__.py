"""Reads the tensors that TensorFlow's Saver writes, without TensorFlow. What they are for is not known here."""
