import { Group, NativeSelect, Stack, Table, Text } from '@mantine/core';
import { lazy, Suspense, useMemo } from 'react';
import { type CostGroup, useBudgets, useCostRecords, useCosts, useProjects, useServingUsage, useStorage } from '../api/queries';
import type { Budget, Cost } from '../api/words';
import { Bars } from '../components/Bars';
import { BudgetLine } from '../components/BudgetLine';
import { Page } from '../components/Page';
import { ProjectSelect } from '../components/ProjectSelect';
import { Section } from '../components/Section';
import { Empty, Loading, Shown } from '../components/states';
import { useSearch } from '../components/useSearch';
import { bytes, money, When } from '../components/values';

const Series = lazy(() => import('../components/Series'));

const spans: Record<string, number> = { 'this month': 0, '7 days': 7, '30 days': 30, '90 days': 90 };
const groups: CostGroup[] = ['project', 'service', 'environment', 'sku', 'capacity', 'run'];

/** When a span began, at the start of a day: an address that was opened twice today asks the same. */
function begin(span: string): string {
  const day = new Date();
  day.setUTCHours(0, 0, 0, 0);
  const back = spans[span] ?? 0;
  if (back) day.setUTCDate(day.getUTCDate() - back);
  else day.setUTCDate(1);
  return day.toISOString();
}

/** What was spent, on what, and how far budgets reach. */
export default function Costs() {
  const [project, setProject] = useSearch('project');
  const [span, setSpan] = useSearch('span', 'this month');
  const [group, setGroup] = useSearch('by', 'project');
  const since = begin(span);
  const sums = useCosts(groups.find((one) => one === group) ?? 'project', project, since);
  const records = useCostRecords(project, since);
  return (
    <Page title="Costs" command={`mainspring cost report --by ${group}${project ? ` --project ${project}` : ''}`}>
      <Group align="end" gap="sm">
        <ProjectSelect value={project} onChange={setProject} all="all" />
        <NativeSelect label="Time" value={span} onChange={(event) => setSpan(event.currentTarget.value)} data={Object.keys(spans)} />
        <NativeSelect label="By" value={group} onChange={(event) => setGroup(event.currentTarget.value)} data={groups} />
      </Group>
      <div className="ms-grid">
        <Section title={`By ${group}`}>
          <Shown of={sums}>
            {(found) =>
              Object.keys(found.groups).length ? (
                <Stack gap="xs">
                  <Text size="sm">{money(found.total, found.currency)} in all</Text>
                  <Bars label={`Costs by ${group}`} unit={found.currency} groups={found.groups} show={(value) => money(value, found.currency)} />
                </Stack>
              ) : (
                <Empty command="mainspring run start PROJECT">Nothing was spent in this time. Runs and serving report what they use.</Empty>
              )
            }
          </Shown>
        </Section>
        <Section title="By day">
          <Shown of={records}>{({ items, isCut }) => <Days records={items} isCut={isCut} />}</Shown>
        </Section>
        <Budgets project={project} />
        {project && <BurnDown name={project} />}
        {project && <PeriodBudgets project={project} />}
        {project && <Kept project={project} />}
        <ByModel project={project} />
      </div>
    </Page>
  );
}

function Days({ records, isCut }: { records: Cost[]; isCut: boolean }) {
  const { times, values } = useMemo(() => byDay(records), [records]);
  const currency = records[0]?.billing_currency ?? 'USD';
  if (!times.length) return <Empty>No use was recorded in this time.</Empty>;
  if (times.length === 1) {
    return (
      <Text size="sm">
        {money(values[0] ?? 0, currency)} on one day, from {records.length.toLocaleString('en')} records
      </Text>
    );
  }
  return (
    <>
      <Suspense fallback={<Loading rows={3} />}>
        <Series
          label={`Cost by day in ${currency}: ${times.length} days, ${money(Math.max(...values), currency)} at most`}
          times={times}
          values={values}
          unit={currency}
        />
      </Suspense>
      <Text size="sm" c="dimmed">
        {currency} by day (UTC), from {records.length.toLocaleString('en')} records
        {isCut && '; there are more, so choose a shorter time or one project'}
      </Text>
    </>
  );
}

/** Sums by day of the start of use, days without any as zero. */
export function byDay(records: Cost[]): { times: number[]; values: number[] } {
  const sums = new Map<number, number>();
  for (const record of records) {
    const day = Math.floor(Date.parse(record.charge_period_start) / 86_400_000) * 86_400;
    sums.set(day, (sums.get(day) ?? 0) + record.billed_cost);
  }
  const days = [...sums.keys()].sort((one, other) => one - other);
  const first = days[0];
  const last = days[days.length - 1];
  if (first === undefined || last === undefined) return { times: [], values: [] };
  const times: number[] = [];
  for (let day = first; day <= last; day += 86_400) times.push(day);
  return { times, values: times.map((day) => sums.get(day) ?? 0) };
}

function Budgets({ project }: { project: string }) {
  const projects = useProjects();
  return (
    <Section title="Budgets of this month">
      <Shown of={projects} rows={2}>
        {({ items }) => {
          const shown = items.filter((one) => !project || one.name === project);
          return shown.length ? (
            <Stack gap="sm">
              {shown.map((one) => (
                <BudgetLine key={one.name} project={one} isForecast />
              ))}
            </Stack>
          ) : (
            <Empty command="mainspring project create NAME --owner OWNER">You can see no project yet.</Empty>
          );
        }}
      </Shown>
    </Section>
  );
}

/** What is left of the month's budget, day by day. */
function BurnDown({ name }: { name: string }) {
  const projects = useProjects();
  const project = projects.data?.items.find((one) => one.name === name);
  const records = useCostRecords(name, begin('this month'));
  const limit = project?.monthly_budget;
  if (!limit) return null;
  return (
    <Section title="Left of this month's budget">
      <Shown of={records}>{({ items, isCut }) => <Left limit={limit} records={items} isCut={isCut} />}</Shown>
    </Section>
  );
}

function Left({ limit, records, isCut }: { limit: number; records: Cost[]; isCut: boolean }) {
  const { times, values } = useMemo(() => burnDown(records, limit, new Date()), [records, limit]);
  const currency = records[0]?.billing_currency ?? 'USD';
  const left = values[values.length - 1] ?? limit;
  if (isCut) return <Empty>There are more records than a page can hold; see `mainspring cost forecast`.</Empty>;
  return (
    <>
      <Suspense fallback={<Loading rows={3} />}>
        <Series label={`Left of ${money(limit, currency)} by day: ${money(left, currency)} today`} times={times} values={values} unit={currency} />
      </Suspense>
      <Text size="sm" c={left < 0 ? 'error' : 'dimmed'}>
        {money(left, currency)} of {money(limit, currency)} left
      </Text>
    </>
  );
}

/** From the first of the month to today, what was left at the end of each day (UTC). */
export function burnDown(records: Cost[], limit: number, now: Date): { times: number[]; values: number[] } {
  const spent = byDay(records);
  const first = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1) / 1000;
  const times: number[] = [first - 86_400];
  const values: number[] = [limit];
  for (let day = first; day <= now.getTime() / 1000; day += 86_400) {
    const index = spent.times.indexOf(day);
    times.push(day);
    values.push((values[values.length - 1] ?? limit) - (index < 0 ? 0 : (spent.values[index] ?? 0)));
  }
  return { times, values };
}

function PeriodBudgets({ project }: { project: string }) {
  const budgets = useBudgets(project);
  return (
    <Section title="Budgets by environment and period">
      <Shown of={budgets} rows={2}>
        {({ items }) =>
          items.length ? (
            <div className="ms-scroll" role="region" aria-label="Budgets" tabIndex={0}>
              <Table aria-label="Budgets by environment and period">
                <Table.Thead>
                  <Table.Tr>
                    <Table.Th>Environment</Table.Th>
                    <Table.Th>Each</Table.Th>
                    <Table.Th ta="right">Spent</Table.Th>
                    <Table.Th ta="right">Kept free</Table.Th>
                    <Table.Th ta="right">Of</Table.Th>
                    <Table.Th ta="right">Forecast</Table.Th>
                    <Table.Th>When it is spent</Table.Th>
                  </Table.Tr>
                </Table.Thead>
                <Table.Tbody>
                  {items.map((one) => (
                    <BudgetRow key={`${one.environment}/${one.period}`} budget={one} />
                  ))}
                </Table.Tbody>
              </Table>
            </div>
          ) : (
            <Empty command={`mainspring budget set ${project} AMOUNT --environment dev --period week`}>
              It has the budget of the month alone, if it has one.
            </Empty>
          )
        }
      </Shown>
    </Section>
  );
}

function BudgetRow({ budget }: { budget: Budget }) {
  const { amount, currency, forecast, held, is_hard: isHard, spent } = budget;
  return (
    <Table.Tr>
      <Table.Td>{budget.environment}</Table.Td>
      <Table.Td>{budget.period}</Table.Td>
      <Table.Td ta="right" className="ms-mono" c={spent >= amount ? 'error' : undefined}>
        {money(spent, currency)}
      </Table.Td>
      <Table.Td ta="right" className="ms-mono">
        {money(held, currency)}
      </Table.Td>
      <Table.Td ta="right" className="ms-mono">
        {money(amount, currency)}
      </Table.Td>
      <Table.Td ta="right" className="ms-mono" c={forecast > amount ? 'error' : undefined}>
        {money(forecast, currency)}
      </Table.Td>
      <Table.Td>{isHard ? 'work is refused and stopped' : 'somebody is told'}</Table.Td>
    </Table.Tr>
  );
}

function Kept({ project }: { project: string }) {
  const storage = useStorage(project);
  return (
    <Section title="Kept on disks">
      <Shown of={storage}>
        {({ stored, total_bytes: total, measured_at: at }) =>
          at ? (
            <Stack gap="xs">
              <Text size="sm">
                {bytes(total)} in all, measured <When at={at} />
              </Text>
              <Bars
                label="Kept by place"
                unit="bytes"
                groups={Object.fromEntries(Object.entries(stored).filter(([, size]) => size))}
                show={bytes}
              />
            </Stack>
          ) : (
            <Empty command={`mainspring cost storage ${project}`}>No worker has measured it yet.</Empty>
          )
        }
      </Shown>
    </Section>
  );
}

function ByModel({ project }: { project: string }) {
  const usage = useServingUsage('model_version', project);
  return (
    <Section title="Serving by model version">
      <Shown of={usage}>
        {(found) =>
          Object.keys(found.groups).length ? (
            <Stack gap="xs">
              <Text size="sm">
                {found.total.predictions.toLocaleString('en')} predictions, {money(found.total.cost, found.currency)} in all
              </Text>
              <Bars
                label="Serving costs by model version"
                unit={found.currency}
                groups={Object.fromEntries(Object.entries(found.groups).map(([name, one]) => [name.replace(/^sha256:/, '').slice(0, 12), one.cost]))}
                show={(value) => money(value, found.currency)}
              />
            </Stack>
          ) : (
            <Empty command="mainspring cost serving">No endpoint has answered anybody yet.</Empty>
          )
        }
      </Shown>
    </Section>
  );
}
