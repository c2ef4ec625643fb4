import { Badge, Text } from '@mantine/core';
import type { Schemas } from '../api/client';
import { type Column, DataTable } from './DataTable';
import { Empty } from './states';

type Whole = NonNullable<Schemas['ReportView']['report']>;
type Found = NonNullable<Whole['kpis']>[number];
type Limit = NonNullable<NonNullable<Whole['limits']>['kpis']>[string];

interface Row {
  name: string;
  /** Undefined: a limit names it, and no answer of the window had a number. */
  found?: Found;
  limit?: Limit;
  /** What a reader should know of it before the number. */
  state: 'alarm' | 'within' | 'too few outcomes' | 'no outcome' | 'no limit';
}

const colors: Record<Row['state'], string> = { alarm: 'red', within: 'green', 'too few outcomes': 'gray', 'no outcome': 'gray', 'no limit': 'gray' };

/** A KPI has a unit of its own: four digits, whatever its size. */
const shown = (value: number | null | undefined) =>
  value === null || value === undefined ? '–' : value.toLocaleString('en', { maximumSignificantDigits: 4 });

function asked(limit: Limit | undefined): string {
  const bounds = [];
  if (typeof limit?.low === 'number') bounds.push(`at least ${shown(limit.low)}`);
  if (typeof limit?.high === 'number') bounds.push(`at most ${shown(limit.high)}`);
  return bounds.join(', ') || '–';
}

/** Those that were found, and those that the rules have a limit for; an alarm is the report's own, and not worked out anew. */
function rowsOf(report: Whole): Row[] {
  const limits = report.limits?.kpis ?? {};
  const found = new Map((report.kpis ?? []).map((one) => [one.name, one]));
  const alarms = new Set((report.findings ?? []).filter((one) => one.kind === 'kpi' && one.severity === 'alarm').map((one) => one.subject));
  const least = report.limits?.min_rows ?? 0;
  return [...new Set([...found.keys(), ...Object.keys(limits)])].sort().map((name) => {
    const one = found.get(name);
    const limit = limits[name];
    const judged = alarms.has(name) ? 'alarm' : 'within';
    const state = !one ? 'no outcome' : !limit ? 'no limit' : one.rows < least ? 'too few outcomes' : judged;
    return { name, found: one, limit, state };
  });
}

const columns: Column<Row>[] = [
  { title: 'KPI', cell: (one) => one.name },
  {
    title: 'State',
    cell: (one) => (
      <Badge color={colors[one.state]} variant="light" tt="none" radius="sm" className="ms-badge">
        {one.state}
      </Badge>
    ),
  },
  { title: 'An answer', cell: (one) => (one.found ? `${shown(one.found.mean)} ± ${shown(one.found.error)}` : '–'), numeric: true },
  { title: 'At acceptance', cell: (one) => shown(one.found?.mean_reference), numeric: true },
  { title: 'Asked for', cell: (one) => asked(one.limit), numeric: true },
  { title: 'In all', cell: (one) => shown(one.found?.total), numeric: true },
  { title: 'With outcome', cell: (one) => (one.found?.rows ?? 0).toLocaleString('en'), numeric: true },
];

/** What the project says that the answers of a window are worth, against what they were when the model was accepted and its own limits. */
export function Kpis({ report, begins, ends }: { report: Whole; begins: string; ends: string }) {
  const rows = rowsOf(report);
  if (!rows.length) {
    return (
      <Empty>
        {report.known
          ? 'The project does not say what its answers are worth: give it `kpis()`, and the next check tells of them.'
          : 'No outcome of this window is known yet: what its answers were worth is told when outcomes arrive.'}
      </Empty>
    );
  }
  return (
    <>
      <DataTable label="KPIs of the answers" columns={columns} rows={rows} rowKey={(one) => one.name} />
      <Text size="sm" c="dimmed">
        {begins.slice(0, 16).replace('T', ' ')} to {ends.slice(0, 16).replace('T', ' ')} UTC, in each KPI’s own unit; ± is the standard error. Beyond what is asked for, and beyond chance, is an alarm.
      </Text>
    </>
  );
}
