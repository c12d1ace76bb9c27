"""Train the embedded prior on the procedural world, and measure it."""
