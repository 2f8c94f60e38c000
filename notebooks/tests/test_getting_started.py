"""Executes the getting-started notebook on a lake made here and compares its recount with one
made event by event, without data frames, and with what a server says."""

import datetime
import http.server
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import unittest
import uuid

import polars as pl
from deltalake import write_deltalake

EXECUTE = pathlib.Path(__file__).resolve().parents[1] / "execute.py"
MONDAY = datetime.datetime(2026, 3, 2, tzinfo=datetime.timezone.utc)
DURATIONS = [8_000, 45_000, 59_999, 60_000, 300_000]
SCHEMA = {
    "event_id": pl.String, "session_id": pl.String, "seq": pl.Int64, "viewer_id": pl.String, "video_id": pl.String,
    "rendition": pl.String, "kind": pl.String, "media_from_ms": pl.Int64, "media_to_ms": pl.Int64,
    "speed": pl.Float32, "client_ts": pl.Datetime("us", "UTC"), "server_ts": pl.Datetime("us", "UTC"),
    "event_ts": pl.Datetime("us", "UTC"), "source": pl.String, "granted": pl.Boolean,
    "video_duration_ms": pl.Int64, "dropped_by": pl.String, "topic_partition": pl.Int64,
    "log_generation": pl.Int64, "log_offset": pl.Int64, "log_index": pl.Int64, "event_date": pl.Date,
}


def make_events(seed):
    """Sessions of a few viewers over nine days, in the order of the log, with what the rules look
    at: rewatching, previews, no grant, dropped events, sessions that go on a week later, clocks
    that are behind, and views of one video shortly after each other."""
    rng = random.Random(seed)
    videos = [(str(uuid.UUID(int=rng.getrandbits(128))), duration) for duration in DURATIONS]
    viewers = [f"{rng.getrandbits(128):032x}" for _ in range(3)]
    rows = []
    for _ in range(400):
        viewer, (video, duration) = rng.choice(viewers), rng.choice(videos)
        session = str(uuid.UUID(int=rng.getrandbits(128)))
        at = MONDAY + datetime.timedelta(minutes=5 * rng.choice([rng.randrange(0, 36), rng.randrange(0, 576)]))
        source = rng.choice(["home", "search", "preview", None])
        granted, late = rng.random() < 0.85, rng.choice([0, 0, 0, 5, 40])
        playhead = 0
        for seq in range(rng.randrange(1, 9)):
            if seq and rng.random() < 0.02:
                at += datetime.timedelta(days=7, seconds=rng.choice([-30, 30]))
            row = dict.fromkeys(SCHEMA)
            row.update(
                event_id=f"{rng.getrandbits(128):032x}", session_id=session, seq=seq, viewer_id=viewer, video_id=video,
                source=source, granted=granted, client_ts=at, server_ts=at,
                event_ts=at - datetime.timedelta(minutes=late),
                video_duration_ms=duration if granted else None,
                dropped_by="too_fast" if rng.random() < 0.05 else None,
                topic_partition=int(viewer, 16) % 2, kind="attempt" if seq == 0 else "heartbeat",
            )
            if seq == 1 or (seq > 1 and rng.random() < 0.05):
                row["kind"] = "start"
            elif seq:
                if rng.random() < 0.2:
                    playhead = 0
                length = rng.choice([10_000, 10_000, 10_000, 10_000, 9_999, 2_500, 0])
                row["media_from_ms"], row["media_to_ms"] = playhead, min(duration, playhead + length)
                playhead = row["media_to_ms"]
            rows.append(row)
            at += datetime.timedelta(seconds=10)
    rows.sort(key=lambda row: row["server_ts"])
    for place, row in enumerate(rows):
        row["log_generation"], row["log_offset"], row["log_index"] = place // 400, place % 400 // 5, place % 5
        row["event_date"] = row["event_ts"].date()
    return rows


def recount(rows):
    """The published rules, one event after another."""
    totals, sessions, last_counted = {}, {}, {}
    for row in rows:
        total = totals.setdefault(row["video_id"], {"starts": 0, "views": 0, "engaged_views": 0, "watch_ms": 0})
        key = (row["viewer_id"], row["video_id"], row["session_id"])
        state = sessions.get(key)
        if state is None or row["server_ts"] - state["heard"] > datetime.timedelta(days=7):
            state = {"heard": row["server_ts"], "watched": 0, "done": set()}
            sessions[key] = state
        state["heard"] = max(state["heard"], row["server_ts"])
        if row["dropped_by"]:
            continue
        if row["kind"] == "start" and row["granted"] and "start" not in state["done"]:
            state["done"].add("start")
            total["starts"] += 1
        length = (row["media_to_ms"] or 0) - (row["media_from_ms"] or 0)
        if not row["granted"] or length <= 0:
            continue
        total["watch_ms"] += length
        state["watched"] += length
        if state["watched"] > 10_000 and row["source"] != "preview" and "engaged" not in state["done"]:
            state["done"].add("engaged")
            total["engaged_views"] += 1
        duration = row["video_duration_ms"]
        needed = (duration + 1) // 2 if duration < 60_000 else 30_000
        if state["watched"] >= needed and "view" not in state["done"]:
            state["done"].add("view")
            last = last_counted.get(key[:2])
            if last is None or abs(row["event_ts"] - last) >= datetime.timedelta(minutes=30):
                last_counted[key[:2]] = row["event_ts"]
                total["views"] += 1
    return totals


def write_lake(folder, rows):
    """Two commits, in an order that is not the log's."""
    shuffled = rows.copy()
    random.Random(1).shuffle(shuffled)
    for part in (shuffled[: len(shuffled) // 3], shuffled[len(shuffled) // 3 :]):
        write_deltalake(
            folder / "playback_events", pl.DataFrame(part, schema=SCHEMA), mode="append", partition_by=["event_date"]
        )


def run(lake, *arguments):
    return subprocess.run(
        [sys.executable, EXECUTE, lake, *arguments], capture_output=True, text=True, check=False, timeout=300
    )


class Server(http.server.ThreadingHTTPServer):
    """Answers like the API: counters of the videos it is given, 404 for others."""

    def __init__(self, videos):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                video = videos.get(self.path.removeprefix("/api/v1/videos/"))
                self.send_response(200 if video else 404)
                self.end_headers()
                self.wfile.write(json.dumps({"title": "A video", "counters": video}).encode())

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class GettingStarted(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.lake = pathlib.Path(folder.name)
        cls.rows = make_events(seed=2)
        cls.expected = recount(cls.rows)
        write_lake(cls.lake, cls.rows)

    def test_the_recount_is_the_rules(self):
        result = run(self.lake)
        self.assertEqual(result.returncode, 0, result.stderr)
        printed = json.loads(result.stdout)
        self.assertEqual(printed["playback_events"], len(self.rows))
        self.assertEqual(printed["videos"], self.expected)
        self.assertIsNone(printed["compared_with_api"])
        totals = {name: sum(video[name] for video in self.expected.values()) for name in ("starts", "views")}
        self.assertGreater(totals["views"], 10, "the made events have to exercise the rules")
        self.assertGreater(totals["starts"], totals["views"])

    def test_a_server_that_agrees_is_told_so(self):
        seen = dict(list(self.expected.items())[1:])
        with Server(seen) as url:
            result = run(self.lake, "--url", url)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout)["compared_with_api"], len(seen))

    def test_a_server_that_differs_fails_it(self):
        wrong = json.loads(json.dumps(self.expected))
        video = next(iter(wrong))
        wrong[video]["views"] += 1
        with Server(wrong) as url:
            result = run(self.lake, "--url", url)
        self.assertEqual(result.returncode, 1)
        self.assertIn("the lake and the API differ", result.stderr)
        self.assertIn(f"{video} views: lake {wrong[video]['views'] - 1}, API {wrong[video]['views']}", result.stderr)

    def test_no_lake_fails_it(self):
        result = run(self.lake / "elsewhere")
        self.assertEqual(result.returncode, 1)
        self.assertIn("failed", result.stderr)


if __name__ == "__main__":
    unittest.main()
