#!/usr/bin/env python3
"""Stands in for a Python with hcrs: behaves as the app's name says and reports to the test what it does.

The app is BEHAVIOR:SOCKET; each thing done is a line to the unix socket.
"""

import os
import socket
import struct
import sys
import time

READY, FAILED, FINISHED = 64, 65, 67
STOPPING, DRAIN = 10, 11

assert sys.argv[1] == "-c", sys.argv
if "--links" not in sys.argv:
    sys.exit(0)
behavior, _, path = sys.argv[3].partition(":")
options = dict(zip(sys.argv[4::2], sys.argv[5::2], strict=False))
links = [socket.socket(fileno=int(pair.split(":")[0])) for pair in options["--links"].split(",")]
test = socket.socket(socket.AF_UNIX)
test.connect(path)


def tell(what):
    test.sendall(f"{what} {os.getpid()}\n".encode())


def send(kind, payload=b""):
    for link in links:
        link.sendall(struct.pack("<IBBHQ", len(payload), kind, 0, 0, 0) + payload)


def read_frame(link):
    header = link.recv(16, socket.MSG_WAITALL)
    if len(header) < 16:
        return None
    length, kind = struct.unpack("<IB", header[:5])
    link.recv(length, socket.MSG_WAITALL)
    return kind


def read_drain(link):
    return read_frame(link) == STOPPING and read_frame(link) == DRAIN


tell("started")
if behavior == "fail":
    send(FAILED, b"Traceback: no such app")
    sys.exit(1)
if behavior == "mute":
    sys.exit(3)
if behavior == "sleep":
    time.sleep(60)
send(READY)
tell("ready")
drained = all(list(map(read_drain, links)))
tell("drained" if drained else "edge-lost")
if behavior == "stubborn":
    time.sleep(60)
if behavior == "slow":
    send(FINISHED)
    time.sleep(4)
sys.exit(4 if behavior == "bad-end" else 0)
