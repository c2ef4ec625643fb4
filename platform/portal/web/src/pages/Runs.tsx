import { Button, Group, NativeSelect } from '@mantine/core';
import { Link } from 'wouter';
import { useRuns } from '../api/queries';
import { hasEnded, plain, type Run } from '../api/words';
import { EnvironmentBadge, StageBadge } from '../components/badges';
import { type Column, DataTable } from '../components/DataTable';
import { Page } from '../components/Page';
import { ProjectSelect } from '../components/ProjectSelect';
import { Empty, Shown } from '../components/states';
import { useSearch } from '../components/useSearch';
import { money, RunLink, When } from '../components/values';

const states: Record<string, (run: Run) => boolean> = {
  all: () => true,
  'under way': (run) => !hasEnded(run.stage),
  'waiting for approval': (run) => run.stage === 'approval',
  failed: (run) => ['failed', 'rolled_back', 'rejected'].includes(run.stage),
};

const columns: Column<Run>[] = [
  { title: 'Run', cell: (run) => <RunLink id={run.run_id} /> },
  { title: 'Project', cell: (run) => run.project },
  { title: 'Kind', cell: (run) => plain(run.kind) },
  { title: 'Where', cell: (run) => <EnvironmentBadge environment={run.environment} /> },
  { title: 'Stage', cell: (run) => <StageBadge stage={run.stage} /> },
  { title: 'By', cell: (run) => run.requested_by },
  { title: 'Started', cell: (run) => <When at={run.created_at} /> },
  { title: 'Cost', cell: (run) => money(run.cost ?? 0), numeric: true },
];

/** Runs, newest first. */
export default function Runs() {
  const [project, setProject] = useSearch('project');
  const [state, setState] = useSearch('state', 'all');
  const runs = useRuns(project);
  return (
    <Page
      title="Runs"
      command={`mainspring run list${project ? ` --project ${project}` : ''}`}
      actions={
        <Button size="xs" component={Link} href={`/runs/new${project ? `?project=${project}` : ''}`}>
          New run
        </Button>
      }
    >
      <Group align="end" gap="sm">
        <ProjectSelect value={project} onChange={setProject} all="all" />
        <NativeSelect
          label="State"
          value={state}
          onChange={(event) => setState(event.currentTarget.value)}
          data={Object.keys(states)}
        />
      </Group>
      <Shown of={runs} rows={8}>
        {({ pages }) => {
          const rows = pages.flatMap((one) => one.items).filter(states[state] ?? (() => true));
          return (
            <>
              {rows.length ? (
                <DataTable label="Runs" columns={columns} rows={rows} rowKey={(run) => run.run_id} />
              ) : (
                <Empty command={`mainspring run start ${project || 'PROJECT'}`}>
                  {state === 'all' ? 'No run yet.' : `None of the runs that were read is “${state}”.`}
                </Empty>
              )}
              {runs.hasNextPage && (
                <Button variant="default" onClick={() => void runs.fetchNextPage()} loading={runs.isFetchingNextPage}>
                  Older runs
                </Button>
              )}
            </>
          );
        }}
      </Shown>
    </Page>
  );
}
