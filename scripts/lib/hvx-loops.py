"""Inner loops of the HVX kernels: instructions and packets per 1,024 weights, counted in the disassembly.

A packet is what the processor issues at once, so its count bounds the cycles from below; nops and constant extenders are no instructions. Usage: hvx-loops.py FOLDER
A loop above its bar, or one that is not there, makes the exit status 1.
"""

import re
import subprocess
import sys

# Loop (object, function) → weights of one round as a function of its look-ups, most instructions and packets per 1,024 weights.
# A look-up instruction of a product takes 128 entries, each for a bit of four weights.
LOOPS = {
    ("hvx_gemv", "tile_product<2>"): (lambda look_ups: look_ups * 512 // 2, 16, 7),
    ("hvx_gemv", "tile_product<4>"): (lambda look_ups: look_ups * 512 // 4, 30, 13),
}


def functions(path):
    """(name, [(address, instructions, starts a packet, ends a loop)]) of every function; a line is one instruction, or two in one word."""
    listing = subprocess.run(["llvm-objdump-19", "-d", "-C", "--no-show-raw-insn", path], check=True, capture_output=True, text=True).stdout
    name, body = "", []
    for line in listing.splitlines():
        if start := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            if body:
                yield name, body
            name, body = start[1], []
        elif word := re.match(r"\s+([0-9a-f]+):\s+(\{?)(.*?)(\}?)\s*(:endloop0)?(?:\s*:endloop1)?$", line):
            texts = [one.strip() for one in word[3].split(";")]
            body.append((int(word[1], 16), [one for one in texts if one and not re.match(r"nop|immext", one)], word[2] == "{", word[5] is not None))
    if body:
        yield name, body


def inner_loops(body):
    """Words of every hardware loop that holds no other one."""
    starts = [int(one[1], 16) for _, texts, _, _ in body for text in texts if (one := re.match(r"loop0\((?:##?)?0x([0-9a-f]+)", text))]
    index = {address: i for i, (address, *_) in enumerate(body)}
    for start in starts:
        first = index[start]
        last = next((i for i in range(first, len(body)) if body[i][3]), None)
        if last is not None:
            yield body[first : last + 1]


def short(name):
    """`tile_product<4>` of `void lutra::hvx::(anonymous namespace)::tile_product<4u>(…)`."""
    plain = re.sub(r"(?<=\d)u\b", "", name.replace("(anonymous namespace)::", ""))
    return re.sub(r"^(?:.*?::)?(\w+(<[^(]*>)?)\(.*", r"\1", plain)


def main(folder):
    problems, missing = [], set(LOOPS)
    print(f"{'per 1,024 weights':40} {'instructions':>12} {'bar':>4} {'packets':>8} {'bar':>4}")
    for stem in sorted({key[0] for key in LOOPS}):
        for name, body in functions(f"{folder}/{stem}.o"):
            key = (stem, short(name))
            if key not in LOOPS:
                continue
            weights_of, most_instructions, most_packets = LOOPS[key]
            for loop in inner_loops(body):
                texts = [text for _, line, _, _ in loop for text in line]
                weights = weights_of(sum("vlut16" in text for text in texts))
                if weights == 0:
                    continue
                instructions, packets = 1024 * len(texts) / weights, 1024 * sum(starts for _, _, starts, _ in loop) / weights
                print(f"{' '.join(key):40} {instructions:12.1f} {most_instructions:4} {packets:8.1f} {most_packets:4}")
                missing.discard(key)
                if instructions > most_instructions or packets > most_packets:
                    problems.append(f"{' '.join(key)}: {instructions:.1f} instructions and {packets:.1f} packets per 1,024 weights, at most {most_instructions} and {most_packets}")
    problems += [f"{' '.join(key)}: no such loop" for key in sorted(missing)]
    for one in problems:
        print(one, file=sys.stderr)
    return 1 if problems else 0


sys.exit(main(sys.argv[1]))
