"""Models of single clients after training."""

import dataclasses

from tff_nlp.privacy.contract_terms import OWN_MODELS
from tff_nlp.runs import checks
from tff_nlp.runs.configs.clients import ClientsConfig
from tff_nlp.runs.options import option

AUTO, NONE, FINE_TUNE, OWN_MODEL = "auto", "none", "fine_tune", "own_model"
_VALIDATION_FRACTION = 0.1


@dataclasses.dataclass(frozen=True)
class PersonalizationConfig:
    """Models of single clients after training."""

    personalize: str = option(
        AUTO,
        "The model of each client that is compared with the final model on the client's own test "
        "examples. fine_tune: the client takes local steps from the final model; own_model: the "
        "one that it keeps with `algorithm`=" + " or ".join(OWN_MODELS) + "; auto: own_model with "
        "these algorithms, else none.",
        (AUTO, NONE, FINE_TUNE, OWN_MODEL),
    )
    fine_tune_steps: int = option(
        16,
        "fine_tune: largest number of local steps. A client's validation examples choose among 0, "
        "1, 2, 4 and so on up to it.",
    )

    def __post_init__(self) -> None:
        checks.at_least(1, "fine_tune_steps", self.fine_tune_steps)

    def resolved(
        self, algorithm: str, clients: ClientsConfig, *, other_models: bool = False
    ) -> "PersonalizationConfig":
        """Returns the config without "auto".

        Args:
          algorithm: Name of the federated algorithm.
          clients: The clients, with or without a validation part.
          other_models: Whether clients have other models than the server. They are not scored.

        Raises:
          UserError: If the clients have no such models, or no examples to choose or score them.
        """
        how = self.personalize
        keeps = algorithm in OWN_MODELS and not other_models
        if how == AUTO:
            how = OWN_MODEL if keeps and clients.client_test_fraction else NONE
        if how == OWN_MODEL and other_models:
            why = "the models of `client_encoders` are not scored, only the server's"
            checks.refuse("personalize", how, why)
        if how == OWN_MODEL and not keeps:
            checks.refuse(
                "personalize", how, f"clients keep no models with `algorithm`={algorithm}"
            )
        if how == FINE_TUNE and keeps:
            checks.refuse(
                "personalize", how, f"clients keep models already with `algorithm`={algorithm}"
            )
        if how != NONE and not clients.client_test_fraction:
            why = "needs test examples of the clients; give `client_test_fraction`"
            checks.refuse("personalize", how, why)
        if how == FINE_TUNE and clients.client_validation_fraction == 0:
            why = "chooses the steps on validation examples; give `client_validation_fraction`"
            checks.refuse("personalize", how, why)
        return dataclasses.replace(self, personalize=how)

    def with_validation(self, clients: ClientsConfig) -> ClientsConfig:
        """Returns the clients with the default of `client_validation_fraction` filled in."""
        if clients.client_validation_fraction is not None:
            return clients
        fraction = _VALIDATION_FRACTION if self.personalize == FINE_TUNE else 0.0
        return dataclasses.replace(clients, client_validation_fraction=fraction)
