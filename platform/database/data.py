"""Data: what there is, where it came from, what it may be used for, and what was asked about persons."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from mainspring.platform.database.metadata import NUMBER, TEXT, metadata

lineage_events: Final = sa.Table(
    "lineage_events",
    metadata,
    sa.Column("event_digest", TEXT, primary_key=True),
    sa.Column("run_id", TEXT, nullable=False, index=True),
    sa.Column("job_namespace", TEXT, nullable=False),
    sa.Column("job_name", TEXT, nullable=False),
    sa.Column("event_type", TEXT, nullable=False),
    sa.Column("event_time", TEXT, nullable=False),
    sa.Column("received_at", TEXT, nullable=False),
    sa.Column("reported_by", TEXT, nullable=False),
    sa.Column("event", sa.JSON, nullable=False),
)

#: A dataset of one version (`column` empty), or one of its columns.
lineage_nodes: Final = sa.Table(
    "lineage_nodes",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("namespace", TEXT, nullable=False),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("version", TEXT, nullable=False),
    sa.Column("column", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.UniqueConstraint("namespace", "name", "version", "column"),
)

#: Numbers only, so that a walk over a million of them stays in memory; `job` and `run_id` of who did it first.
lineage_edges: Final = sa.Table(
    "lineage_edges",
    metadata,
    sa.Column("source", sa.ForeignKey("lineage_nodes.id"), primary_key=True),
    sa.Column("target", sa.ForeignKey("lineage_nodes.id"), primary_key=True, index=True),
    sa.Column("job", TEXT, nullable=False),
    sa.Column("run_id", TEXT, nullable=False),
)

#: `searched` is the text of names, columns, description, tags and owner, case folded.
catalog: Final = sa.Table(
    "catalog",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("owner", TEXT, nullable=False),
    sa.Column("classification", TEXT, nullable=False),
    sa.Column("has_pii", sa.Boolean, nullable=False),
    sa.Column("searched", TEXT, nullable=False),
    sa.Column("updated_at", TEXT, nullable=False),
    sa.Column("entry", sa.JSON, nullable=False),
)

#: Columns that may tell of persons: found, and decided about by a person.
classifications: Final = sa.Table(
    "classifications",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("entry", TEXT, primary_key=True),
    sa.Column("column_name", TEXT, primary_key=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("classification", TEXT, nullable=False),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("sampled_rows", sa.BigInteger, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("found_at", TEXT, nullable=False),
    sa.Column("found_by", TEXT, nullable=False),
    sa.Column("decided_at", TEXT),
    sa.Column("decided_by", TEXT, nullable=False),
    sa.Column("decision_reason", TEXT, nullable=False),
)

#: What a person said that an entry of the catalog may be used for; of one that nobody decided on there is no row.
purposes: Final = sa.Table(
    "purposes",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("entry", TEXT, primary_key=True),
    sa.Column("purposes", sa.JSON, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("decided_at", TEXT, nullable=False),
    sa.Column("decided_by", TEXT, nullable=False),
)

#: Impact assessments; of a project at most one is open, and at most one signed.
dpias: Final = sa.Table(
    "dpias",
    metadata,
    sa.Column("dpia_id", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("digest", TEXT, nullable=False),
    sa.Column("answers", sa.JSON, nullable=False),
    sa.Column("risk", TEXT, nullable=False),
    sa.Column("score", sa.Integer, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("submitted_at", TEXT, nullable=False),
    sa.Column("submitted_by", TEXT, nullable=False),
    sa.Column("decided_at", TEXT),
    sa.Column("decided_by", TEXT, nullable=False),
    sa.Column("decision_reason", TEXT, nullable=False),
    sa.Column("valid_until", TEXT),
    *(
        sa.Index(f"dpias_{state}", "project", unique=True, sqlite_where=one, postgresql_where=one)
        for state, one in (("open", sa.text("state = 'open'")), ("signed", sa.text("state = 'signed'")))
    ),
)

#: Erasures; of a subject, which its keyed hash stands for, at most one is under way.
erasures: Final = sa.Table(
    "erasures",
    metadata,
    sa.Column("erasure_id", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("entity", TEXT, nullable=False),
    sa.Column("subject_hash", TEXT, nullable=False),
    sa.Column("ground", TEXT, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("requested_at", TEXT, nullable=False),
    sa.Column("requested_by", TEXT, nullable=False),
    sa.Column("decided_at", TEXT),
    sa.Column("decided_by", TEXT, nullable=False),
    sa.Column("decision_reason", TEXT, nullable=False),
    sa.Column("ended_at", TEXT),
    sa.Column("message", TEXT, nullable=False),
    sa.Column("rows_erased", sa.BigInteger, nullable=False),
    sa.Column("certificate", TEXT, nullable=False),
    sa.Index(
        "erasures_once",
        "project",
        "entity",
        "subject_hash",
        unique=True,
        sqlite_where=sa.text("state IN ('open', 'erasing')"),
        postgresql_where=sa.text("state IN ('open', 'erasing')"),
    ),
)

#: Legal holds: on what was written in a time, or on one subject, which its keyed hash stands for; on that at most one is in force.
#: `origin`: the digest of a hold that a retention's schedule had, which is taken over once.
holds: Final = sa.Table(
    "holds",
    metadata,
    sa.Column("hold_id", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("kinds", sa.JSON, nullable=False),
    sa.Column("since", TEXT),
    sa.Column("until", TEXT),
    sa.Column("entity", TEXT, nullable=False),
    sa.Column("subject_hash", TEXT, nullable=False),
    sa.Column("matter", TEXT, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("origin", TEXT, nullable=False),
    sa.Column("placed_at", TEXT, nullable=False),
    sa.Column("placed_by", TEXT, nullable=False),
    sa.Column("lift_asked_at", TEXT),
    sa.Column("lift_asked_by", TEXT, nullable=False),
    sa.Column("lift_reason", TEXT, nullable=False),
    sa.Column("lift_due_at", TEXT),
    sa.Column("lifted_at", TEXT),
    sa.Column("lifted_by", TEXT, nullable=False),
    sa.Column("decision_reason", TEXT, nullable=False),
    *(
        sa.Index(name, "project", *columns, unique=True, sqlite_where=where, postgresql_where=where)
        for name, columns, where in (
            ("holds_once", ("entity", "subject_hash"), sa.text("lifted_at IS NULL AND subject_hash <> ''")),
            ("holds_taken_over", ("origin",), sa.text("origin <> ''")),
        )
    ),
)

#: Billionths of epsilon that may be spent on a dataset, and each charge.
privacy_budgets: Final = sa.Table(
    "privacy_budgets",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("dataset", TEXT, primary_key=True),
    sa.Column("nanos", sa.BigInteger, nullable=False),
    sa.Column("set_at", TEXT, nullable=False),
    sa.Column("set_by", TEXT, nullable=False),
)

privacy_spends: Final = sa.Table(
    "privacy_spends",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("spend_key", TEXT, primary_key=True),
    sa.Column("dataset", TEXT, nullable=False, index=True),
    sa.Column("nanos", sa.BigInteger, nullable=False),
    sa.Column("question", TEXT, nullable=False),
    sa.Column("column_name", TEXT, nullable=False),
    sa.Column("spent_at", TEXT, nullable=False),
    sa.Column("spent_by", TEXT, nullable=False),
)
