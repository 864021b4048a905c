"""What a search varies: the grammar, the types of options, and what cannot vary."""

import pytest

from tff_nlp import errors
from tff_nlp.runs import configs, search_space


def test_each_kind_of_dimension():
    found = search_space.parse(
        "client_learning_rate=loguniform(1e-5, 1e-3); client_epochs=choice(1,2,4);"
        "dropout = uniform(0,0.5); lora_rank=int(1,16); adapter=choice(none,lora);"
        "local_steps=choice(none,10); decay_learning_rate=choice(true,false);"
    )
    by_name = {d.name: (d.group, d.kind, d.values) for d in found}
    assert by_name == {
        "client_learning_rate": ("client_training", "loguniform", (1e-5, 1e-3)),
        "client_epochs": ("federated", "choice", (1, 2, 4)),
        "dropout": ("model", "uniform", (0.0, 0.5)),
        "lora_rank": ("model", "int", (1, 16)),
        "adapter": ("model", "choice", ("none", "lora")),
        "local_steps": ("federated", "choice", (None, 10)),
        "decay_learning_rate": ("federated", "choice", (True, False)),
    }


def test_values_are_put_into_their_groups():
    run = search_space.applied(configs.FederatedRun(), {"dropout": 0.3, "client_epochs": 4})
    assert (run.model.dropout, run.federated.client_epochs) == (0.3, 4)
    with pytest.raises(errors.UserError, match="dropout=1.5: must be at least 0 and below 1"):
        search_space.applied(configs.FederatedRun(), {"dropout": 1.5})


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("client_learning_rate", "must be name=loguniform"),
        ("client_learning_rate=normal(0,1)", "must be name=loguniform"),
        ("learning_rate=uniform(0,1)", "there is no option learning_rate"),
        ("client_learning_rate=loguniform(0,1)", "needs numbers above 0"),
        ("client_learning_rate=loguniform(1e-3,1e-5)", "from a lower to a higher number"),
        ("client_learning_rate=uniform(a,b)", "needs two numbers"),
        ("client_learning_rate=uniform(nan,1)", "from a lower to a higher number"),
        ("client_learning_rate=uniform(1)", "needs two numbers"),
        ("client_epochs=uniform(1,2)", "not possible for such an option"),
        ("client_epochs=choice(1,x)", "x is no number"),
        ("client_epochs=choice(1,1)", "without repetition"),
        ("client_epochs=int(1,2);client_epochs=int(3,4)", "without repetition"),
        ("adapter=choice(lora,loar)", "loar is not one of"),
        ("decay_learning_rate=choice(yes,no)", "choice\\(true,false\\)"),
        ("corpus=choice(a.csv,b.csv)", "corpus is the same in all trials"),
        ("seed=choice(0,1)", "seed is the same in all trials"),
        ("client_validation_fraction=uniform(0.1,0.2)", "is the same in all trials"),
        ("num_clients=int(5,10)", "num_clients is the same in all trials"),
        ("trackers=choice(mlflow,wandb)", "trackers is the same in all trials"),
        (" ; ", "must be name=loguniform"),
        ("output_dir=choice(a,b)", "output_dir is the same in all trials"),
    ],
)
def test_mistakes(search, message):
    with pytest.raises(errors.UserError, match=message):
        search_space.parse(search)
