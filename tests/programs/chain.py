#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""chain.py - a program whose interruption could be seen.

usage: chain.py FILE [THREADS]

Threads (default 4) each hold a hash chain; one main loop asks each in turn for
the next link and appends "N thread hash" to FILE every 10 ms. Link N is
sha256(link N-1 of that thread + N), so a line lost, doubled or computed from
damaged memory shows: chain_check.py verifies a whole file. The program checks
itself too: each thread keeps all its links and recomputes a random one.

Alone:  python3 tests/programs/chain.py /tmp/chain & sleep 5; kill $!
        python3 tests/programs/chain_check.py /tmp/chain
"""
import hashlib
import os
import queue
import random
import sys
import threading
import time


def link(previous, number):
    return hashlib.sha256(previous + number.to_bytes(8, "little")).digest()


def worker(index, requests, answers):
    """Answer each request with the next link of this thread's chain."""
    links = [hashlib.sha256(b"stasis %d" % index).digest()]
    while True:
        number = requests.get()
        if number is None:
            return
        links.append(link(links[-1], number))
        spot = random.randrange(1, len(links))
        if len(links) > 2000:
            del links[:1000]
            spot = random.randrange(1, len(links))
        # the number of an earlier link follows from its distance
        step = len(threads)
        if links[spot] != link(links[spot - 1], number - (len(links) - 1 - spot) * step):
            answers.put((number, index, "damaged"))
        answers.put((number, index, links[-1].hex()))


threads = []


def main():
    path = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    answers = queue.Queue()
    inboxes = [queue.Queue() for _ in range(count)]
    for index in range(count):
        thread = threading.Thread(target=worker, args=(index, inboxes[index], answers),
                                  daemon=True)
        threads.append(thread)
    for thread in threads:
        thread.start()
    number = 0
    with open(path, "a", buffering=1, encoding="ascii") as out:
        while True:
            number += 1
            inboxes[number % count].put(number)
            got, index, text = answers.get(timeout=60)
            if got != number or index != number % count:
                text = "disorder"
            out.write(f"{number} {index} {text}\n")
            time.sleep(0.01)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        os._exit(0)
