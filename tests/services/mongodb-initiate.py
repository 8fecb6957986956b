"""Makes the mongod on a port of this machine a replica set of one member and waits until it is the primary.

    python3 mongodb-initiate.py PORT SET_NAME

Doing it twice is fine. Speaks MongoDB's wire protocol itself (OP_MSG and the five BSON types it needs), because neither
mongosh nor a driver is on a fresh machine:
https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#op_msg and https://bsonspec.org/spec.html
"""

import socket
import struct
import sys
import time

OP_MSG = 2013
ALREADY_INITIALIZED = 23
LIMIT_SECONDS = 30.0


def encode(document):
    """Returns a mapping of texts, 32-bit integers, mappings and lists as BSON."""
    body = b""
    for key, value in document.items():
        name = key.encode() + b"\0"
        if isinstance(value, str):
            text = value.encode() + b"\0"
            body += b"\x02" + name + struct.pack("<i", len(text)) + text
        elif isinstance(value, int):
            body += b"\x10" + name + struct.pack("<i", value)
        elif isinstance(value, dict):
            body += b"\x03" + name + encode(value)
        else:
            body += b"\x04" + name + encode({str(i): item for i, item in enumerate(value)})
    return struct.pack("<i", len(body) + 5) + body + b"\0"


FIXED_BYTES = {0x01: 8, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8}


def decode(data):
    """Returns the texts, integers, doubles and booleans on the top level of a BSON document; skips the rest."""
    values, at = {}, 4
    while data[at] != 0:
        kind, end = data[at], data.index(b"\0", at + 1)
        key, at = data[at + 1 : end].decode(), end + 1
        if kind == 0x02:
            size = 4 + struct.unpack_from("<i", data, at)[0]
            values[key] = data[at + 4 : at + size - 1].decode()
        elif kind in (0x03, 0x04):
            size = struct.unpack_from("<i", data, at)[0]
        elif kind == 0x05:
            size = 5 + struct.unpack_from("<i", data, at)[0]
        else:
            size = FIXED_BYTES[kind]
            form = {0x01: "<d", 0x08: "<?", 0x10: "<i", 0x12: "<q"}.get(kind)
            if form:
                values[key] = struct.unpack_from(form, data, at)[0]
        at += size
    return values


def receive(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the server closed the connection")
        data += part
    return data


def command(connection, document):
    """Returns the server's answer to one command on the database `admin`."""
    body = struct.pack("<i", 0) + b"\0" + encode({**document, "$db": "admin"})
    connection.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, OP_MSG) + body)
    (size,) = struct.unpack("<i", receive(connection, 4))
    answer = receive(connection, size - 4)
    return decode(answer[12 + 4 + 1 :])


def main():
    port, name = int(sys.argv[1]), sys.argv[2]
    deadline = time.monotonic() + LIMIT_SECONDS
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_SECONDS) as connection:
        members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
        answer = command(connection, {"replSetInitiate": {"_id": name, "members": members}})
        if not answer["ok"] and answer.get("code") != ALREADY_INITIALIZED:
            sys.exit(f"replSetInitiate on port {port}: {answer}")
        while not command(connection, {"hello": 1}).get("isWritablePrimary"):
            if time.monotonic() > deadline:
                sys.exit(f"the replica set on port {port} has no primary after {LIMIT_SECONDS:.0f} s")
            time.sleep(0.1)


main()
