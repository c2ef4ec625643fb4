import { Button, Group, NativeSelect, NumberInput, Stack, Text, Textarea } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { api, unwrap } from '../api/client';
import { useAccess, useMe, useProjects } from '../api/queries';
import { type AccessRequest, rolesIn } from '../api/words';
import { EnvironmentBadge, StageBadge } from '../components/badges';
import { DataTable } from '../components/DataTable';
import { Page } from '../components/Page';
import { ProjectSelect } from '../components/ProjectSelect';
import { Section } from '../components/Section';
import { Empty, Problem, Shown } from '../components/states';
import { useSearch } from '../components/useSearch';
import { When } from '../components/values';

const roles = ['viewer', 'developer', 'approver', 'admin'] as const;
const places = ['dev', 'staging', 'prod', '*'] as const;

/** Roles for a time: ask for one, decide on others' requests, end or review them. */
export default function Access() {
  const projects = useProjects();
  const [chosen, setProject] = useSearch('project');
  const project = chosen || projects.data?.items[0]?.name || '';
  const requests = useAccess(project);
  return (
    <Page title="Access" command={`mainspring access list ${project || 'PROJECT'}`}>
      <ProjectSelect value={project} onChange={setProject} />
      {projects.data && !project && <Empty command="mainspring project create NAME --owner OWNER">You can see no project yet.</Empty>}
      {project && (
        <>
          <Section title="Ask for a role">
            <Ask project={project} />
          </Section>
          <Section title="Requests">
            <Shown of={requests}>
              {({ pages }) => {
                const rows = pages.flatMap((one) => one.items);
                return (
                  <Stack>
                    {rows.length ? <Requests rows={rows} /> : <Empty command={`mainspring access request ${project} developer --reason WHY`}>Nobody has asked for a role in {project}.</Empty>}
                    {requests.hasNextPage && (
                      <Button variant="default" onClick={() => void requests.fetchNextPage()} loading={requests.isFetchingNextPage}>
                        Older requests
                      </Button>
                    )}
                  </Stack>
                );
              }}
            </Shown>
          </Section>
        </>
      )}
    </Page>
  );
}

function Requests({ rows }: { rows: AccessRequest[] }) {
  return (
    <DataTable
      label="Access requests"
      rows={rows}
      rowKey={(one) => one.request_id}
      columns={[
        { title: 'Who', cell: (one) => one.actor },
        { title: 'Role', cell: (one) => `${one.role}${one.is_break_glass ? ' (break-glass)' : ''}` },
        { title: 'Where', cell: (one) => <EnvironmentBadge environment={one.environment === '*' ? 'all' : one.environment} /> },
        { title: 'For', cell: (one) => `${one.minutes} min` },
        { title: 'Why', cell: (one) => <span className="ms-break">{one.reason}</span> },
        { title: 'State', cell: (one) => <StageBadge stage={one.state} /> },
        { title: 'Asked', cell: (one) => <When at={one.requested_at} /> },
        { title: 'Ends', cell: (one) => <When at={one.due_at} /> },
        { title: 'Action', cell: (one) => <Act request={one} /> },
      ]}
    />
  );
}

function Ask({ project }: { project: string }) {
  const [role, setRole] = useState<(typeof roles)[number]>('developer');
  const [environment, setEnvironment] = useState<(typeof places)[number]>('dev');
  const [minutes, setMinutes] = useState<number>(60);
  const [reason, setReason] = useState('');
  const ask = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST('/api/v1/projects/{project}/access-requests', {
          params: { path: { project } },
          body: { role, environment, minutes, reason },
        }),
      ),
    onSuccess: () => setReason(''),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    ask.mutate();
  };
  return (
    <form onSubmit={submit}>
      <Stack gap="sm">
        <Group align="end" gap="sm">
          <NativeSelect label="Role" value={role} data={[...roles]} onChange={(event) => setRole(event.currentTarget.value as typeof role)} />
          <NativeSelect
            label="Environment"
            value={environment}
            data={places.map((place) => ({ value: place, label: place === '*' ? 'all of them' : place }))}
            onChange={(event) => setEnvironment(event.currentTarget.value as typeof environment)}
          />
          <NumberInput label="Minutes" min={1} max={525_600} value={minutes} onChange={(value) => setMinutes(Number(value) || 1)} hideControls />
        </Group>
        <Textarea label="Why" description="Whoever decides reads it; it goes on record." value={reason} onChange={(event) => setReason(event.currentTarget.value)} minLength={3} maxLength={2000} required />
        <Group>
          <Button type="submit" loading={ask.isPending} disabled={reason.trim().length < 3}>
            Ask
          </Button>
          {ask.isSuccess && <Text size="sm" role="status">Asked. Somebody else decides.</Text>}
        </Group>
        {ask.isError && <Problem error={ask.error} />}
      </Stack>
    </form>
  );
}

/** What whoever is signed in may do about a request now. */
function Act({ request }: { request: AccessRequest }) {
  const me = useMe();
  const path = { project: request.project, request_id: request.request_id };
  const base = '/api/v1/projects/{project}/access-requests/{request_id}' as const;
  const decide = useMutation({
    mutationFn: (approve: boolean) =>
      unwrap(api.POST(`${base}/decision`, { params: { path }, body: { approve, reason: approve ? '' : 'rejected in the portal' } })),
  });
  const revoke = useMutation({
    mutationFn: () => unwrap(api.POST(`${base}/revoke`, { params: { path }, body: { reason: 'ended in the portal' } })),
  });
  const mine = rolesIn(me.data, request.project);
  const isOwn = me.data?.actor === request.actor;
  const decides = mine.has('admin') || (mine.has('approver') && ['viewer', 'developer'].includes(request.role));
  const error = decide.error ?? revoke.error;
  if (error) return <Problem error={error} />;
  if (request.state === 'open' && !isOwn && decides) {
    return (
      <Group gap={4} wrap="nowrap">
        <Button size="compact-xs" color="green" loading={decide.isPending} onClick={() => decide.mutate(true)} aria-label={`Approve ${request.role} for ${request.actor}`}>
          Approve
        </Button>
        <Button size="compact-xs" variant="default" loading={decide.isPending} onClick={() => decide.mutate(false)} aria-label={`Reject ${request.role} for ${request.actor}`}>
          Reject
        </Button>
      </Group>
    );
  }
  if (['open', 'active'].includes(request.state) && (isOwn || decides)) {
    return (
      <Button size="compact-xs" variant="default" loading={revoke.isPending} onClick={() => revoke.mutate()} aria-label={`End ${request.role} of ${request.actor}`}>
        End it
      </Button>
    );
  }
  if (request.state === 'open') return <Text size="sm">{isOwn ? 'somebody else decides' : 'an admin decides'}</Text>;
  return <>–</>;
}
