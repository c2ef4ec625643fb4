import { Anchor, Badge, Group, List, Text } from '@mantine/core';
import { Link } from 'wouter';
import { useCatalogEntry } from '../api/queries';
import type { CatalogEntry } from '../api/words';
import { FreshBadge } from '../components/badges';
import { DataTable } from '../components/DataTable';
import { Lineage } from '../components/Lineage';
import { Page } from '../components/Page';
import { Section } from '../components/Section';
import { Empty, Shown } from '../components/states';
import { Digest, seconds, When } from '../components/values';

const number = (value: number | null | undefined) => (value === null || value === undefined ? '–' : Number.isInteger(value) ? value.toLocaleString('en') : value.toPrecision(4));

/** One entry of the catalog: its columns with their statistics, its freshness, what it is made of and what is made of it. */
export default function Feature({ project, name }: { project: string; name: string }) {
  const entry = useCatalogEntry(project, name);
  return (
    <Page title={name} command={`mainspring catalog show ${project} ${name}`} parent={['Features and data', '/features']}>
      <Shown of={entry} rows={6}>
        {(found) => (
          <>
            <Facts entry={found} />
            <Columns entry={found} />
            <Section title="Lineage">
              <Lineage project={project} name={name} />
            </Section>
          </>
        )}
      </Shown>
    </Page>
  );
}

function Facts({ entry }: { entry: CatalogEntry }) {
  return (
    <Section title="About">
      {entry.description && <Text mb="xs">{entry.description}</Text>}
      <Group gap="md">
        <Text size="sm">
          {entry.kind} of {entry.project}, answered for by {entry.owner || 'nobody'}
        </Text>
        <FreshBadge isFresh={entry.is_fresh} />
        <Text size="sm">
          newest row <When at={entry.newest_event_at} />
          {entry.ttl_seconds != null && `, alive for ${seconds(entry.ttl_seconds)}`}
        </Text>
        <Text size="sm">{entry.rows?.toLocaleString('en') ?? 'no'} rows</Text>
        {entry.version && <Digest value={entry.version} />}
      </Group>
      {!!entry.warnings?.length && (
        <List size="sm" mt="xs">
          {entry.warnings.map((warning) => (
            <List.Item key={warning}>{warning}</List.Item>
          ))}
        </List>
      )}
      {!!entry.reads?.length && (
        <Text size="sm" mt="xs">
          reads{' '}
          {entry.reads.map((read, place) => (
            <span key={read}>
              {place > 0 && ', '}
              <Anchor component={Link} href={`/features/${entry.project}/${encodeURIComponent(read)}`}>
                {read}
              </Anchor>
            </span>
          ))}
        </Text>
      )}
    </Section>
  );
}

function Columns({ entry }: { entry: CatalogEntry }) {
  return (
    <Section title="Columns">
      {entry.columns?.length ? (
        <DataTable
          label="Columns with their statistics"
          rows={[...entry.columns]}
          rowKey={(column) => column.name}
          columns={[
            {
              title: 'Column',
              cell: (column) => (
                <Group gap={4} wrap="nowrap">
                  {column.name}
                  {column.is_key && <Badge variant="light" tt="none" className="ms-badge">key</Badge>}
                  {column.is_pii && <Badge variant="light" color="red" tt="none" className="ms-badge">personal</Badge>}
                </Group>
              ),
            },
            { title: 'Type', cell: (column) => column.dtype || '–' },
            { title: 'Description', cell: (column) => column.description || '–' },
            { title: 'Missing', cell: (column) => number(column.missing), numeric: true },
            { title: 'Distinct', cell: (column) => number(column.distinct), numeric: true },
            { title: 'Low', cell: (column) => number(column.low), numeric: true },
            { title: 'Mean', cell: (column) => number(column.mean), numeric: true },
            { title: 'High', cell: (column) => number(column.high), numeric: true },
          ]}
        />
      ) : (
        <Empty>It has no columns of its own.</Empty>
      )}
    </Section>
  );
}
