"""How long a user waits for an answer that needs no model: medians of ten whole processes.

Aims: `apportion --help` under 0.3 s, `apportion plan` under 1.5 s, on two cores.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 10
COMMANDS = {
    "python -c pass (the floor)": [sys.executable, "-c", "pass"],
    "apportion --help": [sys.executable, "-m", "apportion", "--help"],
    "apportion plan": [
        *(sys.executable, "-m", "apportion", "plan", "--task", "math", "--budget", "5000usd"),
        *("--price", "sft=2.50", "--price", "preference=0.40..0.90", "--have", "sft=300"),
    ],
}


def seconds(command: list[str]) -> float:
    """Wall seconds of one whole process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    print(f"{'command':32} {'median s':>9} {'min':>7} {'max':>7}   ({RUNS} runs after a warm-up)")
    for name, command in COMMANDS.items():
        seconds(command)
        times = [seconds(command) for _ in range(RUNS)]
        print(f"{name:32} {statistics.median(times):9.3f} {min(times):7.3f} {max(times):7.3f}")


if __name__ == "__main__":
    main()
