"""Names of mechanisms, samplings and accountants, and what noise can be: for flags, no library."""

GAUSSIAN, ADAPTIVE_CLIPPING, TREE_AGGREGATION = CENTRAL = (
    "gaussian",
    "adaptive_clipping",
    "tree_aggregation",
)
DISTRIBUTED = "distributed"
CLIENT_LEVEL = (*CENTRAL, DISTRIBUTED)
EXAMPLE_LEVEL = "example_level"

POISSON, FIXED, CYCLIC = "poisson", "fixed", "cyclic"
# The sampling that a mechanism's accountant assumes, the best one first.
SAMPLINGS = {
    GAUSSIAN: (POISSON,),
    ADAPTIVE_CLIPPING: (POISSON,),
    TREE_AGGREGATION: (CYCLIC,),
    # The clients' shares of the noise add up only if as many come as were expected.
    DISTRIBUTED: (FIXED,),
}

# Noise multipliers whose powers double precision can hold; 0 is no noise.
LEAST_NOISE, MOST_NOISE = 1e-6, 1e6

ACCOUNTANTS = ("rdp_classic", "rdp", "pld")
