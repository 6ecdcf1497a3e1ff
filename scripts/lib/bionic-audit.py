"""Looks for what Android 9 (API 28) does not have among what our objects for 64-bit ARM need: `bionic-audit.py BUILD`, the folder of CMake's build for linux-arm64.

The objects are compiled against glibc, before the C++ library is linked: what they leave undefined is what our code calls. It may be another object's, Node's (napi_*), the C++
library's, which the NDK links statically, or of bionic-28.txt. glibc's headers turn some names into others; what bionic's headers make of the same source stands in RENAMED.
"""

import re
import subprocess
import sys
from pathlib import Path

# glibc's name → bionic's. Clang makes bcmp of memcmp for glibc and musl only; atexit is in the NDK's start files, which call __cxa_atexit.
RENAMED = {"__errno_location": "__errno", "__ctype_tolower_loc": "tolower", "bcmp": "memcmp", "atexit": "__cxa_atexit"}
# Of the C++ library and its run-time support, and of the linker.
NDK = re.compile(r"_Z(N?K?St|T[ISVT]|n[aw]|d[al])|__cxa_(?!atexit|thread_atexit_impl|finalize)|__dynamic_cast$|__gxx_personality_v0$|_Unwind_|__dso_handle$|_GLOBAL_OFFSET_TABLE_$|__aarch64_|__clear_cache$")
NODE = re.compile(r"(napi|node_api)_")


def symbols(objects: list[Path]) -> tuple[set[str], set[str]]:
    """Names that any of the objects defines, and names that any leaves undefined."""
    defined, undefined = set(), set()
    output = subprocess.run(["readelf", "-sW", *map(str, objects)], check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}).stdout
    for line in output.splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[0].endswith(":") and fields[4] in ("GLOBAL", "WEAK"):
            (undefined if fields[6] == "UND" else defined).add(fields[7])
    return defined, undefined


def available() -> set[str]:
    text = Path(__file__).with_name("bionic-28.txt").read_text(encoding="utf-8").split("[calls]")[0]
    return {line for line in text.splitlines() if line and line[0] not in "#["}


def main(build: str) -> int:
    objects = [path for path in sorted(Path(build, "CMakeFiles").rglob("*.o")) if "native" in path.parts]
    if len(objects) < 100:
        print(f"bionic-audit: only {len(objects)} objects below {build}: build linux-arm64 first (scripts/prebuild linux-arm64)", file=sys.stderr)
        return 1
    defined, undefined = symbols(objects)
    names = {RENAMED.get(name, name) for name in undefined - defined if not NDK.match(name) and not NODE.match(name)}
    missing = sorted(names - available())
    for name in missing:
        print(f"bionic-audit: {name} is not in Android 9 (API 28)", file=sys.stderr)
    print(f"   {len(objects)} objects need {len(names)} functions of the C library: {len(missing)} of them are not in Android 9")
    return 1 if missing else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("bionic-audit: use bionic-audit.py BUILD")
    sys.exit(main(sys.argv[1]))
