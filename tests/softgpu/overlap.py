# SPDX-License-Identifier: MIT
"""overlap.py - contents of device memory come back while all else does. Part of scenarios.py.

A program with so much VRAM, one with so much memory of its own, one with both: the restore of the last takes
at most MOST of the sum of the two others. Its timeline shows the copying beside mem's work.
"""
import os
import re
import subprocess
import time

import gpu
import tool

MOST = 0.75
SLACK = 0.08		# two processors, which the host's other work uses as well
TRIES = 2


def timed_restore(plan, target, images, options):
    """Seconds. The restored program is dead afterwards."""
    began = time.monotonic()
    status = plan.restorer.run("restore", images, "restore.log", ["-d"] + options)
    took = time.monotonic() - began
    if status:
        raise tool.Failure("restore: " + tool.first_error(images, "restore", status))
    tool.kill_tree(target.pid)
    gpu.expect_idle("after a restore")
    return took


class Sample:
    def __init__(self, plan, directory, name, argv):
        self.plan, self.took = plan, []
        self.target = gpu.Target(directory, argv)
        self.images = gpu.new_images(directory, name)
        plan.dumper.dump(self.target.pid, self.images, [])

    def restore(self):
        self.took.append(timed_restore(self.plan, self.target, self.images, ["--trace", "trace"]))


def bars(plan, images):
    """(class, from, to, label) of every bar of the timeline, in pixels."""
    svg = subprocess.run([plan.restorer.path, "timeline", os.path.join(images, "trace")], capture_output=True,
                         text=True, check=True).stdout
    found = []
    for group in re.findall(r"<g>.*?</g>", svg, re.S):
        rects = re.findall(r'<rect class="(\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', group)
        label = re.search(r"<text[^>]*>(.*?)</text>", group).group(1)
        found += [(kind, float(x), float(x) + float(width), label) for kind, x, width in rects]
    return found


def expect_beside(plan, images):
    """The copying of contents in the timeline, and mem's restore at the same time."""
    every = bars(plan, images)
    copying = [bar for bar in every if bar[0] == "beside" and "contents" in bar[3]]
    memory = [bar for bar in every if bar[0] == "work" and bar[3].lower().startswith("mem")]
    common = sum(max(0, min(c[2], m[2]) - max(c[1], m[1])) for c in copying for m in memory)
    if not copying or common < 0.3 * min(copying[0][2] - copying[0][1], sum(m[2] - m[1] for m in memory)):
        raise tool.Failure(f"the timeline shows no copying beside mem: {copying}, {memory}")


def overlaps(device, process, words):
    """So many MiB; without words the processor copies all, else only the engine can."""
    def run(plan, directory):
        gpu.load(f"gpus=1 vram_mb={device + 64}")
        kinds = {"device": [str(device), "0"], "process": ["0", str(process)], "both": [str(device), str(process)]}
        samples = {name: Sample(plan, directory, name, ["both"] + sizes + words) for name, sizes in kinds.items()}
        for _ in range(TRIES):
            for sample in samples.values():
                sample.restore()
        best = {name: min(sample.took) for name, sample in samples.items()}
        ratio = best["both"] / (best["device"] + best["process"])
        print(f"    {device} MiB of VRAM, {process} of the process {words}: device {best['device']:.2f} s, process {best['process']:.2f} s, "
              f"both {best['both']:.2f} s: {ratio:.2f} of the sum", flush=True)
        expect_beside(plan, samples["both"].images)
        if ratio > MOST + SLACK:
            raise tool.Failure(f"both take {ratio:.2f} of the sum of each alone: {best}")
        target = samples["both"].target
        plan.restorer.restore(target.pid, samples["both"].images, [])
        target.verify()
        gpu.unload()
    return run


# The simulated engine is a processor that is emulated, and slow: as much time is three times as much memory.
OVERLAP = [
    ("overlap_processor", overlaps(96, 96, [])),
    ("overlap_engine", overlaps(32, 96, ["hidden"])),
]
