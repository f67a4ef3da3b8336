"""`python -m hpf`, and `torchrun -m hpf`: the command `hpf`."""

from hpf_cli.main import main

if __name__ == "__main__":
    main()
