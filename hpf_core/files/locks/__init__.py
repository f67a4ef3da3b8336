"""Locks between processes. `file_lock` waits for or refuses another process on the same files; `leases` distribute work
over machines."""
