"""Inner loops of ARM object files that multiply: instructions, vector operations for every 256 multiply-accumulates, and cycles by llvm-mca where it is installed.

Static figures: a loop in registers and the first-level cache, as the compiler made it. Usage: arm-loops.py OBJECT…
"""

import re
import shutil
import subprocess
import sys
from collections import Counter

OBJDUMP = "aarch64-linux-gnu-objdump"
MCA = shutil.which("llvm-mca-19") or shutil.which("llvm-mca")
PROCESSORS = ("cortex-a57", "neoverse-n1", "neoverse-n2", "neoverse-v2")
# Multiply-accumulates of one instruction on 128 bits.
MACS = {"smull": 8, "smull2": 8, "sdot": 16, "usdot": 16, "smmla": 32, "usmmla": 32, "fmla": 4}
LEAST_MULTIPLICATIONS = 16  # loops with fewer work on the last rows


def functions(path):
    """(name, [(address, text)]) of every function."""
    listing = subprocess.run([OBJDUMP, "-d", "-C", "--no-show-raw-insn", path], check=True, capture_output=True, text=True).stdout
    name, body = "", []
    for line in listing.splitlines():
        if start := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            if body:
                yield name, body
            name, body = start[1], []
        elif instruction := re.match(r"\s+([0-9a-f]+):\s+(.*)", line):
            body.append((int(instruction[1], 16), instruction[2].split("//")[0].strip()))
    if body:
        yield name, body


def inner_loops(body):
    """Instructions of every loop that holds no other one."""
    index = {address: i for i, (address, _) in enumerate(body)}
    spans = []
    for i, (_, text) in enumerate(body):
        back = re.match(r"(?:b\.\w+|cbn?z|tbn?z)\s.*?\b([0-9a-f]+) <", text)
        if back and index.get(int(back[1], 16), i + 1) <= i:
            spans.append((index[int(back[1], 16)], i))
    for first, last in spans:
        if not any(other != (first, last) and first <= other[0] and other[1] <= last for other in spans):
            yield [text for _, text in body[first : last + 1]]


def mnemonic(text):
    return text.split()[0]


def is_vector(text):
    """An operation of the vector units; loads and stores have units of their own."""
    return re.search(r"\bv\d+\.", text) is not None and not re.match(r"(ld|st)", text)


def cycles(loop, processor):
    code = "\n".join(text for text in loop if not mnemonic(text).startswith(("b.", "cb", "tb")))
    arguments = [MCA, "-mtriple=aarch64", f"-mcpu={processor}", "-iterations=200"]  # refuses what the processor lacks
    result = subprocess.run(arguments, input=code, capture_output=True, text=True)
    total = re.search(r"Total Cycles:\s+(\d+)", result.stdout)
    return int(total[1]) / 200 if total else None


def short(name):
    """`tile<4>` of `void lutra::kernels::(anonymous namespace)::tile<4>(unsigned char const*, …)`."""
    plain = name.replace("(anonymous namespace)::", "").replace("(lutra::kernels::GemmLayout)", "")
    return re.sub(r"^.*?::(\w+(<[^(]*>)?)\(.*", r"\1", plain)


def main(paths):
    head = f"{'object':14} {'function':12} {'MACs':>5} {'instr':>5} {'vector ops / 256 MACs':>22}"
    print(head + ("".join(f"{'MACs/cycle ' + name:>24}" for name in PROCESSORS) if MCA else "   (llvm-mca is not installed)"))
    for path in paths:
        for name, body in functions(path):
            for loop in inner_loops(body):
                counts = Counter(mnemonic(text) for text in loop)
                if sum(counts[one] for one in MACS) < LEAST_MULTIPLICATIONS:
                    continue
                macs = sum(count * counts[one] for one, count in MACS.items())
                vector = sum(is_vector(text) for text in loop)
                row = f"{re.sub(r'.cc.o$', '', path.rsplit('/', 1)[-1]):14} {short(name):12} {macs:5} {len(loop):5} {256 * vector / macs:22.1f}"
                for processor in PROCESSORS if MCA else ():
                    spent = cycles(loop, processor)
                    row += f"{macs / spent:24.1f}" if spent else f"{'-':>24}"
                print(row)


main(sys.argv[1:])
