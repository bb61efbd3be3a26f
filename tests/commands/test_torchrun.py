"""Several processes: what the launcher does not take is one sentence, and its defaults are those of the help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def started(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def test_options_that_the_launcher_does_not_take_are_one_sentence() -> None:
    program = (
        "import sys; from gendistill.cli import main\n"
        "for word in sys.argv[1:]: print(main(['torchrun', word, 'train']))"
    )
    words = ["--nproc-per-node=0", "--nproc-per-node=x", "--nnodes=a:b", "--nproc-per-node=gpu", "--max-restarts=-1"]
    done = started(sys.executable, "-c", program, *words)
    assert done.stdout.split() == ["2"] * len(words)
    lines = done.stderr.splitlines()
    assert len(lines) == len(words)
    for word, line in zip(words, lines, strict=True):
        assert line.startswith(f"error: torchrun takes no {word}") and "give whole numbers from 1" in line


def test_one_process_is_started_where_there_is_no_gpu_and_nothing_is_said() -> None:
    program = (
        "from torch.distributed import run; from gendistill.cli import main\n"
        "run.run = lambda asked: print(asked.nproc_per_node, asked.standalone)\n"
        "for words in ([], ['--nnodes', '2'], ['--nproc_per_node=3']): main(['torchrun', *words, 'train'])"
    )
    assert started(sys.executable, "-c", program).stdout.splitlines() == ["1 True", "1 False", "3 True"]
