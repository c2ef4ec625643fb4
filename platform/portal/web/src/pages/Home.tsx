import { Anchor, Group, List, Stack, Text } from '@mantine/core';
import { Link } from 'wouter';
import { useAlerts, useMe, useOpenAccess, useOpenRuns, useProjects, useRuns } from '../api/queries';
import { plain, type Run } from '../api/words';
import { EnvironmentBadge, StageBadge } from '../components/badges';
import { BudgetLine } from '../components/BudgetLine';
import { Page } from '../components/Page';
import { Section } from '../components/Section';
import { Empty, Shown } from '../components/states';
import { RunLink, When } from '../components/values';

/** What needs whoever is signed in: decisions, what failed, budgets. */
export function Home() {
  const me = useMe();
  return (
    <Page title={me.data ? `Hello, ${me.data.actor.replace(/@.*/, '')}` : 'Home'} command="mainspring run list">
      <div className="ms-grid">
        <Waiting />
        <Alerts />
        <Budgets />
        <Lately />
      </div>
    </Page>
  );
}

function Waiting() {
  const runs = useOpenRuns();
  const projects = useProjects();
  const access = useOpenAccess(projects.data?.items);
  return (
    <Section title="Waiting for a decision">
      <Shown of={runs} rows={2}>
        {({ items }) => {
          const waiting = items.filter((run) => run.stage === 'approval');
          const asked = access.data ?? [];
          if (!waiting.length && !asked.length) {
            return <Empty command="mainspring run list">Nothing waits for anybody. Runs that need an approver appear here.</Empty>;
          }
          return (
            <List spacing="xs" listStyleType="none">
              {waiting.map((run) => (
                <List.Item key={run.run_id}>
                  <Anchor component={Link} href={`/runs/${run.run_id}`}>
                    {run.project}: {plain(run.kind)} of {run.requested_by}
                  </Anchor>{' '}
                  <EnvironmentBadge environment={run.environment} /> <When at={run.created_at} />
                </List.Item>
              ))}
              {asked.map((one) => (
                <List.Item key={one.request_id}>
                  <Anchor component={Link} href={`/access?project=${one.project}`}>
                    {one.project}: {one.actor} asks to be {one.role}
                  </Anchor>{' '}
                  for {one.minutes} minutes, <When at={one.requested_at} />
                </List.Item>
              ))}
            </List>
          );
        }}
      </Shown>
    </Section>
  );
}

function Alerts() {
  const alerts = useAlerts('', 'open');
  return (
    <Section title="Alerts">
      <Shown of={alerts} rows={2}>
        {({ items }) =>
          items.length ? (
            <List spacing="xs" listStyleType="none">
              {items.slice(0, 8).map((one) => (
                <List.Item key={one.alert_id}>
                  <Anchor component={Link} href={`/monitoring?project=${one.project}`}>
                    {one.endpoint}: {one.kind}
                  </Anchor>{' '}
                  <EnvironmentBadge environment={one.environment} /> <When at={one.opened_at} />
                </List.Item>
              ))}
            </List>
          ) : (
            <Empty command="mainspring alert list">No served model calls for anybody.</Empty>
          )
        }
      </Shown>
    </Section>
  );
}

function Budgets() {
  const projects = useProjects();
  return (
    <Section title="Budgets of this month">
      <Shown of={projects} rows={2}>
        {({ items }) =>
          items.length ? (
            <Stack gap="sm">
              {items.map((project) => (
                <BudgetLine key={project.name} project={project} />
              ))}
            </Stack>
          ) : (
            <Empty command="mainspring project create NAME --owner OWNER">You can see no project yet. Make one, or ask an admin to make you a member of theirs.</Empty>
          )
        }
      </Shown>
    </Section>
  );
}

function Lately() {
  const runs = useRuns('');
  const rows = (runs.data?.pages.flatMap((one) => one.items) ?? []).slice(0, 8);
  const line = (run: Run) => (
    <List.Item key={run.run_id}>
      <Group gap="xs">
        <RunLink id={run.run_id} />
        <Text size="sm">
          {run.project}: {plain(run.kind)}
        </Text>
        <StageBadge stage={run.stage} />
        <Text size="sm" c="dimmed">
          <When at={run.created_at} />
        </Text>
      </Group>
    </List.Item>
  );
  return (
    <Section
      title="Lately"
      aside={
        <Anchor component={Link} href="/runs" size="sm">
          All runs
        </Anchor>
      }
    >
      <Shown of={runs} rows={4}>
        {() =>
          rows.length ? (
            <List spacing="xs" listStyleType="none">
              {rows.map(line)}
            </List>
          ) : (
            <Empty command="mainspring run start PROJECT">Nothing has run yet.</Empty>
          )
        }
      </Shown>
    </Section>
  );
}
