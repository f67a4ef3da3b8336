"""The command line, `hpf`: thin commands that parse, call the core, and show."""
