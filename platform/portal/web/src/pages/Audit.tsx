import { Alert, Button, Code, Group, NativeSelect, Stack, Text, TextInput, VisuallyHidden } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { api, unwrap } from '../api/client';
import { useAudit } from '../api/queries';
import type { AuditRow } from '../api/words';
import { type Column, DataTable } from '../components/DataTable';
import { Page } from '../components/Page';
import { Empty, Problem, Shown } from '../components/states';
import { useSearch } from '../components/useSearch';
import { When } from '../components/values';

const columns: Column<AuditRow>[] = [
  { title: '#', cell: (row) => row.sequence, numeric: true },
  { title: 'When', cell: (row) => <When at={row.at} /> },
  { title: 'Who', cell: (row) => row.actor },
  { title: 'What', cell: (row) => row.action },
  { title: 'To which', cell: (row) => <span className="ms-mono">{row.resource}</span> },
  { title: 'Outcome', cell: (row) => row.outcome },
  { title: 'Detail', cell: (row) => <Detail row={row} /> },
];

function Detail({ row }: { row: AuditRow }) {
  return (
    <details>
      <summary>
        show<VisuallyHidden> detail of row {row.sequence}</VisuallyHidden>
      </summary>
      <Code block className="ms-pre">
        {JSON.stringify(row.detail, null, 1)}
      </Code>
      <Text size="xs" className="ms-break">
        hash {row.hash}
      </Text>
    </details>
  );
}

/** Who did what to which thing, newest first; and the proof that nobody rewrote it. */
export default function Audit() {
  const [actor, setActor] = useSearch('actor');
  const [action, setAction] = useSearch('action');
  const [resource, setResource] = useSearch('resource');
  const [outcome, setOutcome] = useSearch('outcome');
  const [typed, setTyped] = useState({ actor, action, resource });
  const rows = useAudit({ actor, action, resource, outcome });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setActor(typed.actor.trim());
    setAction(typed.action.trim());
    setResource(typed.resource.trim());
  };
  const field = (name: keyof typeof typed, label: string, example: string) => (
    <TextInput
      label={label}
      placeholder={example}
      value={typed[name]}
      onChange={(event) => {
        const value = event.currentTarget.value;
        setTyped((found) => ({ ...found, [name]: value }));
      }}
    />
  );
  return (
    <Page title="Audit" command="mainspring audit log" actions={<Verify />}>
      <form onSubmit={submit}>
        <Group align="end" gap="sm">
          {field('actor', 'Who', 'ana@example.org')}
          {field('action', 'What', 'run.start')}
          {field('resource', 'To which', 'project/flight-delay')}
          <NativeSelect
            label="Outcome"
            value={outcome}
            onChange={(event) => setOutcome(event.currentTarget.value)}
            data={[{ value: '', label: 'any' }, 'done', 'denied', 'failed', 'intended', 'requested']}
          />
          <Button type="submit" variant="default">
            Filter
          </Button>
        </Group>
      </form>
      <Shown of={rows} rows={8}>
        {({ pages }) => {
          const found = pages.flatMap((one) => one.items);
          return (
            <>
              {found.length ? (
                <DataTable label="Audit rows" columns={columns} rows={found} rowKey={(row) => row.event_id} />
              ) : (
                <Empty command="mainspring audit log">No row fits. Filters are exact: `run.start`, not `run`.</Empty>
              )}
              {rows.hasNextPage && (
                <Button variant="default" onClick={() => void rows.fetchNextPage()} loading={rows.isFetchingNextPage}>
                  Older rows
                </Button>
              )}
            </>
          );
        }}
      </Shown>
    </Page>
  );
}

/** Recomputes the whole chain on the server, and holds it against the signed checkpoints. */
function Verify() {
  const verify = useMutation({ mutationFn: () => unwrap(api.GET('/api/v1/audit:verify')) });
  const found = verify.data;
  return (
    <Stack gap="xs">
      <Button size="xs" variant="default" loading={verify.isPending} onClick={() => verify.mutate()}>
        Verify the log
      </Button>
      {found && (
        <Alert color={found.ok ? 'green' : 'red'} variant="light" role="status" title={found.ok ? 'The log is intact' : 'The log is not intact'}>
          {found.ok
            ? `${found.rows} rows, ${found.checkpoints ?? 0} signed checkpoints, ${found.unsigned_rows ?? 0} rows not yet signed`
            : found.problem}
        </Alert>
      )}
      {verify.isError && <Problem error={verify.error} />}
    </Stack>
  );
}
