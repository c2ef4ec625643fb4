import { Alert, Anchor, Button, Progress, Stack, Text } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { Link } from 'wouter';
import { useEvents } from '../api/events';
import { ENDPOINT_MS, endpointKey, useEndpoint, useNewestReport, useOpenRuns } from '../api/queries';
import { type EndpointLive, plain, runOf, shortDigest } from '../api/words';
import { Canary } from '../components/Canary';
import { DataTable } from '../components/DataTable';
import { Deploy } from '../components/Deploy';
import { Kpis } from '../components/Kpis';
import { Live } from '../components/Live';
import { Page } from '../components/Page';
import { RollBack } from '../components/RollBack';
import { Section } from '../components/Section';
import { Served } from '../components/Served';
import { Empty, Shown } from '../components/states';
import { Digest, RunLink, seconds, When } from '../components/values';

/** Who answers at an endpoint now, how fast, and how to bring another model there or an earlier one back. */
export default function EndpointPage({ name }: { name: string }) {
  const queries = useQueryClient();
  const now = useEvents({ endpoint: name }, true, (what, data) => {
    if (what === 'endpoint') queries.setQueryData(endpointKey(name), data);
    // Something of its project went on record: a deployment, or an end of one.
    else void queries.invalidateQueries({ queryKey: ['runs'] });
  });
  const endpoint = useEndpoint(name, now === 'live');
  return (
    <Page
      title={name}
      command={`mainspring endpoint traffic ${name}`}
      parent={['Endpoints', '/endpoints']}
      environment={endpoint.data?.environment}
      actions={
        <Button size="xs" variant="default" component={Link} href={`/playground?endpoint=${name}`}>
          Try it
        </Button>
      }
    >
      <Shown of={endpoint} rows={6}>
        {(found) => (
          <>
            <Text size="sm">
              of {found.project}, since <When at={found.claimed_at} /> by {found.claimed_by}
            </Text>
            {found.unavailable && (
              <Alert color="orange" variant="light" title="Nothing to see of serving" role="status">
                {found.unavailable}
              </Alert>
            )}
            <Live now={now} everySeconds={ENDPOINT_MS / 1000} />
            <div className="ms-grid">
              <Traffic endpoint={found} />
              <Deploy endpoint={found} />
              <RollBack endpoint={found} />
            </div>
            {found.stats && <Stats endpoint={found} />}
            <Coming name={name} />
            <Served name={name} />
            <Worth project={found.project} name={name} />
          </>
        )}
      </Shown>
    </Page>
  );
}

function Traffic({ endpoint }: { endpoint: EndpointLive }) {
  const table = endpoint.traffic;
  if (!table) {
    return (
      <Section title="Traffic">
        <Empty>No bundle answers here.</Empty>
      </Section>
    );
  }
  const canary = table.canary_percent ?? 0;
  return (
    <Section title="Traffic">
      <Stack gap="xs">
        <Progress.Root size="xl">
          <Progress.Section value={100 - canary} color="indigo" aria-label={`stable: ${100 - canary} %`} />
          <Progress.Section value={canary} color="orange" aria-label={`canary: ${canary} %`} />
        </Progress.Root>
        <Text size="sm">
          stable <ModelLink project={endpoint.project} digest={table.stable} />: {100 - canary} %
        </Text>
        {table.canary && (
          <Text size="sm">
            canary <ModelLink project={endpoint.project} digest={table.canary} />: {canary} %
          </Text>
        )}
        {table.shadow && (
          <Text size="sm">
            shadow <ModelLink project={endpoint.project} digest={table.shadow} />: sees all, answers nobody
          </Text>
        )}
        <Text size="sm" c="dimmed">
          version {table.version}, set by {table.set_by || 'nobody named'}
        </Text>
        {/* By a person's or a service's own hand there is no run that judges it. */}
        {table.canary && table.set_by?.startsWith('run_') && <Canary runId={runOf(table.set_by)} />}
      </Stack>
    </Section>
  );
}

function ModelLink({ project, digest }: { project: string; digest: string }) {
  return (
    <Anchor component={Link} href={`/models/${project}/${encodeURIComponent(digest)}`} title={digest} className="ms-mono">
      {shortDigest(digest)}
    </Anchor>
  );
}

function Stats({ endpoint }: { endpoint: EndpointLive }) {
  const stats = endpoint.stats;
  const total = stats?.bundles?.reduce((sum, one) => sum + one.requests, 0) ?? 0;
  const rate = useRate(total, stats?.window_seconds ?? 0);
  if (!stats) return null;
  const ms = (value: number) => `${value.toFixed(2)} ms`;
  return (
    <Section title="Since this traffic is in force">
      {stats.bundles?.length ? (
        <DataTable
          label="What serving saw of each bundle"
          rows={[...stats.bundles]}
          rowKey={(one) => `${one.bundle_digest}/${one.role}`}
          columns={[
            { title: 'Role', cell: (one) => one.role },
            { title: 'Bundle', cell: (one) => <Digest value={one.bundle_digest} /> },
            { title: 'Requests', cell: (one) => one.requests.toLocaleString('en'), numeric: true },
            { title: 'Rows', cell: (one) => one.rows.toLocaleString('en'), numeric: true },
            { title: 'Errors', cell: (one) => one.errors.toLocaleString('en'), numeric: true },
            { title: 'p50', cell: (one) => ms(one.latency_p50_ms), numeric: true },
            { title: 'p95', cell: (one) => ms(one.latency_p95_ms), numeric: true },
            { title: 'p99', cell: (one) => ms(one.latency_p99_ms), numeric: true },
            { title: 'Mean score', cell: (one) => one.mean_score.toFixed(4), numeric: true },
          ]}
        />
      ) : (
        <Empty>Nobody has asked since.</Empty>
      )}
      <Text size="sm" c="dimmed">
        traffic version {stats.traffic_version}, {seconds(stats.window_seconds)} long
        {rate !== undefined && `; ${rate.toFixed(rate < 10 ? 1 : 0)} requests a second since this page looked before`}
      </Text>
    </Section>
  );
}

/** Deployments to here that have not ended, such as those that wait for a yes. */
function Coming({ name }: { name: string }) {
  const open = useOpenRuns();
  const coming = open.data?.items.filter((run) => run.endpoint === name) ?? [];
  if (!coming.length) return null;
  return (
    <Section title="On the way">
      {coming.map((run) => (
        <Text size="sm" key={run.run_id}>
          <RunLink id={run.run_id} />: {plain(run.kind)}, at {plain(run.stage)}, asked for by {run.requested_by}{' '}
          <When at={run.created_at} />
        </Text>
      ))}
    </Section>
  );
}

/** By the newest check of what is served here, whichever bundle that was of. */
function Worth({ project, name }: { project: string; name: string }) {
  const newest = useNewestReport(project, name);
  return (
    <Section title="What the answers were worth">
      <Shown of={newest} rows={2}>
        {(found) =>
          found?.report ? (
            <Stack gap="xs">
              <Kpis report={found.report} begins={found.begins} ends={found.ends} />
              <Text size="sm">
                Of bundle <Digest value={found.bundle_digest} />, by{' '}
                <Anchor component={Link} href={`/monitoring/${found.report_id}`} underline="always">
                  the newest report
                </Anchor>
                , made <When at={found.recorded_at} />
              </Text>
            </Stack>
          ) : (
            <Empty command={`mainspring schedule run ${project} drift`}>Nobody has checked yet what is served here: a check runs by a schedule of its project.</Empty>
          )
        }
      </Shown>
    </Section>
  );
}

/** A count's growth a second between the last two looks, by serving's own clock; undefined before the second, or after it began anew. */
function useRate(count: number, atSeconds: number): number | undefined {
  const last = useRef({ count, atSeconds });
  const [rate, setRate] = useState<number>();
  useEffect(() => {
    const { count: before, atSeconds: since } = last.current;
    if (atSeconds === since) return;
    last.current = { count, atSeconds };
    setRate(atSeconds > since && count >= before ? (count - before) / (atSeconds - since) : undefined);
  }, [count, atSeconds]);
  return rate;
}
