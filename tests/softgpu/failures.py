# SPDX-License-Identifier: MIT
"""failures.py - errors of the device at every call, kills at every step. Part of scenarios.py.

A dump that fails leaves the program as it was: it runs on, its queues are not paused, the device has no
more files and buffers than before. A restore that fails leaves nothing. FAILURES samples the positions;
EVERY has all of them (make check-vm-all).
"""
import hashlib
import math
import os
import signal
import time

import gpu
import tool

NAMES = ["/dev/kfd", "/dev/dri/", "dmabuf", "buffer", "contents of", "KFD", "amdgpu-"]
# Asked for thousands of numbers which are none: samples will do.
PROBES = ["drm.0x42", "drm.0xcb"]
# INFO, lists, submission, waiting and their buffers: an engine that cannot be had is no fault where the processor sees
# the buffer, nor is what it does not give back. The operation may be good all the same. (Not VERSION, which cannot fail:
# libdrm_amdgpu 2.4.114 dies of it, and the gpu worker with it.)
ENGINE = ["drm.0x45", "drm.0x43", "drm.0x44", "drm.0x49", "drm.0x40", "drm.0x48", "drm.0x2e", "drm.0x09"]
# Nor UNPAUSE, which is asked for again, and MMAP, which is for the buffers of the engine as well.
EVADED = ["kfd.0x22.2", "drm.0x41"] + ENGINE + PROBES
# All that the dump of a program asks the device for: its node, its buffers there, KFD, copies by the engine. (Counted by
# rules for a number of calls that no dump makes: debugfs softgpu/faults shows what is left of it. What a list has and the
# program does not ask for is a failure.)
NODE, BUFFERS = ["drm.0x59", "drm.0x41"] + PROBES, ["drm.0x50", "drm.0x2d", "drm.0x46"]
COPIES = ["sdma"] + ENGINE
DUMP_CALLS = {
    "kfd": ["kfd.0x01", "kfd.0x22.0", "kfd.0x22.1", "kfd.0x22.2"] + NODE + COPIES,
    "drm": NODE + BUFFERS + COPIES,
    "share": NODE + BUFFERS,
    "both": NODE + BUFFERS + COPIES,
}
# And the restore. KFD makes its buffers itself, the processor fills those that it sees.
RESTORE_CALLS = {
    "kfd": ["kfd.0x22.3", "kfd.0x22.4"],
    "drm": ["drm.0x40", "drm.0x48", "drm.0x41", "drm.0x2d", "drm.0x09"],
    "share": ["drm.0x40", "drm.0x48", "drm.0x41", "drm.0x2d", "drm.0x2e"],
    "both": ["drm.0x41", "drm.0x2d", "drm.0x42"] + COPIES,
}


def contents(images):
    """Digests of all images of device memory."""
    table = {}
    for name in sorted(os.listdir(images)):
        if name.startswith("amdgpu-") and "pages" in name:
            with open(os.path.join(images, name), "rb") as image:
                table[name] = hashlib.sha256(image.read()).hexdigest()
    return table


def sparse(n):
    """The place after n."""
    return 2 * n


def dense(n):
    return n + 1


class Injected:
    """With the n-th call of a kind failing; happened tells whether it came to that."""
    def __init__(self, kind, n):
        self.rule, self.happened = f"{kind}:{n}:5", False

    def __enter__(self):
        self.before = gpu.counters()[1]["faults"]
        gpu.inject(self.rule)
        return self

    def __exit__(self, *_):
        self.happened = gpu.counters()[1]["faults"] != self.before
        gpu.inject("")


class Unharmed:
    """Dumps of one program, each of which may fail; whatever happens, the program is as before."""
    def __init__(self, plan, directory, argv):
        self.plan, self.directory, self.count = plan, directory, 0
        self.target = gpu.Target(directory, argv)
        self.good = self.good_dump("the first dump")
        if not contents(self.good):
            raise tool.Failure("the first dump has no contents of device memory")
        self.before = gpu.counters()[0]

    def dump(self, seconds=None):
        """seconds: it is killed then. Returns its status and its images."""
        images = gpu.new_images(self.directory, self.count)
        self.count += 1
        run = lambda plan: gpu.dump_on(plan, self.target, images)
        status = hurried(self.plan, seconds, run) if seconds else run(self.plan)
        gpu.expect_running_queues(f"after dump {self.count} (status {status})")
        if self.count > 1:
            gpu.expect_as_before(self.before, f"after dump {self.count} (status {status})")
        self.target.expect_no_end()
        return status, images

    def good_dump(self, what):
        """One to which nothing happens. Returns its images."""
        status, images = self.dump()
        if status:
            raise tool.Failure(f"{what} fails by itself: " + tool.first_error(images, "dump", status))
        return images

    def end(self):
        """It can still be dumped, with the same contents."""
        if contents(self.good_dump("the last dump")) != contents(self.good):
            raise tool.Failure("the last dump has other contents than the first")
        self.target.verify()
        gpu.unload()


def faulty_dump(dumps, kind, n):
    """Returns whether there was an n-th call."""
    with Injected(kind, n) as injected:
        status, images = dumps.dump()
    if status and not injected.happened:
        raise tool.Failure(f"{kind}: dump {n} fails by itself: " + tool.first_error(images, "dump", status))
    if not injected.happened:
        return False
    if status:
        gpu.expect_sentence(images, "dump", status, NAMES)
    elif kind not in EVADED:
        raise tool.Failure(f"{kind}: error {n} is not noticed by the dump")
    elif contents(images) != contents(dumps.good):
        raise tool.Failure(f"{kind}: error {n} is not noticed by the dump, and its contents are wrong")
    return True


def each_place(kind, following, fails):
    """Have the n-th call fail, fails(kind, n), until there is none. The first there must be."""
    n, count = 1, 0
    while fails(kind, n):
        n, count = (sparse if kind in PROBES else following)(n), count + 1
    if not count:
        raise tool.Failure(f"{kind}: never called, so no error of it was tried")
    if following is dense:
        print(f"    {kind}: {count} places", flush=True)


def faulty_dumps(argv, kinds, following=sparse):
    """The n-th call of each kind fails: the dump fails, the program runs on."""
    def run(plan, directory):
        gpu.load()
        dumps = Unharmed(plan, directory, argv)
        for kind in kinds:
            each_place(kind, following, lambda of, n: faulty_dump(dumps, of, n))
        dumps.end()
    return run


def sampled(steps, most):
    """Numbers of so many steps, evenly spread, and of the last two: before and after the release."""
    count = len(steps)
    return sorted({*range(1, count + 1, max(1, count // most)), count - 1, count})


def killed_dumps(argv, orders, most):
    """
    orders: {variable: value with {} for the step}. The coordinator, or a worker, is killed at some of the steps:
    the queues run again, the program is unharmed.
    """
    def run(plan, directory):
        gpu.load()
        dumps, path = Unharmed(plan, directory, argv), os.path.join(directory, "steps")
        with tool.environment(STASIS_STEPS_FILE=path):
            dumps.good_dump("the dump whose steps are noted")
        for variable, value in orders.items():
            failed = 0
            for at in sampled(tool.steps_of(path), most):
                with tool.environment(**{variable: value.format(at)}):
                    failed += dumps.dump()[0] != 0
            if not failed:
                raise tool.Failure(f"{variable}: no dump was hurt")
            if most == math.inf:
                print(f"    {variable}: {len(tool.steps_of(path))} steps, {failed} hurt", flush=True)
        dumps.end()
    return run


class Hurt:
    """Restores of one program, each of which fails or is killed somewhere: nothing of it is left, or all."""
    def __init__(self, plan, directory, argv):
        self.plan, self.directory, self.argv, self.count = plan, directory, argv, 0
        self.begin()

    def begin(self):
        """Fresh images: a good restore takes names of --link-remap with it."""
        self.target = gpu.Target(self.directory, self.argv)
        self.pids = tool.tree(self.target.pid)
        self.images = gpu.new_images(self.directory, self.count)
        self.plan.dumper.dump(self.target.pid, self.images, gpu.OPTIONS + self.plan.extra)
        self.count += 1

    def restore(self, what, seconds=None):
        """seconds: it is killed then. Returns its exit status."""
        gpu.expect_idle(f"before the restore with {what}")
        run = lambda plan: gpu.restore(plan, self.images)
        return hurried(self.plan, seconds, run) if seconds else run(self.plan)

    def left(self):
        """What there is of its tasks. Reaped as well: the next restore needs the pids."""
        tool.reap()
        return [pid for pid in self.pids if os.path.exists(f"/proc/{pid}")]

    def expect_nothing(self, what, status):
        if not tool.wait_for(lambda: not self.left(), 5):
            raise tool.Failure(f"{what} (status {status}): tasks are left: {self.left()} of {self.pids}")

    def expect_whole(self, what, status):
        """The program goes on, and ends well. There is another one then."""
        try:
            self.target.verify()
        except tool.Failure as failure:
            raise tool.Failure(f"{what} (status {status}, {self.said(status)}): {failure}") from None
        self.begin()

    def said(self, status):
        return tool.first_error(self.images, "restore", status)

    def steps(self):
        """The names of all steps of a restore to which nothing happens."""
        path = os.path.join(self.directory, "steps")
        with tool.environment(STASIS_STEPS_FILE=path):
            status = self.restore("nothing")
        if status:
            raise tool.Failure("restore: " + self.said(status))
        self.expect_whole("nothing", status)
        names = tool.steps_of(path)
        if names[-1] != RELEASED or RELEASED in names[:-1]:
            raise tool.Failure(f"not the last step: {RELEASED}: {names}")
        return names

    def end(self):
        gpu.expect_idle("after the restores")
        self.plan.restorer.restore(self.target.pid, self.images, gpu.OPTIONS + self.plan.extra)
        self.target.verify()
        gpu.unload()


def faulty_restore(hurt, kind, n):
    """Returns whether there was an n-th call."""
    what = f"{kind}: error {n}"
    with Injected(kind, n) as injected:
        status = hurt.restore(what)
    if status and not injected.happened:
        raise tool.Failure(f"{what}: the restore fails by itself: " + hurt.said(status))
    if status:
        gpu.expect_sentence(hurt.images, "restore", status, NAMES)
        hurt.expect_nothing(what, status)
    elif injected.happened and kind not in EVADED:
        raise tool.Failure(f"{what} is not noticed by the restore")
    else:
        hurt.expect_whole(what, status)
    return injected.happened


def faulty_restores(argv, kinds, following=sparse):
    """The n-th call of each kind fails: the restore fails, nothing is left."""
    def run(plan, directory):
        gpu.load()
        hurt = Hurt(plan, directory, argv)
        for kind in kinds:
            each_place(kind, following, lambda of, n: faulty_restore(hurt, of, n))
        hurt.end()
    return run


def killed_restore(hurt, what, released, orders):
    """released: whether the tasks run at that step. Returns whether the restore was hurt before."""
    with tool.environment(**orders):
        status = hurt.restore(what)
    if status == 0 or released:
        hurt.expect_whole(what, status)
        return False
    hurt.expect_nothing(what, status)
    return True


def killed_restores(argv, orders, most):
    """Nothing is left of a restore that is killed, unless its tasks are released: then they are whole."""
    def run(plan, directory):
        gpu.load()
        hurt = Hurt(plan, directory, argv)
        steps = hurt.steps()
        for variable, value in orders.items():
            failed = 0
            for at in sampled(steps, most):
                released = variable in COORDINATOR and steps[at - 1] == RELEASED
                what = f"a kill, {variable}, step {at} of {len(steps)} ({steps[at - 1]})"
                failed += killed_restore(hurt, what, released, {variable: value.format(at)})
            if not failed:
                raise tool.Failure(f"{variable}: no restore was hurt")
            if most == math.inf:
                print(f"    {variable}: {len(steps)} steps, {failed} hurt", flush=True)
        hurt.end()
    return run


class Hasty:
    """A plan whose commands are killed after so many seconds."""
    def __init__(self, plan, seconds):
        self.extra = plan.extra
        self.dumper, self.restorer = (tool.Tool(one.path, seconds) for one in (plan.dumper, plan.restorer))


def hurried(plan, seconds, run):
    """The status of run(plan) that is killed after so long."""
    try:
        return run(Hasty(plan, seconds))
    except tool.Failure:		# it took more time
        return -signal.SIGKILL


def timed(run):
    began = time.monotonic()
    if run():
        raise tool.Failure("what takes so long fails by itself")
    return time.monotonic() - began


def moments_of(took, most, between):
    """between(seconds) for so many moments, evenly spread; 0: it came too late."""
    late = sum(between(took * (n + 0.5) / most) == 0 for n in range(most))
    print(f"    {most} moments of {took:.2f} s, {late} of them too late", flush=True)
    if late > most * 0.8:
        raise tool.Failure(f"{late} of {most} kills came too late")


def moments_of_dump(argv, most):
    """The coordinator is killed at any moment: the program runs on."""
    def run(plan, directory):
        gpu.load()
        dumps = Unharmed(plan, directory, argv)
        took = timed(lambda: dumps.dump()[0])
        moments_of(took, most, lambda seconds: dumps.dump(seconds)[0])
        dumps.end()
    return run


def moments_of_restore(argv, most):
    """The coordinator is killed at any moment: nothing is left, or, once they are released, all."""
    def run(plan, directory):
        gpu.load()
        hurt = Hurt(plan, directory, argv)

        def one(seconds):
            what = f"a kill after {seconds:.3f} s"
            status = hurt.restore(what, seconds)
            if status == 0 or not tool.wait_for(lambda: not hurt.left(), 5):
                hurt.expect_whole(what, status)
            return status
        took = timed(lambda: hurt.restore("nothing"))
        hurt.expect_whole("nothing", 0)
        moments_of(took, most, one)
        hurt.end()
    return run


COORDINATOR = {"STASIS_KILL_AT": "{}"}
WORKERS = {"STASIS_KILL_WORKER_AT": "{}:gpu"}
ANY_WORKER = {"STASIS_KILL_WORKER_AT": "{}"}
HIDDEN = ["both", "8", "1", "hidden"]		# two buffers for the engine alone
MOMENTS = 60
RELEASED = "release"		# after that step the tasks run and nobody traces them
FAILURES = [
    ("faulty_dump_kfd", faulty_dumps(["kfd"], ["kfd.0x22.0", "kfd.0x22.1", "kfd.0x22.2", "drm.0x59", "drm.0x41",
                                               "drm.0x48", "sdma"])),
    ("faulty_dump_drm", faulty_dumps(["drm"], ["drm.0x59", "drm.0x50", "drm.0x2d", "drm.0x41", "drm.0x48", "sdma"])),
    ("faulty_restore_kfd", faulty_restores(["kfd"], RESTORE_CALLS["kfd"])),
    ("faulty_restore_share", faulty_restores(["share"], ["drm.0x40", "drm.0x48", "drm.0x2e"])),
    ("faulty_restore_hidden", faulty_restores(HIDDEN, ["sdma", "drm.0x44", "drm.0x49"])),
    ("killed_dump_kfd", killed_dumps(["kfd"], COORDINATOR, 10)),
    ("killed_dump_share", killed_dumps(["share"], COORDINATOR, 8)),
    ("killed_gpu_worker_kfd", killed_dumps(["kfd"], WORKERS, 10)),
    ("killed_any_worker_kfd", killed_dumps(["kfd"], ANY_WORKER, 8)),
    ("killed_restore_kfd", killed_restores(["kfd"], {**COORDINATOR, **WORKERS}, 10)),
]


def every(argv):
    """All that can fail, with a program."""
    return [(f"every_{name}_{argv[0]}", function(argv, *arguments)) for name, function, *arguments in [
        ("faulty_dump", faulty_dumps, DUMP_CALLS[argv[0]], dense),
        ("faulty_restore", faulty_restores, RESTORE_CALLS[argv[0]], dense),
        ("killed_dump", killed_dumps, COORDINATOR, math.inf),
        ("killed_gpu_worker", killed_dumps, WORKERS, math.inf),
        ("killed_any_worker", killed_dumps, ANY_WORKER, math.inf),
        ("killed_restore", killed_restores, COORDINATOR, math.inf),
        ("killed_restore_gpu_worker", killed_restores, WORKERS, math.inf),
        ("moment_of_dump", moments_of_dump, MOMENTS),
        ("moment_of_restore", moments_of_restore, MOMENTS),
    ]]


EVERY = [test for argv in (["kfd"], ["drm"], ["share"], HIDDEN) for test in every(argv)]
