"""Holds a prebuilt addon to what the package promises: `check-prebuild.py TARGET FILE`.

Reads the file with binutils' readelf, whatever machine it is for. Prints one line of facts; exit code 1 and one line per broken promise otherwise.
"""

import re
import subprocess
import sys
from pathlib import Path

MAX_BYTES = 4_000_000
GLIBC = (2, 28)
EXPORTS = {"napi_register_module_v1", "node_api_module_get_api_version_v1"}
# 16 KiB pages: Android from 15 on, and some ARM servers and laptops. The linker's 64 KiB for other ARM systems are as good.
PAGE = {"X86-64": 4096, "AArch64": 16384}
TARGETS = {
    "linux-x64": ("X86-64", {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "ld-linux-x86-64.so.2"}),
    "linux-arm64": ("AArch64", {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "ld-linux-aarch64.so.1"}),
    "android-arm64": ("AArch64", {"libc.so", "libm.so", "libdl.so"}),
}


def readelf(*arguments: str) -> str:
    return subprocess.run(["readelf", "-W", *arguments], check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}).stdout


def symbols(file: str) -> tuple[set[str], set[str]]:
    """Names (with @VERSION where there is one) that the file exports and that it imports."""
    exported, imported = set(), set()
    for line in readelf("--dyn-syms", file).splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[0].endswith(":") and fields[4] in ("GLOBAL", "WEAK"):
            (imported if fields[6] == "UND" else exported).add(fields[7])
    return exported, imported


def check(target: str, file: str) -> tuple[list[str], str]:
    machine, libraries = TARGETS[target]
    broken = []
    header, dynamic = readelf("-h", file), readelf("-d", file)
    if machine not in (re.search(r"Machine:\s+(.*)", header) or [""])[0]:
        broken.append(f"is not for {machine}")
    size = Path(file).stat().st_size
    if size > MAX_BYTES:
        broken.append(f"has {size} bytes, more than {MAX_BYTES}")
    if re.search(r"\.(debug_info|symtab)\b", readelf("-S", file)):
        broken.append("is not stripped")

    needed = set(re.findall(r"\(NEEDED\)\s+Shared library: \[(.*?)\]", dynamic))
    if needed - libraries:
        broken.append(f"needs {', '.join(sorted(needed - libraries))}: only {', '.join(sorted(libraries))} are there everywhere")
    if re.search(r"\((RPATH|RUNPATH)\)", dynamic):
        broken.append("has a run path, which names a folder of the machine that built it")
    if "NODELETE" not in dynamic:
        broken.append("can be unloaded while its threads run: it is not linked with -z nodelete")

    exported, imported = symbols(file)
    if exported != EXPORTS:
        broken.append(f"exports {', '.join(sorted(exported ^ EXPORTS))} that it should not, or not what it should")
    versions = {tuple(map(int, version.split("."))) for name in imported for version in re.findall(r"@GLIBC_([0-9.]+)", name)}
    newest = max(versions, default=(0,))
    if newest > GLIBC:
        late = sorted(name for name in imported for version in re.findall(r"@GLIBC_([0-9.]+)", name) if tuple(map(int, version.split("."))) > GLIBC)
        broken.append(f"needs glibc above {'.'.join(map(str, GLIBC))}: {', '.join(late)}")
    foreign = sorted(name for name in imported if name.startswith(("_Z", "__cxa_throw", "__gxx_", "_Unwind_")))
    if foreign:
        broken.append(f"expects C++ of others, its own or that of the system: {', '.join(foreign[:5])}")

    aligned = [int(value, 16) for value in re.findall(r"^\s+LOAD\s.*\s(0x[0-9a-f]+)$", readelf("-l", file), re.MULTILINE)]
    if not aligned or any(value % PAGE[machine] for value in aligned):
        broken.append(f"has segments aligned to {sorted(set(aligned))} bytes: a multiple of {PAGE[machine]} is needed")
    facts = f"{size / 1e6:.2f} MB, " + (f"glibc {'.'.join(map(str, newest))}, " if versions else "") + f"segments aligned to {min(aligned, default=0)}"
    return broken, facts


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in TARGETS:
        print(f"check-prebuild: use check-prebuild.py {'|'.join(TARGETS)} FILE", file=sys.stderr)
        return 1
    broken, facts = check(*arguments)
    for line in broken:
        print(f"check-prebuild: {arguments[1]} {line}", file=sys.stderr)
    if not broken:
        print(f"   {arguments[0]}: {facts}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
