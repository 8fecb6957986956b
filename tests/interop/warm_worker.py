"""Runs jobs as `jf -fe execution run DIR` of jobflow-remote does, without starting a Python for each: 1 s of imports less.

    python warm_worker.py serve SOCKET     imports once, then forks for each job
    python -I -S warm_worker.py run SOCKET DIR

The second is a worker's `execution_cmd`. What the job does is jobflow-remote's own `run_remote_job`, in a process of its own
with the directory, environment and outputs of the caller.
"""

import array
import json
import os
import signal
import socket
import sys


def ask(path, folder):
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    message = json.dumps({"folder": folder, "cwd": os.getcwd(), "environment": dict(os.environ)}).encode()
    descriptors = array.array("i", [0, 1, 2])
    server.sendmsg([len(message).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    server.sendall(message)
    answer = server.recv(1)
    # Without an answer the process was killed.
    sys.exit(answer[0] if answer else 137)


def receive(caller):
    descriptors = array.array("i")
    room = socket.CMSG_LEN(3 * descriptors.itemsize)
    length, ancillary, _, _ = caller.recvmsg(8, room)
    for _, _, data in ancillary:
        descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    message = b""
    while len(message) < int.from_bytes(length, "big"):
        message += caller.recv(1 << 20)
    return json.loads(message), list(descriptors)


def run(caller):
    from jobflow_remote.jobs.run import run_remote_job

    message, descriptors = receive(caller)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.environ.clear()
    os.environ.update(message["environment"])
    sys.path[:0] = [folder for folder in os.environ.get("PYTHONPATH", "").split(":") if folder]
    os.chdir(message["cwd"])
    run_remote_job(message["folder"])
    sys.stdout.flush()
    sys.stderr.flush()
    caller.sendall(b"\0")


def serve(path):
    # What a job needs before its first line.
    import jobflow_remote.jobs.run  # noqa: F401
    import numpy  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(256)
    print("ready", flush=True)
    while True:
        caller, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            code = 1
            try:
                run(caller)
                code = 0
            finally:
                os._exit(code)
        caller.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        ask(sys.argv[2], sys.argv[3])
