"""Instructions and packets of the HVX kernels per 1,024 weights, counted in the disassembly.

A packet is what the processor issues at once, so the count of packets bounds the cycles from below. Nops and constant extenders are no instructions. Usage: hvx-loops.py FOLDER
What is above its bar, or not there, makes the exit status 1.
"""

import re
import subprocess
import sys
from collections import namedtuple

Word = namedtuple("Word", "address texts starts ends")  # `texts`: its instructions; whether it starts a packet, ends a hardware loop

ROWS, CHUNK = 64, 64 * 32
OFFSETS = ("symmetric", "minimum", "zero point")
# Part: (object, function), whether its inner loop counts or all of it, weights that this works on.
PARTS = {
    "sums, 2 bits": (("hvx_gemv", "tile_product<2>"), "loop", ROWS * 16),
    "sums, 4 bits": (("hvx_gemv", "tile_product<4>"), "loop", ROWS * 16),
    **{f"end, {offset}, group {group}": (("hvx_gemv", f"add_group<{i}>"), "all", ROWS * group) for i, offset in enumerate(OFFSETS) for group in (32, 64, 128)},
    "codes, 2 bits": (("hvx_dequantize", "codes_of<2>"), "all", CHUNK),
    "codes, 4 bits": (("hvx_dequantize", "codes_of<4>"), "all", CHUNK),
    "values, group 32": (("hvx_dequantize", "write_rows<4, true>"), "loop", 8 * 128),
    "values, group 64": (("hvx_dequantize", "write_rows<2, true>"), "loop", 8 * 128),
    "values, group 128": (("hvx_dequantize", "write_rows<1, true>"), "loop", 8 * 128),
    **{f"tables, {bits} bits, {offset}, group {group}": (("hvx_dequantize", f"group_tables<{bits}, {i}>"), "all", ROWS * group) for bits in (2, 4) for i, offset in enumerate(OFFSETS) for group in (32, 64, 128)},
}
# Kernels: parts, most instructions and packets.
KERNELS = {
    "product, 2 bits, inner loop": (["sums, 2 bits"], 16, 7),
    "product, 4 bits, inner loop": (["sums, 4 bits"], 30, 13),
    **{
        f"product, {bits} bits, {offset}, group {group}": ([f"sums, {bits} bits", f"end, {offset}, group {group}"], *bars)
        for offset, group, bits, bars in (
            ("symmetric", 128, 2, (24, 10)),
            ("minimum", 32, 2, (64, 30)),
            ("symmetric", 128, 4, (37, 17)),
            ("minimum", 32, 4, (77, 37)),
        )
    },
    **{
        f"dequantisation, {bits} bits, {offset}, group {group}": ([f"codes, {bits} bits", f"values, group {group}", f"tables, {bits} bits, {offset}, group {group}"], *bars)
        for bits, offset, group, bars in (
            (2, "symmetric", 128, (190, 90)),
            (2, "zero point", 64, (275, 120)),
            (2, "minimum", 32, (420, 175)),
            (4, "symmetric", 128, (255, 115)),
            (4, "zero point", 64, (395, 168)),
            (4, "minimum", 32, (650, 260)),
        )
    },
}


def short(name):
    """`tile_product<4>` of `void lutra::hvx::(anonymous namespace)::tile_product<4u>(…)`."""
    plain = re.sub(r"(?<=\d)u\b", "", name.replace("(anonymous namespace)::", ""))
    return re.sub(r"^(?:.*?::)?(\w+(<[^(]*>)?)\(.*", r"\1", plain)


def functions(path):
    """Short name → words."""
    listing = subprocess.run(["llvm-objdump-19", "-d", "-C", "--no-show-raw-insn", path], check=True, capture_output=True, text=True).stdout
    found, body = {}, []
    for line in listing.splitlines():
        if start := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            body = found.setdefault(short(start[1]), [])
        elif word := re.match(r"\s+([0-9a-f]+):\s+(\{?)(.*?)(\}?)\s*(:endloop0)?(?:\s*:endloop1)?$", line):
            texts = [one.strip() for one in word[3].split(";")]
            body.append(Word(int(word[1], 16), [one for one in texts if one and not re.match(r"nop|immext", one)], word[2] == "{", word[5] is not None))
    return found


def loops(body):
    """(first word, last word, times or None): hardware loops and jumps backwards."""
    index = {word.address: i for i, word in enumerate(body)}
    for i, word in enumerate(body):
        for text in word.texts:
            if hardware := re.match(r"loop0\((?:##?)?0x([0-9a-f]+),(?:#0x([0-9a-f]+))?", text):
                first = index[int(hardware[1], 16)]
                last = next((j for j in range(first, len(body)) if body[j].ends), None)
                if last is not None:
                    yield first, last, int(hardware[2], 16) if hardware[2] else None
            elif jump := re.match(r"if .*jump:?\w*\s+(?:##?)?0x([0-9a-f]+)", text):
                first = index.get(int(jump[1], 16), i + 1)
                if first <= i:
                    # The rest of the packet is executed too.
                    yield first, next((j for j in range(i + 1, len(body)) if body[j].starts), len(body)) - 1, None


def counts(words):
    return sum(len(word.texts) for word in words), sum(word.starts for word in words)


def count_loop(body):
    """The longest loop that looks up and holds no other one."""
    spans = [(first, last) for first, last, _ in loops(body)]
    inner = [one for one in spans if not any(other != one and one[0] <= other[0] and other[1] <= one[1] for other in spans)]
    looks_up = [body[first : last + 1] for first, last in inner if any("vlut16" in text for word in body[first : last + 1] for text in word.texts)]
    return max((counts(words) for words in looks_up), default=None)


def count_all(body):
    """Every word once, those of a loop as often as it says."""
    instructions, packets = counts(body)
    for first, last, times in loops(body):
        if times is None:
            return None
        more = counts(body[first : last + 1])
        instructions, packets = instructions + (times - 1) * more[0], packets + (times - 1) * more[1]
    return instructions, packets


def main(folder):
    objects = {stem: functions(f"{folder}/{stem}.o") for stem in sorted({key[0] for key, _, _ in PARTS.values()})}
    measured, problems = {}, []
    for part, ((stem, function), what, weights) in PARTS.items():
        body = objects[stem].get(function, [])
        if counted := (count_loop if what == "loop" else count_all)(body):
            measured[part] = [1024 * one / weights for one in counted]
        else:
            problems.append(f"{part}: no such loop or function ({stem}, {function})")
    print(f"{'per 1,024 weights':44} {'instructions':>12} {'bar':>4} {'packets':>8} {'bar':>4}   parts")
    for kernel, (parts, *bars) in KERNELS.items():
        if not all(part in measured for part in parts):
            continue
        totals = [sum(measured[part][i] for part in parts) for i in range(2)]
        shares = ", ".join(f"{part.split(',')[0]} {measured[part][0]:.0f} in {measured[part][1]:.0f}" for part in parts) if len(parts) > 1 else ""
        print(f"{kernel:44} {totals[0]:12.1f} {bars[0]:4} {totals[1]:8.1f} {bars[1]:4}   {shares}")
        if totals[0] > bars[0] or totals[1] > bars[1]:
            problems.append(f"{kernel}: {totals[0]:.1f} instructions and {totals[1]:.1f} packets per 1,024 weights, at most {bars[0]} and {bars[1]}")
    for one in problems:
        print(one, file=sys.stderr)
    return 1 if problems else 0


sys.exit(main(sys.argv[1]))
