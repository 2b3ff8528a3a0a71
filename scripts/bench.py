#!/usr/bin/env python3
"""Measures the built binary on this machine; called by bench.sh. Prints figures and asserts nothing."""
import argparse, itertools, json, os, pathlib, signal, statistics, subprocess, tempfile, time

BIN = pathlib.Path(os.environ.get("LOYAL_BIN", "target/release/loyal")).resolve()
WITH = {"censor": "censor:author=n0", "delay": "delay:by=200ms"}


def modes():
    """Every behaviour that the program knows (an expectation may limit each one's attempts), and more floods."""
    schema = json.loads(subprocess.run([BIN, "scenarios", "schema"], capture_output=True, check=True).stdout)
    metrics = schema["properties"]["expect"]["items"]["properties"]["metric"]["enum"]
    kinds = [name.split(".")[1] for name in metrics if name.startswith("attacks.") and name.endswith(".attempted")]
    return [WITH.get(kind, kind) for kind in kinds] + [f"flood:what={what}" for what in ("valid", "duplicate", "oversize")]


def run(*args):
    """One judged run; returns its report, or None with the reason printed."""
    done = subprocess.run([BIN, "mesh", "up", *map(str, args), "--json"], capture_output=True, text=True)
    try:
        return json.loads(done.stdout)
    except ValueError:
        print("  no report:", done.stderr.strip()[-300:])
        return None


def line(seen):
    ms, cost = seen["delivery"]["latency_ms"] or {}, seen["resources"]
    return (f"{seen['verdict']:<13} ratio {seen['delivery']['ratio']:.4f}  p50 {ms.get('p50', 0):7.1f}  p99 {ms.get('p99', 0):7.1f}  "
            f"max {ms.get('max', 0):7.1f} ms  peak {cost['peak_rss_mb']:5.1f} MiB  accepted "
            f"{sum(a['accepted'] for a in seen['attacks'].values())}  honest banned {seen['bans']['honest']}")


def mixed(runs):
    print(f"{runs} runs: 10 nodes, 3 of them liars, 100 messages at 50 a second")
    triples = list(itertools.combinations(modes(), 3))
    p99s, worst, passed = [], [], 0
    for number in range(runs):
        liars = ",".join(triples[number * 37 % len(triples)])
        seen = run("--nodes", 10, "--malicious", liars, "--messages", 100, "--rate", 50)
        if seen:
            print(f"  {liars:<48} {line(seen)}", flush=True)
            passed += seen["verdict"] == "pass"
            if seen["delivery"]["latency_ms"]:
                p99s.append(seen["delivery"]["latency_ms"]["p99"])
                worst.append(seen["delivery"]["latency_ms"]["max"])
    if p99s:
        print(f"  passed {passed} of {runs}; p99 median {statistics.median(p99s):.1f} ms, worst {max(p99s):.1f} ms; "
              f"slowest delivery {max(worst):.1f} ms")


def flood(runs):
    print(f"\na flooder at full speed against nine honest nodes, {runs} runs of 250 messages at 50 a second, by turns")
    kinds = {"no flooder": ["--nodes", 9]}
    for what in ("garbage", "valid", "duplicate", "oversize"):
        kinds[what] = ["--nodes", 10, "--malicious", f"flood:what={what}"]
    p99s, peaks = {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
    for _ in range(runs):
        for kind, args in kinds.items():
            seen = run(*args, "--messages", 250, "--rate", 50)
            if seen and seen["delivery"]["latency_ms"]:
                p99s[kind].append(seen["delivery"]["latency_ms"]["p99"])
                peaks[kind].append(seen["resources"]["peak_rss_mb"])
    calm = statistics.median(p99s["no flooder"]) if p99s["no flooder"] else None
    for kind, values in p99s.items():
        if values:
            ratio = f"{statistics.median(values) / calm:5.2f} times" if calm else ""
            print(f"  {kind:<12} p99 median {statistics.median(values):7.1f} ms  {ratio}  peak {max(peaks[kind]):5.1f} MiB")


def start(runs):
    print(f"\nstart of 50 nodes until all are linked, {runs} times")
    times = [seen["resources"]["start_s"] for seen in (run("--nodes", 50, "--messages", 1) for _ in range(runs)) if seen]
    if times:
        print(f"  median {statistics.median(times):.2f} s, worst {max(times):.2f} s")


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss(pid):
    rows = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(row.split()[1]) / 1024 for row in rows if row.startswith("VmRSS:"))


def idle(seconds=20):
    print(f"\nan idle mesh of 10 honest nodes over {seconds} s")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder) / "mesh"
        child = subprocess.Popen([BIN, "mesh", "up", "--nodes", "10", "--dir", folder],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.time() + 30
            while not (folder / "mesh.json").exists() and time.time() < end:
                time.sleep(0.1)
            time.sleep(8)
            pids = [node["pid"] for node in json.loads((folder / "mesh.json").read_text())["nodes"]]
            before, at = [cpu(pid) for pid in pids], time.time()
            time.sleep(seconds)
            shares = [(cpu(pid) - was) / (time.time() - at) * 100 for pid, was in zip(pids, before)]
            print(f"  CPU median {statistics.median(shares):.2f} %, most {max(shares):.2f} % of a core a node; "
                  f"memory median {statistics.median(map(rss, pids)):.1f}, most {max(map(rss, pids)):.1f} MiB")
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(30)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs with mixed liars; fewer of the others")
    parser.add_argument("--only", default="mixed,flood,start,idle")
    args = parser.parse_args()
    few = max(1, args.runs // 4)
    parts = {"mixed": lambda: mixed(args.runs), "flood": lambda: flood(few), "start": lambda: start(few), "idle": idle}
    for name in args.only.split(","):
        parts[name]()


main()
