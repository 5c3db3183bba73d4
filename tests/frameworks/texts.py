"""What the frameworks' checks store, and sparse vectors that need no model: a number for every word, and how often it is there."""

import collections
import re
import zlib

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
BREAD = "Bread rises because yeast makes gas."
LYNX = "The lynx hunts hares at night."
BANK = "Rates were raised by the central bank."
MARTEN = "A marten sleeps in hollow trees by day."
TEXTS = {BREAD: "kitchen", LYNX: "forest", BANK: "money", MARTEN: "forest"}


def sparse(text):
    """The indices and values of a text."""
    counts = collections.Counter(zlib.crc32(word.encode()) for word in re.findall(r"\w+", text.lower()))
    return list(counts), [float(count) for count in counts.values()]
