/** What the API's resources are called here, and the few things that are said of them in many places. */
import type { Schemas } from './client';

export type Run = Schemas['RunView'];
export type StepProgress = Schemas['StepProgress'];
export type Project = Schemas['ProjectView'];
export type AuditRow = Schemas['AuditView'];
export type AccessRequest = Schemas['AccessRequestView'];
/** A model's quality on one split; a result has them by split, and the API's document says only that it is an object. */
export interface MetricsRow {
  rows: number;
  base_rate: number;
  auc: number;
  average_precision: number;
  brier: number;
  log_loss: number;
  calibration_error: number;
}
export type Approval = Schemas['ApprovalView'];
/** A change of what answers at an endpoint; lists say only that items are objects. */
export interface TrafficChange {
  sequence: number;
  at: string;
  action: string;
  run_id: string;
  by: string;
  approved_by: string[];
  version: number;
  stable: string;
  canary: string;
  canary_percent: number;
}
export type CatalogEntry = Schemas['CatalogView'];
export type AlertRow = Schemas['AlertView'];
export type ReportRow = Schemas['ReportView'];
export type Cost = Schemas['CostView'];
export type Budget = Schemas['BudgetView'];
export type Endpoint = Schemas['EndpointClaim'];
export type EndpointLive = Schemas['EndpointLive'];
export type CanaryView = Schemas['CanaryView'];
export type CanaryOrder = Schemas['CanaryCreate']['order'];
/** In a list without what its bundle says. */
export type ModelVersion = Schemas['ModelView'];
export type Template = Omit<Schemas['TemplateView'], 'inputs'> & { inputs: InputSchema };
export type ProjectPlan = Schemas['ProjectPlan'];
export type PipelineNode = Schemas['Node'];
/** What became of a step, as a run's status and result have it; the API's document says only that these are objects. */
export interface NodeReport {
  name: string;
  state?: 'waiting' | 'running' | 'approval' | 'done' | 'failed' | 'rejected' | 'skipped';
  items?: number;
  from_cache?: number;
  why_not_cached?: string;
  tries?: number;
  seconds?: number;
  cpu_seconds?: number;
  message?: string;
  approved_by?: string[];
}
export type Me = Schemas['SessionView'];

export type Answer = string | number | boolean;

/** One question of a form, as JSON Schema says it. Patterns are left to the API: their dialect is its own. */
export interface InputField {
  type: 'string' | 'integer' | 'number' | 'boolean';
  description?: string;
  default?: Answer;
  enum?: string[];
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  /** In the place of its name. */
  label?: string;
  /** What there is to choose from; more than JSON Schema knows. */
  choices?: { value: string; label: string }[];
  /** What may be meant; anything else may be, too. */
  suggestions?: string[];
}

/** What a form asks. Of a template's `inputs` the API's document says only that it is an object. */
export interface InputSchema {
  properties: Record<string, InputField>;
  required?: string[];
}

const ended = new Set(['done', 'rolled_back', 'rejected', 'cancelled', 'failed']);

export function hasEnded(stage: string): boolean {
  return ended.has(stage);
}

/** Whose deployment set the traffic: that of a training is a child of its run. */
export function runOf(setBy: string): string {
  return setBy.replace(/-deploy$/, '');
}

/** `run_decide` -> `run decide`; what people read. */
export function plain(word: string): string {
  return word.replaceAll('_', ' ');
}

/** Roles that somebody has in a project's environment; `*` holds in all of them. */
export function rolesIn(me: Me | undefined, project: string, environment?: string): Set<string> {
  const found = new Set(me?.roles ?? []);
  for (const [place, roles] of Object.entries(me?.projects?.[project] ?? {})) {
    if (place === '*' || environment === undefined || place === environment) roles.forEach((role) => found.add(role));
  }
  return found;
}

export function shortDigest(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 12);
}
