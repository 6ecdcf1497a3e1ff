"""Inner loops of ARM object files that multiply: instructions, vector operations for every 256 multiply-accumulates, and cycles by llvm-mca where it is installed.

Static figures: a loop in registers and the first-level cache, as the compiler made it. Usage: arm-loops.py OBJECT…
Loops of low-bit weights (lowbit_*.cc.o) are counted per 256 weights. One with a bar in BARS that is above it, or that is not there, makes the exit status 1.
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
INTEGER_MACS = {"smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8, "sdot": 16, "usdot": 16, "smmla": 32, "usmmla": 32}
MACS = INTEGER_MACS | {"fmla": 4}
LEAST_MULTIPLICATIONS = 16  # loops with fewer work on the last rows
# Most vector operations per 256 weights, of those that look up, multiply, mask, shift, move and extract: all but the floats at the end of a chunk and MOVI, which renames a register.
BARS = {("lowbit_dotprod", "dot_rows<4, 1>"): 35, ("lowbit_dotprod", "lut_part<2>"): 26, ("lowbit_dotprod", "lut_part<1>"): 13}
UNCOUNTED = {"movi", "scvtf", "fmla"}
# For comparison, what T-MAC does with 64 looked-up entries, 256 weights of one bit: those of two quads are added in 16 bits, then to the sums.
LOOK_UPS = """
ldp q0, q1, [x0], #32
and v2.16b, v0.16b, v31.16b
ushr v3.16b, v0.16b, #4
and v4.16b, v1.16b, v31.16b
ushr v5.16b, v1.16b, #4
tbl v2.16b, {v16.16b}, v2.16b
tbl v3.16b, {v16.16b}, v3.16b
tbl v4.16b, {v17.16b}, v4.16b
tbl v5.16b, {v17.16b}, v5.16b
saddl v6.8h, v2.8b, v4.8b
saddl2 v7.8h, v2.16b, v4.16b
saddl v8.8h, v3.8b, v5.8b
saddl2 v9.8h, v3.16b, v5.16b
add v20.8h, v20.8h, v6.8h
add v21.8h, v21.8h, v7.8h
add v22.8h, v22.8h, v8.8h
add v23.8h, v23.8h, v9.8h
"""
# 128 entries with their share of the scales, one per 64 columns: eight conversions and multiplications (F16) for every 512 entries.
WIDENING = 2 * LOOK_UPS.strip().split("\n") + ["scvtf v24.8h, v20.8h", "fmla v25.8h, v24.8h, v15.h[0]"]


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
    code = "\n".join(text for text in loop if not mnemonic(text).startswith(("b.", "cb", "tbz", "tbn")))
    arguments = [MCA, "-mtriple=aarch64", f"-mcpu={processor}", "-iterations=200"]  # refuses what the processor lacks
    result = subprocess.run(arguments, input=code, capture_output=True, text=True)
    total = re.search(r"Total Cycles:\s+(\d+)", result.stdout)
    return int(total[1]) / 200 if total else None


def short(name):
    """`tile<4>` of `void lutra::kernels::(anonymous namespace)::tile<4>(unsigned char const*, …)`."""
    plain = re.sub(r"\((?:lutra::kernels::(?:GemmLayout|WeightType)|unsigned char)\)|(?<=\d)u\b", "", name.replace("(anonymous namespace)::", ""))
    return re.sub(r"^.*?::(\w+(<[^(]*>)?)\(.*", r"\1", plain)


def macs_of(counts, macs=MACS):
    return sum(count * counts[one] for one, count in macs.items())


def products(paths):
    head = f"{'object':14} {'function':21} {'MACs':>5} {'instr':>5} {'vector ops / 256 MACs':>22}"
    print(head + ("".join(f"{'MACs/cycle ' + name:>24}" for name in PROCESSORS) if MCA else "   (llvm-mca is not installed)"))
    for path in paths:
        for name, body in functions(path):
            for loop in inner_loops(body):
                counts = Counter(mnemonic(text) for text in loop)
                if sum(counts[one] for one in MACS) < LEAST_MULTIPLICATIONS:
                    continue
                macs = macs_of(counts)
                vector = sum(is_vector(text) for text in loop)
                row = f"{stem(path):14} {short(name):21} {macs:5} {len(loop):5} {256 * vector / macs:22.1f}"
                for processor in PROCESSORS if MCA else ():
                    spent = cycles(loop, processor)
                    row += f"{macs / spent:24.1f}" if spent else f"{'-':>24}"
                print(row)


def weights_of(function, counts):
    """Weights that one round of a loop of low-bit weights takes; 0 for other loops."""
    parts = re.fullmatch(r"(\w+)<(\d+)(?:, (\d+))?>", function)
    if parts is None:
        return 0
    name, bits, rows = parts[1], int(parts[2]), int(parts[3] or 1)
    if name == "lut_part":
        return 64 * counts["tbl"] // bits  # an entry stands for a bit of four weights
    if name == "dot_rows":
        return macs_of(counts, INTEGER_MACS) // rows
    if name == "dot_part":
        return 16 * counts["cmtst"] // bits  # unpacks
    return 0


def cycles_per_256(loop, weights):
    spent = [cycles(loop, processor) for processor in PROCESSORS] if MCA else []
    return "".join(f"{256 * one / weights:14.1f}" if one else f"{'-':>14}" for one in spent)


def low_bit(paths):
    """True when no loop is above its bar and none is missing."""
    print(f"\nper 256 weights {'':15} {'instr':>6} {'counted':>8} {'bar':>4} {'vector':>7}" + "".join(f"{name:>14}" for name in PROCESSORS if MCA))
    for bits in (1, 2, 3, 4):
        vector = [mnemonic(text) for text in WIDENING if is_vector(text)]
        counted = sum(one not in UNCOUNTED for one in vector)
        weights = 512 / bits
        print(f"{'T-MAC':14} {f'widening, {bits} bit':16} {256 * len(WIDENING) / weights:6.0f} {256 * counted / weights:8.1f} {'':4} {256 * len(vector) / weights:7.1f}{cycles_per_256(WIDENING, weights)}")
    missing, above = set(BARS), []
    for path in paths:
        for name, body in functions(path):
            for loop in inner_loops(body):
                counts = Counter(mnemonic(text) for text in loop)
                weights = weights_of(short(name), counts)
                if weights == 0:
                    continue
                vector = [mnemonic(text) for text in loop if is_vector(text)]
                counted = 256 * sum(one not in UNCOUNTED for one in vector) / weights
                key = (stem(path), short(name))
                bar = BARS.get(key)
                print(f"{key[0]:14} {key[1]:16} {256 * len(loop) / weights:6.0f} {counted:8.1f} {bar or '':>4} {256 * len(vector) / weights:7.1f}{cycles_per_256(loop, weights)}")
                missing.discard(key)
                if bar is not None and counted > bar:
                    above.append(f"{' '.join(key)}: {counted:.1f} vector operations per 256 weights, at most {bar}")
    problems = above + [f"{' '.join(key)}: no such loop" for key in sorted(missing)]
    for one in problems:
        print(one, file=sys.stderr)
    return not problems


def stem(path):
    return re.sub(r"\.cc\.o$", "", path.rsplit("/", 1)[-1])


def main(paths):
    products([path for path in paths if not stem(path).startswith("lowbit_")])
    return 0 if low_bit([path for path in paths if stem(path).startswith("lowbit_")]) else 1


sys.exit(main(sys.argv[1:]))
