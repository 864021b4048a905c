"""Names of adapters, of the matrices that LoRA changes, and of ways to join its factors."""

NONE, LORA, HOULSBY, PREFIX = "none", "lora", "houlsby", "prefix"
KINDS = (NONE, LORA, HOULSBY, PREFIX)
# The choice of weights that trains the adapter and the head only.
ADAPTER = "adapter"

# Name of a matrix -> attributes of a transformer layer of KerasNLP that lead to it.
MATRICES = {
    "query": ("_self_attention_layer", "_query_dense"),
    "key": ("_self_attention_layer", "_key_dense"),
    "value": ("_self_attention_layer", "_value_dense"),
    "attention_output": ("_self_attention_layer", "_output_dense"),
    "feedforward_in": ("_feedforward_intermediate_dense",),
    "feedforward_gate": ("_feedforward_gate_dense",),
    "feedforward_out": ("_feedforward_output_dense",),
}

# How the clients' factors become one.
FEDIT, FFA, FEDSB, FEDEX, FLORA, FEDSA = "fedit", "ffa", "fedsb", "fedex", "flora", "fedsa"
AGGREGATIONS = (FEDIT, FFA, FEDSB, FEDEX, FLORA, FEDSA)
# Those that change the frozen matrices by the mean of the clients' products.
BY_PRODUCTS = (FEDEX, FLORA)
# Those that train centrally as fedit does.
OF_CLIENTS = (*BY_PRODUCTS, FEDSA)
