"""Writes bionic-28.txt anew: `bionic.py GIT_REPOSITORY >bionic-28.txt`, for a clone of Android's platform/bionic.

What an arm64 process finds in the C library of Android 9 (API 28), and which system calls an app may make there.
"""

import re
import subprocess
import sys

TAG = "android-9.0.0_r1"
LIBRARIES = ("libc", "libm", "libdl")
OTHER_MACHINES = {"arm", "x86", "x86_64", "mips", "mips64"}


def show(repository: str, path: str) -> list[str]:
    return subprocess.run(["git", "-C", repository, "show", f"{TAG}:{path}"], check=True, capture_output=True, text=True).stdout.splitlines()


def symbols(lines: list[str]) -> set[str]:
    """Names of a linker map that a program for arm64 may link against."""
    names, private, local = set(), False, False
    for line in lines:
        code, _, tags = line.partition("#")
        words = set(tags.split())
        if code.rstrip().endswith("{"):
            private = bool(re.match(r"\w+_(PLATFORM|PRIVATE|DEPRECATED)\b", code))
            local = False
        elif code.strip() in ("local:", "global:"):
            local = code.strip() == "local:"
        elif (match := re.match(r"\s+(\w+);", code)) and not private and not local:
            if "arm64" in words or not words & OTHER_MACHINES:
                names.add(match[1])
    return names


def calls(lines: list[str]) -> set[str]:
    """System calls of a list `[type] function[|alias…][:call](parameters) machines` that arm64 has."""
    names = set()
    for line in lines:
        match = re.match(r"(?:\S+\s+)?([\w|]+)(?::([^(]*?)(?::\d+)?)?\(.*\)\s+(\S+)$", line.split("#")[0].strip())
        if match and {"all", "arm64"} & set(match[3].split(",")):
            names.add((match[2] or match[1].split("|")[0]).split()[-1])
    return names


def main(repository: str) -> None:
    lists = {name: calls(show(repository, f"libc/{name}.TXT")) for name in (
        "SYSCALLS", "SECCOMP_WHITELIST_COMMON", "SECCOMP_WHITELIST_APP", "SECCOMP_BLACKLIST_COMMON", "SECCOMP_BLACKLIST_APP")}
    allowed = lists["SYSCALLS"] - lists["SECCOMP_BLACKLIST_COMMON"] - lists["SECCOMP_BLACKLIST_APP"]
    allowed |= lists["SECCOMP_WHITELIST_COMMON"] | lists["SECCOMP_WHITELIST_APP"]
    print(f"# Android 9 (API 28), arm64: names from the linker maps and the lists of system calls of bionic at {TAG}. Made by bionic.py.")
    for library in LIBRARIES:
        print(f"\n[{library}]")
        print("\n".join(sorted(symbols(show(repository, f"{library}/{library}.map.txt")))))
    print("\n# What the filter of an app lets pass; anything else ends the process.\n[calls]")
    print("\n".join(sorted(allowed)))


if __name__ == "__main__":
    main(sys.argv[1])
