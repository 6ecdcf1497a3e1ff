"""Runs a command under the system call filter of an Android app: `android-filter.py COMMAND [ARGUMENT…]`.

The list is that of Android 9 (bionic-28.txt), by name. On x86-64 the older calls that ARM never had pass where what ARM has in their place passes. Whatever is not on the list
ends the process with SIGSYS, as there; only what glibc or Node's own libraries try on this system, and Android's do not, fails with ENOSYS. Linux on x86-64 and arm64.
"""

import ctypes
import os
import platform
import re
import struct
import subprocess
import sys
from pathlib import Path

# x86-64 → what does the same on ARM.
OLDER = {
    "open": "openat", "creat": "openat", "stat": "newfstatat", "lstat": "newfstatat", "access": "faccessat", "pipe": "pipe2", "dup2": "dup3", "poll": "ppoll",
    "select": "pselect6", "epoll_wait": "epoll_pwait", "epoll_create": "epoll_create1", "eventfd": "eventfd2", "inotify_init": "inotify_init1", "readlink": "readlinkat",
    "unlink": "unlinkat", "rmdir": "unlinkat", "mkdir": "mkdirat", "rename": "renameat", "link": "linkat", "symlink": "symlinkat", "chmod": "fchmodat", "chown": "fchownat",
    "getdents": "getdents64", "fork": "clone", "vfork": "clone", "getpgrp": "getpgid", "time": "gettimeofday", "alarm": "setitimer", "utime": "utimensat",
}
# Not calls of their own on ARM: the thread pointer is a register there.
REGISTERS = {"arch_prctl"}
# Tried and done without: by glibc (set_robust_list, rseq, clone3), libuv (io_uring, statx), V8 (pkey_alloc, membarrier), qemu-user (get_mempolicy).
ABSENT = {"set_robust_list", "get_robust_list", "rseq", "clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "statx", "pkey_alloc", "pkey_mprotect", "pkey_free",
          "membarrier", "get_mempolicy", "faccessat2", "close_range", "openat2"}

LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, KILL, ERRNO, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000, 38
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2


def allowed_names() -> set[str]:
    text = Path(__file__).with_name("bionic-28.txt").read_text(encoding="utf-8")
    return set(text.split("[calls]\n")[1].split())


def numbers() -> dict[str, int]:
    """Name → number of this machine's system calls, as the headers of the compiler have them."""
    macros = subprocess.run(["cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)$", macros, re.MULTILINE)}


def program() -> bytes:
    """The filter as BPF instructions {code, jump if true, jump if false, constant}."""
    allowed, calls = allowed_names(), numbers()
    passes = [number for name, number in calls.items() if name in allowed or OLDER.get(name) in allowed or name in REGISTERS]
    fails = [number for name, number in calls.items() if name in ABSENT and name not in allowed]
    code = [(LOAD, 0, 0, 4), (JUMP_EQUAL, 1, 0, ARCHITECTURE[platform.machine()]), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    for verdict, listed in ((ALLOW, passes), (ERRNO | ENOSYS, fails)):
        for number in sorted(listed):
            code += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, verdict)]
    code.append((RETURN, 0, 0, KILL))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def main(command: list[str]) -> None:
    if not command or platform.machine() not in ARCHITECTURE:
        sys.exit("android-filter: use android-filter.py COMMAND [ARGUMENT…], on x86-64 or arm64")
    instructions = ctypes.create_string_buffer(program())
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(instructions)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0) != 0:
        sys.exit(f"android-filter: the kernel refuses the filter: {os.strerror(ctypes.get_errno())}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
