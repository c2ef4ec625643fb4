import { Anchor, Button, Code, Group, List, Progress, Stack, Text, Timeline } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Fragment, useEffect, useState } from 'react';
import { api, unwrap } from '../api/client';
import { useEvents } from '../api/events';
import { LIVE_MS, useRun, useRunEvents } from '../api/queries';
import { hasEnded, plain, type Run } from '../api/words';
import { EnvironmentBadge, StageBadge } from '../components/badges';
import { DataTable } from '../components/DataTable';
import { Decide } from '../components/Decide';
import { Live } from '../components/Live';
import { Metrics } from '../components/Metrics';
import { Page } from '../components/Page';
import { Pipeline } from '../components/Pipeline';
import { mayGoOn, Resume } from '../components/Resume';
import { RunLogs } from '../components/RunLogs';
import { Section } from '../components/Section';
import { Empty, Problem, Shown } from '../components/states';
import { UnderWay } from '../components/UnderWay';
import { brief, Digest, money, seconds, When } from '../components/values';

/** Kinds of runs that do something in Ray. */
const hasJobs = new Set<string>(['train', 'tune', 'score', 'pipeline']);

/** One run as it is now: moves on by itself until it has ended. */
export default function RunPage({ id }: { id: string }) {
  const [isMoving, setMoving] = useState(false);
  const queries = useQueryClient();
  const now = useEvents({ run: id }, isMoving, () => void queries.invalidateQueries({ queryKey: ['runs'] }));
  const run = useRun(id, now === 'live');
  const moves = run.data !== undefined && !hasEnded(run.data.stage);
  useEffect(() => setMoving(moves), [moves]);
  return (
    <Page
      title={id}
      command={`mainspring run show ${id}`}
      parent={['Runs', '/runs']}
      environment={run.data?.environment}
      actions={run.data && !hasEnded(run.data.stage) ? <Cancel run={run.data} /> : undefined}
    >
      <Shown of={run}>
        {(found) => (
          <>
            <Facts run={found} />
            {moves && <Live now={now} everySeconds={LIVE_MS / 1000} />}
            {found.kind === 'pipeline' && found.pack && <Pipeline run={found} />}
            {found.stage === 'approval' && !(found.kind === 'pipeline' && found.pack) && (
              <Section title="Your decision">
                <Decide run={found} />
              </Section>
            )}
            <div className="ms-grid">
              <Steps run={found} />
              <Result run={found} />
              {mayGoOn(found) && <Resume run={found} />}
            </div>
            {hasJobs.has(found.kind) && <RunLogs run={found} />}
            <Events run={found} isTold={now === 'live'} />
          </>
        )}
      </Shown>
    </Page>
  );
}

function Cancel({ run }: { run: Run }) {
  const cancel = useMutation({
    mutationFn: () => unwrap(api.POST('/api/v1/runs/{run_id}/cancel', { params: { path: { run_id: run.run_id } } })),
  });
  return (
    <>
      <Button size="xs" variant="default" loading={cancel.isPending} onClick={() => cancel.mutate()}>
        Cancel the run
      </Button>
      {cancel.isError && <Problem error={cancel.error} />}
    </>
  );
}

function Facts({ run }: { run: Run }) {
  return (
    <Group gap="md">
      <StageBadge stage={run.stage} />
      <EnvironmentBadge environment={run.environment} />
      <Text size="sm">
        {plain(run.kind)} of {run.project}, asked for by {run.requested_by} <When at={run.created_at} />
        {run.ended_at && (
          <>
            , ended <When at={run.ended_at} />
          </>
        )}
      </Text>
      <Text size="sm">{money(run.cost ?? 0)}</Text>
      {run.cause && <Text size="sm">Cause: {run.cause}</Text>}
      {run.workflow_url && (
        <Anchor size="sm" href={run.workflow_url} rel="noreferrer">
          Workflow
        </Anchor>
      )}
    </Group>
  );
}

function Steps({ run }: { run: Run }) {
  const steps = run.status?.steps ?? [];
  const isLive = !hasEnded(run.stage);
  const underWay = isLive ? (run.status?.step_progress ?? []) : [];
  // One step is all of a run but of a pipeline: its own bar says the same, with words.
  const isTold = underWay.length === 1 && run.kind !== 'pipeline';
  const error = (run.status?.error ?? {}) as { message?: string };
  return (
    <Section title="Progress">
      <Stack gap="sm">
        {isLive && !isTold && (run.status?.progress ?? 0) > 0 && (
          <Progress value={100 * (run.status?.progress ?? 0)} aria-label={`${plain(run.stage)}: done so far`} />
        )}
        <UnderWay steps={underWay} />
        {(error.message ?? run.status?.message) && <Text size="sm">{error.message ?? run.status?.message}</Text>}
        {steps.length ? (
          <Timeline bulletSize={14} lineWidth={2} active={steps.length}>
            {steps.map((one, place) => (
              <Timeline.Item key={`${one.step}-${place}`} title={`${plain(one.step)}${one.reused ? ' (reused)' : ''}`}>
                <Text size="sm" c="dimmed">
                  {seconds(one.seconds)}
                  {Object.entries(one.detail ?? {}).map(([name, value]) => (
                    <Fragment key={name}>
                      {' · '}
                      {plain(name)}: <span className="ms-break">{brief(value)}</span>
                    </Fragment>
                  ))}
                </Text>
              </Timeline.Item>
            ))}
            {isLive && <Timeline.Item title={plain(run.stage)} lineVariant="dashed" />}
          </Timeline>
        ) : (
          <Empty command={`mainspring run watch ${run.run_id}`}>
            {isLive ? 'No step has ended yet. This page looks again by itself.' : 'This run reported no steps.'}
          </Empty>
        )}
      </Stack>
    </Section>
  );
}

function Result({ run }: { run: Run }) {
  const { metrics, steps: _, ...rest } = (run.result ?? {}) as Record<string, unknown>;
  const rows = Object.entries(rest).filter(([, value]) => value !== '' && value !== null && typeof value !== 'object');
  return (
    <Section title="Result">
      {rows.length || metrics ? (
        <Stack gap="sm">
          <List size="sm" listStyleType="none" spacing={4}>
            {rows.map(([name, value]) => (
              <List.Item key={name}>
                {plain(name)}: {String(value).startsWith('sha256:') ? <Digest value={String(value)} /> : <span className="ms-break">{brief(value)}</span>}
              </List.Item>
            ))}
          </List>
          <Metrics metrics={metrics} />
        </Stack>
      ) : (
        <Empty>Nothing was reported yet: a result is there when the run has ended.</Empty>
      )}
    </Section>
  );
}

function Events({ run, isTold }: { run: Run; isTold: boolean }) {
  const events = useRunEvents(run.run_id, !hasEnded(run.stage) && !isTold);
  return (
    <Section title="On record">
      <Shown of={events} rows={3}>
        {({ items }) => (
          <DataTable
            label="What is on record of this run"
            rows={items}
            rowKey={(row) => row.event_id}
            columns={[
              { title: '#', cell: (row) => row.sequence, numeric: true },
              { title: 'When', cell: (row) => <When at={row.at} /> },
              { title: 'Who', cell: (row) => row.actor },
              { title: 'What', cell: (row) => row.action },
              { title: 'Outcome', cell: (row) => row.outcome },
              { title: 'Detail', cell: (row) => <Code className="ms-break">{brief(row.detail).slice(0, 160)}</Code> },
            ]}
          />
        )}
      </Shown>
    </Section>
  );
}
