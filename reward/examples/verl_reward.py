# A reward file as verl loads it (custom_reward_function.path and .name), unchanged.
import re


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    found = re.findall(r"#### (\-?[0-9\.\,]+)", solution_str)
    correct = bool(found) and found[-1].replace(",", "") == ground_truth
    return {"score": 1.0 if correct else 0.0, "acc": correct, "answers_found": len(found)}
