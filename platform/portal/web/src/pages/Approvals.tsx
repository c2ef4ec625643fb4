import { Anchor, Card, Group, Kbd, Stack, Text } from '@mantine/core';
import { useEffect, useRef, useState } from 'react';
import { Link, useLocation } from 'wouter';
import { useOpenRuns } from '../api/queries';
import { plain, type Run } from '../api/words';
import { EnvironmentBadge } from '../components/badges';
import { Decide } from '../components/Decide';
import { Metrics } from '../components/Metrics';
import { Page } from '../components/Page';
import { Empty, Shown } from '../components/states';
import { brief, When } from '../components/values';
import { Waiting } from '../components/Waiting';

/** Every run that waits for an approver, the oldest first, with what it brings as evidence, and what else waits. j and k move, Enter opens. */
export default function Approvals() {
  const runs = useOpenRuns();
  return (
    <Page title="Approvals" command="mainspring approval list">
      <Shown of={runs}>
        {({ items, next }) => {
          const waiting = items.filter((run) => run.stage === 'approval').reverse();
          return (
            <>
              {next && <Text size="sm">More than 200 runs are under way; those that were started last are shown.</Text>}
              {waiting.length ? <Inbox runs={waiting} /> : <Empty command="mainspring run list">Nothing waits for a decision.</Empty>}
            </>
          );
        }}
      </Shown>
      <Waiting />
    </Page>
  );
}

function Inbox({ runs }: { runs: Run[] }) {
  const [at, setAt] = useState(0);
  const [, go] = useLocation();
  const cards = useRef<(HTMLDivElement | null)[]>([]);
  const place = Math.min(at, runs.length - 1);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || event.metaKey || event.ctrlKey || event.altKey) return;
      const move = { j: 1, k: -1 }[event.key];
      if (move) {
        const next = Math.max(0, Math.min(runs.length - 1, place + move));
        setAt(next);
        cards.current[next]?.focus();
      } else if (event.key === 'Enter' && target.dataset.run) {
        go(`/runs/${target.dataset.run}`);
      }
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [runs, place, go]);

  return (
    <Stack>
      <Text size="sm" c="dimmed">
        <Kbd>j</Kbd> next, <Kbd>k</Kbd> the one before, <Kbd>Enter</Kbd> opens it.
      </Text>
      {runs.map((run, index) => (
        <Card
          key={run.run_id}
          withBorder
          component="article"
          aria-label={`${plain(run.kind)} of ${run.project}, ${run.environment}`}
          tabIndex={0}
          data-run={run.run_id}
          className={index === place ? 'ms-selected' : undefined}
          ref={(element: HTMLDivElement | null) => {
            cards.current[index] = element;
          }}
        >
          <Stack gap="sm">
            <Group gap="xs">
              <Anchor component={Link} href={`/runs/${run.run_id}`} fw={600}>
                {run.project}: {plain(run.kind)}
              </Anchor>
              <EnvironmentBadge environment={run.environment} />
              <Text size="sm">
                asked for by {run.requested_by} <When at={run.created_at} />
              </Text>
            </Group>
            {run.cause && <Text size="sm">Cause: {run.cause}</Text>}
            {run.status?.message && <Text size="sm">{run.status.message}</Text>}
            <Evidence run={run} />
            <Decide run={run} />
          </Stack>
        </Card>
      ))}
    </Stack>
  );
}

/** What the steps before the approval found: metrics first, then the rest in words. */
function Evidence({ run }: { run: Run }) {
  const steps = run.status?.steps ?? [];
  const metrics = steps.find((one) => one.step === 'evaluate')?.detail;
  const policy = steps.find((one) => one.step === 'policy')?.detail;
  return (
    <>
      {metrics && typeof Object.values(metrics)[0] === 'object' && <Metrics metrics={metrics} of={run.run_id} />}
      {[...Object.entries(metrics ?? {}), ...Object.entries(policy ?? {})]
        .filter(([, value]) => typeof value !== 'object')
        .map(([name, value]) => (
          <Text size="sm" key={name}>
            {plain(name)}: {brief(value)}
          </Text>
        ))}
    </>
  );
}
