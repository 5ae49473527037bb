# SPDX-License-Identifier: MIT
"""failures.py - errors of the device at every call, kills at every step. Part of scenarios.py.

A dump that fails leaves the program as it was: it runs on, its queues are not paused, the device has no
more files and buffers than before. A restore that fails leaves nothing.
"""
import hashlib
import os

import gpu
import tool

NAMES = ["/dev/kfd", "/dev/dri/", "dmabuf", "buffer", "contents of", "KFD"]
# An engine that cannot be had is no fault where the processor sees the buffer: such a dump may be good all the same.
EVADED = ["drm.0x41", "drm.0x48"]
DUMP_CALLS = ["kfd.0x22.0", "kfd.0x22.1", "drm.0x59", "drm.0x50", "drm.0x2d", "sdma"] + EVADED
RESTORE_CALLS = ["kfd.0x22.3", "kfd.0x22.4", "drm.0x40", "drm.0x48", "drm.0x2e", "sdma"]


def contents(images):
    """Digests of all images of device memory."""
    table = {}
    for name in sorted(os.listdir(images)):
        if name.startswith("amdgpu-") and "pages" in name:
            with open(os.path.join(images, name), "rb") as image:
                table[name] = hashlib.sha256(image.read()).hexdigest()
    return table


def next_place(n):
    """The place after n: the first ones all, later ones with growing distance."""
    return n + 1 + n // 4


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
        self.good = self.dump()[1]
        self.before = gpu.counters()[0]

    def dump(self):
        images = gpu.new_images(self.directory, self.count)
        self.count += 1
        status = gpu.dump_on(self.plan, self.target, images)
        gpu.expect_running_queues(f"after dump {self.count} (status {status})")
        if self.count > 1:
            gpu.expect_as_before(self.before, f"after dump {self.count} (status {status})")
        self.target.expect_no_end()
        return status, images

    def end(self):
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


def faulty_dumps(argv, kinds, parameters="gpus=1"):
    """The n-th call of each kind fails, for every n: the dump fails, the program runs on."""
    def run(plan, directory):
        gpu.load(parameters)
        dumps = Unharmed(plan, directory, argv)
        for kind in kinds:
            n = 1
            while faulty_dump(dumps, kind, n):
                n = next_place(n)
        dumps.end()
    return run


def dumped(plan, target, directory, number):
    """Fresh images: a good restore takes names of --link-remap with it."""
    images = gpu.new_images(directory, number)
    plan.dumper.dump(target.pid, images, gpu.OPTIONS + plan.extra)
    return images


def faulty_restore(plan, target, images, kind, n):
    """Returns whether there was an n-th call."""
    gpu.expect_idle("before a restore")
    with Injected(kind, n) as injected:
        status = gpu.restore(plan, images)
    if injected.happened and not status:
        raise tool.Failure(f"{kind}: error {n} is not noticed by the restore")
    if not injected.happened and status:
        raise tool.Failure(f"{kind}: restore {n} fails by itself: " + tool.first_error(images, "restore", status))
    if not injected.happened:
        return False
    gpu.expect_sentence(images, "restore", status, NAMES)
    if tool.alive(target.pid):
        raise tool.Failure(f"{kind}: error {n} leaves a task")
    return True


def faulty_restores(argv, kinds, parameters="gpus=1"):
    """The n-th call of each kind fails, for every n: the restore fails, nothing is left."""
    def run(plan, directory):
        gpu.load(parameters)
        target = gpu.Target(directory, argv)
        for number, kind in enumerate(kinds):
            images = dumped(plan, target, directory, number)
            n = 1
            while faulty_restore(plan, target, images, kind, n):
                n = next_place(n)
        target.verify()
        gpu.unload()
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
            dumps.dump()
        for variable, value in orders.items():
            failed = 0
            for at in sampled(tool.steps_of(path), most):
                with tool.environment(**{variable: value.format(at)}):
                    failed += dumps.dump()[0] != 0
            if not failed:
                raise tool.Failure(f"{variable}: no dump was hurt")
        dumps.end()
    return run


class Hurt:
    """Restores of one program, each of which is killed somewhere: nothing of it is left, or all."""
    def __init__(self, plan, directory, argv):
        self.plan, self.directory, self.argv, self.count = plan, directory, argv, 0
        self.begin()

    def begin(self):
        self.target = gpu.Target(self.directory, self.argv)
        self.images = dumped(self.plan, self.target, self.directory, self.count)
        self.count += 1

    def steps(self):
        """The names of all steps of a restore to which nothing happens."""
        path = os.path.join(self.directory, "steps")
        with tool.environment(STASIS_STEPS_FILE=path):
            status = gpu.restore(self.plan, self.images)
        if status:
            raise tool.Failure("restore: " + tool.first_error(self.images, "restore", status))
        self.target.verify()
        self.begin()
        names = tool.steps_of(path)
        if names[-1] != RELEASED or RELEASED in names[:-1]:
            raise tool.Failure(f"not the last step: {RELEASED}: {names}")
        return names

    def restore(self, what, released, **orders):
        """released: whether the tasks run at that step. Returns whether the restore was hurt before."""
        gpu.expect_idle(f"before the restore killed at {what}")
        with tool.environment(**orders):
            status = gpu.restore(self.plan, self.images)
        if status == 0 or released:
            try:
                self.target.verify()
            except tool.Failure as failure:
                said = tool.first_error(self.images, "restore", status)
                raise tool.Failure(f"killed at {what} (status {status}, {said}): {failure}") from None
            self.begin()
            return False
        # Reaped as well: the next restore needs the pid.
        if not tool.wait_for(lambda: tool.reap() or not os.path.exists(f"/proc/{self.target.pid}"), 5):
            raise tool.Failure(f"killed at {what} (status {status}): a task is left")
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
                failed += hurt.restore(f"{variable}, step {at} ({steps[at - 1]})", released, **{variable: value.format(at)})
            if not failed:
                raise tool.Failure(f"{variable}: no restore was hurt")
        gpu.expect_idle("after the restores")
        plan.restorer.restore(hurt.target.pid, hurt.images, gpu.OPTIONS + plan.extra)
        hurt.target.verify()
        gpu.unload()
    return run


COORDINATOR = {"STASIS_KILL_AT": "{}"}
WORKERS = {"STASIS_KILL_WORKER_AT": "{}:gpu"}
RELEASED = "release"		# after that step the tasks run and nobody traces them
FAILURES = [
    ("faulty_dump_kfd", faulty_dumps(["kfd"], DUMP_CALLS)),
    ("faulty_dump_drm", faulty_dumps(["drm"], DUMP_CALLS)),
    ("faulty_restore_kfd", faulty_restores(["kfd"], RESTORE_CALLS)),
    ("faulty_restore_share", faulty_restores(["share"], RESTORE_CALLS)),
    ("killed_dump_kfd", killed_dumps(["kfd"], COORDINATOR, 15)),
    ("killed_dump_share", killed_dumps(["share"], COORDINATOR, 8)),
    ("killed_gpu_worker_kfd", killed_dumps(["kfd"], WORKERS, 15)),
    ("killed_any_worker_kfd", killed_dumps(["kfd"], {"STASIS_KILL_WORKER_AT": "{}"}, 8)),
    ("killed_restore_kfd", killed_restores(["kfd"], {**COORDINATOR, **WORKERS}, 10)),
]
