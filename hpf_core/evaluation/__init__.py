"""Errors of predicted joints, evaluation protocols, label files, published results."""
