"""Plots memory against accuracy: the configs of a server's Pareto table, and what requests were given.

Each `# %%` is a cell for editors that run notebooks from scripts. Needs `pip install ./clients/python[plot]`.

usage: memory_accuracy.py [ADDRESS [PICTURE.svg]]
"""
# %%
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import kvpareto

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else "localhost:50051"
PICTURE = sys.argv[2] if len(sys.argv) > 2 else "memory_accuracy.svg"
PROMPT = "It is a truth universally acknowledged, that a single man in possession of a good fortune, " * 20
MAX_TOKENS = 64

# %% What the table offers for a prompt of this length: every row that was measured, pinned.
client = kvpareto.Client(ADDRESS)
rows = {row.name: client.plan(PROMPT, max_tokens=MAX_TOKENS, config=row.name).kv
        for row in client.pareto_table().rows if row.accuracy}

# %% What requests get that ask for less and less memory.
budgets = [int(share * max(plan.predicted_peak_bytes for plan in rows.values()))
           for share in (1.0, 0.8, 0.6, 0.5, 0.4, 0.3)]
chosen = []
for budget in budgets:
    try:
        chosen.append(client.generate(PROMPT, max_tokens=MAX_TOKENS, memory_budget_bytes=budget))
    except kvpareto.Error as error:
        print(f"{budget} bytes: {error.reason}")

# %%
figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
mib = 2.0**20
axes.scatter([p.predicted_peak_bytes / mib for p in rows.values()], [p.accuracy for p in rows.values()],
             color="lightgray", label="configs of the table")
for name, plan in rows.items():
    axes.annotate(name, (plan.predicted_peak_bytes / mib, plan.accuracy), fontsize=7, color="gray",
                  xytext=(3, 3), textcoords="offset points")
axes.scatter([a.usage.measured_peak_bytes / mib for a in chosen], [a.plan.accuracy for a in chosen],
             marker="x", color="tab:red", label="given under a budget (memory measured)")
axes.set_xlabel("peak memory of the request, MiB")
axes.set_ylabel("accuracy (top-1 agreement with bf16, lower bound)")
axes.legend()
figure.savefig(PICTURE)
print(f"{len(rows)} configs, {len(chosen)} requests: {PICTURE}")
