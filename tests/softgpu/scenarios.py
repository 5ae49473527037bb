#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""scenarios.py - GPU programs frozen and thawed, on the software GPU. Runs inside the virtual machine of tests/vm.

Alone:   tests/vm/run.sh -t 600 -m 4096 -- tests/softgpu/scenarios.py [options] [name...]
         --stasis PATH           the program under test
         --criu PATH --libdir D  the same scenarios with CRIU and its own amdgpu plugin in D, dump and restore
         --short                 one of each kind, for make check

Each scenario starts a program of programs/, freezes it (it must be gone, and the device empty: no process paused, no
buffer alive), thaws it and has it verify its contents, handles, addresses and sharing itself. Then failures: errors
of the device at every call, kills at every step: the program runs on and its queues are not paused, or
nothing is left. The last line is "N passed, N failed, N skipped".
"""
import argparse
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "harness"))
import tool  # noqa: E402

BUILD = os.path.join(tool.ROOT, "build", "softgpu")
DEBUG = "/sys/kernel/debug/softgpu"
SLOW = 40		# seconds: everything is 10 to 20 times slower here


# -- the device ---------------------------------------------------------------------

def sh(command):
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise tool.Failure(f"{command}: {done.stdout.strip()}")


def load(parameters="gpus=1"):
    """A fresh device with these module parameters."""
    if os.path.isdir("/sys/module/softgpu"):
        unload()
    sh("modprobe drm_shmem_helper")
    sh(f"insmod {BUILD}/softgpu.ko {parameters}")
    tool.wait_for(lambda: os.path.exists("/dev/kfd"), 5)


def unload():
    """Files of the dead are closed a moment after their end."""
    last = ""
    for _ in range(100):
        done = subprocess.run(["rmmod", "softgpu"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        last = done.stderr.strip()
        time.sleep(0.1)
    raise tool.Failure(f"the module cannot be unloaded ({last}): {alive_counters()}")


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


def inject(rules):
    with open(DEBUG + "/faults", "w") as faults:
        faults.write(rules + "\n")


# -- a program ------------------------------------------------------------------------

class Target:
    def __init__(self, directory, argv):
        self.directory = directory
        self.output = os.path.join(directory, "output")
        with open(self.output, "wb") as out:
            self.pid = tool.start([os.path.join(BUILD, "programs", argv[0])] + argv[1:], directory, stdout=out)
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


OPTIONS = ["--link-remap"]	# libhsakmt's semaphore has a name that was never there


# -- scenarios ------------------------------------------------------------------------

def cycled(argv, parameters="gpus=1", between=None, cycles=None):
    """Frozen and thawed, then it verifies itself."""
    def run(plan, directory):
        load(parameters)
        target = Target(directory, argv)
        for number in range(cycles or plan.cycles):
            images = os.path.join(directory, f"images-{number}")
            os.mkdir(images)
            plan.dumper.dump(target.pid, images, OPTIONS + plan.extra)
            expect_idle("after the dump")
            if between:
                load(between)
            plan.restorer.restore(target.pid, images, OPTIONS + plan.extra)
            expect_running_queues("after the restore")
        target.verify()
        expect_idle("after the end")
        unload()
    return run


def runs_on(argv):
    """--leave-running: the queues go on and the program is as before."""
    def run(plan, directory):
        load()
        target = Target(directory, argv)
        images = os.path.join(directory, "images")
        os.mkdir(images)
        status = plan.dumper.run("dump", images, "dump.log", ["-t", str(target.pid), "-R"] + OPTIONS)
        if status:
            raise tool.Failure("dump: " + tool.first_error(images, "dump", status))
        expect_running_queues("after a dump that lets it run on")
        target.verify()
        unload()
    return run


def refused_dump(plan, target, directory, number):
    """One dump which may fail; whatever happens, the program is unharmed. Returns whether it failed."""
    images = os.path.join(directory, f"images-{number}")
    os.mkdir(images)
    status = plan.dumper.run("dump", images, "dump.log", ["-t", str(target.pid), "-R"] + OPTIONS)
    expect_running_queues(f"after dump {number} (status {status})")
    target.expect_no_end()
    return status != 0


def faulty_dumps(argv, kinds, parameters="gpus=1"):
    """The n-th call of each kind fails, for every n: the dump fails, the program runs on."""
    def run(plan, directory):
        load(parameters)
        target, number = Target(directory, argv), 0
        for kind in kinds:
            for n in range(1, 100):
                inject(f"{kind}:{n}:5")
                number += 1
                before = counters()[1]["faults"]
                failed = refused_dump(plan, target, directory, number)
                injected = counters()[1]["faults"] != before
                inject("")
                if injected and not failed:
                    raise tool.Failure(f"{kind}: error {n} is not noticed by the dump")
                if failed and not injected:
                    raise tool.Failure(f"{kind}: dump {number} fails without an injected error")
                if not injected:
                    break
        target.verify()
        unload()
    return run


def faulty_restores(argv, kinds, parameters="gpus=1"):
    """The n-th call of each kind fails, for every n: the restore fails, nothing is left."""
    def run(plan, directory):
        load(parameters)
        target, images = Target(directory, argv), os.path.join(directory, "images")
        os.mkdir(images)
        plan.dumper.dump(target.pid, images, OPTIONS)
        for kind in kinds:
            for n in range(1, 100):
                expect_idle("before a restore")
                inject(f"{kind}:{n}:5")
                before = counters()[1]["faults"]
                status = plan.restorer.run("restore", images, "restore.log", ["-d"] + OPTIONS)
                injected = counters()[1]["faults"] != before
                inject("")
                if injected and not status:
                    raise tool.Failure(f"{kind}: error {n} is not noticed by the restore")
                if status and not injected:
                    raise tool.Failure(f"{kind}: restore {n} fails by itself: "
                                       + tool.first_error(images, "restore", status))
                if status and tool.alive(target.pid):
                    raise tool.Failure(f"{kind}: error {n} leaves a task")
                if not injected:
                    tool.kill_tree(target.pid)
                    break
        plan.restorer.restore(target.pid, images, OPTIONS)
        target.verify()
        unload()
    return run


def killed_dumps(argv, variable, stride):
    """The coordinator (or a worker) is killed at every step: the queues run again, the program is unharmed."""
    def run(plan, directory):
        load()
        target, steps = Target(directory, argv), os.path.join(directory, "steps")
        os.environ["STASIS_STEPS_FILE"] = steps
        refused_dump(plan, target, directory, 0)
        del os.environ["STASIS_STEPS_FILE"]
        with open(steps) as text:
            count = len(text.readlines())
        for at in range(1, count + 1, stride):
            os.environ[variable] = str(at)
            refused_dump(plan, target, directory, at)
        del os.environ[variable]
        target.verify()
        unload()
    return run


def without_device(argv):
    """A restore on a machine without the GPU is refused by name, and leaves nothing."""
    def run(plan, directory):
        load()
        target, images = Target(directory, argv), os.path.join(directory, "images")
        os.mkdir(images)
        plan.dumper.dump(target.pid, images, OPTIONS)
        unload()
        status = plan.restorer.run("restore", images, "restore.log", ["-d"] + OPTIONS)
        if not status or tool.alive(target.pid):
            raise tool.Failure("restored without a device")
        said = tool.first_error(images, "restore", status)
        if "gpu" not in said.lower() and "/dev/" not in said:
            raise tool.Failure(f"the sentence does not name the device: {said}")
        load()
        plan.restorer.restore(target.pid, images, OPTIONS)
        target.verify()
        unload()
    return run


def old_kernel(argv):
    """A kernel that cannot list handles: refused before anything is stopped, with the version needed."""
    def run(plan, directory):
        load("gpus=1 level=612")
        target, images = Target(directory, argv), os.path.join(directory, "images")
        os.mkdir(images)
        status = plan.dumper.run("dump", images, "dump.log", ["-t", str(target.pid)] + OPTIONS)
        if not status:
            raise tool.Failure("dumped, with holes")
        if "6.18" not in tool.first_error(images, "dump", status):
            raise tool.Failure("the version is not named: " + tool.first_error(images, "dump", status))
        target.verify()
        unload()
    return run


FOUR = "gpus=4 gpu_ids=1111,2222,3333,4444"
RENUMBERED = "gpus=4 gpu_ids=4001,4002,4003,4004 minor_base=140"
DUMP_CALLS = ["kfd.0x22.0", "kfd.0x22.1", "drm.0x59", "drm.0x50", "drm.0x41", "drm.0x2d", "sdma"]
RESTORE_CALLS = ["kfd.0x22.3", "kfd.0x22.4", "drm.0x40", "drm.0x48", "drm.0x2e", "sdma"]

SCENARIOS = [
    ("a_kfd", cycled(["kfd"])),
    ("b_drm", cycled(["drm"])),
    ("c_share", cycled(["share"])),
    ("d_chain", cycled(["chain", "5"])),
    ("e_twofiles", cycled(["twofiles"])),
    ("f_kfd_renumbered", cycled(["kfd", "4"], FOUR, RENUMBERED, 1)),
    ("f_drm_renumbered", cycled(["drm", "4"], FOUR, RENUMBERED, 1)),
]
FAILURES = [
    ("runs_on_kfd", runs_on(["kfd"])),
    ("runs_on_share", runs_on(["share"])),
    ("old_kernel", old_kernel(["drm"])),
    ("without_device", without_device(["drm"])),
    ("faulty_dump_kfd", faulty_dumps(["kfd"], DUMP_CALLS)),
    ("faulty_dump_drm", faulty_dumps(["drm"], DUMP_CALLS)),
    ("faulty_restore_kfd", faulty_restores(["kfd"], RESTORE_CALLS)),
    ("faulty_restore_share", faulty_restores(["share"], RESTORE_CALLS)),
    ("killed_dump_kfd", killed_dumps(["kfd"], "STASIS_KILL_AT", 1)),
    ("killed_worker_kfd", killed_dumps(["kfd"], "STASIS_KILL_WORKER_AT", 1)),
]
MANY = [("g_many", cycled(["many"], "gpus=1", None, 1))]
SHORT = ["a_kfd", "b_drm", "c_share", "runs_on_kfd"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    tool.add_options(parser)
    parser.add_argument("--libdir", help="CRIU's plugins")
    parser.add_argument("--short", action="store_true", help="one scenario of each kind")
    parser.add_argument("--scenarios", action="store_true", help="(a) to (g) only, no failures")
    args = parser.parse_args()
    tests = SCENARIOS + MANY + ([] if args.scenarios else FAILURES)
    if args.short:
        tests = [test for test in tests if test[0] in SHORT]
    if args.names:
        tests = [test for test in tests if test[0] in args.names]
    if args.list:
        print("\n".join(name for name, _ in tests))
        return 0
    if not os.path.isdir("/sys/kernel/debug/tracing"):
        sh("mount -t debugfs debugfs /sys/kernel/debug")
    tool.Plan.extra = ["-L", args.libdir] if args.libdir else []
    return tool.run_all(tests, args)


if __name__ == "__main__":
    sys.exit(main())
