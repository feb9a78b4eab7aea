"""What the demo model is shown: emoji on plain colours, and words about them. Rule: everything comes from one seed.

The pictures are rendered from Noto Color Emoji, whose images are under the Apache License 2.0. Without the font a
stand-in draws discs and squares, good enough to try the training code and for nothing else.
"""

from __future__ import annotations

import collections
import itertools
import json
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONTS = [
    Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf"),
]
BITMAP = 109
"""The one size, in pixels, in which the font's bitmaps exist."""

SIDE = 64
NOUNS = {
    "red apple": "\U0001f34e", "banana": "\U0001f34c", "strawberry": "\U0001f353", "cherries": "\U0001f352",
    "watermelon": "\U0001f349", "lemon": "\U0001f34b", "avocado": "\U0001f951", "mushroom": "\U0001f344",
    "pizza": "\U0001f355", "hamburger": "\U0001f354", "donut": "\U0001f369", "cat": "\U0001f431",
    "dog": "\U0001f436", "fox": "\U0001f98a", "panda": "\U0001f43c", "tiger": "\U0001f42f", "pig": "\U0001f437",
    "frog": "\U0001f438", "penguin": "\U0001f427", "octopus": "\U0001f419", "ladybug": "\U0001f41e",
    "sun": "\U0001f31e", "moon": "\U0001f319", "star": "\u2b50", "rainbow": "\U0001f308", "fire": "\U0001f525",
    "snowman": "\u26c4", "tree": "\U0001f333", "cactus": "\U0001f335", "rose": "\U0001f339",
    "sunflower": "\U0001f33b", "house": "\U0001f3e0", "car": "\U0001f697", "rocket": "\U0001f680",
    "basketball": "\U0001f3c0", "balloon": "\U0001f388", "heart": "\u2764", "robot": "\U0001f916",
    "ghost": "\U0001f47b", "alien": "\U0001f47d", "skull": "\U0001f480", "pumpkin": "\U0001f383",
    "smiling face": "\U0001f603", "diamond": "\U0001f48e",
}  # fmt: skip
COLOURS = {
    "white": (255, 255, 255), "black": (22, 22, 26), "blue": (66, 120, 230), "green": (70, 175, 95),
    "yellow": (250, 218, 80), "pink": (250, 172, 202), "purple": (140, 84, 196), "orange": (245, 150, 60),
}  # fmt: skip
HELD_OUT = {
    ("octopus", "blue"), ("hamburger", "pink"), ("frog", "black"), ("tiger", "purple"), ("fox", "blue"),
    ("banana", "pink"), ("cherries", "green"), ("panda", "white"), ("smiling face", "yellow"), ("skull", "pink"),
    ("donut", "black"), ("watermelon", "white"), ("rocket", "purple"), ("car", "orange"), ("pumpkin", "blue"),
    ("dog", "yellow"), ("snowman", "black"), ("ladybug", "green"),
}  # fmt: skip
"""Pairs that are never trained, to see afterwards whether thing and colour were learned apart."""

TEMPLATES = ["a {n} on a {b} background"] * 4 + ["{n}, {b} background"] * 3 + [
    "{n} on {b}", "{b} background with a {n}", "a {n} on {b}", "the {n} on a {b} background", "{n} on a {b} background",
    "an emoji of a {n} on a {b} background", "a picture of a {n}, {b} background", "a drawing of a {n} on {b}",
    "{b} background, {n}", "one {n} on a {b} background",
]  # fmt: skip
PLAIN = ["a {n}", "{n}", "an emoji of a {n}"]
FILLERS = [", high quality", ", icon", ", emoji", ", simple", ", centered", ", detailed"]

Pair = tuple[str, str]


def pairs() -> list[Pair]:
    """Every trained pair of thing and colour."""
    return [(noun, colour) for noun in NOUNS for colour in COLOURS if (noun, colour) not in HELD_OUT]


def find_font(given: Path | None) -> Path | None:
    """The emoji font, if it can be found."""
    return next((path for path in ([given] if given else FONTS) if path.is_file()), None)


def render(font: Path | None, pair: Pair, pose: int) -> Image.Image:
    """A thing on a colour. Pose 0 is upright and 54 pixels wide; pose 1 mirrored, turned by up to 6 degrees, 51."""
    noun, colour = pair
    glyph = _glyph(font, noun)
    rng = random.Random(f"{noun} {pose}")  # noqa: S311 - poses, not secrets
    if pose:
        glyph = glyph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        glyph = glyph.rotate(rng.uniform(-6, 6), Image.Resampling.BICUBIC, expand=True)
    size = 51 if pose else 54
    scale = size / max(glyph.size)
    glyph = glyph.resize((round(glyph.width * scale), round(glyph.height * scale)), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (SIDE, SIDE), COLOURS[colour])
    picture.paste(glyph, ((SIDE - glyph.width) // 2, (SIDE - glyph.height) // 2), glyph)
    return picture


def caption(pair: Pair, rng: random.Random) -> str:
    """Words about a pair: 10 % none (for guidance), 8 % without the colour, 12 % with words that mean nothing."""
    draw = rng.random()
    if draw < 0.10:
        return ""
    template = rng.choice(PLAIN if draw < 0.18 else TEMPLATES)
    words = template.format(n=pair[0], b=pair[1])
    return words + rng.choice(FILLERS) if rng.random() < 0.12 else words


def write_tokenizer(folder: Path, merges: int = 298) -> None:
    """A byte-pair vocabulary in CLIP's files, trained on every caption: whole words for these, bytes for all others."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    learned = _learn_merges(merges)
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    words += [left + right for left, right in learned]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in learned))


def _glyph(font: Path | None, noun: str) -> Image.Image:
    canvas = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
    draw = ImageDraw.Draw(canvas)
    if font is None:
        number = list(NOUNS).index(noun)
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape((30, 30, 130, 130), fill=(number * 37 % 256, number * 91 % 256, number * 151 % 256, 255))
    else:
        draw.text((12, 12), NOUNS[noun], font=ImageFont.truetype(str(font), BITMAP), embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise SystemExit(f"the font {font} has no picture of: {noun}")
    return canvas.crop(box)


def _learn_merges(count: int) -> list[tuple[str, str]]:
    texts = [
        t.format(n=n, b=b) + f for t in {*TEMPLATES, *PLAIN} for n in NOUNS for b in COLOURS for f in ("", *FILLERS)
    ]
    seen = collections.Counter(word for text in texts for word in text.replace(",", " ,").split())
    split = {word: [*word[:-1], word[-1] + "</w>"] for word in seen}
    learned: list[tuple[str, str]] = []
    while len(learned) < count:
        couples: collections.Counter[tuple[str, str]] = collections.Counter()
        for word, parts in split.items():
            for couple in itertools.pairwise(parts):
                couples[couple] += seen[word]
        if not couples:
            break
        best = max(couples, key=lambda couple: (couples[couple], couple))
        learned.append(best)
        for parts in split.values():
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == best:
                    parts[at : at + 2] = ["".join(best)]
                at += 1
    return learned
