#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""manager.py - a manager of multiprocessing, pipes of socket pairs, descriptors passed on.

usage: manager.py FILE

A manager's process serves a dictionary and a list over a unix socket. Two workers ask for
numbers over a pair of sockets, store squares through the manager, and hand an open
descriptor of FILE back and forth. Appends "N square" to FILE for ever.
"""
import multiprocessing
import multiprocessing.reduction
import os
import sys
import time


def work(pipe, squares, parent):
    while True:
        number = pipe.recv()
        out = multiprocessing.reduction.recv_handle(pipe)
        squares[number] = number * number
        os.write(out, f"{number} {squares[number]}\n".encode())
        multiprocessing.reduction.send_handle(pipe, out, parent)
        os.close(out)


def main():
    manager = multiprocessing.Manager()
    squares, seen = manager.dict(), manager.list()
    out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    workers = []
    for _ in range(2):
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.Process(target=work, args=(theirs, squares, os.getpid()),
                                        daemon=True)
        child.start()
        workers.append((ours, child.pid))
    number = 0
    while True:
        number += 1
        pipe, pid = workers[number % 2]
        pipe.send(number)
        multiprocessing.reduction.send_handle(pipe, out, pid)
        os.close(out)
        out = multiprocessing.reduction.recv_handle(pipe)
        seen.append(squares.pop(number))
        if len(seen) != number or len(squares):
            sys.exit(f"the manager has {len(seen)} answers after {number} questions")
        time.sleep(0.005)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main()
