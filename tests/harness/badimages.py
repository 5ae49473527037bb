#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""badimages.py - damaged images never crash a process and leave no task behind.

Alone:   sudo /usr/bin/python3 tests/harness/badimages.py [--stasis PATH] [--cases N] [--seed S]

programs/bundle (two tasks, a thread, a little of everything) is dumped once. Then every image is
removed, cut at lengths up to 4 KiB (all of them when --cases is 0, else a sample), and has random
bits flipped; each damaged set is restored. Good outcomes: exit status 1 with a sentence on
stderr and no task left; or a restore that went through (the damage hit nothing that matters), after
which the tasks are killed. A process that dies by a signal, a sanitizer report, a hang or a
left-over task is a failure. The last line is "N passed, N failed, N skipped".
"""
import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import tool

MOST = 4096		# bytes of an image that are damaged
FLIPS = 5000		# when all cases are wanted


def cut(name, data, length):
    return name, f"cut at {length}", data[:length]


def flip(name, data, rng):
    data, bits = bytearray(data), []
    for _ in range(rng.choice((1, 1, 2, 4))):
        bit = rng.randrange(min(len(data), MOST) * 8)
        data[bit // 8] ^= 1 << bit % 8
        bits.append(str(bit))
    return name, "bits " + ",".join(bits) + " flipped", bytes(data)


def damage(images, cases, rng):
    """Yield (file, description, new bytes or None): a sample, or all when cases is 0."""
    cuts = [(name, n) for name, data in images.items() for n in range(min(len(data), MOST))]
    flips = FLIPS
    if cases:
        flips = cases // 2
        cuts = rng.sample(cuts, min(len(cuts), cases - flips))
    # small images have as much to say as large ones: the root of the length weighs
    weights = [len(data) ** 0.5 for data in images.values()]
    for name in images:
        yield name, "removed", None
    for name, length in cuts:
        yield cut(name, images[name], length)
    for name in rng.choices(list(images), weights, k=flips):
        yield flip(name, images[name], rng)


def left_over():
    """Living tasks beside us; all others are our orphans, for we are init."""
    tool.reap()
    return [pid for pid in tool.parents() if pid != os.getpid() and tool.alive(pid)]


def kill_all():
    for pid in left_over():
        os.kill(pid, signal.SIGKILL)
    if not tool.wait_for(lambda: not left_over(), 10, 0.001):
        raise tool.Failure(f"cannot be killed: {left_over()}")


def complaint(run, log):
    """What is wrong with how a restore ended, or None."""
    said = log + run.stderr
    if b"Sanitizer" in said or b"runtime error" in said:
        return "sanitizer: " + said[-900:].decode(errors="replace")
    if run.returncode not in (0, 1):
        return f"exit status {run.returncode}: {said[-400:].decode(errors='replace')}"
    if b"was killed by signal" in said or b"exited with status" in said:
        return "a worker died: " + said[-400:].decode(errors="replace")
    if run.returncode == 1 and not run.stderr.strip():
        return "failed without a sentence"
    if run.returncode == 1 and not tool.wait_for(lambda: not left_over(), 10, 0.001):
        return f"failed, but tasks are left: {left_over()}; " + said[-200:].decode(errors="replace")
    return None


def restore(stasis, directory):
    """One restore of damaged images: (whether it was refused, what is wrong or None)."""
    log = os.path.join(directory, "restore.log")
    with open(log, "wb"):
        pass
    try:
        run = subprocess.run([stasis, "restore", "-D", directory, "-d", "-o", "restore.log",
                              "--file-locks", "--tcp-established"],
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=40)
    except subprocess.TimeoutExpired:
        return True, "does not end"
    with open(log, "rb") as text:
        return run.returncode != 0, complaint(run, text.read())


def dump_bundle(stasis, home, images):
    """Dump the target. Returns name -> bytes of its images."""
    pid = tool.start([tool.build("programs/bundle", ["programs/bundle.c"]), home], home)
    if not tool.wait_for(lambda: os.path.exists(os.path.join(home, "ready")), 10):
        raise tool.Failure("bundle does not start")
    run = subprocess.run([stasis, "dump", "-t", str(pid), "-D", images, "--file-locks",
                          "--tcp-established"],
                         stdin=subprocess.DEVNULL, capture_output=True)
    if run.returncode:
        raise tool.Failure("dump: " + run.stderr.decode(errors="replace"))
    contents = {}
    for name in sorted(os.listdir(images)):
        with open(os.path.join(images, name), "rb") as image:
            contents[name] = image.read()
    return {n: d for n, d in contents.items() if n.endswith(".img") and d}


class Files:
    """The target's own files, as they were when it was dumped."""

    def __init__(self, home):
        self.home, self.kept = home, home + ".kept"
        shutil.copytree(home, self.kept, copy_function=self.copy)

    @staticmethod
    def copy(source, target):
        if os.path.isfile(source):
            shutil.copy2(source, target)

    def put_back(self):
        """What a restore of damaged images made of them."""
        for name in os.listdir(self.home):
            if name not in os.listdir(self.kept) and name != "fifo":
                os.unlink(os.path.join(self.home, name))
        for name in os.listdir(self.kept):
            shutil.copy2(os.path.join(self.kept, name), os.path.join(self.home, name))


def try_one(stasis, path, data, good):
    """Restore with one image damaged or gone; everything is as before afterwards."""
    if data is None:
        os.unlink(path)
    else:
        with open(path, "wb") as image:
            image.write(data)
    try:
        return restore(stasis, os.path.dirname(path))
    finally:
        kill_all()
        with open(path, "wb") as image:
            image.write(good)


def run_cases(options, directory):
    home, images_dir = os.path.join(directory, "home"), os.path.join(directory, "images")
    os.mkdir(home)
    os.mkdir(images_dir)
    images = dump_bundle(options.stasis, home, images_dir)
    kill_all()
    files = Files(home)
    refused, wrong = restore(options.stasis, images_dir)
    if refused or wrong:
        raise tool.Failure(f"the undamaged images: {wrong or 'refused'}")
    kill_all()
    counts, began = {"refused": 0, "restored": 0, "wrong": 0}, time.monotonic()
    for name, what, data in damage(images, options.cases, random.Random(options.seed)):
        path = os.path.join(images_dir, name)
        refused, wrong = try_one(options.stasis, path, data, images[name])
        counts["refused" if refused else "restored"] += 1
        if not refused:
            files.put_back()
        if wrong:
            counts["wrong"] += 1
            print(f"FAIL {name}, {what}: {wrong}", flush=True)
    total = counts["refused"] + counts["restored"]
    print(f"{len(images)} images, {sum(map(len, images.values()))} bytes; "
          f"{counts['refused']} refused, {counts['restored']} restored all the same, "
          f"{(time.monotonic() - began) * 1000 / total:.1f} ms each")
    print(f"{total - counts['wrong']} passed, {counts['wrong']} failed, 0 skipped")
    return 1 if counts["wrong"] else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stasis", default=os.path.join(tool.ROOT, "build", "stasis"))
    parser.add_argument("--cases", type=int, default=300, help="0: all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if os.getuid():
        print("SKIP all: needs root\n0 passed, 0 failed, 1 skipped")
        return 77
    tool.enter_private_namespaces()
    options.stasis = os.path.abspath(options.stasis)
    with tempfile.TemporaryDirectory(prefix="stasis-bad-") as directory:
        try:
            return run_cases(options, directory)
        except tool.Failure as failure:
            print(f"FAIL all: {failure}\n0 passed, 1 failed, 0 skipped")
            return 1


if __name__ == "__main__":
    sys.exit(main())
