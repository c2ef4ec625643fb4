import { Button, Card, Group, Stack, Text, Textarea } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, unwrap } from '../api/client';
import { useApprovals } from '../api/queries';
import { type Approval, plain } from '../api/words';
import { EnvironmentBadge } from './badges';
import { CopyCommand } from './CopyCommand';
import { Section } from './Section';
import { Empty, Problem, Shown } from './states';
import { When } from './values';

/** What else waits for a person's yes: roles for a time, erasures, assessments, columns, holds. Runs have cards with their evidence. */
export function Waiting() {
  const approvals = useApprovals();
  return (
    <Section title="Other decisions">
      <Shown of={approvals} rows={2}>
        {({ items, next }) => (
          <Stack gap="sm">
            {next && <Text size="sm">There are more; the newest are shown.</Text>}
            {items.length ? items.map((one) => <One key={one.id} approval={one} />) : <Empty command="mainspring approval list">Nothing else waits.</Empty>}
          </Stack>
        )}
      </Shown>
    </Section>
  );
}

function One({ approval }: { approval: Approval }) {
  const queries = useQueryClient();
  const [note, setNote] = useState('');
  const decide = useMutation({
    mutationFn: (approve: boolean) =>
      unwrap(
        api.POST('/api/v1/approvals/{approval_id}/decision', {
          // As it was looked at: what has changed since is looked at again.
          params: {
            path: { approval_id: approval.id },
            header: approval.version ? { 'If-Match': `"${approval.version}"` } : {},
          },
          body: { approve, reason: note },
        }),
      ),
    onSuccess: () => queries.invalidateQueries({ queryKey: ['approvals'] }),
  });
  return (
    <Card withBorder component="article" aria-label={`${plain(approval.kind)} of ${approval.project}`}>
      <Stack gap="xs">
        <Group gap="xs">
          <Text fw={600}>
            {approval.project}: {plain(approval.kind)}
          </Text>
          {approval.environment && <EnvironmentBadge environment={approval.environment} />}
          <Text size="sm">
            asked for by {approval.requested_by} <When at={approval.requested_at} />
            {approval.due_at && (
              <>
                , to be decided <When at={approval.due_at} />
              </>
            )}
          </Text>
        </Group>
        <Text size="sm">{approval.about}</Text>
        <Textarea
          label="Note"
          description="Goes on record with the decision."
          value={note}
          onChange={(event) => setNote(event.currentTarget.value)}
          maxLength={1000}
          autosize
          minRows={1}
        />
        <Group gap="xs">
          <Button
            color="green"
            disabled={!approval.may_decide}
            loading={decide.isPending && decide.variables}
            onClick={() => decide.mutate(true)}
          >
            Approve
          </Button>
          <Button
            variant="default"
            disabled={!approval.may_decide || note.trim().length < 3}
            loading={decide.isPending && !decide.variables}
            onClick={() => decide.mutate(false)}
          >
            Reject
          </Button>
          <CopyCommand command={approval.decide_by} />
        </Group>
        {approval.why_not && (
          <Text size="sm" c="dimmed">
            {approval.why_not}
          </Text>
        )}
        {decide.isError && <Problem error={decide.error} />}
      </Stack>
    </Card>
  );
}
