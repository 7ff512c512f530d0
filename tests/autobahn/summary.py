"""The findings of the suite, as Markdown."""

# What each section of the suite is about, in its own order.
SECTIONS = {
    "1": "Framing",
    "2": "Pings and pongs",
    "3": "Reserved bits",
    "4": "Opcodes",
    "5": "Fragmentation",
    "6": "UTF-8",
    "7": "Closing",
    "9": "Limits and performance",
    "10": "Autofragmentation",
    "12": "Compression, by content",
    "13": "Compression, by parameters",
}
GOOD = ("OK", "INFORMATIONAL")
# From the best to the worst.
VERDICTS = ("OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "FAILED")


def verdict(case: dict) -> str:
    """One word for a case: how it went, or how its closing did where that is worse."""
    told = [case["behavior"], case["behaviorClose"]]
    # "WRONG CODE" and "UNCLEAN" are verdicts of closing alone; what is not known is no better than failed.
    known = [word if word in VERDICTS else "FAILED" for word in told]
    return max(known, key=VERDICTS.index)


def bad(cases: dict[str, dict]) -> list[str]:
    """The cases that are not as they must be."""
    return [case for case in _sorted(cases) if verdict(cases[case]) not in GOOD]


def document(cases: dict[str, dict], setting: dict[str, str]) -> str:
    """The whole summary."""
    words = [f"# hcrs with the Autobahn test suite, {setting['date']}"]
    words.append("\n".join(f"- {name}: {value}" for name, value in setting.items() if name != "date"))
    rows = [["section", "about", *VERDICTS]]
    for section, about in SECTIONS.items():
        found = [verdict(case) for name, case in cases.items() if name.partition(".")[0] == section]
        if found:
            rows.append([section, about, *[str(found.count(word)) for word in VERDICTS]])
    found = [verdict(case) for case in cases.values()]
    rows.append(["all", "", *[str(found.count(word)) for word in VERDICTS]])
    words.append(_table(rows))
    others = [case for case in _sorted(cases) if verdict(cases[case]) != "OK"]
    words.append("## What is not OK")
    if others:
        rows = [["case", "behaviour", "closing", "close code"]]
        for name in others:
            case = cases[name]
            rows.append([name, case["behavior"], case["behaviorClose"], str(case["remoteCloseCode"])])
        words.append(_table(rows))
    else:
        words.append("Nothing.")
    return "\n\n".join(words) + "\n"


def _sorted(cases: dict[str, dict]) -> list[str]:
    return sorted(cases, key=lambda name: [int(part) for part in name.split(".")])


def _table(rows: list[list[str]]) -> str:
    rows = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
