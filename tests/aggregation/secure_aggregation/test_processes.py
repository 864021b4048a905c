"""Clients in separate processes, which exchange only bytes with the server."""

import multiprocessing

import numpy as np

from tff_nlp.aggregation.secure_aggregation import demands, identities, session
from tff_nlp.aggregation.secure_aggregation.client import Client
from tff_nlp.aggregation.secure_aggregation.server import Server

LENGTH = 1000


def input_of(client):
    return np.random.default_rng(client).integers(-1000, 1000, LENGTH)


def run_client(client, pipe):
    """Runs a client's machine. Its key never leaves it, and it exchanges only bytes.

    It first receives the directory, as from a public-key infrastructure.
    """
    identity = identities.Identity()
    pipe.send_bytes(identity.public)
    keys = [pipe.recv_bytes() for _ in range(4)]
    directory = identities.Directory(keys[0], dict(enumerate(keys[1:])))
    demanded = demands.Demands(fewest_clients=3)
    half = Client(pipe.recv_bytes(), client, identity, directory, demanded)
    pipe.send_bytes(half.advertise_keys())
    pipe.send_bytes(half.share_keys(pipe.recv_bytes()))
    pipe.send_bytes(half.masked_input(pipe.recv_bytes(), [input_of(client)]))
    pipe.send_bytes(half.check_consistency(pipe.recv_bytes()))
    pipe.send_bytes(half.unmask(pipe.recv_bytes()))


def test_a_round_over_pipes():
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for client in range(3):
        pipes[client], theirs = context.Pipe()
        processes.append(context.Process(target=run_client, args=(client, theirs), daemon=True))
        processes[-1].start()
        theirs.close()
    try:
        sums = run_server(pipes)
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
    assert sums[0].tolist() == (sum(map(input_of, range(3))) % 2**20).tolist()


def run_server(pipes):
    identity = identities.Identity()
    public = {client: pipe.recv_bytes() for client, pipe in pipes.items()}
    directory = identities.Directory(identity.public, public)
    for pipe in pipes.values():
        for key in (identity.public, *public.values()):
            pipe.send_bytes(key)
    server = Server(session.new(pipes, [session.Vector(LENGTH, 2**20)]), identity, directory)

    def ask(messages, add):
        for client, message in messages.items():
            pipes[client].send_bytes(message)
        for client in messages:
            add(pipes[client].recv_bytes())

    ask(dict.fromkeys(pipes, server.invitation()), server.add_advertised_keys)
    ask(dict.fromkeys(pipes, server.roster()), server.add_shared_keys)
    ask(dict(server.forwarded_shares()), server.add_masked_input)
    ask(dict.fromkeys(pipes, server.announcement()), server.add_consistency_signature)
    ask(dict.fromkeys(pipes, server.signatures()), server.add_unmask_shares)
    return server.sums()
