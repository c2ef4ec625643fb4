import { Alert, Button, Code, Group, Text } from '@mantine/core';
import { Link } from 'wouter';
import { useModel } from '../api/queries';
import { DataTable } from '../components/DataTable';
import { Lineage } from '../components/Lineage';
import { Metrics } from '../components/Metrics';
import { Page } from '../components/Page';
import { Section } from '../components/Section';
import { Empty, Shown } from '../components/states';
import { Digest, RunLink, When } from '../components/values';

/** One version: quality, card, signature, what it reads, and where it came from. */
export default function Model({ project, digest }: { project: string; digest: string }) {
  const model = useModel(project, digest);
  const title = model.data ? `${model.data.name} ${model.data.version && `v${model.data.version}`}`.trim() : project;
  return (
    <Page title={title} command={`mainspring model show ${project} ${digest}`} parent={['Models', '/models']} environment={model.data?.environment} actions={model.data && !model.data.withdrawn && <Use project={project} digest={digest} />}>
      <Shown of={model} rows={6}>
        {(found) => (
          <>
            {found.withdrawn && (
              <Alert color="red" variant="light" title="Out of use">
                {found.withdrawn}
              </Alert>
            )}
            <Group gap="md">
              <Digest value={digest} />
              {found.kind && <Text size="sm">{found.kind}</Text>}
              <Text size="sm">
                {found.imported ? 'imported' : 'trained'} by {found.trained_by} <When at={found.trained_at} /> in <RunLink id={found.run_id} />
              </Text>
            </Group>
            {found.imported && (
              <Section title="Where it came from">
                <Text size="sm" className="ms-break">
                  {found.imported.source}, under {found.imported.licence}. Every file was looked through by {found.imported.scanners.join(', ')}; asked before it was
                  signed: {found.imported.rules.join(', ')}.
                </Text>
                <Digest value={found.imported.folder_digest} />
              </Section>
            )}
            <Section title="Quality">
              {Object.keys(found.metrics ?? {}).length ? <Metrics metrics={found.metrics} /> : <Empty>{found.imported ? 'Nobody has measured it here.' : 'The training reported no metrics.'}</Empty>}
            </Section>
            <div className="ms-grid">
              <Section title="Signature">
                {found.problem ? (
                  <Alert color="orange" variant="light" title="The bundle cannot be opened here">
                    {found.problem}
                  </Alert>
                ) : (
                  <Text size="sm">
                    Signed by key <Code className="ms-break">{found.signer}</Code>, which is trusted here. Every file of it was verified just now.
                  </Text>
                )}
                {found.code_version && <Text size="sm" className="ms-break">made by code {found.code_version} of data <Digest value={found.data_digest ?? ''} /></Text>}
              </Section>
              <Section title="Card">{found.card ? <pre className="ms-pre">{found.card}</pre> : <Empty>There is no card to read here.</Empty>}</Section>
            </div>
            {!found.problem && (
              <Section title="What it reads">
                <DataTable
                  label="Input columns"
                  rows={Object.entries(found.input_columns ?? {})}
                  rowKey={([name]) => name}
                  columns={[
                    { title: 'Column', cell: ([name]) => name },
                    { title: 'Type', cell: ([, type]) => type },
                    { title: 'From', cell: ([name]) => (name in (found.request_columns ?? {}) ? 'the request' : 'features') },
                  ]}
                />
                {!!found.views?.length && <Text size="sm" mt="xs">looks up {found.views.join(', ')}</Text>}
              </Section>
            )}
            <Section title="Lineage">
              {/* Lineage knows every bundle of a project by this one name, and tells them apart by digest. */}
              <Lineage project={project} name="model" version={digest} />
            </Section>
          </>
        )}
      </Shown>
    </Page>
  );
}

/** What one does with a model: each is a run, whose form has it chosen. */
function Use({ project, digest }: { project: string; digest: string }) {
  return (
    <>
      {(['score', 'deploy', 'retire'] as const).map((kind) => (
        <Button key={kind} size="xs" variant="default" component={Link} href={`/runs/new?project=${project}&kind=${kind}&bundle=${encodeURIComponent(digest)}`}>
          {{ score: 'Score a dataset', deploy: 'Deploy', retire: 'Retire' }[kind]}
        </Button>
      ))}
    </>
  );
}
