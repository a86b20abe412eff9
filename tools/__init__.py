"""What developers and CI run beside the program: generators (Python) and pinned checkers (Go, npm, Debian)."""
