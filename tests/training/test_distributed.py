"""Several processes do what one would with all their environments."""

import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = "tests.support.update_together"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]


def test_two_processes_update_as_one_with_the_same_batch(tmp_path: Path) -> None:
    results = []
    for name, launcher in (("one", []), ("two", TORCHRUN)):
        file = tmp_path / name
        command = [*launcher, sys.executable, "-m", SCRIPT, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        results.append(torch.load(file, weights_only=True))
    one, two = results
    assert one["figures"]["policy/minibatches"] == 3
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)
