"""dfast's native operations as PyTorch custom ops: one module an op."""
