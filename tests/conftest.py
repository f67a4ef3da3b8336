"""Lies here so that tests of any folder can import what they share: `reference` and `scenes`."""

import torch

# Tests work on small tensors: more threads only wait for one another, forty times as long where cores are shared.
torch.set_num_threads(1)
