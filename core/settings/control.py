"""The control API: where it is, who may ask it, what it keeps secret and on record, and how much a project may have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mainspring.core.settings.group import Group, Port


class ControlSettings(Group):
    """The control API."""

    host: str = "127.0.0.1"
    """Loopback until an identity provider is configured: the embedded issuer's tokens are for one machine."""
    port: Port = 7700
    """Default: `stack.port_base`."""
    url: Annotated[str, Field(pattern=r"^(|https?://[^\s/?#]+)$")] = ""
    """Where clients reach it, as behind a proxy that speaks TLS; default: `http://<host>:<port>`."""
    token_file: str = ""
    """File with the bearer token that the command line shows, read anew for each request; empty: who signed in with `mainspring login`,
    or else the embedded issuer's."""
    database_url: str = ""
    """SQLAlchemy URL of SQLite (`sqlite+aiosqlite:///<file>`) or PostgreSQL (`postgresql+psycopg://<role>@<host>/<name>`);
    default: SQLite (WAL) under the state directory."""
    migration_url: str = ""
    """PostgreSQL: the same database as the role that owns its tables, for `mainspring db upgrade`; empty: the same role."""
    backup_days: Annotated[float, Field(ge=1, le=3_650)] = 30.0
    """How long SQLite's file is kept as it was before an upgrade; then the control API removes the copy: it has what people wrote, too."""
    tokens_file: Path = Path("tokens.json")
    """Development tokens of the embedded issuer, mode 0600; default: under the state directory."""
    policies_dir: Path | None = None
    """An organisation's own Cedar policies (`*.cedar`), in force beside ours; none: ours alone."""
    synthetic_only: Annotated[str, Field(pattern=r"^(|(dev|staging|prod)(,(dev|staging|prod))*)$")] = "dev"
    """Environments, by comma, that read rows of nobody or sealed columns where a column is confidential or restricted; empty: none."""
    export_places: Annotated[str, Field(pattern=r"^(|(/|s3://)[^,]+(,(/|s3://)[^,]+)*)$")] = ""
    """Folders and `s3://bucket/prefix`, by comma, that are the platform's own beside a project's folder of the state directory; `{project}`
    in one is its name. What is written elsewhere is asked of the policies as `data.export`. The root (a slash) alone: every folder of this machine is."""
    access_hours: Annotated[float, Field(gt=0, le=8_760)] = 8.0
    """The longest time for which a role may be asked for: a working day."""
    break_glass_hours: Annotated[float, Field(gt=0, le=24)] = 1.0
    """The longest time for which a role may be taken in an emergency, without anybody's decision."""
    access_decision_hours: Annotated[float, Field(gt=0, le=720)] = 24.0
    """A request that nobody has decided on by then lapses: what it was for is over."""
    service_token_minutes: Annotated[float, Field(ge=0, le=60)] = 15.0
    """How long a token of a service account counts; 0: none is given here."""
    alert_url: Annotated[
        str,
        Field(
            pattern=r"^(|https://.+|http://(127\.0\.0\.1|localhost|\[::1\])([:/].*)?|(openbao:[a-z0-9]|file:/[A-Za-z0-9_.-]|env:[A-Z]).+)$"
        ),
    ] = ""
    """Where alarms are posted as JSON, such as broken glass; https, or http on this machine; where the address is itself a secret, its place
    (`openbao:MOUNT/PATH#FIELD`, `file:/PATH`, `env:NAME`). Empty: they are in the log, the audit log and `mainspring access list` alone."""


class IdentitySettings(Group):
    """The OpenID provider whose bearer tokens the control API and serving take."""

    issuer: str = ""
    """Its `iss`, from which its keys are found by discovery; https, or http on this machine. Empty: there is none."""
    audience: str = ""
    """Whom tokens must be for (`aud`); required beside an issuer."""
    algorithms: str = "RS256,ES256"
    """Signatures that are taken, by comma; asymmetric ones only."""
    name_claim: str = "sub"
    """The claim that names the actor on record. Choose one that nobody can give himself."""
    roles_claim: str = "roles"
    """The claim that has roles, a list or words; dots lead into objects: `realm_access.roles`."""
    roles_prefix: str = ""
    """What stands before our roles there, as in `mainspring:developer`."""
    groups_claim: str = "groups"
    """The claim that has the groups that `group_roles` names; dots lead into objects."""
    group_roles: Annotated[
        str,
        Field(
            pattern=r"^(|[^;]+=(viewer|developer|approver|admin)(;[^;]+=(viewer|developer|approver|admin))*)$"
        ),
    ] = ""
    """`GROUP=ROLE` by semicolon: who is in the group at the provider has that role, beside those of `roles_claim`. A group may have
    commas and `=` in its name, as a directory's have: `CN=ML,OU=Teams=developer`. Empty: groups say nothing."""
    account_claim: str = ""
    """The claim that names a service account, as `azp` or `client_id` do where its client is called `service-account:<project>:<name>`; such
    a client may have the client credentials grant alone. Empty: the provider has none of them."""
    leeway_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    """How far the provider's clock may be from ours."""
    keys_cache_seconds: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """After so long its keys are fetched again: the time in which a withdrawn one is still taken."""
    embedded: bool = True
    """Are the embedded issuer's tokens taken as well; workers and serving of this machine have those."""
    portal_client_id: str = ""
    """The public client (no secret, PKCE) by which people sign in to the web pages; its redirect is `<control API>/portal/callback`.
    Empty: nobody signs in there by the provider."""
    portal_scopes: str = "openid profile"
    """What the pages ask the provider for, beside a token for `audience`."""
    cli_client_id: str = ""
    """The public client (no secret, PKCE, native) by which people sign in with `mainspring login`; its redirect is
    `http://127.0.0.1/callback` with any port. Empty: nobody signs in there by the provider."""
    cli_scopes: str = "openid profile offline_access"
    """What the command line asks the provider for; without `offline_access` a sign-in lasts as long as its first token."""

    def roles_of_groups(self) -> tuple[tuple[str, str], ...]:
        """`group_roles`, each group with its role."""
        entries = (entry.rpartition("=") for entry in self.group_roles.split(";") if entry)
        return tuple((group.strip(), role) for group, _, role in entries)


class SecretSettings(Group):
    """Where secrets are read that others keep: what a project refers to, and what a setting says in the place of a secret."""

    openbao_url: Annotated[
        str, Field(pattern=r"^(|https://.+|http://(127\.0\.0\.1|localhost|\[::1\])([:/].*)?)$")
    ] = ""
    """Where OpenBao is; https, or http on this machine. Empty: `openbao:` is not read."""
    openbao_token_file: Path = Path("keys/secrets-openbao.token")
    """Its token, read anew for every call, so that an agent may renew it; default: under the state directory."""
    files_dir: Annotated[str, Field(pattern=r"^/.*$")] = "/run/secrets"
    """`file:` is read below this folder alone, where an orchestrator mounts secrets."""
    project_places: Annotated[
        str,
        Field(pattern=r"^(|(openbao:|file:/)[^,{}]*\{project\}/(,(openbao:|file:/)[^,{}]*\{project\}/)*)$"),
    ] = "openbao:secret/{project}/,file:/run/secrets/{project}/"
    """What a project's references may lead to, by comma; `{project}` is its name. A project never reads another's, nor variables of the
    process. Empty: nothing."""
    cache_seconds: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """A secret is read again after so long: the time in which one that was rotated is still used."""


class AuditSettings(Group):
    """What proves the audit log: whose key signs its checkpoints, and where they are kept."""

    signer: Literal["file", "openbao"] = "file"
    """Who signs: a key file of this machine (`keys/audit.key` under the state directory), or OpenBao's transit engine."""
    openbao_url: Annotated[
        str, Field(pattern=r"^(|https://.+|http://(127\.0\.0\.1|localhost|\[::1\])([:/].*)?)$")
    ] = ""
    """Where OpenBao is; https, or http on this machine."""
    openbao_token_file: Path = Path("keys/audit-openbao.token")
    """Its token, read anew for every call, so that an agent may renew it; default: under the state directory."""
    openbao_mount: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_/-]*$")] = "transit"
    """Where its transit engine is mounted."""
    openbao_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "mainspring-audit"
    """A key of type `ed25519`, which OpenBao does not give away."""
    checkpoints_url: Annotated[
        str, Field(pattern=r"^(|s3://[a-z0-9][a-z0-9.-]{2,62}/([A-Za-z0-9_./-]*/)?)$")
    ] = ""
    """`s3://BUCKET/FOLDER/` where each checkpoint is an object that is never written twice; credentials, endpoint and region from
    `AWS_*`. Empty: the file `audit/checkpoints.jsonl` under the state directory alone."""
    object_lock: Literal["off", "governance", "compliance"] = "off"
    """How the bucket must hold on to what it is given (its default retention). `compliance`: nobody can delete or shorten it."""
    interval_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    """What is done and undone between two checkpoints is not shown: the window."""
    late_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Rows that wait longer for a checkpoint make `/readyz` say `degraded`, and an export refuses. Appends go on."""


class QuotaSettings(Group):
    """What a project may have at once, where `mainspring quota set` has not said otherwise."""

    max_open_runs: Annotated[int, Field(ge=0)] | None = None
    """Runs that have not ended; none: no limit."""
    max_workers: Annotated[int, Field(ge=0)] | None = None
    """Cores of one run: the workers of a training, study or batch scoring, or of a pipeline's largest step; none: no limit."""
    max_endpoints: Annotated[int, Field(ge=0)] | None = None
    """Names of endpoints; none: no limit."""
    max_storage_mib: Annotated[int, Field(ge=0)] | None = None
    """MiB on disks, as measured last: who has them begins nothing that makes files; none: no limit."""


class NotebookSettings(Group):
    """Notebook workspaces of one machine."""

    dir: Path = Path("notebooks")
    """A folder for each, and JupyterLab's packages; default: under the state directory."""
    max_cores: Annotated[int, Field(ge=1, le=1024)] = 2
    """The most cores that one may have."""
    max_memory_gib: Annotated[float, Field(gt=0)] = 8.0
    """The most memory that one may have, of all its processes together."""
    max_hours: Annotated[float, Field(gt=0, le=720)] = 12.0
    """The longest that one may run, however often it is extended."""
    idle_minutes: Annotated[float, Field(gt=0, le=10_080)] = 30.0
    """One ends when nobody has done anything there for so long."""
    per_project: Annotated[int, Field(ge=1, le=1000)] = 2
    """How many a project may have at work at once."""
    budget_grace_seconds: Annotated[float, Field(ge=0, le=3600)] = 180.0
    """From the notice that its budget is spent to its end, within what is kept free for it; JupyterLab saves every two minutes."""
