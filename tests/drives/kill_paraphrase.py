"""Kill a paraphrasing run at random moments; the file at the end must be an undisturbed run's.

python tests/drives/kill_paraphrase.py [--kills 20] [--captions 4000] [--seed 0]
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

SERVER = Path(__file__).parents[1] / "support/llm_server.py"


def main() -> None:
    """Run undisturbed, run and kill, compare the bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--captions", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        captions = folder / "captions.txt"
        lines = (f"picture number {i} of many\n" for i in range(options.captions))
        captions.write_text("".join(lines))
        server = [sys.executable, str(SERVER), "--latency", "0.02", "--fail", "0.05"]
        process = subprocess.Popen(
            [*server, "--log", str(folder / "log")], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            url = f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
            command = [sys.executable, "-m", "paraclip_bench", "paraphrase", str(captions)]
            command += ["--base-url", url, "--llm", "tiny", "--timeout", "1"]
            start = time.monotonic()
            subprocess.run([*command, "-o", str(folder / "whole.jsonl")], check=True)
            whole = time.monotonic() - start
            (folder / "log").write_text("")
            killed = [*command, "-o", str(folder / "killed.jsonl")]
            kills = 0
            while kills < options.kills:
                run = subprocess.Popen(killed, stderr=subprocess.DEVNULL)
                # Together the runs get a little less than what a whole one takes.
                time.sleep(rng.uniform(0.3, 0.3 + 2 * whole / options.kills))
                assert run.poll() is None, "it ended before its kill; raise --captions"
                run.send_signal(signal.SIGKILL)
                run.wait()
                kills += 1
                print(f"kill {kills}", flush=True)
            subprocess.run(killed, check=True)
        finally:
            process.kill()
            process.wait()
        same = (folder / "killed.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()
        asked = Counter(
            line.split()[1]
            for line in (folder / "log").read_text().splitlines()
            if line.startswith("ok ")
        )
        again = sum(count - 1 for count in asked.values())
    print(f"{kills} kills; files equal: {same}; {again} answers were in flight at a kill")
    sys.exit(0 if same and again <= 16 * kills else 1)


if __name__ == "__main__":
    main()
