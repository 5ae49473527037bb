#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""badimages.py - damaged images never crash a process and leave no task behind.

Alone:   sudo /usr/bin/python3 tests/harness/badimages.py [--stasis PATH] [--cases N] [--seed S]

A small process is dumped once. Then every image is cut at lengths up to 4 KiB (all of
them when --cases is 0, else a sample) and has random bits flipped; each damaged set is restored.
Good outcomes: exit status 1 with a sentence on stderr and no task left; or a restore that
went through (the damage hit nothing that matters), after which the task is killed. A process that
dies by a signal, a sanitizer report, a hang or a left-over task is a failure.
The last line is "N passed, N failed, N skipped".
"""
import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile

import tool


def damage(images, cases, rng):
    """Yield (file, description, new bytes): all truncations and flips, or a sample of each."""
    cuts, flips = [], []
    for name, data in images.items():
        cuts += [(name, n) for n in range(min(len(data), 4096))]
        flips += [name] * (1 + min(len(data), 4096) // 8)
    if cases:
        cuts = rng.sample(cuts, min(len(cuts), cases // 2))
        flips = [rng.choice(flips) for _ in range(cases - len(cuts))]
    else:
        flips = [rng.choice(flips) for _ in range(max(5000 - len(cuts), 2500))]
    for name, length in cuts:
        yield name, f"cut at {length}", images[name][:length]
    for name in flips:
        data = bytearray(images[name])
        what = []
        for _ in range(rng.choice((1, 1, 2, 4))):
            bit = rng.randrange(min(len(data), 4096) * 8)
            data[bit // 8] ^= 1 << bit % 8
            what.append(str(bit))
        yield name, "bits " + ",".join(what) + " flipped", bytes(data)


def restore(stasis, directory, pid):
    """One restore of damaged images: None when all is well, else what is wrong."""
    log = os.path.join(directory, "restore.log")
    if os.path.exists(log):
        os.unlink(log)
    try:
        run = subprocess.run([stasis, "restore", "-D", directory, "-d", "-o", "restore.log"],
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=40)
    except subprocess.TimeoutExpired:
        return "does not end"
    with open(log, "rb") as text:
        said = text.read() + run.stderr
    if b"Sanitizer" in said or b"runtime error" in said:
        return "sanitizer: " + said[-600:].decode(errors="replace")
    if run.returncode not in (0, 1):
        return f"exit status {run.returncode}: {said[-400:].decode(errors='replace')}"
    if b"was killed by signal" in said or b"exited with status" in said:
        return "a worker died: " + said[-400:].decode(errors="replace")
    if run.returncode == 1 and not run.stderr.strip():
        return "failed without a sentence"
    if run.returncode == 1 and tool.alive(pid):
        return "failed, but a task is left"
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stasis", default=os.path.join(tool.ROOT, "build", "stasis"))
    parser.add_argument("--cases", type=int, default=300, help="0: all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.stasis = os.path.abspath(options.stasis)
    rng = random.Random(options.seed)
    directory = tempfile.mkdtemp(prefix="stasis-bad-")
    good = os.path.join(directory, "good")
    bad = os.path.join(directory, "bad")
    os.mkdir(good)
    # A high pid: a restore with a flipped pid must not meet a living stranger.
    pid = tool.start(["/bin/sh", "-c", "exec 5</etc/passwd; while :; do sleep 100; done"], directory)
    while len(tool.tree(pid)) < 2:
        pass
    run = subprocess.run([options.stasis, "dump", "-t", str(pid), "-D", good], capture_output=True)
    if run.returncode:
        print(run.stderr.decode())
        print("0 passed, 1 failed, 0 skipped")
        return 1
    tool.reap()
    images = {}
    for name in sorted(os.listdir(good)):
        with open(os.path.join(good, name), "rb") as image:
            images[name] = image.read()
    images = {n: d for n, d in images.items() if n.endswith(".img") and d}
    passed = failed = refused = 0
    shutil.copytree(good, bad)
    for name, what, data in damage(images, options.cases, rng):
        path = os.path.join(bad, name)
        with open(path, "wb") as image:
            image.write(data)
        wrong = restore(options.stasis, bad, pid)
        refused += not tool.alive(pid)
        for victim in tool.tree(os.getpid())[1:]:
            try:
                os.kill(victim, signal.SIGKILL)
            except OSError:
                pass
        while len(tool.tree(os.getpid())) > 1:
            tool.reap()
        if wrong:
            failed += 1
            print(f"FAIL {name}, {what}: {wrong}")
        else:
            passed += 1
        with open(path, "wb") as image:
            image.write(images[name])
    shutil.rmtree(directory)
    print(f"damaged images: {refused} refused, {passed + failed - refused} restored all the same")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    tool.enter_private_namespaces(sys.argv)
    tool.become_subreaper()
    sys.exit(main())
