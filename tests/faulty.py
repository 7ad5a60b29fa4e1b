"""Programs that do with netlink what people do, in plain sockets, and a doctor finds."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from printed import Printed

if TYPE_CHECKING:
    from collections.abc import Iterator

_BEGINNING: Final = """
import ctypes, os, signal, socket, struct, sys, threading

def opened(protocol, groups=0):
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    sock.bind((0, groups))
    return sock

def ready(*words):
    print(os.getpid(), *words, flush=True)
"""

#: The buffer that is copied from the web, on a listener for devices.
COPIED_BUFFER: Final = """
sock = opened(15)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
sock.setsockopt(270, 1, 1)
ready(sock.getsockname()[0])
signal.pause()
"""

#: A listener to a group, with room for little, who does not read.
DEAF: Final = """
sock = opened(2)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
sock.setsockopt(270, 1, 5)
ready(sock.getsockname()[0])
signal.pause()
"""

#: Nobody reads what is queued.
UNREAD: Final = """
queue, sender = opened(2), opened(2)
sender.sendto(bytes(100), (queue.getsockname()[0], 0))
ready(queue.getsockname()[0])
signal.pause()
"""

#: A dump of more than one chunk, of which the kernel keeps every one back: it runs on.
STALLED_DUMP: Final = """
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(100)]
sock = opened(4)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
drop_all = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
sock.setsockopt(socket.SOL_SOCKET, 26, bytes(Program(1, ctypes.addressof(drop_all))))
request = struct.pack("=BBBxI", 2, 6, 0, 0xFFF) + bytes(48)
sock.sendto(struct.pack("=IHHII", 16 + len(request), 20, 0x301, 1, 0) + request, (0, 0))
ready(sock.getsockname()[0])
sock.recv(65536)
"""

#: It waits for the answer to a question that was never asked.
HANGING: Final = """
sock = opened(int(sys.argv[1]))
ready(sock.getsockname()[0])
sock.recv(65536)
"""

#: It sends to whom it is told until it sleeps there: by sendto, by sendmsg, or connected.
SENDER: Final = """
port_id, how = int(sys.argv[1]), sys.argv[2]
sock = opened(2)
if how == "connected":
    sock.connect((port_id, 0))
ready(sock.getsockname()[0])
while True:
    if how == "sendto":
        sock.sendto(bytes(1000), (port_id, 0))
    elif how == "sendmsg":
        sock.sendmsg([bytes(1000)], [], 0, (port_id, 0))
    else:
        os.write(sock.fileno(), bytes(1000))
"""

#: One of several that send to one another, and whose only thread never comes to read.
RING: Final = """
own, target = map(int, sys.argv[1:3])
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2)
sock.bind((own, 0))
ready(own)
sys.stdin.readline()
while True:
    sock.sendto(bytes(1000), (target, 0))
"""

#: Its first thread has ended, and another sends.
WITHOUT_A_FIRST_THREAD: Final = """
port_id = int(sys.argv[1])
sock = opened(2)

def send():
    while True:
        sock.sendto(bytes(1000), (port_id, 0))

sender = threading.Thread(target=send)
sender.start()
ready(sock.getsockname()[0], sender.native_id)
while "netlink_attachskb" not in open(f"/proc/self/task/{sender.native_id}/wchan").read():
    os.sched_yield()
ctypes.CDLL(None).pthread_exit(None)
"""

#: No fault: one thread reads what another one asks for, now and then.
ASKS_NOW_AND_THEN: Final = """
sock = opened(0)
reader = threading.Thread(target=sock.recv, args=(65536,), daemon=True)
reader.start()
ready(sock.getsockname()[0], reader.native_id)
signal.pause()
"""

#: Who sleeps in nothing, and reads nothing.
SLEEPER: Final = """
queue = opened(2)
ready(queue.getsockname()[0])
signal.pause()
"""

#: The third story: one thread holds the lock and sends to the queue, whose reader waits for it.
#: The lock is a mutex, or a lock for writing, of the C library; or one of Python, in which nothing
#: says who has it.
DEADLOCKED: Final = """
kind = sys.argv[1]
libc = ctypes.CDLL(None)
room = ctypes.create_string_buffer(256)
at = ctypes.c_void_p(ctypes.addressof(room) + (-ctypes.addressof(room)) % 64)
python_lock = threading.Lock()
take, take_too = {
    "mutex": (lambda: libc.pthread_mutex_lock(at),) * 2,
    "rwlock": (lambda: libc.pthread_rwlock_wrlock(at), lambda: libc.pthread_rwlock_rdlock(at)),
    "python": (python_lock.acquire, python_lock.acquire),
}[kind]
queue, sender = opened(2), opened(2)
holding = threading.Event()

def read():
    holding.wait()
    take_too()
    queue.recv(2000)

def alarm():
    take()
    holding.set()
    while True:
        sender.sendto(bytes(1000), queue.getsockname())

reader = threading.Thread(target=read, daemon=True)
alarms = threading.Thread(target=alarm, daemon=True)
reader.start()
alarms.start()
ready(queue.getsockname()[0], reader.native_id, alarms.native_id)
signal.pause()
"""


#: No fault: it dumps again and again.
DUMPS_ALL_THE_TIME: Final = """
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(300)]
sock = opened(4)
request = struct.pack("=BBBxI", 2, 6, 0, 0xFFF) + bytes(48)
ready(sock.getsockname()[0])
while True:
    sock.sendto(struct.pack("=IHHII", 16 + len(request), 20, 0x301, 1, 0) + request, (0, 0))
    while struct.pack("=IH", 20, 3) not in sock.recv(65536):
        pass
"""

#: No fault: a queue that is read, and full of what is not read yet.
TALKS_ALL_THE_TIME: Final = """
queue = opened(2)
ready(queue.getsockname()[0])
for _ in range(20):
    queue.sendto(bytes(1000), queue.getsockname())
while True:
    queue.sendto(bytes(1000), queue.getsockname())
    queue.recv(2000)
"""


#: The same, with a thread in a pool that has nothing to do: it waits in a futex, too.
DEADLOCKED_WITH_A_POOL: Final = f"""
threading.Thread(target=threading.Event().wait, daemon=True).start()
{DEADLOCKED}
"""


@contextlib.contextmanager
def running(program: str, *arguments: object) -> Iterator[list[int]]:
    """A program, with what it says when its fault is there: its pid, and more."""
    with started(program, *arguments) as (told, _):
        yield told


@contextlib.contextmanager
def started(
    program: str, *arguments: object, within: tuple[str, ...] = ()
) -> Iterator[tuple[list[int], subprocess.Popen[bytes]]]:
    """The same, with the program itself; ``within`` is a command that runs it."""
    command = [*within, sys.executable, "-c", _BEGINNING + program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield list(map(int, Printed(process).next().split())), process
        finally:
            process.kill()
