import { Group, NativeSelect, Slider, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api, unwrap } from '../api/client';
import { useMe, useModels } from '../api/queries';
import { type EndpointLive, rolesIn, shortDigest } from '../api/words';
import { Confirm } from './Confirm';
import { Section } from './Section';
import { Empty, Problem } from './states';
import { RunLink } from './values';

/** Where a canary is judged next, once it has passed a smaller share. */
const LATER = [5, 25, 50];
/** The API takes no larger first share. */
const MAX_FIRST = 25;

const shares = (first: number) => [first, ...LATER.filter((one) => one > first)];

/** A deployment goes by canary and is judged at each share, whichever model it brings: an earlier one, too. */
export function Deploy({ endpoint }: { endpoint: EndpointLive }) {
  const me = useMe();
  const models = useModels(endpoint.project);
  const [chosen, setChosen] = useState('');
  const [first, setFirst] = useState(5);
  const stable = endpoint.traffic?.stable;
  const all = models.data?.pages.flatMap((one) => one.items) ?? [];
  const versions = all.filter(
    (one, place) => one.bundle_digest !== stable && all.findIndex((other) => other.bundle_digest === one.bundle_digest) === place,
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
            canary_percents: shares(first),
          },
        }),
      ),
  });
  const roles = rolesIn(me.data, endpoint.project, endpoint.environment);
  const may = roles.has('developer') || roles.has('admin');
  const present = all.find((one) => one.bundle_digest === stable);
  const isEarlier = (at: string) => present !== undefined && at < present.trained_at;
  const plan = `${shares(first).join(', ')} % of traffic, then all`;
  if (!versions.length) {
    return (
      <Section title="Deploy by canary">
        <Empty command={`mainspring run start ${endpoint.project} --endpoint ${endpoint.name}`}>There is no other model of {endpoint.project} to bring here.</Empty>
      </Section>
    );
  }
  return (
    <Section title="Deploy by canary">
      <Stack gap="sm">
        <NativeSelect
          label="Model"
          value={digest}
          onChange={(event) => setChosen(event.currentTarget.value)}
          data={versions.map((one) => ({
            value: one.bundle_digest,
            label: `${one.name} ${one.version && `v${one.version}`} (${shortDigest(one.bundle_digest)})${isEarlier(one.trained_at) ? ', earlier' : ''}`,
          }))}
        />
        <div>
          <Text size="sm" fw={500} aria-hidden>
            First share of traffic
          </Text>
          <Slider
            className="ms-slider"
            min={1}
            max={MAX_FIRST}
            value={first}
            onChange={setFirst}
            disabled={!may}
            thumbLabel="First share of traffic"
            thumbValueText={`${first} %: ${plan}`}
            label={`${first} %`}
            marks={[1, 5, 10, MAX_FIRST].map((value) => ({ value, label: `${value} %` }))}
          />
        </div>
        <Text size="sm">It is judged at {plan}; it goes back by itself if it fails or is slow.</Text>
        <Group>
          <Confirm
            label="Deploy by canary"
            question={`Bring ${shortDigest(digest)} to ${endpoint.name} (${endpoint.environment}): ${plan}?`}
            disabled={!may || !digest}
            loading={deploy.isPending}
            onConfirm={() => deploy.mutate()}
          />
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
    </Section>
  );
}
