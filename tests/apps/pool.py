#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""pool.py - a pool of processes, with the queues and locks of multiprocessing.

usage: pool.py FILE

Appends "N square" to FILE for ever; three processes compute, a lock and a shared
counter say that each answer was computed once.
"""
import multiprocessing
import sys
import time


def work(questions, answers, lock, counter):
    while True:
        number = questions.get()
        with lock:
            counter.value += 1
        answers.put((number, number * number))


def main():
    questions, answers = multiprocessing.Queue(), multiprocessing.Queue()
    lock, counter = multiprocessing.Lock(), multiprocessing.Value("Q", 0, lock=False)
    for _ in range(3):
        multiprocessing.Process(target=work, args=(questions, answers, lock, counter),
                                daemon=True).start()
    number = 0
    with open(sys.argv[1], "a", buffering=1, encoding="ascii") as out:
        while True:
            asked = range(number + 1, number + 6)
            for question in asked:
                questions.put(question)
            got = dict(answers.get() for _ in asked)
            number += 5
            if counter.value != number:
                sys.exit(f"{counter.value} answers to {number} questions")
            for question in asked:
                out.write(f"{question} {got[question]}\n")
            time.sleep(0.01)


if __name__ == "__main__":
    main()
