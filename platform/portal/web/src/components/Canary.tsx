import { Badge, Group, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, unwrap } from '../api/client';
import { canaryKey, useCanary, useMe, useRun } from '../api/queries';
import { type CanaryOrder, type CanaryView, hasEnded, rolesIn } from '../api/words';
import { StageBadge } from './badges';
import { Confirm } from './Confirm';
import { Problem, Shown } from './states';
import { RunLink } from './values';

/** A canary in flight: which run judges it, and what people may order of it. */
export function Canary({ runId }: { runId: string }) {
  const run = useRun(runId);
  const isOver = !!run.data && hasEnded(run.data.stage);
  const canary = useCanary(runId, isOver);
  return (
    <Stack gap="xs">
      <Group gap="xs">
        <Text size="sm">
          Judged by <RunLink id={runId} />
        </Text>
        {run.data && <StageBadge stage={run.data.stage} />}
        {canary.data?.is_shadow && <Badge color="gray">shadow</Badge>}
        {canary.data?.is_paused && <Badge color="yellow">paused</Badge>}
      </Group>
      {!isOver && (
        <Shown of={canary} rows={2}>
          {(found) => (
            <>
              {found.message && <Text size="sm">{found.message}</Text>}
              {(!!found.percent || found.is_shadow) && <Steer canary={found} requestedBy={run.data?.requested_by ?? ''} />}
            </>
          )}
        </Shown>
      )}
    </Stack>
  );
}

function Steer({ canary, requestedBy }: { canary: CanaryView; requestedBy: string }) {
  const me = useMe();
  const queries = useQueryClient();
  const [reason, setReason] = useState('');
  const roles = rolesIn(me.data, canary.project, canary.environment);
  const may = ['developer', 'approver', 'admin'].some((role) => roles.has(role));
  const isOwn = canary.environment === 'prod' && requestedBy === me.data?.actor;
  const mayPromote = (roles.has('approver') || roles.has('admin')) && !isOwn;
  const steer = useMutation({
    mutationFn: (asked: { order: CanaryOrder; to_percent?: number }) =>
      unwrap(
        api.POST('/api/v1/runs/{run_id}/canary', {
          // As it was looked at: one that has moved on meanwhile is not meant.
          params: { path: { run_id: canary.run_id }, header: { 'If-Match': `"${canary.version}"` } },
          body: { ...asked, reason },
        }),
      ),
    onSuccess: (now) => {
      setReason('');
      queries.setQueryData(canaryKey(canary.run_id), now);
    },
    onError: () => void queries.invalidateQueries({ queryKey: canaryKey(canary.run_id) }),
  });
  const hasReason = reason.trim().length >= 3;
  const button = (label: string, question: string, order: CanaryOrder, may: boolean, to_percent?: number) => (
    <Confirm
      key={label}
      label={label}
      variant="default"
      size="xs"
      question={question}
      disabled={!may || !hasReason}
      loading={steer.isPending && steer.variables.order === order && steer.variables.to_percent === to_percent}
      onConfirm={() => steer.mutate({ order, to_percent })}
    />
  );
  const where = canary.is_shadow ? 'as a shadow' : `at ${canary.percent} %`;
  const [next = 100] = canary.later_percents ?? [];
  const shares = next === 100 ? [100] : [next, 100];
  return (
    <>
      <TextInput
        label="Why it is steered"
        description="Goes on record with the order."
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value)}
        maxLength={2000}
        disabled={!may}
      />
      <Group gap="xs">
        {canary.is_paused
          ? button('Resume', `Go on judging it ${where}?`, 'resume', may)
          : button('Pause', `Keep it ${where} until somebody resumes it?`, 'pause', may)}
        {shares.map((share) =>
          button(
            share === 100 ? 'Promote to all' : `Promote to ${share} %`,
            `Give it ${share} % of traffic past its gates?`,
            'promote',
            mayPromote,
            share,
          ),
        )}
        {button('Abort', `Give its traffic at ${canary.endpoint} back to the stable bundle?`, 'abort', may)}
      </Group>
      {me.data && (!may || !mayPromote) && (
        <Text size="sm" c="dimmed">
          {!may
            ? `You have no role in ${canary.project} that may steer it.`
            : isOwn
              ? 'You asked for this run yourself: somebody else promotes it.'
              : `Promoting it takes an approver of ${canary.project}.`}
        </Text>
      )}
      {steer.isSuccess && !steer.isPending && (
        <Text size="sm" role="status">
          Ordered: {steer.variables.order}.
        </Text>
      )}
      {steer.isError && <Problem error={steer.error} />}
    </>
  );
}
