"""The names of mechanisms, samplings and accountants: all that flags need, free of libraries."""

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

ACCOUNTANTS = ("rdp_classic", "rdp", "pld")
