# A reward file as OpenRLHF loads it (--remote_rm_url reward.py), unchanged.
def reward_func(queries, prompts, labels, **kwargs):
    rewards = []
    for query, prompt, label in zip(queries, prompts, labels):
        response = query[len(prompt):]
        rewards.append(1.0 if label in response else -1.0)
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"length": [float(len(q)) for q in queries]}}
