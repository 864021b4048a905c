"""A process with client states, and the states of its clients, on quadratics or other tasks."""

from tff_nlp.learning import client_input, composition


class Federation:
    """A stateful process, the server's state, and each client's state by its number."""

    def __init__(self, process, task):
        self.process = process
        self.state = composition.initial_state(process, task)
        self.kept = {}

    def round(self, clients):
        """Runs a round with data sets by client number, and returns its metrics."""
        data = [
            client_input.with_values(
                dataset, state=self.kept.get(number, self.process.client_specs)
            )
            for number, dataset in clients.items()
        ]
        output = self.process.next(self.state, data)
        self.state = output.state
        self.kept |= dict(zip(clients, output.clients, strict=True))
        return output.metrics

    @property
    def weights(self):
        return self.process.get_model_weights(self.state)

    def own(self, number):
        return self.process.own_model(self.weights, tuple(self.kept[number]))
