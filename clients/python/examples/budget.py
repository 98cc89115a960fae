"""The same prompt under smaller and smaller memory budgets.

usage: budget.py [ADDRESS]
"""
import sys

import kvpareto

PROMPT = "Once upon a time, in a kingdom by the sea, "


def main() -> None:
    with kvpareto.Client(sys.argv[1] if len(sys.argv) > 1 else "localhost:50051") as client:
        whole = client.plan(PROMPT, max_tokens=200).kv.predicted_peak_bytes
        for share in (1.0, 0.75, 0.5, 0.25):
            try:
                answer = client.generate(PROMPT, max_tokens=200, memory_budget_bytes=int(share * whole))
            except kvpareto.Error as error:
                print(f"{share:4.0%}: {error.reason}, at least {error.metadata['smallest_budget_bytes']} bytes")
                continue
            plan, usage = answer.plan, answer.usage
            print(f"{share:4.0%}: {plan.config_name:12} accuracy {plan.accuracy:.3f}, "
                  f"{usage.measured_peak_bytes / 2**20:.1f} MiB  {answer.text[:40]!r}")


if __name__ == "__main__":
    main()
