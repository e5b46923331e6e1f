"""What surrounds a worker process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from apportion.run.workers import environment_of

# Page faults of freeing a tensor and asking for its like, as steps do.
FAULTS = """
import resource, numpy
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
numpy.ones(5_000_000)
before = faults()
for _ in range(10): numpy.ones(5_000_000)
print(faults() - before)
"""


def faults(env: dict[str, str]) -> int:
    command = [sys.executable, "-c", FAULTS]
    return int(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept_for_the_next_step():
    env = environment_of(1, "", {})
    plain = {name: value for name, value in env.items() if name != "GLIBC_TUNABLES"}
    assert faults(env) * 20 < faults(plain)  # 40 MB ten times: each page anew, or never again


def test_what_the_user_set_stays():
    assert environment_of(1, "", {"GLIBC_TUNABLES": "mine"})["GLIBC_TUNABLES"] == "mine"


def test_workers_with_gpus_keep_their_memory_as_it_was():
    env = environment_of(2, "1", {"OMP_NUM_THREADS": "8"})
    assert env["CUDA_VISIBLE_DEVICES"] == "1" and env["OMP_NUM_THREADS"] == "2"
    assert "GLIBC_TUNABLES" not in env
    assert environment_of(1, "", {})["CUDA_VISIBLE_DEVICES"] == ""
    several = environment_of(1, "", {"APPORTION_ACCELERATE": "--num_processes 2"})
    assert not {"CUDA_VISIBLE_DEVICES", "GLIBC_TUNABLES"} & set(several)
