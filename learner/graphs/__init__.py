"""How ONNX graphs are put together by hand. Knows no network."""
