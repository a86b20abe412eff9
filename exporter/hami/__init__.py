"""What HAMi writes, as values: text in, values out; no I/O."""
