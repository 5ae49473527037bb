#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""workers.py - threads that each talk to a subprocess of their own.

usage: workers.py FILE

Each of four threads keeps a child (another Python) that squares numbers read
from a pipe. The main thread appends "N square" to FILE.
"""
import concurrent.futures
import subprocess
import sys
import time

CHILD = """
import sys
for line in sys.stdin:
    print(int(line) ** 2, flush=True)
"""


def main():
    children = [subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True, bufsize=1)
                for _ in range(4)]

    def square(number):
        child = children[number % 4]
        child.stdin.write(f"{number}\n")
        child.stdin.flush()
        return child.stdout.readline().strip()

    with concurrent.futures.ThreadPoolExecutor(4) as pool, \
            open(sys.argv[1], "a", buffering=1, encoding="ascii") as out:
        number = 0
        while True:
            batch = list(range(number + 1, number + 5))
            for one, answer in zip(batch, pool.map(square, batch)):
                out.write(f"{one} {answer}\n")
            number += 4
            time.sleep(0.02)


if __name__ == "__main__":
    main()
