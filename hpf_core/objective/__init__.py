"""What a training step minimises: what depth maps say, estimates compared with them, the weighted sum of terms."""
