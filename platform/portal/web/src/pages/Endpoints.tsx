import { Anchor, Button } from '@mantine/core';
import { Link } from 'wouter';
import { useEndpoints } from '../api/queries';
import type { Endpoint } from '../api/words';
import { EnvironmentBadge } from '../components/badges';
import { type Column, DataTable } from '../components/DataTable';
import { Page } from '../components/Page';
import { ProjectSelect } from '../components/ProjectSelect';
import { Empty, Shown } from '../components/states';
import { useSearch } from '../components/useSearch';
import { When } from '../components/values';

const columns: Column<Endpoint>[] = [
  {
    title: 'Endpoint',
    cell: (endpoint) => (
      <Anchor component={Link} href={`/endpoints/${endpoint.name}`}>
        {endpoint.name}
      </Anchor>
    ),
  },
  { title: 'Project', cell: (endpoint) => endpoint.project },
  { title: 'Where', cell: (endpoint) => <EnvironmentBadge environment={endpoint.environment} /> },
  { title: 'Since', cell: (endpoint) => <When at={endpoint.claimed_at} /> },
  { title: 'By', cell: (endpoint) => endpoint.claimed_by },
];

export default function Endpoints() {
  const [project, setProject] = useSearch('project');
  const endpoints = useEndpoints(project);
  return (
    <Page title="Endpoints" command={`mainspring endpoint list${project ? ` --project ${project}` : ''}`}>
      <ProjectSelect value={project} onChange={setProject} all="all" />
      <Shown of={endpoints} rows={6}>
        {({ pages }) => {
          const rows = pages.flatMap((one) => one.items);
          return (
            <>
              {rows.length ? (
                <DataTable label="Endpoints" columns={columns} rows={rows} rowKey={(endpoint) => endpoint.name} />
              ) : (
                <Empty command={`mainspring run start ${project || 'PROJECT'} --endpoint NAME`}>No endpoint yet: a training makes one, if it is told where to deploy.</Empty>
              )}
              {endpoints.hasNextPage && (
                <Button variant="default" onClick={() => void endpoints.fetchNextPage()} loading={endpoints.isFetchingNextPage}>
                  More
                </Button>
              )}
            </>
          );
        }}
      </Shown>
    </Page>
  );
}
