"""Jobs for a crew; they must be importable by its processes."""

import os
import time


def told_and_sleeping(context, tell, clock):
    tell("process", 0.0, str(os.getpid()))
    time.sleep(60)


def tripled(context, tell, clock, number):
    return context * number, os.getpid()
