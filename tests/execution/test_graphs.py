"""Functions of graphs that several threads run at the same time."""

import concurrent.futures

import numpy as np
import tensorflow as tf

from tff_nlp.execution import graphs


def test_large_sums_at_the_same_time():
    # TensorFlow plans memory only for graphs with more than about 200 MB.
    size = 20_000_000

    def function(x):
        return [tf.reduce_max(tf.add_n([x + float(number) for number in range(4)]))]

    together = graphs.build_function(function, [tf.TensorSpec([size])])
    zeros = tf.zeros([size])
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        results = list(threads.map(lambda _: together([zeros])[0], range(8)))
    np.testing.assert_array_equal(results, 6.0)
