import { Anchor, Button } from '@mantine/core';
import { Link } from 'wouter';
import { useModels } from '../api/queries';
import type { ModelVersion } from '../api/words';
import { EnvironmentBadge } from '../components/badges';
import { type Column, DataTable } from '../components/DataTable';
import { Page } from '../components/Page';
import { ProjectSelect } from '../components/ProjectSelect';
import { Empty, Shown } from '../components/states';
import { useSearch } from '../components/useSearch';
import { Digest, RunLink, When } from '../components/values';

const columns: Column<ModelVersion>[] = [
  {
    title: 'Model',
    cell: (model) => (
      <Anchor component={Link} href={`/models/${model.project}/${encodeURIComponent(model.bundle_digest)}`}>
        {model.name} {model.version && `v${model.version}`}
      </Anchor>
    ),
  },
  { title: 'Project', cell: (model) => model.project },
  { title: 'Bundle', cell: (model) => <Digest value={model.bundle_digest} /> },
  { title: 'Where', cell: (model) => <EnvironmentBadge environment={model.environment} /> },
  { title: 'AUC on test', cell: (model) => model.metrics?.test?.auc.toFixed(4) ?? '–', numeric: true },
  { title: 'Made', cell: (model) => <When at={model.trained_at} /> },
  { title: 'By', cell: (model) => model.trained_by },
  { title: 'Run', cell: (model) => <RunLink id={model.run_id} /> },
];

/** What trainings made or people imported, newest first. */
export default function Models() {
  const [project, setProject] = useSearch('project');
  const models = useModels(project);
  return (
    <Page title="Models" command={`mainspring model list${project ? ` --project ${project}` : ''}`}>
      <ProjectSelect value={project} onChange={setProject} all="all" />
      <Shown of={models} rows={6}>
        {({ pages }) => {
          const rows = pages.flatMap((one) => one.items);
          return (
            <>
              {rows.length ? (
                <DataTable label="Models" columns={columns} rows={rows} rowKey={(model) => model.run_id} />
              ) : (
                <Empty command={`mainspring run start ${project || 'PROJECT'}`}>No training has made a model yet.</Empty>
              )}
              {models.hasNextPage && (
                <Button variant="default" onClick={() => void models.fetchNextPage()} loading={models.isFetchingNextPage}>
                  Older models
                </Button>
              )}
            </>
          );
        }}
      </Shown>
    </Page>
  );
}
