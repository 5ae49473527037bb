#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""cuda.py - trees with CUDA tasks, against stand-ins for NVIDIA's parts (tests/cuda/standin.h).

Alone:   sudo /usr/bin/python3 tests/harness/cuda.py [options] [test...]
         options as cr.py's; --by libcuda: the library instead of the program
         --libdir DIR: with --mode and --criu, where CRIU's cuda_plugin.so lies; it is made to run without a GPU

No NVIDIA device is touched: in a mount namespace of our own /dev has stand-ins for the device files, a
stand-in for libcuda.so.1 is what the tasks use, and Stasis is told by STASIS_CUDA what to use. What this shows
is that our side of the conversation is right; not that NVIDIA's is as documented.
The last line is "N passed, N failed, N skipped".
"""
import contextlib
import os
import re
import signal
import stat
import subprocess
import sys

import tool

PARTS = os.path.join(tool.ROOT, "build", "tests", "cuda")
# nvidiactl and nvidia0 must be what no worker takes for a file it knows: the loop control device does.
DEVICES = {"nvidiactl": (10, 237), "nvidia0": (10, 237), "nvidia-uvm": (1, 5)}

# Starts its tasks and is none itself.
PARENT = """
import os, sys, time
for _ in range(int(sys.argv[3])):
    if os.fork() == 0:
        os.execv(sys.argv[1], [sys.argv[1], sys.argv[2], "."])
open("ready", "w").close()
while True:
    time.sleep(0.05)
"""


def enter_world():
    """A /dev with stand-ins, for us and what we start."""
    os.makedirs("/run/dev", exist_ok=True)
    os.umask(0)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "dev", "/run/dev"], check=True)
    for name in sorted(os.listdir("/dev")):
        info = os.lstat("/dev/" + name)
        path = "/run/dev/" + name
        if stat.S_ISCHR(info.st_mode) and not name.startswith("nvidia"):
            os.mknod(path, info.st_mode, info.st_rdev)
        elif stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink("/dev/" + name), path)
        elif stat.S_ISDIR(info.st_mode) and os.path.ismount("/dev/" + name):
            os.mkdir(path)
            subprocess.run(["mount", "--bind", "/dev/" + name, path], check=True)
    for name, (major, minor) in DEVICES.items():
        os.mknod("/run/dev/" + name, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
    os.umask(0o022)
    subprocess.run(["mount", "--rbind", "/run/dev", "/dev"], check=True)


def plugins(used):
    """Options for CRIU to find its plugin."""
    return ["-L", os.environ["CUDA_LIBDIR"]] if used.is_criu else []


class Tree:
    """A parent that has tasks children with CUDA."""

    def __init__(self, plan, directory, tasks=3):
        self.plan = plan
        self.dir = directory
        self.number = 0
        self.log = os.path.join(directory, "log")
        os.environ["STANDIN_LOG"] = self.log
        os.environ["STANDIN_SCRIPT"] = ""
        self.root = tool.start(["/usr/bin/python3", "-BES", "-c", PARENT, os.path.join(PARTS, "task"),
                                os.path.join(PARTS, "libcuda.so.1"), str(tasks)], directory, plan.uid)
        if not tool.wait_for(lambda: os.path.exists(self.path("ready")) and len(self.children()) == tasks, 20):
            raise tool.Failure("the tree is not ready")
        self.tasks = self.children()
        self.work()

    def children(self):
        return [p for p in tool.tree(self.root)[1:] if os.path.exists(self.path(f"count-{p}"))]

    def path(self, name):
        return os.path.join(self.dir, name)

    def count(self, pid):
        with contextlib.suppress(OSError, ValueError), open(self.path(f"count-{pid}")) as text:
            word = text.read()
            if "bad" in word:
                raise tool.Failure(f"task {pid}: its device memory is not what it was")
            return int(word)
        return 0

    def work(self):
        """Every task can use its device, and finds its memory there."""
        expect(tool.wait_for(self.progress(), 15), "calls of CUDA do not return")

    def progress(self):
        """A function: have all tasks used their devices since now?"""
        before = {pid: self.count(pid) for pid in self.tasks}
        return lambda: all(self.count(p) > before[p] + 2 for p in self.tasks)

    def work_left(self, when):
        """Those that a killed dump had not killed yet work on; they end here."""
        for pid in [p for p in self.tasks if tool.alive(p)]:
            before = self.count(pid)
            expect(tool.wait_for(lambda p=pid, b=before: self.count(p) > b + 2 or not tool.alive(p), 15),
                   f"{when}: task {pid} does not work")
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        gone = [self.root, *self.tasks]
        tool.wait_for(lambda: tool.reap() or not [p for p in gone if os.path.exists(f"/proc/{p}")], 5)

    def calls(self, deed=""):
        try:
            with open(self.log) as log:
                return sum(line.startswith(deed) for line in log)
        except OSError:
            return 0

    def script(self, text):
        """What the tool does from now on."""
        with contextlib.suppress(OSError):
            os.unlink(self.log)
        os.environ["STANDIN_SCRIPT"] = text

    def images(self):
        self.number += 1
        path = self.path(f"images-{self.number}")
        os.mkdir(path)
        return path

    def dump(self, *options):
        images = self.images()
        self.plan.dumper.dump(self.root, images, [*options, *plugins(self.plan.dumper)])
        return images

    def try_dump(self, *options):
        """A dump that may fail: status, images."""
        images = self.images()
        return self.plan.dumper.run("dump", images, "dump.log", ["-t", str(self.root), *options,
                                                                     *plugins(self.plan.dumper)]), images

    def restore(self, images):
        self.plan.restorer.restore(self.root, images, plugins(self.plan.restorer))


def said(images, action="dump"):
    return tool.first_error(images, action, 1)


def expect(condition, text):
    if not condition:
        raise tool.Failure(text)


def holds_device(pid):
    links = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
    return any(link.startswith("/dev/nvidia") for link in links)


def is_stopped(pid):
    with open(f"/proc/{pid}/stat") as text:
        return text.read().rsplit(")", 1)[1].split()[0] == "T"


def cycles(plan, directory):
    """Dump and restore, twice."""
    tree = Tree(plan, directory)
    for _ in range(2):
        tree.script("")
        images = tree.dump()
        expect(tree.calls("lock") == 3 and tree.calls("checkpoint") == 3, "not all tasks were checkpointed")
        expect(tree.calls("restore") == 0, "tasks that died were resumed")
        with open(os.path.join(images, "inventory.img"), "rb") as inventory:
            expect(b"cuda_plugin" in inventory.read(), "the inventory does not name cuda_plugin")
        tree.restore(images)
        expect(tree.calls("restore") == 3 and tree.calls("unlock") == 3, "not all tasks were resumed")
        expect(all(holds_device(p) for p in tree.tasks), "a task has no device")
        tree.work()


def leave_running(plan, directory):
    """The tasks work after the dump; and what was dumped can be restored."""
    tree = Tree(plan, directory)
    status, images = tree.try_dump("-R")
    expect(status == 0, said(images))
    expect(tree.calls("restore") == 3 and tree.calls("unlock") == 3, "not all tasks were resumed")
    tree.work()
    for pid in tree.tasks:
        os.rename(tree.path(f"count-{pid}"), tree.path(f"old-{pid}"))
    tool.kill_tree(tree.root)
    for pid in tree.tasks:
        os.rename(tree.path(f"old-{pid}"), tree.path(f"count-{pid}"))
    tree.restore(images)
    tree.work()


def leave_stopped(plan, directory):
    """Stopped, they have their devices; they work when they are continued."""
    tree = Tree(plan, directory)
    status, images = tree.try_dump("-s")
    expect(status == 0, said(images))
    expect(all(is_stopped(p) for p in tool.tree(tree.root)), "a task is not stopped")
    expect(all(holds_device(p) for p in tree.tasks), "a task has no device")
    for pid in tool.tree(tree.root):
        os.kill(pid, signal.SIGCONT)
    tree.work()


def failing(script, words):
    def test(plan, directory):
        tree = Tree(plan, directory)
        tree.script(script)
        status, images = tree.try_dump("--timeout", "2")
        expect(status == 1, "the dump did not fail")
        expect(re.search(words, said(images)), f"{words!r} is not in: {said(images)}")
        tree.work()
        tree.script("")
        tree.dump()
    return test


lock_fails = failing("lock:2:fail", r"task \d+: .*CUDA's lock")
lock_late = failing("lock:3:late", r"CUDA's lock")
checkpoint_fails = failing("checkpoint:2:fail", r"task \d+: .*CUDA's checkpoint")
checkpoint_dies = failing("checkpoint:3:die", r"CUDA's checkpoint.*killed by signal 6")
checkpoint_hangs = failing("checkpoint:1:hang", r"CUDA's checkpoint: no end after")


def later_failure(plan, directory):
    """The dump fails when all is written, for a reason of others."""
    tree = Tree(plan, directory)
    script = tree.path("script")
    with open(script, "w") as text:
        text.write('#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != post-dump ]\n')
    os.chmod(script, 0o755)
    status, images = tree.try_dump("--action-script", script)
    expect(status == 1, "the dump did not fail")
    expect(tree.calls("checkpoint") == 3 and tree.calls("restore") == 3, said(images))
    tree.work()


def end_fails(plan, directory):
    """A task that could not be put right is named with reason and remedy, and put right a moment later."""
    tree = Tree(plan, directory)
    tree.script("unlock:2:fail")
    status, images = tree.try_dump("-R")
    expect(status == 0, said(images))
    words = said(images)
    expect(re.search(r"task \d+: its CUDA may be locked still: CUDA's unlock: .*tried once more.*"
                     r"cuda-checkpoint --action restore --pid \d+, then unlock", words), words)
    tree.work()


def restore_fails(plan, directory):
    """No task is left."""
    tree = Tree(plan, directory)
    images = tree.dump()
    tree.script("restore:2:fail")
    status = plan.restorer.run("restore", images, "restore.log", ["-d"])
    expect(status == 1, "the restore did not fail")
    expect(re.search(r"CUDA's restore", said(images, "restore")), said(images, "restore"))
    expect(not tool.alive(tree.root), "a task is left")
    tree.script("")
    tree.restore(images)
    tree.work()


def without_tool(plan, directory):
    """Said before anything is touched, by check, dump and restore."""
    tree = Tree(plan, directory)
    nowhere = {"STASIS_CUDA": "/nonexistent/cuda-checkpoint"}
    images = tree.images()
    with tool.environment(**nowhere):
        for action in ("check", "dump"):
            status = plan.dumper.run(action, images, action + ".log", ["-t", str(tree.root)])
            expect(status == 1 and "install driver 570" in said(images, action), said(images, action))
    images = tree.dump()
    with tool.environment(**nowhere):
        status = plan.restorer.run("restore", images, "restore.log", ["-d"])
    expect(status == 1 and "install driver 570" in said(images, "restore"), said(images, "restore"))
    expect(not tool.alive(tree.root), "a task is left")
    tree.restore(images)
    tree.work()


def victims(name):
    """Processes of Stasis by their command name."""
    found = []
    for pid in tool.parents():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as comm:
            if comm.read().strip() == name and tool.alive(pid):
                found.append(pid)
    return found


def killed(name, deed):
    """SIGKILL for a process of ours while the tool is at the deed's second call."""
    def test(plan, directory):
        tree = Tree(plan, directory)
        images = tree.images()
        argv = [plan.dumper.path, "dump", "-D", images, "-o", "dump.log", "-v4", "-t", str(tree.root)]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as dump:
            far = tool.wait_for(lambda: tree.calls(deed) >= 2, 20, 0.001)
            for pid in ([dump.pid] if name == "stasis" or not far else victims(name)):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                dump.wait(60)
            dump.kill()
        expect(far, "it did not come so far")
        expect(dump.returncode != 0, "the dump did not fail")
        tree.work()
        expect(tool.wait_for(lambda: not victims("stasis-keeper"), 5), "a keeper is left")
        tree.script("")
        tree.dump()
    return test


worker_killed_in_lock = killed("gpu", "lock")
worker_killed_in_checkpoint = killed("gpu", "checkpoint")
coordinator_killed_in_lock = killed("stasis", "lock")
coordinator_killed_in_checkpoint = killed("stasis", "checkpoint")


def every_step(variable):
    """SIGKILL at every step of the dump: the tree works on, or is dead and can be restored."""
    def test(plan, directory):
        tree = Tree(plan, directory)
        steps = tree.path("steps")
        with tool.environment(STASIS_STEPS_FILE=steps):
            images = tree.dump()
        tree.restore(images)
        count = len(tool.steps_of(steps))
        expect(count > 10, f"{count} steps are not many")
        alive = 0
        for step in range(1, count + 1):
            tree.script("")
            with tool.environment(**{variable: step}):
                _, images = tree.try_dump()
            working = tree.progress()
            expect(tool.wait_for(lambda w=working: not tool.alive(tree.root) or w(), 15),
                   f"step {step}: neither dead nor at work")
            if not tool.alive(tree.root):
                expect(os.path.exists(os.path.join(images, "inventory.img")), f"step {step}: lost")
                tree.work_left(f"step {step}")
                tree.restore(images)
            else:
                alive += 1
            try:
                tree.work()
            except tool.Failure as failure:
                raise tool.Failure(f"step {step}: {failure}") from None
        expect(0 < alive < count, f"{alive} of {count} steps leave the tree alive")
    return test


coordinator_killed_everywhere = every_step("STASIS_KILL_AT")
worker_killed_everywhere = every_step("STASIS_KILL_WORKER_AT")


def other_tasks(plan, directory):
    """A tree without NVIDIA starts no program."""
    tree = Tree(plan, directory, 0)
    tree.script("")
    tree.restore(tree.dump())
    expect(tree.calls() == 0, "a program was started")


TESTS = {name: test for name, test in list(globals().items())
         if callable(test) and getattr(test, "__code__", None) and test.__code__.co_varnames[:2] == ("plan", "directory")}


# Of these CRIU can do one half.
MIXED = ["cycles", "leave_running"]


def more_options(parser):
    parser.add_argument("--by", choices=["program", "libcuda"], default="program")
    parser.add_argument("--libdir", help="of CRIU's cuda_plugin.so")


def prepare(args):
    if os.getpid() != 1:
        raise tool.Skip("needs a mount namespace of its own")
    enter_world()
    os.environ["STASIS_CUDA"] = os.path.join(PARTS, "cuda-checkpoint" if args.by == "program" else "libcuda.so.1")
    if args.mode == "stasis":
        return
    if not args.libdir:
        raise tool.Skip("CRIU needs --libdir, where its cuda_plugin.so lies")
    os.environ["CUDA_LIBDIR"] = os.path.abspath(args.libdir)
    os.environ["PATH"] = PARTS + ":" + os.environ["PATH"]
    os.environ["CRIU_FAULT"] = "138"	# the plugin works without a GPU


if __name__ == "__main__":
    sys.exit(tool.main(__doc__, TESTS, MIXED, more_options, prepare))
