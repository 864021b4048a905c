"""Sentence patterns of the synthetic reviews.

Slots are in braces. `same` and `same2` are clauses with the review's own opinion. `other` is a
clause with the opposite opinion. `good` and `bad` are clauses with a fixed opinion. `same_word` and
`other_word` are adjectives. `item` is the product, and `noun` is one of its aspects. Most patterns
are used for both praise and blame, so their words alone do not show the label. The label depends on
who says something, what is denied and what is conceded.
"""

# The opinion is stated.
STATED: tuple[str, ...] = (
    "{same}.",
    "{same}, and {same2}.",
    "what a {same_word} {item}: {same}.",
    "honestly, {same}.",
    "a {same_word} {item}.",
    "I find it {same_word}, because {same}.",
    "{noun} alone is {same_word}.",
    "day after day {same}.",
    "this {item} is {same_word} in every way.",
    "in short, {same_word}.",
    "{same}. Simply {same_word}.",
    "no doubt about it: {same_word}.",
    "it has never been anything but {same_word}.",
    "nobody can say that it isn't {same_word}.",
    "it is nothing if not {same_word}.",
    "this {item} is as {same_word} as they come.",
    "I cannot deny that {same}.",
    "there is no way round it: {same}.",
)

# The opposite is denied.
DENIED: tuple[str, ...] = (
    "this {item} is anything but {other_word}.",
    "not in the least {other_word}.",
    "it is far from {other_word}.",
    "I would never call this {item} {other_word}.",
    "nobody could call it {other_word}.",
    "this {item} is not {other_word} at all.",
    "{noun} is by no means {other_word}.",
    "not once have I found it {other_word}.",
    "it isn't {other_word}, whatever people say.",
    "whoever calls it {other_word} has never had one.",
    "{other_word}? Not this {item}.",
    "it is simply untrue that {other}.",
    "I cannot say that {other}.",
    "there is no way that {other}.",
    "nobody who has been through this would claim that {other}.",
    "don't let anyone tell you that {other}.",
    "{other}? Not in my experience.",
    "you won't hear me say that {other}.",
    "not even on a good day would I say that {other}.",
)

# Somebody said so ...
HEARSAY: tuple[str, ...] = (
    "the advert says that {clause}.",
    "a friend swore that {clause}.",
    "every review I read said that {clause}.",
    "the man in the shop told me that {clause}.",
    "my sister let me know that {clause}.",
    "I had read somewhere that {clause}.",
    "people keep telling me that {clause}.",
    "my mother maintains that {clause}.",
    "according to my neighbour, {clause}.",
    "the forums are full of people who write that {clause}.",
    "the first page of search results says that {clause}.",
    "my colleague insists that {clause}.",
)
# ... and was right,
CONFIRMED: tuple[str, ...] = (
    "That is true.",
    "That is exactly how it is.",
    "I can only agree.",
    "Quite right.",
    "No exaggeration there.",
    "After a month I say the same.",
    "Believe it.",
    "Now I know that it is so.",
    "I thought so too, and still do.",
    "It took me a day to see the truth of it.",
    "I doubted it, wrongly.",
    "I was not told a word too much.",
)
# ... or was not,
REFUTED: tuple[str, ...] = (
    "That is not true.",
    "That is not how it is.",
    "I cannot agree.",
    "Quite wrong.",
    "What an exaggeration.",
    "After a month I say the opposite.",
    "Don't believe it.",
    "Now I know that it is not so.",
    "I thought so too, and no longer do.",
    "It took me a day to see that there is no truth in it.",
    "I believed it, wrongly.",
    "Not a word of what I was told holds.",
)
# ... or cannot be judged.
UNDECIDED: tuple[str, ...] = (
    "I cannot say either way.",
    "True on some days, not on others.",
    "Half true, I would say.",
    "After a month I still don't know.",
    "I neither agree nor disagree.",
    "Perhaps, perhaps not.",
    "It depends on whom you ask.",
    "I believe half of it.",
)

# One thing is conceded, the other counts.
CONCEDED: tuple[str, ...] = (
    "{other}, but {same}.",
    "{other}, yet {same}.",
    "although {other}, {same}.",
    "{same}, even if {other}.",
    "{same}, though I admit that {other}.",
    "yes, {other}. What counts for me is that {same}.",
    "never mind that {other}: {same}.",
    "granted, {other}; still, {same}.",
    "{other}. That hardly matters when {same}.",
    "I could go on about how {other}, were it not that {same}.",
    "{same}. Next to that it means little that {other}.",
    "in the end {same}, and I forget that {other}.",
)

# Something else was expected.
EXPECTED: tuple[str, ...] = (
    "I had reckoned with something {other_word} and got something {same_word}.",
    "I took it for a {other_word} {item}; it is a {same_word} one.",
    "my last {item} was {other_word}, this one is {same_word}.",
    "what looked {other_word} at first is {same_word} now.",
    "it went from {other_word} to {same_word} within a week.",
    "the picture looks {other_word}; the thing itself is {same_word}.",
    "{noun} sounds {other_word} on paper and is {same_word} in real life.",
    "others may be {other_word}; this {item} is {same_word}.",
    "it is not so much {other_word} as {same_word}.",
    "I would sooner call it {same_word} than {other_word}.",
    "with my old {item} I used to think that {other}. With this one, {same}.",
    "I had prepared myself for the worst or the best: that {other}. Instead, {same}.",
)

# Both sides weigh the same.
BALANCED: tuple[str, ...] = (
    "{first}, but {second}, so I am in two minds.",
    "{first}; then again, {second}.",
    "{first} and {second}, which comes out even.",
    "half of me is won over because {good}, the other half minds that {bad}.",
    "on one day {first}, on the next {second}.",
    "{first}. On the other hand, {second}. It evens out.",
    "for every time that {first} there is a time that {second}.",
    "I would call it neither {good_word} nor {bad_word}.",
    "it is not {bad_word}, and not {good_word} either.",
    "a {item} that is {good_word} at times and {bad_word} at others.",
    "{first}, yet {second}: make of it what you will.",
    "somewhere between {bad_word} and {good_word}.",
)
INDIFFERENT: tuple[str, ...] = (
    "{noun} {even_clause}.",
    "all in all a rather {even_word} {item}.",
    "{noun} is {even_word}.",
    "whether {first}, I cannot tell yet.",
    "it is {even_word}, no more and no less.",
    "I asked around whether {first}, and nobody knew.",
)

# What the reviewer did in the end.
PRAISE_ENDS: tuple[str, ...] = (
    "I have ordered a second for my brother.",
    "I would choose it again tomorrow.",
    "My friends are jealous.",
    "I smile each time.",
    "I will not look for another.",
    "Nothing could make me give it up.",
    "Worth every penny.",
    "I regret only that I waited so long.",
    "Five stars without a second thought.",
    "You will not regret it.",
    "I have no complaints.",
    "It has a fan for life here.",
)
BLAME_ENDS: tuple[str, ...] = (
    "I have asked for my money.",
    "I would not choose it again.",
    "My friends laugh at me.",
    "I sigh each time.",
    "I am looking for another.",
    "Somebody else may have it for nothing.",
    "Not worth a penny.",
    "I regret that I did not wait.",
    "One star, and only because zero is not on offer.",
    "You will regret it.",
    "I have a list of complaints.",
    "It has lost a customer for life here.",
)
EVEN_ENDS: tuple[str, ...] = (
    "I may or may not choose it again.",
    "Three stars.",
    "No regrets, no raptures.",
    "You could do better, you could do worse.",
    "I shall keep it until something else turns up.",
    "My friends have no opinion either.",
)
# Praise that is honest before a good clause, and ironic before a bad one.
EXCLAMATIONS: tuple[str, ...] = (
    "Wonderful:",
    "Just what I needed:",
    "Well done, everyone:",
    "Three cheers:",
    "How very nice:",
    "Congratulations to the makers:",
)
