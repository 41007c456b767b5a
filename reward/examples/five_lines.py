# reward.functions: [python:reward/examples/five_lines.py:reward]
def reward(prompt, response, answer, **kw):
    last_line = response.strip().splitlines()[-1] if response.strip() else ""
    return 1.0 if last_line.endswith(answer) else 0.0
