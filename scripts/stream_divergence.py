"""How far the predictions of two streams are from each other, by the log-probabilities that a server returns.

A server returns the k likeliest tokens of a position. The estimate is the KL divergence of what both distributions
tell apart: each token that both have returned, and all the rest as one outcome. Taking outcomes together never makes
a divergence larger (Cover and Thomas, Elements of Information Theory, 2006, section 2.7: log sum inequality), so it
is a lower estimate; with k = 1000 the rest is about a hundredth of the probability.
"""
import math
import statistics

RUN = 16  # neighbouring positions at most: they are not independent of each other
LEAST = 1e-9  # of a probability: log-probabilities are printed with six decimals


def read_tokens(output):
    """[(token, {token: log-probability})] of what `kvpareto generate --logprobs` has printed."""
    table = output.rpartition("token\tlogprob\tlikeliest\n")[2]
    rows = [line.split("\t") for line in table.splitlines()]
    return [(int(row[0]), {int(token): float(logprob) for token, logprob, *_ in map(str.split, row[2:])})
            for row in rows]


def kl(p, q):
    """KL(p || q) in nats of two {token: log-probability}. As a sum of p log(p / q) - p + q every term is at least 0, so
    that rounding does not cancel."""
    both = p.keys() & q.keys()
    outcomes = [(math.exp(p[token]), math.exp(q[token])) for token in both]
    rest = [max(LEAST, 1 - sum(side)) for side in zip(*outcomes)]
    return sum(a * math.log(a / b) - a + b for a, b in [*outcomes, tuple(rest)])


def divergences(unchanged, changed):
    """KL(unchanged || changed) of the positions that follow the same tokens in both, from the first that differs on:
    until then nothing had changed."""
    values = []
    for (token, p), (other, q) in zip(unchanged, changed):
        if values or p != q:
            values.append(kl(p, q))
        if token != other:
            break
    return values


def mean_and_error(streams):
    """The mean over all positions of all streams, and its standard error from the spread of the means of runs; infinite
    where there are fewer than two."""
    values = [value for stream in streams for value in stream]
    runs = [statistics.fmean(stream[i:i + RUN]) for stream in streams for i in range(0, len(stream), RUN)]
    if len(runs) < 2:
        return math.inf, math.inf
    return statistics.fmean(values), statistics.stdev(runs) / math.sqrt(len(runs))
