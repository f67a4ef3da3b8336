"""Who works on what. `file_lock` waits for, or refuses, another process on the same files; `leases` share out work
among machines."""
