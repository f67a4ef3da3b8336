"""The objective of a training step: depth maps, estimates compared with them, and the weighted sum of terms."""
