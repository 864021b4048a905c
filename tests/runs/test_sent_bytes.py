from tff_nlp.runs import sent_bytes


def test_all_clients_of_a_round_receive_and_send():
    rows = [{"clients": "3"}, {"clients": "2"}]
    assert sent_bytes.cumulative(rows, down=10, up=1) == [33, 55]


def test_with_devices_some_are_asked_and_others_arrive():
    rows = [{"clients": "3", "asked_clients": "5", "arrived_clients": "3"}]
    rows.append({"clients": "2", "asked_clients": "4", "arrived_clients": "0"})
    assert sent_bytes.cumulative(rows, down=10, up=1) == [53, 93]


def test_central_training_sends_nothing():
    assert sent_bytes.cumulative([{"epoch": "1"}], down=10, up=1) == [0]
