import { Alert, Anchor, Button, Group, NativeSelect, Progress, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'wouter';
import { api, unwrap } from '../api/client';
import { useEndpoint, useMe, useModels } from '../api/queries';
import { type EndpointLive, rolesIn, shortDigest } from '../api/words';
import { DataTable } from '../components/DataTable';
import { Page } from '../components/Page';
import { Section } from '../components/Section';
import { Empty, Problem, Shown } from '../components/states';
import { Digest, RunLink, seconds, When } from '../components/values';

/** Who answers at an endpoint now, how fast, and how to bring another model there or an earlier one back. */
export default function EndpointPage({ name }: { name: string }) {
  const endpoint = useEndpoint(name);
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
            <div className="ms-grid">
              <Traffic endpoint={found} />
              <Deploy endpoint={found} />
            </div>
            {found.stats && <Stats endpoint={found} />}
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

/** A deployment goes by canary and is judged at each share, whichever model it brings: an earlier one, too. */
function Deploy({ endpoint }: { endpoint: EndpointLive }) {
  const me = useMe();
  const models = useModels(endpoint.project);
  const [chosen, setChosen] = useState('');
  const stable = endpoint.traffic?.stable;
  const versions = (models.data?.pages.flatMap((one) => one.items) ?? []).filter(
    (one, place, all) => one.bundle_digest !== stable && all.findIndex((other) => other.bundle_digest === one.bundle_digest) === place,
  );
  const digest = chosen || versions[0]?.bundle_digest || '';
  const deploy = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST('/api/v1/runs', {
          body: {
            project: endpoint.project,
            kind: 'deploy',
            environment: endpoint.environment,
            endpoint: endpoint.name,
            bundle_digest: digest,
          },
        }),
      ),
  });
  const roles = rolesIn(me.data, endpoint.project, endpoint.environment);
  const may = roles.has('developer') || roles.has('admin');
  const trainedBefore = (at: string) => {
    const now = versions.length && models.data?.pages.flatMap((one) => one.items).find((one) => one.bundle_digest === stable);
    return now ? at < now.trained_at : false;
  };
  return (
    <Section title="Deploy, or go back">
      {!versions.length ? (
        <Empty command={`mainspring run start ${endpoint.project} --endpoint ${endpoint.name}`}>There is no other model of {endpoint.project} to bring here.</Empty>
      ) : (
        <Stack gap="sm">
          <NativeSelect
            label="Model"
            description="It takes 5, 25 and 50 % first, and goes back by itself if it fails or is slow."
            value={digest}
            onChange={(event) => setChosen(event.currentTarget.value)}
            data={versions.map((one) => ({
              value: one.bundle_digest,
              label: `${one.name} ${one.version && `v${one.version}`} (${shortDigest(one.bundle_digest)})${trainedBefore(one.trained_at) ? ', earlier' : ''}`,
            }))}
          />
          <Group>
            <Button disabled={!may || !digest} loading={deploy.isPending} onClick={() => deploy.mutate()}>
              Deploy by canary
            </Button>
            {!may && me.data && (
              <Text size="sm" c="dimmed">
                You are not a developer of {endpoint.project} in {endpoint.environment}.
              </Text>
            )}
          </Group>
          {deploy.data && (
            <Text size="sm" role="status">
              Started as <RunLink id={deploy.data.run_id} />.
            </Text>
          )}
          {deploy.isError && <Problem error={deploy.error} />}
        </Stack>
      )}
    </Section>
  );
}

function Stats({ endpoint }: { endpoint: EndpointLive }) {
  const stats = endpoint.stats;
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
      </Text>
    </Section>
  );
}
