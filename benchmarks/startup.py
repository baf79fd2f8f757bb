"""(d) How long `import reactor`, `reactor --version` and `reactor dev` on the sample app take until they are ready.

Against an empty Python process, which is the least that any of them can take.

    python benchmarks/startup.py [--times 7]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

from load import HERE, free_port, wait_until_up

REPOSITORY = HERE.parent


def took(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=REPOSITORY)
    return time.perf_counter() - began


def dev_ready() -> float:
    """Seconds from starting the process until it answers."""
    with tempfile.TemporaryDirectory() as data:
        port = free_port()
        command = [sys.executable, "-m", "reactor.cli", "dev", str(REPOSITORY), f"--port={port}", "--site-port=0"]
        began = time.perf_counter()
        server = subprocess.Popen([*command, f"--data={data}"], stdout=subprocess.DEVNULL)
        try:
            wait_until_up(port, server, pause=0.005)
            return time.perf_counter() - began
        finally:
            server.terminate()
            server.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=7)
    times = parser.parse_args().times

    def median(measure) -> float:
        return statistics.median(measure() for _ in range(times))

    print(f"empty Python process   {median(lambda: took(sys.executable, '-c', 'pass')):6.3f} s")
    print(
        f"import reactor         {median(lambda: took(sys.executable, '-c', 'import reactor')):6.3f} s  (wanted: under 0.3)"
    )
    everything = "import reactor; [getattr(reactor, name) for name in reactor.__all__]"
    print(f"  and all of its names {median(lambda: took(sys.executable, '-c', everything)):6.3f} s")
    print(f"reactor --version      {median(lambda: took(sys.executable, '-m', 'reactor.cli', '--version')):6.3f} s")
    print(f"reactor dev, ready     {median(dev_ready):6.3f} s  (wanted: under 1.5)")


if __name__ == "__main__":
    main()
