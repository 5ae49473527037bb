# SPDX-License-Identifier: MIT
"""gpu.py - the software GPU and programs on it, for the harnesses that run inside the virtual machine."""
import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "harness"))
import tool  # noqa: E402

BUILD = os.path.join(tool.ROOT, "build", "softgpu")
DEBUG = "/sys/kernel/debug/softgpu"
SLOW = 40		# seconds: everything is 10 to 20 times slower here
OPTIONS = ["--link-remap"]	# libhsakmt's semaphore has a name that was never there


# -- the device ----

def sh(command):
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise tool.Failure(f"{command}: {done.stdout.strip()}")


tolerance = ""		# strict=0 for CRIU, whose copies are a byte too long


def load(parameters="gpus=1"):
    """A fresh device with these module parameters."""
    if os.path.isdir("/sys/module/softgpu"):
        unload()
    sh("modprobe drm_shmem_helper")
    sh(f"insmod {BUILD}/softgpu.ko {parameters} {tolerance}")
    if not tool.wait_for(lambda: os.path.exists("/dev/kfd"), 5):
        raise tool.Failure(f"no /dev/kfd after insmod {parameters}")


def unload():
    """Files of the dead are closed a moment after their end."""
    said = []

    def gone():
        done = subprocess.run(["rmmod", "softgpu"], capture_output=True, text=True, check=False)
        said.append(done.stderr.strip())
        return done.returncode == 0

    if not tool.wait_for(gone, 10, 0.1):
        raise tool.Failure(f"the module cannot be unloaded ({said[-1]}): {alive_counters()}")


def counters():
    """Those of what is alive, and those which only grow."""
    with open(DEBUG + "/counters") as text:
        parts = text.read().split("\n\n")
    return [dict((line.split()[0], int(line.split()[1])) for line in part.strip().splitlines()) for part in parts]


def alive_counters():
    return {name: value for name, value in counters()[0].items() if value}


def expect_idle(what):
    """Nothing of the device is in use."""
    if not tool.wait_for(lambda: not alive_counters(), 10):
        raise tool.Failure(f"{what}: still in use: {alive_counters()}")


def expect_running_queues(what):
    left = lambda: [name for name in ("paused", "evicted") if counters()[0][name]]
    if not tool.wait_for(lambda: not left(), 10):
        raise tool.Failure(f"{what}: left {left()}")


def expect_as_before(before, what):
    """A dump has added nothing; the kernel keeps the dma-buf of a buffer that once was exported."""
    def more():
        now = counters()[0]
        return {name: now[name] - count for name, count in before.items() if name != "dmabufs" and now[name] != count}
    if not tool.wait_for(lambda: not more(), 10):
        raise tool.Failure(f"{what}: changed {more()}")


def inject(rules):
    with open(DEBUG + "/faults", "w") as faults:
        faults.write(rules + "\n")


# -- a program ----

class Target:
    all = []		# of the scenario that runs

    def __init__(self, directory, argv, before=()):
        """before: words in front of the program, as "masked 128"."""
        self.directory = directory
        self.output = os.path.join(directory, "output")
        with open(self.output, "wb") as out:
            self.pid = tool.start([*before, os.path.join(BUILD, "programs", argv[0])] + argv[1:], directory, stdout=out)
        Target.all.append(self)
        if not tool.wait_for(lambda: "ready" in self.said() or not tool.alive(self.pid), SLOW * 3):
            raise tool.Failure(f"{argv} is never ready: {self.said()}")
        self.expect_no_end()

    def said(self):
        with open(self.output, errors="replace") as text:
            return text.read()

    def expect_no_end(self):
        if "skip:" in self.said():
            raise tool.Skip(self.said())
        if not tool.alive(self.pid):
            raise tool.Failure(f"the program has ended: {self.said()}")

    def verify(self):
        self.expect_no_end()
        os.kill(self.pid, signal.SIGUSR1)
        if not tool.wait_for(lambda: not tool.alive(self.pid), SLOW * 3):
            raise tool.Failure(f"the program does not end: {self.said()}")
        lines = self.said().split("\n")
        if "ok" not in lines or any(line.startswith("failed:") for line in lines):
            raise tool.Failure("the program: " + "; ".join(lines[1:6]))


def cleaned(function):
    """The scenario, and afterwards nothing of it, whatever became of it."""
    def run(plan, directory):
        try:
            function(plan, directory)
        finally:
            if os.path.isdir("/sys/module/softgpu"):
                inject("")
            for target in Target.all:
                tool.kill_tree(target.pid)
            Target.all.clear()
            for name in os.listdir("/dev/shm"):		# links of a CRIU that failed
                if name.startswith("link_remap."):
                    os.unlink("/dev/shm/" + name)
    return run


# -- freeze and thaw ----

def new_images(directory, number):
    images = os.path.join(directory, f"images-{number}")
    os.mkdir(images)
    return images


def dump_on(plan, target, images):
    """A dump that lets the program run on. Returns its exit status."""
    return plan.dumper.run("dump", images, "dump.log", ["-t", str(target.pid), "-R"] + OPTIONS + plan.extra)


def restore(plan, images):
    """A restore that may fail. Returns its exit status."""
    return plan.restorer.run("restore", images, "restore.log", ["-d"] + OPTIONS + plan.extra)


def expect_sentence(images, action, status, words):
    """It failed, and the first error has one of these words. Returns the sentence."""
    said = tool.first_error(images, action, status)
    if not status:
        raise tool.Failure(f"the {action} did not fail")
    if not any(word in said for word in words):
        raise tool.Failure(f"the {action} names none of {words}: {said}")
    return said
