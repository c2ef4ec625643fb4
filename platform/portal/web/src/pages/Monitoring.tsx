import { Anchor, Badge, Button, Group, NativeSelect, Stack, Text, Textarea } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'wouter';
import { api, unwrap } from '../api/client';
import { useAlerts, useMe, useReports } from '../api/queries';
import { type AlertRow, type ReportRow, rolesIn } from '../api/words';
import { EnvironmentBadge } from '../components/badges';
import { type Column, DataTable } from '../components/DataTable';
import { Page } from '../components/Page';
import { ProjectSelect } from '../components/ProjectSelect';
import { Section } from '../components/Section';
import { Empty, Problem, Shown } from '../components/states';
import { useSearch } from '../components/useSearch';
import { Digest, When } from '../components/values';

const reports: Column<ReportRow>[] = [
  {
    title: 'Window',
    cell: (one) => (
      <Anchor component={Link} href={`/monitoring/${one.report_id}`}>
        {one.begins.slice(0, 10)} to {one.ends.slice(0, 10)}
      </Anchor>
    ),
  },
  { title: 'Endpoint', cell: (one) => one.endpoint },
  { title: 'Bundle', cell: (one) => <Digest value={one.bundle_digest} /> },
  { title: 'Answers', cell: (one) => one.rows.toLocaleString('en'), numeric: true },
  { title: 'With outcome', cell: (one) => one.known.toLocaleString('en'), numeric: true },
  { title: 'Alarms', cell: (one) => one.alarms, numeric: true },
  { title: 'Notices', cell: (one) => one.notices, numeric: true },
  { title: 'Made', cell: (one) => <When at={one.recorded_at} /> },
];

/** Whether served models still hold: alerts until somebody has seen to them, and the reports that raised them. */
export default function Monitoring() {
  const [project, setProject] = useSearch('project');
  const [state, setState] = useSearch('state', 'open');
  const alerts = useAlerts(project, state);
  const found = useReports(project);
  return (
    <Page title="Monitoring" command={`mainspring monitor list ${project || 'PROJECT'}`}>
      <Group align="end" gap="sm">
        <ProjectSelect value={project} onChange={setProject} all="all" />
        <NativeSelect label="Alerts" value={state} onChange={(event) => setState(event.currentTarget.value)} data={['open', 'acknowledged', 'resolved']} />
      </Group>
      <Section title={`Alerts: ${state}`}>
        <Shown of={alerts} rows={2}>
          {({ items }) =>
            items.length ? (
              <Stack>
                {items.map((alert) => (
                  <Alert key={alert.alert_id} alert={alert} />
                ))}
              </Stack>
            ) : (
              <Empty command={`mainspring alert list --state ${state}`}>No alert is {state}.</Empty>
            )
          }
        </Shown>
      </Section>
      <Section title="Reports">
        <Shown of={found}>
          {({ pages }) => {
            const rows = pages.flatMap((one) => one.items);
            return (
              <Stack>
                {rows.length ? (
                  <DataTable label="Reports of served models" columns={reports} rows={rows} rowKey={(one) => one.report_id} />
                ) : (
                  <Empty command={`mainspring schedule run ${project || 'PROJECT'} drift`}>No served model was checked yet: a check runs by a schedule of its project.</Empty>
                )}
                {found.hasNextPage && (
                  <Button variant="default" onClick={() => void found.fetchNextPage()} loading={found.isFetchingNextPage}>
                    Older reports
                  </Button>
                )}
              </Stack>
            );
          }}
        </Shown>
      </Section>
    </Page>
  );
}

/** An alert with what somebody who may can say of it; a reason goes on record. */
function Alert({ alert }: { alert: AlertRow }) {
  const me = useMe();
  const [reason, setReason] = useState('');
  const say = useMutation({
    mutationFn: (word: 'acknowledge' | 'resolve') => {
      const asked = { params: { path: { alert_id: alert.alert_id } }, body: { reason } };
      return unwrap(word === 'resolve' ? api.POST('/api/v1/alerts/{alert_id}/resolve', asked) : api.POST('/api/v1/alerts/{alert_id}/acknowledge', asked));
    },
  });
  const roles = rolesIn(me.data, alert.project, alert.environment);
  const may = ['developer', 'approver', 'admin'].some((role) => roles.has(role));
  return (
    <Stack gap="xs" component="article" aria-label={`${alert.kind} at ${alert.endpoint}`}>
      <Group gap="xs">
        <Badge color={alert.severity === 'alarm' ? 'red' : 'gray'} variant="light" tt="none" className="ms-badge">
          {alert.kind}
        </Badge>
        <Anchor component={Link} href={`/endpoints/${alert.endpoint}`}>
          {alert.endpoint}
        </Anchor>
        <EnvironmentBadge environment={alert.environment} />
        <Text size="sm">
          since <When at={alert.opened_at} />, in {alert.times} {alert.times === 1 ? 'report' : 'reports'}
        </Text>
        <Anchor component={Link} href={`/monitoring/${alert.report_id}`} size="sm">
          the last one
        </Anchor>
        {/^https?:/.test(alert.runbook) && (
          <Anchor href={alert.runbook} size="sm" rel="noreferrer">
            runbook
          </Anchor>
        )}
      </Group>
      <Text size="sm">{alert.message}</Text>
      {alert.reason && (
        <Text size="sm" c="dimmed">
          {alert.resolved_by || alert.acknowledged_by}: {alert.reason}
        </Text>
      )}
      {alert.state !== 'resolved' &&
        (may ? (
          <>
            <Textarea label={`What is done about ${alert.kind} at ${alert.endpoint}`} value={reason} onChange={(event) => setReason(event.currentTarget.value)} maxLength={1000} autosize minRows={1} />
            <Group gap="xs">
              {alert.state === 'open' && (
                <Button size="xs" disabled={!reason.trim()} loading={say.isPending} onClick={() => say.mutate('acknowledge')}>
                  I see to it
                </Button>
              )}
              <Button size="xs" variant="default" disabled={!reason.trim()} loading={say.isPending} onClick={() => say.mutate('resolve')}>
                It is over
              </Button>
            </Group>
          </>
        ) : (
          <Text size="sm" c="dimmed">
            A developer or approver of {alert.project} sees to it.
          </Text>
        ))}
      {say.isError && <Problem error={say.error} />}
    </Stack>
  );
}
