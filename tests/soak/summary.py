"""The result of a soak as Markdown."""

from tally import Tally


def document(tally: Tally, setting: dict[str, str], findings: list[str], samples: list[tuple[float, float, int]]) -> str:
    """The whole summary. ``samples``: seconds, MiB and descriptors of the edge."""
    words = [f"# hcrs under a mixed load, {setting['date']}"]
    words.append("\n".join(f"- {name}: {value}" for name, value in setting.items() if name != "date"))
    words.append("## Failures")
    failures = findings + tally.failures
    if tally.failed > len(tally.failures):
        failures.append(f"and {tally.failed - len(tally.failures)} more")
    words.append("\n".join(f"- {failure}" for failure in failures) if failures else "None.")
    words.append("## What came of the questions")
    outcomes = sorted({outcome for _, outcome in tally.counts}, key=lambda outcome: (outcome != "right", outcome))
    rows = [["question", *outcomes]]
    for kind in sorted({kind for kind, _ in tally.counts}):
        rows.append([kind, *[str(tally.counts[kind, outcome]) for outcome in outcomes]])
    rows.append(["all", *[str(tally.total(outcome)) for outcome in outcomes]])
    words.append(_table(rows))
    words.append("## The edge, over time")
    step = max(1, len(samples) // 12)
    rows = [["s", "MiB", "descriptors"]]
    rows += [[f"{at:.0f}", f"{memory:.1f}", str(descriptors)] for at, memory, descriptors in samples[::step]]
    words.append(_table(rows))
    return "\n\n".join(words) + "\n"


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
