import { Group, Stack, Text, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api, unwrap } from '../api/client';
import { useBundleBefore, useMe } from '../api/queries';
import { type EndpointLive, rolesIn, shortDigest } from '../api/words';
import { Confirm } from './Confirm';
import { Section } from './Section';
import { Empty, Problem, Shown } from './states';
import { RunLink, When } from './values';

/** The bundle that answered before the present one, brought back: a deployment as any, judged and on record. */
export function RollBack({ endpoint }: { endpoint: EndpointLive }) {
  const me = useMe();
  const before = useBundleBefore(endpoint, endpoint.traffic?.stable);
  const [reason, setReason] = useState('');
  const back = useMutation({
    mutationFn: (digest: string) =>
      unwrap(
        api.POST('/api/v1/runs', {
          body: {
            project: endpoint.project,
            kind: 'deploy',
            environment: endpoint.environment,
            endpoint: endpoint.name,
            bundle_digest: digest,
            cause: reason,
          },
        }),
      ),
    onSuccess: () => setReason(''),
  });
  const roles = rolesIn(me.data, endpoint.project, endpoint.environment);
  const may = roles.has('developer') || roles.has('admin');
  if (!endpoint.traffic) return null;
  return (
    <Section title="Roll back">
      <Shown of={before} rows={2}>
        {(run) =>
          run?.bundle_digest ? (
            <Stack gap="sm">
              <Text size="sm">
                Before the present bundle, <span className="ms-mono">{shortDigest(run.bundle_digest)}</span> answered here, by{' '}
                <RunLink id={run.run_id} /> (<When at={run.created_at} />).
              </Text>
              <TextInput
                label="Why it goes back"
                description="Goes on record with the deployment."
                value={reason}
                onChange={(event) => setReason(event.currentTarget.value)}
                maxLength={2000}
                disabled={!may}
              />
              <Group>
                <Confirm
                  label="Roll back"
                  variant="default"
                  question={`Bring ${shortDigest(run.bundle_digest)} back to ${endpoint.name} (${endpoint.environment})?`}
                  disabled={!may || reason.trim().length < 3}
                  loading={back.isPending}
                  onConfirm={() => back.mutate(run.bundle_digest ?? '')}
                />
                {!may && me.data && (
                  <Text size="sm" c="dimmed">
                    You are not a developer of {endpoint.project} in {endpoint.environment}.
                  </Text>
                )}
              </Group>
              {back.data && (
                <Text size="sm" role="status">
                  Going back, as <RunLink id={back.data.run_id} />.
                </Text>
              )}
              {back.isError && <Problem error={back.error} />}
            </Stack>
          ) : (
            <Empty command={`mainspring endpoint rollback ${endpoint.name} --to DIGEST --reason WHY`}>
              No run brought another bundle here before: there is nothing to go back to by itself.
            </Empty>
          )
        }
      </Shown>
    </Section>
  );
}
