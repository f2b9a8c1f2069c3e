"""Numbers as the report writes them: images, blocks, differences with their sign, and the order of blocks and sizes."""

from stages.lib.norms.table import norm_of

ALL = 1_000_000_000  # `all`, where numbers of blocks or of images are put in order
BLOCKS_IN_WORDS = {"all": "all blocks", "norms": "all batch norms", "last_norm": "the last batch norm"}
BLOCKS_IN_ORDER = {"all": ALL, "norms": ALL / 2, "last_norm": 0.5}


def images(n: int | str) -> str:
    """A number of images as it is written: `1,600 images`, or `all images` for the size `all`."""
    return "all images" if n == "all" else counted(int(n), "image")


def block_text(blocks: str) -> str:
    """What is fine-tuned besides the head, as it is written: `3 blocks`, `1 block`, `all blocks`, `the last batch norm`."""
    return BLOCKS_IN_WORDS[blocks] if blocks in BLOCKS_IN_WORDS else counted(int(blocks), "block")


def number(value: float, digits: int = 1) -> str:
    """A number with a true minus."""
    return f"{round(value, digits) + 0:.{digits}f}".replace("-", "−")  # + 0, as -0 is 0


def counted(n: int, noun: str, plural: str = "") -> str:
    """So many of something: `1 run`, `2,000 runs`."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign, and a true minus; zero has no sign."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if not float(text[1:]) else text


def listed(names: list[str]) -> str:
    """Names as a sentence lists them: `a`, `a and b`, `a, b and c`."""
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"


def block_order(blocks: str) -> float:
    """What is fine-tuned besides the head as a number of blocks, by which it is sorted."""
    return BLOCKS_IN_ORDER[blocks] if blocks in BLOCKS_IN_ORDER else int(blocks)


def is_count(blocks: str) -> bool:
    """Whether what is fine-tuned besides the head is a number of blocks, or all of them; not their batch norms alone."""
    return blocks == "all" or blocks.isdecimal()


def size_order(size: str) -> int:
    """A number of images as a number, by which it is sorted."""
    return ALL if size == "all" else int(size)


def nearest_blocks(configured: list[str], wanted: str) -> str | None:
    """The configured number of blocks that is nearest to the wanted one; of two the smaller; None where there is none."""

    def distance(blocks: str) -> tuple[float, float]:
        return abs(block_order(blocks) - block_order(wanted)), block_order(blocks)

    return min(map(str, configured), key=distance, default=None)


def nearest_size(sizes: list[int | str], wanted: int) -> str:
    """The configured number of images that is nearest to the wanted one, of two the smaller; `all` where there is no number."""
    return str(min((n for n in sizes if n != "all"), key=lambda n: (abs(n - wanted), n), default="all"))


def eps_text(norm: str, eps: float) -> str:
    """A radius as it is written: `L2 0.5`, `L∞ 8/255`; eps in pixel units of [0, 1] images."""
    return norm_of(norm).eps_text(eps)


def threat_text(norm: str, eps: float) -> str:
    """A threat model in the words of RobustBench: `L2, eps = 0.5`, `Linf, eps = 8/255`; eps in pixel units of [0, 1] images."""
    ball = norm_of(norm)
    return f"{ball.name.capitalize()}, eps = {ball.number(eps)}"


def count_text(n: list[int]) -> str:
    """How many subsets stand behind the points of a figure: `n = 20`, or `n = 20 down to 1`."""
    if not n:
        return "n = 0"
    return f"n = {max(n)}" if min(n) == max(n) else f"n = {max(n)} down to {min(n)}"
