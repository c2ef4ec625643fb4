"""What the database itself refuses, whoever writes to it: a change without an audit row, and an audit log rewritten.

SQLite has no trigger at commit, but foreign keys that are checked then. A change leaves in `audit_due` the number of
the audit row that must follow; the row takes it out again. Connections without `foreign_keys` are refused at once.
PostgreSQL has deferred constraint triggers: at commit, the last audit row must be of the same transaction.

They are put in force after every upgrade, over all tables there are, so that no table is forgotten. They stop whoever
has the rights of the control API. Whoever owns the tables, or the file, can drop them: `missing` tells, and checkpoints
(`docs/adr/0009-signed-checkpoints.md`) show what was done meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from mainspring.platform.audit import rows

#: Tables that change without an audit row, and why.
UNGUARDED: Final = {
    "audit": "is the record",
    "audit_due": "is how SQLite's commit knows of the record",
    "alembic_version": "is written by upgrades only; the control API may not",
    "read_decisions": "is what reads were answered, counted, and no state that they change",
    "request_keys": "is what requests were answered, and no state that they change",
}

_CHANGED: Final = "audit rows are never changed"
_UNLINKED: Final = "an audit row follows the last one, by number and by hash"
_UNLINKED_IN_PROJECT: Final = "an audit row follows the last one of its project, by number and by hash"
_UNRECORDED: Final = "a change is not on record; append its audit row in the same transaction"
_UNCHECKED: Final = "foreign_keys is off; switch it on, or no commit is checked for its audit row"


def install(connection: sa.Connection) -> None:
    """Put every guard in force, in the caller's transaction."""
    if connection.dialect.name == "sqlite":
        _install_sqlite(connection)
    else:
        for statement in _postgresql(_guarded(connection)):
            connection.exec_driver_sql(statement)


def missing(connection: sa.Connection) -> list[str]:
    """Guards that are not as `install` makes them, by name."""
    if connection.dialect.name == "sqlite":
        wanted, found = dict(_sqlite(_guarded(connection))), _triggers_of_sqlite(connection)
        return sorted(name for name, text in wanted.items() if found.get(name) != text)
    return _missing_postgresql(connection)


def is_refusal(error: exc.DBAPIError) -> bool:
    """Did the database refuse a commit for want of an audit row. Our other foreign keys do not wait for the commit."""
    text = str(error.orig)
    return _UNRECORDED in text or (error.statement is None and "FOREIGN KEY constraint failed" in text)


def rewriters(connection: sa.Connection) -> str:
    """Why the role of this PostgreSQL connection could rewrite the log; empty: it could not."""
    owner = "pg_has_role((SELECT relowner FROM pg_class WHERE oid = 'public.audit'::regclass), 'MEMBER')"
    rights = ", ".join(
        f"has_table_privilege('public.audit', '{right}') AS {right.lower()}"
        for right in ("UPDATE", "DELETE", "TRUNCATE")
    )
    query = (
        f"SELECT {owner} AS owner, {rights}, has_any_column_privilege('public.audit', 'UPDATE') AS any_column"
    )
    found = connection.execute(sa.text(query)).one()._mapping
    if found["owner"]:
        return "it owns the table, or is a member of its owner"
    has = [name.upper() for name in ("update", "delete", "truncate") if found[name]]
    return (
        f"it has {', '.join(has)} on it" if has else "it may update a column" if found["any_column"] else ""
    )


def _guarded(connection: sa.Connection) -> list[str]:
    return sorted(set(sa.inspect(connection).get_table_names()) - set(UNGUARDED))


def _triggers_of_sqlite(connection: sa.Connection) -> dict[str, str]:
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    return {row.name: row.sql for row in connection.execute(sa.text(query))}


def _install_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE IF NOT EXISTS audit_due (sequence INTEGER PRIMARY KEY"
        " REFERENCES audit (sequence) DEFERRABLE INITIALLY DEFERRED)"
    )
    found = _triggers_of_sqlite(connection)
    for name, text in _sqlite(_guarded(connection)):
        if found.get(name) != text:
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
            connection.exec_driver_sql(text)


def _sqlite(tables: list[str]) -> Iterator[tuple[str, str]]:
    """Names and texts of the triggers, as `sqlite_master` has them."""

    def trigger(name: str, when: str, *statements: str) -> tuple[str, str]:
        return name, f"CREATE TRIGGER {name} {when} BEGIN {' '.join(f'{s};' for s in statements)} END"

    def refuse(why: str, condition: str = "1") -> str:
        return f"SELECT RAISE(ABORT, '{why}') WHERE {condition}"

    for verb in ("UPDATE", "DELETE"):
        yield trigger(f"audit_no_{verb.lower()}", f"BEFORE {verb} ON audit", refuse(_CHANGED))
    last = "(SELECT {} FROM audit ORDER BY sequence DESC LIMIT 1)"
    # REPLACE deletes the row that is in the way without asking the trigger above: nothing may be in the way.
    yield trigger(
        "audit_follows",
        "BEFORE INSERT ON audit",
        refuse(
            _UNLINKED,
            f"NEW.sequence IS NOT coalesce({last.format('sequence')}, 0) + 1"
            f" OR NEW.previous_hash IS NOT coalesce({last.format('hash')}, '{rows.GENESIS}')"
            " OR EXISTS (SELECT 1 FROM audit WHERE event_id = NEW.event_id)"
            " OR EXISTS (SELECT 1 FROM audit WHERE event_key = NEW.event_key)"
            " OR EXISTS (SELECT 1 FROM audit WHERE previous_hash = NEW.previous_hash)",
        ),
    )
    of_project = "(SELECT {} FROM audit WHERE project = NEW.project ORDER BY project_sequence DESC LIMIT 1)"
    yield trigger(
        "audit_follows_in_project",
        "BEFORE INSERT ON audit",
        refuse(
            _UNLINKED_IN_PROJECT,
            "CASE WHEN NEW.project IS NULL THEN NEW.project_sequence IS NOT NULL OR NEW.project_previous IS NOT NULL"
            f" ELSE NEW.project_sequence IS NOT coalesce({of_project.format('project_sequence')}, 0) + 1"
            f" OR NEW.project_previous IS NOT coalesce({of_project.format('hash')}, '{rows.GENESIS}') END",
        ),
    )
    yield trigger(
        "audit_done", "AFTER INSERT ON audit", "DELETE FROM audit_due WHERE sequence <= NEW.sequence"
    )
    kept = "NOT EXISTS (SELECT 1 FROM audit WHERE sequence = OLD.sequence)"
    yield trigger("audit_due_no_delete", "BEFORE DELETE ON audit_due", refuse(_UNRECORDED, kept))
    yield trigger("audit_due_no_update", "BEFORE UPDATE ON audit_due", refuse(_UNRECORDED))
    for table in tables:
        for verb in ("INSERT", "UPDATE", "DELETE"):
            yield trigger(
                f"{table}_{verb.lower()}_audited",
                f"AFTER {verb} ON {table}",
                refuse(_UNCHECKED, "(SELECT foreign_keys FROM pragma_foreign_keys) = 0"),
                "INSERT INTO audit_due SELECT next FROM (SELECT coalesce(max(sequence), 0) + 1 AS next FROM audit)"
                " WHERE NOT EXISTS (SELECT 1 FROM audit_due WHERE sequence = next)",
            )


#: Bodies of the trigger functions. Tables by their schema: a temporary one of the same name must not take their place.
_FUNCTIONS: Final = {
    "mainspring_refuse_change": f"""
BEGIN
  RAISE EXCEPTION '{_CHANGED}' USING ERRCODE = 'integrity_constraint_violation';
END""",
    "mainspring_refuse_truncate": """
BEGIN
  RAISE EXCEPTION 'tables are never truncated' USING ERRCODE = 'integrity_constraint_violation';
END""",
    # The bytes of `audit/rows.py`, written once more where nobody can leave them out.
    "mainspring_audit_follows": f"""
DECLARE
  last record;
  before record;
  chained text := '';
  bytes text;
BEGIN
  IF (NEW.project IS NULL) <> (NEW.project_sequence IS NULL) OR (NEW.project IS NULL) <> (NEW.project_previous IS NULL) THEN
    RAISE EXCEPTION '{_UNLINKED_IN_PROJECT}' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  IF NEW.project IS NOT NULL THEN
    SELECT project_sequence, hash INTO before FROM public.audit WHERE project = NEW.project
      ORDER BY project_sequence DESC LIMIT 1;
    IF NEW.project_sequence <> coalesce(before.project_sequence, 0) + 1
        OR NEW.project_previous <> coalesce(before.hash, '{rows.GENESIS}') THEN
      RAISE EXCEPTION '{_UNLINKED_IN_PROJECT}' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    chained := '"project":' || to_json(NEW.project) || ',"project_previous":' || to_json(NEW.project_previous)
      || ',"project_sequence":' || NEW.project_sequence || ',';
  END IF;
  SELECT sequence, hash INTO last FROM public.audit ORDER BY sequence DESC LIMIT 1;
  bytes := '{{"action":' || to_json(NEW.action) || ',"actor":' || to_json(NEW.actor) || ',"at":' || to_json(NEW.at)
    || ',"detail":' || NEW.detail || ',"event_id":' || to_json(NEW.event_id)
    || ',"outcome":' || to_json(NEW.outcome) || ',"previous_hash":' || to_json(NEW.previous_hash)
    || ',' || chained || '"resource":' || to_json(NEW.resource) || ',"sequence":' || NEW.sequence || '}}';
  IF NEW.sequence <> coalesce(last.sequence, 0) + 1
      OR NEW.previous_hash <> coalesce(last.hash, '{rows.GENESIS}')
      OR NEW.hash <> 'sha256:' || encode(sha256(convert_to(bytes, 'UTF8')), 'hex') THEN
    RAISE EXCEPTION '{_UNLINKED}' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END""",
    "mainspring_must_be_audited": f"""
BEGIN
  IF (SELECT xmin FROM public.audit ORDER BY sequence DESC LIMIT 1)
      IS DISTINCT FROM pg_current_xact_id()::xid THEN
    RAISE EXCEPTION '{_UNRECORDED}' USING ERRCODE = 'integrity_constraint_violation', TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NULL;
END""",
}


def _triggers_of_postgresql(tables: list[str]) -> Iterator[tuple[str, str, str]]:
    """Table, name and the rest of each trigger."""
    yield "audit", "no_change", "BEFORE UPDATE OR DELETE {} FOR EACH ROW {}mainspring_refuse_change()"
    yield "audit", "follows", "BEFORE INSERT {} FOR EACH ROW {}mainspring_audit_follows()"
    for table in ("audit", *tables):
        yield table, "no_truncate", "BEFORE TRUNCATE {} FOR EACH STATEMENT {}mainspring_refuse_truncate()"
    for table in tables:
        yield (
            table,
            "audited",
            "AFTER INSERT OR UPDATE OR DELETE {} DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW {}mainspring_must_be_audited()",
        )


def _postgresql(tables: list[str]) -> Iterator[str]:
    for name, body in _FUNCTIONS.items():
        yield f"CREATE OR REPLACE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql AS $guard${body}$guard$"
    for table, name, rest in _triggers_of_postgresql(tables):
        kind = "CONSTRAINT TRIGGER" if "DEFERRED" in rest else "TRIGGER"
        yield f"DROP TRIGGER IF EXISTS {name} ON public.{table}"
        yield f"CREATE {kind} {name} {rest.format(f'ON public.{table}', 'EXECUTE FUNCTION public.')}"


def _missing_postgresql(connection: sa.Connection) -> list[str]:
    query = (
        "SELECT c.relname, t.tgname, p.proname, p.prosrc FROM pg_trigger t"
        " JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid"
        " WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')"
    )
    found = {
        (row.relname, row.tgname)
        for row in connection.execute(sa.text(query))
        if _FUNCTIONS.get(row.proname) == row.prosrc
    }
    wanted = {(table, name) for table, name, _ in _triggers_of_postgresql(_guarded(connection))}
    return sorted(f"{table}.{name}" for table, name in wanted - found)
