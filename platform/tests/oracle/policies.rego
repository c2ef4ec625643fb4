# Our policies once more, written from the guide (docs/control-plane.md) and not from the Cedar files, for another engine.
# `test_platform_policy_oracle.py` asks both. What a question looks like: `platform/policies/questions.py`, `to_record`.
package mainspring

import rego.v1

any_role := {"viewer", "developer", "approver", "admin", "service"}

reads := {
	"project.read", "run.read", "cost.read", "lineage.read", "catalog.read",
	"classification.read", "keyset.read", "masking.read", "purpose.read", "dpia.read", "privacy.read", "secret.read", "service-account.read", "erasure.read", "hold.read", "quarantine.read", "schedule.read", "endpoint.read", "pipeline.read", "member.read", "access.read", "approval.read", "monitor.read", "alert.read", "audit.read", "quota.read",
}

whole_log := {"audit.verify", "audit.export", "key.read", "policy.read"}

has(q, wanted) if {
	some role in q.principal.roles
	role in wanted
}

has_of_platform(q, wanted) if {
	some role in q.principal.platform_roles
	role in wanted
}

may(q, "read.project") if {
	q.action in reads
	q.resource.type == "Project"
	has(q, any_role)
}

may(q, "read.platform") if {
	q.action in reads | whole_log
	q.resource.type == "Platform"
	has_of_platform(q, any_role)
}

may(q, "policy.dry-run") if {
	q.action == "policy.dry-run"
	has_of_platform(q, {"approver", "admin"})
}

may(q, "key.change") if {
	q.action == "key.change"
	has_of_platform(q, {"admin"})
}

may(q, "project.create") if {
	q.action == "project.create"
	has_of_platform(q, {"developer", "admin"})
}

may(q, "project.update") if {
	q.action == "project.update"
	has(q, {"admin"})
}

may(q, "model.import") if {
	q.action == "model.import"
	has(q, {"developer", "admin"})
}

may(q, "evidence.export") if {
	q.action == "evidence.export"
	has(q, {"approver", "admin"})
}

may(q, "member.change") if {
	q.action in {"member.set", "member.remove"}
	has(q, {"admin"})
}

people := {"viewer", "developer", "approver", "admin"}

may(q, "access.ask") if {
	q.action == "access.request"
	has(q, people)
}

may(q, "access.break-glass") if {
	q.action == "access.break-glass"
	has(q, people - {"viewer"})
}

may(q, "access.decide") if {
	q.action == "access.decide"
	has(q, {"admin"})
}

may(q, "access.decide") if {
	q.action == "access.decide"
	q.context.role in {"viewer", "developer"}
	has(q, {"approver"})
}

may(q, "access.review") if {
	q.action == "access.review"
	has(q, {"approver", "admin"})
}

may(q, "access.revoke") if {
	q.action == "access.revoke"
	has(q, {"approver", "admin"})
}

may(q, "access.revoke") if {
	q.action == "access.revoke"
	q.context.requested_by == q.principal.name
}

may_not(q, "access.four-eyes") if {
	q.action in {"access.decide", "access.review"}
	q.context.requested_by == q.principal.name
}

may(q, "run.start") if {
	q.action == "run.start"
	has(q, {"developer", "admin", "service"})
}

may(q, "pipeline.run") if {
	q.action == "pipeline.run"
	has(q, {"developer", "admin"})
}

retires := {"approver", "admin"}

may(q, "run.retire") if {
	q.action == "run.start"
	q.context.kind in {"retire", "release"}
	has(q, retires)
}

may_not(q, "run.retire.role") if {
	q.action == "run.start"
	q.context.kind in {"retire", "release"}
	not has(q, retires)
}

may(q, "approval.role") if {
	q.action == "run.decide"
	has(q, {"approver", "admin"})
}

may(q, "run.cancel") if {
	q.action == "run.cancel"
	has(q, {"developer", "approver", "admin"})
}

may(q, "run.resume") if {
	q.action == "run.resume"
	has(q, {"developer", "admin"})
}

may(q, "canary.steer") if {
	q.action == "run.steer"
	has(q, {"developer", "approver", "admin"})
}

may_not(q, "canary.gate") if {
	q.action == "run.steer"
	q.context.order == "promote"
	not has(q, {"approver", "admin"})
}

may_not(q, "canary.gate") if {
	q.action == "run.steer"
	q.context.order == "promote"
	startswith(q.principal.name, "service-account:")
}

may(q, "endpoint.delete") if {
	q.action == "endpoint.delete"
	has(q, {"approver", "admin"})
}

may(q, "record.service") if {
	q.action in {"run.report", "key.report", "endpoint.report", "erasure.report", "access.expire", "notebook.end", "usage.record", "usage.record-serving", "monitor.record", "retention.remove", "service-account.introspect"}
	has(q, {"service"})
}

may(q, "record.developer") if {
	q.action in {"catalog.put", "classification.find", "lineage.record"}
	has(q, {"service", "developer", "admin"})
}

may(q, "classification.decide") if {
	q.action == "classification.decide"
	has(q, {"approver", "admin"})
}

may(q, "purpose.decide") if {
	q.action == "purpose.decide"
	has(q, {"approver", "admin"})
}

may_not(q, "purpose.bound") if {
	q.action in {"data.use", "data.export", "run.start"}
	q.context.is_for_purpose == false
}

may_not(q, "purpose.assessed") if {
	q.action == "run.start"
	q.context.is_assessed == false
}

may(q, "keyset.change") if {
	q.action == "keyset.change"
	has(q, {"admin"})
}

people_who_work := {"developer", "approver", "admin"}

may(q, "data.see.part") if {
	q.action == "data.see"
	q.context.classification == "confidential"
	q.context.form in {"partial", "hash"}
	has(q, people_who_work)
}

may(q, "data.see.token") if {
	q.action == "data.see"
	q.context.classification == "restricted"
	q.context.form == "hash"
	has(q, people_who_work)
}

may(q, "data.see.serving") if {
	q.action == "data.see"
	q.context.purpose == "prediction"
	has(q, {"service"})
}

may(q, "secret.change") if {
	q.action in {"secret.set", "secret.remove"}
	has(q, {"admin"})
}

manages_accounts := {"service-account.create", "service-account.change", "service-account.rotate", "service-account.delete"}

may(q, "service-account.manage") if {
	q.action in manages_accounts
	has(q, {"admin"})
}

may(q, "service-account.token") if {
	q.action == "service-account.token"
	has(q, people)
}

may_not(q, "service-account.gives-no-rights") if {
	q.action in manages_accounts | {"member.set", "member.remove", "access.request", "access.break-glass", "access.decide", "access.review"}
	startswith(q.principal.name, "service-account:")
}

may_not(q, "service-account.decides-nothing") if {
	q.action in {"run.decide", "quarantine.release", "classification.decide", "purpose.decide", "dpia.decide", "erasure.decide", "hold.lift", "hold.decide"}
	startswith(q.principal.name, "service-account:")
}

may(q, "quota.set") if {
	q.action == "quota.set"
	has_of_platform(q, {"admin"})
}

may(q, "notebook.change") if {
	q.action == "notebook.change"
	has(q, {"developer", "admin"})
}

may(q, "data.use") if {
	q.action == "data.use"
	has(q, {"service", "developer", "admin"})
}

may(q, "secret.use") if {
	q.action == "secret.use"
	has(q, {"service"})
}

may(q, "data.export") if {
	q.action == "data.export"
	has(q, {"developer", "approver", "admin", "service"})
}

may_not(q, "data.export.classified") if {
	q.action == "data.export"
	q.context.classification in {"confidential", "restricted"}
	not q.context.is_inside
	not exports_for_a_purpose(q)
}

exports_for_a_purpose(q) if {
	q.context.purpose != ""
	has(q, {"approver", "admin"})
}

may_not(q, sprintf("%s.synthetic-only", [q.action])) if {
	q.action in {"data.use", "data.see"}
	q.context.is_synthetic_only
	q.context.form == "clear"
}

may(q, "sealed.open") if {
	q.action == "sealed.open"
	has(q, {"admin"})
}

may(q, "sealed.open") if {
	q.action == "sealed.open"
	q.context.classification != "restricted"
	has(q, {"approver"})
}

may(q, "dpia.submit") if {
	q.action == "dpia.submit"
	has(q, {"developer", "admin"})
}

may(q, "dpia.decide") if {
	q.action == "dpia.decide"
	has(q, {"approver", "admin"})
}

may(q, "privacy.budget") if {
	q.action == "privacy.budget"
	has(q, {"admin"})
}

may(q, "privacy.spend") if {
	q.action == "privacy.spend"
	has(q, people_who_work)
}

may(q, "erasure.request") if {
	q.action == "erasure.request"
	has(q, people_who_work)
}

may(q, "erasure.decide") if {
	q.action == "erasure.decide"
	has(q, {"approver", "admin"})
}

may_not(q, "erasure.four-eyes") if {
	q.action == "erasure.decide"
	q.context.requested_by == q.principal.name
}

may(q, "hold.change") if {
	q.action in {"hold.place", "hold.lift", "hold.decide"}
	has(q, {"approver", "admin"})
}

may_not(q, "hold.four-eyes") if {
	q.action == "hold.decide"
	q.context.requested_by == q.principal.name
}

may_not(q, "dpia.high-risk") if {
	q.action == "dpia.decide"
	q.context.sign
	q.context.risk == "high"
	not has(q, {"admin"})
}

may_not(q, "dpia.four-eyes") if {
	q.action == "dpia.decide"
	q.context.submitted_by == q.principal.name
}

may_not(q, "classification.person") if {
	q.action in {"classification.decide", "purpose.decide"}
	has_of_platform(q, {"service"})
}

may(q, "quarantine.release") if {
	q.action == "quarantine.release"
	has(q, {"approver", "admin"})
}

may(q, "alert.handle") if {
	q.action == "alert.handle"
	has(q, {"developer", "approver", "admin"})
}

may(q, "alert.rules") if {
	q.action == "alert.rules"
	has(q, {"developer", "admin"})
}

may(q, "schedule.change") if {
	q.action in {"schedule.put", "schedule.remove", "schedule.run"}
	has(q, {"developer", "admin"})
}

trains_for_a_cause(q) if {
	q.context.kind == "train"
	q.context.has_cause
}

may_not(q, "run.role") if {
	q.action == "run.start"
	has(q, {"service"})
	not has(q, {"developer", "admin"})
	not trains_for_a_cause(q)
}

may_not(q, "run.on-behalf-of") if {
	q.action == "run.start"
	some named in ["on_behalf_of", "prompted_by"]
	q.context[named]
	not has(q, {"service"})
}

may_not(q, "run.prod.on-behalf-of") if {
	q.action == "run.start"
	q.context.environment == "prod"
	has(q, {"service"})
	not has(q, {"developer", "admin"})
	not q.context.on_behalf_of
}

may_not(q, "pipeline.environment") if {
	q.action == "pipeline.run"
	not q.context.environment in {"dev", "staging", "prod"}
}

may_not(q, "run.environment") if {
	q.action == "run.start"
	not q.context.environment in {"dev", "staging", "prod"}
}

may_not(q, "run.prod.person-decides") if {
	q.action == "run.start"
	q.context.environment == "prod"
	q.context.auto_approve_by != ""
}

may_not(q, "run.approves-for-self") if {
	q.action == "run.start"
	not q.context.auto_approve_by in {"", q.principal.name}
}

may_not(q, "run.prod.full-data") if {
	q.action == "run.start"
	q.context.environment == "prod"
	q.context.is_sample
}

may_not(q, "approval.four-eyes") if {
	q.action == "run.decide"
	q.resource.attributes.environment == "prod"
	some who in ["requested_by", "on_behalf_of", "prompted_by"]
	q.resource.attributes[who] == q.principal.name
}

may_not(q, "canary.four-eyes") if {
	q.action == "run.steer"
	q.context.order == "promote"
	q.resource.attributes.environment == "prod"
	some who in ["requested_by", "on_behalf_of", "prompted_by"]
	q.resource.attributes[who] == q.principal.name
}

permits := {
	"read.project", "read.platform", "policy.dry-run", "project.create", "project.update", "member.change",
	"run.start", "approval.role", "run.cancel", "run.resume", "record.service", "record.developer", "quarantine.release",
	"schedule.change", "pipeline.run", "access.ask", "access.break-glass", "access.decide", "access.revoke", "access.review",
	"run.retire", "key.change", "classification.decide", "keyset.change", "sealed.open", "dpia.submit", "dpia.decide", "privacy.budget", "privacy.spend", "erasure.request", "erasure.decide", "hold.change",
	"data.see.part", "data.see.token", "data.see.serving",
	"data.use", "data.export", "purpose.decide",
	"notebook.change", "secret.change", "secret.use", "service-account.manage", "service-account.token", "quota.set",
	"evidence.export", "model.import", "alert.handle", "alert.rules",
	"canary.steer",
	"endpoint.delete",
}

forbids := {
	"run.role", "run.on-behalf-of", "run.prod.on-behalf-of", "run.environment", "run.prod.person-decides", "run.approves-for-self",
	"run.prod.full-data", "approval.four-eyes", "access.four-eyes", "pipeline.environment", "run.retire.role", "classification.person", "dpia.high-risk", "dpia.four-eyes", "erasure.four-eyes", "hold.four-eyes",
	"purpose.bound", "purpose.assessed",
	"data.see.synthetic-only", "data.use.synthetic-only", "data.export.classified",
	"canary.gate", "canary.four-eyes", "service-account.gives-no-rights", "service-account.decides-nothing",
}

decide(q) := {"allowed": false, "by": no} if {
	no := {id | some id in forbids; may_not(q, id)}
	count(no) > 0
} else := {"allowed": count(yes) > 0, "by": yes} if {
	yes := {id | some id in permits; may(q, id)}
}

answers := [decide(q) | some q in input.questions]
