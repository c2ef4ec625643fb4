"""The pictures of docs/concepts.md."""

from __future__ import annotations

from diagrams import Box, Picture, draw

PICTURES = {
    "rooms": Picture(
        "The rooms, and who imports whom",
        [
            Box("native", 0, 1, ("native", "compiled kernels")),
            Box("core", 1, 1, ("core", "words, ML library")),
            Box("serving", 2, 0, ("serving", "data plane")),
            Box("workflows", 2, 1, ("workflows", "Temporal, Ray")),
            Box("platform", 2, 2, ("platform", "control plane")),
            Box("bench", 3, 1, ("bench, tests", "what crosses rooms")),
        ],
        [
            ("core", "native", ""), ("serving", "core", ""), ("workflows", "core", ""), ("platform", "core", ""),
            ("bench", "serving", ""), ("bench", "workflows", ""), ("bench", "platform", ""),
        ],
    ),
    "roles": Picture(
        "Where a role comes from, and what it is asked for",
        [
            Box("token", 0, 0, ("token", "roles everywhere"), "store"),
            Box("member", 0, 1, ("member", "in one project"), "store"),
            Box("time", 0, 2, ("for a time", "ends by its own clock"), "store"),
            Box("actor", 1, 1, ("actor", "in a project's", "environment"), "person"),
            Box("policy", 2, 1, ("policies", "may they?")),
            Box("yes", 3, 0, ("done,", "and on record"), "end"),
            Box("no", 3, 1, ("denied,", "and by which rule"), "end"),
            Box("nothing", 3, 2, ("not there", "to who has no role"), "end"),
        ],
        [
            ("token", "actor", ""), ("member", "actor", ""), ("time", "actor", ""), ("actor", "policy", ""),
            ("policy", "yes", ""), ("policy", "no", ""), ("policy", "nothing", ""),
        ],
    ),
    "plan": Picture(
        "One plan, fitted once, runs in training and in serving",
        [
            Box("declared", 0, 0.5, ("declared plan", "impute, clip, hash, ..."), "store"),
            Box("fitted", 1, 0.5, ("fitted plan", "named by its digest"), "store"),
            Box("program", 2, 0.5, ("Program", "compiled once")),
            Box("training", 3, 0, ("training rows", "in Ray"), "end"),
            Box("serving", 3, 1, ("requests", "in serving"), "end"),
        ],
        [("declared", "fitted", "training rows"), ("fitted", "program", ""), ("program", "training", ""), ("program", "serving", "")],
    ),
    "features": Picture(
        "A feature value, by batch and by stream",
        [
            Box("files", 0, 0, ("files", "day by day"), "store"),
            Box("topic", 0, 1, ("Kafka topic", "event by event"), "store"),
            Box("checks", 1, 0, ("expectations", "or quarantine")),
            Box("tiles", 1, 1, ("same checks,", "same windows")),
            Box("lake", 2, 0, ("Parquet", "history"), "store"),
            Box("table", 2, 1, ("online table", "newest row of a key"), "store"),
            Box("join", 3, 0, ("point-in-time join", "what was known then"), "end"),
            Box("read", 3, 1, ("read", "at the present"), "end"),
        ],
        [
            ("files", "checks", ""), ("topic", "tiles", ""), ("checks", "lake", ""), ("tiles", "table", "push"),
            ("lake", "table", "materialise"), ("lake", "join", ""), ("table", "read", ""),
        ],
    ),
    "bundle": Picture(
        "What is in a bundle, and what it takes to open one",
        [
            Box("weights", 0, 0, ("weights", "no pickle"), "store"),
            Box("plan", 0, 1, ("plan, signature,", "card, bill, gates"), "store"),
            Box("manifest", 1, 0.5, ("manifest", "a digest of every file")),
            Box("digest", 2, 0, ("digest", "its name everywhere")),
            Box("sealed", 2, 1, ("signature,", "provenance")),
            Box("open", 3, 0.5, ("opened", "whole, or not at all"), "end"),
        ],
        [("weights", "manifest", ""), ("plan", "manifest", ""), ("manifest", "digest", ""), ("manifest", "sealed", ""), ("digest", "open", ""), ("sealed", "open", "")],
    ),
    "run": Picture(
        "A training run",
        [
            Box("data", 0, 0, ("data", "ingest, check, join")),
            Box("leak", 1, 0, ("leak check", "no feature knows", "the future")),
            Box("train", 2, 0, ("train", "Ray, checkpoints")),
            Box("gates", 3, 0, ("gates", "champion, baseline")),
            Box("bundle", 3, 1, ("bundle", "signed, registered")),
            Box("policy", 2, 1, ("policy", "may it go there?")),
            Box("person", 1, 1, ("approval", "somebody else"), "person"),
            Box("deploy", 0, 1, ("deployment", "canary by steps"), "end"),
        ],
        [
            ("data", "leak", ""), ("leak", "train", ""), ("train", "gates", ""), ("gates", "bundle", "passed"),
            ("bundle", "policy", ""), ("policy", "person", ""), ("person", "deploy", "yes"),
        ],
    ),
    "traffic": Picture(
        "An endpoint, its traffic table, and what a deployment does to it",
        [
            Box("caller", 0, 1, ("caller", "by entity or row"), "person"),
            Box("table", 1, 1, ("traffic table", "sticky by key")),
            Box("stable", 2, 0, ("stable", "95 %")),
            Box("canary", 2, 1, ("canary", "5 %, 25 %, 50 %")),
            Box("shadow", 2, 2, ("shadow", "asked afterwards")),
            Box("judge", 3, 0.5, ("judge", "same window, both")),
            Box("after", 4, 0.5, ("promoted,", "or taken back"), "end"),
        ],
        [
            ("caller", "table", ""), ("table", "stable", ""), ("table", "canary", ""), ("table", "shadow", ""),
            ("stable", "judge", ""), ("canary", "judge", ""), ("judge", "after", ""),
        ],
    ),
    "change": Picture(
        "A change of state: one way in, on record in the same transaction",
        [
            Box("actor", 0, 0.5, ("actor", "a token"), "person"),
            Box("identity", 1, 0.5, ("who is it?", "issuer, expiry")),
            Box("policy", 2, 0.5, ("may they?", "Cedar, by roles")),
            Box("budget", 3, 0.5, ("is there money?", "kept free")),
            Box("change", 4, 0, ("the change",), "store"),
            Box("audit", 4, 1, ("audit row", "hash of the last"), "store"),
        ],
        [("actor", "identity", ""), ("identity", "policy", ""), ("policy", "budget", ""), ("budget", "change", ""), ("budget", "audit", "")],
    ),
    "monitoring": Picture(
        "From an answer to an alert, and to a training",
        [
            Box("answers", 0, 0, ("prediction log", "a share of answers"), "store"),
            Box("labels", 0, 1, ("outcomes", "days later"), "store"),
            Box("sums", 1, 0.5, ("sums by hour", "slices, columns")),
            Box("check", 2, 0.5, ("check", "against the bundle's", "own baseline")),
            Box("alert", 3, 0, ("alert", "told, acknowledged"), "end"),
            Box("retrain", 3, 1, ("training", "a person approves"), "end"),
        ],
        [("answers", "sums", ""), ("labels", "sums", ""), ("sums", "check", ""), ("check", "alert", ""), ("check", "retrain", "")],
    ),
}  # fmt: skip


def pages() -> dict[str, str]:
    return {f"images/concepts/{name}.svg": draw(picture) for name, picture in PICTURES.items()}
