"""A reward that varies already for an untrained model: the share of digits among the first characters."""


def reward(response, **kw):
    text = response[:24]
    return sum(c.isdigit() for c in text) / 24
