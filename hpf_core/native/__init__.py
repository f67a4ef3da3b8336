"""C code that HPF compiles on the user's machine: the distance transform and plane test of training steps on a CPU."""
