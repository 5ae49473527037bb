# SPDX-License-Identifier: MIT
"""overlap.py - contents of device memory come back while all else does. Part of scenarios.py.

The timeline of a restore shows the copying beside mem's work, whoever copies. How much time that saves can be measured
where the engine works by itself, as real ones do: here it sleeps. Four programs, with so much VRAM, with so much memory
of its own, with both, with neither: what the third takes less than the first two one after the other is at least LEAST
of the shorter one. (Of copies by the processor no such thing can be said: both need processors, of which there are two,
emulated on a machine that does other things as well.)

With 1 GiB each both take at most MOST of the sum. The engine is as fast as it can be played by a processor there; mem
uses both processors when it is alone.
"""
import os
import re
import subprocess
import time

import gpu
import tool

LEAST = 0.4		# of the shorter is hidden behind the longer (0.64 to 0.75 on a loaded machine); 0: one after the other
BESIDE = 0.8		# of the shorter, in the timeline
MOST = 0.75		# of the sum of both alone
TRIES = 3
GIB_NEEDS = 10000	# MiB: images of all four, and one restored
SLOW_US = "/sys/module/softgpu/parameters/slow_us"


def timed_restore(plan, target, images, options):
    """Seconds. The restored program is dead afterwards."""
    began = time.monotonic()
    status = plan.restorer.run("restore", images, "restore.log", ["-d"] + options)
    took = time.monotonic() - began
    if status:
        raise tool.Failure("restore: " + tool.first_error(images, "restore", status))
    tool.kill_tree(target.pid)
    tool.wait_for(lambda: not tool.alive(target.pid) and not os.path.exists(f"/proc/{target.pid}"), 20)	# reaped
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
    """The copying of contents in the timeline, and the building of memory at the same time."""
    every = bars(plan, images)
    copying = [bar for bar in every if bar[0] == "beside" and "contents" in bar[3]]
    memory = [bar for bar in every if bar[0] == "work" and bar[3].startswith("mem_build")]
    common = sum(max(0, min(c[2], m[2]) - max(c[1], m[1])) for c in copying for m in memory)
    if not copying or common < BESIDE * min(copying[0][2] - copying[0][1], sum(m[2] - m[1] for m in memory)):
        raise tool.Failure(f"the timeline shows no copying beside mem: {copying}, {memory}")


def set_huge(when):
    """Large pages for shared memory of the kernel's own, which the device's buffers are."""
    with open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "w") as setting:
        setting.write(when)


def set_slow(microseconds):
    """The engine sleeps so long for each 64 KiB."""
    with open(SLOW_US, "w") as parameter:
        parameter.write(str(microseconds))


def begun(plan, directory, sizes, words):
    """A program of these sizes (MiB of VRAM, of its own), dumped."""
    gpu.load(f"gpus=1 vram_mb={max(device for device, _ in sizes.values()) + 64}")
    return {name: Sample(plan, directory, name, ["both", str(device), str(own)] + words)
            for name, (device, own) in sizes.items()}


def finish(plan, sample):
    """It was good as well."""
    expect_beside(plan, sample.images)
    plan.restorer.restore(sample.target.pid, sample.images, [])
    sample.target.verify()
    gpu.unload()


def overlap_processor(plan, directory):
    both = begun(plan, directory, {"both": (96, 96)}, [])["both"]
    both.restore()
    finish(plan, both)


def measure(plan, directory, device, own, slow, enough, wanted):
    """
    The best restore of each of the four programs, of TRIES, or more while that is not enough: others use this machine
    as well. The program with both was good.
    """
    samples = begun(plan, directory, {"neither": (0, 0), "device": (device, 0), "process": (0, own), "both": (device, own)},
                    ["hidden"])
    set_slow(slow)
    best = {}
    for number in range(3 * TRIES):
        for sample in samples.values():
            sample.restore()
        best = figures(samples)
        if number + 1 >= TRIES and enough(best):
            break
    set_slow(0)
    finish(plan, samples["both"])
    print("    " + ", ".join(f"{name} {value:.2f}" for name, value in best.items()), flush=True)
    if not enough(best):
        raise tool.Failure(f"{wanted}: {best}")


def figures(samples):
    best = {name: min(sample.took) for name, sample in samples.items()}
    device, own = best["device"] - best["neither"], best["process"] - best["neither"]
    best["of sum"] = best["both"] / (best["device"] + best["process"])
    best["hidden"] = (best["neither"] + device + own - best["both"]) / min(device, own)
    return best


def overlaps(device, own, slow):
    def run(plan, directory):
        measure(plan, directory, device, own, slow, lambda best: best["hidden"] >= LEAST,
                "too little of the shorter is hidden behind the longer")
    return run


def total_mib():
    with open("/proc/meminfo") as info:
        return int(info.readline().split()[1]) >> 10


def overlap_gib(plan, directory):
    """The case that the project was asked for. Device memory is in one piece, so here in large pages."""
    if total_mib() < GIB_NEEDS:
        raise tool.Skip(f"needs {GIB_NEEDS} MiB of memory in the machine, which has {total_mib()}")
    set_huge("within_size")
    measure(plan, directory, 1024, 1024, 0, lambda best: best["of sum"] <= MOST,
            f"both take more than {MOST} of the sum")
    set_huge("never")


OVERLAP = [
    ("overlap_processor", overlap_processor),
    ("overlap_engine", overlaps(8, 256, 10000)),
]

OVERLAP_GIB = [("overlap_gib", overlap_gib)]
