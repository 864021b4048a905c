"""Names of mechanisms, samplings and accountants, and ranges of noise and rounds; no imports."""

GAUSSIAN, ADAPTIVE_CLIPPING, TREE_AGGREGATION = CENTRAL = (
    "gaussian",
    "adaptive_clipping",
    "tree_aggregation",
)
DISTRIBUTED = "distributed"
CLIENT_LEVEL = (*CENTRAL, DISTRIBUTED)
EXAMPLE_LEVEL = "example_level"
NONE = "none"
# A mechanism that somebody else made.
OTHER = "other"

# How updates are added up: as floats, or as integers by a secure sum, which a simulation computes
# in the clear, by the protocol of masks, or under encryption.
PLAIN, MASKED, CKKS = "plain", "masked", "ckks"
SUMS = (NONE, PLAIN, MASKED, CKKS)

FIXED, POISSON, CYCLIC = DRAWS = ("fixed", "poisson", "cyclic")
# How neighbours differ: by what the mechanism's accountant assumes, or as is said.
AUTO, ADD_OR_REMOVE, REPLACE_ONE = ADJACENCIES = ("auto", "add_or_remove", "replace_one")
# The sampling that a mechanism's accountant assumes, the best one first.
SAMPLINGS = {
    GAUSSIAN: (POISSON,),
    ADAPTIVE_CLIPPING: (POISSON,),
    TREE_AGGREGATION: (CYCLIC,),
    # The clients' shares of the noise add up to the right amount only with a fixed cohort size.
    DISTRIBUTED: (FIXED,),
}

# Range of noise multipliers. Powers of them stay in the range of double precision. 0 is no noise.
LEAST_NOISE, MOST_NOISE = 1e-6, 1e6
MOST_ROUNDS = 1_000_000

ACCOUNTANTS = ("rdp_classic", "rdp", "pld")
