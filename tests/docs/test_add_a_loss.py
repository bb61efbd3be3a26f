"""The example that the documentation shows: outside the package, trained from its own folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
ROOT = EXAMPLES.parents[1]


def test_the_page_shows_the_file_that_runs() -> None:
    page = (ROOT / "docs" / "add-a-loss.md").read_text()
    assert (EXAMPLES / "brightness_gan.py").read_text().strip() in page


def test_the_class_is_under_twenty_lines() -> None:
    source = (EXAMPLES / "brightness_gan.py").read_text()
    body = [line for line in source[source.index("class BrightnessGAN") :].splitlines() if line.strip()]
    assert len(body) < 20


def test_it_trains_from_a_folder_outside_the_package_and_logs_its_term(tmp_path: Path) -> None:
    for name in ("brightness_gan.py", "brightness_gan.yaml"):
        (tmp_path / name).write_text((EXAMPLES / name).read_text())
    words = ["train", "--config", "brightness_gan.yaml", "--scale", "smoke", "--trainer.weight", "0.25"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "train.py"), *words[1:]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "checkpoints" / "brightness-gan"
    assert (run / "teacher.safetensors").is_file()
    assert "weight: 0.25" in (run / "config.yaml").read_text()
    assert "loss/brightness" in (run / "log.txt").read_text()


def test_a_typo_in_its_option_is_named(tmp_path: Path) -> None:
    text = (EXAMPLES / "brightness_gan.yaml").read_text()
    (tmp_path / "brightness_gan.py").write_text((EXAMPLES / "brightness_gan.py").read_text())
    (tmp_path / "brightness_gan.yaml").write_text(text.replace("weight:", "wieght:"))
    command = [sys.executable, str(ROOT / "tools" / "train.py"), "--config", "brightness_gan.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "did you mean 'weight'" in done.stderr and "Traceback" not in done.stderr
