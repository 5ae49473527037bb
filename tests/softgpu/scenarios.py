#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""scenarios.py - GPU programs frozen and thawed, on the software GPU. Runs inside the virtual machine of tests/vm.

Alone:   tests/vm/run.sh -t 600 -m 4096 -- tests/softgpu/scenarios.py [options] [name...]
         --stasis PATH           the program under test, or a CRIU: its name tells
         --criu PATH --mode M    mixed, as for the other harnesses
         --libdir D              CRIU's own amdgpu plugin
         --short                 one of each kind, for make check
         --scenarios             (a) to (g) only
         --every                 each failure position instead of samples, and the overlap of 1 GiB (half an hour)

Each scenario starts a program of programs/, freezes it (it must be gone, and the device empty: no process paused, no
buffer alive), thaws it and has it verify its contents, handles, addresses and sharing itself. Then what is
refused, by name, and failures.py. The last line is "N passed, N failed, N skipped".
"""
import argparse
import os
import subprocess
import sys

import gpu
import tool		# found by gpu.py
from failures import EVERY, FAILURES
from overlap import OVERLAP, OVERLAP_GIB

MARK = "stasis_compressed_device_memory"
MAGIC = b"STSLZ\xff4\x01"
MASKED = os.path.join(gpu.BUILD, "checks", "masked")


def cycled(argv, parameters="gpus=1", between=None, cycles=None, last=None):
    """Frozen and thawed, then it verifies itself. last() looks at the device before it goes."""
    def run(plan, directory):
        gpu.load(parameters)
        target = gpu.Target(directory, argv)
        for number in range(cycles or plan.cycles):
            images = gpu.new_images(directory, number)
            plan.dumper.dump(target.pid, images, gpu.OPTIONS + plan.extra)
            gpu.expect_idle("after the dump")
            if between:
                gpu.load(between)
            plan.restorer.restore(target.pid, images, gpu.OPTIONS + plan.extra)
            gpu.expect_running_queues("after the restore")
        target.verify()
        gpu.expect_idle("after the end")
        if last:
            last()
        gpu.unload()
    return run


def runs_on(argv):
    """--leave-running: the queues go on and the program is as before."""
    def run(plan, directory):
        gpu.load()
        target, images = gpu.Target(directory, argv), gpu.new_images(directory, 0)
        before = gpu.counters()[0]
        status = gpu.dump_on(plan, target, images)
        if status:
            raise tool.Failure("dump: " + tool.first_error(images, "dump", status))
        gpu.expect_running_queues("after a dump that lets it run on")
        gpu.expect_as_before(before, "after a dump that lets it run on")
        target.verify()
        gpu.unload()
    return run


def refused(argv, words, parameters="gpus=1"):
    """What cannot be dumped: check and dump both say so, naming it, and the program is as before."""
    def run(plan, directory):
        gpu.load(parameters)
        target, images = gpu.Target(directory, argv), gpu.new_images(directory, 0)
        before = gpu.counters()[0]
        verdict = plan.dumper.verdict(target.pid, images, gpu.OPTIONS + plan.extra)
        gpu.expect_sentence(images, "check", verdict, words)
        status = plan.dumper.run("dump", images, "dump.log", ["-t", str(target.pid)] + gpu.OPTIONS + plan.extra)
        gpu.expect_sentence(images, "dump", status, words)
        gpu.expect_running_queues("after a refused dump")
        gpu.expect_as_before(before, "after a refused dump")
        target.verify()
        gpu.unload()
    return run


def compressed(argv, parameters="gpus=1", between=None):
    """--compress: a restore needs no option; to CRIU the images say that they are not for it."""
    def run(plan, directory):
        if plan.dumper.is_criu:
            raise tool.Skip("CRIU has no --compress")
        gpu.load(parameters)
        target, images = gpu.Target(directory, argv), gpu.new_images(directory, 0)
        plan.dumper.dump(target.pid, images, gpu.OPTIONS + plan.extra + ["--compress"])
        gpu.expect_idle("after the dump")
        expect_blocks(plan, images)
        if between:
            gpu.load(between)
        if plan.restorer.is_criu:
            gpu.expect_sentence(images, "restore", gpu.restore(plan, images), [MARK])
        else:
            plan.restorer.restore(target.pid, images, gpu.OPTIONS + plan.extra)
            gpu.expect_running_queues("after the restore")
            target.verify()
        gpu.expect_idle("after the end")
        gpu.unload()
    return run


def expect_blocks(plan, images):
    """No contents are plain, and the inventory has the mark."""
    with open(os.path.join(images, "inventory.img"), "rb") as inventory:
        if MARK.encode() not in inventory.read():
            raise tool.Failure(f"{MARK} is not in inventory.img")
    shown = subprocess.run([plan.dumper.path, "show", images], capture_output=True, text=True, check=True).stdout
    files = [name for name in os.listdir(images) if "pages-" in name and name.startswith("amdgpu-")]
    if not files or "method: LZ4" not in shown:
        raise tool.Failure("\"stasis show\" shows no contents in blocks")
    for name in files:
        with open(os.path.join(images, name), "rb") as contents:
            if contents.read(8) != MAGIC:
                raise tool.Failure(f"{name} is plain")


def not_restored(argv, parameters, between, words):
    """A restore on a machine without the GPUs is refused by name before a task exists, and good again with them."""
    def run(plan, directory):
        gpu.load(parameters)
        target, images = gpu.Target(directory, argv), gpu.new_images(directory, 0)
        plan.dumper.dump(target.pid, images, gpu.OPTIONS + plan.extra)
        gpu.unload()
        if between:
            gpu.load(between)
        status = gpu.restore(plan, images)
        gpu.expect_sentence(images, "restore", status, words)
        if tool.alive(target.pid):
            raise tool.Failure("the refused restore leaves a task")
        with open(os.path.join(images, "restore.log"), errors="replace") as log:
            if "stage read failed" not in log.read():
                raise tool.Failure("it is refused when tasks exist already")
        gpu.load(parameters)
        plan.restorer.restore(target.pid, images, gpu.OPTIONS + plan.extra)
        target.verify()
        gpu.unload()
    return run


def masked_tool(plan, directory, minor):
    """The restoring program in a cgroup that may not use this render node."""
    path = os.path.join(directory, "masked-" + os.path.basename(plan.restorer.path))
    with open(path, "w") as script:
        script.write(f'#!/bin/sh\nexec {MASKED} {minor} {plan.restorer.path} "$@"\n')
    os.chmod(path, 0o755)
    return tool.Tool(path)


def expect_chunks():
    submits = gpu.counters()[1]["submits"]
    if submits < 200:
        raise tool.Failure(f"only {submits} chunks")


def in_chunks(argv):
    """Each buffer by the engine in many chunks, which go on beside whoever fills and empties them."""
    def run(plan, directory):
        os.environ["KFD_MAX_BUFFER_SIZE"] = "300K"
        try:
            cycled(argv, "gpus=1 fail_mode=1", last=expect_chunks)(plan, directory)
        finally:
            del os.environ["KFD_MAX_BUFFER_SIZE"]
    return run


def subset(hidden):
    """A program that sees the second of two GPUs only; restored where all are seen, or all but one."""
    def run(plan, directory):
        gpu.load("gpus=2")
        target, images = gpu.Target(directory, ["kfd"], [MASKED, "128"]), gpu.new_images(directory, 0)
        plan.dumper.dump(target.pid, images, gpu.OPTIONS + plan.extra)
        gpu.expect_idle("after the dump")
        if not hidden:		# KFD restores a process where it sees as many GPUs as before
            gpu.expect_sentence(images, "restore", gpu.restore(plan, images), ["this machine shows 2"])
        restorer = masked_tool(plan, directory, hidden or 128)
        restorer.restore(target.pid, images, gpu.OPTIONS + plan.extra)
        target.verify()
        gpu.unload()
    return run


FOUR = "gpus=4 gpu_ids=1111,2222,3333,4444"
RENUMBERED = "gpus=4 gpu_ids=4001,4002,4003,4004 minor_base=140"
SCENARIOS = [
    ("a_kfd", cycled(["kfd"])),
    ("b_drm", cycled(["drm"])),
    ("c_share", cycled(["share"])),
    ("d_chain", cycled(["chain", "5"])),
    ("e_twofiles", cycled(["twofiles"])),
    ("f_kfd_renumbered", cycled(["kfd", "4"], FOUR, RENUMBERED, 1)),
    ("f_drm_renumbered", cycled(["drm", "4"], FOUR, RENUMBERED, 1)),
    ("g_many", cycled(["many"], "gpus=1", None, 1)),
]
MORE = [
    ("inherited_node", cycled(["odd", "inherited-node"])),
    ("inherited_kfd", cycled(["odd", "inherited-kfd"])),
    ("held_dmabuf", cycled(["odd", "held"])),
    ("orphaned_dmabuf", refused(["odd", "orphan"], ["no open file of the dumped tasks"])),
    ("foreign_dmabuf", refused(["odd", "foreign"], ["udmabuf", "vgem"])),
    ("imported_buffer", refused(["odd", "imported"], ["outside of the dump"])),
    ("subset_seen_by_all", subset(None)),
    ("subset_seen_alike", subset("128")),
    ("subset_on_another", subset("129")),
    ("runs_on_kfd", runs_on(["kfd"])),
    ("runs_on_share", runs_on(["share"])),
    ("compressed_kfd", compressed(["kfd", "4"], FOUR, RENUMBERED)),
    ("compressed_drm", compressed(["drm"])),
    ("compressed_share", compressed(["share"])),
    ("engine_in_chunks", in_chunks(["both", "16", "0", "hidden"])),
    ("compressed_engine", compressed(["both", "16", "0", "hidden"])),
    ("old_kernel", refused(["drm"], ["6.18"], "gpus=1 level=612")),
    ("without_device", not_restored(["drm"], "gpus=1", None, ["GPU", "/dev/"])),
    ("fewer_gpus_kfd", not_restored(["kfd", "4"], FOUR, "gpus=2", ["GPU"])),
    ("fewer_gpus_drm", not_restored(["drm", "4"], FOUR, "gpus=2", ["GPU"])),
]
SHORT = ["a_kfd", "b_drm", "c_share", "compressed_drm", "runs_on_kfd", "orphaned_dmabuf"]


def choose(args):
    """Those that the options leave, and of these the named ones, each of which there must be."""
    tests = EVERY + OVERLAP_GIB if args.every else SCENARIOS + ([] if args.scenarios else MORE + OVERLAP + FAILURES)
    if args.short:
        tests = [test for test in tests if test[0] in SHORT]
    unknown = set(args.names) - {name for name, _ in tests}
    if unknown:
        sys.exit("no such tests here: " + " ".join(sorted(unknown)))
    if args.names:
        tests = [test for test in tests if test[0] in args.names]
    return [(name, gpu.cleaned(function)) for name, function in tests]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    tool.add_options(parser)
    parser.add_argument("--libdir", help="CRIU's plugins")
    parser.add_argument("--short", action="store_true", help="one scenario of each kind")
    parser.add_argument("--scenarios", action="store_true", help="(a) to (g) only, no failures")
    parser.add_argument("--every", action="store_true", help="each failure position")
    args = parser.parse_args()
    tests = choose(args)
    if args.list:
        print("\n".join(name for name, _ in tests))
        return 0
    if not os.path.isdir("/sys/kernel/debug/tracing"):
        gpu.sh("mount -t debugfs debugfs /sys/kernel/debug")
    gpu.sh("modprobe udmabuf || true")
    tool.Plan.extra = ["-L", args.libdir] if args.libdir else []
    if tool.Plan(args).uses_criu:
        gpu.tolerance = "strict=0"
    return tool.run_all(tests, args)


if __name__ == "__main__":
    sys.exit(main())
