# Reward functions as TRL's GRPOTrainer takes them (reward_funcs=[...]), unchanged: lists in, a list out.
import asyncio
import re


def accuracy_reward(completions, solution, **kwargs):
    rewards = []
    for completion, truth in zip(completions, solution):
        text = completion[0]["content"] if isinstance(completion, list) else completion
        found = re.findall(r"\\boxed\{([^}]*)\}", text)
        rewards.append(None if not truth else float(bool(found) and found[-1] == truth))
    return rewards


async def slow_reward(prompts, completions, difficulty, **kwargs):
    async def one(completion, level):
        await asyncio.sleep(0.01)
        return len(completion) / (100.0 * level)

    return await asyncio.gather(*[one(c, d) for c, d in zip(completions, difficulty)])
