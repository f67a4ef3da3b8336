"""C that is compiled where it runs: what a training step asks of depth maps on a CPU."""
