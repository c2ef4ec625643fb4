import { Button, Group, Stack, Text, Textarea } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api, unwrap } from '../api/client';
import { useMe } from '../api/queries';
import { type Run, rolesIn } from '../api/words';
import { Problem } from './states';

interface Props {
  run: Run;
  /** Which approval of a pipeline is meant, where several wait. */
  step?: string;
}

/** Approve or reject, with a note; a rejection needs one. Says which role is missing; the policies have the last word. */
export function Decide({ run, step = '' }: Props) {
  const me = useMe();
  const [note, setNote] = useState('');
  const decide = useMutation({
    mutationFn: (approve: boolean) =>
      unwrap(
        api.POST('/api/v1/runs/{run_id}/decision', {
          params: { path: { run_id: run.run_id } },
          body: { approve, reason: note, step },
        }),
      ),
  });
  const mine = rolesIn(me.data, run.project, run.environment);
  const why = missing(run, me.data?.actor ?? '', mine);
  return (
    <Stack gap="xs">
      <Textarea
        label="Note"
        description="Goes on record with the decision. A rejection needs one."
        value={note}
        onChange={(event) => setNote(event.currentTarget.value)}
        maxLength={2000}
        autosize
        minRows={2}
      />
      <Group gap="xs">
        <Button color="green" disabled={!!why} loading={decide.isPending && decide.variables} onClick={() => decide.mutate(true)}>
          Approve
        </Button>
        <Button
          variant="default"
          disabled={!!why || note.trim().length < 3}
          loading={decide.isPending && !decide.variables}
          onClick={() => decide.mutate(false)}
        >
          Reject
        </Button>
      </Group>
      {why && (
        <Text size="sm" c="dimmed">
          {why}
        </Text>
      )}
      {decide.isError && <Problem error={decide.error} />}
    </Stack>
  );
}

function missing(run: Run, actor: string, roles: Set<string>): string {
  if (!actor) return '';
  if (!roles.has('approver') && !roles.has('admin')) {
    return `You are not an approver of ${run.project}: ask for the role, or ask somebody who has it.`;
  }
  if (run.environment === 'prod' && [run.requested_by, run.on_behalf_of].includes(actor)) {
    return 'You asked for this run yourself: somebody else decides on it.';
  }
  return '';
}
