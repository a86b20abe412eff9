"""`helm test`: ask each /readyz until it says ok, for a minute in all; else say why it does not, and fail.

It runs in the exporter's image, with the URLs as arguments; the container that it tests is another one.
"""

# ruff: noqa: INP001 S310
import sys
import time
import urllib.error
import urllib.request

PATIENCE = 60.0  # seconds; the quota role of a large cluster has its first list after 10


def refusal(url: str) -> str:
    """Return why this exporter is not ready, in its own words; empty if it is."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        return error.read(1000).decode(errors="replace").strip()
    except OSError as error:
        return str(error)


def main(urls: list[str], patience: float) -> int:
    """Return 0 once all are ready, 1 if some are not after so many seconds."""
    deadline = time.monotonic() + patience
    while waiting := {url: why for url in urls if (why := refusal(url))}:
        if time.monotonic() > deadline:
            sys.stdout.writelines(f"not ready: {url}: {why}\n" for url, why in waiting.items())
            return 1
        time.sleep(1)
    sys.stdout.writelines(f"ready: {url}\n" for url in urls)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], PATIENCE))
