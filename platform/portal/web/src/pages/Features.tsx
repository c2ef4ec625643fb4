import { Anchor, Badge, Button, Group, NativeSelect, Text, TextInput } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { useState } from 'react';
import { Link } from 'wouter';
import { useCatalog } from '../api/queries';
import type { CatalogEntry } from '../api/words';
import { FreshBadge } from '../components/badges';
import { type Column, DataTable } from '../components/DataTable';
import { Page } from '../components/Page';
import { ProjectSelect } from '../components/ProjectSelect';
import { Empty, Shown } from '../components/states';
import { useSearch } from '../components/useSearch';
import { When } from '../components/values';

const columns: Column<CatalogEntry>[] = [
  {
    title: 'Name',
    cell: (entry) => (
      <Anchor component={Link} href={`/features/${entry.project}/${encodeURIComponent(entry.name)}`}>
        {entry.name}
      </Anchor>
    ),
  },
  { title: 'Project', cell: (entry) => entry.project },
  { title: 'Kind', cell: (entry) => entry.kind },
  { title: 'Owner', cell: (entry) => entry.owner || '–' },
  { title: 'Classification', cell: (entry) => <Classified entry={entry} /> },
  { title: 'Rows', cell: (entry) => entry.rows?.toLocaleString('en') ?? '–', numeric: true },
  { title: 'Newest', cell: (entry) => <When at={entry.newest_event_at} /> },
  { title: 'Fresh', cell: (entry) => <FreshBadge isFresh={entry.is_fresh} /> },
];

function Classified({ entry }: { entry: CatalogEntry }) {
  const isPersonal = entry.columns?.some((column) => column.is_pii);
  return (
    <Group gap={4} wrap="nowrap">
      {entry.classification || '–'}
      {isPersonal && (
        <Badge color="red" variant="light" tt="none" className="ms-badge">
          personal
        </Badge>
      )}
    </Group>
  );
}

/** Datasets, views, services and plans: what there is, who answers for it, and how fresh it is. */
export default function Features() {
  const [project, setProject] = useSearch('project');
  const [kind, setKind] = useSearch('kind');
  const [classification, setClassification] = useSearch('classification');
  const [search, setSearch] = useSearch('search');
  const [typed, setTyped] = useState(search);
  const later = useDebouncedCallback(setSearch, 250);
  const entries = useCatalog({ search, project, kind, classification });
  return (
    <Page title="Features and data" command={`mainspring catalog list${search ? ` --search '${search}'` : ''}`}>
      <Group align="end" gap="sm">
        <TextInput
          label="Search"
          placeholder="words of names, columns, owners"
          value={typed}
          onChange={(event) => {
            setTyped(event.currentTarget.value);
            later(event.currentTarget.value);
          }}
        />
        <ProjectSelect value={project} onChange={setProject} all="all" />
        <NativeSelect label="Kind" value={kind} onChange={(event) => setKind(event.currentTarget.value)} data={[{ value: '', label: 'any' }, 'dataset', 'view', 'service', 'plan']} />
        <NativeSelect
          label="Classification"
          value={classification}
          onChange={(event) => setClassification(event.currentTarget.value)}
          data={[{ value: '', label: 'any' }, 'public', 'internal', 'confidential', 'restricted']}
        />
      </Group>
      <Shown of={entries} rows={8}>
        {({ pages }) => {
          const rows = pages.flatMap((one) => one.items);
          return (
            <>
              {rows.length ? (
                <DataTable label="Catalog" columns={columns} rows={rows} rowKey={(entry) => `${entry.project}/${entry.name}`} />
              ) : (
                <Empty command="mainspring run start PROJECT">
                  {search || kind || classification ? 'Nothing fits; leave a word or a filter out.' : 'No project has published its catalog yet: a training does so at the end of its plan.'}
                </Empty>
              )}
              {entries.hasNextPage && (
                <Button variant="default" onClick={() => void entries.fetchNextPage()} loading={entries.isFetchingNextPage}>
                  More
                </Button>
              )}
              <Text size="sm" c="dimmed">
                Statistics are of the last batch that was accepted. Those of personal columns are left out.
              </Text>
            </>
          );
        }}
      </Shown>
    </Page>
  );
}
