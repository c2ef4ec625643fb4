import { Group, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { api, unwrap } from '../api/client';
import { useMe, useRun } from '../api/queries';
import { type EndpointLive, hasEnded, rolesIn, type Run } from '../api/words';
import { StageBadge } from './badges';
import { Confirm } from './Confirm';
import { Problem } from './states';
import { RunLink } from './values';

const cancels = ['developer', 'approver', 'admin'];

/** A canary in flight: which run judges it, and how to end that, which gives its traffic back. */
export function StopCanary({ endpoint, runId }: { endpoint: EndpointLive; runId: string }) {
  const run = useRun(runId);
  return (
    <Stack gap="xs">
      <Group gap="xs">
        <Text size="sm">
          Judged by <RunLink id={runId} />
        </Text>
        {run.data && <StageBadge stage={run.data.stage} />}
      </Group>
      {run.data?.status?.message && <Text size="sm">{run.data.status.message}</Text>}
      {run.data && !hasEnded(run.data.stage) && <Stop endpoint={endpoint} run={run.data} />}
    </Stack>
  );
}

function Stop({ endpoint, run }: { endpoint: EndpointLive; run: Run }) {
  const me = useMe();
  const roles = rolesIn(me.data, endpoint.project, run.environment);
  const may = cancels.some((role) => roles.has(role));
  const stop = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST('/api/v1/runs/{run_id}/cancel', {
          // As it was looked at: a canary that has passed meanwhile is not taken back by this.
          params: { path: { run_id: run.run_id }, header: { 'If-Match': `"${run.version}"` } },
        }),
      ),
  });
  return (
    <>
      <Group>
        <Confirm
          label="Stop the canary"
          variant="default"
          question={`Give its traffic at ${endpoint.name} back to the stable bundle?`}
          disabled={!may}
          loading={stop.isPending}
          onConfirm={() => stop.mutate()}
        />
        {!may && me.data && (
          <Text size="sm" c="dimmed">
            You have no role in {endpoint.project} that may stop it.
          </Text>
        )}
      </Group>
      {stop.isSuccess && (
        <Text size="sm" role="status">
          Asked to stop; its traffic goes back.
        </Text>
      )}
      {stop.isError && <Problem error={stop.error} />}
    </>
  );
}
