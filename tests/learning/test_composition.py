"""What would make a printed epsilon untrue is refused where the process is composed."""

import pytest
import tensorflow_federated as tff

from tests.learning import quadratics
from tff_nlp import errors
from tff_nlp.learning.algorithms import fed_avg, fed_prox
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.privacy import contract, mechanism, names, properties, releases

MECHANISMS = {
    name: mechanism.build_aggregator(mechanism.Mechanism(name, 1.0, 40))
    for name in names.CLIENT_LEVEL
}
MECHANISMS["audited"] = releases.ReleasingFactory(MECHANISMS[names.GAUSSIAN])
MECHANISMS["TFF's"] = tff.aggregators.DifferentiallyPrivateFactory.gaussian_fixed(1.0, 2, 1.0)


@pytest.mark.parametrize("algorithm", [fed_avg.fed_avg, fed_prox.fed_prox])
@pytest.mark.parametrize("name", MECHANISMS)
def test_a_mechanism_counts_clients_alike(algorithm, name):
    with pytest.raises(errors.UserError) as raised:
        algorithm(quadratics.task(), LocalWork(), aggregator=MECHANISMS[name])
    # The sentence that the script prints.
    assert str(raised.value) == contract.weighting_violation("examples")
    algorithm(quadratics.task(), LocalWork(weighting="uniform"), aggregator=MECHANISMS[name])


def test_what_claims_nothing_may_do_anything():
    plain = tff.aggregators.MeanFactory()
    assert not properties.of(plain).protects_clients
    assert not properties.of(None).protects_clients
    fed_avg.fed_avg(quadratics.task(), LocalWork(), aggregator=plain)
    fed_avg.fed_avg(
        quadratics.task(), LocalWork(), aggregator=MECHANISMS["audited"], allow_dp_mismatch=True
    )
