"""Where compiled kernels are kept. Every package with kernels begins here; this one knows none of them."""
