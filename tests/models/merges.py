"""Byte pairs in plain Python, the oracle of the tokenizers."""

from tff_nlp.models.byte_pair_vocabulary import BYTE_CHARACTERS


def merge_by_hand(ranks, word):
    """Merges one word with the loop of GPT-2's released code.

    The ranks are those of the pairs, a dict.
    """
    parts = [BYTE_CHARACTERS[byte] for byte in word.encode()]
    while len(parts) > 1:
        best = min(zip(parts, parts[1:], strict=False), key=lambda pair: ranks.get(pair, 1e9))
        if best not in ranks:
            break
        place, merged = 0, []
        while place < len(parts):
            if tuple(parts[place : place + 2]) == best:
                merged.append("".join(best))
                place += 2
            else:
                merged.append(parts[place])
                place += 1
        parts = merged
    return parts
